//! A network inside the process, for tests and simulations: as well behaved or as hostile as the test asks for.
//!
//! A [`Network`] is a hub that every [`MemoryTransport`] made on it shares; there is no global state, so tests cannot
//! disturb each other. Everyone on it reaches everyone by topic and by name, and [`attach`](TransportTx::attach) has
//! nothing to add.
//!
//! - **Order and loss**: without faults, every message arrives, in order per sender and receiver.
//! - **Back-pressure**: a message waits (or is given back as [`Full`](TrySendError::Full)) while *one of the receivers
//!   that it is for* has [`OpenOptions::queue`] messages unread or under way. A session that never reads therefore
//!   stops those who send to it, and nobody else. It is all or nothing: no receiver gets what another has no room for.
//! - **Discovery**: whoever opens, closes or subscribes is announced by the hub to all others.
//! - **Time**: delays run on tokio's clock. Under `tokio::time::pause` a seed gives the same deliveries every time.
//!
//! ```
//! use ringbus::transport::memory::Network;
//! use ringbus::transport::{Event, MemoryTransport, OpenOptions, Outbound, Transport, TransportRx, TransportTx};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let network = Network::new();
//! let (a, _) = MemoryTransport::new(&network, "a").open(OpenOptions::default()).await?;
//! let (b, mut received) = MemoryTransport::new(&network, "b").open(OpenOptions::default()).await?;
//! b.subscribe(&"weather/+".parse()?).await?;
//! a.try_send(Outbound::topic("weather/98101".parse()?, "13.5"))?;
//!
//! let mut events = Vec::new();
//! while !events.iter().any(|event| matches!(event, Event::Message { payload, .. } if payload == "13.5")) {
//!     received.recv_batch(&mut events, 16).await?;
//! }
//! # Ok(())
//! # }
//! ```

mod faults;
mod hub;
mod inbox;
mod network;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{
    Capabilities, Delivery, Event, Locator, OpenOptions, Outbound, Transport, TransportRx, TransportTx,
    TrySendError, Undelivered,
};
use crate::error::Result;
use crate::topic::TopicFilter;
use hub::{Offer, SCHEME};
use inbox::{Inbox, Taken};
pub use network::Network;
use network::Shared;

/// An endpoint on a [`Network`]: its locator is `memory:` and its name.
#[derive(Debug, Clone)]
pub struct MemoryTransport {
    network: Network,
    name: String,
}

impl MemoryTransport {
    /// An endpoint called `name`. The name is checked when the transport is opened: one that is empty or holds white
    /// space is [`InvalidAddress`](crate::ErrorKind::InvalidAddress), one that is open already
    /// [`AddressInUse`](crate::ErrorKind::AddressInUse). After `close` or [`Network::kill`] it is free again.
    pub fn new(network: &Network, name: impl Into<String>) -> Self {
        Self { network: network.clone(), name: name.into() }
    }
}

impl Transport for MemoryTransport {
    type Tx = MemoryTx;
    type Rx = MemoryRx;

    async fn open(self, options: OpenOptions) -> Result<(MemoryTx, MemoryRx)> {
        let locator = Locator::new(format!("{SCHEME}{}", self.name))?;
        let shared = self.network.shared();
        let inbox = Arc::new(Inbox::new(&options));
        let id = shared.hub().join(&locator, &inbox)?;
        let capabilities = Capabilities {
            name: "memory",
            max_payload: options.max_payload,
            brokered: true,
            delivery: Delivery::Queued,
            native_directed: true,
            retained: false,
            last_will: false,
            confirmed_subscriptions: true,
            interest: true,
        };
        let endpoint = Arc::new(Endpoint { shared, id, locator, capabilities });
        Ok((MemoryTx { endpoint: endpoint.clone() }, MemoryRx { endpoint, inbox }))
    }
}

/// What the halves share; when the last of them goes, the endpoint leaves the network.
struct Endpoint {
    shared: Arc<Shared>,
    id: u64,
    locator: Locator,
    capabilities: Capabilities,
}

impl Endpoint {
    fn leave(&self) {
        self.shared.hub().leave(self.id);
        self.shared.room.notify_waiters();
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.leave();
    }
}

