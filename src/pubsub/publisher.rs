//! Publishers.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::discovery::{Announcement, Discovery, Offer};
use super::events::Events;
use super::hub::Hub;
use super::publisher_stats::PublisherStats;
use super::writer::{Lack, WriterConfig, WriterCore, one_piece};
use super::writer_endpoint::waits::Flushed;
use super::writer_endpoint::{Refused, Until, WriterEndpoint, closed};
use crate::error::{ErrorKind, Result};
use crate::message::{Encoding, EntityId};
use crate::qos::{DEFAULT_DEPTH, Offered, Overflow, Reliability};
use crate::session::Session;
use crate::time::Timestamp;
use crate::topic::{Topic, why_refused};
use crate::transport::{Guarantee, Outbound, RETAINED, Transport, TransportTx};
use crate::wire::{DATA_HEADER_LEN, MAX_SAMPLES, SAMPLE_OVERHEAD};

/// The frame size at which an open batch is full, in bytes.
const BATCH_BYTES: usize = 128 << 10;
/// A batch is not made larger than this: what is asked for beyond is a mistake in the unit.
const MAX_BATCH_BYTES: usize = 16 << 20;

/// Publishes values of one type on one topic. Built by [`Session::publisher`].
///
/// Dropping it says goodbye to the subscribers without waiting for them; [`close`](Self::close) flushes first.
pub struct Publisher<M, T: Transport> {
    // Withdrawn before the session, whose last handle this may be, is let go.
    announcement: Option<Box<dyn Announcement>>,
    session: Session<T>,
    hub: Arc<Hub<T::Tx>>,
    writer: Arc<WriterEndpoint<T::Tx>>,
    encoding: Encoding,
    /// What a value without a frame is sent with; `None` if values have frames.
    plain: Option<Guarantee>,
    /// Whether the broker is to keep it.
    retain: bool,
    message: PhantomData<fn(M)>,
}

impl<M: Serialize, T: Transport> Publisher<M, T> {
    /// Publishes a value, true as of now. Waits while the link is busy and the open batch full, and under keep-all also
    /// while the history is full of samples that reliable subscribers have not acknowledged. With an [`Overflow`] of
    /// drop-oldest or drop-newest it does not wait: samples give way, and [`stats`](Self::stats) counts them.
    ///
    /// `Ok` means that the publisher has taken it and sends it without being asked again; [`flush`](Self::flush) tells
    /// when it has arrived. Cancel-safe: a cancelled call has either published the value or not.
    ///
    /// # Errors
    /// [`ErrorKind::Encode`], [`ErrorKind::PayloadTooLarge`]: the value was not published. [`ErrorKind::Refused`] where the
    /// broker has refused such a message before: it was not sent. [`ErrorKind::Closed`]: nothing
    /// is published any more. [`ErrorKind::Denied`]: nothing is published while a broker refuses the session's
    /// credentials; what was published before is kept for it. [`ErrorKind::Reentrant`] from within a `Serialize` that this
    /// publisher runs, or one that waits for it.
    pub async fn publish(&self, value: &M) -> Result<()> {
        self.publish_inner(value, None).await
    }

    /// Like [`publish`](Self::publish), with the time at which the value was true at its source.
    ///
    /// # Errors
    /// As for [`publish`](Self::publish); and [`ErrorKind::InvalidArgument`] from a
    /// [plain](PublisherBuilder::plain) publisher, whose messages are the values alone and carry no time: the value was
    /// not published.
    pub async fn publish_at(&self, value: &M, source: Timestamp) -> Result<()> {
        if self.plain.is_some() {
            return Err(no_place_for_a_time(source));
        }
        self.publish_inner(value, Some(source)).await
    }

    /// Publishes a value if that can be done without waiting.
    ///
    /// # Errors
    /// [`ErrorKind::Full`] if [`publish`](Self::publish) would have to wait; and as there. The value was not published.
    pub fn try_publish(&self, value: &M) -> Result<()> {
        loop {
            match self.push(value, None) {
                Ok(()) => return Ok(()),
                Err(Refused::Again) => {}
                Err(Refused::Full { what, limit, .. }) => return Err(ErrorKind::Full { what, limit }.into()),
                Err(Refused::Failed(error)) => return Err(error),
            }
        }
    }

