//! The client's side of the successor ring, as a core: requests, and what their answers are.
//!
//! A put carries a token of its own, the same on each retry, and ends when that token is acknowledged. A get ends with
//! the first answer about its key that arrives after it has begun, whoever asked for it: answers do not say whose they
//! are. That is enough to read what one has written, as each node's messages arrive in the order in which it published
//! them: an answer from before a put arrives before the put's acknowledgement.

mod detours;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use self::detours::{Asked, Detours};
use super::message::Message;
use crate::dht::key::Key;
use crate::dht::schedule::Schedule;
use crate::error::{ErrorKind, Result};
use crate::time::Mono;

/// Until the ring has answered something the first retry comes early: what was published before the peers were connected
/// has reached nobody. Later an answer that takes so long means that the ring is busy.
const FIRST_RETRY: Duration = Duration::from_millis(100);
/// When a node has been met this is the first pause: what it answers may be on its way before it can be heard.
const MET_RETRY: Duration = Duration::from_millis(20);
/// Retries never come closer than this.
const SHORTEST_RETRY: Duration = Duration::from_millis(10);

/// One who waits for an answer.
pub(crate) type CallId = u64;

/// How long a call waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// When it gives up.
    pub(crate) timeout: Duration,
    /// How often it asks again, once the first retries, which come sooner, are over.
    pub(crate) retry_after: Duration,
}

impl Default for Patience {
    /// Ten seconds, and one.
    fn default() -> Self {
        Self { timeout: Duration::from_secs(10), retry_after: Duration::from_secs(1) }
    }
}

/// What the ring says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// This node has stored the pair.
    Stored(Key),
    /// The value, if there is one.
    Found(Option<Arc<str>>),
}

/// What a client has asked of the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Requests that are under way, or have just been given up.
    pub unanswered: usize,
    /// Requests that were answered since the client was made.
    pub answered: u64,
}

/// What a client wants done.
#[derive(Debug)]
pub(crate) enum ClientAction {
    /// Publish.
    Publish(Message),
    /// A call is over.
    Complete { call: CallId, result: Result<Answer> },
}

/// A client, without its I/O. How many calls there are is bounded by who makes them.
#[derive(Debug)]
pub(crate) struct ClientCore {
    /// What its tokens begin with.
    name: String,
    /// How many requests were answered.
    answered: u64,
    requests: BTreeMap<RequestId, Request>,
    puts: BTreeMap<Arc<str>, RequestId>,
    gets: BTreeMap<Key, RequestId>,
    calls: BTreeMap<CallId, RequestId>,
    schedule: Schedule<RequestId>,
    actions: VecDeque<ClientAction>,
    detours: Detours,
    last_request: RequestId,
    last_call: CallId,
    last_token: u64,
}

type RequestId = u64;

/// Something that is asked on the wire until it is answered or nobody waits any more.
#[derive(Debug)]
struct Request {
    /// What is published: a put or a get.
    question: Question,
    /// When it was first asked.
    begun: Mono,
    attempts: u32,
    last_attempt: Mono,
    next_attempt: Mono,
    /// From an attempt to the next.
    pause: Duration,
    longest_pause: Duration,
    /// What was asked by way of others.
    asked: Asked,
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
enum Question {
    Put { token: Arc<str>, key: Key, value: Arc<str> },
    Get(Key),
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    call: CallId,
    deadline: Mono,
    timeout: Duration,
}

impl ClientCore {
    /// A client whose tokens begin with these 48 random bits.
    pub(crate) fn new(random: u64) -> Self {
        Self {
            name: format!("{:012x}", random & 0xffff_ffff_ffff),
            answered: 0,
            requests: BTreeMap::new(),
            puts: BTreeMap::new(),
            gets: BTreeMap::new(),
            calls: BTreeMap::new(),
            schedule: Schedule::default(),
            actions: VecDeque::new(),
            detours: Detours::default(),
            last_request: 0,
            last_call: 0,
            last_token: 0,
        }
    }

    /// Stores a pair. Completes with [`Answer::Stored`].
    pub(crate) fn put(&mut self, now: Mono, key: Key, value: Arc<str>, patience: Patience) -> CallId {
        let id = self.new_request();
        let token: Arc<str> = format!("{}-{id}", self.name).into();
        self.puts.insert(token.clone(), id);
        self.begin(now, id, Question::Put { token, key, value }, patience)
    }

