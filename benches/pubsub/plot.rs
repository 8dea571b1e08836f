//! A plot of the rates of one publisher to one subscriber as SVG: by size of the sample, both on logarithmic scales.

use std::fmt::Write;

use super::figures::{Figures, Measured};

const LEFT: f64 = 60.0;
const TOP: f64 = 40.0;
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 420.0;
const LOWEST: f64 = 1e3;
const HIGHEST: f64 = 1e8;

/// What a line is of: the transport, whose figures, and its hue.
const LINES: [(&str, &str, u32); 6] = [
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
    let mut sizes: Vec<String> = rates.iter().map(|one| one.size()).collect();
    let mut known = Vec::new();
    sizes.retain(|size| {
        !known.contains(size) && {
            known.push(size.clone());
            true
        }
    });
    let x = |column: usize| LEFT + WIDTH * column as f64 / (sizes.len().max(2) - 1) as f64;
    let y = |rate: f64| TOP + HEIGHT * (HIGHEST / rate.clamp(LOWEST, HIGHEST)).ln() / (HIGHEST / LOWEST).ln();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"20\" font-size=\"14\">Samples per second, received and decoded, by size (1 to 1)</text>\n",
        LEFT + WIDTH + 190.0,
        TOP + HEIGHT + 40.0,
    );
    for (rate, label) in
        [(1e3, "1 k"), (1e4, "10 k"), (1e5, "100 k"), (1e6, "1 M"), (1e7, "10 M"), (1e8, "100 M")]
    {
        let y = y(rate);
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            LEFT + WIDTH,
            LEFT - 8.0,
            y + 4.0
        );
    }
    for (column, size) in sizes.iter().enumerate() {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{size}</text>",
            x(column),
            TOP + HEIGHT + 20.0
        );
    }
    let mut lines: Vec<_> = LINES
        .into_iter()
        .filter_map(|(link, side, hue)| {
            let rate = |size: &String| {
                let one = rates.iter().find(|one| one.link() == link && one.size() == *size)?;
                of(one, side).map(|figures| figures.rate)
            };
            let points: Vec<(usize, f64)> =
                sizes.iter().enumerate().filter_map(|(column, size)| Some((column, rate(size)?))).collect();
            let last = points.last()?.1;
            Some((link, side, hue, points, last))
        })
        .collect();
    // From the top down at the right edge, with room for a label each.
    lines.sort_by(|one, two| two.4.total_cmp(&one.4));
    let mut label = TOP - 14.0;
    for (link, side, hue, points, last) in lines {
        label = (label + 14.0).max(y(last));
        let dashes = if side == "raw" { " stroke-dasharray=\"5 4\"" } else { "" };
        let points: Vec<String> =
            points.iter().map(|(column, rate)| format!("{:.1},{:.1}", x(*column), y(*rate))).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"hsl({hue},70%,40%)\" stroke-width=\"2\"{dashes}/>\
             <text x=\"{}\" y=\"{:.1}\" fill=\"hsl({hue},70%,30%)\">{}: {side}</text>",
            points.join(" "),
            LEFT + WIDTH + 8.0,
            label + 4.0,
            link.replace("mqtt ", "mqtt, QoS "),
        );
    }
    svg + "</svg>\n"
}

fn of<'a>(one: &'a Measured, side: &str) -> Option<&'a Figures> {
    if side == "raw" { one.raw.as_ref() } else { one.ringbus.as_ref() }
}
