//! Subscribers.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;

use super::batch::Batch;
use super::discovery::{Announcement, Discovery, Request};
use super::events::Events;
use super::hub::Hub;
use super::queue::Chunk;
use super::reader::{ReaderCore, SubscriberStats};
use super::reader_endpoint::{ReaderEndpoint, take_chunk, take_sample};
use super::via::{Route, wire_filter};
use crate::error::{ErrorKind, Result};
use crate::message::{Encoding, EntityId, Sample};
use crate::qos::{DEFAULT_DEPTH, History, Requested};
use crate::session::Session;
use crate::topic::{TopicFilter, why_refused};
use crate::transport::{Transport, TransportTx};

/// Receives values of one type from every topic under a filter. Built by [`Session::subscriber`]; also a
/// [`Stream`] of `Result<Sample<M>>`.
///
/// Dropping it says goodbye to the publishers.
pub struct Subscriber<M, T: Transport> {
    hub: Arc<Hub<T::Tx>>,
    reader: Arc<ReaderEndpoint>,
    filter: TopicFilter,
    encoding: Encoding,
    keep_all: bool,
    /// The rest of the frame that is being read.
    current: Option<Chunk>,
    announcement: Option<Box<dyn Announcement>>,
    // The session stays open as long as anything of it is in use.
    _session: Session<T>,
    message: PhantomData<fn() -> M>,
}

