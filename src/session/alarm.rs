//! When the driver wakes up by itself.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::time::Mono;

/// The time that the driver sleeps to, where those who have a new deadline can see it.
///
/// Deadlines of requests mostly move away: each is dropped when the answer comes, and the next is later. So the driver
/// leaves an alarm alone that is too early, and a request costs no timer and wakes nobody but the one whom it is for.
#[derive(Debug)]
pub(super) struct Alarm(AtomicU64);

const NEVER: u64 = u64::MAX;

impl Default for Alarm {
    fn default() -> Self {
        Self(AtomicU64::new(NEVER))
    }
}

impl Alarm {
    /// Whether who is due at `at` has to wake the driver.
    pub(super) fn is_after(&self, at: Mono) -> bool {
        self.0.load(Ordering::SeqCst) > nanos(at)
    }

    /// Until the services have been asked, who has a new deadline wakes the driver: it may have been missed.
    pub(super) fn clear(&self) {
        self.0.store(NEVER, Ordering::SeqCst);
    }

    /// The driver sleeps until then at most.
    pub(super) fn set(&self, at: Option<Mono>) {
        self.0.store(at.map_or(NEVER, nanos), Ordering::SeqCst);
    }
}

fn nanos(at: Mono) -> u64 {
    at.since_origin().as_nanos().try_into().unwrap_or(NEVER - 1)
}
