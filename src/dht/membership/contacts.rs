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
    seeds: BTreeSet<Locator>,
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
            seeds: BTreeSet::new(),
            lost: BTreeMap::new(),
            cursor: None,
            next: None,
            pause: FIRST_PAUSE,
        }
    }

    pub(super) fn add_seeds(&mut self, now: Mono, seeds: impl IntoIterator<Item = Locator>) {
        for seed in seeds {
            if self.seeds.len() < MAX_CONTACTS {
                self.seeds.insert(seed);
            } else if !self.seeds.contains(&seed) {
                afterwards(move || {
                    metrics::counter!("ringbus_membership_full_total", "table" => "seeds").increment(1);
                    tracing::warn!(%seed, limit = MAX_CONTACTS, "too many seeds: this one is not asked");
                });
            }
        }
        self.hurry(now);
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
        let absent: BTreeSet<&Locator> = self
            .seeds
            .iter()
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
