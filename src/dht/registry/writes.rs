//! Writes that wait for a majority of their replica set.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::dht::message::RequestId;
use crate::dht::record::Rank;
use crate::message::EntityId;
use crate::time::Mono;
use crate::transport::Locator;

/// The most writes that wait at a time.
pub(super) const MAX_WAITING: usize = 65_536;

/// How long a write waits; the client has asked again, or given up, long before.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whom to answer, and how to get there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReplyTo {
    /// The request's number.
    pub(crate) id: RequestId,
    /// The client.
    pub(crate) client: Locator,
    /// The node to answer through, unless the client has asked this one.
    pub(crate) entry: Option<Locator>,
}

#[derive(Debug)]
struct Waiting {
    rank: Rank,
    reply_to: ReplyTo,
    until: Mono,
}

/// The unanswered writes, by record.
#[derive(Debug, Default)]
pub(super) struct Writes {
    waiting: BTreeMap<EntityId, Vec<Waiting>>,
    /// In the order in which they came, which is that in which their patience ends; answered ones included.
    ends: VecDeque<(Mono, EntityId)>,
}

impl Writes {
    pub(super) fn is_full(&self) -> bool {
        self.ends.len() >= MAX_WAITING
    }

    pub(super) fn push(&mut self, now: Mono, id: EntityId, rank: Rank, reply_to: ReplyTo) {
        let writes = self.waiting.entry(id).or_default();
        if writes.iter().any(|write| write.reply_to == reply_to) {
            return;
        }
        let until = now + PATIENCE;
        writes.push(Waiting { rank, reply_to, until });
        self.ends.push_back((until, id));
    }

    /// Whether someone waits for this record.
    pub(super) fn concern(&self, id: EntityId) -> bool {
        self.waiting.contains_key(&id)
    }

    /// The records that someone waits for.
    pub(super) fn ids(&self) -> Vec<EntityId> {
        self.waiting.keys().copied().collect()
    }

    /// Takes the writes of a record that a majority holds at `rank`.
    pub(super) fn take_reached(&mut self, id: EntityId, rank: Rank) -> Vec<ReplyTo> {
        let Some(writes) = self.waiting.remove(&id) else { return Vec::new() };
        let (reached, rest): (Vec<_>, Vec<_>) = writes.into_iter().partition(|write| write.rank <= rank);
        if !rest.is_empty() {
            self.waiting.insert(id, rest);
        }
        while self.ends.front().is_some_and(|(_, id)| !self.waiting.contains_key(id)) {
            self.ends.pop_front();
        }
        reached.into_iter().map(|write| write.reply_to).collect()
    }

    /// Drops the writes that have waited long enough.
    pub(super) fn expire(&mut self, now: Mono) {
        while let Some((_, id)) = self.ends.front().copied().filter(|(until, _)| *until <= now) {
            self.ends.pop_front();
            if let Some(writes) = self.waiting.get_mut(&id) {
                writes.retain(|write| write.until > now);
                if writes.is_empty() {
                    self.waiting.remove(&id);
                }
            }
        }
    }

    pub(super) fn next(&self) -> Option<Mono> {
        self.ends.front().map(|(until, _)| *until)
    }
}
