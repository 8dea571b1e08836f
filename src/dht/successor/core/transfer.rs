//! Copies to the successor, and pairs to their owners.

use std::sync::Arc;

use super::pairs::{Pair, digest};
use super::view::Kind;
use super::waiters::Waiter;
use super::{Phase, SuccessorCore};
use crate::dht::key::Key;
use crate::dht::successor::message::{Message, Replica, ReplicaBody};
use crate::time::Mono;

/// The tag of what needs no answer.
const NO_ANSWER: u64 = 0;

/// What is to be done about a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Duty {
    /// It is where it should be.
    Nothing,
    /// It cannot be said yet.
    Wait,
    /// The successor must hold this version.
    Store(Key),
    /// Does the owner have it?
    Ask,
    /// The owner gets it.
    HandOver,
    /// The owner, a plain peer or perhaps one, gets it.
    HandOverPlain,
    /// It is of no use any more.
    Drop,
}

impl SuccessorCore {
    /// Sees to what is ready, as far as the window allows.
    pub(super) fn pump(&mut self, now: Mono) {
        if matches!(self.phase, Phase::Joining(_) | Phase::Ended) {
            return;
        }
        let mut introduced = self.is_serving();
        while let Some(key) = self.transfers.take_ready(self.config.window) {
            if !introduced && self.duty(now, key) == Duty::HandOver {
                // Whoever has joined since the goodbye must not take a leaver's id for a client's.
                introduced = true;
                self.announce(now);
            }
            self.see_to(now, key);
        }
        self.finish_leaving(now);
    }

    pub(super) fn has_duty(&self, now: Mono, key: Key) -> bool {
        self.duty(now, key) != Duty::Nothing
    }

    /// Does what is to be done about a pair.
    pub(super) fn see_to(&mut self, now: Mono, key: Key) {
        let duty = self.duty(now, key);
        let again = now + self.config.retry;
        match duty {
            Duty::Nothing => self.settled(now, key),
            Duty::Wait => self.transfers.wait(key, again),
            Duty::Store(to) => {
                self.replicate(to, key);
                self.transfers.wait(key, again);
            }
            Duty::Ask => {
                self.ask(key);
                self.transfers.wait(key, again);
            }
            Duty::HandOver => {
                self.hand_over(key);
                self.ask(key);
                self.transfers.wait(key, again);
            }
            Duty::HandOverPlain => {
                if self.transfers.claim_plain(key) {
                    self.hand_over(key);
                    // Perhaps it is not plain at all: then it answers, and is known from then on.
                    self.ask(key);
                }
                self.transfers.wait(key, again);
            }
            Duty::Drop => self.forget(now, key),
        }
    }

    fn duty(&self, now: Mono, key: Key) -> Duty {
        let Some(pair) = self.pairs.get(&key) else { return Duty::Nothing };
        if self.owns(key) {
            return self.duty_of_owner(now, pair);
        }
        if let Phase::Leaving(leaving) = &self.phase
            && !leaving.handing_over
        {
            return Duty::Wait;
        }
        let leaving = !self.is_serving();
        let Some(owner) = self.view.owner(key) else { return Duty::Wait };
        match self.kind(owner, now) {
            Kind::Speaks if !leaving && self.is_kept_for(owner, pair) => Duty::Nothing,
            // Whoever has just joined has nothing yet, and a leaver says it all again; others are asked first.
            Kind::Speaks
                if pair.mine && !pair.offered && (leaving || self.view.joined_lately(owner, now)) =>
            {
                Duty::HandOver
            }
            Kind::Speaks => Duty::Ask,
            _ if pair.mine => Duty::HandOverPlain,
            Kind::Unknown => Duty::Wait,
            // A plain peer overwrites what it has with what it is given, and this copy may be old.
            Kind::Plain => Duty::Drop,
        }
    }

