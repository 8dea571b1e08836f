//! What a transport is: a factory, a sending half, a receiving half, and what the two promise.
//!
//! A transport moves opaque payloads to topics and to single peers. It knows neither frames nor QoS; what it lacks
//! ([`Capabilities`] states it) is built above this trait or refused, never silently weaker. The
//! [`conformance`] suite is the executable form of this page.

pub mod boxed;
pub mod conformance;
#[cfg(any(feature = "zmq", feature = "zmtp", feature = "mqtt"))]
mod filters;
pub mod locator;
pub mod memory;
#[cfg(feature = "mqtt")]
pub mod mqtt;
#[cfg(any(feature = "zmq", feature = "zmtp", feature = "mqtt"))]
mod under_way;
#[cfg(any(feature = "zmq", feature = "zmtp"))]
pub mod zmq;
#[cfg(feature = "zmtp")]
#[allow(dead_code, unused_imports, reason = "the protocol knows more than the engine asks of it yet")]
mod zmtp;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use boxed::BoxTransport;
pub use locator::Locator;
pub use memory::MemoryTransport;
#[cfg(feature = "mqtt")]
pub use mqtt::MqttTransport;
#[cfg(any(feature = "zmq", feature = "zmtp"))]
pub use zmq::ZmqTransport;

use crate::error::{Error, ErrorKind, Result};
use crate::topic::{Topic, TopicFilter};

/// What transports without [`Capabilities::retained`] do not support.
pub(crate) const RETAINED: &str = "retained messages: leave .retain() out, or publish over MQTT";

/// A way to carry messages. The value is a description (an address, options); [`open`](Self::open) makes it live.
pub trait Transport: Send + Sized + 'static {
    /// The sending half.
    type Tx: TransportTx;
    /// The receiving half.
    type Rx: TransportRx;

    /// Binds, connects and returns the two halves. When it returns, subscribing and sending work.
    ///
    /// # Errors
    /// [`AddressInUse`](crate::ErrorKind::AddressInUse), [`Unreachable`](crate::ErrorKind::Unreachable) (a broker that
    /// does not answer within [`OpenOptions::connect_timeout`]),
    /// [`InvalidAddress`](crate::ErrorKind::InvalidAddress). Nothing stays open after an error.
    fn open(self, options: OpenOptions) -> impl Future<Output = Result<(Self::Tx, Self::Rx)>> + Send;
}

/// What a session asks of the transport that it opens.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// The largest payload that is sent or accepted, in bytes. A larger one from a peer is dropped and counted before
    /// it is copied.
    pub max_payload: usize,
    /// The bound, in messages, of each of the transport's queues.
    pub queue: usize,
    /// How long `open` waits for a broker.
    pub connect_timeout: Duration,
}

impl Default for OpenOptions {
    /// 16 MiB payloads, queues of 1,024 messages, five seconds.
    fn default() -> Self {
        Self { max_payload: 16 << 20, queue: 1024, connect_timeout: Duration::from_secs(5) }
    }
}

