//! Which source times were heard lately, and which samples of a new owner they cover.

use std::time::Duration;

use crate::time::{Mono, Timestamp};
use crate::wire::Samples;

/// What was heard longer ago than two of these is not lately.
const LATELY: Duration = Duration::from_secs(1);

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

    /// The earliest of those times.
    pub(super) fn from(&self) -> Option<Timestamp> {
        self.newest.into_iter().chain(self.before).map(|(_, from)| from).min()
    }
}

/// What of a new owner's samples may have been said by its predecessor.
#[derive(Debug, Clone, Copy)]
pub(in crate::pubsub) struct HeardBefore {
    /// The newest sample that the reader knew of when it chose the writer. Up to this one time alone decides.
    pub(super) border: u64,
    /// The writer's last sample when it learnt that it was chosen. What was under way is skipped only if its time is one that
    /// was heard lately; what the writer publishes as owner is delivered whatever its time says.
    pub(super) last: u64,
    /// The source times that were heard lately begin with this one.
    pub(super) lately: Option<Timestamp>,
    /// And nothing later was heard.
    pub(super) to: Timestamp,
}

impl HeardBefore {
    /// Passes over the first samples, as far as they were said before. Returns itself as long as more may follow.
    pub(super) fn skip(self, samples: &mut Samples) -> Option<Self> {
        while let Some(number) = samples.next_sequence() {
            if !samples.peek_source().is_some_and(|source| self.covers(number, source)) {
                return None;
            }
            samples.skip_one();
        }
        Some(self)
    }

    fn covers(&self, number: u64, source: Timestamp) -> bool {
        let lately = || number <= self.last && self.lately.is_some_and(|from| source >= from);
        source <= self.to && (number <= self.border || lately())
    }
}
