//! Ways that are cut between two nodes, or between a client and a node, while others reach both:
//! what has to be said goes by way of a third. Only where there is no broker: with one, who is not
//! heard is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::pairs::Pair;
use super::waiters::Waiter;
use super::{Action, Phase, SuccessorCore};
use crate::dht::key::Key;
use crate::dht::successor::message::{Carried, Heal, Message, Question, Reply, Stage};
use crate::quiet::afterwards;
use crate::time::Mono;

/// The most nodes that are spoken to by way of others.
const MAX_CUT: usize = 64;
/// The most nodes that are known by what others say of their neighbours.
const MAX_NAMED: usize = 1 << 10;
/// The most puts that are answered by way of others, and that are remembered.
const MAX_PUTS: usize = 1 << 12;
/// So long a copy of a put may be on its way: in the queue of a connection that is cut, or at a
/// node that was stopped.
const MEMORY: Duration = Duration::from_secs(60);

/// What a node knows of ways.
#[derive(Debug, Default)]
pub(super) struct Detours {
    /// When each node was heard by itself, or when it was first known.
    direct: BTreeMap<Key, Mono>,
    /// Those that take detours, by what they said of themselves.
    takers: BTreeSet<Key>,
    /// Nodes that a node which was heard by itself has named as its neighbours.
    named: BTreeMap<Key, Mono>,
    /// Nodes that say by way of a third that they do not hear this one: since when, and which third
    /// it was.
    deaf: BTreeMap<Key, (Mono, Key)>,
    /// By way of which third each node is spoken to that may not hear this one.
    ways: BTreeMap<Key, Key>,
    /// Which third is next, where the last one did not help.
    turn: usize,
    /// Puts that are answered by way of a third, or to a client that wants no other answer: which
    /// third, and until when.
    asked: BTreeMap<Arc<str>, (Key, Option<Key>, Mono)>,
    /// The latest put of a client to a key that came by a detour: copies of it and of earlier ones
    /// may come late.
    last: BTreeMap<(Arc<str>, Key), (u64, Mono)>,
}

impl Detours {
    /// Nobody is blamed for silence: this node itself was not listening.
    pub(super) fn forgive(&mut self, now: Mono) {
        self.direct.values_mut().for_each(|at| *at = now);
    }

    /// Whether a put has come by a detour before, or a later one of the same client. It is another
    /// client's business then.
    pub(super) fn is_late(&self, token: &str, key: Key) -> bool {
        !self.last.is_empty()
            && number_of(token).is_some_and(|(client, number)| {
                self.last.get(&(Arc::from(client), key)).is_some_and(|(last, _)| number <= *last)
            })
    }

    /// A put has come by a detour: whether there is room to remember it.
    fn has_room_for(&self, token: &str, key: Key) -> bool {
        number_of(token).is_some_and(|(client, _)| {
            let is_known = || self.last.contains_key(&(Arc::from(client), key));
            self.asked.len() < MAX_PUTS && (self.last.len() < MAX_PUTS || is_known())
        })
    }

    /// It has been stored: copies that come from now on are late.
    fn note_put(&mut self, now: Mono, token: &str, key: Key) {
        if let Some((client, number)) = number_of(token) {
            let (last, until) = self.last.entry((Arc::from(client), key)).or_insert((number, now));
            (*last, *until) = ((*last).max(number), now + MEMORY);
        }
    }

    fn purge(&mut self, now: Mono, lease: Duration) {
        let recent = |at: &Mono| now.saturating_since(*at) < lease;
        self.named.retain(|_, at| recent(at));
        self.deaf.retain(|_, (at, _)| recent(at));
        self.asked.retain(|_, (_, _, until)| now < *until);
        self.last.retain(|_, (_, until)| now < *until);
    }
}

/// A token of this library's clients: the client and the number of its request.
fn number_of(token: &str) -> Option<(&str, u64)> {
    let (client, number) = token.rsplit_once('-')?;
    Some((client, number.parse().ok()?))
}

impl SuccessorCore {
    /// Whether ways may be cut: a broker's are not.
    pub(super) fn has_ways(&self) -> bool {
        self.address.is_some()
    }

    /// After so long a node that lives has been heard by itself, if it can be.
    fn patience_with_ways(&self) -> Duration {
        self.config.announce * 2 + self.config.retry / 3
    }

