//! Under which generation a node comes back after others have given it up, and how often.

use std::time::Duration;

use crate::time::Mono;

/// The latest generation that is believed; as milliseconds, in the year 36,000,000. There is room for renewals above.
pub(super) const LATEST: u64 = 1 << 60;

/// The shortest time from one renewal to the next.
const PAUSE: Duration = Duration::from_millis(200);

/// A renewal so long after the one before it is the first of a new series.
const CALM: Duration = Duration::from_secs(10);

/// Each renewal of a series steps this many powers of two further than the one before it.
const GROWTH: u32 = 8;

/// The longest step: 35 years of milliseconds.
const LONGEST_STEP: u64 = 1 << 40;

/// The renewals of one node.
///
/// A node learns which generation it is remembered by and steps just above it. A member of a build that does not say so
/// only says that the present generation is too low: then the steps grow, so that a few renewals outdo any clock.
#[derive(Debug, Default)]
pub(super) struct Renewals {
    last: Option<Mono>,
    /// How many there were in this series.
    series: u32,
    /// The generation that this node must be above.
    above: Option<u64>,
    /// This node was given up: its present generation is of no use any more.
    refused: bool,
}

impl Renewals {
    /// Others remember this node, or an earlier life of it, by a generation.
    pub(super) fn told(&mut self, generation: u64) {
        self.above = self.above.max(Some(generation));
    }

    /// The present generation was given up.
    pub(super) fn refused(&mut self) {
        self.refused = true;
    }

    /// When the next renewal is due, if one is wanted.
    pub(super) fn due(&self, generation: u64) -> Option<Mono> {
        let wanted = self.refused || self.above.is_some_and(|above| above >= generation);
        wanted.then(|| self.last.map_or(Mono::ZERO, |last| last + PAUSE))
    }

    /// The generation to come back under, if it is time to.
    pub(super) fn take(&mut self, now: Mono, generation: u64) -> Option<u64> {
        self.due(generation).filter(|due| *due <= now)?;
        let goes_on = self.last.is_some_and(|last| now.saturating_since(last) < CALM);
        self.series = if goes_on { self.series.saturating_add(1) } else { 0 };
        let told = self.above.take().filter(|above| *above >= generation);
        let step = match told {
            Some(_) => 1,
            None => 1_u64.checked_shl(self.series.saturating_mul(GROWTH)).unwrap_or(LONGEST_STEP),
        };
        (self.last, self.refused) = (Some(now), false);
        Some(told.unwrap_or(generation).saturating_add(step.min(LONGEST_STEP)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Mono {
        Mono::from_origin(Duration::from_millis(millis))
    }

    #[test]
    fn a_node_that_is_told_steps_just_above_and_one_that_is_not_steps_further_each_time() {
        let mut renewals = Renewals::default();
        assert_eq!(renewals.take(at(0), 7), None);
        renewals.told(6);
        assert_eq!(renewals.due(7), None, "it is above that");
        renewals.told(9);
        renewals.told(8);
        assert_eq!(renewals.take(at(0), 7), Some(10));
        renewals.refused();
        assert_eq!(renewals.take(at(199), 10), None, "too early");
        let (mut generation, mut now, mut count) = (10, 200, 0);
        while generation < 315_360_000_000 {
            renewals.refused();
            generation = renewals.take(at(now), generation).expect("a renewal each pause");
            now += 200;
            count += 1;
        }
        assert!(count <= 6, "ten years took {count} renewals");
        renewals.refused();
        assert_eq!(renewals.take(at(now + 20_000), generation), Some(generation + 1), "a new series");
    }

    #[test]
    fn no_step_overflows() {
        let mut renewals = Renewals::default();
        for step in 0..100 {
            renewals.refused();
            assert!(renewals.take(at(step * 200), u64::MAX - 1).is_some());
        }
    }
}