    /// Fetches a value. Completes with [`Answer::Found`]. Gets of one key at the same time share a request.
    pub(crate) fn get(&mut self, now: Mono, key: Key, patience: Patience) -> CallId {
        let first_pause = self.first_pause(patience);
        if let Some(id) = self.gets.get(&key).copied()
            && let Some(request) = self.requests.get_mut(&id)
        {
            // The earlier question may be lost: for the newcomer it is retried as if it were new.
            request.pause = request.pause.min(first_pause);
            request.next_attempt = request.next_attempt.min(now + request.pause);
            request.longest_pause = request.longest_pause.min(longest_pause(patience));
            let former = request.asked.renew(now);
            self.forget_token(former.as_ref());
            self.begin_detour(now, id);
            return self.wait(now, id, patience);
        }
        let id = self.new_request();
        self.gets.insert(key, id);
        self.begin(now, id, Question::Get(key), patience)
    }

    /// What was asked so far.
    pub(crate) fn progress(&self) -> Progress {
        Progress { unanswered: self.requests.len(), answered: self.answered }
    }

    /// Nobody waits for this call any more. What it asked for may happen all the same.
    pub(crate) fn cancel(&mut self, call: CallId) {
        let Some(id) = self.calls.remove(&call) else { return };
        let Some(request) = self.requests.get_mut(&id) else { return };
        request.waiting.retain(|waiting| waiting.call != call);
        if request.waiting.is_empty() {
            self.forget(id);
        }
    }

    /// Takes a message.
    pub(crate) fn handle(&mut self, now: Mono, message: &Message) {
        match message {
            Message::AckPut { client, node } => {
                if let Some(id) = self.puts.get(client).copied()
                    && self.counts_plain_answer(now, id)
                {
                    self.complete(id, &Answer::Stored(*node));
                }
            }
            Message::ResGet { key, value } => self.found(now, *key, Some(value.clone())),
            Message::ErrGet(key) => self.found(now, *key, None),
            Message::Answer { at: None, token, reply, .. } => self.on_answer(now, token, reply),
            _ => {}
        }
    }

    /// Somebody hears from now on who did not before: what is unanswered is asked again soon.
    pub(crate) fn hurry(&mut self) {
        let unanswered: Vec<RequestId> = self.requests.keys().copied().collect();
        for id in unanswered {
            if let Some(request) = self.requests.get_mut(&id) {
                request.next_attempt = request.next_attempt.min(request.last_attempt + SHORTEST_RETRY);
                request.pause = request.pause.min(MET_RETRY);
            }
            self.reschedule(id);
        }
    }

    /// The process stood still for so long: no call fails because of it, what is unanswered is asked again.
    pub(crate) fn stood_still(&mut self, now: Mono, stood: Duration) {
        self.detours.stood_still(now);
        let unanswered: Vec<RequestId> = self.requests.keys().copied().collect();
        for id in unanswered {
            if let Some(request) = self.requests.get_mut(&id) {
                request.waiting.iter_mut().for_each(|waiting| waiting.deadline = waiting.deadline + stood);
            }
            self.reschedule(id);
        }
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Mono) {
        for id in self.schedule.take_due(now) {
            self.expire(now, id);
            let Some(request) = self.requests.get_mut(&id) else { continue };
            if request.next_attempt <= now {
                let again = request.ask(now);
                self.actions.push_back(ClientAction::Publish(again));
            }
            self.ask_by_detour(now, id);
            self.reschedule(id);
        }
    }

    /// When something is due.
    pub(crate) fn poll_timeout(&self) -> Option<Mono> {
        self.schedule.next()
    }

    /// What is to be done next.
    pub(crate) fn poll_action(&mut self) -> Option<ClientAction> {
        self.actions.pop_front()
    }

    fn first_pause(&self, patience: Patience) -> Duration {
        let longest = longest_pause(patience);
        if self.answered > 0 { longest } else { longest.min(FIRST_RETRY) }
    }

    fn new_request(&mut self) -> RequestId {
        self.last_request += 1;
        self.last_request
    }

    fn begin(&mut self, now: Mono, id: RequestId, question: Question, patience: Patience) -> CallId {
        let mut request = Request {
            question,
            begun: now,
            attempts: 0,
            last_attempt: now,
            next_attempt: now,
            pause: self.first_pause(patience),
            longest_pause: longest_pause(patience),
            asked: Asked::new(now),
            waiting: Vec::new(),
        };
        let first = request.ask(now);
        self.actions.push_back(ClientAction::Publish(first));
        self.requests.insert(id, request);
        self.begin_detour(now, id);
        self.wait(now, id, patience)
    }

