//! Which source times were heard lately, and which samples of a new owner they cover.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::{Mono, Timestamp};
use crate::wire::Samples;

/// What was heard longer ago than two of these is not lately.
const LATELY: Duration = Duration::from_secs(1);
/// How many different source times of a topic are remembered.
const MAX_TIMES: usize = 256;

/// Source times that were heard, the newest last, each with the number of samples that carried it.
#[derive(Debug, Clone, Default)]
pub(in crate::pubsub) struct Times(VecDeque<(Timestamp, u32)>);

impl Times {
    /// A sample with this source time is heard.
    pub(super) fn note(&mut self, source: Timestamp) {
        match self.0.back_mut() {
            Some((newest, count)) if *newest == source => *count = count.saturating_add(1),
            _ => {
                if self.0.len() >= MAX_TIMES {
                    self.0.pop_front();
                }
                self.0.push_back((source, 1));
            }
        }
    }

    /// Whether a sample with this source time was heard. Each that was heard accounts for one, so
    /// that a publisher that repeats a time is not silenced for ever.
    fn take(&mut self, source: Timestamp) -> bool {
        let Some(at) = self.0.iter().position(|(known, _)| *known == source) else { return false };
        match self.0.get_mut(at) {
            Some((_, count)) if *count > 1 => *count -= 1,
            _ => drop(self.0.remove(at)),
        }
        true
    }
}

/// Since which source time samples were heard lately.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lately {
    newest: Option<(Mono, Timestamp)>,
    before: Option<(Mono, Timestamp)>,
}

impl Lately {
    /// Samples from this source time on are heard.
    pub(super) fn note(&mut self, now: Mono, from: Timestamp) {
        match &mut self.newest {
            Some((since, earliest)) if now.saturating_since(*since) <= LATELY => {
                *earliest = from.min(*earliest);
            }
            newest => self.before = newest.replace((now, from)),
        }
    }

    /// From when on a time counts as one that was heard lately: a little before the earliest of
    /// them, since a reader that has just begun has not heard what its first owner said before.
    pub(super) fn from(&self) -> Option<Timestamp> {
        let earliest = self.newest.into_iter().chain(self.before).map(|(_, from)| from).min()?;
        let margin = i64::try_from(2 * LATELY.as_nanos()).unwrap_or(i64::MAX);
        Some(Timestamp::from_nanos(earliest.as_nanos().saturating_sub(margin)))
    }
}

/// What of a new owner's samples may have been said by its predecessor.
#[derive(Debug, Clone)]
pub(in crate::pubsub) struct HeardBefore {
    /// Up to this sample of the writer its time alone decides.
    pub(super) border: u64,
    /// The writer's last sample when it learnt that it was chosen. What is between the border and
    /// this one was under way, and is skipped only if its time is one that was heard lately.
    pub(super) last: u64,
    /// The source times that were heard lately begin with this one.
    pub(super) lately: Option<Timestamp>,
    /// And nothing later was heard.
    pub(super) to: Timestamp,
    /// What the writer publishes as owner is delivered whatever its time says, unless that very time
    /// was heard: two publishers of the same readings, one of which is a little behind.
    pub(super) times: Times,
}

impl HeardBefore {
    /// Passes over the first samples, as far as they were said before. Returns itself as long as more may follow.
    pub(super) fn skip(mut self, samples: &mut Samples) -> Option<Self> {
        while let Some(number) = samples.next_sequence() {
            if !samples.peek_source().is_some_and(|source| self.covers(number, source)) {
                return None;
            }
            samples.skip_one();
        }
        Some(self)
    }

    fn covers(&mut self, number: u64, source: Timestamp) -> bool {
        if number > self.last {
            return self.times.take(source);
        }
        let lately = || self.lately.is_some_and(|from| source >= from);
        source <= self.to && (number <= self.border || lately())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    fn heard(seconds: impl IntoIterator<Item = i64>) -> HeardBefore {
        let mut times = Times::default();
        seconds.into_iter().for_each(|second| times.note(at(second)));
        HeardBefore { border: 3, last: 5, lately: Some(at(10)), to: at(20), times }
    }

    #[test]
    fn time_decides_up_to_the_border_and_with_what_was_heard_lately_up_to_the_last() {
        let mut heard = heard([]);
        assert!(heard.covers(3, at(1)) && heard.covers(3, at(20)) && !heard.covers(3, at(21)));
        assert!(!heard.covers(4, at(9)) && heard.covers(5, at(10)) && !heard.covers(5, at(21)));
        assert!(!heard.covers(6, at(15)), "published as owner");
    }

    #[test]
    fn what_was_said_just_before_the_first_that_was_heard_is_of_lately() {
        let mut lately = Lately::default();
        assert_eq!(lately.from(), None);
        lately.note(Mono::ZERO, at(10));
        assert!(lately.from().is_some_and(|from| from <= at(9) && from > at(6)));
    }

    #[test]
    fn of_what_is_published_as_owner_the_very_times_that_were_heard_are_skipped_once_each() {
        let mut heard = heard([18, 19, 19, 20]);
        assert!(heard.covers(6, at(19)) && heard.covers(7, at(19)) && !heard.covers(8, at(19)));
        assert!(heard.covers(9, at(20)) && !heard.covers(10, at(20)) && heard.covers(11, at(18)));
    }

    #[test]
    fn a_publisher_that_repeats_one_time_is_heard_again() {
        let mut heard = heard([0; 7]);
        assert_eq!((6..100).filter(|number| heard.covers(*number, at(0))).count(), 7);
    }

    #[test]
    fn the_oldest_times_give_way() {
        let mut heard = heard(0..MAX_TIMES as i64 + 1);
        assert!(!heard.covers(6, at(0)) && heard.covers(6, at(1)) && heard.covers(6, at(MAX_TIMES as i64)));
    }
}
