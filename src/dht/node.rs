//! A ring node: the async shell around [`NodeCore`].

mod one_hop;
mod relays;

use std::fmt;
use std::sync::{Arc, Mutex};

use tokio::sync::{broadcast, watch};

pub(super) use self::one_hop::OneHopNode;
use self::relays::{Plans, run_relays};
use super::core::{Action, Input, NodeConfig, NodeCore};
use super::member::{Member, NodeName};
use super::membership::MemberEvent;
use super::message::Message;
use super::message::lookups::{PlainLookup, append_reply};
use super::protocol::{OneHop, RingProtocol};
use crate::error::{ErrorKind, Result};
use crate::quiet::{MutexGuard, afterwards, lock, try_lock};
use crate::session::{Service, Session, SessionCore};
use crate::time::{Mono, Timestamp};
use crate::transport::{Event, Locator, Transport, TransportTx};
use crate::wire::Room;

/// The most events that a listener may fall behind.
const EVENTS: usize = 1024;

/// A node of a ring, on a session of its own or one that it shares with publishers and subscribers. Dropping it is a
/// crash as far as the ring is concerned; `leave` hands over first.
///
/// `P` is the ring's protocol: [`OneHop`], the ring of event services, unless the builder is asked for the
/// [`successor`](DhtNodeBuilder::successor) ring.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> ringbus::Result<()> {
/// use ringbus::transport::{MemoryTransport, memory::Network};
/// use ringbus::{DhtNode, Session};
///
/// let network = Network::new();
/// let first = Session::open(MemoryTransport::new(&network, "first")).await?;
/// let second = Session::open(MemoryTransport::new(&network, "second")).await?;
/// let seed = first.local().clone();
/// let first = DhtNode::builder(first).name("10.0.0.1").start().await?;
/// let second = DhtNode::builder(second).name("10.0.0.2").join([seed]).start().await?;
/// second.wait_for(2).await?;
/// assert_eq!(first.members().len(), 2);
/// # Ok(()) }
/// ```
pub struct DhtNode<T: Transport, P: RingProtocol = OneHop> {
    /// Dropped before the session.
    pub(super) running: P::Node<T::Tx>,
    pub(super) session: Session<T>,
}

impl<T: Transport, P: RingProtocol> DhtNode<T, P> {
    /// This node's session.
    pub fn session(&self) -> &Session<T> {
        &self.session
    }
}

/// What happens on the ring, as one node sees it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum NodeEvent {
    /// A node came, went or was given up.
    Member(MemberEvent),
    /// Placement changed: topics may have moved.
    Remapped {
        /// Counts this node's views of the ring.
        epoch: u64,
        /// The members of the new view, sorted by name.
        members: Vec<Member>,
    },
}

impl<T: Transport> DhtNode<T, OneHop> {
    /// Begins to describe a node on a session.
    pub fn builder(session: Session<T>) -> DhtNodeBuilder<T> {
        let config = NodeConfig::default();
        DhtNodeBuilder { session, name: None, seeds: Vec::new(), generation: None, config }
    }

    /// This node as others see it.
    pub fn me(&self) -> Member {
        lock(&self.running.shell.core).me().clone()
    }

    /// The members of the ring as this node sees it, sorted by name, itself included.
    pub fn members(&self) -> Vec<Member> {
        lock(&self.running.shell.core).view().members().cloned().collect()
    }

    /// The node that is responsible for a topic, as this node sees it.
    pub fn responsible(&self, topic: &str) -> Option<Member> {
        lock(&self.running.shell.core).view().owner(topic).cloned()
    }

    /// Waits until the ring has at least `n` members. Cancel-safe; combine it with a timeout.
    ///
    /// # Errors
    /// [`ErrorKind::NameTaken`] if the node ends because a living node has its name, [`ErrorKind::Closed`] if it ends
    /// otherwise.
    pub async fn wait_for(&self, n: usize) -> Result<()> {
        let mut state = self.running.shell.state.subscribe();
        let reached = state.wait_for(|state| state.ended || state.members >= n).await;
        match reached {
            Ok(state) if !state.ended => Ok(()),
            Ok(state) => Err(state.taken.as_ref().map_or_else(closed, name_taken)),
            Err(_) => Err(closed()),
        }
    }

    /// What happens on the ring from now on. A listener that falls more than 1,024 events behind is told how many it has
    /// missed.
    pub fn events(&self) -> broadcast::Receiver<NodeEvent> {
        self.running.shell.events.subscribe()
    }

    /// Joins through further nodes.
    pub fn join(&self, seeds: impl IntoIterator<Item = Locator>) {
        self.running.shell.handle(Input::Join(self.running.shell.others(seeds)));
    }

