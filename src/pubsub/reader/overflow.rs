//! What a reader does with samples that find its queue full.

use super::ReaderCore;
use crate::message::EntityId;
use crate::pubsub::queue::Chunk;
use crate::qos::{Overflow, ResourceLimits};
use crate::quiet::afterwards;

impl ReaderCore {
    /// Whether it has left its writers because its queue was full.
    pub(in crate::pubsub) fn is_too_slow(&self) -> bool {
        self.too_slow.is_some()
    }

    /// How many samples found the queue full when it left its writers.
    pub(in crate::pubsub) fn too_slow(&self) -> Option<u64> {
        self.too_slow
    }

    /// The bounds of the queue.
    pub(in crate::pubsub) fn limits(&self) -> ResourceLimits {
        self.requested.resource_limits
    }

    /// Puts samples into the queue.
    pub(super) fn enqueue(&mut self, chunk: Chunk) {
        self.stats.received += chunk.samples() as u64;
        let gave_way = self.queue.push(chunk);
        self.stats.replaced += gave_way.replaced;
        self.stats.gave_way += gave_way.over_limits;
        if gave_way.over_limits > 0 {
            dropped("queue full, oldest", gave_way.over_limits);
        }
    }

    /// A writer's samples find the queue full. `false` if they must come again.
    pub(super) fn overflow(&mut self, writer: EntityId, end: u64, repairs: bool) -> bool {
        let Some(proxy) = self.writers.get_mut(&writer) else { return true };
        if self.requested.overflow == Overflow::Wait && repairs {
            proxy.blocked = true;
            self.blocked += 1;
            return false;
        }
        let samples = end - proxy.next;
        proxy.next = end;
        proxy.unacknowledged += samples;
        self.drop_newest(samples);
        true
    }

    /// Samples find the queue full, and nobody will send them again.
    pub(super) fn drop_newest(&mut self, samples: u64) {
        self.stats.queue_full += samples;
        dropped("queue full", samples);
        if self.requested.overflow == Overflow::Disconnect {
            let reader = self.id;
            afterwards(move || tracing::warn!(%reader, samples, "left its publishers: its queue was full"));
            self.too_slow = Some(samples);
            self.leave();
        }
    }
}

fn dropped(cause: &'static str, samples: u64) {
    afterwards(move || {
        metrics::counter!("ringbus_samples_dropped_total", "cause" => cause).increment(samples);
    });
}
