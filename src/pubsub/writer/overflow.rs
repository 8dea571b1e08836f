//! What a writer does where there is no room: waits, drops, or lets the slow go; and whom it is held up by.

use std::time::Duration;

use bytes::Bytes;

use super::{ReaderProxy, WriterAction, WriterCore};
use crate::message::EntityId;
use crate::pubsub::events::{Departure, MatchEvent};
use crate::pubsub::publisher_stats::PublisherStats;
use crate::qos::{History, Overflow};
use crate::quiet::afterwards;
use crate::time::Mono;
use crate::wire::DataFrame;

/// A reader that holds the writer up is looked at once it has done so for this long.
const PATIENCE: Duration = Duration::from_secs(1);
/// A relay is let go after so many looks: it lets the slow one among its subscribers go by itself, at the
/// first.
const LOOKS_AT_RELAY: u32 = 3;

/// Where there is no room for a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pubsub) enum Lack {
    /// In the open batch, which waits for the link.
    Link,
    /// In the history, which waits for readers.
    History,
}

impl Lack {
    /// The label of the metric.
    fn cause(self) -> &'static str {
        match self {
            Self::Link => "link busy",
            Self::History => "history full",
        }
    }
}

/// Whether there is room after all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pubsub) enum Room {
    /// Older samples have given way.
    Made,
    /// The new sample must wait or be dropped.
    Lacking(Lack),
}

/// A time in which readers hold the writer up.
#[derive(Debug, Default)]
pub(super) struct HoldUp {
    since: Option<Mono>,
    /// When the readers were looked at last.
    looked: Mono,
    /// Whether a sample was refused since then.
    refused: bool,
}

/// What is known of a reader's pace.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// What it had acknowledged when it was looked at last.
    mark: u64,
    /// At so many looks in a row it had not got on.
    stuck: u32,
    /// The user was told that it holds the writer up.
    told: bool,
    /// It is not waited for until it has acknowledged everything below.
    let_go: Option<u64>,
}

impl Pace {
    pub(super) fn is_let_go(&self) -> bool {
        self.let_go.is_some()
    }
}

impl WriterCore {
    pub(in crate::pubsub) fn stats(&self) -> PublisherStats {
        PublisherStats { published: self.stats.published + self.open.published(), ..self.stats }
    }

    /// Makes room for a sample, as far as the policy allows.
    pub(in crate::pubsub) fn make_room(&mut self, now: Mono) -> Room {
        let drops_oldest = self.config.offered.overflow == Overflow::DropOldest;
        if !self.history_has_room() {
            if !drops_oldest {
                self.note_refused(now);
                return Room::Lacking(Lack::History);
            }
            self.give_up_oldest();
        }
        if self.batch_has_room() { Room::Made } else { self.put_off_batch(now) }
    }

    /// Whether a relayed frame is to be taken now. A stand-in keeps three quarters of what the writer keeps that it
    /// stands in for, so that of the two it is the one that is held up by a slow subscriber, and deals with it.
    pub(in crate::pubsub) fn makes_room_to_relay(&mut self, now: Mono) -> bool {
        let limits = &self.config.offered.resource_limits;
        let (samples, bytes) =
            (limits.max_samples - limits.max_samples / 4, limits.max_bytes - limits.max_bytes / 4);
        let held_up = self.keeps_all()
            && !self.is_transient_local()
            && (self.history.samples() >= samples || self.history.bytes() >= bytes)
            && !self.evictable();
        if !held_up && self.history_has_room() {
            return true;
        }
        if self.config.offered.overflow == Overflow::DropOldest {
            self.give_up_oldest();
            return true;
        }
        self.note_refused(now);
        false
    }

