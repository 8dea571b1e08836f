//! The ring's client: the async shell around [`ClientCore`].

mod discovery;
mod one_hop;

use std::fmt;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::Level;

use self::discovery::Introductions;
pub(super) use self::one_hop::OneHopClient;
use super::client_core::{Answer, ClientAction, ClientConfig, ClientCore, MatchEvent, RequestMap};
use super::member::Member;
use super::message::lookups::{AnswerReader, append_request};
use super::message::{Message, Offers, Reply, ReplyBody, RequestBody, RequestId};
use super::protocol::{OneHop, RingProtocol};
use crate::error::{ErrorKind, Result};
use crate::message::EntityId;
use crate::pubsub::Discovery;
use crate::qos::Requested;
use crate::quiet::{MutexGuard, afterwards, lock, try_lock};
use crate::session::{Service, Session, SessionCore};
use crate::time::{Mono, earliest};
use crate::topic::TopicFilter;
use crate::transport::{Event, Locator, Transport, TransportTx};
use crate::wire::Room;

/// A session's access to a ring, through any of its nodes. Clones are one client.
///
/// `P` is the ring's protocol: [`OneHop`], the ring of event services, made by [`Session::dht`], or
/// [`Successor`](crate::dht::Successor), the ring of keys and values, made by [`Session::successor_dht`].
///
/// Give a client of the ring of event services to publishers and subscribers with [`dht`](crate::pubsub::PublisherBuilder::dht): they are registered, find
/// each other, and stay registered through the loss of any node.
pub struct Dht<T: Transport, P: RingProtocol = OneHop> {
    /// Dropped before the session.
    pub(super) client: P::Client<T::Tx>,
    pub(super) session: Session<T>,
}

impl<T: Transport> Session<T> {
    /// This session's access to a ring of which these nodes are members. A second call adds further nodes to ask.
    /// Nothing is sent until something is asked; what is wrong with a node's address is said then.
    pub fn dht(&self, nodes: impl IntoIterator<Item = Locator>) -> Dht<T> {
        Dht { client: OneHopClient { shell: ClientShell::of(self.core(), nodes) }, session: self.clone() }
    }
}

impl<T: Transport> Dht<T, OneHop> {
    /// Who is on the ring, sorted by name.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] or [`ErrorKind::Unreachable`], naming the nodes that were asked.
    pub async fn members(&self) -> Result<Vec<Member>> {
        match self.client.shell.query(RequestBody::Members).await? {
            Answer::Members(members) => Ok(members),
            _ => Err(unexpected()),
        }
    }

    /// The offers on every topic under a filter; judged against `requested` where one is given.
    ///
    /// # Errors
    /// As for [`members`](Self::members). A filter with wildcards asks every member; those that did not answer are named in
    /// [`Offers::unanswered`].
    pub async fn lookup(&self, filter: &TopicFilter, requested: Option<&Requested>) -> Result<Offers> {
        let query =
            RequestBody::Lookup { filter: filter.clone(), requested: requested.cloned().map(Box::new) };
        match self.client.shell.query(query).await? {
            Answer::Offers(offers) => Ok(offers),
            _ => Err(unexpected()),
        }
    }

    /// The nodes that this client would ask now, the best first.
    pub fn known_nodes(&self) -> Vec<Locator> {
        lock(&self.client.shell.state).core.known_nodes()
    }

    /// This client as publishers' and subscribers' way to find each other.
    pub fn discovery(&self) -> Arc<dyn Discovery> {
        Arc::new(self.clone())
    }
}

impl<T: Transport, P: RingProtocol> Clone for Dht<T, P> {
    fn clone(&self) -> Self {
        Self { client: self.client.clone(), session: self.session.clone() }
    }
}

impl<T: Transport, P: RingProtocol> fmt::Debug for Dht<T, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Dht").field(&self.client).finish()
    }
}

pub(super) struct ClientShell<Tx> {
    /// Itself, for the tasks that it starts.
    me: Weak<Self>,
    session: Arc<SessionCore<Tx>>,
    state: Mutex<State>,
    queries: Mutex<Queries>,
}

