//! One writer as a state machine: numbering, history, matched readers, heartbeats, repairs.

mod connections;
mod leaving;
pub(super) mod one_piece;
mod open;
mod overflow;
mod refused;
mod stand_in;
mod tally;
#[cfg(test)]
mod tests_of_crowds;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::connection::Connection;
use super::control::{AckNack, Heartbeat, Later, Message, Replay};
use super::events::{Departure, MatchEvent};
use super::history::HistoryCache;
use super::peers::{MAX_PEERS, Peer, Peers};
use super::publisher_stats::PublisherStats;
use crate::error::Result;
use crate::message::{Encoding, EntityId};
use crate::qos::{self, Durability, History, Offered, Overflow, Reliability};
use crate::quiet::afterwards;
use crate::time::{Mono, Timestamp, earliest};
use crate::topic::Topic;
use crate::transport::Locator;
use crate::wire::{DataFrame, FrameBuilder, FramePool, Sealed};
use leaving::{Goodbye, Leaving};
use open::Leave;
pub(super) use open::{Appended, OpenBatch};
use overflow::{HoldUp, Pace};
pub(super) use overflow::{Lack, Room};
use refused::{GivenUp, Plea};
use stand_in::{Awaited, Questions};
use tally::{Share, Tally};

/// A writer announces itself at least this often.
pub(super) const HEARTBEAT_PERIOD: Duration = Duration::from_secs(1);
/// And at most this often.
const SHORTEST_PERIOD: Duration = Duration::from_millis(5);
/// After the last sample of a burst, the first heartbeat that asks for acknowledgement.
const FIRST_HEARTBEAT: Duration = Duration::from_millis(20);
/// A reader that answered no heartbeat for this long counts as gone.
pub(super) const PEER_TIMEOUT: Duration = Duration::from_secs(10);
/// The most that one request for repair is answered with; the reader asks again for the rest.
const MAX_REPAIR_FRAMES: usize = 1024;
const MAX_REPAIR_BYTES: usize = 4 << 20;

/// A batch of so many bytes costs little more to send than one that is full.
pub(super) const GROWN: usize = 96 << 10;

/// What the shell is to do.
#[derive(Debug)]
pub(super) enum WriterAction {
    /// Send on the writer's topic.
    Announce(Message),
    /// Send to one reader's session.
    Tell { to: Locator, message: Message },
    /// Send a frame again, to one reader's session.
    Repair { to: Locator, frame: DataFrame },
    /// A frame of this size does not get through: tell the user.
    GiveUp { size: usize },
    /// Tell the user.
    Event(MatchEvent),
}

/// The fixed part of a writer.
#[derive(Debug, Clone)]
pub(super) struct WriterConfig {
    pub(super) id: EntityId,
    pub(super) epoch: u32,
    pub(super) topic: Topic,
    pub(super) offered: Offered,
    pub(super) encoding: Encoding,
    /// Where this session takes answers.
    pub(super) locator: Locator,
    /// The largest payload in bytes.
    pub(super) max_payload: usize,
    /// The frame size in bytes at which an open batch is full.
    pub(super) batch_bytes: usize,
    /// The number of samples at which it is full.
    pub(super) batch_samples: usize,
    /// Messages pass through a broker, which may take them and not pass them on.
    pub(super) brokered: bool,
    /// What the transport wants in front of each frame.
    pub(super) lead: Bytes,
    /// Where the memory of frames comes from.
    pub(super) pool: FramePool,
}

#[derive(Debug)]
pub(super) struct WriterCore {
    config: WriterConfig,
    open: Arc<OpenBatch>,
    history: HistoryCache,
    /// The number of the next sample that will be sealed.
    sealed_next: u64,
    /// Everything sealed below was given to the shell to be sent; what is not waits in the history.
    passed: u64,
    readers: Peers<ReaderProxy>,
    /// All readers together: whatever changes of one is [counted](Self::count).
    tally: Tally,
    leaving: Leaving,
    actions: VecDeque<WriterAction>,
    heartbeat_at: Mono,
    heartbeat_wait: Duration,
    /// When readers whose connection was lost are given up.
    give_up_at: Option<Mono>,
    /// For a stand-in: who is to be waited for though it has not been heard.
    awaited: Awaited,
    /// For a stand-in: what the writer had published when this one began.
    relayed_last: u64,
    /// For a stand-in: what its readers ask the writer.
    questions: Questions,
    hold_up: HoldUp,
    given_up: GivenUp,
    stats: PublisherStats,
}

