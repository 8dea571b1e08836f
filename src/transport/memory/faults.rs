//! What the network does to a message: all decisions, drawn from one seeded generator.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// How long a reordered message is held back at most, where the delays say nothing longer.
const MIN_HOLD: Duration = Duration::from_millis(10);

pub(super) struct Faults {
    rng: SmallRng,
    pub(super) delay: RangeInclusive<Duration>,
    pub(super) loss: f64,
    pub(super) reorder: f64,
    /// How long after a kill the others are told; `None` for never.
    pub(super) detection: Option<Duration>,
    /// The hub is out: nothing passes.
    pub(super) stopped: bool,
    /// By the sender's name, the names that it does not reach.
    cuts: BTreeMap<String, BTreeSet<String>>,
}

/// The longest delay of any kind: no instant plus some of these overflows.
pub(super) const MAX_DELAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What becomes of one message to one receiver.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Lost,
    /// Arrives after the delay, and not before what was sent before it.
    InOrder(Duration),
    /// Arrives after the delay, whatever else arrives in between.
    OutOfOrder(Duration),
}

impl Faults {
    pub(super) fn seeded(seed: u64) -> Self {
        Self {
            rng: SmallRng::seed_from_u64(seed),
            delay: Duration::ZERO..=Duration::ZERO,
            loss: 0.0,
            reorder: 0.0,
            detection: None,
            stopped: false,
            cuts: BTreeMap::new(),
        }
    }

    /// Whether anything passes from one endpoint to another.
    pub(super) fn connects(&self, from: &str, to: &str) -> bool {
        !self.stopped && !self.cuts.get(from).is_some_and(|cut| cut.contains(to))
    }

    pub(super) fn cut(&mut self, from: &str, to: &str) {
        self.cuts.entry(from.to_owned()).or_default().insert(to.to_owned());
    }

    /// Removes all cuts and returns them, as (sender, receiver).
    pub(super) fn mend(&mut self) -> impl Iterator<Item = (String, String)> + use<> {
        let cuts = std::mem::take(&mut self.cuts);
        cuts.into_iter().flat_map(|(from, cut)| cut.into_iter().map(move |to| (from.clone(), to)))
    }

    pub(super) fn draw(&mut self) -> Fate {
        if self.chance(self.loss) {
            return Fate::Lost;
        }
        let delay = self.up_to(self.delay.clone());
        if self.chance(self.reorder) {
            let hold = self.up_to(Duration::ZERO..=MIN_HOLD.max(*self.delay.end()));
            Fate::OutOfOrder(delay + hold)
        } else {
            Fate::InOrder(delay)
        }
    }

    fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.rng.random_bool(probability)
    }

    fn up_to(&mut self, range: RangeInclusive<Duration>) -> Duration {
        if range.start() < range.end() { self.rng.random_range(range) } else { *range.end() }
    }
}

/// A probability that the generator accepts, whatever was given.
pub(super) fn probability(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) }
}
