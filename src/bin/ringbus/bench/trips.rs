//! Round trips, timed one by one.

use std::time::{Duration, Instant};

use super::order::{Order, Report};
use super::samples::Number;

/// The times of one round.
pub(super) struct Trips {
    measured_from: Instant,
    deadline: Instant,
    times: Vec<Duration>,
    made: u64,
}

impl Trips {
    /// Begins now.
    pub(super) fn begin(order: &Order) -> Self {
        let measured_from = Instant::now() + order.warm_up;
        Self { measured_from, deadline: measured_from + order.length, times: Vec::new(), made: 0 }
    }

    /// The number and the start of the next trip; `None` when the time is over.
    pub(super) fn next(&self) -> Option<(Number, Instant)> {
        let now = Instant::now();
        (now < self.deadline).then(|| (Number::first_of(0).plus(self.made), now))
    }

    /// The answer has come.
    ///
    /// # Errors
    /// If it answers something else.
    pub(super) fn back(&mut self, (sent, at): (Number, Instant), got: Option<Number>) -> anyhow::Result<()> {
        let took = at.elapsed();
        anyhow::ensure!(got == Some(sent), "{got:?} came back for {sent:?}");
        self.made += 1;
        if at >= self.measured_from {
            self.times.push(took);
        }
        Ok(())
    }

    pub(super) fn made(&self) -> u64 {
        self.made
    }

    pub(super) fn report(mut self, cpu: Duration) -> Report {
        self.times.sort_unstable();
        let at = |part: f64| {
            let place = (self.times.len() as f64 * part) as usize;
            self.times.get(place).copied().unwrap_or_default()
        };
        Report { cpu, received: self.made, p50: at(0.5), p99: at(0.99), ..Report::default() }
    }
}