/// The sending half: cheap to clone, usable from any task.
pub trait TransportTx: Clone + Send + Sync + 'static {
    /// What this transport can do.
    fn capabilities(&self) -> &Capabilities;

    /// The address under which peers reach this session.
    fn local(&self) -> &Locator;

    /// Hands one message over without waiting. `Ok` means accepted by the transport, not delivered.
    ///
    /// # Errors
    /// [`TrySendError::Full`] gives the message back: try again, or use [`send_batch`](Self::send_batch).
    /// [`TrySendError::Failed`] (too large, a foreign locator, closed) consumes it; nothing was sent.
    fn try_send(&self, outbound: Outbound) -> Result<(), TrySendError>;

    /// Hands messages over in order, waiting where the transport is busy. Accepted messages leave the vector.
    ///
    /// Cancel-safe: a cancelled call leaves what was not accepted in the vector, in order.
    ///
    /// # Errors
    /// The first message that fails for good is removed and its error returned; those after it stay.
    fn send_batch(&self, batch: &mut Vec<Outbound>) -> impl Future<Output = Result<()>> + Send;

    /// What this transport wants in front of every message to `topic`, so that it can send both from one piece of memory:
    /// see [`Outbound::framed`]. Nothing, for most.
    fn lead(&self, _topic: &Topic) -> Bytes {
        Bytes::new()
    }

    /// How many messages to topics were accepted and have not left the process yet. While there are any, publishers
    /// gather samples; when there are none, they send at once. A transport that cannot know says 0: its publishers
    /// gather only while [`try_send`](Self::try_send) says that it is full.
    fn backlog(&self) -> usize {
        0
    }

    /// Waits until the [`backlog`](Self::backlog) is below so many messages. Cancel-safe.
    fn drained(&self, _below: usize) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Waits until everything that was handed over with a [`Guarantee`] before the call has been acknowledged by whoever
    /// acknowledges it: a broker. It does not wait for what is handed over meanwhile. A transport without acknowledgements
    /// of its own, which is the default, is ready at once. Cancel-safe.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed) if the session ended first: what was not acknowledged may be lost.
    /// [`Denied`](crate::ErrorKind::Denied) while the broker refuses the session: what was not acknowledged is kept.
    fn acknowledged(&self) -> impl Future<Output = Result<()>> + Send {
        std::future::ready(Ok(()))
    }

    /// Why nothing can be sent for now: the broker refuses the session's credentials. `None`, the default, wherever that is not
    /// so. Told by [`Event::Denied`], and over with [`Event::Reconnected`]. It is asked for each sample: it has to be cheap.
    fn denied(&self) -> Option<Error> {
        None
    }

    /// The address of the broker that messages pass through, for messages to users. `None`, the default, where there is none.
    fn broker(&self) -> Option<&str> {
        None
    }

    /// The largest payload to a topic, in bytes, that travels in one piece as far as is known now: larger frames are
    /// taken all the same, and cost more, so batches are kept below it. `usize::MAX`, the default, if there is none.
    fn one_piece(&self, _topic: &Topic) -> usize {
        usize::MAX
    }

    /// The same of a payload to one peer: bundles of messages are kept below it. `usize::MAX`, the
    /// default, if there is none.
    fn one_piece_to(&self, _peer: &Locator) -> usize {
        usize::MAX
    }

    /// Why a message to this topic was given up, if one was since this was last asked: [`Refused`](crate::ErrorKind::Refused),
    /// told by [`Event::Refused`], too. A transport that gives up none, which is the default, says `None`.
    fn take_refusal(&self, _topic: &Topic) -> Option<Error> {
        None
    }

    /// Subscribes to a filter. Where [`Capabilities::confirmed_subscriptions`] holds, `Ok` means that the broker has
    /// confirmed it. A filter counts once, however often it is subscribed. It survives reconnects.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed), [`Denied`](crate::ErrorKind::Denied), or the broker's refusal. The set of
    /// subscriptions is as it was.
    fn subscribe(&self, filter: &TopicFilter) -> impl Future<Output = Result<()>> + Send;

    /// As [`subscribe`](Self::subscribe), and what the broker has kept under the filter comes as [`Event::Retained`] with this
    /// mark, once for each call, also for a filter that is subscribed to already. Where nothing is
    /// [kept](Capabilities::retained), which is the default, it is that call.
    ///
    /// # Errors
    /// As for [`subscribe`](Self::subscribe).
    fn subscribe_retained(
        &self,
        filter: &TopicFilter,
        _mark: u64,
    ) -> impl Future<Output = Result<()>> + Send {
        self.subscribe(filter)
    }

    /// Takes a subscription back. Unknown filters are ignored.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed).
    fn unsubscribe(&self, filter: &TopicFilter) -> impl Future<Output = Result<()>> + Send;

    /// Connects to a peer, in both directions where its address allows, and stays connected until
    /// [`detach`](Self::detach): connections come back by themselves. `Ok` means that the address is good, not that the
    /// peer is there; [`Event::PeerUp`] says that. Attaching twice, or to oneself, changes nothing.
    ///
    /// # Errors
    /// [`ForeignLocator`](crate::ErrorKind::ForeignLocator), [`InvalidAddress`](crate::ErrorKind::InvalidAddress).
    fn attach(&self, peer: &Locator) -> impl Future<Output = Result<()>> + Send;

    /// Lets go of a peer. Unknown peers are ignored.
    ///
    /// # Errors
    /// [`ForeignLocator`](crate::ErrorKind::ForeignLocator).
    fn detach(&self, peer: &Locator) -> impl Future<Output = Result<()>> + Send;

    /// Stops taking messages, flushes until the deadline, disconnects cleanly. Afterwards every call fails with
    /// [`Closed`](crate::ErrorKind::Closed) and the receiving half ends. Closing twice is `Ok`.
    ///
    /// # Errors
    /// Never for undelivered messages: those are counted in the answer.
    fn close(&self, deadline: Duration) -> impl Future<Output = Result<Undelivered>> + Send;
}