    /// Whether this copy is the second one that the owner counts on.
    fn is_kept_for(&self, owner: Key, pair: &Pair) -> bool {
        !pair.mine && pair.held_for.contains(&owner) && self.links.predecessor == Some(owner)
    }

    fn duty_of_owner(&self, now: Mono, pair: &Pair) -> Duty {
        let Some(successor) = self.links.successor else { return Duty::Nothing };
        match self.kind(successor, now) {
            Kind::Plain => Duty::Nothing,
            Kind::Unknown => Duty::Wait,
            Kind::Speaks if pair.held_by == Some(successor) => Duty::Nothing,
            Kind::Speaks => Duty::Store(successor),
        }
    }

    /// Nothing is left to do for a pair: whoever waited for that is told.
    fn settled(&mut self, now: Mono, key: Key) {
        let last_owed = self.transfers.done(key);
        if self.owns(key) {
            for waiter in self.waiters.take(key) {
                match waiter {
                    Waiter::Put(client) => {
                        let node = self.id;
                        self.publish(Message::AckPut { client, node });
                    }
                    // The successor keeps its copy, and has been told so.
                    Waiter::Ask { from, .. } if self.links.successor == Some(from) => {}
                    Waiter::Ask { from, tag } => self.have(from, tag, key),
                }
            }
        }
        if last_owed {
            // The predecessor waits for this word.
            self.announce(now);
        }
    }

    /// A message of nodes that know versions.
    pub(super) fn on_replica(&mut self, now: Mono, to: Option<Key>, replica: Replica) {
        let Replica { from, tag, key, body } = replica;
        if from == self.id || to.is_some_and(|to| to != self.id) || matches!(self.phase, Phase::Joining(_)) {
            return;
        }
        self.view.note_node(now, from);
        if self.view.reveals(now, from) {
            self.reassess(now);
        }
        match body {
            ReplicaBody::Store { version, value } => self.on_store(now, from, tag, key, version, value),
            ReplicaBody::Keep { version, digest } => self.on_keep(now, from, tag, key, version, digest),
            ReplicaBody::Ask { version, digest, bound } => {
                self.on_ask(now, from, tag, key, version, digest);
                if bound == Some(self.id) && !self.owns(key) {
                    self.say(from, tag, key, ReplicaBody::Free);
                }
            }
            _ if self.pairs.get(&key).is_none_or(|pair| pair.turn != tag) => {}
            ReplicaBody::Have { version, digest } => self.on_have(now, from, key, version, digest),
            ReplicaBody::Lack => self.on_lack(now, from, key),
            ReplicaBody::Free => self.on_free(now, from, key),
        }
    }

    /// Another node's copy.
    fn on_store(&mut self, now: Mono, from: Key, tag: u64, key: Key, version: u64, value: Arc<str>) {
        let owned = self.owns(key);
        if !self.clock.observe(now, version) || (!owned && !self.is_serving()) {
            return;
        }
        let incoming = digest(&value);
        let full = self.pairs.len() >= self.config.max_pairs;
        match self.pairs.get_mut(&key) {
            Some(pair) if pair.digest == incoming => {
                pair.raise(version);
                pair.sure = true;
            }
            Some(pair) if pair.is_before(version, incoming) => {
                pair.replace(value, version);
                pair.offered = false;
            }
            Some(pair) if pair.fresh => pair.raise(version.saturating_add(1)),
            Some(pair) => {
                pair.sure = true;
                if !owned {
                    // The other one has an older value: it gets this one.
                    return self.store_at(from, NO_ANSWER, key);
                }
            }
            None if full => return self.refuse_full(key),
            None => {
                self.turn += 1;
                let pair = Pair { mine: owned, turn: self.turn, ..Pair::new(value, version) };
                self.pairs.insert(key, pair);
            }
        }
        self.answer_held(now, key);
        if owned {
            self.warmth.progress(now);
            self.waiters.add(key, Waiter::Ask { from, tag });
            self.see_to(now, key);
        } else if tag == NO_ANSWER {
            self.transfers.ready(key);
        } else {
            self.keep_for(now, from, tag, key);
        }
    }

