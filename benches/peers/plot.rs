//! A plot of the medians as SVG: nanoseconds per key, on a logarithmic scale, by number of nodes.

use std::collections::BTreeMap;
use std::fmt::Write;

const LEFT: f64 = 60.0;
const TOP: f64 = 40.0;
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 420.0;
const LOWEST: f64 = 5.0;
const HIGHEST: f64 = 2_000.0;

/// The plot, a line a subject; what is beyond the scale is drawn at its edge.
pub(crate) fn svg(columns: &[(usize, BTreeMap<&'static str, f64>)]) -> String {
    let x = |column: usize| LEFT + WIDTH * column as f64 / (columns.len().max(2) - 1) as f64;
    let y = |ns: f64| TOP + HEIGHT * (HIGHEST / ns.clamp(LOWEST, HIGHEST)).ln() / (HIGHEST / LOWEST).ln();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"20\" font-size=\"14\">Nanoseconds per key by number of nodes (keys of 15 bytes)</text>\n",
        LEFT + WIDTH + 190.0,
        TOP + HEIGHT + 40.0,
    );
    for ns in [5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0] {
        let y = y(ns);
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{ns}</text>",
            LEFT + WIDTH,
            LEFT - 8.0,
            y + 4.0
        );
    }
    for (column, (size, _)) in columns.iter().enumerate() {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{size}</text>",
            x(column),
            TOP + HEIGHT + 20.0
        );
    }
    let mut names: Vec<&str> = columns.iter().flat_map(|(_, medians)| medians.keys().copied()).collect();
    names.sort_unstable();
    names.dedup();
    // From the top down at the right edge, with room for a label each.
    let end = |name: &str| {
        columns.iter().rev().find_map(|(_, medians)| medians.get(name)).copied().unwrap_or(LOWEST)
    };
    names.sort_by(|one, two| end(two).total_cmp(&end(one)));
    let mut label = TOP - 14.0;
    for (n, name) in names.iter().enumerate() {
        let points: Vec<String> = columns
            .iter()
            .enumerate()
            .filter_map(|(column, (_, medians))| {
                Some(format!("{:.1},{:.1}", x(column), y(*medians.get(name)?)))
            })
            .collect();
        let ours = name.starts_with("owner") || name.starts_with("pref") || name.starts_with("one");
        let (hue, width) = if ours { (130 + 14 * n, 2.5) } else { (10 * n, 1.5) };
        label = (label + 14.0).max(y(end(name)));
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"hsl({hue},70%,40%)\" stroke-width=\"{width}\"/>\
             <text x=\"{}\" y=\"{:.1}\" fill=\"hsl({hue},70%,30%)\">{name}</text>",
            points.join(" "),
            LEFT + WIDTH + 8.0,
            label + 4.0
        );
    }
    svg + "</svg>\n"
}