/// The receiving half. Dropping both halves without `close` disconnects without flushing.
pub trait TransportRx: Send + 'static {
    /// Waits for at least one event, then appends up to `max` that are at hand. Returns how many.
    ///
    /// Cancel-safe: no event is lost by cancelling.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed) after `close`, once everything received before it was handed out. Passing
    /// trouble (a lost connection) is an [`Event`], not an error.
    fn recv_batch(
        &mut self,
        events: &mut Vec<Event>,
        max: usize,
    ) -> impl Future<Output = Result<usize>> + Send;

    /// Lets the transport offer messages to `sink` where it notices them, before anybody is woken for them. What the sink refuses,
    /// and all else, comes by [`recv_batch`](Self::recv_batch): every message comes by one of the two, once. Nothing is offered
    /// from the moment in which `recv_batch` returns events until it is called again, so that messages which are dealt with in
    /// between stay in their order.
    ///
    /// The first sink stays. A transport that offers nothing, which is the default, is right, too: it costs the wait for a task.
    fn set_sink(&mut self, sink: Arc<dyn MessageSink>) {
        drop(sink);
    }
}

/// Takes messages where they are noticed: see [`TransportRx::set_sink`].
pub trait MessageSink: Send + Sync + 'static {
    /// Takes a message, or returns what it does not take of it: that comes by [`TransportRx::recv_batch`], as a message of its
    /// own, and so do the messages behind it.
    ///
    /// It is called on the thread that looks for events, the runtime's reactor for instance, and while nothing can be received
    /// otherwise: it must not wait, and must not use the receiving half.
    fn take(&self, from: &Origin, payload: Bytes) -> Option<Bytes>;
}

/// What a transport can do: stated, so that a session does not have to guess.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// The scheme of the transport's locators, without the colon, for messages.
    pub name: &'static str,
    /// The largest payload in bytes, of [`OpenOptions::max_payload`] and the transport's own limit.
    pub max_payload: usize,
    /// Messages pass through a broker: sharing one is enough to reach each other, `attach` needs nothing.
    pub brokered: bool,
    /// What `Ok` of a send means at best.
    pub delivery: Delivery,
    /// Directed messages travel on their own connection rather than through a topic.
    pub native_directed: bool,
    /// The transport itself keeps a last message for late joiners.
    pub retained: bool,
    /// The transport itself tells others when a session dies.
    pub last_will: bool,
    /// `subscribe` returns when the subscription works.
    pub confirmed_subscriptions: bool,
    /// A peer's new subscription is reported as [`Event::Interest`].
    pub interest: bool,
}

/// What became of a message whose send returned `Ok`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Delivery {
    /// It is in the transport's queue towards each connected peer.
    Queued,
    /// It will be handed over until the broker has acknowledged it (messages sent as reliable).
    Acknowledged,
}

/// Where a message goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Destination {
    /// To everyone whose subscription matches, the sender included if its own does.
    Topic(Topic),
    /// To one peer.
    Peer(Locator),
}

/// A message on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbound {
    /// Where to.
    pub to: Destination,
    /// The bytes.
    pub payload: Bytes,
    /// The same bytes once more, behind the [lead](TransportTx::lead) that the transport asked for, in one piece of
    /// memory with it. A hint that saves a copy; a transport may ignore it.
    pub framed: Option<Bytes>,
    /// What the transport itself is to do so that it arrives, where it can do anything.
    pub guarantee: Guarantee,
    /// Whether the broker is to keep it for those who subscribe later, until the next one on its topic; an empty one ends
    /// that. A transport without [`Capabilities::retained`] refuses it.
    pub retain: bool,
}

/// How far a transport's own acknowledgements are used for a message: MQTT's QoS 0, 1 and 2. Transports without any make no
/// difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Guarantee {
    /// Not at all: it is lost if the connection is, or comes once.
    #[default]
    AtMostOnce,
    /// It is handed over again until it is acknowledged, and may come twice.
    AtLeastOnce,
    /// As before, and it does not come twice as long as the connection lasts; what became of it when a connection was
    /// lost amid its acknowledgements may stay open, and then it is handed over again. The module `mqtt` says when.
    ExactlyOnce,
}

impl Outbound {
    /// A message to a topic, without acknowledgement.
    pub fn topic(topic: Topic, payload: impl Into<Bytes>) -> Self {
        Self {
            to: Destination::Topic(topic),
            payload: payload.into(),
            framed: None,
            guarantee: Guarantee::AtMostOnce,
            retain: false,
        }
    }

    /// A message to one peer, acknowledged where the transport can.
    pub fn peer(peer: Locator, payload: impl Into<Bytes>) -> Self {
        let (to, guarantee) = (Destination::Peer(peer), Guarantee::AtLeastOnce);
        Self { to, payload: payload.into(), framed: None, guarantee, retain: false }
    }

    /// The same message, acknowledged where the transport can: at least once.
    pub fn reliable(self) -> Self {
        self.guaranteed(Guarantee::AtLeastOnce)
    }

    /// The same message, [acknowledged](Self::reliable) or not.
    pub fn reliable_if(self, reliable: bool) -> Self {
        self.guaranteed(if reliable { Guarantee::AtLeastOnce } else { Guarantee::AtMostOnce })
    }

