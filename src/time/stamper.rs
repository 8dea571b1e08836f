//! Source timestamps for samples that are published in a burst.

use super::Timestamp;

/// So many samples of a burst may share a timestamp.
const SHARED_BY: u32 = 8;

/// The wall clock, read precisely every eighth time.
///
/// Reading it takes longer than all the rest of publishing a small sample. Where samples follow each other faster than they
/// can be sent, neighbours share a timestamp: up to eight, and only within one tick of the system's coarse clock (a few
/// milliseconds), which is read each time. So it never goes back, and lags by less than such a tick, by microseconds in a
/// burst. Where there is no coarse clock every reading is precise.
#[derive(Debug, Default)]
pub(crate) struct Stamper {
    last: Option<(Tick, Timestamp)>,
    shared_by: u32,
}

impl Stamper {
    /// The present time, exactly.
    #[inline]
    pub(crate) fn precise(&mut self) -> Timestamp {
        self.last = None;
        Timestamp::now()
    }

    /// The present time, or nearly.
    #[inline]
    pub(crate) fn shared(&mut self) -> Timestamp {
        let tick = tick();
        match self.last {
            Some((then, last)) if self.shared_by < SHARED_BY && tick.is_some() && tick == then => {
                self.shared_by += 1;
                last
            }
            _ => {
                let now = Timestamp::now();
                (self.last, self.shared_by) = (Some((tick, now)), 1);
                now
            }
        }
    }
}

/// A reading of the coarse clock, if there is one.
type Tick = Option<(i64, i64)>;

#[cfg(target_os = "linux")]
#[inline]
fn tick() -> Tick {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    Some((now.tv_sec, i64::from(now.tv_nsec)))
}

#[cfg(not(target_os = "linux"))]
fn tick() -> Tick {
    None
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_shares_timestamps_that_lag_little_and_never_go_back() {
        let mut stamper = Stamper::default();
        let mut distinct = std::collections::BTreeSet::new();
        let mut last = Timestamp::MIN;
        for _ in 0..8000 {
            let before = Timestamp::now();
            let stamp = stamper.shared();
            assert!(stamp >= last, "it went back");
            assert!(before.saturating_since(stamp) < Duration::from_millis(50), "it lags");
            distinct.insert(stamp);
            last = stamp;
        }
        assert!(distinct.len() >= 1000 - 8, "more than eight shared one: {}", distinct.len());
    }

    #[test]
    fn a_pause_ends_the_sharing() {
        let mut stamper = Stamper::default();
        let first = stamper.shared();
        std::thread::sleep(Duration::from_millis(30));
        assert!(stamper.shared().saturating_since(first) >= Duration::from_millis(25));
    }
}
