//! Order within one writer's sequence: what is delivered, held back, asked for again or given up.

use super::ReaderCore;
use crate::message::EntityId;
use crate::pubsub::FRAME_OVERHEAD;
use crate::pubsub::proxy::WriterProxy;
use crate::pubsub::queue::{Chunk, Content};
use crate::qos::{Durability, Reliability};
use crate::time::{Mono, Timestamp};
use crate::wire::DataFrame;

impl ReaderCore {
    /// Puts a frame into its place in the writer's sequence.
    pub(super) fn sequence(&mut self, now: Mono, wall: Timestamp, frame: &DataFrame) {
        let header = *frame.header();
        let repairs = self.repairs(header.writer);
        let Some(proxy) = self.writers.get_mut(&header.writer) else { return };
        if proxy.replaying.is_some() {
            return self.hold(frame);
        }
        if header.end() <= proxy.next {
            if !proxy.passed_over {
                self.stats.duplicates += u64::from(header.count);
            }
            return;
        }
        if header.first > proxy.next {
            let topic = proxy.topic.clone();
            if !self.is_heard(&topic, header.writer) {
                return self.pass_over(header.writer, header.end());
            }
            if repairs {
                return self.hold(frame);
            }
            self.give_up_before(now, wall, header.writer, header.first);
        }
        self.accept(now, wall, frame);
        self.drain_held(now, wall, header.writer);
    }

    /// After anything was learnt of a writer: sets or clears its timer for repairs.
    pub(super) fn follow(&mut self, now: Mono, writer: EntityId) {
        let repairs = self.repairs(writer);
        let Some(topic) = self.writers.get(&writer).map(|proxy| proxy.topic.clone()) else { return };
        let heard = self.is_heard(&topic, writer);
        let Some(proxy) = self.writers.get_mut(&writer) else { return };
        if proxy.replaying.is_some() || !proxy.compatible {
            return;
        }
        if !heard {
            proxy.pass_over(proxy.last + 1);
        } else if !proxy.has_gap() {
            proxy.settled();
        } else if repairs && !proxy.blocked {
            proxy.gap_seen(now);
        }
    }

    /// The writer no longer has what comes before `first`: what is held is delivered, what is missing is lost.
    pub(super) fn give_up_before(&mut self, now: Mono, wall: Timestamp, writer: EntityId, first: u64) {
        let Some(proxy) = self.writers.get(&writer).filter(|proxy| proxy.next < first) else { return };
        let topic = proxy.topic.clone();
        let counts = proxy.compatible && self.is_heard(&topic, writer);
        let mut lost = 0;
        while let Some(proxy) = self.writers.get_mut(&writer) {
            if proxy.next >= first || proxy.replaying.is_some() {
                break;
            }
            let resume = proxy.first_held().unwrap_or(first).min(first);
            let missing = if counts { resume - proxy.next } else { 0 };
            lost += missing;
            proxy.give_up(resume, missing);
            self.drain_held(now, wall, writer);
        }
        if lost > 0 {
            self.count_lost(&topic, writer, lost);
        }
    }

    fn hold(&mut self, frame: &DataFrame) {
        if let Some(proxy) = self.writers.get_mut(&frame.header().writer) {
            proxy.hold(frame, self.requested.resource_limits.max_bytes);
        }
    }

    fn pass_over(&mut self, writer: EntityId, end: u64) {
        if let Some(proxy) = self.writers.get_mut(&writer) {
            proxy.pass_over(end);
        }
    }

    pub(super) fn drain_held(&mut self, now: Mono, wall: Timestamp, writer: EntityId) {
        while let Some(frame) = self.writers.get_mut(&writer).and_then(WriterProxy::take_held) {
            if !self.accept(now, wall, &frame) {
                break;
            }
        }
    }

    /// Whether a writer's gaps are asked for rather than counted.
    pub(super) fn repairs(&self, writer: EntityId) -> bool {
        let (reliability, durability) = match self.writers.get(&writer) {
            Some(proxy) if self.relay => (proxy.offered.reliability, proxy.offered.durability),
            Some(_) => (self.requested.reliability, self.requested.durability),
            None => return false,
        };
        reliability == Reliability::Reliable || durability >= Durability::TransientLocal
    }

    /// Delivers the part of a frame that is next. `false` if the queue has no room: the frame must come again.
    fn accept(&mut self, now: Mono, wall: Timestamp, frame: &DataFrame) -> bool {
        let header = frame.header();
        let repairs = self.repairs(header.writer);
        let Some(topic) = self.writers.get(&header.writer).map(|proxy| proxy.topic.clone()) else {
            return true;
        };
        if !self.is_heard(&topic, header.writer) {
            self.pass_over(header.writer, header.end());
            return true;
        }
        let Some(proxy) = self.writers.get_mut(&header.writer) else { return true };
        // Frames of a writer that numbers them as it should not may overlap.
        if header.end() <= proxy.next {
            return true;
        }
        if !self.queue.has_room_for(&topic) {
            return self.overflow(header.writer, header.end(), repairs);
        }
        let mut samples = frame.samples();
        for _ in header.first..proxy.next {
            samples.skip_one();
        }
        proxy.next = header.end();
        let before = samples.remaining();
        if let Some(heard) = proxy.heard_before.take() {
            proxy.heard_before = heard.skip(&mut samples);
        }
        let taken = samples.remaining();
        if taken > 0 {
            proxy.unacknowledged += taken as u64;
            proxy.unacknowledged_bytes += FRAME_OVERHEAD + samples.remaining_bytes();
        }
        let (strength, history) = (proxy.offered.strength, proxy.offered.history);
        self.count_skipped(&topic, header.writer, (before - taken) as u64);
        if taken == 0 {
            return true;
        }
        self.note_heard(now, &topic, &samples);
        self.enqueue(Chunk { topic, strength, history, received: wall, content: Content::Frame(samples) });
        true
    }
}