    /// Hands this node's records over, tells the members, and ends. The session stays open.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] if the records could not be handed over in [`NodeConfig::leave_timeout`]: the members hold
    /// copies, and clients register again by themselves.
    pub async fn leave(self) -> Result<()> {
        self.running.shell.handle(Input::Leave);
        let limit = self.running.shell.leave_timeout * 2;
        let mut state = self.running.shell.state.subscribe();
        let ended = tokio::time::timeout(limit, state.wait_for(|state| state.ended)).await;
        ended.map(drop).map_err(|_| {
            let what = format!("leaving the ring as {}", self.me().name);
            ErrorKind::Timeout { what, after: limit }.into()
        })
    }
}

impl<T: Transport, P: RingProtocol> fmt::Debug for DhtNode<T, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DhtNode").field(&self.running).finish()
    }
}

/// Describes a node; [`start`](Self::start) makes it.
#[must_use = "a builder does nothing until it is started"]
#[derive(Debug)]
pub struct DhtNodeBuilder<T: Transport> {
    pub(super) session: Session<T>,
    name: Option<String>,
    pub(super) seeds: Vec<Locator>,
    generation: Option<u64>,
    config: NodeConfig,
}

impl<T: Transport> DhtNodeBuilder<T> {
    /// The node's name, on which placement depends; the session's locator if not called.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Nodes to join through. Any member will do, and some may be down.
    pub fn join(mut self, seeds: impl IntoIterator<Item = Locator>) -> Self {
        self.seeds.extend(seeds);
        self
    }

    /// The node's [generation](Member::generation), the wall clock's milliseconds if not called. On a host whose clock
    /// starts anew with each boot, a counter that is kept lets a restarted node be told from its former life at once.
    pub fn generation(mut self, generation: u64) -> Self {
        self.generation = Some(generation);
        self
    }

    /// Replicas, timeouts, bounds.
    pub fn config(mut self, config: NodeConfig) -> Self {
        self.config = config;
        self
    }

    /// Starts the node and, if seeds were given, begins to join. It serves at once, as a ring of one until it has found
    /// another member, and goes on looking for its seeds; [`wait_for`](DhtNode::wait_for) waits.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a bad name or a session that runs a node already;
    /// [`ErrorKind::ForeignLocator`] for a seed on another transport; [`ErrorKind::Closed`].
    pub async fn start(self) -> Result<DhtNode<T>> {
        let core = self.session.core();
        let scheme = core.tx.local().scheme();
        if let Some(foreign) = self.seeds.iter().find(|seed| seed.scheme() != scheme) {
            return Err(core.foreign(foreign));
        }
        let name = self.name.unwrap_or_else(|| core.tx.local().to_string());
        // The wall clock's milliseconds: a restarted node is a later generation.
        let clock = || u64::try_from(Timestamp::now().as_nanos() / 1_000_000).unwrap_or(0);
        let generation = self.generation.unwrap_or_else(clock);
        let me = Member { name: NodeName::new(name)?, locator: core.tx.local().clone(), generation };
        let leave_timeout = self.config.leave_timeout;
        let plans = Arc::new(Plans::default());
        let shell = Arc::new(NodeShell {
            session: core.clone(),
            core: Mutex::new(NodeCore::new(me, self.config, rand::random())),
            plans: plans.clone(),
            leave_timeout,
            state: watch::channel(State { members: 1, ended: false, taken: None }).0,
            events: broadcast::channel(EVENTS).0,
        });
        core.register(Room::DhtNode, shell.clone())?;
        let relays = tokio::spawn(run_relays(self.session.clone(), plans));
        shell.handle(Input::Join(shell.others(self.seeds)));
        Ok(DhtNode { running: OneHopNode { shell, relays }, session: self.session })
    }
}

#[derive(Debug, Clone)]
struct State {
    members: usize,
    ended: bool,
    /// The node that has this one's name, if that is why it has ended.
    taken: Option<Member>,
}

struct NodeShell<Tx> {
    session: Arc<SessionCore<Tx>>,
    core: Mutex<NodeCore>,
    plans: Arc<Plans>,
    leave_timeout: std::time::Duration,
    state: watch::Sender<State>,
    events: broadcast::Sender<NodeEvent>,
}

impl<Tx: TransportTx> NodeShell<Tx> {
    fn handle(&self, input: Input) {
        let mut core = lock(&self.core);
        core.handle(self.session.clock.now(), input);
        self.run_actions(&mut core);
        drop(core);
        self.session.wake();
    }

