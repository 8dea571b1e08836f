//! A relay's reader: it follows every writer as it is, and acknowledges in the name of the subscribers
//! behind it.
//!
//! A sample is acknowledged to the writer when those subscribers have acknowledged it. Until then the
//! writer keeps it, and the relay of the node that becomes responsible next can ask for it.

use super::{ACKNOWLEDGED_BYTES, ACKNOWLEDGED_SAMPLES, ReaderCore};
use crate::message::EntityId;
use crate::pubsub::control::Heartbeat;
use crate::pubsub::events::Departure;
use crate::pubsub::proxy::WriterProxy;
use crate::qos::{Durability, Offered, Reliability, Requested, ResourceLimits};
use crate::time::{Mono, Timestamp};

/// What a relay's reader knows of the subscribers to one writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pubsub) struct Behind {
    /// How many get the writer's samples through the node.
    pub(in crate::pubsub) subscribers: u32,
    /// Every one of them that is reliable has everything below.
    pub(in crate::pubsub) confirmed: u64,
    /// The writer was told that this much is confirmed.
    told: u64,
    /// The writer has asked for more than that.
    asked: bool,
}

impl Behind {
    fn new(first: u64) -> Self {
        Self { subscribers: 0, confirmed: first, told: first, asked: false }
    }
}

impl ReaderCore {
    /// A reader that matches every writer and follows each as its own offer allows, for passing the
    /// samples on.
    pub(in crate::pubsub) fn relay(id: EntityId, queue: ResourceLimits) -> Self {
        let requested = Requested::default().keep_all().resource_limits(queue);
        Self { relay: true, ..Self::new(id, false, requested) }
    }

    /// Where a relay begins to follow a writer: with all that is kept for subscribers, who may have been
    /// behind another node's relay before. What they have already they know by its number.
    pub(super) fn relay_start(&self, heartbeat: &Heartbeat) -> Option<u64> {
        let end = heartbeat.last.saturating_add(1);
        let kept = is_kept(&heartbeat.offered);
        self.relay.then(|| if kept { heartbeat.first.clamp(1, end) } else { end })
    }

    /// A relay's books on a writer that it begins to follow.
    pub(super) fn behind(&self, first: u64) -> Option<Behind> {
        self.relay.then(|| Behind::new(first))
    }

    /// What the subscribers behind a relay have: the writer is told if it wants to know.
    pub(in crate::pubsub) fn set_behind(
        &mut self,
        now: Mono,
        writer: EntityId,
        subscribers: usize,
        confirmed: u64,
    ) {
        let repairs = self.repairs(writer);
        let Some(proxy) = self.writers.get_mut(&writer) else { return };
        let limits = &proxy.offered.resource_limits;
        let samples = (limits.max_samples / 4).clamp(1, ACKNOWLEDGED_SAMPLES) as u64;
        let bytes = (limits.max_bytes / 4).clamp(1, ACKNOWLEDGED_BYTES);
        let taken = proxy.unacknowledged_bytes;
        let Some(behind) = &mut proxy.behind else { return };
        let subscribers = u32::try_from(subscribers).unwrap_or(u32::MAX);
        let counted = std::mem::replace(&mut behind.subscribers, subscribers) != subscribers;
        behind.confirmed = behind.confirmed.max(confirmed);
        let news = behind.confirmed - behind.told;
        let wanted = repairs && news > 0 && (behind.asked || news >= samples || taken >= bytes);
        if counted || wanted {
            self.acknowledge(now, writer, false);
        }
    }

    /// Asks a writer for a subscriber behind this relay which of its samples is its last, and where
    /// those after a source time begin. `false` if the writer is not there.
    pub(in crate::pubsub) fn ask(&mut self, now: Mono, writer: EntityId, after: Timestamp) -> bool {
        let there = |proxy: &&mut WriterProxy| proxy.compatible && proxy.connection.stands();
        let Some(proxy) = self.writers.get_mut(&writer).filter(there) else { return false };
        proxy.question = Some(after);
        self.acknowledge(now, writer, false);
        true
    }

    /// Ends. Where a relay does, another node may go on: the writers count nobody behind it any more, and keep
    /// for the other one what was not confirmed.
    pub(in crate::pubsub) fn end(&mut self, now: Mono) {
        if !self.relay {
            return self.leave();
        }
        let writers: Vec<EntityId> = self.writers.iter().map(|(id, _)| *id).collect();
        for writer in writers {
            if let Some(behind) = self.writers.get_mut(&writer).and_then(|proxy| proxy.behind.as_mut()) {
                behind.subscribers = 0;
            }
            self.acknowledge(now, writer, false);
        }
        self.writers.drain().for_each(drop);
    }

    /// No subscriber wants the samples by way of a node any more: the writers are told goodbye.
    pub(in crate::pubsub) fn dismiss(&mut self) {
        self.relay = false;
    }

    /// Forgets a writer whose samples are not passed on any more. If it comes back, the relay begins
    /// where the subscribers are.
    pub(in crate::pubsub) fn forget(&mut self, now: Mono, writer: EntityId) {
        self.remove_writer(now, writer, Departure::ConnectionLost);
    }
}

impl WriterProxy {
    /// What is acknowledged to the writer: everything below has arrived, behind a relay at the
    /// subscribers.
    pub(super) fn acknowledged(&self) -> u64 {
        self.behind.map_or(self.next, |behind| behind.confirmed.min(self.next))
    }

    /// The writer is being told what is acknowledged, because it has `asked` or unasked.
    pub(super) fn note_told(&mut self, asked: bool) {
        let (told, last) = (self.acknowledged(), self.last);
        if let Some(behind) = &mut self.behind {
            behind.told = told;
            behind.asked = (behind.asked || asked) && told <= last;
        }
    }
}

/// Whether a writer keeps samples until they are acknowledged, or longer.
fn is_kept(offered: &Offered) -> bool {
    offered.reliability == Reliability::Reliable || offered.durability >= Durability::TransientLocal
}

/// What a relay requests of a writer: what it offers.
pub(super) fn as_offered(requested: &Requested, offered: &Offered) -> Requested {
    Requested {
        reliability: offered.reliability,
        durability: offered.durability,
        ownership: offered.ownership,
        ..requested.clone()
    }
}