#[derive(Debug)]
struct ReaderProxy {
    locator: Locator,
    compatible: bool,
    reliable: bool,
    /// How many subscribers it stands for: itself, or those behind a node's relay.
    subscribers: usize,
    relay: bool,
    next: u64,
    /// It said last that it has less than it had acknowledged.
    has_less: bool,
    since: Mono,
    last_heard: Mono,
    connection: Connection,
    goodbye: Option<Goodbye>,
    pace: Pace,
    plea: Plea,
    share: Share,
}

impl Peer for ReaderProxy {
    fn last_heard(&self) -> Mono {
        self.last_heard
    }

    fn since(&self) -> Mono {
        self.since
    }
}

impl WriterCore {
    pub(super) fn new(now: Mono, config: WriterConfig) -> Self {
        let heartbeat_wait = period(&config.offered);
        Self {
            open: Arc::new(OpenBatch::new(FrameBuilder::with_lead(
                config.encoding,
                config.id,
                config.epoch,
                1,
                config.lead.clone(),
                config.pool.clone(),
            ))),
            history: HistoryCache::default(),
            sealed_next: 1,
            passed: 1,
            readers: Peers::default(),
            tally: Tally::default(),
            leaving: Leaving::default(),
            actions: VecDeque::new(),
            heartbeat_at: now,
            heartbeat_wait,
            give_up_at: None,
            awaited: Awaited::default(),
            relayed_last: 0,
            questions: Questions::default(),
            hold_up: HoldUp::default(),
            given_up: GivenUp::default(),
            stats: PublisherStats::default(),
            config,
        }
    }

    #[inline]
    pub(super) fn config(&self) -> &WriterConfig {
        &self.config
    }

    /// Subscribers that match and have answered, those behind a relay included.
    pub(super) fn matched(&self) -> usize {
        self.tally.subscribers()
    }

    /// Whether every matched reliable reader has everything that was sealed.
    pub(super) fn all_acknowledged(&self) -> bool {
        self.acknowledged() >= self.sealed_next
    }

    /// Whether a reader matches that acknowledges what it has, and is waited for.
    pub(super) fn has_reliable_reader(&self) -> bool {
        self.tally.waits_at().is_some()
    }

    /// The open batch, to which publishers append as far as they have [leave](Self::give_leave).
    pub(super) fn open_batch(&self) -> &Arc<OpenBatch> {
        &self.open
    }

    /// Whether the open batch takes another sample.
    pub(super) fn batch_has_room(&self) -> bool {
        let (samples, bytes) = self.open.size();
        samples < self.config.batch_samples && bytes < self.config.batch_bytes
    }

    /// Whether the history takes another sample. Only keep-all makes a publisher wait: until readers acknowledge.
    pub(super) fn history_has_room(&self) -> bool {
        if !self.keeps_all() {
            return true;
        }
        let (samples, bytes) = self.open.size();
        let (most_samples, most_bytes) = self.room_of_history();
        (samples < most_samples && bytes < most_bytes)
            || (self.batch_is_within_limits(samples, bytes) && self.evictable())
    }

    /// Lets publishers append without asking, as long as the answer is known: there is room. Whoever calls this sees to it that what is
    /// appended is sent.
    pub(super) fn give_leave(&self, shares_time: bool) {
        let (samples, bytes) = self.room_of_history();
        let (samples, bytes) = (samples.min(self.config.batch_samples), bytes.min(self.config.batch_bytes));
        self.open.give(Leave { samples, bytes, shares_time });
    }

    /// Publishers have to ask, until they are given leave again.
    pub(super) fn take_leave(&self) {
        self.open.take_leave();
    }

    /// How many samples and bytes an open batch may hold for it to fit into the history; it takes another while it is below both.
    fn room_of_history(&self) -> (usize, usize) {
        if !self.keeps_all() {
            return (usize::MAX, usize::MAX);
        }
        let limits = &self.config.offered.resource_limits;
        let samples = limits.max_samples.saturating_sub(self.history.samples());
        (samples, limits.max_bytes.saturating_sub(self.history.bytes()))
    }

    /// Whether the open batch alone leaves room in the history. Where the oldest gives way it may pass the bound: frames are
    /// dropped whole, so that it would be dropped whole.
    fn batch_is_within_limits(&self, samples: usize, bytes: usize) -> bool {
        if self.config.offered.overflow == Overflow::DropOldest {
            return true;
        }
        let limits = &self.config.offered.resource_limits;
        samples < limits.max_samples && bytes < limits.max_bytes
    }

    /// The time for a sample: exact, or shared with its neighbours.
    pub(super) fn stamp(&self, shared: bool) -> Timestamp {
        self.open.stamp(shared)
    }

