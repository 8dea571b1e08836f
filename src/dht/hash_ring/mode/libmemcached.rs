//! libmemcached 1.1.4 without weights (`update_continuum` of `hosts.cc`): one point for each `{label}-{j}`.

use crate::dht::hash_ring::hash::one_at_a_time;

/// Calls `take` with the points of a node.
pub(super) fn points(label: &str, count: u64, mut take: impl FnMut(u32)) {
    for j in 0..count {
        take(one_at_a_time(format!("{label}-{j}").as_bytes()));
    }
}
