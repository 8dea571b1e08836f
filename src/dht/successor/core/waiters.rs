//! Who waits to hear that a pair is safe.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::dht::fullness::Fullness;
use crate::dht::key::Key;
use crate::quiet::afterwards;
use crate::time::Mono;

/// The most that wait for one pair, and for all.
const MAX_PER_KEY: usize = 64;
const MAX: usize = 1 << 14;
/// One that waits asks again, clients each second if nothing else was set, nodes more often. One that was silent for longer
/// than this gives way where there is no room.
const SILENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Waiter {
    /// A client, or a plain peer that hands over.
    Put(Arc<str>),
    /// A node that holds a copy.
    Ask { from: Key, tag: u64 },
}

#[derive(Debug, Default)]
pub(super) struct Waiters {
    by_key: BTreeMap<Key, Vec<Waiting>>,
    count: usize,
    full: Fullness,
}

/// One that waits, and when it asked last.
#[derive(Debug)]
struct Waiting {
    asked: Mono,
    waiter: Waiter,
}

impl Waiters {
    /// Waits, once. Where there is no room those give way that do not ask any more. If there are none, it gets no answer, and
    /// asks again.
    pub(super) fn add(&mut self, now: Mono, key: Key, waiter: Waiter) {
        if self.count >= MAX {
            self.forget_silent(now);
        }
        if self.count >= MAX {
            return self.refuse(now, "all");
        }
        let waiting = self.by_key.entry(key).or_default();
        // A repeated question replaces itself: only the latest tag counts for its sender.
        let same = |other: &Waiter| match (other, &waiter) {
            (Waiter::Ask { from: a, .. }, Waiter::Ask { from: b, .. }) => a == b,
            (a, b) => a == b,
        };
        let new = Waiting { asked: now, waiter: waiter.clone() };
        if let Some(at) = waiting.iter().position(|known| same(&known.waiter)) {
            waiting[at] = new;
        } else if waiting.len() < MAX_PER_KEY {
            waiting.push(new);
            self.count += 1;
        } else {
            let silent = waiting.iter_mut().filter(|known| known.is_silent(now));
            match silent.min_by_key(|known| known.asked) {
                Some(known) => *known = new,
                None => self.refuse(now, "one key"),
            }
        }
    }

    fn forget_silent(&mut self, now: Mono) {
        if !self.full.is_to_be_looked_through(now) {
            return;
        }
        self.by_key.retain(|_, waiting| {
            waiting.retain(|known| !known.is_silent(now));
            !waiting.is_empty()
        });
        self.count = self.by_key.values().map(Vec::len).sum();
    }

    /// There was no room, among `what`.
    fn refuse(&mut self, now: Mono, what: &'static str) {
        let said = self.full.is_to_be_said(now);
        afterwards(move || {
            metrics::counter!("ringbus_successor_full_total", "table" => "waiters", "of" => what)
                .increment(1);
            if said {
                tracing::warn!(
                    of = what,
                    "too many wait for a copy: newcomers get their answer when they ask again"
                );
            }
        });
    }

    pub(super) fn take(&mut self, key: Key) -> Vec<Waiter> {
        let waiting = self.by_key.remove(&key).unwrap_or_default();
        self.count -= waiting.len();
        waiting.into_iter().map(|known| known.waiter).collect()
    }

    /// Keys that this node does not own any more are another's to acknowledge.
    pub(super) fn retain(&mut self, owned: impl Fn(Key) -> bool) {
        self.by_key.retain(|key, _| owned(*key));
        self.count = self.by_key.values().map(Vec::len).sum();
    }
}

impl Waiting {
    fn is_silent(&self, now: Mono) -> bool {
        now.saturating_since(self.asked) > SILENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Mono {
        Mono::from_origin(Duration::from_millis(millis))
    }

    fn client(number: usize) -> Waiter {
        Waiter::Put(format!("client-{number}").into())
    }

    #[test]
    fn those_that_do_not_ask_any_more_give_way_to_those_that_do() {
        let mut waiters = Waiters::default();
        // Of each key one that asks again and again, and others that do not.
        let key = |number: usize| Key::new((number / MAX_PER_KEY) as u32);
        for number in 0..MAX {
            waiters.add(at(0), key(number), client(number));
        }
        assert_eq!(waiters.count, MAX);
        waiters.add(at(3_000), Key::new(u32::MAX), client(MAX));
        assert_eq!(waiters.count, MAX, "they may all ask again");
        for waiting in waiters.by_key.values_mut() {
            waiting[0].asked = at(4_000);
        }
        waiters.add(at(6_000), Key::new(u32::MAX), client(MAX));
        assert_eq!(waiters.count, MAX / MAX_PER_KEY + 1);
        assert_eq!(waiters.take(Key::new(u32::MAX)), [client(MAX)]);
        assert_eq!(waiters.take(key(0)), [client(0)]);
    }

    #[test]
    fn one_key_has_room_for_who_asks_when_others_are_silent() {
        let (mut waiters, key) = (Waiters::default(), Key::new(7));
        for number in 0..MAX_PER_KEY {
            waiters.add(at(number as u64), key, client(number));
        }
        waiters.add(at(1_000), key, client(MAX_PER_KEY));
        assert!(!waiters.take(key).contains(&client(MAX_PER_KEY)), "all of them ask");
        for number in 0..MAX_PER_KEY {
            waiters.add(at(number as u64), key, client(number));
        }
        waiters.add(at(6_000), key, client(MAX_PER_KEY));
        let waiting = waiters.take(key);
        assert!(waiting.contains(&client(MAX_PER_KEY)) && !waiting.contains(&client(0)), "{waiting:?}");
        assert_eq!((waiting.len(), waiters.count), (MAX_PER_KEY, 0));
    }
}
