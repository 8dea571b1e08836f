//! Versions of values: a hybrid logical clock, so that a later put has the greater version whatever the wall clocks say.

use std::time::Duration;

use crate::time::{Mono, Timestamp};

/// A version further ahead of the wall clock than this is not believed: it would outlive every later put.
const MAX_AHEAD: u64 = Duration::from_secs(86_400).as_micros() as u64;

/// No ring's clock is later than this, in the year 38,000 or so: there is room for versions after it.
const LATEST: u64 = 1 << 60;

/// Microseconds since the Unix epoch, pushed forward by every greater version that was seen.
#[derive(Debug)]
pub(super) struct VersionClock {
    /// The wall clock at the origin of monotonic time, in microseconds.
    origin: u64,
    seen: u64,
}

impl VersionClock {
    pub(super) fn new(now: Mono, wall: Timestamp) -> Self {
        let wall = u64::try_from(wall.as_nanos() / 1_000).unwrap_or(0);
        Self { origin: wall.saturating_sub(micros(now)), seen: 0 }
    }

    /// A version greater than all that were seen.
    pub(super) fn tick(&mut self, now: Mono) -> u64 {
        self.seen = self.wall(now).max(self.seen.saturating_add(1));
        self.seen
    }

    /// Takes note of another node's version. `false` if it is not to be believed.
    pub(super) fn observe(&mut self, now: Mono, version: u64) -> bool {
        let believed = version <= self.wall(now).saturating_add(MAX_AHEAD);
        if believed {
            self.seen = self.seen.max(version);
        }
        believed
    }

    /// A newcomer whose wall clock is absurdly off takes the ring's: else neither would believe the other.
    pub(super) fn follow(&mut self, now: Mono, ring: u64) {
        if ring < LATEST && self.wall(now).abs_diff(ring) > MAX_AHEAD {
            self.origin = ring.saturating_sub(micros(now));
            self.seen = ring;
        }
    }

    fn wall(&self, now: Mono) -> u64 {
        self.origin.saturating_add(micros(now))
    }
}

fn micros(time: Mono) -> u64 {
    u64::try_from(time.since_origin().as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_grow_whatever_was_seen_and_the_absurd_is_refused() {
        let at = |seconds| Mono::from_origin(Duration::from_secs(seconds));
        let mut clock = VersionClock::new(at(5), Timestamp::from_secs(1_000));
        let first = clock.tick(at(5));
        assert_eq!(first, 1_000_000_000);
        assert!(clock.tick(at(5)) > first);
        assert!(clock.observe(at(5), first + 7_000_000));
        assert_eq!(clock.tick(at(6)), first + 7_000_001);
        assert!(!clock.observe(at(6), u64::MAX));
        assert_eq!(clock.tick(at(60)), first + 55_000_000);
    }
}
