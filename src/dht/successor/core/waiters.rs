//! Who waits to hear that a pair is safe.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::dht::key::Key;
use crate::quiet::afterwards;

/// The most that wait for one pair, and for all.
const MAX_PER_KEY: usize = 64;
const MAX: usize = 1 << 14;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Waiter {
    /// A client, or a plain peer that hands over.
    Put(Arc<str>),
    /// A node that holds a copy.
    Ask { from: Key, tag: u64 },
}

/// One that waits for a copy found no room, among `what`: it gets no answer, and asks again.
fn full(what: &'static str) {
    afterwards(move || {
        metrics::counter!("ringbus_successor_full_total", "table" => "waiters", "of" => what).increment(1);
    });
    afterwards(move || tracing::debug!(of = what, "too many wait for a copy"));
}

#[derive(Debug, Default)]
pub(super) struct Waiters {
    by_key: BTreeMap<Key, Vec<Waiter>>,
    count: usize,
}

impl Waiters {
    /// Waits, once. Where there is no room it does not: whoever asked asks again.
    pub(super) fn add(&mut self, key: Key, waiter: Waiter) {
        if self.count >= MAX {
            return full("all");
        }
        let waiting = self.by_key.entry(key).or_default();
        // A repeated question replaces itself: only the latest tag counts for its sender.
        let same = |other: &Waiter| match (other, &waiter) {
            (Waiter::Ask { from: a, .. }, Waiter::Ask { from: b, .. }) => a == b,
            (a, b) => a == b,
        };
        if let Some(at) = waiting.iter().position(same) {
            waiting[at] = waiter;
        } else if waiting.len() < MAX_PER_KEY {
            waiting.push(waiter);
            self.count += 1;
        } else {
            full("one key");
        }
    }

    pub(super) fn take(&mut self, key: Key) -> Vec<Waiter> {
        let waiting = self.by_key.remove(&key).unwrap_or_default();
        self.count -= waiting.len();
        waiting
    }

    /// Keys that this node does not own any more are another's to acknowledge.
    pub(super) fn retain(&mut self, owned: impl Fn(Key) -> bool) {
        self.by_key.retain(|key, _| owned(*key));
        self.count = self.by_key.values().map(Vec::len).sum();
    }
}
