//! A node of the successor ring: the async shell around [`SuccessorCore`].

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{broadcast, watch};

use super::core::{Action, Input, SuccessorCore};
use super::message::Message;
use super::{Links, SuccessorConfig, SuccessorEvent};
use super::{outgoing, text};
use crate::dht::key::Key;
use crate::dht::node::{DhtNode, DhtNodeBuilder};
use crate::dht::protocol::Successor;
use crate::error::{Error, ErrorKind, Result};
use crate::quiet::{afterwards, lock};
use crate::session::{Acquaintances, Listening, Service, Session, SessionCore};
use crate::time::{Mono, Timestamp};
use crate::topic::{Topic, TopicFilter};
use crate::transport::{Event, Locator, Transport, TransportTx};

/// The most events that a listener may fall behind.
const EVENTS: usize = 1024;

impl<T: Transport> DhtNodeBuilder<T> {
    /// Describes a node of the successor ring instead: keys and values rather than topics. Seeds that were given are
    /// kept; a name and a configuration belong to the ring of event services and are dropped.
    pub fn successor(self) -> SuccessorNodeBuilder<T> {
        let config = SuccessorConfig::default();
        SuccessorNodeBuilder { session: self.session, seeds: self.seeds, id: None, config }
    }
}

/// Describes a node of the successor ring; [`start`](Self::start) makes it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> ringbus::Result<()> {
/// use ringbus::dht::Key;
/// use ringbus::transport::{MemoryTransport, memory::Network};
/// use ringbus::{DhtNode, Session};
///
/// let network = Network::new();
/// let session = Session::open(MemoryTransport::new(&network, "node")).await?;
/// let node = DhtNode::builder(session).successor().id(Key::new(7)).start().await?;
///
/// let client = Session::open(MemoryTransport::new(&network, "client")).await?;
/// let dht = client.successor_dht([]);
/// assert_eq!(dht.put(98101, "Seattle, WA").await?, node.id());
/// assert_eq!(dht.get(98101).await?.as_deref(), Some("Seattle, WA"));
/// assert_eq!(dht.get(98102).await?, None);
/// node.leave().await?;
/// # Ok(()) }
/// ```
#[must_use = "a builder does nothing until it is started"]
#[derive(Debug)]
pub struct SuccessorNodeBuilder<T: Transport> {
    session: Session<T>,
    seeds: Vec<Locator>,
    id: Option<Key>,
    config: SuccessorConfig,
}

impl<T: Transport> SuccessorNodeBuilder<T> {
    /// The node's place on the circle; random if not called. No other node may have it.
    pub fn id(mut self, id: Key) -> Self {
        self.id = Some(id);
        self
    }

    /// Nodes to attach to, where there is no broker: any member will do, and some may be down.
    pub fn join(mut self, seeds: impl IntoIterator<Item = Locator>) -> Self {
        self.seeds.extend(seeds);
        self
    }

    /// Times and bounds. A value that the session's transport cannot carry is not stored, whatever this says.
    pub fn config(mut self, config: SuccessorConfig) -> Self {
        self.config = config;
        self
    }

    /// Joins the ring, or starts one if nobody answers; returns when the node serves. Dropping the call ends the attempt.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if another node has the id, or for a configuration that cannot work;
    /// [`ErrorKind::ForeignLocator`] or [`ErrorKind::InvalidAddress`] for a seed; [`ErrorKind::Closed`]; what the
    /// transport says against a subscription. Nothing of the node stays.
    pub async fn start(self) -> Result<DhtNode<T, Successor>> {
        check(&self.config)?;
        let session = self.session.core();
        let scheme = session.tx.local().scheme();
        if let Some(foreign) = self.seeds.iter().find(|seed| seed.scheme() != scheme) {
            return Err(session.foreign(foreign));
        }
        session.check_open()?;
        let id = self.id.unwrap_or_else(|| Key::new(rand::random()));
        // Before the first word: the answers must be heard.
        let mut listening = Listening::new(session);
        let mut topics = HashSet::new();
        let detours = (!session.tx.capabilities().brokered).then(|| text::detour_topics(id));
        for topic in text::node_topics(id).chain(detours.into_iter().flatten()) {
            let topic = Topic::new(topic)?;
            listening.subscribe(TopicFilter::from(&topic)).await?;
            topics.insert(topic);
        }
        let acquaintances = Acquaintances::new(session);
        for seed in &self.seeds {
            acquaintances.attach(seed).await?;
        }
        let announcements = Topic::new(text::ADDRESSES)?;
        let listened = (topics, announcements);
        let shell = Arc::new(NodeShell::new(session.clone(), id, self.config, listened, acquaintances));
        listening.serve(shell.clone())?;
        let running = SuccessorNode { shell: shell.clone(), _listening: listening };
        let node = DhtNode { running, session: self.session };
        shell.reached(|state| state.serving).await?;
        Ok(node)
    }
}

