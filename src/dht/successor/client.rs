//! A client of the successor ring: the async shell around [`ClientCore`].

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OnceCell, Semaphore, oneshot};

use super::SuccessorConfig;
use super::client_core::{Answer, CallId, ClientAction, ClientCore, Patience, Progress};
use super::message::Message;
use super::{outgoing, text};
use crate::dht::client::Dht;
use crate::dht::key::Key;
use crate::dht::protocol::Successor;
use crate::error::{ErrorKind, Result};
use crate::quiet::{afterwards, lock};
use crate::session::{Acquaintances, Listening, Service, Session, SessionCore};
use crate::time::Mono;
use crate::topic::{Topic, TopicFilter};
use crate::transport::{Event, Locator, Transport, TransportTx};

/// The most requests at a time; further ones wait for their turn.
const MAX_REQUESTS: usize = 4096;

impl<T: Transport> Session<T> {
    /// A client of the successor ring. Over a broker it needs no `seeds`; elsewhere they are nodes to attach to, from
    /// which it learns the others.
    ///
    /// Nothing is sent until something is asked; what is wrong with a seed is said then. Each call makes a client of its
    /// own; its clones share it.
    pub fn successor_dht(&self, seeds: impl IntoIterator<Item = Locator>) -> Dht<T, Successor> {
        let shell = Arc::new(ClientShell {
            session: self.core().clone(),
            acquaintances: Acquaintances::new(self.core()),
            state: Mutex::new(State { core: ClientCore::new(rand::random()), waiting: HashMap::new() }),
        });
        let shared = Shared {
            shell,
            seeds: seeds.into_iter().collect(),
            listening: OnceCell::new(),
            room: Semaphore::new(MAX_REQUESTS),
        };
        let client = SuccessorClient { shared: Arc::new(shared), patience: Patience::default() };
        Dht { client, session: self.clone() }
    }
}

/// Keys and values.
///
/// Any number of calls may run at the same time; up to 4,096 of a client's are on their way, and the others wait for
/// their turn. A call that is dropped is not repeated any more; a put may take effect all the same.
///
/// # What is guaranteed
/// - A put that returned survives the crash of one node (of a ring whose nodes are all of this library). One that failed
///   may have taken effect, or may still.
/// - A get that begins after a put of the same client has returned finds that value or a later one. This rests on each
///   node's messages arriving in the order in which it has published them, which every transport here keeps; the embedded
///   broker keeps it for each topic only, and a node's reconnect to its broker, or a key that passes to another owner at
///   that moment, may let an older answer through.
/// - Between clients there is no order: answers do not say to whose question they belong, and one that another client
///   was given before a put may arrive after it.
/// - Puts of one key at the same time: one of them wins, the same for everybody.
impl<T: Transport> Dht<T, Successor> {
    /// How long a call waits for its answer, repeating its question: ten seconds unless set. Holds for this handle and
    /// clones made from it. The time to subscribe, before a client's first call, and to wait for one's turn come on top.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.client.patience.timeout = timeout;
        self
    }

    /// How often an unanswered question is repeated: each second unless set, and never more often than each 10 ms. Until
    /// the ring has answered something, the first repetitions come sooner, after 100 ms, 200 ms and so on; so does one
    /// when a node is met or the broker is back.
    #[must_use]
    pub fn retry_after(mut self, pause: Duration) -> Self {
        self.client.patience.retry_after = pause;
        self
    }

    /// What this client has asked of the ring so far; its clones share it.
    pub fn progress(&self) -> Progress {
        lock(&self.client.shared.shell.state).core.progress()
    }

    /// Stores a value; the node that has stored it. The value may be any text, the empty one, too.
    ///
    /// # Errors
    /// [`ErrorKind::PayloadTooLarge`] for a value over 1 MiB, or over what the session's transport carries: it was not
    /// sent. [`ErrorKind::Timeout`], naming the key, how often it was tried, and how many requests of this client
    /// are unanswered and answered: it may have been stored. [`ErrorKind::Unreachable`] instead, where
    /// there is no broker and the node that is responsible for the key is not heard: it names that
    /// node, and the one that has said that it is there, or does not reach it either.
    /// [`ErrorKind::ForeignLocator`] or [`ErrorKind::InvalidAddress`] for a seed; [`ErrorKind::Closed`].
    pub async fn put(&self, key: impl Into<Key>, value: &str) -> Result<Key> {
        let key = key.into();
        let most = SuccessorConfig::default().max_value;
        let limit = outgoing::longest_value(most, self.session.capabilities());
        if value.len() > limit {
            return Err(ErrorKind::PayloadTooLarge { size: value.len(), limit }.into());
        }
        let patience = self.client.patience;
        match self.client.shared.ask(|core, now| core.put(now, key, value.into(), patience)).await? {
            Answer::Stored(node) => Ok(node),
            Answer::Found(_) => Err(unexpected()),
        }
    }

    /// The value of a key; `None` if the key's owner says that there is none.
    ///
    /// # Errors
    /// As for [`put`](Self::put).
    pub async fn get(&self, key: impl Into<Key>) -> Result<Option<String>> {
        let (key, patience) = (key.into(), self.client.patience);
        match self.client.shared.ask(|core, now| core.get(now, key, patience)).await? {
            Answer::Found(value) => Ok(value.map(|value| value.as_ref().to_owned())),
            Answer::Stored(_) => Err(unexpected()),
        }
    }
}

/// A handle on a client.
pub struct SuccessorClient<Tx: TransportTx> {
    shared: Arc<Shared<Tx>>,
    patience: Patience,
}

impl<Tx: TransportTx> Clone for SuccessorClient<Tx> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), patience: self.patience }
    }
}