    /// The next sample's time is read from the clock.
    pub(super) fn forget_time(&self) {
        self.open.forget_time();
    }

    /// Appends a sample to the open batch.
    ///
    /// # Errors
    /// `write`'s, or [`ErrorKind::PayloadTooLarge`], also if the sample only fits into a frame of its own; nothing was
    /// appended.
    pub(super) fn push(
        &mut self,
        wall: Timestamp,
        source: Timestamp,
        write: impl FnOnce(&mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        self.open.push(wall, source, self.config.max_payload, write)
    }

    /// Closes the open batch and remembers it; the caller sends it.
    pub(super) fn seal(&mut self, now: Mono) -> Option<Sealed> {
        let sealed = self.open.seal()?;
        self.passed = sealed.frame.header().end();
        self.remember(now, sealed.frame.clone(), sealed.newest);
        Some(sealed)
    }

    /// Whether the open batch is worth a frame even while more samples are coming.
    pub(super) fn batch_has_grown(&self) -> bool {
        self.open.size().1 >= GROWN || !self.batch_has_room()
    }

    /// Whether the open batch holds nothing.
    pub(super) fn batch_is_empty(&self) -> bool {
        self.open.size() == (0, 0)
    }

    /// Announces itself at once.
    pub(super) fn announce(&mut self, now: Mono) {
        self.actions.push_back(WriterAction::Announce(Message::Heartbeat(self.heartbeat())));
        self.heartbeat_at = now + self.heartbeat_wait;
    }

    /// Says goodbye.
    pub(super) fn leave(&mut self) {
        let WriterConfig { id: writer, epoch, .. } = self.config;
        let bye = Message::WriterBye { writer, epoch, last: self.sealed_next - 1 };
        self.actions.push_back(WriterAction::Announce(bye));
    }

    pub(super) fn on_acknack(&mut self, now: Mono, from: &Locator, acknack: AckNack) {
        if acknack.epoch != self.config.epoch {
            return self.tell_heartbeat(from);
        }
        if !self.readers.contains_key(&acknack.reader) {
            self.introduce(now, from, &acknack);
        }
        let stands_in = self.stands_in();
        let Some(reader) = self.readers.get_mut(&acknack.reader) else { return };
        reader.last_heard = now;
        let moved = reader.locator != *from;
        reader.locator = from.clone();
        // Nobody has what was never published: that is no acknowledgement. A stand-in may be behind the writer.
        if stands_in || acknack.next <= self.sealed_next {
            reader.acknowledged(acknack.next.min(self.sealed_next));
        }
        self.heard(now, acknack.reader, moved);
        self.caught_up(acknack.reader);
        let Some(reader) = self.readers.get_mut(&acknack.reader) else { return };
        reader.subscribers = subscribers(&acknack, reader.counts());
        let compatible = reader.compatible;
        self.count(acknack.reader);
        if !compatible {
            return;
        }
        if let Some(after) = acknack.replay_after {
            self.on_question(from, acknack.reader, after);
        }
        let missing = self.obtainable(now, from, &acknack);
        self.repair(from, &missing);
        self.evict();
        self.settle_hold_up(now);
    }

    /// This session stood still for so long. A reader speaks when it hears a heartbeat, and heard none:
    /// its silence does not count.
    pub(super) fn stood_still(&mut self, now: Mono, stood: Duration) {
        for proxy in self.readers.values_mut() {
            proxy.last_heard = (proxy.last_heard + stood).min(now);
        }
    }

    pub(super) fn on_timeout(&mut self, now: Mono) {
        self.give_up_lost(now);
        self.let_leave(now);
        self.expire_awaited(now);
        let silent = |proxy: &ReaderProxy| now - proxy.last_heard > PEER_TIMEOUT;
        let gone: Vec<_> =
            self.readers.iter().filter(|(_, proxy)| silent(proxy)).map(|(id, _)| *id).collect();
        gone.into_iter().for_each(|reader| self.drop_reader(reader, Departure::LeaseExpired));
        self.drop_superseded(now);
        self.look_for_slow_readers(now);
        if now >= self.heartbeat_at {
            // While something is unacknowledged the waits double from FIRST_HEARTBEAT up to the period.
            let slowest = period(&self.config.offered);
            self.heartbeat_wait =
                if self.all_acknowledged() { slowest } else { (self.heartbeat_wait * 2).min(slowest) };
            self.announce(now);
        }
    }

    /// When [`on_timeout`](Self::on_timeout) is due.
    pub(super) fn poll_timeout(&self) -> Mono {
        let lost = earliest(self.give_up_at, self.leaving.due());
        earliest(lost, Some(self.heartbeat_at)).unwrap_or(self.heartbeat_at)
    }

    pub(super) fn poll_action(&mut self) -> Option<WriterAction> {
        self.actions.pop_front()
    }

    /// Whether it passes on what another writer publishes.
    fn stands_in(&self) -> bool {
        self.config.batch_samples == 0
    }

    fn keeps_all(&self) -> bool {
        self.config.offered.history == History::KeepAll && self.keeps_history()
    }

    fn keeps_history(&self) -> bool {
        self.config.offered.reliability == Reliability::Reliable || self.is_transient_local()
    }

    fn is_transient_local(&self) -> bool {
        self.config.offered.durability >= Durability::TransientLocal
    }

    fn remember(&mut self, now: Mono, frame: DataFrame, newest: Timestamp) {
        self.sealed_next = frame.header().end();
        if !self.keeps_history() {
            return;
        }
        self.history.push(frame, newest);
        self.evict();
        // One timer for a whole burst: it is set when the first sample of it is sent, not by each.
        if self.heartbeat_at > now + FIRST_HEARTBEAT && !self.all_acknowledged() {
            self.announce_soon(now);
        }
    }

    /// The number below which every matched reliable reader has everything.
    fn acknowledged(&self) -> u64 {
        let heard = self.tally.waits_at().unwrap_or(self.sealed_next);
        self.awaited.floor().map_or(heard, |floor| heard.min(floor))
    }

    /// Whether evicting would make room: the oldest frame is acknowledged by all.
    fn evictable(&self) -> bool {
        self.history.range(0, u64::MAX).next().is_none_or(|front| front.header().end() <= self.acknowledged())
    }

    fn evict(&mut self) {
        let acknowledged = self.acknowledged().min(self.passed);
        let (passed, mut unsent) = (self.passed, 0);
        let limits = self.config.offered.resource_limits;
        let keep_for_joiners = self.is_transient_local();
        let history = self.config.offered.history;
        self.history.evict_while(|oldest, samples, bytes| match history {
            History::KeepAll => {
                let full = samples > limits.max_samples || bytes > limits.max_bytes;
                oldest.header().end() <= acknowledged && (full || !keep_for_joiners)
            }
            History::KeepLast(depth) => {
                let header = oldest.header();
                let rest = (samples - usize::from(header.count)) as u64;
                let gives_way = rest >= u64::from(depth)
                    || (!keep_for_joiners && header.end() <= acknowledged)
                    || (rest > 0 && bytes > limits.max_bytes);
                unsent += if gives_way && header.end() > passed { u64::from(header.count) } else { 0 };
                gives_way
            }
        });
        self.count_dropped(Lack::Link, unsent);
    }

    fn heartbeat(&self) -> Heartbeat {
        let config = &self.config;
        let first = self.first_to_tell();
        Heartbeat {
            writer: config.id,
            epoch: config.epoch,
            locator: config.locator.clone(),
            offered: config.offered.clone(),
            encoding: config.encoding,
            first,
            overflow: Later(Some(config.offered.overflow).filter(|overflow| *overflow != Overflow::Wait)),
            // What waits to be sent is not missing yet.
            last: (self.passed.max(first) - 1).max(self.relayed_last),
        }
    }

    fn introduce(&mut self, now: Mono, from: &Locator, acknack: &AckNack) {
        if let Some(displaced) = self.readers.gives_way(now) {
            afterwards(move || {
                metrics::counter!("ringbus_peers_displaced_total", "table" => "readers").increment(1);
            });
            if self.readers.is_full_unsaid(now) {
                let event = MatchEvent::Crowded { topic: self.config.topic.clone(), limit: MAX_PEERS };
                self.actions.push_back(WriterAction::Event(event));
            }
            self.drop_reader(displaced, Departure::Displaced);
        }
        let verdict = qos::check(&self.config.offered, &acknack.requested);
        let (topic, peer) = (self.config.topic.clone(), acknack.reader);
        let offered = self.config.encoding;
        let other_encoding = acknack.encoding.0.filter(|requested| !requested.accepts(offered));
        let proxy = ReaderProxy {
            locator: from.clone(),
            compatible: verdict.is_ok() && other_encoding.is_none(),
            reliable: acknack.requested.reliability == Reliability::Reliable,
            subscribers: 0,
            relay: acknack.stands_for.is_some(),
            next: acknack.next.min(self.sealed_next),
            has_less: false,
            since: now,
            last_heard: now,
            connection: Connection::default(),
            goodbye: None,
            pace: Pace::default(),
            plea: Plea::default(),
            share: Share::default(),
        };
        self.readers.insert(acknack.reader, proxy);
        self.awaited.heard(acknack.reader);
        // Of subscribers behind a relay the registry tells.
        if acknack.stands_for.is_none() {
            self.actions.push_back(WriterAction::Event(match (verdict, other_encoding) {
                (Err(mismatch), _) => MatchEvent::Mismatched { topic, peer, mismatch },
                (Ok(()), Some(requested)) => MatchEvent::EncodingMismatch { topic, peer, offered, requested },
                (Ok(()), None) => MatchEvent::Matched { topic, peer },
            }));
        }
    }

    fn drop_reader(&mut self, reader: EntityId, cause: Departure) {
        let was_told = self.forget_goodbye(reader);
        if let Some(proxy) = self.readers.remove(&reader) {
            self.tally.remove(&proxy.share);
            self.questions.forget(reader);
            // One that was lost, or let go, was told of then.
            let is_news = proxy.is_told_of() && proxy.counts() && !was_told;
            self.tell_departed(reader, cause, is_news);
            self.evict();
        }
    }

    fn tell_departed(&mut self, peer: EntityId, cause: Departure, is_told: bool) {
        if is_told {
            let topic = self.config.topic.clone();
            self.actions.push_back(WriterAction::Event(MatchEvent::Departed { topic, peer, cause }));
        }
    }

    fn tell_heartbeat(&mut self, to: &Locator) {
        let message = Message::Heartbeat(self.heartbeat());
        self.actions.push_back(WriterAction::Tell { to: to.clone(), message });
    }

    /// `told` is what a stand-in was told to be the writer's last sample.
    fn tell_replay(&mut self, to: &Locator, reader: EntityId, after: Timestamp, told: u64) {
        let floor = self.history.first(self.config.offered.history).unwrap_or(self.sealed_next);
        let first = self.history.first_after(after).unwrap_or(self.sealed_next).max(floor);
        let WriterConfig { id: writer, epoch, .. } = self.config;
        let replay = Replay { reader, writer, epoch, after, first, last: told.max(self.sealed_next - 1) };
        self.actions.push_back(WriterAction::Tell { to: to.clone(), message: Message::Replay(replay) });
    }

    fn repair(&mut self, to: &Locator, missing: &[(u64, u64)]) {
        let (mut frames, mut bytes) = (0, 0);
        let oldest = self.history.first(self.config.offered.history).unwrap_or(self.sealed_next);
        let never_published = |last: u64| last >= self.sealed_next && !self.stands_in();
        if missing.iter().any(|(from, last)| *from < oldest || never_published(*last)) {
            // It asks for what is no longer kept, or does not exist: the heartbeat says where the history begins and ends.
            self.tell_heartbeat(to);
        }
        let asked = missing.iter().flat_map(|(from, last)| self.history.range(*from, *last));
        let mut cut_short = false;
        for frame in asked {
            cut_short = frames >= MAX_REPAIR_FRAMES || bytes >= MAX_REPAIR_BYTES;
            if cut_short {
                break;
            }
            (frames, bytes) = (frames + 1, bytes + frame.bytes().len());
            self.stats.repaired += u64::from(frame.header().count);
            self.actions.push_back(WriterAction::Repair { to: to.clone(), frame: frame.clone() });
        }
        if cut_short {
            // The heartbeat that follows the last frame invites the reader to ask on.
            self.tell_heartbeat(to);
        }
    }
}

impl ReaderProxy {
    /// Whether the user is told when it comes and goes. Of subscribers behind a relay the registry tells.
    fn is_told_of(&self) -> bool {
        self.compatible && !self.relay
    }

    /// It says that it has everything below `next`. If it says twice in a row that it has less than it had acknowledged,
    /// then that was not its word, or was about what it had passed over; a single one may have been overtaken.
    fn acknowledged(&mut self, next: u64) {
        let less = next < self.next;
        if !less || self.has_less {
            self.next = next;
        }
        self.has_less = less;
    }
}

/// How many subscribers an acknowledgement speaks for.
fn subscribers(acknack: &AckNack, compatible: bool) -> usize {
    if compatible { acknack.stands_for.unwrap_or(1) as usize } else { 0 }
}

/// How often a writer announces itself: three times within its lease, so that one loss is no departure. A relay takes over
/// what a stranger offers: a lease of nothing must not keep the driver busy.
fn period(offered: &Offered) -> Duration {
    let third = |lease: Duration| (lease / 3).clamp(SHORTEST_PERIOD, HEARTBEAT_PERIOD);
    offered.liveliness.lease.finite().map_or(HEARTBEAT_PERIOD, third)
}
