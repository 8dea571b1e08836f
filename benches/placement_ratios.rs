//! The table of `docs/benchmarks.md`, and whether each ratio that placement promises holds: medians of one run, in which
//! everything takes turns, so that a busy machine slows all of it alike.
//!
//! `cargo bench --bench placement_ratios`, or with `-- --svg FILE` for the plot too; `-- --only cold` and
//! `-- --only build` are the parts about look-ups after other work and about building rings.
#![allow(clippy::print_stdout, reason = "it prints a report")]

mod chart;
#[path = "peers/cold.rs"]
mod cold;
mod peers;
#[path = "peers/plot.rs"]
mod plot;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

use peers::{Keys, Subject};
use ringbus::HashRing;

const SIZES: [usize; 4] = [8, 100, 1_000, 10_000];
const LENGTHS: [usize; 6] = [8, 15, 40, 55, 56, 200];
const KEYS: usize = 4_096;
const ROUNDS: usize = 41;
/// Those of the look-ups after other work, which takes longer than they do.
const COLD_ROUNDS: usize = 61;
/// What others fill, and with how many MiB: more than the second-level caches of the machines at hand have, which are a
/// core's own, and more than the last-level ones, which all share.
const OTHERS: [(&str, usize); 2] = [("a core's caches", 4), ("all caches", 96)];
/// Subjects of the look-ups after other work.
const COLD: [&str; 4] = ["one MD5 block", "owner_index", "owner", "owners"];

/// What `with_node` at 10,000 nodes may take of the time of md-5 + sort_unstable: 0.35 of the 0.149 that it took before
/// points that stay were copied in runs.
const WITH_NODE: f64 = 0.052;

/// Nanoseconds per key, by subject.
type Medians = BTreeMap<&'static str, f64>;

fn argument(name: &'static str) -> Option<String> {
    std::env::args().skip_while(move |argument| argument != name).nth(1)
}

fn main() -> std::process::ExitCode {
    let only = argument("--only");
    let wanted = |part| only.as_deref().is_none_or(|only| only == part);
    let (mut promised, mut sizes) = (Vec::new(), Vec::new());
    if wanted("warm") {
        sizes = warm();
        promised.extend(sizes.iter().flat_map(|(size, medians)| promises(*size, medians)));
    }
    if wanted("cold") {
        promised.extend(after_others());
    }
    if wanted("build") {
        promised.extend(builds());
    }
    println!("\n### Promises\n\n| what | ratio | at most | |\n|---|--:|--:|---|");
    let mut kept = true;
    for promise in promised {
        kept &= promise.print();
    }
    if let Some(Err(error)) = argument("--svg").map(|file| std::fs::write(file, plot::svg(&sizes))) {
        println!("The plot could not be written: {error}");
        return std::process::ExitCode::FAILURE;
    }
    if kept { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE }
}

/// Prints the tables of look-ups with caches that are warm; the medians by number of nodes.
fn warm() -> Vec<(usize, Medians)> {
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
    sizes
}

/// Prints the tables of look-ups right after other work; what is promised about them.
fn after_others() -> Vec<Promise> {
    let keys = Keys::new(KEYS, 15);
    OTHERS.into_iter().flat_map(|(others, megabytes)| after(others, megabytes << 20, &keys)).collect()
}

fn after(name: &str, bytes: usize, keys: &Keys) -> Vec<Promise> {
    let mut others = cold::Others::new(bytes);
    let of_size = |size| {
        let subjects = peers::ours(size).into_iter().filter(|subject| COLD.contains(&subject.name)).collect();
        (size, cold::medians(subjects, keys, COLD_ROUNDS, &mut others))
    };
    let sizes: Vec<_> = SIZES.into_iter().map(of_size).collect();
    let heads: Vec<String> = SIZES.iter().map(|size| format!("{size} | again")).collect();
    println!("\n### Nanoseconds per key with {name} filled by others between the looks, and at once again\n");
    println!("| | {} |\n|---|{}", heads.join(" | "), "--:|".repeat(2 * SIZES.len()));
    for name in COLD {
        let times = sizes.iter().filter_map(|(_, medians)| medians.get(name));
        let cells: Vec<String> = times.map(|[cold, warm]| format!("{cold:.1} | {warm:.1}")).collect();
        println!("| {name} | {} |", cells.join(" | "));
    }
    let mut promises = Vec::new();
    for (size, medians) in &sizes {
        let [index, owner] = match size {
            1_000 => [1.5, 1.7],
            10_000 => [2.5, 3.0],
            _ => continue,
        };
        let cold = |subject: &str| medians.get(subject).map_or(f64::NAN, |times| times[0]);
        for (subject, most) in [("owner_index", index), ("owner", owner)] {
            let what = format!("{size} nodes, {name} filled by others: {subject} / one MD5 block");
            promises.push(Promise { what, ratio: cold(subject) / cold("one MD5 block"), most });
        }
        if let (1_000, Some([cold, warm])) = (*size, medians.get("owners")) {
            let what = format!("{size} nodes, {name} filled by others: owners / at once again");
            promises.push(Promise { what, ratio: cold / warm, most: 1.15 });
        }
    }
    promises
}

/// Prints the table of builds; what is promised about them.
fn builds() -> Vec<Promise> {
    println!("\n### Building\n\n| nodes | md-5 + sort_unstable | HashRing | ratio | with_node | ratio |");
    println!("|--:|--:|--:|--:|--:|--:|");
    let mut promises = Vec::new();
    for size in SIZES {
        let [built, with_node] = build(size);
        let what = format!("building {size} nodes / md-5 + sort_unstable");
        match size {
            1_000 => promises.push(Promise { what, ratio: built, most: 0.4 }),
            10_000 => {
                promises.push(Promise { what, ratio: built, most: 0.35 });
                let what = format!("with_node at {size} nodes / md-5 + sort_unstable");
                promises.push(Promise { what, ratio: with_node, most: WITH_NODE });
            }
            _ => {}
        }
    }
    promises
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
        8 => promise("owner", "one MD5 block", 1.05),
        1_000 => promise("owner", "one MD5 block", 1.08),
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
            cold.push(peers::time(|| (subject.run)(keys)));
            warm.push(peers::time(|| (subject.run)(keys)));
        }
    }
    let per_key = |times: Vec<Duration>| median(times).as_secs_f64() * 1e9 / keys.text().len() as f64;
    times.into_iter().map(|(name, [cold, warm])| ((name, per_key(warm)), (name, per_key(cold)))).unzip()
}

/// Prints a row of the table of builds; the ratios of a build and of `with_node`.
fn build(size: usize) -> [f64; 2] {
    let nodes = peers::nodes(size);
    let ring = HashRing::new(nodes.clone());
    let rounds = if size > 1_000 { 21 } else { ROUNDS };
    let (mut plain, mut ours, mut added) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        plain.push(peers::time(|| drop(black_box(peers::plain_points(&nodes)))));
        ours.push(peers::time(|| drop(black_box(HashRing::new(nodes.iter().map(String::as_str))))));
        added.push(peers::time(|| drop(black_box(ring.with_node("one more", 1)))));
    }
    let [plain, ours, added] = [plain, ours, added].map(|times| median(times).as_secs_f64() * 1e6);
    let (built, with_node) = (ours / plain, added / plain);
    println!("| {size} | {plain:.0} µs | {ours:.0} µs | {built:.2} | {added:.0} µs | {with_node:.3} |");
    [built, with_node]
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
