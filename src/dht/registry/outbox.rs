//! What has to be copied to one other node: sent in batches, again until it is acknowledged.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::dht::member::NodeName;
use crate::dht::message::MAX_TRANSFER;
use crate::dht::record::Rank;
use crate::message::EntityId;
use crate::time::Mono;

/// The most records under way to one node.
const WINDOW: usize = 4 * MAX_TRANSFER;

/// The first pause before unacknowledged records are sent again; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(200);

const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The records on their way to one node.
#[derive(Debug)]
struct Outbox {
    /// With the ranks that have to get there, and that are on their way.
    waiting: BTreeMap<EntityId, Rank>,
    under_way: BTreeMap<EntityId, Rank>,
    again_at: Option<Mono>,
    pause: Duration,
}

impl Default for Outbox {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), under_way: BTreeMap::new(), again_at: None, pause: FIRST_PAUSE }
    }
}

/// The records on their way to all other nodes.
#[derive(Debug, Default)]
pub(super) struct Outboxes(BTreeMap<NodeName, Outbox>);

impl Outboxes {
    /// A record has to get to a node, at this rank or a greater one.
    pub(super) fn push(&mut self, to: &NodeName, id: EntityId, rank: Rank) {
        let outbox = self.0.entry(to.clone()).or_default();
        if outbox.under_way.get(&id).is_none_or(|sent| *sent < rank) {
            outbox.waiting.insert(id, rank);
        }
    }

    /// A node holds the present state of a record.
    pub(super) fn done(&mut self, now: Mono, to: &NodeName, id: EntityId) {
        if let Some(outbox) = self.0.get_mut(to) {
            outbox.waiting.remove(&id);
            outbox.under_way.remove(&id);
            outbox.pause = FIRST_PAUSE;
            outbox.again_at = (!outbox.under_way.is_empty()).then(|| now + outbox.pause);
        }
    }

    /// Nobody has to get this record any more.
    pub(super) fn forget(&mut self, id: EntityId) {
        for outbox in self.0.values_mut() {
            outbox.waiting.remove(&id);
            outbox.under_way.remove(&id);
        }
    }

    /// Keeps only what goes to these nodes.
    pub(super) fn retain(&mut self, keep: impl Fn(&NodeName) -> bool) {
        self.0.retain(|name, _| keep(name));
    }

    /// The batches to send now.
    pub(super) fn due(&mut self, now: Mono) -> Vec<(NodeName, Vec<EntityId>)> {
        let mut batches = Vec::new();
        for (name, outbox) in &mut self.0 {
            if outbox.again_at.is_some_and(|at| at <= now) {
                outbox.waiting.append(&mut outbox.under_way);
                outbox.pause = (outbox.pause * 2).min(LONGEST_PAUSE);
            }
            while outbox.under_way.len() < WINDOW && !outbox.waiting.is_empty() {
                let mut batch = Vec::with_capacity(MAX_TRANSFER);
                while batch.len() < MAX_TRANSFER
                    && let Some((id, rank)) = outbox.waiting.pop_first()
                {
                    outbox.under_way.insert(id, rank);
                    batch.push(id);
                }
                outbox.again_at = Some(now + outbox.pause);
                batches.push((name.clone(), batch));
            }
        }
        self.0.retain(|_, outbox| !outbox.waiting.is_empty() || !outbox.under_way.is_empty());
        batches
    }

    pub(super) fn next(&self) -> Option<Mono> {
        self.0.values().filter_map(|outbox| outbox.again_at).min()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