    /// The open batch must not grow although the link is busy. Drop-oldest lets it wait in the history, whose bounds
    /// then decide what is dropped; without a history it is dropped whole.
    pub(in crate::pubsub) fn put_off_batch(&mut self, now: Mono) -> Room {
        if self.config.offered.overflow != Overflow::DropOldest {
            return Room::Lacking(Lack::Link);
        }
        let Some(sealed) = self.open.seal() else { return Room::Made };
        if self.keeps_history() {
            self.remember(now, sealed.frame, sealed.newest);
        } else {
            let header = sealed.frame.header();
            (self.sealed_next, self.passed) = (header.end(), header.end());
            self.count_dropped(Lack::Link, u64::from(header.count));
        }
        Room::Made
    }

    /// The next frame to send: what was put off first, then the open batch, whose framed form is at hand.
    pub(in crate::pubsub) fn next_frame(&mut self, now: Mono) -> Option<(DataFrame, Option<Bytes>)> {
        if self.passed < self.sealed_next {
            match self.history.range(self.passed, u64::MAX).next().cloned() {
                Some(frame) => {
                    self.passed = frame.header().end();
                    return Some((frame, None));
                }
                // All that was put off has been given up.
                None => self.passed = self.sealed_next,
            }
        }
        self.seal(now).map(|sealed| (sealed.frame, Some(sealed.framed)))
    }

    /// Whether neither the open batch nor anything that was put off is left to send.
    pub(in crate::pubsub) fn has_nothing_to_send(&self) -> bool {
        self.batch_is_empty() && self.passed == self.sealed_next
    }

    /// The oldest sample that readers may still wait for: one that the history policy covers, or that is yet to be sent.
    pub(super) fn first_to_tell(&self) -> u64 {
        let covered = self.history.first(self.config.offered.history).unwrap_or(self.sealed_next);
        let kept = self.history.first(History::KeepAll).unwrap_or(self.sealed_next);
        covered.min(self.passed.max(kept))
    }

    /// Counts samples that were dropped on this side.
    pub(in crate::pubsub) fn count_dropped(&mut self, lack: Lack, samples: u64) {
        if samples == 0 {
            return;
        }
        match lack {
            Lack::Link => self.stats.link_busy += samples,
            Lack::History => self.stats.history_full += samples,
        }
        let cause = lack.cause();
        afterwards(move || {
            metrics::counter!("ringbus_samples_dropped_total", "cause" => cause).increment(samples);
        });
    }

    /// Counts a sample that does not pass through this writer's frames.
    pub(in crate::pubsub) fn count_published(&mut self) {
        self.stats.published += 1;
    }

    /// Counts a value that no frame can hold.
    pub(in crate::pubsub) fn count_oversize(&mut self) {
        self.stats.oversize += 1;
        afterwards(move || {
            metrics::counter!("ringbus_samples_dropped_total", "cause" => "oversize").increment(1);
        });
    }

    /// A reader that was let go comes back when it has caught up.
    pub(super) fn caught_up(&mut self, reader: EntityId) {
        let Some(proxy) = self.readers.get_mut(&reader) else { return };
        if proxy.pace.let_go.is_none_or(|until| proxy.next < until) {
            return;
        }
        proxy.pace.let_go = None;
        if !proxy.relay {
            let topic = self.config.topic.clone();
            self.actions.push_back(WriterAction::Event(MatchEvent::Matched { topic, peer: reader }));
        }
    }

    /// Readers acknowledged something, or have gone: the writer may be free again.
    pub(super) fn settle_hold_up(&mut self, now: Mono) {
        let limits = &self.config.offered.resource_limits;
        let free =
            self.history.samples() <= limits.max_samples / 2 && self.history.bytes() <= limits.max_bytes / 2;
        if let Some(since) = self.hold_up.since {
            self.stats.held_up += now - since;
            self.hold_up.since = if free { None } else { Some(now) };
        }
    }

