//! A simulated ring: nodes and clients over a seeded network that delays, loses, reorders and partitions.
//!
//! Every message is encoded and decoded on its way. A failing seed is printed with the command that replays it.

mod durability;
mod faults;
mod hostile;
mod membership;
mod oracle;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Runs a test for the seeds from 0 to `count`, or to `RINGBUS_SEEDS`, or for the one in `RINGBUS_SEED`.
fn for_seeds(test: &str, count: u64, run: impl Fn(u64)) {
    let number = |name| std::env::var(name).ok().map(|value| value.parse::<u64>().expect("a number"));
    let count = number("RINGBUS_SEEDS").unwrap_or(count);
    let seeds = number("RINGBUS_SEED").map_or(0..count, |seed| seed..seed + 1);
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(seed))) {
            eprintln!(
                "replay: RINGBUS_SEED={seed} cargo test --all-features --lib dht::sim::{test} -- --nocapture"
            );
            resume_unwind(panic);
        }
    }
}
