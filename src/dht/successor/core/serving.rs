//! What clients ask for.

use std::sync::Arc;

use super::SuccessorCore;
use super::pairs::{Pair, digest};
use super::view::Kind;
use super::waiters::Waiter;
use crate::dht::key::Key;
use crate::dht::successor::message::Message;
use crate::quiet::afterwards;
use crate::time::Mono;

/// The most gets that are held.
const MAX_HELD: usize = 1 << 13;
/// The most puts that wait until it is clear who sends them.
const MAX_DEFERRED: usize = 1 << 10;
const MAX_DEFERRED_BYTES: usize = 1 << 24;

impl SuccessorCore {
    /// A client's put, or another node's pair.
    pub(super) fn on_put(&mut self, now: Mono, client: Arc<str>, key: Key, value: Arc<str>) {
        if !self.owns(key) {
            return self.overhear_put(now, &client, key, value);
        }
        let sender = self.sender(now, &client);
        if sender == Sender::Unclear {
            let put = (client, key, value);
            let bytes: usize = self.deferred.iter().map(|(_, _, value)| value.len()).sum();
            let room = self.deferred.len() < MAX_DEFERRED && bytes + put.2.len() <= MAX_DEFERRED_BYTES;
            if room && !self.deferred.contains(&put) {
                self.deferred.push(put);
            }
            return;
        }
        let handover = sender == Sender::Node;
        if handover && let Ok(id) = client.parse() {
            // However long its handover takes, its id is no client's.
            self.view.still_leaving(now, id);
        }
        if !handover && self.warmth.reads_the_past(now) {
            // It may be an old one, acknowledged by others and overwritten since: the client repeats what is not.
            return;
        }
        if !handover && !self.is_serving() {
            // The heir is about to take over, and must not find a later version of this put at the leaver: the client
            // repeats it.
            return;
        }
        if !handover && self.detours.is_late(&client, key) && self.pairs.contains_key(&key) {
            return self.acknowledge_late(now, client, key);
        }
        let fresh = self.warmth.is_newcomer();
        let full = self.pairs.len() >= self.config.max_pairs;
        match self.pairs.get_mut(&key) {
            None if full => return self.refuse_full(key),
            None if handover => {
                let sure = !fresh || self.is_followed_by_plain(now);
                self.insert(key, Pair { mine: true, sure, ..Pair::new(value, 0) });
            }
            None => {
                let version = self.clock.tick(now);
                self.insert(key, Pair { mine: true, fresh, ..Pair::new(value, version) });
            }
            Some(pair) if handover => {
                // What this node has is at least as new, unless both come from plain peers: then the last one counts,
                // as among those.
                if pair.version == 0 && !pair.fresh && pair.digest != digest(&value) {
                    pair.replace(value, 0);
                }
            }
            Some(pair) => {
                // A repetition changes nothing.
                if pair.digest != digest(&value) {
                    let version = self.clock.tick(now);
                    pair.replace(value, version);
                }
                pair.fresh = fresh;
                pair.sure = true;
            }
        }
        self.answer_held(now, key);
        self.waiters.add(now, key, Waiter::Put(client));
        if handover {
            self.warmth.progress(now);
            // A node of this library says the version next, and often is the successor itself: no copy is needed then.
            if self.has_duty(now, key) {
                return self.transfers.wait(key, now + self.config.retry / 4);
            }
        }
        // Whoever put it waits: the window is for what nobody waits for.
        self.see_to(now, key);
    }

    /// A plain owner has been given something newer than what is to be handed to it, which would undo that.
    fn overhear_put(&mut self, now: Mono, client: &str, key: Key, value: Arc<str>) {
        let to_plain = self.view.owner(key).is_some_and(|owner| self.kind(owner, now) != Kind::Speaks);
        if to_plain
            && self.sender(now, client) == Sender::Client
            && let Some(pair) = self.pairs.get_mut(&key)
            && pair.mine
        {
            let version = self.clock.tick(now);
            pair.replace(value, version);
        }
    }

    /// A client's get.
    pub(super) fn on_get(&mut self, now: Mono, key: Key) {
        if !self.owns(key) {
            return;
        }
        let warm = self.warmth.is_warm();
        match self.pairs.get(&key) {
            Some(pair) if pair.sure || warm => {
                let value = pair.value.clone();
                self.publish(Message::ResGet { key, value });
            }
            // A leaver's arc may have grown by that of another one, which hands over to somebody else.
            None if warm && self.is_serving() => self.publish(Message::ErrGet(key)),
            _ if self.held.len() < MAX_HELD => {
                self.held.insert(key, now + self.config.leave_timeout);
            }
            _ => {}
        }
    }

    /// Answers a get that waited for this pair.
    pub(super) fn answer_held(&mut self, now: Mono, key: Key) {
        if self.held.remove(&key).is_some() {
            self.on_get(now, key);
        }
    }

    pub(super) fn refuse_full(&mut self, key: Key) {
        let limit = self.config.max_pairs;
        afterwards(move || {
            tracing::warn!(%key, limit, "no room for another pair");
            metrics::counter!("ringbus_successor_refused_total", "cause" => "full").increment(1);
        });
    }

    /// Whether the successor is a plain peer, which says no more of a pair than its value.
    fn is_followed_by_plain(&self, now: Mono) -> bool {
        match self.links.successor.map(|id| self.kind(id, now)) {
            Some(Kind::Plain) => true,
            // Plain peers are found at a broker only.
            Some(Kind::Unknown) => self.address.is_none(),
            Some(Kind::Speaks) | None => false,
        }
    }

    /// Puts under a number that had to wait: by now it is known which numbers are nodes.
    pub(super) fn take_deferred(&mut self, now: Mono) {
        if now >= self.acquainted {
            for (client, key, value) in std::mem::take(&mut self.deferred) {
                self.on_put(now, client, key, value);
            }
        }
    }

    /// Who puts.
    fn sender(&self, now: Mono, client: &str) -> Sender {
        match client.parse() {
            _ if client == "None" => Sender::Node,
            Ok(id) if id == self.id || self.view.knows(id) => Sender::Node,
            Ok(_) if now < self.acquainted => Sender::Unclear,
            _ => Sender::Client,
        }
    }
}

/// Who puts: what a node hands over must not undo what a client has put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sender {
    Client,
    Node,
    /// A number. Whoever has just joined may not have heard of each node that is leaving.
    Unclear,
}