    /// The same message, to come once where the transport can tell second copies apart.
    pub fn exactly_once(self) -> Self {
        self.guaranteed(Guarantee::ExactlyOnce)
    }

    /// The same message with another guarantee.
    pub fn guaranteed(mut self, guarantee: Guarantee) -> Self {
        self.guarantee = guarantee;
        self
    }

    /// The same message, for the broker to [keep](Self::retain).
    pub fn retained(mut self) -> Self {
        self.retain = true;
        self
    }

    /// Fails if it is to be kept: for transports that keep nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`].
    pub fn refuse_retained(&self, transport: &'static str) -> Result<()> {
        if self.retain {
            return Err(ErrorKind::Unsupported { transport, what: RETAINED }.into());
        }
        Ok(())
    }

    /// Whether it is acknowledged where the transport can.
    pub fn is_reliable(&self) -> bool {
        self.guarantee != Guarantee::AtMostOnce
    }
}

/// Where a message came from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Origin {
    /// It was published to this topic; who sent it is the payload's affair.
    Topic(Topic),
    /// This peer sent it to us alone; answering to this locator works.
    Peer(Locator),
}

/// What a transport has to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A message.
    Message {
        /// Where from.
        from: Origin,
        /// The bytes.
        payload: Bytes,
    },
    /// A message that the broker has kept, and hands out because of a subscription: it is not new.
    Retained {
        /// The topic that it was published on.
        topic: Topic,
        /// The bytes.
        payload: Bytes,
        /// That of the [subscription](TransportTx::subscribe_retained) which brought it. `None` if that is not known, or
        /// several did: after a reconnect all of them bring it again.
        mark: Option<u64>,
    },
    /// A peer can be reached: it was attached or attached to us, or announced itself at the broker.
    PeerUp(Locator),
    /// A peer was lost or has left. A hint: the peer may come back.
    PeerDown(Locator),
    /// The connection to the broker was lost; the transport tries to connect again, until [`Reconnected`](Self::Reconnected).
    Disconnected {
        /// What ended it.
        reason: String,
    },
    /// A message that was accepted is given up: the broker closes the connection over it again and again, or never
    /// acknowledges it. Everything else goes on. Further messages like it may fail at once, as
    /// [`ErrorKind::Refused`], until the broker has been away, or for a minute.
    Refused {
        /// Where it was to go.
        to: Destination,
        /// Its size in bytes.
        size: usize,
        /// The broker's address.
        broker: String,
        /// What the broker did, and what is likely.
        reason: String,
        /// The message.
        payload: Bytes,
    },
    /// A subscription that was in force is no more: the broker, or another one in its place, refuses it or closes the
    /// connection over it again and again. All others are in force. It is tried again when the broker has been away.
    SubscriptionRefused {
        /// The filter: the one that was asked for, or one that stands for several.
        filter: TopicFilter,
        /// The broker's address.
        broker: String,
        /// What the broker does, and what is likely.
        reason: String,
    },
    /// The broker refuses the session's credentials: sends, subscriptions and what waits for acknowledgements fail with
    /// [`ErrorKind::Denied`] until [`Reconnected`](Self::Reconnected). Told once for each reason.
    Denied {
        /// The broker's address.
        broker: String,
        /// The broker's reason, and what to look at.
        reason: String,
    },
    /// Another session uses this one's name at the broker. Told once.
    NameTaken {
        /// The broker's address.
        broker: String,
        /// The name.
        name: String,
        /// Whether that session has had the name for longer: then this one ends, and every call fails with
        /// [`ErrorKind::NameTaken`]. Otherwise the other one does, if it can.
        ends: bool,
    },
    /// A connection was lost and is back; subscriptions are in force again. What was sent meanwhile may be lost.
    Reconnected {
        /// Whether the broker kept the session's state.
        session_present: bool,
    },
    /// A peer's subscription has reached this side: what is published from now on reaches it. The filter may be wider
    /// than what the peer asked for.
    Interest(TopicFilter),
    /// So many messages were lost here, because the receiving half was too slow or a message was over the limit.
    Lagged(u64),
    /// A peer cannot be reached, or what it publishes cannot: nobody answers, its name is unknown, there are no descriptors.
    /// It is tried again as long as it is attached. Told once, until it was reached.
    Unreachable {
        /// The peer.
        peer: Locator,
        /// What stands in the way, and what to look at.
        reason: String,
    },
}

/// Why [`TransportTx::try_send`] did not take a message.
#[derive(Debug, thiserror::Error)]
pub enum TrySendError {
    /// The queue is full; here is the message back.
    #[error("the transport's queue is full")]
    Full(Outbound),
    /// It can never be sent.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// What `close` could not deliver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Undelivered {
    /// Messages that were accepted and not handed over, as far as the transport can know.
    pub messages: usize,
}
