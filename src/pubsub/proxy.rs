//! What a reader knows of one writer: which samples it has, which it holds back, which it misses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::FRAME_OVERHEAD;
use super::connection::Connection;
use super::control::{Heartbeat, MAX_RANGES};
use super::peers::Peer;
use super::reader::{Behind, HeardBefore, SourceClock, Times};
use crate::message::Encoding;
use crate::qos::{Durability, History, Offered};
use crate::time::{Mono, Timestamp};
use crate::topic::Topic;
use crate::transport::Locator;
use crate::wire::DataFrame;

/// The first wait before a request for repair is repeated; it doubles up to [`SLOWEST_NACK`].
const FIRST_NACK: Duration = Duration::from_millis(40);
const SLOWEST_NACK: Duration = Duration::from_millis(640);
/// The most that is held back behind a gap, of one writer and of all writers of a reader; what does not fit is asked for
/// again.
const MAX_HELD_FRAMES: usize = 4096;
const MAX_HELD_BYTES: usize = 128 << 20;
/// Frames below this size are copied when they are held back: half of the largest buffer that a transport reads into.
const COPIED: usize = 64 << 10;

/// A stated lease is believed within these bounds: writers do not speak more often than every five milliseconds, and one
/// that states an endless lease and is gone must not be waited for without an end.
pub(super) const SHORTEST_LEASE: Duration = Duration::from_millis(15);
/// The other bound.
pub(super) const LONGEST_LEASE: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(super) struct WriterProxy {
    pub(super) topic: Topic,
    pub(super) locator: Locator,
    pub(super) epoch: u32,
    pub(super) offered: Offered,
    pub(super) encoding: Encoding,
    pub(super) compatible: bool,
    /// The subscriber cannot read its samples. What it publishes is acknowledged all the same: a writer of a version that
    /// does not know why there is no match must not wait for this reader.
    pub(super) other_encoding: bool,
    pub(super) last_heard: Mono,
    pub(super) connection: Connection,
    since: Mono,
    /// Where this reader began to follow.
    pub(super) began: u64,
    /// Everything below was delivered, or is not wanted.
    pub(super) next: u64,
    /// The newest sample that the writer is known to have published; 0 for none.
    pub(super) last: u64,
    /// The newest that it had published before it fell silent and came back, perhaps by way of another node.
    pub(super) last_before: u64,
    /// Frames behind a gap, by first sequence number.
    held: BTreeMap<u64, DataFrame>,
    /// Bytes held back by all proxies of the reader.
    held_bytes: Arc<AtomicUsize>,
    /// Bytes held back by this one.
    held_here: usize,
    /// A takeover waits for the writer to say where it begins.
    pub(super) replaying: Option<Replaying>,
    /// After a takeover: what of its next samples its predecessor has said already.
    pub(super) heard_before: Option<HeardBefore>,
    /// The newest sample that it was known to have published when the owner of the instance was heard last, as far as
    /// that was noted: at `beat` of the instance.
    covered: u64,
    beat: u64,
    /// Its source times against their arrival, under exclusive ownership.
    pub(super) clock: SourceClock,
    /// The strength with which it is a candidate for the instance.
    pub(super) standing: Option<i32>,
    /// Samples were passed over because another writer owns the instance.
    pub(super) passed_over: bool,
    /// The queue was full: the reader asks again when there is room.
    pub(super) blocked: bool,
    /// Samples taken since the last acknowledgement.
    pub(super) unacknowledged: u64,
    /// And their bytes.
    pub(super) unacknowledged_bytes: usize,
    /// For a relay's reader: the subscribers that get this writer's samples through the node.
    pub(super) behind: Option<Behind>,
    /// For a relay's reader: what a subscriber asks the writer, with the next acknowledgement.
    pub(super) question: Option<Timestamp>,
    /// The end of the newest frame that came from it; 0 for none.
    pub(super) seen_end: u64,
    /// What was given up last.
    pub(super) given_up: Option<GivenUp>,
    /// Its heartbeats contradict what is believed of it.
    pub(super) doubt: Option<Doubt>,
    /// The incarnation before this one, which may be alive after all.
    pub(super) former: Option<Departed>,
    nack_at: Option<Mono>,
    nack_wait: Duration,
    /// The inclusive range that was last asked for.
    asked_from: u64,
    asked_to: u64,
}

