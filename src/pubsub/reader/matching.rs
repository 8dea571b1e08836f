//! Writers come, go, come back, and give way to others.

use super::{ReaderAction, ReaderCore, requested_of};
use crate::message::EntityId;
use crate::pubsub::control::Heartbeat;
use crate::pubsub::events::{Departure, MatchEvent};
use crate::pubsub::peers::MAX_PEERS;
use crate::pubsub::proxy::{Departed, WriterProxy, start};
use crate::pubsub::writer::PEER_TIMEOUT;
use crate::qos::{self, Durability};
use crate::quiet::afterwards;
use crate::time::Mono;
use crate::topic::Topic;

/// How many silent writers are remembered.
const MAX_DEPARTED: usize = 1024;

impl ReaderCore {
    /// A writer is heard for the first time, or comes back.
    pub(super) fn introduce(&mut self, now: Mono, topic: &Topic, heartbeat: &Heartbeat) {
        if let Some(displaced) = self.writers.gives_way(now) {
            self.displace(now, topic, displaced);
        }
        let requested = requested_of(self.relay, &self.requested, &heartbeat.offered);
        let verdict = qos::check(&heartbeat.offered, &requested);
        let other_encoding = verdict.is_ok() && !self.encoding.accepts(heartbeat.encoding);
        let wants_history = requested.durability >= Durability::TransientLocal;
        let next = self
            .relay_start(heartbeat)
            .unwrap_or_else(|| start(heartbeat, wants_history && !other_encoding, requested.history));
        let compatible = verdict.is_ok() && !other_encoding;
        let mut proxy =
            WriterProxy::new(now, topic.clone(), heartbeat, compatible, next, self.held_bytes.clone());
        proxy.other_encoding = other_encoding;
        match self.departed.remove(&heartbeat.writer) {
            Some(left) if left.epoch == heartbeat.epoch => {
                // It was only silent: go on where it was left, and take back what was given up for lost.
                (proxy.next, proxy.began) = (left.next, left.next);
                (proxy.last_before, proxy.passed_over) = (left.last, left.passed_over);
                self.stats.lost = self.stats.lost.saturating_sub(left.counted_lost);
                // What it had under way comes late and would say nothing about its clock.
                if now.saturating_since(left.at) <= PEER_TIMEOUT {
                    proxy.clock = left.clock;
                }
            }
            left => proxy.former = left,
        }
        proxy.behind = self.behind(proxy.next);
        proxy.know_since(self.beat(topic));
        self.matched += usize::from(proxy.compatible);
        self.writers.insert(heartbeat.writer, proxy);
        let (topic, peer) = (topic.clone(), heartbeat.writer);
        let (offered, requested) = (heartbeat.encoding, self.encoding);
        self.actions.push_back(ReaderAction::Event(match verdict {
            Err(mismatch) => MatchEvent::Mismatched { topic, peer, mismatch },
            Ok(()) if other_encoding => MatchEvent::EncodingMismatch { topic, peer, offered, requested },
            Ok(()) => MatchEvent::Matched { topic, peer },
        }));
    }

    /// A writer is gone.
    pub(super) fn remove_writer(&mut self, now: Mono, writer: EntityId, cause: Departure) {
        let Some(proxy) = self.writers.remove(&writer) else { return };
        if !proxy.compatible {
            return;
        }
        self.matched -= usize::from(proxy.connection.stands());
        let topic = proxy.topic.clone();
        let heard = self.is_heard(&topic, writer) && proxy.replaying.is_none();
        // What is held back goes with the writer, too.
        let owed = if heard && proxy.has_gap() { proxy.last + 1 - proxy.next } else { 0 };
        let event = MatchEvent::Departed { topic: topic.clone(), peer: writer, cause };
        self.actions.push_back(ReaderAction::Event(event));
        self.disown(&topic, writer, proxy.standing, proxy.clock.offset());
        self.arbitrate(now, &topic);
        // A new owner that keeps a history replays what this one still owed.
        let lost = if self.is_replaying(&topic) { 0 } else { owed };
        if lost > 0 {
            self.count_lost(&topic, writer, lost);
        }
        if self.departed.len() >= MAX_DEPARTED
            && let Some(oldest) = self.departed.iter().min_by_key(|(_, left)| left.at).map(|(id, _)| *id)
        {
            self.departed.remove(&oldest);
        }
        // Also one that said goodbye may come back: a node that lost sight of a publisher says it for it.
        let (mut next, given_up) = proxy.resume();
        if proxy.behind.is_some() {
            // A relay gets again what the subscribers behind it do not have.
            next = next.min(proxy.acknowledged());
        }
        let left = Departed {
            epoch: proxy.epoch,
            next,
            last: proxy.known_last(),
            passed_over: proxy.passed_over,
            counted_lost: lost + given_up,
            clock: proxy.clock,
            at: now,
        };
        self.departed.insert(writer, left);
    }

    /// The table is full: a writer makes room for another.
    fn displace(&mut self, now: Mono, topic: &Topic, displaced: EntityId) {
        afterwards(move || {
            metrics::counter!("ringbus_peers_displaced_total", "table" => "writers").increment(1);
        });
        if self.writers.is_full_unsaid(now) {
            let event = MatchEvent::Crowded { topic: topic.clone(), limit: MAX_PEERS };
            self.actions.push_back(ReaderAction::Event(event));
        }
        self.remove_writer(now, displaced, Departure::Displaced);
    }
}
