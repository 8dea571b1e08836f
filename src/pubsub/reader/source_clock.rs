//! How far a writer's source times are ahead of the reader's clock, as far as the arrival of its samples shows it.

use std::time::Duration;

use crate::time::{Mono, Timestamp};

/// What is older than two of these is forgotten: clocks are set.
const WINDOW: Duration = Duration::from_secs(2);
/// Samples that came within less time than this say nothing about a clock.
const SHORTEST: Duration = Duration::from_millis(100);
/// Ways to one reader take different times: what is allowed for that beside the jitter.
const ALLOWANCE: i64 = 50_000_000;

/// A writer's source times against their arrival, over the last seconds.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::pubsub) struct SourceClock {
    newest: Option<Window>,
    before: Option<Window>,
}

/// Source times less arrival times, in nanoseconds.
#[derive(Debug, Clone, Copy)]
struct Window {
    since: Mono,
    until: Mono,
    low: i64,
    high: i64,
}

/// What a [`SourceClock`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pubsub) struct Offset {
    /// The sample that was on its way for the shortest time, in nanoseconds.
    ahead: i64,
    /// By how much the others differ.
    jitter: i64,
}

impl SourceClock {
    /// A sample has come that is newer than all before it.
    pub(in crate::pubsub) fn observe(&mut self, now: Mono, source: Timestamp) {
        let arrived = i64::try_from(now.since_origin().as_nanos()).unwrap_or(i64::MAX);
        let ahead = source.as_nanos().saturating_sub(arrived);
        match &mut self.newest {
            Some(window) if now.saturating_since(window.since) <= WINDOW => {
                window.until = now;
                (window.low, window.high) = (window.low.min(ahead), window.high.max(ahead));
            }
            newest => {
                let fresh = Window { since: now, until: now, low: ahead, high: ahead };
                self.before = newest.replace(fresh);
            }
        }
    }

    /// The writer's offset, if its source times go on as a clock does. Times of another kind, the hours of a forecast for
    /// instance, have none: they are the publisher's word, and comparable by themselves.
    pub(in crate::pubsub) fn offset(&self) -> Option<Offset> {
        let newest = self.newest?;
        let before = self.before.unwrap_or(newest);
        let span = newest.until.saturating_since(before.since);
        let (low, high) = (newest.low.min(before.low), newest.high.max(before.high));
        let jitter = high.saturating_sub(low);
        let steady = i128::from(jitter) * 2 <= span.as_nanos() as i128;
        (span >= SHORTEST && steady).then_some(Offset { ahead: high, jitter })
    }
}

impl Offset {
    /// By how much this clock is ahead of `other`, in nanoseconds, if they disagree by more than the ways to the reader
    /// explain. It may be less than that by what the ways explain, never more: samples that may not have been heard are
    /// rather delivered.
    pub(in crate::pubsub) fn apart_from(self, other: Self) -> Option<i64> {
        let apart = self.ahead.saturating_sub(other.ahead);
        let explained = self.jitter.saturating_add(other.jitter).saturating_add(ALLOWANCE);
        (apart.saturating_abs() > explained).then(|| apart.saturating_sub(explained))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000_000;

    /// A clock that has ticked `ticks` times, every ten milliseconds, `ahead` by so much, with up to `late` underway.
    fn clock(ticks: u64, ahead: i64, late: u64) -> SourceClock {
        let mut clock = SourceClock::default();
        for tick in 0..ticks {
            let arrived = Duration::from_millis(10 * tick + tick * 7 % late.max(1));
            let source = 10_000_000 * tick as i64 + ahead;
            clock.observe(Mono::from_origin(arrived), Timestamp::from_nanos(source));
        }
        clock
    }

    #[test]
    fn clocks_apart_are_told_from_clocks_that_agree() {
        let here = clock(100, 0, 5).offset().unwrap();
        assert_eq!(clock(100, 3_000_000, 9).offset().unwrap().apart_from(here), None);
        for apart in [5_000_000_000, -5_000_000_000, HOUR, -HOUR] {
            let found = clock(100, apart, 9).offset().unwrap().apart_from(here).unwrap();
            assert!((0..100_000_000).contains(&(apart - found)), "{apart} {found}");
        }
    }

    #[test]
    fn what_does_not_go_on_as_a_clock_has_no_offset() {
        let mut hours = SourceClock::default();
        for hour in 0..100 {
            hours.observe(
                Mono::from_origin(Duration::from_millis(hour * 10)),
                Timestamp::from_secs(3600 * hour as i64),
            );
        }
        assert_eq!(hours.offset(), None);
        assert_eq!(clock(2, 0, 0).offset(), None, "ten milliseconds say nothing");
        assert_eq!(SourceClock::default().offset(), None);
    }

    #[test]
    fn a_clock_that_was_set_is_believed_after_two_windows() {
        let mut set = clock(100, 0, 0);
        let mut at = Duration::from_secs(1);
        let mut observe = |until: u64, set: &mut SourceClock| {
            while at < Duration::from_secs(until) {
                set.observe(Mono::from_origin(at), Timestamp::from_nanos(at.as_nanos() as i64 + HOUR));
                at += Duration::from_millis(10);
            }
        };
        observe(3, &mut set);
        assert_eq!(set.offset(), None, "two clocks within the window");
        observe(7, &mut set);
        assert_eq!(set.offset(), Some(Offset { ahead: HOUR, jitter: 0 }));
    }

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        let mut mad = SourceClock::default();
        mad.observe(Mono::ZERO, Timestamp::MIN);
        mad.observe(Mono::from_origin(Duration::from_secs(1)), Timestamp::from_nanos(i64::MAX));
        assert_eq!(mad.offset(), None);
        let (ahead, behind) = (Offset { ahead: i64::MAX, jitter: 0 }, Offset { ahead: i64::MIN, jitter: 0 });
        assert!(ahead.apart_from(behind).is_some_and(|apart| apart > 0));
        assert!(behind.apart_from(ahead).is_some_and(|apart| apart < 0));
    }
}
