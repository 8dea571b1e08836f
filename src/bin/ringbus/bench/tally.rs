//! What one subscriber has received: counted, checked for gaps and repetitions, timed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::order::{Order, Report};
use super::samples::Number;

/// The count of one subscriber.
pub(super) struct Tally {
    /// The next number of each publisher.
    next: Vec<u64>,
    /// Publishers that have not ended yet.
    publishing: usize,
    received: u64,
    repeated: u64,
    warm_up: Duration,
    stride: u64,
    look_at: u64,
    /// When the first sample came.
    first: Option<Instant>,
    /// When the warm-up ended, and how many had been received then.
    start: Option<(Instant, u64)>,
    /// The last look at the clock, and how many had been received then.
    last: Option<Instant>,
    seen: u64,
    progress: Arc<AtomicU64>,
}

impl Tally {
    pub(super) fn new(order: &Order, progress: &Arc<AtomicU64>) -> Self {
        Self {
            next: vec![0; order.crowd.publishers],
            publishing: order.crowd.publishers,
            received: 0,
            repeated: 0,
            warm_up: order.warm_up,
            stride: order.payload.stride(),
            look_at: 1,
            first: None,
            start: None,
            last: None,
            seen: 0,
            progress: progress.clone(),
        }
    }

    /// Counts a sample. `false` after the last one.
    ///
    /// # Errors
    /// If it is not a sample of this round.
    #[inline]
    pub(super) fn take(&mut self, number: Option<Number>) -> anyhow::Result<bool> {
        let number = number.ok_or_else(|| anyhow::anyhow!("a sample arrived that nobody published"))?;
        if number.is_last() {
            self.publishing = self.publishing.saturating_sub(1);
            self.look();
            return Ok(self.publishing > 0);
        }
        let next = self.next.get_mut(number.publisher());
        let next = next.ok_or_else(|| anyhow::anyhow!("a publisher is heard that nobody started"))?;
        if number.place() < *next {
            self.repeated += 1;
            return Ok(true);
        }
        // What is missing in between is known by the number published.
        *next = number.place() + 1;
        self.received += 1;
        if self.received >= self.look_at {
            self.look_at = self.received + self.stride;
            self.look();
        }
        Ok(true)
    }

    fn look(&mut self) {
        let now = Instant::now();
        let first = *self.first.get_or_insert(now);
        // Not when the next sample came: after a standstill that would be late.
        if self.start.is_none() && now - first >= self.warm_up {
            self.start = Some((first + self.warm_up, self.seen));
        }
        self.last = Some(now);
        self.seen = self.received;
        self.progress.fetch_add(1, Ordering::Relaxed);
    }
}

/// All subscribers' counts together.
pub(super) fn report(tallies: &[Tally], cpu: Duration) -> Report {
    let begun = tallies.iter().filter_map(|tally| tally.start.or(tally.first.map(|first| (first, 0))));
    let start = begun.clone().map(|(at, _)| at).min();
    let end = tallies.iter().filter_map(|tally| tally.last).max();
    let received = tallies.iter().map(|tally| tally.received).sum();
    let before: u64 = begun.map(|(_, received)| received).sum();
    Report {
        cpu,
        received,
        repeated: tallies.iter().map(|tally| tally.repeated).sum(),
        counted: received - before,
        span: start.zip(end).map_or(Duration::ZERO, |(start, end)| end - start),
        ..Report::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::order::{Crowd, Link, Payload, Role, Side};
    use super::*;
    use crate::engine::Engine;

    fn tally(publishers: usize) -> Tally {
        let order = Order {
            role: Role::Subscribe,
            side: Side::Raw,
            link: Link::Zmq(Engine::default()),
            topic: "b/1".into(),
            payload: Payload::Bytes(16),
            crowd: Crowd { publishers, subscribers: 1 },
            warm_up: Duration::ZERO,
            length: Duration::ZERO,
        };
        Tally::new(&order, &Arc::default())
    }

    #[test]
    fn gaps_and_repetitions_are_found_for_each_publisher() {
        let mut tally = tally(2);
        for (publisher, place) in [(0, 0), (1, 0), (0, 1), (0, 1), (1, 5), (1, 4), (0, 2)] {
            assert!(tally.take(Some(Number::first_of(publisher).plus(place))).unwrap());
        }
        assert_eq!((tally.received, tally.repeated), (5, 2));
        assert!(tally.take(Some(Number::first_of(0).last())).unwrap());
        assert!(!tally.take(Some(Number::first_of(1).last())).unwrap());
        assert!(tally.take(None).is_err());
        assert!(tally.take(Some(Number::first_of(2))).is_err());
    }
}
