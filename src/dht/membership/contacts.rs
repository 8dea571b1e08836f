//! Whom a node looks for: its seeds, and members that it has lost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::dht::member::{Member, NodeName};
use crate::quiet::afterwards;
use crate::time::Mono;
use crate::transport::Locator;

/// The most seeds, and the most lost members, that are remembered.
const MAX_CONTACTS: usize = 256;

/// The most contacts that are asked at a time.
const MAX_ASKED: usize = 16;

/// The first pause between two attempts; it doubles up to the configured one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Seeds and lost members, and when to ask them next.
#[derive(Debug)]
pub(super) struct Contacts {
    longest_pause: Duration,
    forget_after: Duration,
    /// When each was on the ring last, or was given.
    seeds: BTreeMap<Locator, Mono>,
    lost: BTreeMap<NodeName, (Locator, Mono)>,
    /// The contact that was asked last: the next round goes on behind it.
    cursor: Option<Locator>,
    next: Option<Mono>,
    pause: Duration,
}

impl Contacts {
    pub(super) fn new(longest_pause: Duration, forget_after: Duration) -> Self {
        Self {
            longest_pause,
            forget_after,
            seeds: BTreeMap::new(),
            lost: BTreeMap::new(),
            cursor: None,
            next: None,
            pause: FIRST_PAUSE,
        }
    }

    /// Addresses that the program names. Where there are too many, the one gives way that was not on the ring for longest.
    pub(super) fn add_seeds(&mut self, now: Mono, seeds: impl IntoIterator<Item = Locator>) {
        for seed in seeds {
            if self.seeds.len() >= MAX_CONTACTS && !self.seeds.contains_key(&seed) {
                let longest = self.seeds.iter().min_by_key(|(_, at)| **at);
                let older = longest.filter(|(_, at)| **at < now).map(|(silent, _)| silent.clone());
                let not_asked = older.clone().unwrap_or_else(|| seed.clone());
                afterwards(move || {
                    metrics::counter!("ringbus_membership_full_total", "table" => "seeds").increment(1);
                    let limit = MAX_CONTACTS;
                    tracing::warn!(seed = %not_asked, limit, "too many seeds: this one is not asked");
                });
                match older {
                    Some(silent) => self.seeds.remove(&silent),
                    None => continue,
                };
            }
            self.seeds.insert(seed, now);
        }
        self.hurry(now);
    }

    /// Addresses that another node names: they take the room that there is, and nobody's place.
    pub(super) fn inherit(&mut self, now: Mono, seeds: impl IntoIterator<Item = Locator>) {
        let room = MAX_CONTACTS.saturating_sub(self.seeds.len());
        let news: Vec<_> =
            seeds.into_iter().filter(|seed| !self.seeds.contains_key(seed)).take(room).collect();
        self.add_seeds(now, news);
    }

    /// A member was given up.
    pub(super) fn lost(&mut self, now: Mono, member: &Member) {
        if self.lost.len() >= MAX_CONTACTS && !self.lost.contains_key(&member.name) {
            // The one that was lost first is the least likely to come back.
            let first = self.lost.iter().min_by_key(|(_, (_, until))| *until).map(|(name, _)| name.clone());
            if let Some(first) = first {
                self.lost.remove(&first);
                afterwards(move || {
                    let limit = MAX_CONTACTS;
                    metrics::counter!("ringbus_membership_full_total", "table" => "lost members")
                        .increment(1);
                    tracing::warn!(name = %first, limit, "too many lost members: this one is not looked for");
                });
            }
        }
        self.lost.insert(member.name.clone(), (member.locator.clone(), now + self.forget_after));
        self.hurry(now);
    }

    /// A member is back.
    pub(super) fn found(&mut self, name: &NodeName) {
        self.lost.remove(name);
    }

    /// Ask again at once, and often at first.
    pub(super) fn hurry(&mut self, now: Mono) {
        self.pause = FIRST_PAUSE.min(self.longest_pause);
        self.next = Some(now);
    }

    /// Whom to ask now, those who are present aside.
    pub(super) fn due(&mut self, now: Mono, present: &BTreeSet<&Locator>) -> Vec<Locator> {
        if self.next.is_none_or(|next| next > now) {
            return Vec::new();
        }
        self.lost.retain(|_, (_, until)| *until > now);
        let here = self.seeds.iter_mut().filter(|(seed, _)| present.contains(seed));
        here.for_each(|(_, at)| *at = now);
        let absent: BTreeSet<&Locator> = self
            .seeds
            .keys()
            .chain(self.lost.values().map(|(locator, _)| locator))
            .filter(|locator| !present.contains(locator))
            .collect();
        let behind = |locator: &&&Locator| self.cursor.as_ref().is_none_or(|cursor| **locator > cursor);
        let (mut chosen, skipped): (Vec<&Locator>, Vec<&Locator>) = absent.iter().partition(|l| behind(l));
        chosen.extend(skipped);
        let chosen: Vec<Locator> = chosen.into_iter().take(MAX_ASKED).cloned().collect();
        self.cursor = chosen.last().cloned();
        // A seed that leaves the ring must be looked for again, so the clock goes on while there is anyone to lose.
        let anyone = !self.seeds.is_empty() || !self.lost.is_empty();
        self.next = anyone.then(|| now + self.pause);
        self.pause = (self.pause * 2).min(self.longest_pause);
        chosen
    }

    pub(super) fn next(&self) -> Option<Mono> {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono::from_origin(Duration::from_secs(seconds))
    }

    fn seed(number: usize) -> Locator {
        Locator::new(format!("memory:{number:04}")).unwrap()
    }

    fn full() -> Contacts {
        let mut contacts = Contacts::new(Duration::from_secs(1), Duration::from_secs(60));
        contacts.add_seeds(at(0), (0..MAX_CONTACTS).map(seed));
        contacts
    }

    #[test]
    fn the_seed_that_was_silent_for_longest_gives_way_to_one_that_is_named_later() {
        let mut contacts = full();
        let stay: Vec<Locator> = (0..MAX_CONTACTS).filter(|number| *number != 77).map(seed).collect();
        contacts.due(at(10), &stay.iter().collect());
        contacts.add_seeds(at(20), [seed(1_000)]);
        assert!(!contacts.seeds.contains_key(&seed(77)));
        assert!(stay.iter().chain([&seed(1_000)]).all(|seed| contacts.seeds.contains_key(seed)));
        assert_eq!(contacts.seeds.len(), MAX_CONTACTS);
    }

    #[test]
    fn of_seeds_that_are_named_together_the_first_stay() {
        let mut contacts = full();
        contacts.add_seeds(at(0), (0..10).map(|number| seed(1_000 + number)));
        assert!((0..MAX_CONTACTS).all(|number| contacts.seeds.contains_key(&seed(number))));
        assert_eq!(contacts.seeds.len(), MAX_CONTACTS);
    }

    #[test]
    fn what_another_node_names_takes_nobodys_place() {
        let mut contacts = full();
        contacts.inherit(at(100), (0..16).map(|number| seed(1_000 + number)));
        assert!((0..MAX_CONTACTS).all(|number| contacts.seeds.contains_key(&seed(number))));
        contacts.seeds.remove(&seed(5));
        contacts.inherit(at(100), (0..16).map(|number| seed(1_000 + number)));
        assert!(contacts.seeds.contains_key(&seed(1_000)) && !contacts.seeds.contains_key(&seed(1_001)));
    }
}