    /// The owner counts on the copy that is here.
    fn on_keep(&mut self, now: Mono, from: Key, tag: u64, key: Key, version: u64, digest: u64) {
        if self.owns(key) || !self.is_serving() || !self.clock.observe(now, version) {
            return;
        }
        match self.pairs.get_mut(&key) {
            Some(pair) if pair.digest == digest => {
                pair.raise(version);
                self.keep_for(now, from, tag, key);
            }
            // Then the owner sends the value.
            _ => self.say(from, tag, key, ReplicaBody::Lack),
        }
    }

    fn keep_for(&mut self, now: Mono, owner: Key, tag: u64, key: Key) {
        self.turn += 1;
        if let Some(pair) = self.pairs.get_mut(&key) {
            pair.hold_for(owner);
            // The owner's word that this copy may go, if it is still on its way, is older than this one.
            pair.turn = self.turn;
            self.have(owner, tag, key);
        }
        if self.transfers.repaid(key) {
            self.announce(now);
        }
        if self.has_duty(now, key) {
            // This node knows of another one between the owner and itself: one of the two is about to learn better.
            self.transfers.wait(key, now + self.config.retry);
        } else {
            self.settled(now, key);
        }
    }

    /// Another node holds a copy that is not its own to keep.
    fn on_ask(&mut self, now: Mono, from: Key, tag: u64, key: Key, version: u64, digest: u64) {
        if !self.owns(key) || !self.clock.observe(now, version) {
            return;
        }
        let successor = self.links.successor == Some(from);
        let Some(pair) = self.pairs.get_mut(&key) else {
            // A newcomer's pairs come from its successor; an old copy from elsewhere must not be the first.
            if successor || !self.warmth.is_newcomer() {
                self.say(from, tag, key, ReplicaBody::Lack);
            }
            return;
        };
        self.warmth.progress(now);
        if pair.digest == digest {
            pair.raise(version);
            pair.sure = true;
            if successor {
                // It would not ask if it knew that this node counts on it.
                pair.held_by = None;
                pair.known_at = Some(from);
            }
        } else if pair.is_before(version, digest) {
            // Its copy is the later one: it sends it when it hears what there is.
            return self.have(from, tag, key);
        } else if pair.fresh {
            pair.raise(version.saturating_add(1));
        }
        self.answer_held(now, key);
        self.waiters.add(key, Waiter::Ask { from, tag });
        self.see_to(now, key);
    }

    /// The successor keeps a copy, or the owner has the pair safely.
    fn on_have(&mut self, now: Mono, from: Key, key: Key, version: u64, digest: u64) {
        if !self.clock.observe(now, version) {
            return;
        }
        let owned = self.owns(key);
        let Some(pair) = self.pairs.get_mut(&key) else { return };
        if pair.digest == digest {
            pair.raise(version);
        }
        if owned {
            if self.links.successor == Some(from) && pair.version == version && pair.digest == digest {
                pair.held_by = Some(from);
                self.see_to(now, key);
            }
        } else if version < pair.version {
            // Its answer would only say that it has it; whether its successor has, too, it says when it is asked again.
            self.store_at(from, NO_ANSWER, key);
            self.transfers.wait(key, now + self.config.retry / 4);
        } else {
            self.release(now, from, key);
        }
    }

    /// The owner, or the one that should keep a copy, has nothing of this pair.
    fn on_lack(&mut self, now: Mono, from: Key, key: Key) {
        match self.duty(now, key) {
            Duty::Store(to) if to == from => {}
            Duty::Ask | Duty::HandOver => {
                self.hand_over(key);
                self.ask(key);
                return self.transfers.wait(key, now + self.config.retry);
            }
            _ => return,
        }
        self.see_to(now, key);
    }