impl<T: Transport> DhtNode<T, Successor> {
    /// The node's place on the circle.
    pub fn id(&self) -> Key {
        lock(&self.running.shell.core).id()
    }

    /// Its neighbours.
    pub fn links(&self) -> Links {
        lock(&self.running.shell.core).links()
    }

    /// Whether it serves, its successor holds a copy of everything, and nothing waits to be handed over.
    pub fn is_settled(&self) -> bool {
        lock(&self.running.shell.core).is_settled()
    }

    /// The pairs that it is responsible for. Copies them.
    pub fn pairs(&self) -> Vec<(Key, String)> {
        let core = lock(&self.running.shell.core);
        core.pairs().map(|(key, value)| (key, value.to_owned())).collect()
    }

    /// What happens on the ring from now on. A listener that falls more than 1,024 events behind is told how many it has
    /// missed; when the node has ended, the channel is closed.
    pub fn events(&self) -> broadcast::Receiver<SuccessorEvent> {
        let events = lock(&self.running.shell.events);
        events.as_ref().map_or_else(|| broadcast::channel(1).1, broadcast::Sender::subscribe)
    }

    /// Waits until the node is [settled](Self::is_settled). Cancel-safe; combine it with a timeout.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] if the node ends first, [`ErrorKind::InvalidArgument`] if it ends because another one has
    /// its id.
    pub async fn settled(&self) -> Result<()> {
        self.running.shell.reached(|state| state.settled).await
    }

    /// Hands this node's pairs over and ends. The session stays open; [close](Session::close) it, so that the last
    /// messages go out. Dropping the call half way is a crash as far as the ring is concerned.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] if pairs could not be handed over in [`SuccessorConfig::leave_timeout`], or because the
    /// connection is gone (in two thirds of [`SuccessorConfig::lease`]), with their number: they are lost, unless the
    /// successor's copies live. [`ErrorKind::Closed`].
    pub async fn leave(self) -> Result<()> {
        let shell = &self.running.shell;
        let began = shell.session.clock.now();
        shell.handle(Input::Leave);
        let limit = shell.leave_timeout * 2;
        let id = self.id();
        match tokio::time::timeout(limit, shell.ended()).await {
            Ok(End::Left { abandoned: 0 }) => Ok(()),
            Ok(End::Left { abandoned }) => {
                let what = format!("handing over {abandoned} pairs of node {id}");
                let after = shell.session.clock.now().saturating_since(began);
                Err(ErrorKind::Timeout { what, after: Duration::from_millis(after.as_millis() as u64) }
                    .into())
            }
            Ok(end) => Err(end.error(id)),
            Err(_) => {
                Err(ErrorKind::Timeout { what: format!("leaving the ring as node {id}"), after: limit }
                    .into())
            }
        }
    }
}

/// A running node; it ends when this is dropped.
pub struct SuccessorNode<Tx: TransportTx> {
    shell: Arc<NodeShell<Tx>>,
    _listening: Listening<Tx>,
}

impl<Tx: TransportTx> fmt::Debug for SuccessorNode<Tx> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let core = lock(&self.shell.core);
        f.debug_struct("Successor").field("id", &core.id()).field("links", &core.links()).finish()
    }
}

/// What is waited for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct State {
    serving: bool,
    /// Kept up to date while somebody waits.
    settled: bool,
    id_taken: bool,
    ended: Option<End>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Left {
        abandoned: usize,
    },
    IdTaken,
    /// Another session has the session's name at the broker.
    NameTaken,
    Closed,
}

