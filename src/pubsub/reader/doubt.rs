//! Numbers that a writer's own heartbeats contradict are taken back.
//!
//! There is no authentication: one forged heartbeat, goodbye or frame in a writer's name can claim numbers that do not exist
//! yet, and a reader that believed them for good would take all that follows for duplicates. The writer goes on to say what
//! is true. A single heartbeat may have been overtaken by what it contradicts; several in a row have not.

use std::time::Duration;

use super::ReaderCore;
use crate::pubsub::control::Heartbeat;
use crate::pubsub::events::Departure;
use crate::pubsub::proxy::{Doubt, start};
use crate::qos::Durability;
use crate::quiet::afterwards;
use crate::time::Mono;
use crate::topic::Topic;

/// How many heartbeats, over how long, outweigh another heartbeat.
const OUTWEIGH_HEARTBEAT: (u32, Duration) = (2, Duration::from_millis(100));
/// And how many outweigh samples, which cannot be forged by mistake, and which may have been under way for less long.
const OUTWEIGH_SAMPLES: (u32, Duration) = (3, Duration::from_secs(2));

impl ReaderCore {
    /// Compares a heartbeat of a known writer, in its present epoch, with what is believed. Takes that back if enough of them
    /// say so.
    pub(super) fn doubt(&mut self, now: Mono, heartbeat: &Heartbeat) {
        let Some(proxy) = self.writers.get_mut(&heartbeat.writer) else { return };
        let end = heartbeat.last + 1;
        if end >= proxy.next.max(proxy.last + 1) {
            proxy.doubt = None;
            return;
        }
        let wants_history = self.requested.durability >= Durability::TransientLocal;
        let start = match proxy.seen_end {
            // It was introduced by what is in doubt.
            0 => start(heartbeat, wants_history, self.requested.history),
            _ => end,
        };
        // A node that takes over from another may be behind what that one has sent.
        if self.via_node && end < proxy.seen_end {
            return;
        }
        let outweighs = if end < proxy.seen_end { OUTWEIGH_SAMPLES } else { OUTWEIGH_HEARTBEAT };
        if !outweigh(&mut proxy.doubt, now, start, outweighs) {
            return;
        }
        let lost = proxy.take_back(heartbeat.last);
        self.stats.lost = self.stats.lost.saturating_sub(lost);
        afterwards(move || metrics::counter!("ringbus_numbers_taken_back_total").increment(1));
    }

    /// A heartbeat of an earlier incarnation than the one that is followed. If that one stays silent while the earlier one
    /// goes on, the earlier one is the writer.
    pub(super) fn doubt_epoch(&mut self, now: Mono, topic: Option<&Topic>, heartbeat: &Heartbeat) {
        let id = heartbeat.writer;
        let Some(proxy) = self.writers.get_mut(&id) else { return };
        if !outweigh(&mut proxy.doubt, now, 0, OUTWEIGH_SAMPLES) {
            return;
        }
        let (former, own) = (proxy.former, proxy.topic.clone());
        afterwards(move || metrics::counter!("ringbus_numbers_taken_back_total").increment(1));
        self.remove_writer(now, id, Departure::Left);
        match former.filter(|former| former.epoch == heartbeat.epoch) {
            Some(former) => drop(self.departed.insert(id, former)),
            None => drop(self.departed.remove(&id)),
        }
        self.introduce(now, topic.unwrap_or(&own), heartbeat);
        self.welcome(now, id, heartbeat);
    }
}

/// Another heartbeat contradicts: whether it is enough now.
fn outweigh(doubt: &mut Option<Doubt>, now: Mono, start: u64, (most, over): (u32, Duration)) -> bool {
    let doubt = doubt.get_or_insert(Doubt { since: now, heartbeats: 0, start });
    doubt.heartbeats += 1;
    doubt.heartbeats >= most && now.saturating_since(doubt.since) >= over
}
