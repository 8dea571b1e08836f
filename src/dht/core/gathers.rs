//! Lookups with wildcards that wait for the other members.

use std::collections::BTreeMap;

use crate::dht::member::NodeName;
use crate::dht::message::{FoundOffer, Gathered};
use crate::dht::parts::Assembly;
use crate::dht::registry::ReplyTo;
use crate::time::Mono;

/// The most offers in one answer.
pub(super) const MAX_FOUND: usize = 16_384;

/// The most lookups that wait at a time.
const MAX_GATHERING: usize = 256;

/// A lookup that is ready to be answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) reply_to: ReplyTo,
    pub(super) found: Vec<FoundOffer>,
    pub(super) unanswered: Vec<NodeName>,
}

#[derive(Debug)]
struct Gathering {
    until: Mono,
    reply_to: ReplyTo,
    found: Vec<FoundOffer>,
    waiting: BTreeMap<NodeName, Assembly<Vec<FoundOffer>>>,
}

impl Gathering {
    fn into_answer(self) -> Answer {
        let unanswered = self.waiting.into_keys().collect();
        Answer { reply_to: self.reply_to, found: self.found, unanswered }
    }
}

/// All waiting lookups.
#[derive(Debug, Default)]
pub(super) struct Gathers {
    gathering: BTreeMap<u64, Gathering>,
    count: u64,
}

impl Gathers {
    /// Starts to wait for the members asked; the query's number, or `None` if too many lookups wait already.
    pub(super) fn begin(
        &mut self,
        until: Mono,
        reply_to: ReplyTo,
        found: Vec<FoundOffer>,
        asked: impl Iterator<Item = NodeName>,
    ) -> Option<u64> {
        if self.gathering.len() >= MAX_GATHERING {
            return None;
        }
        self.count += 1;
        let waiting = asked.map(|name| (name, Assembly::default())).collect();
        self.gathering.insert(self.count, Gathering { until, reply_to, found, waiting });
        Some(self.count)
    }

    /// Takes one member's answer; the whole when it was the last.
    pub(super) fn answer(&mut self, answer: Gathered) -> Option<Answer> {
        let gathering = self.gathering.get_mut(&answer.query)?;
        let lists =
            gathering.waiting.get_mut(&answer.from)?.insert(answer.part, answer.parts, answer.found)?;
        gathering.waiting.remove(&answer.from);
        // One more than fits, so that the answer says that there was more.
        let room = (MAX_FOUND + 1).saturating_sub(gathering.found.len());
        gathering.found.extend(lists.into_iter().flatten().take(room));
        if !gathering.waiting.is_empty() {
            return None;
        }
        self.gathering.remove(&answer.query).map(Gathering::into_answer)
    }

    /// Takes the lookups that have waited long enough.
    pub(super) fn expired(&mut self, now: Mono) -> Vec<Answer> {
        let expired: Vec<u64> =
            self.gathering.iter().filter(|(_, g)| g.until <= now).map(|(query, _)| *query).collect();
        self.take(expired)
    }

    pub(super) fn next(&self) -> Option<Mono> {
        self.gathering.values().map(|gathering| gathering.until).min()
    }

    fn take(&mut self, queries: Vec<u64>) -> Vec<Answer> {
        queries.iter().filter_map(|query| self.gathering.remove(query)).map(Gathering::into_answer).collect()
    }
}