    async fn publish_inner(&self, value: &M, source: Option<Timestamp>) -> Result<()> {
        let drops = match self.writer.overflow() {
            Overflow::DropNewest => true,
            // Of plain values none waits here that could give way.
            Overflow::DropOldest => self.plain.is_some(),
            Overflow::Wait | Overflow::Disconnect => false,
        };
        if let Some(guarantee) = self.plain.filter(|_| !drops) {
            return self.send_plain(value, guarantee).await;
        }
        match self.push(value, source) {
            Ok(()) => Ok(()),
            Err(Refused::Failed(error)) => Err(error),
            Err(Refused::Full { .. } | Refused::Again) => self.publish_later(value, source, drops).await,
        }
    }

    async fn publish_later(&self, value: &M, source: Option<Timestamp>, drops: bool) -> Result<()> {
        loop {
            // Registered before looking, so that no progress in between is missed.
            let progress = self.writer.progress();
            match self.push(value, source) {
                Ok(()) => return Ok(()),
                Err(Refused::Failed(error)) => return Err(error),
                // Whoever publishes without a pause must let those run who make room.
                Err(Refused::Again) => tokio::task::yield_now().await,
                Err(Refused::Full { lack, .. }) if drops => {
                    self.writer.count_dropped(lack);
                    tokio::task::yield_now().await;
                    return Ok(());
                }
                Err(Refused::Full { until: Until::Progress, .. }) => progress.await,
                Err(Refused::Full { until: Until::Link, .. }) => tokio::select! {
                    () = progress => {}
                    () = self.writer.link_has_room() => {}
                },
            }
        }
    }

    fn push(&self, value: &M, source: Option<Timestamp>) -> Result<(), Refused> {
        if let Some(guarantee) = self.plain {
            let outbound = self.plain_message(value, guarantee).map_err(Refused::Failed)?;
            let sent = self.session.core().tx.try_send(outbound).map(|()| self.writer.count_plain());
            return sent.map_err(|error| match error {
                crate::transport::TrySendError::Full(_) => {
                    let (lack, until) = (Lack::Link, Until::Progress);
                    Refused::Full { lack, what: "transport queue", limit: 1, until }
                }
                crate::transport::TrySendError::Failed(error) => Refused::Failed(error),
            });
        }
        self.writer.try_push(&self.hub, source, |out| self.encoding.encode(value, out))
    }

    async fn send_plain(&self, value: &M, guarantee: Guarantee) -> Result<()> {
        let mut batch = vec![self.plain_message(value, guarantee)?];
        self.session.core().tx.send_batch(&mut batch).await.map(|()| self.writer.count_plain())
    }

    fn plain_message(&self, value: &M, guarantee: Guarantee) -> Result<Outbound> {
        // Where nothing is acknowledged, the transport does not know that nobody looks after the session any more.
        self.session.core().check_open().map_err(|_| closed())?;
        let mut payload = Vec::new();
        self.encoding.encode(value, &mut payload)?;
        let limit = self.session.capabilities().max_payload;
        if payload.len() > limit {
            return Err(ErrorKind::PayloadTooLarge { size: payload.len(), limit }.into());
        }
        let outbound = Outbound::topic(self.writer.topic().clone(), payload).guaranteed(guarantee);
        Ok(Outbound { retain: self.retain, ..outbound })
    }
}

impl<M, T: Transport> Publisher<M, T> {
    /// This publisher's identity, as subscribers see it.
    pub fn id(&self) -> EntityId {
        self.writer.id()
    }

    /// The topic.
    pub fn topic(&self) -> &Topic {
        self.writer.topic()
    }

    /// Matches, mismatches, departures, and subscribers that hold this publisher up.
    pub fn events(&self) -> Events {
        self.writer.events().clone()
    }

    /// What was published, dropped and repaired, by cause. Asked from within a `Serialize` that this publisher runs, it is
    /// what the last call from elsewhere has told.
    pub fn stats(&self) -> PublisherStats {
        self.writer.stats()
    }