impl End {
    fn error(self, id: Key) -> Error {
        match self {
            Self::IdTaken => ErrorKind::InvalidArgument {
                what: "node id",
                value: id.to_string(),
                reason: "another node of the ring has it: choose another, or none for a random one".into(),
            },
            Self::NameTaken => ErrorKind::InvalidArgument {
                what: "session name",
                value: id.to_string(),
                reason: "another session has this node's name at the broker: give each a name of its own"
                    .into(),
            },
            Self::Left { .. } | Self::Closed => ErrorKind::Closed { what: "ring node" },
        }
        .into()
    }
}

struct NodeShell<Tx: TransportTx> {
    session: Arc<SessionCore<Tx>>,
    core: Mutex<SuccessorCore>,
    topics: HashSet<Topic>,
    /// Where nodes say where they stand.
    announcements: Topic,
    acquaintances: Acquaintances<Tx>,
    max_value: usize,
    leave_timeout: Duration,
    state: watch::Sender<State>,
    /// Until the node ends: then whoever listens learns that nothing follows.
    events: Mutex<Option<broadcast::Sender<SuccessorEvent>>>,
    /// The session waits with its end until this node has handed over.
    holds_session: AtomicBool,
}

impl<Tx: TransportTx> NodeShell<Tx> {
    fn new(
        session: Arc<SessionCore<Tx>>,
        id: Key,
        mut config: SuccessorConfig,
        (topics, announcements): (HashSet<Topic>, Topic),
        acquaintances: Acquaintances<Tx>,
    ) -> Self {
        let capabilities = session.tx.capabilities();
        config.max_value = outgoing::longest_value(config.max_value, capabilities);
        let (max_value, leave_timeout) = (config.max_value, config.leave_timeout);
        let address = (!capabilities.brokered).then(|| session.tx.local().to_string());
        let core = SuccessorCore::new(session.clock.now(), id, config, Timestamp::now(), address);
        Self {
            session,
            core: Mutex::new(core),
            topics,
            announcements,
            acquaintances,
            max_value,
            leave_timeout,
            state: watch::channel(State::default()).0,
            events: Mutex::new(Some(broadcast::channel(EVENTS).0)),
            holds_session: AtomicBool::new(false),
        }
    }

    /// Waits for a state.
    async fn reached(&self, wanted: impl Fn(&State) -> bool) -> Result<()> {
        let mut state = self.state.subscribe();
        self.run(|_| {});
        let ended = match state.wait_for(|state| state.ended.is_some() || wanted(state)).await {
            Ok(state) => state.ended,
            Err(_) => Some(End::Closed),
        };
        ended.map_or(Ok(()), |end| Err(end.error(lock(&self.core).id())))
    }

    async fn ended(&self) -> End {
        let mut state = self.state.subscribe();
        let ended = state.wait_for(|state| state.ended.is_some()).await;
        ended.ok().and_then(|state| state.ended).unwrap_or(End::Closed)
    }

    fn handle(&self, input: Input) {
        let now = self.session.clock.now();
        self.run(|core| core.handle(now, input));
        self.session.wake();
    }

    /// Lets the core do something, and does what it wants done. What it wants done is done under its lock: messages are
    /// published in its order.
    fn run<R>(&self, step: impl FnOnce(&mut SuccessorCore) -> R) -> R {
        let mut core = lock(&self.core);
        let result = step(&mut core);
        while let Some(action) = core.poll_action() {
            match action {
                Action::Publish(message) => self.publish(&message),
                Action::Meet(addresses) => self.meet(&addresses),
                Action::Tell(event) => self.tell(core.id(), event),
                Action::Ended { abandoned } => self.end(End::Left { abandoned }),
            }
        }
        let (serving, settled) = (core.is_serving(), self.state.receiver_count() > 0 && core.is_settled());
        self.state.send_if_modified(|state| {
            let old = *state;
            (state.serving, state.settled) = (serving, settled);
            old != *state
        });
        result
    }