/// What is asked when the driver has its turn. Locked after [`State`] where both are, unless that is only tried.
#[derive(Default)]
struct Queries {
    /// As many as there are callers that wait.
    waiting: Vec<(RequestBody, Asker)>,
    /// While those who were answered in one go have their turn: how many questions there are when each of them has asked
    /// another.
    expected: usize,
}

/// Who waits for an answer.
type Asker = oneshot::Sender<Result<Answer>>;
/// That, and the answer.
type Answered = (Asker, Result<Answer>);

struct State {
    core: ClientCore,
    answers: AnswerReader,
    waiting: RequestMap<Asker>,
    answered: Vec<Answered>,
    /// Empty: its memory is for those that wait next.
    asked: Vec<(RequestBody, Asker)>,
    introductions: Introductions,
    /// Makes and ends connections.
    connecting: Option<JoinHandle<()>>,
    /// A node that was named although this transport cannot reach it.
    foreign: Option<Locator>,
}

impl State {
    /// Takes an answer that was read before, as most have been that come by the hundred thousand. `false` if it is another
    /// message, or nobody waits for it.
    fn take_known(&mut self, from: &Locator, message: &[u8]) -> bool {
        let Some((id, offers)) = self.answers.known(message) else { return false };
        if !self.core.take_offers(from, id) {
            return false;
        }
        if let Some(asker) = self.waiting.remove(&id) {
            self.answered.push((asker, Ok(Answer::Offers(offers.clone()))));
        }
        true
    }
}

impl<Tx: TransportTx> ClientShell<Tx> {
    fn of(session: &Arc<SessionCore<Tx>>, nodes: impl IntoIterator<Item = Locator>) -> Arc<Self> {
        let mut new = None;
        let mut make = || {
            let state = State {
                core: ClientCore::new(ClientConfig::default(), Vec::new()),
                answers: AnswerReader::default(),
                waiting: RequestMap::default(),
                answered: Vec::new(),
                asked: Vec::new(),
                introductions: Introductions::default(),
                connecting: None,
                foreign: None,
            };
            let (session, queries) = (session.clone(), Mutex::default());
            let shell =
                Arc::new_cyclic(|me| Self { me: me.clone(), session, state: Mutex::new(state), queries });
            new = Some(shell.clone());
            shell
        };
        // A closed session forgets nothing any more: the two would keep each other alive.
        let shell = if session.check_open().is_ok() { session.shared(make) } else { make() };
        if let Some(new) = new
            && let Err(error) = session.register(Room::DhtClient, new)
        {
            // Asking says so again, to whom it concerns.
            tracing::debug!(%error, "a ring client on a closed session");
        }
        let scheme = session.tx.local().scheme();
        let (own, mut foreign): (Vec<_>, Vec<_>) =
            nodes.into_iter().partition(|node| node.scheme() == scheme);
        let mut state = lock(&shell.state);
        state.core.add_seeds(own);
        state.foreign = state.foreign.take().or(foreign.pop());
        drop(state);
        shell
    }

    /// Asks something and waits for the answer. A cancelled call is still answered, to nobody.
    async fn ask(&self, ask: impl FnOnce(&mut ClientCore, Mono) -> RequestId) -> Result<Answer> {
        let (sender, receiver) = oneshot::channel();
        self.ask_now(lock(&self.state), ask, sender)?;
        answer_of(receiver).await
    }

    /// As [`ask`](Self::ask), of a question that any node answers, and that changes nothing.
    ///
    /// A lone question is sent at once. While others are unanswered, or were answered in one go, the driver sends it
    /// together with what the caller's task asks besides, and with what those others ask next.
    async fn query(&self, query: RequestBody) -> Result<Answer> {
        let (sender, receiver) = oneshot::channel();
        self.submit(query, sender)?;
        answer_of(receiver).await
    }

    /// Asks at once, or leaves the question to the driver.
    fn submit(&self, query: RequestBody, sender: Asker) -> Result<()> {
        let mut queries = lock(&self.queries);
        if queries.expected == 0
            && let Some(state) = try_lock(&self.state)
            && state.waiting.is_empty()
        {
            drop(queries);
            let session = &self.session;
            return self.ask_now(state, |core, now| ask_one(session, core, now, query), sender);
        }
        self.session.check_open()?;
        queries.waiting.push((query, sender));
        let (waiting, expected) = (queries.waiting.len(), queries.expected);
        drop(queries);
        match expected {
            // The first of those that have not been answered in one go: the driver does not know of it.
            0 if waiting == 1 => self.session.wake(),
            0 => {}
            _ if waiting == expected => self.session.turn_over(),
            _ => {}
        }
        Ok(())
    }

