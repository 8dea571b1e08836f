//! A plot of the medians as SVG: nanoseconds per key, on a logarithmic scale, by number of nodes.

use std::collections::BTreeMap;

use crate::chart::{Chart, Line};

const TICKS: [(f64, &str); 9] = [
    (5.0, "5"),
    (10.0, "10"),
    (20.0, "20"),
    (50.0, "50"),
    (100.0, "100"),
    (200.0, "200"),
    (500.0, "500"),
    (1_000.0, "1000"),
    (2_000.0, "2000"),
];

/// The plot, a line a subject.
pub(crate) fn svg(columns: &[(usize, BTreeMap<&'static str, f64>)]) -> String {
    let mut names: Vec<&str> = columns.iter().flat_map(|(_, medians)| medians.keys().copied()).collect();
    names.sort_unstable();
    names.dedup();
    let mut lines: Vec<Line> = names.into_iter().map(|name| line(name, columns)).collect();
    // Neighbours on the plot differ in hue.
    lines.sort_by(|one, two| two.end().total_cmp(&one.end()));
    for (n, line) in lines.iter_mut().enumerate() {
        let ours = ["owner", "pref", "one"].iter().any(|ours| line.label.starts_with(ours));
        (line.hue, line.width) = if ours { (130 + 14 * n, 2.5) } else { (10 * n, 1.5) };
    }
    let chart = Chart {
        title: "Nanoseconds per key by number of nodes (keys of 15 bytes)",
        lowest: 5.0,
        highest: 2_000.0,
        ticks: &TICKS,
        columns: columns.iter().map(|(size, _)| size.to_string()).collect(),
    };
    chart.svg(lines)
}

fn line(name: &str, columns: &[(usize, BTreeMap<&'static str, f64>)]) -> Line {
    let points = columns.iter().enumerate();
    let points = points.filter_map(|(column, (_, medians))| Some((column, *medians.get(name)?))).collect();
    Line { label: name.to_owned(), hue: 0, width: 0.0, dashed: false, points }
}
