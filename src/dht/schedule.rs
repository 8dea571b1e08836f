//! Things by the time at which they are due.

use std::collections::{BTreeMap, BTreeSet};

use crate::time::Mono;

/// Each key is due at one time, or at none.
#[derive(Debug)]
pub(crate) struct Schedule<K> {
    by_time: BTreeSet<(Mono, K)>,
    by_key: BTreeMap<K, Mono>,
}

impl<K> Default for Schedule<K> {
    fn default() -> Self {
        Self { by_time: BTreeSet::new(), by_key: BTreeMap::new() }
    }
}

impl<K: Ord + Copy> Schedule<K> {
    /// The key is due at `at`, and at no other time.
    pub(crate) fn set(&mut self, key: K, at: Mono) {
        self.clear(key);
        self.by_key.insert(key, at);
        self.by_time.insert((at, key));
    }

    /// The key is not due any more.
    pub(crate) fn clear(&mut self, key: K) {
        if let Some(at) = self.by_key.remove(&key) {
            self.by_time.remove(&(at, key));
        }
    }

    /// Whether the key is due at some time.
    pub(crate) fn contains(&self, key: K) -> bool {
        self.by_key.contains_key(&key)
    }

    /// How many keys are due at some time.
    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// The first key that is due by now; it stays.
    pub(crate) fn first_due(&self, now: Mono) -> Option<K> {
        self.by_time.first().filter(|(at, _)| *at <= now).map(|(_, key)| *key)
    }

    /// Takes all keys that are due by now, in order.
    pub(crate) fn take_due(&mut self, now: Mono) -> Vec<K> {
        let mut due = Vec::new();
        while let Some(key) = self.first_due(now) {
            self.clear(key);
            due.push(key);
        }
        due
    }

    /// When the first key is due.
    pub(crate) fn next(&self) -> Option<Mono> {
        self.by_time.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn keys_come_due_in_order_and_once() {
        let at = |seconds| Mono::from_origin(Duration::from_secs(seconds));
        let mut schedule = Schedule::default();
        schedule.set('a', at(5));
        schedule.set('b', at(3));
        schedule.set('c', at(4));
        schedule.set('a', at(1));
        schedule.clear('c');
        assert_eq!(schedule.next(), Some(at(1)));
        assert_eq!(schedule.take_due(at(3)), ['a', 'b']);
        assert!(!schedule.contains('a') && schedule.next().is_none());
    }
}
