//! The tables, and the same for programs.

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};
use serde_json::{Value, json};

use super::measure::{Figures, Kind, Measured};
use super::order::{Link, Payload, Side};

/// What the columns of the tables mean.
pub(super) const LEGEND: &str = "\
samples/s: received and decoded, of all subscribers together. lost: also what came twice or late.
CPU ns: processor time of a process by its samples, publishers' by those sent, subscribers' by those received, the
broker's by those sent; of round trips, by their number. of raw: ringbus by raw, the median of the rounds' ratios.";

/// What a ratio is of.
fn compares(kind: Kind) -> &'static str {
    match kind {
        Kind::Rate => {
            "samples in batches against one message each: ringbus puts what waits for a busy link into one message, the \
             raw crate sends a message for each sample"
        }
        Kind::RoundTrip => "one message each way on both sides",
    }
}

/// The tables of rates and of round trips.
pub(super) fn tables(measured: &[Measured]) -> String {
    let of = |kind| measured.iter().filter(move |one| one.case.kind == kind);
    let mut text = String::new();
    for (kind, own) in [(Kind::Rate, ["samples/s", "lost"]), (Kind::RoundTrip, ["p50", "p99"])] {
        if of(kind).next().is_none() {
            continue;
        }
        let mut table = Table::new();
        let what = if kind == Kind::Rate { "publishers to subscribers" } else { "round trip" };
        let [first, second] = own;
        table.load_preset(ASCII_MARKDOWN).set_header([
            "transport",
            what,
            "sample",
            "side",
            first,
            "of raw",
            second,
            "CPU ns publisher",
            "CPU ns subscriber",
            "CPU ns broker",
        ]);
        for one in of(kind) {
            for (side, figures) in [(Side::Library, &one.library), (Side::Raw, &one.raw)] {
                if let Some(figures) = figures {
                    table.add_row(row(one, side, figures));
                }
            }
        }
        for column in table.column_iter_mut().skip(4) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        text += &format!("{table}\n\n");
        if of(kind).any(|one| one.ratio.is_some()) {
            text += &format!("of raw compares {}.\n\n", compares(kind));
        }
    }
    text
}

fn row(one: &Measured, side: Side, figures: &Figures) -> Vec<String> {
    let ratio = match (side, one.ratio) {
        (Side::Library, Some(ratio)) => format!("{ratio:.2} x"),
        _ => "-".into(),
    };
    let sample = match (one.case.payload, side) {
        (Payload::Struct, Side::Raw) => Payload::Bytes(Payload::Struct.raw_size()),
        (payload, _) => payload,
    };
    let (first, second) = match one.case.kind {
        Kind::Rate => (thousands(figures.rate), figures.lost.to_string()),
        Kind::RoundTrip => (format!("{:.0} µs", figures.p50_us), format!("{:.0} µs", figures.p99_us)),
    };
    vec![
        one.case.link.to_string(),
        one.case.crowd.to_string(),
        sample.to_string(),
        side.name().into(),
        first,
        ratio,
        second,
        thousands(figures.publisher_ns),
        thousands(figures.subscriber_ns),
        figures.broker_ns.map_or_else(|| "-".into(), thousands),
    ]
}

/// 1,234,567
fn thousands(figure: f64) -> String {
    let digits = format!("{figure:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Every figure of the tables, unrounded.
pub(super) fn json(measured: &[Measured]) -> Value {
    measured.iter().map(one_as_json).collect()
}

fn one_as_json(one: &Measured) -> Value {
    let (transport, qos, nodelay) = match one.case.link {
        Link::Zmq(_) => ("zmq", None, false),
        Link::Mqtt { qos, nodelay, .. } => ("mqtt", Some(qos), nodelay),
    };
    let size = match one.case.payload {
        Payload::Bytes(size) => json!(size),
        Payload::Struct => json!("struct"),
    };
    json!({
        "transport": transport,
        "qos": qos,
        "nodelay": nodelay,
        "kind": one.case.kind,
        "size": size,
        "publishers": one.case.crowd.publishers,
        "subscribers": one.case.crowd.subscribers,
        "ringbus": one.library,
        "raw": one.raw,
        "ratio": one.ratio,
        "compares": one.ratio.map(|_| compares(one.case.kind)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        let texts = [0.4, 999.0, 1000.0, 1_234_567.0].map(thousands);
        assert_eq!(texts, ["0", "999", "1,000", "1,234,567"]);
    }
}
