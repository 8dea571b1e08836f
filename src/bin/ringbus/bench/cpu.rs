//! Processor time.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// What this process has used so far, user and system, all threads.
pub(super) fn own() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// What the first thread of another process has used so far; `None` where the system does not tell.
pub(super) fn of(pid: u32) -> Option<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
    let nanoseconds = text.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}