    /// The ring node that is responsible for the topic, by name, if the publisher is registered with a ring.
    pub fn responsible(&self) -> Option<String> {
        self.announcement.as_ref().and_then(|announcement| announcement.responsible())
    }

    /// How many subscribers match now.
    pub fn subscribers(&self) -> usize {
        *self.writer.matched().borrow()
    }

    /// Waits until at least `n` subscribers match and really receive: each has heard this publisher on the data path
    /// itself and has said so. What is published afterwards reaches them.
    ///
    /// Cancel-safe; combine it with a timeout.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] if the session closes first.
    /// [`ErrorKind::Denied`] while a broker refuses the session: nobody can match before it takes it again.
    /// [`ErrorKind::Reentrant`] from within a `Serialize` that this publisher runs.
    pub async fn matched(&self, n: usize) -> Result<()> {
        let mut matched = self.writer.matched();
        loop {
            let progress = self.writer.progress();
            matched.mark_unchanged();
            if self.writer.has_matched(n)? {
                return Ok(());
            }
            tokio::select! {
                _ = matched.changed() => {}
                () = progress => {}
            }
        }
    }

    /// Waits until everything published so far was handed to the transport and, if the publisher is reliable, was
    /// acknowledged by every matched reliable subscriber. A subscriber that stays silent holds this up for ten seconds.
    ///
    /// A reliable [plain](PublisherBuilder::plain) publisher knows no subscribers. It waits until the *broker* has
    /// acknowledged (PUBACK or, for QoS 2, PUBCOMP) what the session, all of its publishers together, was handed reliably
    /// before the call; that takes as long as the broker is away. Where there is no broker it returns at once. So does a
    /// reliable publisher of frames that no reliable subscriber matches: the broker alone can say that it has taken them.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] if the session was closed meanwhile; what was not acknowledged may be lost.
    /// [`ErrorKind::Denied`] while a broker refuses the session; what was not acknowledged is kept as it was.
    /// [`ErrorKind::Refused`] if the broker refused something that was published since the last flush: that was given up, and
    /// everything else is flushed.
    /// [`ErrorKind::Reentrant`] from within a `Serialize` that this publisher runs.
    pub async fn flush(&self) -> Result<()> {
        if let Some(guarantee) = self.plain {
            let core = self.session.core();
            core.check_open().map_err(|_| closed())?;
            if guarantee == Guarantee::AtMostOnce {
                return Ok(());
            }
            core.tx.acknowledged().await?;
            return self.writer.take_refusal().map_or(Ok(()), Err);
        }
        let mut broker_has_it = false;
        loop {
            let progress = self.writer.progress();
            match self.writer.has_flushed(&self.hub, broker_has_it)? {
                Flushed::Whole => return Ok(()),
                Flushed::ToBroker => {
                    self.session.core().tx.acknowledged().await?;
                    broker_has_it = true;
                }
                Flushed::NotYet => progress.await,
            }
        }
    }

    /// [Flushes](Self::flush) until the deadline, then says goodbye.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] if something was not acknowledged in time; the publisher is closed all the same.
    pub async fn close(self, deadline: Duration) -> Result<()> {
        let what = || format!("flushing the publisher of {}", self.topic());
        match tokio::time::timeout(deadline, self.flush()).await {
            Ok(flushed) => flushed,
            Err(_) => Err(ErrorKind::Timeout { what: what(), after: deadline }.into()),
        }
    }
}

impl<M, T: Transport> Drop for Publisher<M, T> {
    fn drop(&mut self) {
        if self.plain.is_some() {
            self.hub.remove_plain(&self.writer);
            // Programs that know nothing of this library must not get a frame of it.
            return self.writer.abandon();
        }
        self.writer.close(&self.hub);
        self.hub.remove_writer(&self.writer);
    }
}

impl<M, T: Transport> fmt::Debug for Publisher<M, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("id", &self.id()).field("topic", self.topic()).finish()
    }
}

/// Describes a publisher; [`build`](Self::build) makes it.
#[must_use = "a builder does nothing until it is built"]
pub struct PublisherBuilder<M, T: Transport> {
    session: Session<T>,
    topic: Result<Topic>,
    offered: Offered,
    encoding: Encoding,
    plain: bool,
    at_least_once: bool,
    retain: bool,
    batch_bytes: usize,
    batch_samples: usize,
    discovery: Option<Arc<dyn Discovery>>,
    message: PhantomData<fn(M)>,
}

