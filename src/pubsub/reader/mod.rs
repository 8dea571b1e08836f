//! One reader as a state machine: matching, order, gaps, exclusive ownership, leases.

mod arbitration;
mod connections;
mod delivery;
mod doubt;
mod heard;
mod matching;
mod overflow;
mod relay;
mod source_clock;
#[cfg(test)]
mod tests_of_crowds;
#[cfg(test)]
mod tests_of_doubt;
#[cfg(test)]
mod tests_of_takeover;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use ahash::HashMap;

use super::control::{AckNack, Heartbeat, Later, MAX_SEQUENCE, Message};
use super::events::{Departure, MatchEvent};
use super::peers::{MAX_PEERS, Peers};
use super::proxy::{Departed, WriterProxy};
use super::queue::{Chunk, Content, ReaderQueue};
use super::writer::PEER_TIMEOUT;
use crate::message::{Encoding, EntityId};
use crate::qos::{History, Offered, Ownership, Requested};
use crate::quiet::afterwards;
use crate::time::{Mono, Timestamp, earliest};
use crate::topic::Topic;
use crate::transport::Locator;
use crate::wire::DataFrame;
use arbitration::Instance;
pub(super) use heard::{HeardBefore, Times};
pub(super) use relay::Behind;
pub(super) use source_clock::SourceClock;

/// The most topics of which is known who is heard. Those without a live writer are forgotten first.
const MAX_INSTANCES: usize = MAX_PEERS;
/// After so many samples, or bytes, a reader acknowledges without being asked; after a quarter of what the writer may keep, if
/// that is less. What is acknowledged soon is still in the processor's cache when its memory is used again.
const ACKNOWLEDGED_SAMPLES: usize = 16_384;
const ACKNOWLEDGED_BYTES: usize = 512 << 10;
/// What the shell is to do.
#[derive(Debug)]
pub(super) enum ReaderAction {
    /// Send to a writer's session. What is not `reliable` may be lost: the writer asks if it matters.
    Tell { to: Locator, message: Message, reliable: bool },
    /// Tell the user.
    Event(MatchEvent),
}

/// Counts of one subscriber, since it was built.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriberStats {
    /// Samples put into the queue.
    pub received: u64,
    /// Samples that came more than once; the copies were dropped. Under exclusive ownership also those that a new owner
    /// had published before it was chosen and that may have been heard from its predecessor, but whose source times, by
    /// clocks that disagree, do not say so for sure: they are delivered.
    pub duplicates: u64,
    /// Samples that never came and could not be had again.
    pub lost: u64,
    /// Samples that a new owner had published after its predecessor was heard last and before it was chosen itself, and
    /// that were not delivered: by their source times they were heard from the predecessor, or they are no longer kept.
    pub skipped: u64,
    /// Unread samples that newer ones replaced, by the keep-last depth.
    pub replaced: u64,
    /// Samples that found the queue at its resource limits and were dropped: those of best-effort writers, and with an
    /// [`Overflow`](crate::qos::Overflow) of drop-newest or disconnect all.
    pub queue_full: u64,
    /// Unread samples that gave way to newer ones at the queue's resource limits.
    pub gave_way: u64,
    /// Samples of writers that are not matched (not yet, or not any more).
    pub unmatched: u64,
    /// Messages that were neither a frame nor expected to be plain.
    pub undecodable: u64,
}

#[derive(Debug)]
pub(super) struct ReaderCore {
    id: EntityId,
    /// Whether it hears writers through a relay.
    via_node: bool,
    /// A relay's own reader takes every writer as it is: it requests what is offered.
    relay: bool,
    requested: Requested,
    /// The encoding that the subscriber expects. A relay takes all.
    encoding: Encoding,
    writers: Peers<WriterProxy>,
    /// How many of them match and are there.
    matched: usize,
    instances: HashMap<Topic, Instance>,
    departed: HashMap<EntityId, Departed>,
    /// What all proxies hold back behind gaps, in bytes.
    held_bytes: Arc<AtomicUsize>,
    pub(super) queue: ReaderQueue,
    pub(super) stats: SubscriberStats,
    actions: VecDeque<ReaderAction>,
    /// No timer is due before this.
    deadline: Option<Mono>,
    /// At most so many writers found the queue full since it last had much room.
    blocked: usize,
    /// Set when it has left its writers because its queue was full: how many samples it dropped then.
    too_slow: Option<u64>,
}

