//! What both halves of a session share.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::runtime::Handle;

use super::context::Context;
use super::dealer::Dealer;
use super::drops::closed;
use super::lookup::Lookups;
use super::peers::Peers;
use super::reader::Reader;
use super::receiver::Receiver;
use super::room;
use super::sockets::{Setup, Sockets};
use crate::error::Result;
use crate::quiet::{MutexGuard, afterwards, lock, try_lock};
use crate::transport::filters::Filters;
use crate::transport::under_way::UnderWay;
use crate::transport::{Capabilities, Event, Locator};

/// The most events about peers and subscriptions that wait for the receiving half. While there are so many, the
/// sockets that they come from are not read.
pub(super) const MAX_WAITING_EVENTS: usize = 4096;

/// A live session. Locks are taken in the order of the fields, sockets last.
pub(super) struct Session {
    /// For tasks that outlive a call.
    pub(super) me: Weak<Self>,
    pub(super) setup: Setup,
    pub(super) capabilities: Capabilities,
    pub(super) local: Locator,
    /// Where peers find the publications: the port, and the endpoint that nobody may make us connect to.
    pub(super) publish_port: u16,
    pub(super) publish_endpoints: Vec<String>,
    /// Differs after each start, so that a session recognises itself under another name.
    pub(super) nonce: u64,
    pub(super) runtime: Handle,
    /// Wakes the receiving half.
    pub(super) receiver: Arc<Receiver>,
    /// Nothing is taken any more.
    closed: AtomicBool,
    /// The sockets are gone, and what they had received is among the events.
    ended: AtomicBool,
    /// Counts the changes to the set of DEALERs.
    pub(super) dealer_changes: AtomicU64,
    /// The receiving half is being waited on.
    pub(super) receiving: AtomicBool,
    /// Something has happened that is to be looked after soon.
    urgent: AtomicBool,
    reading: Mutex<Reading>,
    peers: Mutex<Peers>,
    filters: Mutex<Filters>,
    events: Mutex<VecDeque<Event>>,
    pub(super) under_way: Arc<UnderWay>,
    pub(super) sockets: Sockets,
    context: Mutex<Option<Context>>,
    pub(super) lookups: Lookups,
}

/// What it takes to read the sockets.
#[derive(Default)]
pub(super) struct Reading {
    pub(super) reader: Reader,
    /// The receiving half has handed out what its owner may not have dealt with yet: nothing may overtake it.
    pub(super) owed: bool,
    /// Memory for what is read at once.
    pub(super) spare: Vec<Event>,
}

impl Session {
    #[allow(clippy::too_many_arguments)] // Called once, by `open`, which has nothing else to do with them.
    pub(super) fn new(
        me: Weak<Self>,
        setup: Setup,
        capabilities: Capabilities,
        local: Locator,
        publish: (u16, Vec<String>),
        runtime: Handle,
        receiver: Arc<Receiver>,
        sockets: Sockets,
        context: Context,
    ) -> Self {
        Self {
            me,
            setup,
            capabilities,
            local,
            publish_port: publish.0,
            publish_endpoints: publish.1,
            nonce: rand::random(),
            runtime,
            receiver,
            closed: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            dealer_changes: AtomicU64::new(1),
            receiving: AtomicBool::new(false),
            urgent: AtomicBool::new(false),
            reading: Mutex::default(),
            peers: Mutex::default(),
            filters: Mutex::default(),
            events: Mutex::default(),
            under_way: Arc::default(),
            sockets,
            context: Mutex::new(Some(context)),
            lookups: Lookups::default(),
        }
    }

