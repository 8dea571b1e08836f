//! How far the broker has acknowledged what was handed over: what a flush waits for.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

/// Two counts of the users' messages that are to be acknowledged, for as long as the session lives.
///
/// A message is counted before it enters the queue, and the queue is first in, first out. So whoever reads the first count
/// finds its own messages among the first so many that leave the queue, and nothing else has to be known of each.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    handed_over: AtomicU64,
    /// Of those that have left the queue, how many, from the first on, are acknowledged without a hole.
    acknowledged: AtomicU64,
    /// There will be no more acknowledgements.
    ended: AtomicBool,
    /// Told when the second count grows, and at the end.
    progress: Notify,
}

impl Receipts {
    /// Counts a message. Before it enters the queue.
    pub(super) fn hand_over(&self) {
        self.handed_over.fetch_add(1, Ordering::AcqRel);
    }

    /// The first `count` are acknowledged.
    pub(super) fn acknowledge(&self, count: u64) {
        // Only the session's own task writes it.
        if self.acknowledged.load(Ordering::Relaxed) != count {
            self.acknowledged.store(count, Ordering::Release);
            self.progress.notify_waiters();
        }
    }

    /// The session has ended.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.progress.notify_waiters();
    }

    /// Waits until everything counted before the call is acknowledged. `false` if the session ended first. Cancel-safe.
    pub(super) async fn all_acknowledged(&self) -> bool {
        let wanted = self.handed_over.load(Ordering::Acquire);
        loop {
            let mut progress = pin!(self.progress.notified());
            // Before the look, so that no progress after it is missed.
            progress.as_mut().enable();
            // In this order: what was acknowledged before the end counts.
            let ended = self.ended.load(Ordering::Acquire);
            if self.acknowledged.load(Ordering::Acquire) >= wanted {
                return true;
            }
            if ended {
                return false;
            }
            progress.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn who_waits_is_told_of_what_was_before_and_not_held_up_by_what_came_after() {
        let receipts = Arc::new(Receipts::default());
        assert!(receipts.all_acknowledged().await, "nothing to wait for");
        receipts.hand_over();
        receipts.hand_over();
        let waits = tokio::spawn({
            let receipts = receipts.clone();
            async move { receipts.all_acknowledged().await }
        });
        tokio::task::yield_now().await;
        receipts.hand_over();
        receipts.acknowledge(1);
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        receipts.acknowledge(2);
        assert!(waits.await.unwrap());
        assert!(timeout(Duration::from_millis(20), receipts.all_acknowledged()).await.is_err());
    }

    #[tokio::test]
    async fn the_end_is_an_answer_too() {
        let receipts = Arc::new(Receipts::default());
        receipts.hand_over();
        receipts.acknowledge(1);
        let late = receipts.clone();
        receipts.hand_over();
        let waits = tokio::spawn(async move { late.all_acknowledged().await });
        tokio::task::yield_now().await;
        receipts.end();
        assert!(!waits.await.unwrap());
        assert!(!receipts.all_acknowledged().await);
        receipts.acknowledge(2);
        assert!(receipts.all_acknowledged().await);
    }
}
