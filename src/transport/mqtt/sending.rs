//! What goes out on a connection, in which order, and how much of it at once.

use rumqttc::{Publish, QoS};
use tokio::sync::mpsc::error::TryRecvError;

use super::connection::{Connection, ConnectionError};
use super::event_loop::EventLoop;
use super::queue::Message;
use super::window::{Whole, Window};

const KNOWN: &str = "the broker has closed the connection over such a message before";

impl EventLoop {
    /// Encodes what waits, as far as there is room: repetitions, and fragments, first.
    pub(super) fn pump(&mut self, link: &mut Connection) -> Result<(), ConnectionError> {
        loop {
            while self.may_send(link)
                && let Some(publish) = self.window.next_repetition()
            {
                link.publish(publish, None)?;
                self.window.settle_unacknowledged();
            }
            if self.window.has_repetitions() || !self.may_send(link) || !self.window.has_room() {
                return Ok(());
            }
            if let Some(message) = self.backlog.pop() {
                self.send(message, link)?;
                continue;
            }
            match self.messages.try_recv() {
                Ok(message) => self.send(message, link)?,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    self.note_drained();
                    break;
                }
            }
        }
        Ok(())
    }

    /// Whether another message may go out now.
    pub(super) fn may_send(&self, link: &Connection) -> bool {
        self.may_publish() && link.has_room() && self.window.in_flight() < self.suspicion.cap()
    }

    /// Encodes a user's message, and keeps it if it is to be acknowledged.
    pub(super) fn send(&mut self, message: Message, link: &mut Connection) -> Result<(), ConnectionError> {
        let Message { mut publish, counted } = message;
        let counts = publish.qos != QoS::AtMostOnce;
        if self.refusals.of(&publish.topic, publish.payload.len()).is_some() {
            // It was taken before that was known.
            if counts {
                self.window.pass();
            }
            self.refused(&publish, KNOWN, true);
            return Ok(());
        }
        if publish.qos > self.window.highest() {
            self.note_lowered();
        }
        if self.window.highest() == QoS::AtMostOnce {
            if counts {
                self.window.pass();
            }
            publish.qos = QoS::AtMostOnce;
        } else if !counts {
            // Where a connection was lost behind such a message, an acknowledgement is to tell which it was.
            let guarded = self.suspicion.stands();
            publish.qos = if guarded { QoS::AtLeastOnce } else { self.unproven.qos(&publish) };
        }
        if !self.packets.takes(&publish)
            && let Some(pieces) = self.split(&publish)
        {
            return self.send_pieces(pieces, Whole { publish, _counted: counted }, counts, link);
        }
        if publish.qos == QoS::AtMostOnce {
            link.publish(&publish, counted)?;
            self.unproven.sent(self.window.pass_by(), publish);
            return Ok(());
        }
        link.publish(self.window.push(publish, counts), counted)
    }

    /// Encodes the fragments of a message with QoS 0. Others wait for their turn in the window.
    fn send_pieces(
        &mut self,
        pieces: Vec<Publish>,
        whole: Whole,
        counts: bool,
        link: &mut Connection,
    ) -> Result<(), ConnectionError> {
        if whole.publish.qos != QoS::AtMostOnce {
            self.window.push_pieces(pieces, whole, counts);
            return Ok(());
        }
        for piece in pieces {
            link.publish(&piece, None)?;
            self.unproven.sent(self.window.pass_by(), piece);
        }
        Ok(())
    }

    /// A message in fragments, if it can be.
    fn split(&mut self, publish: &Publish) -> Option<Vec<Publish>> {
        let pieces = self.packets.split(publish, self.fragment_sender, self.fragmented)?;
        self.fragmented = self.fragmented.wrapping_add(1);
        metrics::counter!("ringbus_mqtt_fragmented_total").increment(1);
        Some(pieces)
    }

    /// The limit is another one: what is in the window is split anew where it is over it.
    pub(super) fn split_again(&mut self) {
        let Self { window, packets, fragmented, fragment_sender, .. } = self;
        window.split_again(|publish, whole| {
            if packets.takes(publish) {
                return None;
            }
            let pieces = packets.split(whole, *fragment_sender, *fragmented)?;
            *fragmented = fragmented.wrapping_add(1);
            Some(pieces)
        });
    }
}

/// Encodes a message of the session itself, which is not kept beyond the connection.
pub(super) fn send_own(
    publish: Publish,
    link: &mut Connection,
    window: &mut Window,
) -> Result<(), ConnectionError> {
    if window.highest() == QoS::AtMostOnce {
        return link.publish(&Publish { qos: QoS::AtMostOnce, ..publish }, None);
    }
    link.publish(window.push_own(publish), None)
}