/// A takeover under way.
#[derive(Debug, Clone)]
pub(super) struct Replaying {
    /// Samples up to this source time were heard from another writer.
    pub(super) after: Timestamp,
    /// Of these, the ones that were heard lately begin with this source time.
    pub(super) lately: Option<Timestamp>,
    /// The newest sample that the reader knew of when it chose the writer.
    pub(super) border: u64,
    /// The newest sample that it was known to have published when its predecessor was heard last.
    pub(super) covered: u64,
    /// Its clock and its predecessor's disagree.
    pub(super) clocks_disagree: bool,
    /// Its times can be compared with its predecessor's as they are.
    pub(super) comparable: bool,
    /// Source times that were heard, unless they are a clock's.
    pub(super) times: Times,
}

/// Samples that were given up on the writer's word that it does not have them.
#[derive(Debug, Clone, Copy)]
pub(super) struct GivenUp {
    pub(super) from: u64,
    pub(super) to: u64,
    /// How many of them were counted as lost.
    pub(super) lost: u64,
}

/// Heartbeats say less than was believed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Doubt {
    pub(super) since: Mono,
    /// How many of them, one after the other.
    pub(super) heartbeats: u32,
    /// Where the reader would have begun by the first of them.
    pub(super) start: u64,
}

/// Where a writer that fell silent was left, in case that it comes back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Departed {
    pub(super) epoch: u32,
    pub(super) next: u64,
    /// The newest sample that it was known to have published.
    pub(super) last: u64,
    pub(super) passed_over: bool,
    pub(super) counted_lost: u64,
    /// Its source times against their arrival.
    pub(super) clock: SourceClock,
    pub(super) at: Mono,
}

impl WriterProxy {
    pub(super) fn new(
        now: Mono,
        topic: Topic,
        heartbeat: &Heartbeat,
        compatible: bool,
        next: u64,
        held_bytes: Arc<AtomicUsize>,
    ) -> Self {
        Self {
            topic,
            locator: heartbeat.locator.clone(),
            epoch: heartbeat.epoch,
            offered: heartbeat.offered.clone(),
            encoding: heartbeat.encoding,
            compatible,
            other_encoding: false,
            last_heard: now,
            connection: Connection::default(),
            since: now,
            began: next,
            next,
            last: heartbeat.last,
            last_before: 0,
            held: BTreeMap::new(),
            held_bytes,
            held_here: 0,
            replaying: None,
            heard_before: None,
            covered: heartbeat.last,
            beat: 0,
            clock: SourceClock::default(),
            standing: None,
            passed_over: false,
            blocked: false,
            unacknowledged: 0,
            unacknowledged_bytes: 0,
            behind: None,
            question: None,
            seen_end: 0,
            given_up: None,
            doubt: None,
            former: None,
            nack_at: None,
            nack_wait: FIRST_NACK,
            asked_from: 0,
            asked_to: 0,
        }
    }

    /// Whether the writer keeps a history for those who come later.
    pub(super) fn keeps_history(&self) -> bool {
        self.offered.durability >= Durability::TransientLocal
    }

    /// Until when its silence is believed.
    pub(super) fn lease_end(&self, default: Duration) -> Mono {
        let stated = self.offered.liveliness.lease.finite();
        let end =
            self.last_heard + stated.map_or(default, |lease| lease.clamp(SHORTEST_LEASE, LONGEST_LEASE));
        // One that the transport has lost is not remembered for minutes because it said so.
        self.connection.lost_at().map_or(end, |lost| end.min(lost + default))
    }