impl<M: Serialize, T: Transport> PublisherBuilder<M, T> {
    pub(super) fn new(session: Session<T>, topic: &str) -> Self {
        Self {
            session,
            topic: Topic::new(topic),
            offered: Offered::default().keep_last(DEFAULT_DEPTH),
            encoding: Encoding::default(),
            plain: false,
            at_least_once: false,
            retain: false,
            batch_bytes: BATCH_BYTES,
            batch_samples: MAX_SAMPLES,
            discovery: None,
            message: PhantomData,
        }
    }

    /// What the publisher offers; if not called, reliable with keep-last [1,024](DEFAULT_DEPTH), and DDS's defaults for
    /// all else. `Offered::default()` is DDS's default throughout, with keep-last 1.
    pub fn qos(mut self, offered: Offered) -> Self {
        self.offered = offered;
        self
    }

    /// How values are encoded; postcard if not called. Encoding is part of matching: subscribers have to expect the same,
    /// or [any](Encoding::Any); others are told of ([`MatchEvent::EncodingMismatch`](super::MatchEvent)) and get nothing.
    pub fn encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// Sends each value bare, without a frame, for programs that know nothing of this library. There is no matching, no
    /// history and no sequence number then, so over MQTT the broker has to tell second copies apart: a reliable publisher
    /// sends with QoS 2, a best-effort one with QoS 0. (Frames have numbers. They are sent with QoS 1 and QoS 0.)
    ///
    /// With QoS 2 a value comes to the broker once, and is never lost, as long as the connection lasts. If it is lost amid
    /// the handshake, after PUBREL was sent and before PUBCOMP came, it stays open whether the broker has passed the value
    /// on, and it is sent again: it is not lost, and it may come twice. A value whose PUBREL was not sent is sent again as a
    /// new one.
    ///
    /// To a broker that has no QoS 2 it publishes as [`at_least_once`](Self::at_least_once) says.
    pub fn plain(mut self) -> Self {
        self.plain = true;
        self
    }

    /// Has a reliable [plain](Self::plain) publisher send with QoS 1 over MQTT, for half the packets. A reconnect may bring values twice. Other publishers are as they were.
    pub fn at_least_once(mut self) -> Self {
        self.at_least_once = true;
        self
    }

