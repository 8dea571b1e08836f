//! Asking by way of a third node: where the owner is not heard, or does not answer, though others
//! reach it.
//!
//! What goes two ways may overtake itself, so its answers say whose they are. A put that was asked
//! by a detour is over when that is answered: then its owner knows it, and takes late copies of it,
//! on either way, for what they are. After such a put, gets count no answer but their own for a
//! while: one from before it may still lie in the queue of a connection that was cut.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Answer, ClientAction, ClientCore, Question, Request, RequestId};
use crate::dht::key::Key;
use crate::dht::successor::message::{self, Heal, Message, Reply, Stage};
use crate::error::{Error, ErrorKind};
use crate::time::Mono;

/// Nodes announce themselves each half a second: after so long without a word a node is not heard.
const QUIET: Duration = Duration::from_millis(1200);
/// The owner of a key is not heard: after so long without an answer a third is asked.
const PATIENCE: Duration = Duration::from_millis(300);
/// It is heard, and is rather busy than out of reach.
const PATIENCE_WITH_OWNER: Duration = Duration::from_millis(1500);
/// So long is a node remembered that was heard once.
const REMEMBERED: Duration = Duration::from_secs(10);
/// The most nodes that are known.
const MAX_NODES: usize = 1 << 10;
/// So long may what was said before lie in the queue of a connection.
const STALE: Duration = Duration::from_secs(60);

/// What a client knows of the nodes, and what it asks by way of them.
#[derive(Debug, Default)]
pub(super) struct Detours {
    nodes: BTreeMap<Key, Node>,
    /// The requests behind the tokens of gets.
    gets: BTreeMap<Arc<str>, RequestId>,
    /// When a put was last answered by way of others.
    stored: Option<Mono>,
}

#[derive(Debug)]
struct Node {
    heard: Mono,
    neighbours: [Option<Key>; 2],
    takes_detours: bool,
}

/// What one request has asked by way of others.
#[derive(Debug)]
pub(super) struct Asked {
    /// When the next third is asked.
    pub(super) next: Mono,
    pause: Duration,
    /// How many were asked.
    count: usize,
    /// Those that may still pass it on.
    under_way: Vec<Key>,
    /// A plain answer has come that does not count: the owner was asked at once, this one time.
    hastened: bool,
    /// Of a get: what its answers are told by.
    token: Option<Arc<str>>,
    /// The owner that could not be reached, and which node said so.
    unreached: Option<(Key, Key)>,
}

impl Asked {
    pub(super) fn new(now: Mono) -> Self {
        let (pause, under_way) = (PATIENCE, Vec::new());
        Self {
            next: now + PATIENCE,
            pause,
            count: 0,
            under_way,
            hastened: false,
            token: None,
            unreached: None,
        }
    }

    /// Another call waits for the same answer: one that is under way may be from before it.
    pub(super) fn renew(&mut self, now: Mono) -> Option<Arc<str>> {
        let token = self.token.take();
        if token.is_some() {
            self.next = now;
        }
        token
    }
}

impl Detours {
    /// A node has said where it stands.
    pub(super) fn hear(&mut self, now: Mono, heal: &Heal) {
        if !matches!(heal.stage, Stage::Busy | Stage::Done) {
            self.nodes.remove(&heal.id);
            return;
        }
        if self.nodes.len() >= MAX_NODES && !self.nodes.contains_key(&heal.id) {
            self.nodes.retain(|_, node| now.saturating_since(node.heard) < QUIET);
            if self.nodes.len() >= MAX_NODES {
                return;
            }
        }
        let neighbours = [heal.predecessor, heal.successor];
        self.nodes.insert(heal.id, Node { heard: now, neighbours, takes_detours: heal.takes_detours });
    }

    /// The process stood still: nobody is blamed for silence.
    pub(super) fn stood_still(&mut self, now: Mono) {
        self.nodes.values_mut().for_each(|node| node.heard = now);
    }

    fn is_heard(&self, now: Mono, id: Key) -> bool {
        self.nodes.get(&id).is_some_and(|node| now.saturating_since(node.heard) < QUIET)
    }

    /// Whether any node is known that can be asked.
    pub(super) fn has_takers(&self) -> bool {
        self.nodes.values().any(|node| node.takes_detours)
    }

    /// Those that can be asked; empty where nodes are of older builds, or speak through a broker.
    fn takers(&self, now: Mono) -> Vec<Key> {
        let takes = |(id, node): &(&Key, &Node)| node.takes_detours && self.is_heard(now, **id);
        self.nodes.iter().filter(takes).map(|(id, _)| *id).collect()
    }

    /// The node that a key belongs to by what those that are heard say of themselves and their
    /// neighbours; and which of them names it, if it is another one.
    fn owner(&self, now: Mono, key: Key) -> Option<(Key, Key)> {
        let recent = self.nodes.iter().filter(|(_, node)| now.saturating_since(node.heard) < REMEMBERED);
        let named = recent.flat_map(|(by, node)| {
            let by = *by;
            node.neighbours.into_iter().flatten().map(move |id| (id, by)).chain([(by, by)])
        });
        // Clockwise from the key. One that is heard speaks for itself.
        named.min_by_key(|(id, by)| (id.get().wrapping_sub(key.get()), id != by))
    }

    /// Whether plain answers may be from before a put that was answered by way of others.
    fn distrusts(&self, now: Mono) -> bool {
        self.stored.is_some_and(|at| now.saturating_since(at) < STALE) && !self.takers(now).is_empty()
    }
}

impl ClientCore {
    /// A node has said where it stands, on a transport without a broker.
    pub(crate) fn hear(&mut self, now: Mono, heal: &Heal) {
        self.detours.hear(now, heal);
    }

