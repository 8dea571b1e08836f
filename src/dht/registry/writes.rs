//! Writes that wait for a majority of their replica set.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::dht::message::RequestId;
use crate::dht::record::Rank;
use crate::message::EntityId;
use crate::time::Mono;
use crate::transport::Locator;

/// The most writes that wait at a time.
pub(super) const MAX_WAITING: usize = 16_384;

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
    count: usize,
}

impl Writes {
    pub(super) fn is_full(&self) -> bool {
        self.count >= MAX_WAITING
    }

    pub(super) fn push(&mut self, now: Mono, id: EntityId, rank: Rank, reply_to: ReplyTo) {
        let writes = self.waiting.entry(id).or_default();
        if writes.iter().any(|write| write.reply_to == reply_to) {
            return;
        }
        writes.push(Waiting { rank, reply_to, until: now + PATIENCE });
        self.count += 1;
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
        self.count -= reached.len();
        if !rest.is_empty() {
            self.waiting.insert(id, rest);
        }
        reached.into_iter().map(|write| write.reply_to).collect()
    }

    /// Drops the writes that have waited long enough.
    pub(super) fn expire(&mut self, now: Mono) {
        if self.next().is_none_or(|next| next > now) {
            return;
        }
        let count = &mut self.count;
        self.waiting.retain(|_, writes| {
            let before = writes.len();
            writes.retain(|write| write.until > now);
            *count -= before - writes.len();
            !writes.is_empty()
        });
    }

    pub(super) fn next(&self) -> Option<Mono> {
        self.waiting.values().filter_map(|writes| writes.first()).map(|write| write.until).min()
    }
}
