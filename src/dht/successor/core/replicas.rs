//! What nodes that know versions say to each other about a pair.

use std::sync::Arc;

use super::pairs::{Pair, digest};
use super::transfer::Duty;
use super::waiters::Waiter;
use super::{Phase, SuccessorCore};
use crate::dht::key::Key;
use crate::dht::successor::message::{Message, Replica, ReplicaBody};
use crate::time::Mono;

/// The tag of what needs no answer.
const NO_ANSWER: u64 = 0;

impl SuccessorCore {
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
        let sure = !owned || self.has_the_latest(from);
        match self.pairs.get_mut(&key) {
            Some(pair) if pair.digest == incoming => {
                pair.raise(version);
                pair.sure |= sure;
            }
            Some(pair) if pair.is_before(version, incoming) => {
                pair.replace(value, version);
                pair.sure = sure;
                pair.offered = false;
            }
            Some(pair) if pair.fresh => pair.raise(version.saturating_add(1)),
            Some(pair) => {
                pair.sure |= sure;
                if !owned {
                    // The other one has an older value: it gets this one.
                    return self.store_at(from, NO_ANSWER, key);
                }
            }
            None if full => return self.refuse_full(key),
            None => {
                self.insert(key, Pair { mine: owned, sure, ..Pair::new(value, version) });
            }
        }
        self.answer_held(now, key);
        if owned {
            self.warmth.progress(now);
            self.waiters.add(now, key, Waiter::Ask { from, tag });
            self.see_to(now, key);
        } else if tag == NO_ANSWER {
            self.transfers.owe(key);
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
            if self.view.contains(owner) {
                pair.hold_for(owner);
            }
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
        let sure = self.has_the_latest(from);
        let Some(pair) = self.pairs.get_mut(&key) else {
            return self.say(from, tag, key, ReplicaBody::Lack);
        };
        self.warmth.progress(now);
        if pair.digest == digest {
            pair.raise(version);
            pair.sure |= sure;
            if successor {
                // It would not ask if it knew that this node counts on it; what it said before does not count.
                self.turn += 1;
                pair.turn = self.turn;
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
        self.waiters.add(now, key, Waiter::Ask { from, tag });
        self.see_to(now, key);
    }

    /// Whether what another node has of this one's arc is the latest that there is. A newcomer's successor owned it before,
    /// or knows who did; what others have may be an old copy.
    fn has_the_latest(&self, from: Key) -> bool {
        !self.warmth.is_newcomer() || self.links.successor == Some(from)
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
        if let Some(pair) = self.pairs.get_mut(&key) {
            pair.held_by = pair.held_by.filter(|holder| *holder != from);
        }
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

    pub(super) fn ask(&mut self, key: Key) {
        if let Some(pair) = self.pairs.get(&key) {
            let bound = pair.held_for.first().copied();
            let body = ReplicaBody::Ask { version: pair.version, digest: pair.digest, bound };
            let replica = Replica { from: self.id, tag: pair.turn, key, body };
            self.publish(Message::Replica { to: None, replica });
        }
    }

    /// Gives the successor a copy to keep; only the word, if it has the value.
    pub(super) fn replicate(&mut self, to: Key, key: Key) {
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

    pub(super) fn have(&mut self, to: Key, tag: u64, key: Key) {
        if let Some(pair) = self.pairs.get(&key) {
            let body = ReplicaBody::Have { version: pair.version, digest: pair.digest };
            self.say(to, tag, key, body);
        }
    }

    fn say(&mut self, to: Key, tag: u64, key: Key, body: ReplicaBody) {
        let replica = Replica { from: self.id, tag, key, body };
        self.publish(Message::Replica { to: Some(to), replica });
    }
}