impl<M, T: Transport> Subscriber<M, T> {
    /// Waits for the next sample; `None` once the session is closed, or the subscriber has ended, and everything received
    /// was read. Cancel-safe.
    ///
    /// It goes on waiting while a connection is lost, and while a broker refuses the session's credentials, maybe after it had
    /// taken them before: nothing comes then, and samples come again when the broker takes them. `events` tells of it
    /// ([`MatchEvent::Denied`](super::MatchEvent::Denied)).
    ///
    /// # Errors
    /// [`ErrorKind::EncodingMismatch`] for a sample in another encoding than this subscriber's. That sample is passed over;
    /// the next call goes on. [`ErrorKind::TooSlow`] once, if the subscriber has left its publishers because its queue was
    /// full ([`Overflow::Disconnect`](crate::qos::Overflow)) and everything received was read.
    pub async fn recv(&mut self) -> Result<Option<Sample<M>>> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await.transpose()
    }

    /// The next sample if one is at hand.
    ///
    /// # Errors
    /// As for [`recv`](Self::recv).
    pub fn try_recv(&mut self) -> Result<Option<Sample<M>>> {
        if self.keep_all {
            if let Some(sample) = self.next_of_current() {
                return self.expected(sample).map(Some);
            }
            self.current = self.reader.take(&self.hub, take_chunk);
            if let Some(sample) = self.next_of_current() {
                return self.expected(sample).map(Some);
            }
        } else if let Some(sample) = self.reader.take(&self.hub, take_sample) {
            return self.expected(sample).map(Some);
        }
        self.reader.take_failure(&self.filter).map_or(Ok(None), Err)
    }

    /// Waits for samples and takes those that came in one frame: the way to read fast, since the queue is asked once for all
    /// of them and nothing is copied; `None` once the session is closed and everything received was read. Cancel-safe.
    ///
    /// ```
    /// # use ringbus::transport::{MemoryTransport, memory::Network};
    /// # use ringbus::Session;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> ringbus::Result<()> {
    /// # let session = Session::open(MemoryTransport::new(&Network::new(), "a")).await?;
    /// # let publisher = session.publisher::<&str>("log").build().await?;
    /// let mut subscriber = session.subscriber::<&str>("log").build().await?;
    /// # publisher.matched(1).await?;
    /// # publisher.publish(&"hello").await?;
    /// if let Some(batch) = subscriber.recv_batch().await? {
    ///     for sample in &batch {
    ///         let line: &str = sample.value()?; // borrowed from the batch
    ///         assert_eq!(line, "hello");
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::EncodingMismatch`] for a frame in another encoding than this subscriber's. Its samples are passed over;
    /// the next call goes on.
    pub async fn recv_batch(&mut self) -> Result<Option<Batch<M>>> {
        if let Some(chunk) = self.rest_of_current() {
            return self.expected_batch(chunk).map(Some);
        }
        let taken = std::future::poll_fn(|cx| self.reader.poll_take(&self.hub, cx, take_chunk)).await;
        taken.map(|chunk| self.expected_batch(chunk)).transpose()
    }

    /// What [`recv_batch`](Self::recv_batch) would return, if that is at hand.
    ///
    /// # Errors
    /// As there.
    pub fn try_recv_batch(&mut self) -> Result<Option<Batch<M>>> {
        let chunk = self.rest_of_current().or_else(|| self.reader.take(&self.hub, take_chunk));
        chunk.map(|chunk| self.expected_batch(chunk)).transpose()
    }

    /// This subscriber's identity, as publishers see it.
    pub fn id(&self) -> EntityId {
        self.reader.id()
    }

    /// The filter.
    pub fn filter(&self) -> &TopicFilter {
        &self.filter
    }

    /// Matches, mismatches, departures, takeovers, losses.
    pub fn events(&self) -> Events {
        self.reader.events().clone()
    }

    /// What was received, dropped and lost, by cause.
    pub fn stats(&self) -> SubscriberStats {
        self.reader.stats()
    }

    /// The ring node that is responsible for the filter, by name, if the subscriber is registered with a ring and the
    /// filter names one topic.
    pub fn responsible(&self) -> Option<String> {
        self.announcement.as_ref().and_then(|announcement| announcement.responsible())
    }

    /// How many publishers match now.
    pub fn publishers(&self) -> usize {
        *self.reader.matched().borrow()
    }

    /// Waits until at least `n` publishers match. Cancel-safe; combine it with a timeout.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] if the session closes first. [`ErrorKind::Denied`] while a broker refuses the session: nobody
    /// can match before it takes it again.
    pub async fn matched(&self, n: usize) -> Result<()> {
        let mut matched = self.reader.matched();
        let closed = || ErrorKind::Closed { what: "subscriber" }.into();
        loop {
            if *matched.borrow_and_update() >= n {
                return Ok(());
            }
            if self.reader.is_closed() {
                return Err(closed());
            }
            if let Some(error) = self.hub.core.tx.denied() {
                return Err(error);
            }
            matched.changed().await.map_err(|_| closed())?;
        }
    }

    fn poll_recv(&mut self, cx: &Context<'_>) -> Poll<Option<Result<Sample<M>>>> {
        if !self.keep_all {
            let taken = self.reader.poll_take(&self.hub, cx, take_sample);
            return taken.map(|sample| match sample {
                Some(sample) => Some(self.expected(sample)),
                None => self.reader.take_failure(&self.filter).map(Err),
            });
        }
        loop {
            if let Some(sample) = self.next_of_current() {
                return Poll::Ready(Some(self.expected(sample)));
            }
            match self.reader.poll_take(&self.hub, cx, take_chunk) {
                Poll::Ready(Some(chunk)) => self.current = Some(chunk),
                Poll::Ready(None) => return Poll::Ready(self.reader.take_failure(&self.filter).map(Err)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn next_of_current(&mut self) -> Option<Sample<M>> {
        self.current.as_mut()?.next_sample()
    }

    fn rest_of_current(&mut self) -> Option<Chunk> {
        self.current.take().filter(|chunk| chunk.samples() > 0)
    }

    fn expected_batch(&self, chunk: Chunk) -> Result<Batch<M>> {
        chunk.expect_encoding(self.encoding)?;
        Ok(Batch::new(chunk, self.encoding.of_plain()))
    }

    fn expected(&self, sample: Sample<M>) -> Result<Sample<M>> {
        // A plain message states no encoding: it is what the subscriber says it is.
        if sample.info().writer.is_none() {
            return Ok(sample.with_encoding(self.encoding.of_plain()));
        }
        sample.expect_encoding(self.encoding)
    }
}

impl<M, T: Transport> Stream for Subscriber<M, T> {
    type Item = Result<Sample<M>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_recv(cx)
    }
}

// Nothing in it is pinned.
impl<M, T: Transport> Unpin for Subscriber<M, T> {}

impl<M, T: Transport> Drop for Subscriber<M, T> {
    fn drop(&mut self) {
        self.hub.remove_reader(&self.reader);
        self.reader.close(&*self.hub);
    }
}

impl<M, T: Transport> fmt::Debug for Subscriber<M, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber").field("id", &self.id()).field("filter", self.filter()).finish()
    }
}

/// Describes a subscriber; [`build`](Self::build) makes it.
#[must_use = "a builder does nothing until it is built"]
pub struct SubscriberBuilder<M, T: Transport> {
    session: Session<T>,
    filter: Result<TopicFilter>,
    requested: Requested,
    encoding: Encoding,
    plain: bool,
    route: Route,
    discovery: Option<Arc<dyn Discovery>>,
    message: PhantomData<fn() -> M>,
}

impl<M, T: Transport> SubscriberBuilder<M, T> {
    pub(super) fn new(session: Session<T>, filter: &str) -> Self {
        Self {
            session,
            filter: TopicFilter::new(filter),
            requested: Requested::reliable().keep_last(DEFAULT_DEPTH),
            encoding: Encoding::default(),
            plain: false,
            route: Route::default(),
            discovery: None,
            message: PhantomData,
        }
    }

    /// What the subscriber requests; if not called, reliable with keep-last [1,024](DEFAULT_DEPTH), and DDS's defaults
    /// for all else. `Requested::default()` is DDS's default throughout: best-effort, with keep-last 1. A best-effort
    /// publisher matches best-effort requests only.
    pub fn qos(mut self, requested: Requested) -> Self {
        self.requested = requested;
        self
    }

    /// How values are expected to be encoded; postcard if not called. Encoding is part of matching: publishers that use
    /// another one are told of, and are not heard ([`MatchEvent::EncodingMismatch`](super::MatchEvent)).
    /// [`Encoding::Any`] matches all.
    pub fn encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// Also takes messages without a frame, from programs that know nothing of this library, as samples in this
    /// subscriber's encoding.
    pub fn plain(mut self) -> Self {
        self.plain = true;
        self
    }

    /// How samples travel; directly from the publishers if not called. [`Route::ViaNode`] needs a ring.
    pub fn route(mut self, route: Route) -> Self {
        self.route = route;
        self
    }

    /// Registers the subscriber, with a ring for instance, for as long as it lives.
    pub fn discovery(mut self, discovery: Arc<dyn Discovery>) -> Self {
        self.discovery = Some(discovery);
        self
    }

    /// Makes the subscriber, subscribes, and registers it if a discovery was given.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidFilter`], also for filters that belong to the library;
    /// [`ErrorKind::InconsistentPolicy`], [`ErrorKind::UnsupportedPolicy`];
    /// [`ErrorKind::InvalidArgument`] for a route through a node without a discovery;
    /// [`ErrorKind::Closed`]; the transport's and the discovery's. Nothing is left behind.
    pub async fn build(self) -> Result<Subscriber<M, T>> {
        let filter = self.filter?;
        if filter.is_reserved() {
            let reason = why_refused(filter.as_str());
            return Err(ErrorKind::InvalidFilter { filter: filter.to_string(), reason }.into());
        }
        if self.route == Route::ViaNode && self.discovery.is_none() {
            return Err(ErrorKind::InvalidArgument {
                what: "route",
                value: "ViaNode".into(),
                reason: "samples travel through a ring node: give the subscriber a ring with .dht(..)".into(),
            }
            .into());
        }
        self.requested.validate()?;
        self.requested.supported()?;
        let core = self.session.core();
        let hub = Hub::of(core)?;
        let id = core.new_entity();
        let reader = ReaderCore::new(id, self.route == Route::ViaNode, self.requested.clone());
        let reader = reader.expecting(self.encoding);
        let wire = wire_filter(&filter, self.route)?;
        let reader = Arc::new(ReaderEndpoint::new(id, wire, self.plain, reader));
        let mut subscriber = Subscriber {
            hub: hub.clone(),
            reader: reader.clone(),
            filter: filter.clone(),
            encoding: self.encoding,
            keep_all: self.requested.history == History::KeepAll,
            current: None,
            announcement: None,
            _session: self.session.clone(),
            message: PhantomData,
        };
        hub.add_reader(reader.clone()).await?;
        if let Some(discovery) = self.discovery {
            let (qos, route, events) = (self.requested, self.route, subscriber.events());
            let request = Request { id, filter, qos, route, encoding: self.encoding, events };
            subscriber.announcement = Some(discovery.request(request).await?);
        }
        Ok(subscriber)
    }
}

impl<M, T: Transport> fmt::Debug for SubscriberBuilder<M, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubscriberBuilder")
            .field("filter", &self.filter)
            .field("requested", &self.requested)
            .finish()
    }
}
