//! A plot of the rates of one publisher to one subscriber as SVG: by size of the sample, both on logarithmic scales.

use super::figures::{Figures, Measured};
use crate::chart::{Chart, Line};

const TICKS: [(f64, &str); 6] =
    [(1e3, "1 k"), (1e4, "10 k"), (1e5, "100 k"), (1e6, "1 M"), (1e7, "10 M"), (1e8, "100 M")];

/// What a line is of: the transport, whose figures, and its hue.
const LINES: [(&str, &str, usize); 6] = [
    ("zmq", "ringbus", 150),
    ("zmq", "raw", 150),
    ("mqtt 0", "ringbus", 210),
    ("mqtt 0", "raw", 210),
    ("mqtt 1", "ringbus", 20),
    ("mqtt 1", "raw", 20),
];

/// A line for each transport and side, the raw crates' broken.
pub(crate) fn svg(measured: &[Measured]) -> String {
    let rates: Vec<&Measured> = measured
        .iter()
        .filter(|one| one.is_pair() && !one.is_round_trip() && one.size() != "struct")
        .collect();
    let mut sizes: Vec<String> = Vec::new();
    for size in rates.iter().map(|one| one.size()) {
        if !sizes.contains(&size) {
            sizes.push(size);
        }
    }
    let line = |(link, side, hue): (&str, &str, usize)| {
        let rate = |size: &String| {
            let one = rates.iter().find(|one| one.link() == link && one.size() == *size)?;
            of(one, side).map(|figures| figures.rate)
        };
        let points: Vec<(usize, f64)> =
            sizes.iter().enumerate().filter_map(|(column, size)| Some((column, rate(size)?))).collect();
        let label = format!("{}: {side}", link.replace("mqtt ", "mqtt, QoS "));
        (!points.is_empty()).then_some(Line { label, hue, width: 2.0, dashed: side == "raw", points })
    };
    let lines = LINES.into_iter().filter_map(line).collect();
    let chart = Chart {
        title: "Samples per second, received and decoded, by size (1 to 1)",
        lowest: 1e3,
        highest: 1e8,
        ticks: &TICKS,
        columns: sizes.clone(),
    };
    chart.svg(lines)
}

fn of<'a>(one: &'a Measured, side: &str) -> Option<&'a Figures> {
    if side == "raw" { one.raw.as_ref() } else { one.ringbus.as_ref() }
}
