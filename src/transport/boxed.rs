//! The erased form of a transport, for programs that choose at run time. The only place with dynamic futures.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    Capabilities, Event, Locator, MessageSink, OpenOptions, Outbound, Transport, TransportRx, TransportTx,
    TrySendError, Undelivered,
};
use crate::error::{Error, Result};
use crate::topic::{Topic, TopicFilter};

/// Any transport, behind one type. It keeps every promise of the transport inside, cancel-safety included; each
/// awaited call costs an allocation, [`try_send`](TransportTx::try_send) only an indirect call.
///
/// ```
/// use ringbus::transport::memory::Network;
/// use ringbus::transport::{BoxTransport, MemoryTransport};
///
/// fn choose(name: &str, network: &Network) -> BoxTransport {
///     match name {
///         // #[cfg(feature = "zmq")] "zmq" => BoxTransport::new(ZmqTransport::new("tcp://127.0.0.1:5556")),
///         _ => BoxTransport::new(MemoryTransport::new(network, "a")),
///     }
/// }
/// # let _ = choose("memory", &Network::new());
/// ```
pub struct BoxTransport(Box<dyn ErasedTransport>);

impl BoxTransport {
    /// Erases a transport's type.
    pub fn new<T: Transport>(transport: T) -> Self {
        Self(Box::new(transport))
    }
}

impl Transport for BoxTransport {
    type Tx = BoxTx;
    type Rx = BoxRx;

    async fn open(self, options: OpenOptions) -> Result<(BoxTx, BoxRx)> {
        self.0.open_erased(options).await
    }
}

/// The sending half of any transport.
#[derive(Clone)]
pub struct BoxTx(Arc<dyn ErasedTx>);

impl TransportTx for BoxTx {
    fn capabilities(&self) -> &Capabilities {
        self.0.capabilities()
    }

    fn local(&self) -> &Locator {
        self.0.local()
    }

    fn try_send(&self, outbound: Outbound) -> Result<(), TrySendError> {
        self.0.try_send(outbound)
    }

    async fn send_batch(&self, batch: &mut Vec<Outbound>) -> Result<()> {
        self.0.send_batch(batch).await
    }

    fn lead(&self, topic: &Topic) -> Bytes {
        self.0.lead(topic)
    }

    fn backlog(&self) -> usize {
        self.0.backlog()
    }

    async fn drained(&self, below: usize) {
        if self.0.backlog() >= below {
            self.0.drained(below).await;
        }
    }

    async fn acknowledged(&self) -> Result<()> {
        self.0.acknowledged().await
    }

    fn denied(&self) -> Option<Error> {
        self.0.denied()
    }

    fn broker(&self) -> Option<&str> {
        self.0.broker()
    }

    fn one_piece(&self, topic: &Topic) -> usize {
        self.0.one_piece(topic)
    }

    fn one_piece_to(&self, peer: &Locator) -> usize {
        self.0.one_piece_to(peer)
    }

    fn take_refusal(&self, topic: &Topic) -> Option<Error> {
        self.0.take_refusal(topic)
    }

    async fn subscribe(&self, filter: &TopicFilter) -> Result<()> {
        self.0.subscribe(filter).await
    }

    async fn subscribe_retained(&self, filter: &TopicFilter, mark: u64) -> Result<()> {
        self.0.subscribe_retained(filter, mark).await
    }

    async fn unsubscribe(&self, filter: &TopicFilter) -> Result<()> {
        self.0.unsubscribe(filter).await
    }

    async fn attach(&self, peer: &Locator) -> Result<()> {
        self.0.attach(peer).await
    }

    async fn detach(&self, peer: &Locator) -> Result<()> {
        self.0.detach(peer).await
    }

    async fn close(&self, deadline: Duration) -> Result<Undelivered> {
        self.0.close(deadline).await
    }
}

/// The receiving half of any transport.
pub struct BoxRx(Box<dyn ErasedRx>);

impl TransportRx for BoxRx {
    async fn recv_batch(&mut self, events: &mut Vec<Event>, max: usize) -> Result<usize> {
        self.0.recv_batch(events, max).await
    }

    fn set_sink(&mut self, sink: Arc<dyn MessageSink>) {
        self.0.set_sink(sink);
    }
}

impl fmt::Debug for BoxTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxTransport").finish_non_exhaustive()
    }
}

impl fmt::Debug for BoxTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxTx").field("local", self.0.local()).finish_non_exhaustive()
    }
}

impl fmt::Debug for BoxRx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxRx").finish_non_exhaustive()
    }
}

#[async_trait]
trait ErasedTransport: Send {
    async fn open_erased(self: Box<Self>, options: OpenOptions) -> Result<(BoxTx, BoxRx)>;
}

