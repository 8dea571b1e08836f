//! A case: rounds in which the library and the raw crate take turns, and their medians.

use std::time::Duration;

use serde::Serialize;

use super::order::{Crowd, Link, Order, Payload, Role, Side};
use super::round::{Outcome, play};

/// Before anything counts: connections find their speed, caches fill. The same for both sides.
const WARM_UP: Duration = Duration::from_millis(200);

/// What is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) link: Link,
    pub(super) kind: Kind,
    pub(super) payload: Payload,
    pub(super) crowd: Crowd,
}

/// Whether samples a second, or the time of one there and back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    Rate,
    RoundTrip,
}

/// How it is measured.
#[derive(Debug, Clone)]
pub(super) struct Method {
    pub(super) sides: Vec<Side>,
    pub(super) rounds: u32,
    pub(super) length: Duration,
    /// The broker's process.
    pub(super) broker: Option<u32>,
}

/// What came of a case.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) case: Case,
    pub(super) library: Option<Figures>,
    pub(super) raw: Option<Figures>,
    /// Library by raw, of rates or of the medians of round trips: the median of the rounds' ratios.
    pub(super) ratio: Option<f64>,
}

/// Medians of one side's rounds, but for the counts, which are sums.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Figures {
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) lost: u64,
    /// Samples a second, received and decoded.
    pub(super) rate: f64,
    /// Nanoseconds of processor time for a sample.
    pub(super) publisher_ns: f64,
    pub(super) subscriber_ns: f64,
    pub(super) broker_ns: Option<f64>,
    /// Microseconds.
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

/// Plays all rounds of a case. `played` is called after each.
pub(super) async fn measure(
    case: Case,
    method: &Method,
    mut played: impl FnMut(),
) -> anyhow::Result<Measured> {
    let mut rounds: Vec<[Option<Outcome>; 2]> = Vec::new();
    for round in 0..method.rounds {
        let mut outcomes = [None, None];
        let mut sides = method.sides.clone();
        // Neither side always has what the other one left behind.
        if round % 2 == 1 {
            sides.reverse();
        }
        for side in sides {
            let order = order(&case, method, side, round);
            outcomes[usize::from(side == Side::Raw)] = Some(play(order, method.broker).await?);
            played();
        }
        rounds.push(outcomes);
    }
    let side =
        |side: usize| -> Vec<&Outcome> { rounds.iter().filter_map(|round| round[side].as_ref()).collect() };
    let ratios = rounds.iter().filter_map(|[library, raw]| {
        let (library, raw) = (library.as_ref()?, raw.as_ref()?);
        Some(score(case.kind, library) / score(case.kind, raw))
    });
    Ok(Measured { ratio: median(ratios), library: figures(&side(0)), raw: figures(&side(1)), case })
}

fn order(case: &Case, method: &Method, side: Side, round: u32) -> Order {
    Order {
        role: if case.kind == Kind::Rate { Role::Publish } else { Role::Ping },
        side,
        link: case.link.clone(),
        topic: format!("b/{}/{round}", std::process::id()),
        payload: case.payload,
        crowd: case.crowd,
        warm_up: WARM_UP,
        length: method.length,
    }
}

fn score(kind: Kind, outcome: &Outcome) -> f64 {
    match kind {
        Kind::Rate => outcome.rate,
        Kind::RoundTrip => outcome.publisher.p50.as_secs_f64(),
    }
}

fn figures(outcomes: &[&Outcome]) -> Option<Figures> {
    let of = |figure: fn(&Outcome) -> f64| median(outcomes.iter().map(|outcome| figure(outcome)));
    let broker: Option<Vec<f64>> =
        outcomes.iter().map(|outcome| Some(nanoseconds(outcome.broker?, outcome.sent))).collect();
    Some(Figures {
        sent: outcomes.iter().map(|outcome| outcome.sent).sum(),
        received: outcomes.iter().map(|outcome| outcome.subscriber.received).sum(),
        lost: outcomes.iter().map(|outcome| outcome.lost).sum(),
        rate: of(|outcome| outcome.rate)?,
        publisher_ns: of(|outcome| nanoseconds(outcome.publisher.cpu, outcome.sent))?,
        subscriber_ns: of(|outcome| {
            // Round trips are counted where they begin.
            nanoseconds(outcome.subscriber.cpu, outcome.subscriber.received.max(outcome.publisher.received))
        })?,
        broker_ns: broker.and_then(median),
        p50_us: of(|outcome| outcome.publisher.p50.as_secs_f64() * 1e6)?,
        p99_us: of(|outcome| outcome.publisher.p99.as_secs_f64() * 1e6)?,
    })
}

fn nanoseconds(time: Duration, samples: u64) -> f64 {
    time.as_secs_f64() * 1e9 / samples.max(1) as f64
}

/// Of an even number, the mean of the middle two.
fn median(figures: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_unstable_by(f64::total_cmp);
    let (low, high) = (figures.get(figures.len().checked_sub(1)? / 2)?, figures.get(figures.len() / 2)?);
    Some((low + high) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_even_and_no_figures() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median([]), None);
    }
}