    /// The writer has published up to `last`; the owner of the instance was heard for the `beat`th time before.
    pub(super) fn advance(&mut self, last: u64, beat: u64) {
        if last > self.last {
            self.covered = self.covered_at(beat);
            (self.beat, self.last) = (beat, last);
        }
    }

    /// The newest sample that the writer was known to have published when the owner was heard for the `beat`th time, which
    /// is the last.
    pub(super) fn covered_at(&self, beat: u64) -> u64 {
        if self.beat == beat { self.covered } else { self.last }
    }

    /// The newest sample that the writer is known to have published, also in an earlier life.
    pub(super) fn known_last(&self) -> u64 {
        self.last.max(self.last_before)
    }

    /// Before its first sample: it is known since the owner was heard for the `beat`th time.
    pub(super) fn know_since(&mut self, beat: u64) {
        self.beat = beat;
    }

    /// Holds a frame back behind a gap, if there is room: all proxies together hold at most
    /// `max_bytes`. What a transport has read together with other messages is copied, so that the
    /// frame keeps no more memory than it is counted with.
    pub(super) fn hold(&mut self, frame: &DataFrame, max_bytes: usize) {
        let size = memory(frame);
        if self.held.len() < MAX_HELD_FRAMES
            && self.held_bytes.load(Ordering::Relaxed).saturating_add(size) <= MAX_HELD_BYTES.min(max_bytes)
        {
            let alone = if frame.bytes().len() < COPIED { frame.detached() } else { frame.clone() };
            let replaced = self.held.insert(frame.header().first, alone);
            self.note_held(size);
            self.note_released(replaced.as_ref().map_or(0, memory));
        }
    }

    /// The held frame that comes next, now that the gap before it is closed. Drops those that came meanwhile.
    pub(super) fn take_held(&mut self) -> Option<DataFrame> {
        while let Some(entry) = self.held.first_entry() {
            if *entry.key() > self.next {
                return None;
            }
            let frame = entry.remove();
            self.note_released(memory(&frame));
            if frame.header().end() > self.next {
                return Some(frame);
            }
        }
        None
    }

    /// Where the first held frame begins.
    pub(super) fn first_held(&self) -> Option<u64> {
        self.held.keys().next().copied()
    }

    /// Notes that everything below `to` was given up, of which `lost` samples count as lost.
    pub(super) fn give_up(&mut self, to: u64, lost: u64) {
        let from = self.next;
        self.given_up = Some(match self.given_up {
            Some(before) if before.to == from => GivenUp { to, lost: before.lost + lost, ..before },
            _ => GivenUp { from, to, lost },
        });
        self.next = to;
    }

    /// Where the reader goes on if the writer comes back, and how many samples it must not have counted as lost then.
    pub(super) fn resume(&self) -> (u64, u64) {
        let at_the_end = self.given_up.filter(|given_up| given_up.to == self.next);
        at_the_end.map_or((self.next, 0), |given_up| (given_up.from, given_up.lost))
    }

    /// The writer's heartbeats prove that it has published nothing beyond `last`. Goes back to where it was followed before
    /// it was believed to have; returns how many samples were wrongly counted as lost.
    pub(super) fn take_back(&mut self, last: u64) -> u64 {
        let end = last + 1;
        let beyond = self.held.split_off(&end);
        self.note_released(beyond.values().map(memory).sum());
        let mut lost = 0;
        if self.next > end {
            let given_up = self.given_up.take().filter(|given_up| given_up.to > end);
            lost = given_up.map_or(0, |given_up| given_up.lost);
            let start = self.doubt.map_or(end, |doubt| doubt.start);
            self.next = given_up.map_or(start, |given_up| given_up.from).clamp(1, end);
        }
        (self.last, self.covered, self.seen_end) = (last, self.covered.min(last), self.seen_end.min(end));
        self.last_before = self.last_before.min(last);
        if let Some(replaying) = &mut self.replaying {
            replaying.border = replaying.border.min(last);
        }
        (self.asked_from, self.asked_to, self.doubt) = (0, 0, None);
        self.settled();
        lost
    }