    /// Has the broker keep the last value of a [plain](Self::plain) publisher, for those who subscribe later: they get it at
    /// once, marked in [`SampleInfo::retained`](crate::SampleInfo::retained). It stays when the publisher ends. Over MQTT
    /// only; a publisher with frames keeps a history itself, with transient-local durability.
    pub fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    /// The frame size, in bytes, at which a batch is full; 128 KiB if not called. A batch grows only while earlier frames are on
    /// their way: a sample on an idle link goes alone and at once, whatever this says. A larger sample has a frame of its
    /// own; the transport's largest payload bounds all.
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.batch_bytes = bytes;
        self
    }

    /// How many samples a batch holds at most; 65,535 if not called. With 1 every sample has its own frame.
    pub fn batch_samples(mut self, samples: usize) -> Self {
        self.batch_samples = samples;
        self
    }

    /// Registers the publisher, with a ring for instance, for as long as it lives.
    pub fn discovery(mut self, discovery: Arc<dyn Discovery>) -> Self {
        self.discovery = Some(discovery);
        self
    }

    fn check_retain(&self) -> Result<()> {
        if self.retain && !self.plain {
            return Err(ErrorKind::InvalidArgument {
                what: "publisher",
                value: "retain".into(),
                reason: "brokers keep plain values only: add .plain(), or use transient-local durability"
                    .into(),
            }
            .into());
        }
        let capabilities = self.session.capabilities();
        if self.retain && !capabilities.retained {
            return Err(ErrorKind::Unsupported { transport: capabilities.name, what: RETAINED }.into());
        }
        Ok(())
    }

    /// Makes the publisher, announces it, and registers it if a discovery was given.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidTopic`], also for topics that belong to the library;
    /// [`ErrorKind::InvalidArgument`] for a batch of no size or over 16 MiB, and for [`Encoding::Any`];
    /// [`ErrorKind::InconsistentPolicy`], [`ErrorKind::UnsupportedPolicy`];
    /// [`ErrorKind::InvalidArgument`] or [`ErrorKind::Unsupported`] for [`retain`](Self::retain) without
    /// [`plain`](Self::plain), or on a transport that keeps nothing;
    /// [`ErrorKind::Closed`]; the discovery's. Nothing is left behind.
    pub async fn build(self) -> Result<Publisher<M, T>> {
        self.check_retain()?;
        let topic = self.topic?;
        if topic.is_reserved() {
            let reason = why_refused(topic.as_str());
            return Err(ErrorKind::InvalidTopic { topic: topic.to_string(), reason }.into());
        }
        if self.encoding == Encoding::Any {
            let reason = "values are published in one encoding: choose postcard, json or raw";
            let (what, value) = ("encoding", self.encoding.to_string());
            return Err(ErrorKind::InvalidArgument { what, value, reason: reason.into() }.into());
        }
        check_bound("batch_bytes", self.batch_bytes, MAX_BATCH_BYTES)?;
        check_bound("batch_samples", self.batch_samples, MAX_SAMPLES)?;
        self.offered.validate()?;
        self.offered.supported()?;
        let guarantee = match self.offered.reliability {
            Reliability::BestEffort => Guarantee::AtMostOnce,
            Reliability::Reliable if self.at_least_once => Guarantee::AtLeastOnce,
            Reliability::Reliable => Guarantee::ExactlyOnce,
        };
        let core = self.session.core();
        let hub = Hub::of(core)?;
        let max_payload =
            core.tx.capabilities().max_payload.saturating_sub(DATA_HEADER_LEN + SAMPLE_OVERHEAD);
        let config = WriterConfig {
            id: core.new_entity(),
            epoch: 1,
            topic: topic.clone(),
            offered: self.offered.clone(),
            encoding: self.encoding,
            locator: core.tx.local().clone(),
            max_payload,
            batch_bytes: self.batch_bytes.min(max_payload).min(one_piece::within(core.tx.one_piece(&topic))),
            batch_samples: self.batch_samples,
            brokered: core.tx.broker().is_some(),
            lead: core.tx.lead(&topic),
            pool: hub.pool.clone(),
        };
        let id = config.id;
        let writer =
            Arc::new(WriterEndpoint::new(core.tx.clone(), WriterCore::new(core.clock.now(), config)));
        let mut publisher = Publisher {
            session: self.session.clone(),
            hub: hub.clone(),
            writer: writer.clone(),
            encoding: self.encoding,
            plain: self.plain.then_some(guarantee),
            retain: self.retain,
            announcement: None,
            message: PhantomData,
        };
        if publisher.plain.is_some() {
            hub.add_plain(&writer);
            return Ok(publisher);
        }
        hub.add_writer(writer).await?;
        if let Some(discovery) = self.discovery {
            let (qos, encoding, events) = (self.offered, self.encoding, publisher.events());
            let offer = Offer { id, topic, qos, encoding, events };
            publisher.announcement = Some(discovery.offer(offer).await?);
        }
        Ok(publisher)
    }
}

#[cold]
fn no_place_for_a_time(source: Timestamp) -> crate::Error {
    let value = format!("{} ns since the Unix epoch", source.as_nanos());
    let reason = "a plain publisher sends the value alone, without a time: use publish, or make the time a part of \
                  the value";
    ErrorKind::InvalidArgument { what: "source timestamp", value, reason: reason.into() }.into()
}

fn check_bound(what: &'static str, value: usize, most: usize) -> Result<()> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    let (value, reason) = (value.to_string(), format!("use 1 to {most}"));
    Err(ErrorKind::InvalidArgument { what, value, reason }.into())
}

impl<M, T: Transport> fmt::Debug for PublisherBuilder<M, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublisherBuilder")
            .field("topic", &self.topic)
            .field("offered", &self.offered)
            .finish()
    }
}