    /// A node was heard by itself.
    pub(super) fn heard_directly(&mut self, now: Mono, heal: &Heal) {
        if !self.has_ways() || heal.id == self.id {
            return;
        }
        let detours = &mut self.detours;
        if matches!(heal.stage, Stage::Gone) {
            detours.direct.remove(&heal.id);
            detours.takers.remove(&heal.id);
            return;
        }
        if !detours.direct.contains_key(&heal.id) && detours.direct.len() >= MAX_NAMED {
            return;
        }
        detours.direct.insert(heal.id, now);
        match heal.takes_detours {
            true => drop(detours.takers.insert(heal.id)),
            false => drop(detours.takers.remove(&heal.id)),
        }
        for named in [heal.predecessor, heal.successor].into_iter().flatten().filter(|id| *id != self.id) {
            if detours.named.len() < MAX_NAMED || detours.named.contains_key(&named) {
                detours.named.insert(named, now);
            }
        }
    }

    /// Whether a node was heard by itself lately.
    fn is_heard_directly(&self, now: Mono, id: Key) -> bool {
        let recent = |at: &Mono| now.saturating_since(*at) < self.patience_with_ways();
        self.detours.direct.get(&id).is_some_and(recent)
    }

    /// Finds out who may not hear this node, and which third reaches it. New ways are told of at
    /// once.
    pub(super) fn find_ways(&mut self, now: Mono) {
        if !self.has_ways() {
            return;
        }
        self.detours.purge(now, self.config.lease);
        let named: Vec<Key> = self.detours.named.keys().copied().collect();
        let known: BTreeSet<Key> = self.view.members().chain(named).filter(|id| *id != self.id).collect();
        self.detours
            .direct
            .retain(|id, at| known.contains(id) || now.saturating_since(*at) < self.config.lease);
        for id in &known {
            // From now on it has time to be heard.
            if self.detours.direct.len() < MAX_NAMED {
                self.detours.direct.entry(*id).or_insert(now);
            }
        }
        let takers: Vec<Key> = self.detours.takers.iter().copied().collect();
        let thirds: Vec<Key> = takers.into_iter().filter(|id| self.is_heard_directly(now, *id)).collect();
        let silent = |id: &Key| {
            self.detours.direct.contains_key(id)
                && !self.is_heard_directly(now, *id)
                && !self.view.is_barred(*id, now, self.config.lease)
        };
        let deaf = self.detours.deaf.keys().copied();
        let cut: BTreeSet<Key> = known.iter().copied().filter(silent).chain(deaf).take(MAX_CUT).collect();
        let mut ways = BTreeMap::new();
        for id in cut {
            let heard_by = self.detours.deaf.get(&id).map(|(_, by)| *by).filter(|by| thirds.contains(by));
            let others: Vec<Key> = thirds.iter().copied().filter(|third| *third != id).collect();
            let next = (!others.is_empty()).then(|| others[self.detours.turn % others.len()]);
            if let Some(third) = heard_by.or(next) {
                ways.insert(id, third);
            }
        }
        self.detours.turn = self.detours.turn.wrapping_add(1);
        let is_new = ways.keys().any(|id| !self.detours.ways.contains_key(id));
        if is_new {
            let (me, ways) = (self.id, ways.clone());
            afterwards(move || tracing::info!(%me, ?ways, "some nodes are spoken to by way of others"));
        }
        self.detours.ways = ways;
        if is_new && !matches!(self.phase, Phase::Joining(_)) {
            self.announce(now);
        }
    }

    /// Says also by way of others what those have to hear that may not hear this node.
    pub(super) fn publish_by_detours(&mut self, message: &Message) {
        if let Message::AckPut { client, node } = message
            && let Some((key, by, _)) = self.detours.asked.remove(client)
        {
            self.answer(by, client.clone(), key, Reply::Stored(*node));
        }
        if self.detours.ways.is_empty() {
            return;
        }
        let one = match message {
            Message::Replica { to: Some(to), .. } => Some(*to),
            Message::AckJoin { .. }
            | Message::AckLeave { .. }
            | Message::Fail(_)
            | Message::HasStarted
            | Message::Heal(_)
            | Message::Join(_)
            | Message::Leave { .. }
            | Message::Replica { to: None, .. } => None,
            // What a node hands over; clients' puts are not its to repeat.
            Message::Put { .. } => None,
            Message::AckPut { .. }
            | Message::Answer { .. }
            | Message::Ask { .. }
            | Message::ErrGet(_)
            | Message::Get(_)
            | Message::ResGet { .. }
            | Message::Via { .. } => return,
        };
        let from = self.id;
        let ways = self.detours.ways.iter().filter(|(to, _)| one.is_none_or(|one| one == **to));
        let carried: Vec<Message> = ways
            .map(|(to, third)| {
                let carried = Carried { from, to: *to, message: message.clone() };
                Message::Via { at: *third, by: None, carried: Box::new(carried) }
            })
            .collect();
        self.actions.extend(carried.into_iter().map(Action::Publish));
    }

