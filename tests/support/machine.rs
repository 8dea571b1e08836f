//! How busy the machine is that a test runs on.

use std::time::Duration;

/// For claims about time: what takes a quiet machine `limit` takes one that is busy with other things longer, by as much
/// as its cores are wanted more often than there are cores.
pub(crate) fn on_this_machine(limit: Duration) -> Duration {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = load.split(' ').next().and_then(|minute| minute.parse().ok()).unwrap_or(0.0);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    limit.mul_f64((load / cores as f64).max(1.0))
}