impl ReaderCore {
    pub(super) fn new(id: EntityId, via_node: bool, requested: Requested) -> Self {
        Self {
            id,
            via_node,
            relay: false,
            queue: ReaderQueue::new(requested.history, requested.resource_limits, requested.overflow),
            requested,
            encoding: Encoding::Any,
            writers: Peers::default(),
            matched: 0,
            instances: HashMap::default(),
            departed: HashMap::default(),
            held_bytes: Arc::default(),
            stats: SubscriberStats::default(),
            actions: VecDeque::new(),
            deadline: None,
            blocked: 0,
            too_slow: None,
        }
    }

    /// Matches writers of this encoding only.
    pub(super) fn expecting(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// What is known of a writer.
    pub(super) fn writer(&self, writer: EntityId) -> Option<&WriterProxy> {
        self.writers.get(&writer)
    }

    /// Writers that match.
    pub(super) fn matched(&self) -> usize {
        self.matched
    }

    /// Whether this reader knows the writer.
    pub(super) fn knows(&self, writer: EntityId) -> bool {
        self.writers.contains_key(&writer)
    }

    /// Takes an announcement: heard on `topic`, or sent to this session alone, at the end of a repair.
    pub(super) fn on_heartbeat(
        &mut self,
        now: Mono,
        wall: Timestamp,
        topic: Option<&Topic>,
        heartbeat: &Heartbeat,
    ) {
        if self.is_too_slow() {
            return;
        }
        let id = heartbeat.writer;
        let moved = self.writers.get(&id).is_some_and(|proxy| proxy.locator != heartbeat.locator);
        match self.writers.get_mut(&id) {
            None => match topic {
                Some(topic) => self.introduce(now, topic, heartbeat),
                None => return,
            },
            Some(proxy) if heartbeat.epoch < proxy.epoch => return self.doubt_epoch(now, topic, heartbeat),
            Some(proxy) if heartbeat.epoch > proxy.epoch => {
                // A new incarnation numbers from 1 again.
                let topic = proxy.topic.clone();
                self.remove_writer(now, id, Departure::Left);
                self.introduce(now, &topic, heartbeat);
            }
            // Another reader's business: the same writer through a node, or past it.
            Some(proxy) if topic.is_none() && proxy.locator != heartbeat.locator => return,
            Some(_) => {
                self.doubt(now, heartbeat);
                let Some(proxy) = self.writers.get_mut(&id) else { return };
                proxy.last_heard = now;
                proxy.locator = heartbeat.locator.clone();
                let beat = self.instances.get(&proxy.topic).map_or(0, Instance::beat);
                proxy.advance(heartbeat.last, beat);
                proxy.offered = heartbeat.offered.clone();
                if proxy.other_encoding {
                    proxy.next = proxy.next.max(proxy.last + 1);
                }
                if topic.is_none() {
                    proxy.repair_ended(now);
                }
                // One whose samples the queue refuses has not lost them yet: it asks when there is room.
                if !proxy.blocked {
                    self.give_up_before(now, wall, id, heartbeat.first);
                }
                self.heard(now, id, moved);
            }
        }
        self.welcome(now, id, heartbeat);
    }

    /// What is believed of a writer is up to date: acts on it, and answers.
    fn welcome(&mut self, now: Mono, writer: EntityId, heartbeat: &Heartbeat) {
        if heartbeat.last > 0 {
            self.stand(now, writer);
        }
        self.follow(now, writer);
        self.acknowledge(now, writer, true);
    }

    pub(super) fn on_bye(&mut self, now: Mono, wall: Timestamp, writer: EntityId, epoch: u32, last: u64) {
        let Some(proxy) = self.writers.get_mut(&writer) else { return };
        if proxy.epoch != epoch {
            return;
        }
        proxy.last = proxy.last.max(last);
        let end = proxy.last + 1;
        if self.requested.ownership == Ownership::Shared {
            // Nothing is repaired any more: what is held back behind a gap is delivered now or never.
            self.give_up_before(now, wall, writer, end);
        }
        self.remove_writer(now, writer, Departure::Left);
    }

    /// Takes a frame; `wall` is when it came.
    pub(super) fn on_data(&mut self, now: Mono, wall: Timestamp, frame: &DataFrame) {
        if self.is_too_slow() {
            return;
        }
        let header = *frame.header();
        let Some(proxy) = self.writers.get_mut(&header.writer) else {
            self.stats.unmatched += u64::from(header.count);
            return;
        };
        if !proxy.compatible || proxy.epoch != header.epoch || header.end() > MAX_SEQUENCE {
            return;
        }
        proxy.last_heard = now;
        proxy.seen_end = proxy.seen_end.max(header.end());
        if self.requested.ownership == Ownership::Exclusive {
            self.on_published(now, frame);
        } else {
            proxy.last = proxy.last.max(header.end() - 1);
        }
        self.heard(now, header.writer, false);
        self.sequence(now, wall, frame);
        self.follow(now, header.writer);
        self.acknowledge_if_due(now, header.writer);
    }

    /// Takes a message of a program that does not use this library.
    pub(super) fn on_plain(&mut self, wall: Timestamp, topic: &Topic, payload: bytes::Bytes, retained: bool) {
        if self.is_too_slow() {
            return;
        }
        if !self.queue.has_room_for(topic) {
            return self.drop_newest(1);
        }
        self.enqueue(Chunk {
            topic: topic.clone(),
            strength: 0,
            history: History::default(),
            received: wall,
            content: Content::Plain { payload: Some(payload), retained },
        });
    }

    /// This session stood still for so long. What a writer has said meanwhile may have found no room on its way: the lease of
    /// its silence goes on from where it was.
    pub(super) fn stood_still(&mut self, now: Mono, stood: Duration) {
        for proxy in self.writers.values_mut() {
            proxy.last_heard = (proxy.last_heard + stood).min(now);
        }
    }

    pub(super) fn on_timeout(&mut self, now: Mono) {
        self.deadline = None;
        self.give_up_lost(now);
        let expired = |proxy: &WriterProxy| now > proxy.lease_end(PEER_TIMEOUT);
        let gone: Vec<_> =
            self.writers.iter().filter(|(_, proxy)| expired(proxy)).map(|(id, _)| *id).collect();
        for writer in gone {
            self.remove_writer(now, writer, Departure::LeaseExpired);
        }
        let due = |proxy: &WriterProxy| proxy.nack_at().is_some_and(|at| at <= now);
        let due: Vec<_> = self.writers.iter().filter(|(_, proxy)| due(proxy)).map(|(id, _)| *id).collect();
        for writer in due {
            self.acknowledge(now, writer, true);
        }
        for proxy in self.writers.values() {
            self.deadline = earliest(self.deadline, due_of(proxy));
        }
    }

    /// When [`on_timeout`](Self::on_timeout) is due.
    pub(super) fn poll_timeout(&self) -> Option<Mono> {
        self.deadline
    }

    pub(super) fn poll_action(&mut self) -> Option<ReaderAction> {
        self.actions.pop_front()
    }

    /// The user has taken samples: writers that found the queue full are asked again. Says whether there are any.
    pub(super) fn on_room(&mut self, now: impl FnOnce() -> Mono) -> bool {
        if self.blocked == 0 || !self.queue.has_much_room() {
            return false;
        }
        self.blocked = 0;
        let now = now();
        let blocked: Vec<_> =
            self.writers.iter().filter(|(_, proxy)| proxy.blocked).map(|(id, _)| *id).collect();
        for writer in blocked {
            if let Some(proxy) = self.writers.get_mut(&writer) {
                proxy.blocked = false;
                // What was refused will not come by itself: waiting for the timer would be waiting for nothing.
                proxy.nack_now(now);
            }
            self.follow(now, writer);
            self.acknowledge(now, writer, true);
        }
        true
    }

    /// Says goodbye to every writer.
    pub(super) fn leave(&mut self) {
        self.matched = 0;
        for (writer, proxy) in self.writers.drain() {
            let message = Message::ReaderBye { reader: self.id, writer, via_node: self.via_node };
            self.actions.push_back(ReaderAction::Tell { to: proxy.locator.clone(), message, reliable: true });
        }
    }

    fn count_lost(&mut self, topic: &Topic, peer: EntityId, samples: u64) {
        self.stats.lost = self.stats.lost.saturating_add(samples);
        afterwards(move || metrics::counter!("ringbus_samples_lost_total").increment(samples));
        self.actions.push_back(ReaderAction::Event(MatchEvent::Lost { topic: topic.clone(), peer, samples }));
    }

    fn acknowledge_if_due(&mut self, now: Mono, writer: EntityId) {
        let repairs = self.repairs(writer);
        let Some(proxy) = self.writers.get(&writer) else { return };
        let limits = &proxy.offered.resource_limits;
        let samples = (limits.max_samples / 4).clamp(1, ACKNOWLEDGED_SAMPLES) as u64;
        let bytes = (limits.max_bytes / 4).clamp(1, ACKNOWLEDGED_BYTES);
        // A writer keeps nothing for a reader that asks for nothing again.
        let much = repairs
            && !self.relay
            && (proxy.unacknowledged >= samples || proxy.unacknowledged_bytes >= bytes);
        if much || proxy.nack_at().is_some_and(|at| at <= now) {
            self.acknowledge(now, writer, false);
        } else {
            self.arm(writer);
        }
    }

    /// Sends what this reader has and, where a request for repair is due, what it misses. If nobody has `asked`, and nothing
    /// is missing, the transport need not acknowledge it: the next one says it too.
    fn acknowledge(&mut self, now: Mono, writer: EntityId, asked: bool) {
        let Some(proxy) = self.writers.get_mut(&writer) else { return };
        let requested = requested_of(self.relay, &self.requested, &proxy.offered);
        let due = proxy.nack_at().is_some_and(|at| at <= now);
        let missing =
            if due && proxy.replaying.is_none() && !proxy.blocked { proxy.missing() } else { Vec::new() };
        let replay_after = proxy.replaying.as_ref().map(|takeover| takeover.after).or(proxy.question.take());
        let reliable = asked || due || replay_after.is_some() || proxy.behind.is_some();
        proxy.note_told(asked);
        let message = Message::AckNack(AckNack {
            reader: self.id,
            writer,
            epoch: proxy.epoch,
            via_node: self.via_node,
            requested,
            stands_for: proxy.behind.map(|behind| behind.subscribers),
            next: proxy.acknowledged(),
            missing,
            replay_after,
            encoding: Later(Some(self.encoding)),
        });
        (proxy.unacknowledged, proxy.unacknowledged_bytes) = (0, 0);
        if due {
            proxy.nacked(now);
        }
        self.actions.push_back(ReaderAction::Tell { to: proxy.locator.clone(), message, reliable });
        self.arm(writer);
    }

    /// Makes sure that `on_timeout` is called when this writer needs it.
    fn arm(&mut self, writer: EntityId) {
        if let Some(proxy) = self.writers.get(&writer) {
            self.deadline = earliest(self.deadline, due_of(proxy));
        }
    }
}

fn requested_of(relay: bool, requested: &Requested, offered: &Offered) -> Requested {
    if relay { relay::as_offered(requested, offered) } else { requested.clone() }
}

/// When something is to be done about a writer.
fn due_of(proxy: &WriterProxy) -> Option<Mono> {
    let lease_end = Some(just_after(proxy.lease_end(PEER_TIMEOUT)));
    earliest(earliest(proxy.nack_at(), proxy.connection.due()), lease_end)
}

fn just_after(at: Mono) -> Mono {
    at + Duration::from_millis(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Encoding, SessionId};
    use crate::wire::FrameBuilder;

    const WRITER: EntityId = EntityId { session: SessionId(1), entity: 1 };

    fn heartbeat(last: u64) -> Heartbeat {
        Heartbeat {
            writer: WRITER,
            epoch: 1,
            locator: Locator::new("memory:writer").unwrap(),
            offered: Offered::reliable().keep_all(),
            encoding: Encoding::Raw,
            first: 1,
            last,
            overflow: Later(None),
        }
    }

    /// The acknowledgements that are to go out: whether each is reliable.
    fn told(reader: &mut ReaderCore) -> Vec<bool> {
        std::iter::from_fn(|| reader.poll_action())
            .filter_map(|action| match action {
                ReaderAction::Tell { message: Message::AckNack(_), reliable, .. } => Some(reliable),
                _ => None,
            })
            .collect()
    }

    /// A reader, and what it has told when it has heard of a writer, when twice the bytes that are acknowledged unasked have
    /// come, when the writer asks, and when a sample is missing.
    fn acknowledged(requested: Requested) -> [Vec<bool>; 4] {
        let (now, wall) = (Mono::ZERO, Timestamp::from_secs(1));
        let mut reader = ReaderCore::new(EntityId { entity: 2, ..WRITER }, false, requested.keep_all());
        let topic = Topic::new("t").unwrap();
        reader.on_heartbeat(now, wall, Some(&topic), &heartbeat(0));
        let introduced = told(&mut reader);
        let mut frames = FrameBuilder::new(Encoding::Raw, WRITER, 1, 1);
        let mut frame = || {
            let payload = |out: &mut Vec<u8>| {
                out.resize(out.len() + ACKNOWLEDGED_BYTES / 4, 0);
                Ok(())
            };
            frames.push(wall, wall, usize::MAX, payload).unwrap();
            frames.take().unwrap()
        };
        for _ in 0..8 {
            reader.on_data(now, wall, &frame());
        }
        let unasked = told(&mut reader);
        reader.on_heartbeat(now, wall, Some(&topic), &heartbeat(8));
        let asked = told(&mut reader);
        let _lost = frame();
        reader.on_data(now, wall, &frame());
        reader.on_timeout(now + Duration::from_secs(1));
        [introduced, unasked, asked, told(&mut reader)]
    }

    #[test]
    fn what_nobody_asked_for_may_be_lost_and_requests_for_repair_may_not() {
        let [introduced, unasked, asked, missing] = acknowledged(Requested::reliable());
        assert_eq!((introduced, asked), (vec![true], vec![true]));
        assert_eq!(unasked, [false, false], "once for every 512 KiB");
        assert!(!missing.is_empty() && missing.iter().all(|reliable| *reliable), "{missing:?}");
    }

    /// A writer of an earlier version does not know why there is no match: it must not wait.
    #[test]
    fn what_cannot_be_read_is_acknowledged_and_dropped() {
        let (now, wall) = (Mono::ZERO, Timestamp::from_secs(1));
        let requested = Requested::reliable().transient_local();
        let mut reader =
            ReaderCore::new(EntityId { entity: 2, ..WRITER }, false, requested).expecting(Encoding::Json);
        let topic = Topic::new("t").unwrap();
        let mut beat = Heartbeat { offered: Offered::reliable().transient_local(), ..heartbeat(3) };
        let mut acknowledged = Vec::new();
        for last in [3, 8] {
            beat.last = last;
            reader.on_heartbeat(now, wall, Some(&topic), &beat);
            while let Some(action) = reader.poll_action() {
                match action {
                    ReaderAction::Tell { message: Message::AckNack(told), .. } => {
                        assert_eq!(told.encoding, Later(Some(Encoding::Json)));
                        acknowledged.push((told.next, told.missing));
                    }
                    ReaderAction::Event(event) => {
                        let (offered, requested) = (Encoding::Raw, Encoding::Json);
                        let (topic, peer) = (topic.clone(), WRITER);
                        let expected = MatchEvent::EncodingMismatch { topic, peer, offered, requested };
                        assert_eq!(event, expected);
                    }
                    ReaderAction::Tell { message, .. } => panic!("{message:?}"),
                }
            }
        }
        assert_eq!(acknowledged, [(4, vec![]), (9, vec![])]);
        let mut frames = FrameBuilder::new(Encoding::Raw, WRITER, 1, 9);
        let payload = |out: &mut Vec<u8>| {
            out.push(1);
            Ok(())
        };
        frames.push(wall, wall, usize::MAX, payload).unwrap();
        reader.on_data(now, wall, &frames.take().unwrap());
        assert_eq!((reader.matched(), reader.stats), (0, SubscriberStats::default()));
    }

    #[test]
    fn a_reader_that_has_nothing_repaired_only_answers() {
        let [introduced, unasked, asked, missing] = acknowledged(Requested::best_effort());
        assert_eq!((introduced, asked), (vec![true], vec![true]));
        assert_eq!((unasked, missing), (vec![], vec![]));
    }
}