    /// A node that counted on this copy does not own the pair any more.
    fn on_free(&mut self, now: Mono, from: Key, key: Key) {
        self.turn += 1;
        let turn = self.turn;
        if let Some(pair) = self.pairs.get_mut(&key) {
            pair.held_for.retain(|id| *id != from);
            // What others have answered may be older than this word.
            pair.turn = turn;
            if self.has_duty(now, key) {
                self.transfers.ready(key);
            }
        }
    }

    /// A plain peer's acknowledgement.
    pub(super) fn on_ack_put(&mut self, now: Mono, client: &str, node: Key) {
        self.view.shows_itself(node);
        let Some(key) = self.transfers.plain() else { return };
        if client != &*self.handover_tag() || self.owns(key) || self.view.owner(key) != Some(node) {
            return;
        }
        self.forget(now, key);
        let next = self.transfers.owed().find(|key| self.duty(now, *key) == Duty::HandOverPlain);
        if let Some(next) = next {
            self.transfers.ready(next);
        }
    }

    /// The owner and a node that keeps it for the owner hold this pair: this copy may go, unless somebody else counts on
    /// it.
    fn release(&mut self, now: Mono, by: Key, key: Key) {
        let Some(pair) = self.pairs.get_mut(&key) else { return };
        pair.mine = false;
        pair.held_for.retain(|id| *id != by && self.view.contains(*id));
        if pair.held_for.is_empty() {
            self.forget(now, key);
        } else if self.transfers.repaid(key) {
            self.announce(now);
        }
    }

    fn forget(&mut self, now: Mono, key: Key) {
        self.pairs.remove(&key);
        self.settled(now, key);
    }

    /// Hands a pair to its owner, whoever that is.
    fn hand_over(&mut self, key: Key) {
        let client = self.handover_tag();
        if let Some(pair) = self.pairs.get_mut(&key) {
            pair.offered = true;
            let value = pair.value.clone();
            self.publish(Message::Put { client, key, value });
        }
    }

    fn ask(&mut self, key: Key) {
        if let Some(pair) = self.pairs.get(&key) {
            let bound = pair.held_for.first().copied();
            let body = ReplicaBody::Ask { version: pair.version, digest: pair.digest, bound };
            let replica = Replica { from: self.id, tag: pair.turn, key, body };
            self.publish(Message::Replica { to: None, replica });
        }
    }

    /// Gives the successor a copy to keep; only the word, if it has the value.
    fn replicate(&mut self, to: Key, key: Key) {
        let Some(pair) = self.pairs.get_mut(&key) else { return };
        let (tag, version, digest) = (pair.turn, pair.version, pair.digest);
        if pair.known_at.take() == Some(to) {
            self.say(to, tag, key, ReplicaBody::Keep { version, digest });
        } else {
            self.store_at(to, tag, key);
        }
    }

    fn store_at(&mut self, to: Key, tag: u64, key: Key) {
        if let Some(pair) = self.pairs.get(&key) {
            let body = ReplicaBody::Store { version: pair.version, value: pair.value.clone() };
            self.say(to, tag, key, body);
        }
    }

    fn have(&mut self, to: Key, tag: u64, key: Key) {
        if let Some(pair) = self.pairs.get(&key) {
            let body = ReplicaBody::Have { version: pair.version, digest: pair.digest };
            self.say(to, tag, key, body);
        }
    }

    fn say(&mut self, to: Key, tag: u64, key: Key, body: ReplicaBody) {
        let replica = Replica { from: self.id, tag, key, body };
        self.publish(Message::Replica { to: Some(to), replica });
    }

    /// What stands for the client in a handover: a leaver's id, otherwise nobody.
    fn handover_tag(&self) -> Arc<str> {
        match self.phase {
            Phase::Leaving(_) => self.id.to_string().into(),
            _ => "None".into(),
        }
    }
}
