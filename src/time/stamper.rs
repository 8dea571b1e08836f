//! Source timestamps for samples that are published in a burst.

use super::Timestamp;

/// So many samples of a burst may share a timestamp.
const SHARED_BY: u32 = 32;

/// The wall clock, read every thirty-second time in a burst.
///
/// Reading it takes longer than all the rest of publishing a small sample. Where samples follow each other faster than they
/// can be sent, neighbours share a timestamp: it lags by what it takes to publish thirty-one. That a burst which has stopped
/// short leaves no old reading behind is up to the caller, who has to [`forget`](Self::forget) it.
#[derive(Debug, Default)]
pub(crate) struct Stamper {
    last: Timestamp,
    /// How many may still share it.
    left: u32,
}

impl Stamper {
    /// The present time, exactly.
    #[inline]
    pub(crate) fn precise(&mut self) -> Timestamp {
        self.left = 0;
        Timestamp::now()
    }

    /// The present time, or nearly.
    #[inline]
    pub(crate) fn shared(&mut self) -> Timestamp {
        if self.left == 0 {
            self.last = Timestamp::now();
            self.left = SHARED_BY;
        }
        self.left -= 1;
        self.last
    }

    /// The next reading is exact.
    pub(crate) fn forget(&mut self) {
        self.left = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_burst_shares_timestamps_by_so_many_at_most() {
        let mut stamper = Stamper::default();
        let mut shared = BTreeMap::<Timestamp, u32>::new();
        for _ in 0..1600 {
            let stamp = stamper.shared();
            assert!(stamp <= Timestamp::now());
            *shared.entry(stamp).or_default() += 1;
        }
        // Two readings of a coarse clock may be equal; none is used for longer than it should be.
        assert!(shared.values().all(|count| count % SHARED_BY == 0), "{shared:?}");
    }

    #[test]
    fn what_was_forgotten_is_not_used_again() {
        let mut stamper = Stamper::default();
        let first = stamper.shared();
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert_eq!(stamper.shared(), first);
        stamper.forget();
        assert!(stamper.shared() > first);
        assert!(stamper.precise() > first);
        assert!(stamper.shared() > first);
    }
}
