//! What a packet from the broker does.

use bytes::Bytes;
use rumqttc::{Packet, PubAck, PubComp, PubRec, PubRel, Publish, QoS};
use tokio::time::Instant;

use super::address;
use super::connection::{Connection, ConnectionError};
use super::decode::Decoded;
use super::event_loop::EventLoop;
use super::inbox;
use super::presence::{self, Refused};
use super::reassembly::Taken;
use super::subscribing::Brought;
use crate::transport::filters::Verdict;
use crate::transport::{Event, Origin};
use crate::wire::Fragment;

impl EventLoop {
    /// Handles the packets that were read, as long as there is room for their events. `true` if more must be read
    /// from the socket before there is another.
    pub(super) fn take_in(&mut self, link: &mut Connection) -> Result<bool, ConnectionError> {
        while self.has_stage_room() {
            match link.next()? {
                None => return Ok(true),
                Some(Decoded::Packet(packet)) => {
                    self.alive.packet();
                    self.take_packet(packet, link)?;
                }
                Some(Decoded::Oversize { qos, packet_id, size }) => {
                    self.alive.packet();
                    if self.is_new(qos, packet_id, link)? {
                        self.drop_oversize(size);
                    }
                }
            }
        }
        Ok(false)
    }

    fn take_packet(&mut self, packet: Packet, link: &mut Connection) -> Result<(), ConnectionError> {
        match packet {
            Packet::Publish(publish) => self.take_publish(publish, link)?,
            Packet::PubAck(ack) => {
                if let Some(publish) = self.window.acknowledge(ack.pkid) {
                    if self.packets.is_trial() {
                        self.learn(&publish);
                    }
                    self.unproven.taken(&publish.topic, publish.payload.len());
                    if publish.qos == QoS::ExactlyOnce {
                        self.lower(QoS::AtLeastOnce, "it answers QoS 2 by PUBACK");
                    }
                }
            }
            Packet::PubRec(PubRec { pkid }) => {
                self.window.release(pkid);
                // Of an unknown id, too: the broker would wait for it.
                link.answer(&Packet::PubRel(PubRel::new(pkid)))?;
            }
            Packet::PubComp(complete) => self.window.complete(complete.pkid),
            Packet::PubRel(PubRel { pkid }) => {
                self.received.release(pkid);
                link.answer(&Packet::PubComp(PubComp::new(pkid)))?;
            }
            Packet::SubAck(ack) => {
                self.leave_claim(ack.pkid, link)?;
                let restored = self.subscribing.suback(&ack, link, &mut self.window)?;
                self.note_grant();
                self.tell_refused_filters();
                self.watch_suspect();
                if let Some(own) = restored {
                    self.is_restored(own, link)?;
                }
            }
            Packet::UnsubAck(ack) => self.subscribing.unsuback(ack.pkid, link, &mut self.window)?,
            Packet::PingResp => self.alive.pong(),
            other => return Err(ConnectionError::Protocol(format!("unexpected packet {other:?}"))),
        }
        Ok(())
    }