/// The sending half of a [`MemoryTransport`].
#[derive(Clone)]
pub struct MemoryTx {
    endpoint: Arc<Endpoint>,
}

impl MemoryTx {
    fn offer(&self, outbound: &Outbound) -> Result<Offer> {
        outbound.refuse_retained("memory")?;
        self.endpoint.shared.hub().offer(self.endpoint.id, outbound, self.endpoint.capabilities.max_payload)
    }
}

impl TransportTx for MemoryTx {
    fn capabilities(&self) -> &Capabilities {
        &self.endpoint.capabilities
    }

    fn local(&self) -> &Locator {
        &self.endpoint.locator
    }

    fn try_send(&self, outbound: Outbound) -> Result<(), TrySendError> {
        match self.offer(&outbound)? {
            Offer::Accepted => Ok(()),
            Offer::Full => Err(TrySendError::Full(outbound)),
        }
    }

    async fn send_batch(&self, batch: &mut Vec<Outbound>) -> Result<()> {
        loop {
            // Registered before the attempt, so that room made in between is not missed.
            let mut room = std::pin::pin!(self.endpoint.shared.room.notified());
            room.as_mut().enable();
            if self.send_what_fits(batch)? {
                return Ok(());
            }
            // Here and only here the call can be cancelled: the batch holds exactly what was not accepted.
            room.await;
        }
    }

    async fn subscribe(&self, filter: &TopicFilter) -> Result<()> {
        self.endpoint.shared.hub().subscribe(self.endpoint.id, filter)
    }

    async fn unsubscribe(&self, filter: &TopicFilter) -> Result<()> {
        self.endpoint.shared.hub().unsubscribe(self.endpoint.id, filter)
    }

    async fn attach(&self, peer: &Locator) -> Result<()> {
        self.endpoint.shared.hub().check_open(self.endpoint.id)?;
        peer.expect_scheme(SCHEME).map(drop)
    }

    async fn detach(&self, peer: &Locator) -> Result<()> {
        self.attach(peer).await
    }

    /// The network has what was accepted, so that nothing is left to flush.
    async fn close(&self, _deadline: Duration) -> Result<Undelivered> {
        self.endpoint.leave();
        Ok(Undelivered::default())
    }
}

impl MemoryTx {
    /// Sends from the front while there is room. `true` if nothing is left.
    fn send_what_fits(&self, batch: &mut Vec<Outbound>) -> Result<bool> {
        let mut gone = 0;
        let mut outcome = Ok(true);
        for outbound in batch.iter() {
            match self.offer(outbound) {
                Ok(Offer::Accepted) => gone += 1,
                Ok(Offer::Full) => {
                    outcome = Ok(false);
                    break;
                }
                Err(error) => {
                    gone += 1;
                    outcome = Err(error);
                    break;
                }
            }
        }
        batch.drain(..gone);
        outcome
    }
}

/// The receiving half of a [`MemoryTransport`].
pub struct MemoryRx {
    endpoint: Arc<Endpoint>,
    inbox: Arc<Inbox>,
}

impl TransportRx for MemoryRx {
    async fn recv_batch(&mut self, events: &mut Vec<Event>, max: usize) -> Result<usize> {
        loop {
            match self.inbox.take(events, max)? {
                Taken::Events { count, was_full } => {
                    if was_full {
                        self.endpoint.shared.room.notify_waiters();
                    }
                    return Ok(count);
                }
                Taken::Nothing { due: None } => self.inbox.arrived.notified().await,
                Taken::Nothing { due: Some(due) } => tokio::select! {
                    () = self.inbox.arrived.notified() => {}
                    () = tokio::time::sleep_until(due) => {}
                },
            }
        }
    }
}

impl Drop for MemoryRx {
    /// Nobody will read any more: what is sent here vanishes, rather than to stop the senders for good.
    fn drop(&mut self) {
        self.inbox.abandon();
        self.endpoint.shared.room.notify_waiters();
    }
}

impl fmt::Debug for MemoryTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTx").field("local", &self.endpoint.locator).finish_non_exhaustive()
    }
}

impl fmt::Debug for MemoryRx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryRx").field("local", &self.endpoint.locator).finish_non_exhaustive()
    }
}