    fn ask_now(
        &self,
        mut state: MutexGuard<'_, State>,
        ask: impl FnOnce(&mut ClientCore, Mono) -> RequestId,
        sender: Asker,
    ) -> Result<()> {
        // Under the lock: a close that comes later finds this one waiting.
        self.session.check_open()?;
        if let Some(foreign) = &state.foreign {
            return Err(self.session.foreign(foreign));
        }
        let request = ask(&mut state.core, self.session.clock.now());
        state.waiting.insert(request, sender);
        self.run_actions(&mut state);
        let due = state.core.poll_timeout();
        answer(state);
        self.session.wake_by(due);
        Ok(())
    }

    /// Asks what has been waiting for the driver.
    fn ask_queries(&self, now: Mono, state: &mut State) {
        let mut asked = std::mem::take(&mut state.asked);
        {
            let mut queries = lock(&self.queries);
            queries.expected = 0;
            std::mem::swap(&mut queries.waiting, &mut asked);
        }
        for (query, sender) in asked.drain(..) {
            if let Some(foreign) = &state.foreign {
                state.answered.push((sender, Err(self.session.foreign(foreign))));
                continue;
            }
            let request = ask_one(&self.session, &mut state.core, now, query);
            state.waiting.insert(request, sender);
        }
        state.asked = asked;
    }

    fn run_actions(&self, state: &mut State) {
        while let Some(action) = state.core.poll_action() {
            match action {
                ClientAction::Send { to, message } => {
                    if let Err(error) = self.session.post_control(&to, Room::DhtNode, &message) {
                        afterwards(move || tracing::warn!(%to, %error, "could not encode a message"));
                    }
                }
                ClientAction::Complete { request, result } => {
                    let waiting = state.waiting.remove(&request);
                    state.answered.extend(waiting.map(|waiting| (waiting, result)));
                }
                ClientAction::Event { registration, event } => self.introduce(state, registration, event),
            }
        }
    }

    fn introduce(&self, state: &mut State, registration: EntityId, event: MatchEvent) {
        if tracing::level_enabled!(Level::DEBUG) {
            let event = event.clone();
            afterwards(move || tracing::debug!(%registration, ?event, "registry"));
        }
        let now = self.session.clock.now();
        state.introductions.on_event(now, registration, event);
        self.connect(state);
    }

    /// Lets the session follow what the introductions ask for.
    fn connect(&self, state: &mut State) {
        let changes = state.introductions.changes();
        if changes.is_empty() {
            return;
        }
        let (session, before) = (self.session.clone(), state.connecting.take());
        let shell = self.me.clone();
        state.connecting = Some(tokio::spawn(async move {
            // In the order in which they were decided: an end must not overtake its beginning.
            if let Some(before) = before {
                drop(before.await);
            }
            for change in changes {
                let outcome = match &change.attach {
                    true => session.attach(change.by, &change.peer).await,
                    false => session.detach(change.by, &change.peer).await,
                };
                // A session that has closed meanwhile has let go of everybody.
                if let Err(error) = &outcome
                    && session.check_open().is_ok()
                {
                    tracing::warn!(peer = %change.peer, %error, "could not follow the registry");
                }
                let Some(shell) = shell.upgrade().filter(|_| change.attach) else { continue };
                let refusal = outcome.err().filter(may_be_tried_again).map(|error| error.to_string());
                let due = {
                    let introductions = &mut lock(&shell.state).introductions;
                    introductions.answered(session.clock.now(), &change, refusal);
                    introductions.poll_timeout()
                };
                session.wake_by(due);
            }
        }));
    }
}

