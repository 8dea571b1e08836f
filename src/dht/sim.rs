//! A simulated ring: nodes and clients over a seeded network that delays, loses, reorders and partitions.
//!
//! Every message is encoded and decoded on its way. A failing seed is printed with the command that replays it.

pub(crate) mod clockwork;
mod durability;
mod faults;
mod hostile;
mod latency;
mod lookups;
mod membership;
mod names;
mod oracle;
mod stopped;
mod unreachable;
mod world;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Runs a test of this simulation for the seeds from 0 to `count`; see [`for_seeds_in`].
fn for_seeds(test: &str, count: u64, run: impl Fn(u64)) {
    for_seeds_in(&format!("dht::sim::{test}"), 0..count, run);
}

/// Runs the test of this path for these seeds, or for `RINGBUS_SEEDS` of them, or for the one in `RINGBUS_SEED`.
pub(crate) fn for_seeds_in(test: &str, seeds: Range<u64>, run: impl Fn(u64)) {
    let number = |name| std::env::var(name).ok().map(|value| value.parse::<u64>().expect("a number"));
    let seeds = number("RINGBUS_SEEDS").map_or(seeds.clone(), |count| seeds.start..seeds.start + count);
    let seeds = number("RINGBUS_SEED").map_or(seeds, |seed| seed..seed + 1);
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(seed))) {
            eprintln!("replay: RINGBUS_SEED={seed} cargo test --all-features --lib {test} -- --nocapture");
            resume_unwind(panic);
        }
    }
}
