//! What the halves of a session and all of its connections share.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ahash::HashMap;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use super::access::Access;
use super::audience::Audiences;
use super::credit::Credit;
use super::half_open::HalfOpen;
use super::inbox::Inbox;
use super::outgoing::Outgoing;
use super::peers::Peers;
use super::tasks::Tasks;
use super::wants::Wants;
use crate::error::Result;
use crate::quiet::{MutexGuard, lock};
use crate::transport::under_way::UnderWay;
use crate::transport::zmq::control::Greeting;
use crate::transport::zmq::drops::closed;
use crate::transport::zmq::lookup::Lookups;
use crate::transport::{Capabilities, Locator, OpenOptions};

/// A live session. Of its locks that of the peers is taken first; no other is held while one is taken, but for those of the
/// wants and the audiences, behind which a queue's may follow.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) options: OpenOptions,
    pub(super) peer_timeout: Duration,
    pub(super) capabilities: Capabilities,
    pub(super) local: Locator,
    /// Where peers find the publications.
    pub(super) publish_port: u16,
    pub(super) access: Access,
    /// Differs after each start, so that a session recognises itself under another name.
    pub(super) nonce: u64,
    runtime: Handle,
    /// Whether nothing is taken any more.
    closing: watch::Sender<bool>,
    is_closed: AtomicBool,
    numbers: AtomicU64,
    pub(super) inbox: Inbox,
    pub(super) audiences: Audiences,
    pub(super) wants: Wants,
    peers: Mutex<Peers>,
    /// The connections that were made to us.
    accepted: Mutex<HashMap<u64, Arc<Outgoing>>>,
    /// For messages of this session to itself.
    pub(super) own_credit: Arc<Credit>,
    pub(super) under_way: Arc<UnderWay>,
    pub(super) lookups: Lookups,
    pub(super) tasks: Arc<Tasks>,
    /// Something has happened that is to be looked after soon.
    pub(super) urgent: Notify,
    pub(super) half_open: HalfOpen,
}

impl Session {
    pub(super) fn new(
        options: OpenOptions,
        peer_timeout: Duration,
        capabilities: Capabilities,
        local: Locator,
        publish_port: u16,
        access: Access,
    ) -> Arc<Self> {
        let own_credit = Arc::new(Credit::new(options.queue));
        Arc::new(Self {
            options,
            peer_timeout,
            capabilities,
            local,
            publish_port,
            access,
            nonce: rand::random(),
            runtime: Handle::current(),
            closing: watch::Sender::new(false),
            is_closed: AtomicBool::new(false),
            numbers: AtomicU64::new(0),
            inbox: Inbox::default(),
            audiences: Audiences::default(),
            wants: Wants::default(),
            peers: Mutex::default(),
            accepted: Mutex::default(),
            own_credit,
            under_way: Arc::default(),
            lookups: Lookups::default(),
            tasks: Arc::default(),
            urgent: Notify::new(),
            half_open: HalfOpen::default(),
        })
    }

    pub(super) fn peers(&self) -> MutexGuard<'_, Peers> {
        lock(&self.peers)
    }

    pub(super) fn accepted(&self) -> MutexGuard<'_, HashMap<u64, Arc<Outgoing>>> {
        lock(&self.accepted)
    }

    /// A number that nothing else of the session has.
    pub(super) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// An empty queue towards a peer.
    pub(super) fn outgoing(&self) -> Arc<Outgoing> {
        Outgoing::new(self.options.queue, self.under_way.clone())
    }

    /// Starts a task that ends with the session at the latest.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(&self.runtime, task);
    }

    pub(super) fn greeting(&self) -> Greeting {
        Greeting { locator: self.local.clone(), publish_port: self.publish_port, nonce: self.nonce }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    pub(super) fn check_open(&self) -> Result<()> {
        if self.is_closed() { Err(closed().into()) } else { Ok(()) }
    }

    /// Marks the session closed; `false` if it was.
    pub(super) fn set_closed(&self) -> bool {
        let is_first = !self.is_closed.swap(true, Ordering::AcqRel);
        self.closing.send_replace(true);
        is_first
    }

    /// Waits until the session is closed. Cancel-safe.
    pub(super) async fn closing(&self) {
        // The sender is the session's own: it cannot be gone.
        drop(self.closing.subscribe().wait_for(|closing| *closing).await);
    }

    /// Ends everything where it is.
    pub(super) fn shut(&self) {
        self.set_closed();
        self.tasks.shut();
        self.inbox.end();
    }
}

/// What keeps a session alive: its halves. Its tasks do not.
#[derive(Debug)]
pub(super) struct Owner(pub(super) Arc<Session>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.shut();
    }
}