impl<Tx: TransportTx> Service for ClientShell<Tx> {
    fn on_control(&self, now: Mono, from: &Locator, body: &[u8]) {
        let mut state = lock(&self.state);
        if state.take_known(from, body) {
            return;
        }
        match state.answers.decode(body) {
            Ok(message) => {
                state.core.handle(now, from, message);
                self.run_actions(&mut state);
            }
            Err(error) => {
                drop(state);
                tracing::debug!(%from, %error, "dropped a message");
                metrics::counter!("ringbus_frames_dropped_total", "cause" => "malformed").increment(1);
            }
        }
    }

    /// The answer to the only question that is under way. Where there are several the driver lets those who are answered ask
    /// on together.
    fn on_control_at_once(&self, now: Mono, from: &Locator, body: &[u8]) -> bool {
        let Some(mut state) = try_lock(&self.state) else { return false };
        if state.waiting.len() != 1 {
            return false;
        }
        // One that sets no deadlines and introduces nobody.
        let Ok(message @ Message::Reply(Reply { part: 0, parts: 1, body: ReplyBody::Offers(_), .. })) =
            state.answers.decode(body)
        else {
            return false;
        };
        state.core.handle(now, from, message);
        self.run_actions(&mut state);
        answer(state);
        true
    }

    fn on_read(&self) -> bool {
        let state = lock(&self.state);
        let several = state.answered.len() > 1;
        if several {
            // What waits already was asked by others.
            let mut queries = lock(&self.queries);
            queries.expected = queries.waiting.len() + state.answered.len();
        }
        answer(state);
        several
    }

    fn expects_more(&self) -> bool {
        !lock(&self.queries).waiting.is_empty()
    }

    fn on_event(&self, now: Mono, event: &Event) {
        if let Event::PeerDown(peer) = event {
            let mut state = lock(&self.state);
            state.core.peer_down(now, peer);
            self.run_actions(&mut state);
            answer(state);
        }
    }

    fn on_standstill(&self, _now: Mono, stood: Duration) {
        lock(&self.state).core.stood_still(stood);
    }

    fn on_timeout(&self, now: Mono) -> Option<Mono> {
        let mut state = lock(&self.state);
        self.ask_queries(now, &mut state);
        if state.core.poll_timeout().is_some_and(|at| at <= now) {
            state.core.handle_timeout(now);
        }
        self.run_actions(&mut state);
        state.introductions.handle_timeout(now);
        self.connect(&mut state);
        let due = earliest(state.core.poll_timeout(), state.introductions.poll_timeout());
        answer(state);
        due
    }

    fn on_close(&self, _now: Mono) {
        let mut state = lock(&self.state);
        // Dropping the senders tells those who wait.
        state.waiting.clear();
        lock(&self.queries).waiting.clear();
        answer(state);
    }
}

/// Sends a question that changes nothing.
fn ask_one<Tx: TransportTx>(
    session: &SessionCore<Tx>,
    core: &mut ClientCore,
    now: Mono,
    query: RequestBody,
) -> RequestId {
    core.ask_with(now, query, |to, id, body| {
        let write = |out: &mut Vec<u8>| append_request(id, body, out);
        if let Err(error) = session.post_control_with(to, Room::DhtNode, write) {
            let to = to.clone();
            afterwards(move || tracing::warn!(%to, %error, "could not encode a message"));
        }
    })
}

async fn answer_of(receiver: oneshot::Receiver<Result<Answer>>) -> Result<Answer> {
    receiver.await.unwrap_or_else(|_| Err(ErrorKind::Closed { what: "ring client" }.into()))
}

/// Wakes those who have an answer. Not under the lock: the first thing that they want may be to ask again.
fn answer(mut state: MutexGuard<'_, State>) {
    if state.answered.is_empty() {
        return;
    }
    // The next may be as many.
    let room = Vec::with_capacity(state.answered.len());
    let answered = std::mem::replace(&mut state.answered, room);
    drop(state);
    for (waiting, result) in answered {
        drop(waiting.send(result));
    }
}

/// Whether another attempt may end otherwise.
fn may_be_tried_again(error: &crate::Error) -> bool {
    let for_good = matches!(
        error.kind(),
        ErrorKind::Closed { .. } | ErrorKind::ForeignLocator { .. } | ErrorKind::InvalidAddress { .. }
    );
    !for_good
}

fn unexpected() -> crate::Error {
    ErrorKind::Malformed { what: "answer of a ring node", reason: "it answers another question" }.into()
}
