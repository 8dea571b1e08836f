//! Publications that a transport has taken and that have not left the process yet.

use std::pin::pin;
#[cfg(any(feature = "zmq", feature = "mqtt"))]
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Counts them.
#[derive(Debug, Default)]
pub(in crate::transport) struct UnderWay {
    messages: AtomicUsize,
    /// Told when there are none.
    none: Notify,
    /// Told when there are fewer.
    fewer: Notify,
}

/// One publication; it is counted as long as this lives.
#[derive(Debug)]
#[cfg(any(feature = "zmq", feature = "mqtt"))]
pub(in crate::transport) struct Counted(Arc<UnderWay>);

impl UnderWay {
    /// Counts another one.
    #[cfg(any(feature = "zmq", feature = "mqtt"))]
    pub(in crate::transport) fn count(self: &Arc<Self>) -> Counted {
        self.begin();
        Counted(self.clone())
    }

    /// Counts another one, until [`end`](Self::end).
    pub(in crate::transport) fn begin(&self) {
        self.messages.fetch_add(1, Ordering::AcqRel);
    }

    /// That many that [began](Self::begin) are gone.
    pub(in crate::transport) fn end(&self, count: usize) {
        if self.messages.fetch_sub(count, Ordering::AcqRel) == count {
            self.none.notify_waiters();
        }
        self.fewer.notify_waiters();
    }

    /// How many there are.
    pub(in crate::transport) fn messages(&self) -> usize {
        self.messages.load(Ordering::Acquire)
    }

    /// Waits until there are fewer than `below`.
    pub(in crate::transport) async fn fall_below(&self, below: usize) {
        let changed = if below <= 1 { &self.none } else { &self.fewer };
        loop {
            let mut change = pin!(changed.notified());
            // Before the look, so that no change after it is missed.
            change.as_mut().enable();
            if self.messages() < below {
                return;
            }
            change.await;
        }
    }
}

#[cfg(any(feature = "zmq", feature = "mqtt"))]
impl Drop for Counted {
    /// On whatever thread lets go of the publication: with libzmq, one of its own.
    fn drop(&mut self) {
        self.0.end(1);
    }
}

#[cfg(all(test, any(feature = "zmq", feature = "mqtt")))]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn who_waits_is_told_at_its_own_mark() {
        let under_way = Arc::new(UnderWay::default());
        let mut counted: Vec<_> = (0..3).map(|_| under_way.count()).collect();
        assert_eq!(under_way.messages(), 3);
        let short = Duration::from_millis(20);
        assert!(tokio::time::timeout(short, under_way.fall_below(3)).await.is_err());
        let waits = |below| {
            let under_way = under_way.clone();
            tokio::spawn(async move { under_way.fall_below(below).await })
        };
        let (two, none) = (waits(3), waits(1));
        tokio::task::yield_now().await;
        std::thread::scope(|scope| {
            let one = counted.pop();
            scope.spawn(move || drop(one));
        });
        two.await.unwrap();
        assert!(!none.is_finished());
        counted.clear();
        none.await.unwrap();
    }
}