    /// The right to read the sockets.
    pub(super) fn reading(&self) -> MutexGuard<'_, Reading> {
        lock(&self.reading)
    }

    /// The right to read the sockets, unless somebody has it.
    pub(super) fn try_reading(&self) -> Option<MutexGuard<'_, Reading>> {
        try_lock(&self.reading)
    }

    /// Asks for a [tick](Self::tick) soon.
    pub(super) fn set_urgent(&self) {
        self.urgent.store(true, Ordering::Release);
    }

    /// Whether a tick was asked for since this was last called.
    pub(super) fn is_urgent(&self) -> bool {
        self.urgent.swap(false, Ordering::AcqRel)
    }

    pub(super) fn peers(&self) -> MutexGuard<'_, Peers> {
        lock(&self.peers)
    }

    pub(super) fn filters(&self) -> MutexGuard<'_, Filters> {
        lock(&self.filters)
    }

    pub(super) fn events(&self) -> MutexGuard<'_, VecDeque<Event>> {
        lock(&self.events)
    }

    /// Tells the receiving half something.
    pub(super) fn report(&self, event: Event) {
        self.events().push_back(event);
        self.receiver.wake();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Marks the session closed; `false` if it was.
    pub(super) fn set_closed(&self) -> bool {
        !self.closed.swap(true, Ordering::AcqRel)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Lets the receiving half come to its end.
    pub(super) fn set_ended(&self) {
        self.ended.store(true, Ordering::Release);
        self.receiver.wake();
    }

    pub(super) fn check_open(&self) -> Result<()> {
        if self.is_closed() { Err(closed().into()) } else { Ok(()) }
    }

    /// Makes a DEALER for a peer, of those `unsettled` still take descriptors. Whoever calls this holds the peers.
    pub(super) fn dial(&self, peer: Locator, unsettled: usize) -> Result<Arc<Dealer>> {
        room::check(peer.as_str(), unsettled)?;
        let context = lock(&self.context);
        let context = context.as_ref().ok_or_else(closed)?;
        let dealer = Dealer::open(&self.setup, context, &self.local, peer, &self.runtime, &self.receiver)?;
        self.dealers_changed();
        Ok(dealer)
    }

    pub(super) fn dealers_changed(&self) {
        self.dealer_changes.fetch_add(1, Ordering::AcqRel);
        self.receiver.wake();
    }

    /// Takes everything of libzmq's out of the session, to be dropped where that may take its time.
    pub(super) fn dismantle(&self, linger: Duration) -> Remains {
        // First, so that no DEALER is made that the context would wait for.
        let context = lock(&self.context).take();
        let dealers = self.peers().dealers();
        let Sockets { router, publisher, subscriber, feeds } = &self.sockets;
        // What holds messages to others. Subscriptions that wait for a peer which is not there are not worth a wait.
        let outgoing = dealers
            .iter()
            .map(|dealer| (&dealer.socket, dealer.is_connected() || dealer.waiting() > 0))
            .chain([(router, true), (publisher, true)])
            .filter_map(|(socket, flush)| socket.take().map(|socket| (socket, flush)))
            .chain(subscriber.take().map(|socket| (socket, false)))
            .map(|(mut socket, flush)| {
                super::sockets::retire(&mut socket, if flush { linger } else { Duration::ZERO });
                socket
            });
        let mut sockets: Vec<_> = outgoing.collect();
        let monitors = dealers.iter().map(|dealer| dealer.monitor.take());
        sockets.extend(monitors.chain([feeds.take()]).flatten());
        Remains { sockets, _context: context }
    }
}

impl Drop for Session {
    /// Terminating a context waits for libzmq's threads: never here, this may be a runtime's worker.
    fn drop(&mut self) {
        let remains = self.dismantle(Duration::ZERO);
        if remains.sockets.is_empty() {
            return;
        }
        let spawned =
            std::thread::Builder::new().name("ringbus-zmq-drop".into()).spawn(move || drop(remains));
        if let Err(error) = spawned {
            afterwards(move || tracing::warn!(%error, "zmq: no thread to close the session in"));
        }
    }
}

/// The sockets and the context of a session that has ended. Dropping it blocks until libzmq has let go.
pub(super) struct Remains {
    // Before the context, whose end waits for them.
    sockets: Vec<::zmq::Socket>,
    _context: Option<Context>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("local", &self.local)
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