#[async_trait]
impl<T: Transport> ErasedTransport for T {
    async fn open_erased(self: Box<Self>, options: OpenOptions) -> Result<(BoxTx, BoxRx)> {
        let (tx, rx) = (*self).open(options).await?;
        Ok((BoxTx(Arc::new(tx)), BoxRx(Box::new(rx))))
    }
}

#[async_trait]
trait ErasedTx: Send + Sync {
    fn capabilities(&self) -> &Capabilities;
    fn local(&self) -> &Locator;
    fn try_send(&self, outbound: Outbound) -> Result<(), TrySendError>;
    async fn send_batch(&self, batch: &mut Vec<Outbound>) -> Result<()>;
    fn lead(&self, topic: &Topic) -> Bytes;
    fn backlog(&self) -> usize;
    async fn drained(&self, below: usize);
    async fn acknowledged(&self) -> Result<()>;
    fn denied(&self) -> Option<Error>;
    fn broker(&self) -> Option<&str>;
    fn one_piece(&self, topic: &Topic) -> usize;
    fn one_piece_to(&self, peer: &Locator) -> usize;
    fn take_refusal(&self, topic: &Topic) -> Option<Error>;
    async fn subscribe(&self, filter: &TopicFilter) -> Result<()>;
    async fn subscribe_retained(&self, filter: &TopicFilter, mark: u64) -> Result<()>;
    async fn unsubscribe(&self, filter: &TopicFilter) -> Result<()>;
    async fn attach(&self, peer: &Locator) -> Result<()>;
    async fn detach(&self, peer: &Locator) -> Result<()>;
    async fn close(&self, deadline: Duration) -> Result<Undelivered>;
}

#[async_trait]
impl<T: TransportTx> ErasedTx for T {
    fn capabilities(&self) -> &Capabilities {
        TransportTx::capabilities(self)
    }

    fn local(&self) -> &Locator {
        TransportTx::local(self)
    }

    fn try_send(&self, outbound: Outbound) -> Result<(), TrySendError> {
        TransportTx::try_send(self, outbound)
    }

    async fn send_batch(&self, batch: &mut Vec<Outbound>) -> Result<()> {
        TransportTx::send_batch(self, batch).await
    }

    fn lead(&self, topic: &Topic) -> Bytes {
        TransportTx::lead(self, topic)
    }

    fn backlog(&self) -> usize {
        TransportTx::backlog(self)
    }

    async fn drained(&self, below: usize) {
        TransportTx::drained(self, below).await;
    }

    async fn acknowledged(&self) -> Result<()> {
        TransportTx::acknowledged(self).await
    }

    fn denied(&self) -> Option<Error> {
        TransportTx::denied(self)
    }

    fn broker(&self) -> Option<&str> {
        TransportTx::broker(self)
    }

    fn one_piece(&self, topic: &Topic) -> usize {
        TransportTx::one_piece(self, topic)
    }

    fn one_piece_to(&self, peer: &Locator) -> usize {
        TransportTx::one_piece_to(self, peer)
    }

    fn take_refusal(&self, topic: &Topic) -> Option<Error> {
        TransportTx::take_refusal(self, topic)
    }

    async fn subscribe(&self, filter: &TopicFilter) -> Result<()> {
        TransportTx::subscribe(self, filter).await
    }

    async fn subscribe_retained(&self, filter: &TopicFilter, mark: u64) -> Result<()> {
        TransportTx::subscribe_retained(self, filter, mark).await
    }

    async fn unsubscribe(&self, filter: &TopicFilter) -> Result<()> {
        TransportTx::unsubscribe(self, filter).await
    }

    async fn attach(&self, peer: &Locator) -> Result<()> {
        TransportTx::attach(self, peer).await
    }

    async fn detach(&self, peer: &Locator) -> Result<()> {
        TransportTx::detach(self, peer).await
    }

    async fn close(&self, deadline: Duration) -> Result<Undelivered> {
        TransportTx::close(self, deadline).await
    }
}

#[async_trait]
trait ErasedRx: Send {
    async fn recv_batch(&mut self, events: &mut Vec<Event>, max: usize) -> Result<usize>;
    fn set_sink(&mut self, sink: Arc<dyn MessageSink>);
}

#[async_trait]
impl<T: TransportRx> ErasedRx for T {
    async fn recv_batch(&mut self, events: &mut Vec<Event>, max: usize) -> Result<usize> {
        TransportRx::recv_batch(self, events, max).await
    }

    fn set_sink(&mut self, sink: Arc<dyn MessageSink>) {
        TransportRx::set_sink(self, sink);
    }
}