impl<Tx: TransportTx> fmt::Debug for SuccessorClient<Tx> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shared, patience } = self;
        f.debug_struct("Successor").field("seeds", &shared.seeds).field("patience", patience).finish()
    }
}

/// What the handles share, and the session does not: when the last is gone, the client ends.
struct Shared<Tx: TransportTx> {
    shell: Arc<ClientShell<Tx>>,
    seeds: Vec<Locator>,
    listening: OnceCell<Listening<Tx>>,
    room: Semaphore,
}

impl<Tx: TransportTx> Shared<Tx> {
    /// Asks something and waits for the answer. Cancel-safe: a call that nobody waits for ends.
    async fn ask(&self, ask: impl FnOnce(&mut ClientCore, Mono) -> CallId) -> Result<Answer> {
        self.listening.get_or_try_init(|| self.listen()).await?;
        let _turn = self.room.acquire().await.map_err(|_| closed())?;
        let (sender, receiver) = oneshot::channel();
        let shell = &self.shell;
        let _call = {
            let mut state = lock(&shell.state);
            // Under the lock: a close that comes later finds this one waiting.
            shell.session.check_open()?;
            let call = ask(&mut state.core, shell.session.clock.now());
            state.waiting.insert(call, sender);
            shell.run_actions(&mut state);
            Call { shell, call }
        };
        shell.session.wake();
        receiver.await.unwrap_or_else(|_| Err(closed()))
    }

    async fn listen(&self) -> Result<Listening<Tx>> {
        let (shell, session) = (&self.shell, &self.shell.session);
        session.check_open()?;
        for seed in &self.seeds {
            if seed.scheme() != session.tx.local().scheme() {
                return Err(session.foreign(seed));
            }
            shell.acquaintances.attach(seed).await?;
        }
        let mut listening = Listening::new(session);
        for topic in text::CLIENT_TOPICS.into_iter().chain([text::ANSWERS]) {
            if ![text::ADDRESSES, text::ANSWERS].contains(&topic) || shell.needs_addresses() {
                listening.subscribe(TopicFilter::new(topic)?).await?;
            }
        }
        listening.serve(shell.clone())?;
        Ok(listening)
    }
}

struct ClientShell<Tx: TransportTx> {
    session: Arc<SessionCore<Tx>>,
    acquaintances: Acquaintances<Tx>,
    state: Mutex<State>,
}

struct State {
    core: ClientCore,
    waiting: HashMap<CallId, oneshot::Sender<Result<Answer>>>,
}

/// A call that somebody waits for.
struct Call<'a, Tx: TransportTx> {
    shell: &'a ClientShell<Tx>,
    call: CallId,
}

impl<Tx: TransportTx> Drop for Call<'_, Tx> {
    fn drop(&mut self) {
        let mut state = lock(&self.shell.state);
        state.waiting.remove(&self.call);
        state.core.cancel(self.call);
    }
}

impl<Tx: TransportTx> ClientShell<Tx> {
    fn needs_addresses(&self) -> bool {
        !self.session.tx.capabilities().brokered
    }

    fn run_actions(&self, state: &mut State) {
        while let Some(action) = state.core.poll_action() {
            match action {
                ClientAction::Publish(message) => self.publish(&message),
                ClientAction::Complete { call, result } => {
                    if let Some(waiting) = state.waiting.remove(&call) {
                        // A call that was dropped at this moment needs no answer.
                        drop(waiting.send(result));
                    }
                }
            }
        }
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
}

impl<Tx: TransportTx> Service for ClientShell<Tx> {
    fn on_topic(&self, now: Mono, topic: &Topic, payload: &Bytes) {
        // The session may hear more than this client listens to.
        let by_detour = || self.needs_addresses() && topic.as_str() == text::ANSWERS;
        let listens = text::CLIENT_TOPICS.contains(&topic.as_str()) || by_detour();
        if !listens {
            return;
        }
        match text::decode(topic.as_str(), payload, SuccessorConfig::default().max_value) {
            Ok(Message::Heal(heal)) => {
                if self.needs_addresses() {
                    self.acquaintances.meet(&heal.addresses);
                    lock(&self.state).core.hear(now, &heal);
                }
            }
            Ok(message) => {
                let mut state = lock(&self.state);
                state.core.handle(now, &message);
                self.run_actions(&mut state);
            }
            Err(cause) => {
                tracing::debug!(%topic, %cause, "dropped a message");
                metrics::counter!("ringbus_successor_malformed_total", "cause" => cause.label()).increment(1);
            }
        }
    }

    fn on_event(&self, _now: Mono, event: &Event) {
        let hear_now = match event {
            // A node has been met.
            Event::Interest(filter) => matches!(filter.as_str(), "put" | "get") || !filter.is_exact(),
            Event::Reconnected { .. } => true,
            _ => false,
        };
        if hear_now {
            lock(&self.state).core.hurry();
        }
    }

    fn on_standstill(&self, now: Mono, stood: Duration) {
        lock(&self.state).core.stood_still(now, stood);
    }

    fn on_timeout(&self, now: Mono) -> Option<Mono> {
        let mut state = lock(&self.state);
        state.core.handle_timeout(now);
        self.run_actions(&mut state);
        state.core.poll_timeout()
    }

    fn on_close(&self, _now: Mono) {
        // Dropping the senders tells those who wait.
        lock(&self.state).waiting.clear();
    }
}

fn closed() -> crate::Error {
    ErrorKind::Closed { what: "ring client" }.into()
}

fn unexpected() -> crate::Error {
    ErrorKind::Malformed { what: "answer of a ring node", reason: "it answers another question" }.into()
}