    /// A get does not count plain answers after some puts: it is asked by token at once.
    pub(super) fn begin_detour(&mut self, now: Mono, id: RequestId) {
        if self.detours.distrusts(now)
            && let Some(request) = self.requests.get_mut(&id)
            && matches!(request.question, Question::Get(_))
        {
            request.asked.next = now;
            self.ask_by_detour(now, id);
        }
    }

    /// Whether an answer that does not say whose it is may be counted.
    pub(super) fn counts_plain_answer(&mut self, now: Mono, id: RequestId) -> bool {
        let distrusts = self.detours.distrusts(now);
        let Some(request) = self.requests.get_mut(&id) else { return false };
        let counts = match request.question {
            Question::Put { .. } => request.asked.under_way.is_empty(),
            Question::Get(_) => !distrusts,
        };
        if !counts && !std::mem::replace(&mut request.asked.hastened, true) {
            // The owner is there: it is asked itself for an answer that counts.
            request.asked.next = request.asked.next.min(now);
            self.reschedule(id);
        }
        counts
    }

    /// Asks a node that is heard, if it is time to and there is one.
    pub(super) fn ask_by_detour(&mut self, now: Mono, id: RequestId) {
        let Some(request) = self.requests.get_mut(&id).filter(|request| request.asked.next <= now) else {
            return;
        };
        let (detours, key) = (&mut self.detours, request.question.key());
        let mut takers = detours.takers(now);
        let owner = detours.owner(now, key).map(|(owner, _)| owner);
        let owner_is_heard = owner.is_some_and(|owner| detours.is_heard(now, owner));
        let waited = now.saturating_since(request.begun);
        let distrusts = !request.asked.under_way.is_empty()
            || matches!(request.question, Question::Get(_)) && detours.distrusts(now);
        if takers.is_empty() || owner_is_heard && !distrusts && waited < PATIENCE_WITH_OWNER {
            // Others may be heard soon.
            let next = if takers.is_empty() { now } else { request.begun + PATIENCE_WITH_OWNER };
            request.asked.next = next.max(now + PATIENCE);
            return;
        }
        // The owner first: if it can be reached nobody else has to be troubled.
        takers.sort_by_key(|id| Some(*id) != owner);
        let at = takers[request.asked.count % takers.len()];
        let asked = &mut request.asked;
        asked.count += 1;
        asked.next = now + asked.pause;
        asked.pause = (asked.pause * 2).min(PATIENCE_WITH_OWNER);
        let (token, question) = match &request.question {
            Question::Put { token, key, value } => {
                if !asked.under_way.contains(&at) {
                    asked.under_way.push(at);
                }
                (token.clone(), message::Question::Put { key: *key, value: value.clone() })
            }
            Question::Get(key) => {
                let name = &self.name;
                self.last_token += 1;
                let number = self.last_token;
                let token = asked.token.get_or_insert_with(|| format!("{name}-get-{number}").into());
                detours.gets.insert(token.clone(), id);
                (token.clone(), message::Question::Get { key: *key })
            }
        };
        self.actions.push_back(ClientAction::Publish(Message::Ask { at, by: None, token, question }));
    }

    /// What was asked by way of others is answered.
    pub(super) fn on_answer(&mut self, now: Mono, token: &str, reply: &Reply) {
        let put = self.puts.get(token).copied();
        let Some(id) = put.or_else(|| self.detours.gets.get(token).copied()) else { return };
        match (reply, put) {
            (Reply::Stored(node), Some(_)) => {
                self.detours.stored = Some(now);
                self.complete(id, &Answer::Stored(*node));
            }
            (Reply::Found(value), None) => self.complete(id, &Answer::Found(Some(value.clone()))),
            (Reply::Nothing, None) => self.complete(id, &Answer::Found(None)),
            (Reply::Unreached { owner, by }, _) => {
                let others = self.detours.takers(now).len();
                if let Some(request) = self.requests.get_mut(&id) {
                    let asked = &mut request.asked;
                    asked.unreached = Some((*owner, *by));
                    asked.under_way.retain(|third| third != by);
                    // At once, where there is one that was not asked yet.
                    if asked.count < others {
                        asked.next = now;
                    }
                    self.ask_by_detour(now, id);
                    self.reschedule(id);
                }
            }
            _ => {}
        }
    }

    /// Nothing is asked under this token any more.
    pub(super) fn forget_token(&mut self, token: Option<&Arc<str>>) {
        if let Some(token) = token {
            self.detours.gets.remove(token);
        }
    }

    /// Why a request was not answered, if it is known that its owner is out of reach.
    pub(super) fn unreachable(&self, now: Mono, request: &Request, after: Duration) -> Option<Error> {
        let key = request.question.key();
        let said = request.asked.unreached;
        let silent = || {
            let (owner, by) = self.detours.owner(now, key)?;
            (!self.detours.is_heard(now, owner)).then_some((owner, by))
        };
        let (reason, owner) = match (said, silent()) {
            (Some((owner, by)), _) => {
                (format!("the node {owner}, which is responsible, does not answer node {by} there"), owner)
            }
            (None, Some((owner, by))) if owner == by => {
                (format!("the node {owner}, which is responsible, is not heard any more"), owner)
            }
            (None, Some((owner, by))) => (
                format!("the node {owner}, which is responsible by what node {by} says, is not heard"),
                owner,
            ),
            (None, None) => return None,
        };
        let what = request.question.describe(request.attempts);
        let reason = format!("{reason}; {what} for {after:?}");
        Some(ErrorKind::Unreachable { address: format!("node {owner}"), reason }.into())
    }
}

impl Request {
    /// What its answers by way of others are told by.
    pub(super) fn token(&self) -> Option<&Arc<str>> {
        self.asked.token.as_ref()
    }
}
