//! A simulated ring: nodes and clients over a seeded network that delays, loses, reorders and partitions.
//!
//! Every message is encoded and decoded on its way. A failing seed is printed with the command that replays it.

mod durability;
mod faults;
mod membership;
mod oracle;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Runs a test for many seeds, or for the one in `RINGBUS_SEED`.
fn for_seeds(test: &str, count: u64, run: impl Fn(u64)) {
    let only = std::env::var("RINGBUS_SEED").ok().map(|seed| seed.parse().expect("RINGBUS_SEED is a number"));
    let seeds = only.map_or(0..count, |seed: u64| seed..seed + 1);
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(seed))) {
            eprintln!(
                "replay: RINGBUS_SEED={seed} cargo test --all-features --lib dht::sim::{test} -- --nocapture"
            );
            resume_unwind(panic);
        }
    }
}