    fn wait(&mut self, now: Mono, id: RequestId, patience: Patience) -> CallId {
        self.last_call += 1;
        let (call, timeout) = (self.last_call, patience.timeout);
        self.calls.insert(call, id);
        if let Some(request) = self.requests.get_mut(&id) {
            request.waiting.push(Waiting { call, deadline: now + timeout, timeout });
        }
        self.reschedule(id);
        call
    }

    fn found(&mut self, now: Mono, key: Key, value: Option<Arc<str>>) {
        if let Some(id) = self.gets.get(&key).copied()
            && self.counts_plain_answer(now, id)
        {
            self.complete(id, &Answer::Found(value));
        }
    }

    fn complete(&mut self, id: RequestId, answer: &Answer) {
        self.answered += 1;
        for Waiting { call, .. } in self.forget(id) {
            self.calls.remove(&call);
            self.actions.push_back(ClientAction::Complete { call, result: Ok(answer.clone()) });
        }
    }

    /// Ends the calls whose time is up.
    fn expire(&mut self, now: Mono, id: RequestId) {
        let progress = self.progress();
        let Some(request) = self.requests.get_mut(&id) else { return };
        let expired: Vec<_> = request.waiting.extract_if(.., |call| call.deadline <= now).collect();
        let unanswered = request.waiting.is_empty();
        for Waiting { call, timeout, .. } in expired {
            self.calls.remove(&call);
            let Some(request) = self.requests.get(&id) else { return };
            let error = self.unreachable(now, request, timeout).unwrap_or_else(|| {
                let (what, why) = (request.question.describe(request.attempts), progress.describe());
                ErrorKind::Timeout { what: format!("{what} ({why}),"), after: timeout }.into()
            });
            self.actions.push_back(ClientAction::Complete { call, result: Err(error) });
        }
        if unanswered {
            self.forget(id);
        }
    }

    /// Ends a request; those who still wait for it.
    fn forget(&mut self, id: RequestId) -> Vec<Waiting> {
        self.schedule.clear(id);
        let Some(request) = self.requests.remove(&id) else { return Vec::new() };
        self.forget_token(request.token());
        match request.question {
            Question::Put { token, .. } => self.puts.remove(&token),
            Question::Get(key) => self.gets.remove(&key),
        };
        request.waiting
    }

    fn reschedule(&mut self, id: RequestId) {
        if let Some(request) = self.requests.get(&id) {
            let deadline = request.waiting.iter().map(|waiting| waiting.deadline).min();
            let asks = self.detours.has_takers();
            let ask = if asks { request.asked.next } else { request.next_attempt };
            let next = request.next_attempt.min(ask);
            self.schedule.set(id, deadline.map_or(next, |at| at.min(next)));
        }
    }
}

impl Request {
    /// The message to publish, for the first time or again.
    fn ask(&mut self, now: Mono) -> Message {
        self.attempts = self.attempts.saturating_add(1);
        self.last_attempt = now;
        self.next_attempt = now + self.pause;
        self.pause = (self.pause * 2).min(self.longest_pause);
        match &self.question {
            Question::Put { token, key, value } => {
                Message::Put { client: token.clone(), key: *key, value: value.clone() }
            }
            Question::Get(key) => Message::Get(*key),
        }
    }
}

impl Question {
    fn key(&self) -> Key {
        match self {
            Self::Put { key, .. } | Self::Get(key) => *key,
        }
    }

    fn describe(&self, attempts: u32) -> String {
        let times = if attempts == 1 { "once".to_owned() } else { format!("{attempts} times") };
        let (verb, key) = match self {
            Self::Put { key, .. } => ("putting", key),
            Self::Get(key) => ("getting", key),
        };
        format!("{verb} key {key}, tried {times}")
    }
}

impl Progress {
    fn describe(self) -> String {
        let Self { unanswered, answered } = self;
        match answered {
            0 => format!("{unanswered} unanswered, none ever answered: is a node running there?"),
            _ => {
                format!("{unanswered} unanswered, {answered} answered: the ring, or its broker, may be slow")
            }
        }
    }
}

fn longest_pause(patience: Patience) -> Duration {
    patience.retry_after.max(SHORTEST_RETRY)
}

#[cfg(test)]
mod tests;
