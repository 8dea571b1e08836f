//! What a broker refuses, told to the publisher that sent it.

use std::sync::Arc;

use bytes::Bytes;

use super::control::Message;
use super::events::MatchEvent;
use super::hub::{Hub, Key};
use super::via;
use super::writer_endpoint::WriterEndpoint;
use crate::error::{Error, ErrorKind};
use crate::message::EntityId;
use crate::quiet::lock;
use crate::topic::TopicFilter;
use crate::transport::{Destination, TransportTx};
use crate::wire::{self, Frame, Room};

/// A message that the transport has given up.
#[derive(Debug, Clone, Copy)]
pub(super) struct GivenUp<'a> {
    pub(super) to: &'a Destination,
    pub(super) size: usize,
    pub(super) broker: &'a str,
    pub(super) reason: &'a str,
    pub(super) payload: &'a Bytes,
}

/// Who sent a message, and the samples in it.
enum Sender {
    /// A publisher of values without frames.
    Plain,
    Writer(EntityId, Option<(u64, u64)>),
    /// None of the publishers.
    Other,
}

impl<Tx: TransportTx> Hub<Tx> {
    /// The transport has given up a message.
    pub(super) fn on_refused(&self, message: GivenUp<'_>) {
        let topic = match message.to {
            Destination::Topic(topic) => Some(topic),
            Destination::Peer(_) => None,
        };
        match (sender(message.payload), topic) {
            (Sender::Writer(id, frame), topic) => {
                let relayed = topic.is_some_and(via::is_relayed);
                if let Some(writer) = self.writer(Key { id, relayed }) {
                    writer.on_refused(frame, message);
                }
            }
            (Sender::Plain, Some(topic)) => {
                let plain: Vec<_> =
                    lock(&self.plain).iter().filter(|writer| writer.topic() == topic).cloned().collect();
                plain.iter().for_each(|writer| writer.on_refused(None, message));
            }
            _ => {}
        }
    }

    /// The transport has lost a subscription.
    pub(super) fn on_subscription_refused(&self, filter: &TopicFilter, broker: &str, reason: &str) {
        for reader in self.readers_of(filter) {
            let (filter, broker, reason) =
                (reader.wire_filter().clone(), broker.to_owned(), reason.to_owned());
            reader.events().push(MatchEvent::SubscriptionRefused { filter, broker, reason });
        }
    }

    /// Adds a publisher of values without frames: nothing comes for it but what the transport says of its messages.
    pub(super) fn add_plain(&self, writer: &Arc<WriterEndpoint<Tx>>) {
        lock(&self.plain).push(writer.clone());
    }

    /// Ends [`add_plain`](Self::add_plain).
    pub(super) fn remove_plain(&self, writer: &Arc<WriterEndpoint<Tx>>) {
        lock(&self.plain).retain(|known| !Arc::ptr_eq(known, writer));
    }
}

impl<Tx: TransportTx> WriterEndpoint<Tx> {
    fn on_refused(&self, frame: Option<(u64, u64)>, message: GivenUp<'_>) {
        let GivenUp { to, size, broker, reason, .. } = message;
        self.with_core(|core| core.on_refused(frame));
        // A flush asks the transport, too, and may have told it before this event came.
        let told = match to {
            Destination::Topic(topic) => self.transport().take_refusal(topic).is_none(),
            Destination::Peer(_) => false,
        };
        self.tell_refused(size, broker, reason, !told);
    }

    /// Tells the user, and, if asked to, the next flush.
    pub(super) fn tell_refused(&self, size: usize, broker: &str, reason: &str, flush: bool) {
        let (broker, reason, topic) = (broker.to_owned(), reason.to_owned(), self.topic().clone());
        if flush {
            let (topic, broker, reason) = (topic.to_string(), broker.clone(), reason.clone());
            self.note_refusal(ErrorKind::Refused { topic, size, broker, reason });
        }
        self.events().push(MatchEvent::Refused { topic, size, broker, reason });
    }

    /// Why something that was published was given up, if it was since the last call.
    pub(super) fn take_refusal(&self) -> Option<Error> {
        self.refusal().map(Error::from).or_else(|| self.transport().take_refusal(self.topic()))
    }
}

fn sender(payload: &Bytes) -> Sender {
    if !Frame::is_frame(payload) {
        return Sender::Plain;
    }
    match Frame::parse(payload.clone()) {
        Ok(Frame::Data(frame)) => {
            let header = frame.header();
            Sender::Writer(header.writer, Some((header.first, header.end())))
        }
        Ok(Frame::Control { room: Room::PubSub, body }) => match wire::decode_body::<Message>(&body) {
            Ok(Message::Heartbeat(heartbeat)) => Sender::Writer(heartbeat.writer, None),
            Ok(Message::WriterBye { writer, .. }) => Sender::Writer(writer, None),
            _ => Sender::Other,
        },
        _ => Sender::Other,
    }
}
