//! What the library promises against the raw crates, one publisher to one subscriber: the medians of this run.

use std::fmt::Write;

use super::figures::{COMPARES, Measured};

/// Rates: at least so many times the raw crate's.
const RATES: [(&str, &[(&str, f64)]); 3] = [
    ("zmq", &[("16 B", 5.0), ("256 B", 1.4), ("1 KiB", 1.15), ("64 KiB", 0.95), ("struct", 3.0)]),
    ("mqtt 0", &[("16 B", 30.0), ("256 B", 6.0), ("1 KiB", 3.0), ("64 KiB", 0.95)]),
    ("mqtt 1", &[("16 B", 30.0), ("256 B", 8.0), ("1 KiB", 3.0), ("64 KiB", 0.9)]),
];

/// Median round trips, of 64 B and 1 KiB over every transport: at most so many times the raw crate's.
const ROUND_TRIP: f64 = 1.15;

/// The promise that a case is about, and whether it is kept.
struct Promise {
    what: String,
    ratio: f64,
    bound: String,
    kept: bool,
}

/// Each promise with its ratio.
pub(crate) fn table(measured: &[Measured]) -> String {
    let mut text = "### Promises\n\n| what | ratio | promised | |\n|---|--:|--:|---|\n".to_owned();
    for Promise { what, ratio, bound, kept } in measured.iter().filter_map(promise) {
        let verdict = if kept { "kept" } else { "**not kept**" };
        let _ = writeln!(text, "| {what} | {ratio:.2} | {bound} | {verdict} |");
    }
    let lost = lost(measured);
    let verdict = if lost == 0 { "kept" } else { "**not kept**" };
    let _ = writeln!(text, "| samples lost where none may be | {lost} | 0 | {verdict} |");
    text + "\n" + COMPARES + "\n"
}

/// Whether none is broken.
pub(crate) fn all_kept(measured: &[Measured]) -> bool {
    lost(measured) == 0 && measured.iter().filter_map(promise).all(|promise| promise.kept)
}

fn promise(one: &Measured) -> Option<Promise> {
    let (link, size, ratio) = (one.link(), one.size(), one.ratio?);
    if one.is_round_trip() {
        let what = format!("{link}: round trip, {size}");
        return Some(Promise { what, ratio, bound: format!("≤ {ROUND_TRIP}"), kept: ratio <= ROUND_TRIP });
    }
    let (_, sizes) = RATES.into_iter().find(|(promised, _)| one.is_pair() && *promised == link)?;
    let (_, least) = sizes.iter().find(|(promised, _)| *promised == size)?;
    let what = format!("{link}: rate, {size}");
    Some(Promise { what, ratio, bound: format!("≥ {least}"), kept: ratio >= *least })
}

/// With QoS 0 MQTT itself promises nothing.
fn lost(measured: &[Measured]) -> u64 {
    measured.iter().filter(|one| one.link() != "mqtt 0").map(Measured::lost).sum()
}
