//! The table of `docs/benchmarks.md`, and whether each ratio that placement promises holds: medians of one run, in which
//! everything takes turns, so that a busy machine slows all of it alike.
//!
//! `cargo bench --bench placement_ratios`, or with `-- --svg FILE` for the plot too.
#![allow(clippy::print_stdout, reason = "it prints a report")]

mod chart;
mod peers;
#[path = "peers/plot.rs"]
mod plot;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use peers::{Keys, Subject};
use ringbus::HashRing;

const SIZES: [usize; 4] = [8, 100, 1_000, 10_000];
const LENGTHS: [usize; 6] = [8, 15, 40, 55, 56, 200];
const KEYS: usize = 4_096;
const ROUNDS: usize = 41;

/// Nanoseconds per key, by subject.
type Medians = BTreeMap<&'static str, f64>;

fn main() -> std::process::ExitCode {
    let keys = Keys::new(KEYS, 15);
    let (sizes, cold): (Vec<_>, Vec<_>) = SIZES
        .into_iter()
        .map(|size| {
            let subjects = peers::ours(size).into_iter().chain(peers::peers(size)).collect();
            let (warm, cold) = medians(subjects, &keys);
            ((size, warm), (size, cold))
        })
        .unzip();
    println!("### Nanoseconds per key by number of nodes, keys of 15 bytes\n");
    print_table("", &sizes);
    println!("\n### The same right after all the others ran\n");
    print_table("", &cold);

    let of_length = |length| (length, medians(peers::ours(1_000), &Keys::new(KEYS, length)).0);
    let lengths: Vec<(usize, Medians)> = LENGTHS.into_iter().map(of_length).collect();
    println!("\n### Nanoseconds per key by length of key, 1,000 nodes\n");
    print_table(" B", &lengths);

    println!(
        "\n### Building\n\n| nodes | md-5 + sort_unstable | HashRing | ratio | with_node |\n|--:|--:|--:|--:|--:|"
    );
    let builds: Vec<(usize, f64)> = SIZES.into_iter().map(|size| (size, build(size))).collect();

    println!("\n### Promises\n\n| what | ratio | at most | |\n|---|--:|--:|---|");
    let mut kept = true;
    for (size, medians) in &sizes {
        for promise in promises(*size, medians) {
            kept &= promise.print();
        }
    }
    for (size, ratio) in builds.into_iter().filter(|build| build.0 == 1_000) {
        kept &= Promise { what: format!("building {size} nodes / md-5 + sort_unstable"), ratio, most: 0.4 }
            .print();
    }
    let file = std::env::args().skip_while(|argument| argument != "--svg").nth(1);
    if let Some(Err(error)) = file.map(|file| std::fs::write(file, plot::svg(&sizes))) {
        println!("The plot could not be written: {error}");
        return std::process::ExitCode::FAILURE;
    }
    if kept { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE }
}

struct Promise {
    what: String,
    ratio: f64,
    most: f64,
}

impl Promise {
    fn print(self) -> bool {
        let kept = self.ratio <= self.most;
        let verdict = if kept { "kept" } else { "**not kept**" };
        println!("| {} | {:.3} | {:.2} | {verdict} |", self.what, self.ratio, self.most);
        kept
    }
}

fn promises(size: usize, medians: &Medians) -> Vec<Promise> {
    let mut promises = Vec::new();
    let mut promise = |ours: &str, other: &str, most: f64| {
        if let (Some(one), Some(two)) = (medians.get(ours), medians.get(other)) {
            promises.push(Promise {
                what: format!("{size} nodes: {ours} / {other}"),
                ratio: one / two,
                most,
            });
        }
    };
    match size {
        8 => promise("owner", "one MD5 block", 1.10),
        1_000 => promise("owner", "one MD5 block", 1.25),
        _ => {}
    }
    for peer in ["md-5 + binary search", "ketama", "conhash"] {
        promise("owner", peer, 1.0);
    }
    match size {
        8 => promise("owners, AVX-512", "md-5 + binary search", 0.12),
        1_000 => promise("owners, AVX-512", "md-5 + binary search", 0.15),
        _ => {}
    }
    if [8, 1_000].contains(&size) {
        promise("owners, AVX2", "md-5 + binary search", 0.25);
    }
    for peer in ["hashring", "consistent_hash"] {
        promise("owners", peer, 1.0);
        promise("owners, AVX2", peer, 1.0);
    }
    promises
}

/// Runs all subjects in turn, round by round, twice each: right after the others, who left the caches full of theirs,
/// and once again. The medians of the second runs, and of the first.
fn medians(mut subjects: Vec<Subject>, keys: &Keys) -> (Medians, Medians) {
    let mut times: BTreeMap<&'static str, [Vec<Duration>; 2]> = BTreeMap::new();
    for _ in 0..ROUNDS {
        for subject in &mut subjects {
            let [cold, warm] = times.entry(subject.name).or_default();
            cold.push(time(|| (subject.run)(keys)));
            warm.push(time(|| (subject.run)(keys)));
        }
    }
    let per_key = |times: Vec<Duration>| median(times).as_secs_f64() * 1e9 / keys.text().len() as f64;
    times.into_iter().map(|(name, [cold, warm])| ((name, per_key(warm)), (name, per_key(cold)))).unzip()
}

/// Prints a row of the table of builds; the ratio.
fn build(size: usize) -> f64 {
    let nodes = peers::nodes(size);
    let ring = HashRing::new(nodes.clone());
    let rounds = if size > 1_000 { 9 } else { ROUNDS };
    let (mut plain, mut ours, mut added) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        plain.push(time(|| drop(black_box(peers::plain_points(&nodes)))));
        ours.push(time(|| drop(black_box(HashRing::new(nodes.iter().map(String::as_str))))));
        added.push(time(|| drop(black_box(ring.with_node("one more", 1)))));
    }
    let [plain, ours, added] = [plain, ours, added].map(|times| median(times).as_secs_f64() * 1e6);
    println!("| {size} | {plain:.0} µs | {ours:.0} µs | {:.2} | {added:.0} µs |", ours / plain);
    ours / plain
}

fn time(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn print_table(unit: &str, columns: &[(usize, Medians)]) {
    let heads: Vec<String> = columns.iter().map(|(head, _)| format!("{head}{unit}")).collect();
    println!("| | {} |\n|---|{}", heads.join(" | "), "--:|".repeat(heads.len()));
    let mut names: Vec<&str> = columns.iter().flat_map(|(_, medians)| medians.keys().copied()).collect();
    let last =
        |name: &&str| columns.last().and_then(|(_, medians)| medians.get(*name)).copied().unwrap_or(f64::MAX);
    names.sort_by(|one, two| last(one).total_cmp(&last(two)).then(one.cmp(two)));
    names.dedup();
    for name in names {
        let cell =
            |medians: &Medians| medians.get(name).map_or("–".to_owned(), |median| format!("{median:.1}"));
        let cells: Vec<String> = columns.iter().map(|(_, medians)| cell(medians)).collect();
        println!("| {name} | {} |", cells.join(" | "));
    }
}