    fn forget_held(&mut self) {
        self.held.clear();
        self.note_released(self.held_here);
    }

    fn note_held(&mut self, bytes: usize) {
        self.held_here += bytes;
        self.held_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn note_released(&mut self, bytes: usize) {
        self.held_here -= bytes;
        self.held_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Passes over everything published so far: another writer is heard.
    pub(super) fn pass_over(&mut self, end: u64) {
        if end > self.next {
            self.next = end;
            self.passed_over = true;
        }
        self.forget_held();
        self.nack_at = None;
        self.blocked = false;
    }

    /// Whether a sample is known to be missing.
    pub(super) fn has_gap(&self) -> bool {
        self.next <= self.last
    }

    /// The inclusive ranges that are missing, oldest first, at most [`MAX_RANGES`].
    pub(super) fn missing(&self) -> Vec<(u64, u64)> {
        let mut ranges = Vec::new();
        let mut from = self.next;
        for frame in self.held.values() {
            let header = frame.header();
            if header.first > from {
                ranges.push((from, header.first - 1));
            }
            from = from.max(header.end());
            if ranges.len() == MAX_RANGES {
                return ranges;
            }
        }
        if from <= self.last {
            ranges.push((from, self.last));
        }
        ranges
    }

    /// Asks for repair at once.
    pub(super) fn nack_now(&mut self, now: Mono) {
        self.nack_at = Some(now);
        self.nack_wait = FIRST_NACK;
    }

    /// A gap was seen. The first time it is asked for at once; later the timer does it, unless what was asked for has
    /// arrived and more is missing.
    pub(super) fn gap_seen(&mut self, now: Mono) {
        if self.nack_at.is_none() || self.next > self.asked_to {
            self.nack_now(now);
        }
    }

    /// The writer has sent all that it sends at one request: if that was some but not all, ask on at once.
    pub(super) fn repair_ended(&mut self, now: Mono) {
        if self.nack_at.is_some() && self.next > self.asked_from {
            self.nack_now(now);
        }
    }

    /// A request for repair was sent: when to repeat it.
    pub(super) fn nacked(&mut self, now: Mono) {
        self.asked_from = self.next;
        self.asked_to = self.missing().last().map_or(self.last, |(_, to)| *to);
        self.nack_at = Some(now + self.nack_wait);
        self.nack_wait = (self.nack_wait * 2).min(SLOWEST_NACK);
    }

    /// Nothing is missing any more.
    pub(super) fn settled(&mut self) {
        self.nack_at = None;
        self.nack_wait = FIRST_NACK;
    }

    pub(super) fn nack_at(&self) -> Option<Mono> {
        self.nack_at
    }
}

impl Peer for WriterProxy {
    fn last_heard(&self) -> Mono {
        self.last_heard
    }

    fn since(&self) -> Mono {
        self.since
    }
}

impl Drop for WriterProxy {
    fn drop(&mut self) {
        self.forget_held();
    }
}

/// What a held frame counts for, in bytes.
fn memory(frame: &DataFrame) -> usize {
    FRAME_OVERHEAD + frame.bytes().len()
}

/// Where a reader that joins now begins: with the history if both sides want it, with the next sample otherwise.
pub(super) fn start(heartbeat: &Heartbeat, wants_history: bool, depth: History) -> u64 {
    let end = heartbeat.last.saturating_add(1);
    if wants_history && heartbeat.offered.durability >= Durability::TransientLocal {
        heartbeat.first.max(end.saturating_sub(depth.depth())).clamp(1, end)
    } else {
        end
    }
}