    fn others(&self, seeds: impl IntoIterator<Item = Locator>) -> Vec<Locator> {
        seeds.into_iter().filter(|seed| seed != self.session.tx.local()).collect()
    }

    fn run_actions(&self, core: &mut NodeCore) {
        while let Some(action) = core.poll_action() {
            match action {
                Action::Send { to, message } => self.send(&to, &message),
                Action::Member(event) => {
                    let (node, told) = (core.me().name.clone(), event.clone());
                    afterwards(move || tracing::info!(%node, event = ?told, "membership"));
                    if let MemberEvent::NameTaken { by } = &event {
                        self.state.send_modify(|state| state.taken = Some(by.clone()));
                    }
                    self.tell(NodeEvent::Member(event));
                }
                Action::Remapped { epoch, members } => {
                    afterwards(|| metrics::counter!("ringbus_ring_remaps_total").increment(1));
                    self.state.send_modify(|state| state.members = members.len());
                    self.tell(NodeEvent::Remapped { epoch, members });
                }
                Action::Relay(command) => self.plans.apply(command),
                Action::Ended => self.end(),
            }
        }
    }

    /// Answers a lookup with what is kept for it. `false` if the message is to be handled as any other.
    fn answer_lookup(
        &self,
        now: Mono,
        mut core: MutexGuard<'_, NodeCore>,
        from: &Locator,
        message: &[u8],
    ) -> bool {
        let Some(lookup) = PlainLookup::find(message) else { return false };
        let Some(answer) = core.kept_answer(now, lookup.filter) else { return false };
        drop(core);
        let write = |out: &mut Vec<u8>| append_reply(lookup.id, &answer, out);
        if let Err(error) = self.session.post_control_with(from, Room::DhtClient, write) {
            tracing::warn!(to = %from, %error, "could not encode an answer");
        }
        true
    }

    fn send(&self, to: &Locator, message: &Message) {
        let room = match message {
            Message::Reply(_) | Message::Matches(_) => Room::DhtClient,
            _ => Room::DhtNode,
        };
        if let Err(error) = self.session.post_control(to, room, message) {
            let to = to.clone();
            afterwards(move || tracing::warn!(%to, %error, "could not encode a message"));
        }
    }

    /// Without a listener an event is nobody's.
    fn tell(&self, event: NodeEvent) {
        drop(self.events.send(event));
    }

    fn end(&self) {
        self.plans.clear();
        self.state.send_modify(|state| state.ended = true);
    }
}

impl<Tx: TransportTx> Service for NodeShell<Tx> {
    fn on_control(&self, now: Mono, from: &Locator, body: &[u8]) {
        if self.answer_lookup(now, lock(&self.core), from, body) {
            return;
        }
        match Message::decode(body) {
            Ok(message) => {
                let mut core = lock(&self.core);
                core.handle(now, Input::Message { from: from.clone(), message });
                self.run_actions(&mut core);
            }
            Err(error) => {
                tracing::debug!(%from, %error, "dropped a message");
                metrics::counter!("ringbus_frames_dropped_total", "cause" => "malformed").increment(1);
            }
        }
    }

    /// Lookups whose answers are kept. While the node is busy the driver waits for it.
    fn on_control_at_once(&self, now: Mono, from: &Locator, body: &[u8]) -> bool {
        try_lock(&self.core).is_some_and(|core| self.answer_lookup(now, core, from, body))
    }

    fn on_event(&self, now: Mono, event: &Event) {
        match event {
            Event::PeerDown(peer) => {
                let mut core = lock(&self.core);
                core.handle(now, Input::PeerDown(peer.clone()));
                self.run_actions(&mut core);
            }
            // Of the session, which ends; the node is to say why.
            Event::NameTaken { ends: true, .. } => {
                let by = lock(&self.core).me().clone();
                self.state.send_modify(|state| state.taken = Some(by.clone()));
                self.tell(NodeEvent::Member(MemberEvent::NameTaken { by }));
            }
            _ => {}
        }
    }

    fn on_timeout(&self, now: Mono) -> Option<Mono> {
        let mut core = lock(&self.core);
        if core.poll_timeout().is_some_and(|at| at <= now) {
            core.handle_timeout(now);
        }
        self.run_actions(&mut core);
        core.poll_timeout()
    }

    fn on_close(&self, _now: Mono) {
        self.end();
    }
}

fn name_taken(by: &Member) -> crate::Error {
    ErrorKind::NameTaken { name: by.name.to_string(), by: by.locator.to_string() }.into()
}

fn closed() -> crate::Error {
    ErrorKind::Closed { what: "ring node" }.into()
}