    fn publish(&self, message: &Message) {
        match outgoing::outbound(message) {
            Ok(outbound) => self.session.post(outbound),
            Err(error) => {
                let message = message.clone();
                afterwards(move || tracing::warn!(?message, %error, "could not publish"));
            }
        }
    }

    fn meet(&self, addresses: &[String]) {
        if !self.session.tx.capabilities().brokered {
            self.acquaintances.meet(addresses);
        }
    }

    fn tell(&self, node: Key, event: SuccessorEvent) {
        let told = event.clone();
        afterwards(move || tracing::info!(%node, event = ?told, "successor ring"));
        if event == SuccessorEvent::IdTaken {
            self.state.send_modify(|state| state.id_taken = true);
        }
        // Without a listener an event is nobody's.
        if let Some(events) = &*lock(&self.events) {
            drop(events.send(event));
        }
    }

    fn end(&self, end: End) {
        self.state.send_modify(|state| {
            let end = if state.id_taken { End::IdTaken } else { end };
            // The first end is the true one: a session that closes later changes nothing.
            state.ended.get_or_insert(end);
        });
        lock(&self.events).take();
        if self.holds_session.swap(false, Ordering::AcqRel) {
            self.session.sending.send_modify(|sending| *sending = sending.saturating_sub(1));
        }
    }

    fn has_ended(&self) -> bool {
        self.state.borrow().ended.is_some()
    }
}

impl<Tx: TransportTx> Service for NodeShell<Tx> {
    fn on_topic(&self, now: Mono, topic: &Topic, payload: &Bytes) {
        // The session may hear more than this node listens to.
        if !self.topics.contains(topic) || self.has_ended() {
            return;
        }
        match text::decode(topic.as_str(), payload, self.max_value) {
            // The driver's time is that of a whole batch; the process may have been stopped since.
            Ok(message) => {
                let now = now.max(self.session.clock.now());
                self.run(|core| core.handle(now, Input::Message(message)));
            }
            Err(cause) => {
                tracing::debug!(%topic, %cause, bytes = payload.len(), "dropped a message");
                metrics::counter!("ringbus_successor_malformed_total", "cause" => cause.label()).increment(1);
            }
        }
    }

    fn on_event(&self, now: Mono, event: &Event) {
        if self.has_ended() {
            return;
        }
        let input = match event {
            // Without a broker it is one peer's connection that is back, and all others were there.
            Event::Reconnected { .. } if self.session.tx.capabilities().brokered => Input::Reconnected,
            // Whoever begins to listen to announcements need not wait for the next one to know this node.
            Event::Interest(filter) if filter.matches(&self.announcements) => Input::Interest,
            Event::NameTaken { ends: true, .. } => return self.end(End::NameTaken),
            _ => return,
        };
        self.run(|core| core.handle(now, input));
    }

    fn on_timeout(&self, now: Mono) -> Option<Mono> {
        if self.has_ended() {
            return None;
        }
        self.run(|core| {
            if core.poll_timeout().is_some_and(|at| at <= now) {
                core.handle_timeout(now);
            }
        });
        lock(&self.core).poll_timeout()
    }

    /// Leaves, if there is a ring to leave.
    fn on_closing(&self, _now: Mono) {
        if self.has_ended() || self.holds_session.swap(true, Ordering::AcqRel) {
            return;
        }
        self.session.sending.send_modify(|sending| *sending += 1);
        self.handle(Input::Leave);
    }

    fn on_close(&self, _now: Mono) {
        self.end(End::Closed);
    }
}

fn check(config: &SuccessorConfig) -> Result<()> {
    let refuse = |what, value: String, reason: &str| -> Result<()> {
        Err(ErrorKind::InvalidArgument { what, value, reason: reason.into() }.into())
    };
    if config.announce.is_zero() || config.join_interval.is_zero() {
        return refuse("successor ring interval", "0s".into(), "announcements need a pause between them");
    }
    if config.lease < config.announce * 3 {
        let reason = format!("it is at least three announcements long: {:?}", config.announce * 3);
        return refuse("successor ring lease", format!("{:?}", config.lease), &reason);
    }
    if config.window == 0 {
        return refuse("successor ring window", "0".into(), "at least one pair has to be on its way");
    }
    Ok(())
}
