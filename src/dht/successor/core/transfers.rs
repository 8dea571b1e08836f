//! Which pairs have somewhere to go, and which are on their way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::dht::key::Key;
use crate::dht::schedule::Schedule;
use crate::time::Mono;

#[derive(Debug, Default)]
pub(super) struct Transfers {
    /// In the order in which they became due; `queued` are the same, without repetition.
    ready: VecDeque<Key>,
    queued: BTreeSet<Key>,
    /// Said, and not answered yet: when to say it again.
    waiting: Schedule<Key>,
    /// Pairs of others that their owners may be lacking.
    owed: BTreeSet<Key>,
    /// The pair that each plain peer has been given: its acknowledgement names no key, so there is one at a time.
    plain: BTreeMap<Key, Key>,
}

impl Transfers {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn is_idle(&self) -> bool {
        self.queued.is_empty() && self.waiting.next().is_none() && self.owed.is_empty()
    }

    pub(super) fn ready(&mut self, key: Key) {
        self.waiting.clear(key);
        if self.queued.insert(key) {
            self.ready.push_back(key);
        }
    }

    /// The next pair to see to, unless `window` are on their way.
    pub(super) fn take_ready(&mut self, window: usize) -> Option<Key> {
        if self.waiting.len() >= window {
            return None;
        }
        loop {
            let key = self.ready.pop_front()?;
            if self.queued.remove(&key) {
                return Some(key);
            }
        }
    }

    /// To be seen to again at `at`, unless it is done before.
    pub(super) fn wait(&mut self, key: Key, at: Mono) {
        self.queued.remove(&key);
        self.waiting.set(key, at);
    }

    /// Nothing is left to do. `true` if it was the last pair that was owed.
    pub(super) fn done(&mut self, key: Key) -> bool {
        self.queued.remove(&key);
        self.waiting.clear(key);
        self.plain.retain(|_, given| *given != key);
        self.repaid(key)
    }

    /// This pair has been handed over. `true` if it was the last.
    pub(super) fn repaid(&mut self, key: Key) -> bool {
        self.owed.remove(&key) && self.owed.is_empty()
    }

    /// What has waited long enough is ready again.
    pub(super) fn wake(&mut self, now: Mono) {
        for key in self.waiting.take_due(now) {
            self.ready(key);
        }
    }

    pub(super) fn next(&self) -> Option<Mono> {
        self.waiting.next()
    }

    pub(super) fn owe(&mut self, key: Key) {
        self.owed.insert(key);
    }

    pub(super) fn owes(&self) -> bool {
        !self.owed.is_empty()
    }

    /// Whether this pair may go to this plain peer now.
    pub(super) fn claim_plain(&mut self, owner: Key, key: Key) -> bool {
        *self.plain.entry(owner).or_insert(key) == key
    }

    /// The pair that a plain peer has been given.
    pub(super) fn given_to(&self, owner: Key) -> Option<Key> {
        self.plain.get(&owner).copied()
    }

    /// The pairs that others may be lacking.
    pub(super) fn owed(&self) -> impl Iterator<Item = Key> {
        self.owed.iter().copied()
    }
}
