//! What there is to do about each pair: a copy to the successor, or the pair to its owner.

use std::sync::Arc;

use super::pairs::Pair;
use super::view::Kind;
use super::waiters::Waiter;
use super::{Phase, SuccessorCore};
use crate::dht::key::Key;
use crate::dht::successor::message::Message;
use crate::time::Mono;

/// What is to be done about a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Duty {
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
    HandOverPlain(Key),
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
            Duty::HandOverPlain(owner) => {
                if self.transfers.claim_plain(owner, key) {
                    self.hand_over(key);
                    // Perhaps it is not plain at all: then it answers, and is known from then on.
                    self.ask(key);
                }
                self.transfers.wait(key, again);
            }
            Duty::Drop => self.forget(now, key),
        }
    }

    pub(super) fn duty(&self, now: Mono, key: Key) -> Duty {
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
            _ if pair.mine => Duty::HandOverPlain(owner),
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
    pub(super) fn settled(&mut self, now: Mono, key: Key) {
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

    /// A plain peer's acknowledgement.
    pub(super) fn on_ack_put(&mut self, now: Mono, client: &str, node: Key) {
        self.view.shows_itself(node);
        let Some(key) = self.transfers.given_to(node) else { return };
        if client != &*self.handover_tag() || self.owns(key) || self.view.owner(key) != Some(node) {
            return;
        }
        self.forget(now, key);
        let next = self.transfers.owed().find(|key| self.duty(now, *key) == Duty::HandOverPlain(node));
        if let Some(next) = next {
            self.transfers.ready(next);
        }
    }

    pub(super) fn forget(&mut self, now: Mono, key: Key) {
        self.pairs.remove(&key);
        self.settled(now, key);
    }

    /// Hands a pair to its owner, whoever that is.
    pub(super) fn hand_over(&mut self, key: Key) {
        let client = self.handover_tag();
        if let Some(pair) = self.pairs.get_mut(&key) {
            pair.offered = true;
            let value = pair.value.clone();
            self.publish(Message::Put { client, key, value });
        }
    }

    /// What stands for the client in a handover: a leaver's id, otherwise nobody.
    fn handover_tag(&self) -> Arc<str> {
        match self.phase {
            Phase::Leaving(_) => self.id.to_string().into(),
            _ => "None".into(),
        }
    }
}
