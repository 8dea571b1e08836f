//! What a peer has sent: to the session, to its inbox, or nowhere.

use std::sync::Arc;

use bytes::Bytes;

use super::super::{Command, Frame, FrameError, Subscription};
use super::credit::Credit;
use super::inbox::Delivery;
use super::item::Item;
use super::outgoing::Outgoing;
use super::role::{MAX_SUBSCRIPTION, Role};
use super::session::Session;
use crate::transport::filters::Verdict;
use crate::transport::zmq::control::{Control, DATA, DATA_APART};
use crate::transport::zmq::drops::{self, dropped};
use crate::transport::zmq::prefix;
use crate::transport::{Event, Locator, Origin};

/// Up to this size, in bytes, a payload is copied: it would keep all alive that was read together with it.
const COPY_UP_TO: usize = 8192;

/// Why a connection has to end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the peer ends the connection: {0}")]
    Error(String),
    #[error("the peer has too many subscriptions")]
    Subscriptions,
    #[error("a subscription of {0} bytes")]
    LongSubscription(usize),
}

/// Takes the frames of one connection.
pub(super) struct Incoming {
    session: Arc<Session>,
    outgoing: Arc<Outgoing>,
    role: Role,
    number: u64,
    pub(super) credit: Arc<Credit>,
    /// The first frames of the message that is coming, and how many it has.
    parts: [Bytes; 2],
    count: usize,
}

impl Incoming {
    pub(super) fn new(session: Arc<Session>, outgoing: Arc<Outgoing>, role: Role, number: u64) -> Self {
        let credit = Arc::new(Credit::new(session.options.queue));
        Self { session, outgoing, role, number, credit, parts: Default::default(), count: 0 }
    }

    /// Takes a frame.
    ///
    /// # Errors
    /// [`Broken`]: the connection has to end.
    pub(super) fn take(&mut self, frame: Frame, delivery: &mut Delivery<'_>) -> Result<(), Broken> {
        if frame.command {
            return self.command(&frame.body, delivery);
        }
        if let Some(part) = self.parts.get_mut(self.count) {
            *part = frame.body;
        }
        self.count += 1;
        if frame.more {
            return Ok(());
        }
        let count = std::mem::take(&mut self.count);
        let [head, body] = std::mem::take(&mut self.parts);
        match &self.role {
            Role::Feed => self.publication(count, &head, delivery),
            Role::Subscriber => return self.message_of_subscriber(count, &head, delivery),
            Role::Dealer(peer) => {
                let peer = peer.clone();
                self.directed(count, &head, body, &peer, delivery);
            }
            Role::Router(Some(peer)) => {
                let peer = peer.clone();
                self.directed(count, &head, body, &peer, delivery);
            }
            Role::Router(None) => dropped("no locator for a name", &count),
        }
        Ok(())
    }

    fn command(&mut self, body: &Bytes, delivery: &mut Delivery<'_>) -> Result<(), Broken> {
        match Command::decode(body)? {
            Command::Subscription(subscription) if matches!(self.role, Role::Subscriber) => {
                self.subscription(subscription, delivery)
            }
            Command::Ping { context, .. } => {
                // One that sends PINGs and does not read goes without answers.
                self.outgoing.push(Item::Pong(context));
                Ok(())
            }
            Command::Error { reason } => Err(Broken::Error(reason)),
            Command::Subscription(_) | Command::Pong { .. } | Command::Unknown { .. } => Ok(()),
        }
    }

    fn message_of_subscriber(
        &mut self,
        count: usize,
        body: &Bytes,
        delivery: &mut Delivery<'_>,
    ) -> Result<(), Broken> {
        match Subscription::from_message(body) {
            Some(subscription) if count == 1 => self.subscription(subscription, delivery),
            _ => {
                dropped("not a subscription", &body.len());
                Ok(())
            }
        }
    }

    fn subscription(
        &mut self,
        subscription: Subscription,
        delivery: &mut Delivery<'_>,
    ) -> Result<(), Broken> {
        let audiences = &self.session.audiences;
        match subscription {
            Subscription::Subscribe(prefix) => {
                if prefix.len() > MAX_SUBSCRIPTION {
                    return Err(Broken::LongSubscription(prefix.len()));
                }
                audiences.subscribe(self.number, &prefix).ok_or(Broken::Subscriptions)?;
                if let Some(filter) = prefix::interest(&prefix) {
                    delivery.event(Event::Interest(filter), prefix.len(), &self.credit);
                }
            }
            Subscription::Cancel(prefix) => audiences.cancel(self.number, &prefix),
        }
        Ok(())
    }

    fn publication(&self, count: usize, frame: &Bytes, delivery: &mut Delivery<'_>) {
        if count > 1 {
            return drops::several_frames(frame.len());
        }
        let Some(end) = prefix::topic_end(frame) else { return drops::without_topic(frame.len()) };
        let topic = match self.session.audiences.judge(&frame[..end]) {
            Verdict::Unwanted => return,
            Verdict::Malformed => return dropped("publication to an invalid topic", &end),
            Verdict::Wanted(topic) => topic,
        };
        let size = frame.len() - end - 1;
        if size > self.session.options.max_payload {
            dropped("oversize", &(topic, size));
            return delivery.event(Event::Lagged(1), 0, &self.credit);
        }
        delivery.message(Origin::Topic(topic), payload(frame, end + 1), &self.credit);
    }

    fn directed(&self, count: usize, head: &Bytes, body: Bytes, from: &Locator, delivery: &mut Delivery<'_>) {
        let (frame, start) = match (head.first(), count) {
            (Some(&DATA), 1) => (head.clone(), 1),
            (Some(&DATA_APART), 2) if head.len() == 1 => (body, 0),
            (Some(_), 1) if Control::is_control(head) => return self.control(head, from),
            (None, _) => return dropped("empty message", from),
            _ => return dropped("unknown kind of message", from),
        };
        let size = frame.len() - start;
        if size > self.session.options.max_payload {
            dropped("oversize", &(from, size));
            return delivery.event(Event::Lagged(1), 0, &self.credit);
        }
        delivery.message(Origin::Peer(from.clone()), payload(&frame, start), &self.credit);
    }

    fn control(&self, frame: &Bytes, from: &Locator) {
        match Control::read(frame) {
            Ok(control) if matches!(self.role, Role::Dealer(_)) => {
                self.session.on_dealer_control(from, self.number, control);
            }
            Ok(control) => self.session.on_router_control(from, self.number, control),
            Err(cause) => dropped(cause, from),
        }
    }
}

fn payload(frame: &Bytes, start: usize) -> Bytes {
    if frame.len() <= COPY_UP_TO { Bytes::copy_from_slice(&frame[start..]) } else { frame.slice(start..) }
}
