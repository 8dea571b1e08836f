//! Look-ups right after other work, which left the caches full of what it needed.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

use crate::peers::{self, Keys, Subject};

/// What other work reads and writes.
pub(crate) struct Others {
    words: Vec<u64>,
}

impl Others {
    pub(crate) fn new(bytes: usize) -> Self {
        Self { words: (0..bytes as u64 / 8).collect() }
    }

    /// Fills the caches of data; the keys are in them afterwards, as they are where a program has just made them.
    fn work(&mut self, keys: &Keys) {
        for line in self.words.chunks_mut(8) {
            line[0] = black_box(line[0].wrapping_mul(3));
        }
        keys.touch();
    }
}

/// Nanoseconds per key with caches filled by others, and right after that once more, by subject: medians of rounds in
/// which all take turns.
pub(crate) fn medians(
    mut subjects: Vec<Subject>,
    keys: &Keys,
    rounds: usize,
    others: &mut Others,
) -> BTreeMap<&'static str, [f64; 2]> {
    let mut times: BTreeMap<&'static str, [Vec<Duration>; 2]> = BTreeMap::new();
    let few = &Keys::new(32, keys.text().first().map_or(0, |key| key.len()) + 1);
    for _ in 0..rounds {
        for subject in &mut subjects {
            others.work(keys);
            // Of code, and of the stack, the others leave little, too: that is not what is measured.
            (subject.run)(few);
            let both = times.entry(subject.name).or_default();
            for times in both {
                times.push(peers::time(|| (subject.run)(keys)));
            }
        }
    }
    let per_key = |mut times: Vec<Duration>| {
        times.sort_unstable();
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        median.as_secs_f64() * 1e9 / keys.text().len() as f64
    };
    times.into_iter().map(|(name, times)| (name, times.map(per_key))).collect()
}