    /// Acknowledges a message. `false` if it came before: the second copy of one with QoS 2.
    fn is_new(&mut self, qos: QoS, id: u16, link: &mut Connection) -> Result<bool, ConnectionError> {
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => link.answer(&Packet::PubAck(PubAck::new(id)))?,
            QoS::ExactlyOnce => {
                link.answer(&Packet::PubRec(PubRec::new(id)))?;
                return Ok(self.received.insert(id));
            }
        }
        Ok(true)
    }

    fn take_publish(&mut self, publish: Publish, link: &mut Connection) -> Result<(), ConnectionError> {
        if !self.is_new(publish.qos, publish.pkid, link)? {
            return Ok(());
        }
        // What arrives while closing is nobody's any more; it is only read to get at the acknowledgements behind it.
        if self.closing.is_some() || self.subscribing.is_second_copy(&publish) {
            return Ok(());
        }
        if self.subscribing.is_fence(&publish) {
            self.note_fence(&publish.topic);
        }
        if publish.topic == self.settings.inbox_topic {
            if self.subscribing.fence(&publish, link, &mut self.window)? {
                return Ok(());
            }
            self.take_directed(&publish);
        } else if publish.topic == self.settings.claim_topic {
            return self.take_claim(&publish.payload);
        } else if let Some(name) = presence::subject(&self.settings.level, &publish.topic) {
            self.take_presence(name, &publish.payload);
            if publish.retain {
                self.answers.are_unneeded();
            } else {
                self.owe_answer(name, &publish.payload);
            }
        }
        let Some(topic) = self.settings.level.incoming(&publish.topic) else { return Ok(()) };
        match self.subscribing.judge(&topic) {
            Verdict::Wanted(topic) if publish.retain => {
                let mark = match self.subscribing.brought_by(&topic) {
                    Brought::By(mark) => Some(mark),
                    Brought::Unknown => None,
                    Brought::Again => return Ok(()),
                };
                self.stage_message(Event::Retained { topic, payload: publish.payload, mark });
            }
            Verdict::Wanted(topic) => {
                if let Some(payload) = self.whole(&publish.topic, publish.payload) {
                    let from = Origin::Topic(topic);
                    self.stage_message(Event::Message { from, payload });
                }
            }
            Verdict::Unwanted => {}
            Verdict::Malformed => {
                dropped("topic");
                tracing::debug!(len = publish.topic.len(), "dropped a message: its topic is none of ours");
            }
        }
        Ok(())
    }

    fn take_directed(&mut self, publish: &Publish) {
        if let Some((name, nonce)) = inbox::decode_announcement(&publish.payload).filter(|_| !publish.retain)
        {
            return self.take_presence(name, &nonce);
        }
        // A retained one would come back with each connection; this library sends none.
        let decoded = if publish.retain { None } else { inbox::decode(&publish.payload) };
        match decoded {
            Some((from, payload)) => {
                if let Some(payload) = self.whole(&publish.topic, payload) {
                    self.stage_message(Event::Message { from: Origin::Peer(from), payload });
                }
            }
            None => {
                dropped("inbox_garbage");
                tracing::debug!(
                    size = publish.payload.len(),
                    "dropped what is no directed message from the inbox"
                );
            }
        }
    }

    /// A message that came in one piece, or whose last fragment this is.
    fn whole(&mut self, topic: &str, payload: Bytes) -> Option<Bytes> {
        if !Fragment::is_fragment(&payload) {
            return Some(payload);
        }
        let taken = match Fragment::parse(&payload) {
            Ok((fragment, part)) => {
                let taken = self.reassembly.take(Instant::now(), topic, fragment, part);
                if taken == Taken::Oversize {
                    self.drop_oversize(fragment.total as usize);
                }
                taken
            }
            Err(error) => {
                dropped("fragment_garbage");
                tracing::debug!(%error, size = payload.len(), "dropped a fragment");
                return None;
            }
        };
        match taken {
            Taken::Whole(payload) => Some(payload),
            Taken::Part | Taken::Oversize => None,
            Taken::Lost => {
                dropped("fragment_lost");
                tracing::debug!(topic, "gave up a message of which a fragment is missing");
                None
            }
        }
    }

    /// A session that announces itself is answered, unless it is this one, or has taken its leave.
    fn owe_answer(&mut self, name: &str, nonce: &Bytes) {
        let announces = self.settings.presence_topic.is_some() && address::is_client_id(name);
        let is_another = name != self.settings.hello.client_id && !nonce.is_empty();
        if announces && is_another && !self.answers.owe(name, Instant::now()) {
            dropped("answers_full");
        }
    }

    fn take_presence(&mut self, name: &str, nonce: &Bytes) {
        let cause = match self.presence.announced(name, nonce, &mut self.staged) {
            Ok(()) => return,
            Err(Refused::NameTaken) => {
                self.tell_namesake();
                "name_taken"
            }
            Err(Refused::Malformed) => "presence_garbage",
            Err(Refused::Full) => "presence_full",
        };
        dropped(cause);
        tracing::debug!(cause, "dropped an announcement");
    }

    fn stage_message(&mut self, event: Event) {
        if let Event::Message { payload, .. } | Event::Retained { payload, .. } = &event {
            if payload.len() > self.settings.max_payload {
                self.drop_oversize(payload.len());
                return;
            }
            self.taken += payload.len();
        }
        self.staged.push_back(event);
    }

    fn drop_oversize(&mut self, size: usize) {
        dropped("oversize");
        tracing::debug!(size, limit = self.settings.max_payload, "dropped a message over the limit");
        if self.closing.is_none() {
            self.staged.push_back(Event::Lagged(1));
        }
    }
}

fn dropped(cause: &'static str) {
    metrics::counter!("ringbus_mqtt_dropped_total", "cause" => cause).increment(1);
}