    /// A message of one node to another that may not hear it.
    pub(super) fn on_via(&mut self, now: Mono, at: Key, by: Option<Key>, carried: Carried) {
        if at != self.id || carried.from == self.id || !self.has_ways() {
            return;
        }
        let (from, to) = (carried.from, carried.to);
        match by {
            // It is never passed on twice: whoever gets it from a third is its end.
            None if to != self.id => {
                let carried = Box::new(carried);
                self.publish(Message::Via { at: to, by: Some(self.id), carried });
            }
            Some(third) if to == self.id => {
                if self.detours.deaf.len() < MAX_CUT || self.detours.deaf.contains_key(&from) {
                    let before = self.detours.deaf.insert(from, (now, third));
                    if before.is_none() {
                        // What is answered goes the same way from the first word on.
                        self.detours.ways.insert(from, third);
                    }
                }
                match carried.message {
                    Message::Heal(heal) => self.on_heal(now, heal),
                    message => self.on_message(now, message),
                }
            }
            _ => {}
        }
    }

    /// A client's question, to be answered here or passed on to the owner.
    pub(super) fn on_question(
        &mut self,
        now: Mono,
        (at, by): (Key, Option<Key>),
        token: Arc<str>,
        question: Question,
    ) {
        if at != self.id || !self.has_ways() || matches!(self.phase, Phase::Joining(_) | Phase::Ended) {
            return;
        }
        let key = question.key();
        if self.owns(key) {
            return self.serve_asked(now, by, token, question);
        }
        let owner = self.view.owner(key).filter(|_| by.is_none());
        // Who passes on what was passed on may do so for ever: the client asks again.
        let Some(owner) = owner else { return };
        if self.is_heard_directly(now, owner) && self.detours.takers.contains(&owner) {
            return self.publish(Message::Ask { at: owner, by: Some(self.id), token, question });
        }
        afterwards(move || metrics::counter!("ringbus_successor_unreached_total").increment(1));
        let by = self.id;
        self.answer(None, token, key, Reply::Unreached { owner, by });
    }

    fn serve_asked(&mut self, now: Mono, by: Option<Key>, token: Arc<str>, question: Question) {
        match question {
            Question::Get { key } => {
                let warm = self.warmth.is_warm();
                let reply = match self.pairs.get(&key) {
                    Some(Pair { value, sure, .. }) if *sure || warm => Reply::Found(value.clone()),
                    None if warm && self.is_serving() => Reply::Nothing,
                    // It is not certain yet: the client asks again.
                    _ => return,
                };
                self.answer(by, token, key, reply);
            }
            Question::Put { key, value } => {
                // As with a client's put: the client repeats what is not answered.
                if self.warmth.reads_the_past(now) || !self.is_serving() {
                    return;
                }
                if !self.detours.has_room_for(&token, key) {
                    return;
                }
                self.detours.asked.insert(token.clone(), (key, by, now + MEMORY));
                if self.detours.is_late(&token, key) && self.pairs.contains_key(&key) {
                    self.acknowledge_late(now, token, key);
                } else {
                    self.on_put(now, token.clone(), key, value);
                    self.detours.note_put(now, &token, key);
                }
            }
        }
    }

    /// A copy of a put that was stored before, or that a later one has overwritten: it is
    /// acknowledged when what there is now is safe, and changes nothing.
    pub(super) fn acknowledge_late(&mut self, now: Mono, token: Arc<str>, key: Key) {
        self.waiters.add(now, key, Waiter::Put(token));
        self.see_to(now, key);
    }

    /// An answer on its way to a client.
    pub(super) fn on_answer(&mut self, at: Option<Key>, token: Arc<str>, key: Key, reply: Reply) {
        if at == Some(self.id) {
            self.answer(None, token, key, reply);
        }
    }

    fn answer(&mut self, at: Option<Key>, token: Arc<str>, key: Key, reply: Reply) {
        self.publish(Message::Answer { at, token, key, reply });
    }
}