    /// Looks at who holds the writer up: those that in [`PATIENCE`] did not acknowledge a quarter of the history. A pace
    /// that the link sets is not mistaken for it, unless the link is as slow as that.
    pub(super) fn look_for_slow_readers(&mut self, now: Mono) {
        self.settle_hold_up(now);
        let HoldUp { since: Some(_), looked, refused: true } = self.hold_up else { return };
        if now - looked < PATIENCE {
            return;
        }
        (self.hold_up.looked, self.hold_up.refused) = (now, false);
        let Some(front) = self.history.range(0, u64::MAX).next().map(|frame| frame.header().end()) else {
            return;
        };
        let quarter = (self.history.samples() as u64 / 4).max(1);
        let mut slow = Vec::new();
        for (id, proxy) in self.readers.iter_mut() {
            let stuck = proxy.next < front && proxy.next.saturating_sub(proxy.pace.mark) < quarter;
            proxy.pace.mark = proxy.next;
            proxy.pace.stuck = if stuck { proxy.pace.stuck + 1 } else { 0 };
            let looks = if proxy.relay { LOOKS_AT_RELAY } else { 1 };
            if proxy.pace.stuck >= looks && proxy.is_waited_for() {
                slow.push(*id);
            }
        }
        for reader in slow {
            self.on_slow(reader);
        }
        if self.config.offered.overflow == Overflow::Disconnect {
            self.awaited.give_up_before(front);
        }
        self.evict();
        self.settle_hold_up(now);
    }

    fn on_slow(&mut self, reader: EntityId) {
        let Some(proxy) = self.readers.get_mut(&reader) else { return };
        let behind = self.sealed_next.saturating_sub(proxy.next);
        let topic = self.config.topic.clone();
        let lets_go = self.config.offered.overflow == Overflow::Disconnect;
        if lets_go || !proxy.pace.told {
            let topic = topic.clone();
            afterwards(move || {
                tracing::warn!(%topic, %reader, behind, lets_go, "a subscriber holds its publisher up");
                let outcome = if lets_go { "let go" } else { "waited for" };
                metrics::counter!("ringbus_slow_subscribers_total", "outcome" => outcome).increment(1);
            });
        }
        if lets_go {
            proxy.pace.let_go = Some(self.sealed_next);
            proxy.subscribers = 0;
            self.stats.disconnected += 1;
            let cause = Departure::TooSlow;
            if !proxy.relay {
                self.actions.push_back(WriterAction::Event(MatchEvent::Departed {
                    topic,
                    peer: reader,
                    cause,
                }));
            }
            self.count(reader);
        } else if !std::mem::replace(&mut proxy.pace.told, true) {
            self.actions.push_back(WriterAction::Event(MatchEvent::Slow { topic, peer: reader, behind }));
        }
    }

    fn note_refused(&mut self, now: Mono) {
        self.hold_up.refused = true;
        if self.hold_up.since.is_some() {
            return;
        }
        (self.hold_up.since, self.hold_up.looked) = (Some(now), now);
        for (_, proxy) in self.readers.iter_mut() {
            (proxy.pace.mark, proxy.pace.stuck, proxy.pace.told) = (proxy.next, 0, false);
        }
    }

    fn give_up_oldest(&mut self) {
        let (acknowledged, passed) = (self.acknowledged(), self.passed);
        let limits = self.config.offered.resource_limits;
        let (open_samples, open_bytes) = self.open.size();
        let (mut unsent, mut unacknowledged) = (0, 0);
        self.history.evict_while(|oldest, samples, bytes| {
            let full = samples + open_samples >= limits.max_samples || bytes + open_bytes >= limits.max_bytes;
            if full {
                let header = oldest.header();
                if header.end() > passed {
                    unsent += u64::from(header.count);
                } else {
                    unacknowledged += header.end().saturating_sub(acknowledged.max(header.first));
                }
            }
            full
        });
        self.count_dropped(Lack::Link, unsent);
        self.count_dropped(Lack::History, unacknowledged);
    }
}

impl ReaderProxy {
    /// Whether samples are kept until it has acknowledged them.
    pub(super) fn is_waited_for(&self) -> bool {
        self.compatible && self.reliable && !self.pace.is_let_go()
    }

    /// Whether it is counted among those that match.
    pub(super) fn counts(&self) -> bool {
        self.compatible && self.connection.stands() && !self.pace.is_let_go() && !self.has_left()
    }
}
