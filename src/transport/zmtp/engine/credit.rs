//! How much of one connection may wait for the receiving half.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// As many bytes of a connection wait at most, and one message beyond.
const MOST_BYTES: usize = 8 << 20;

/// What one connection has delivered and the receiving half has not taken.
#[derive(Debug)]
pub(super) struct Credit {
    most: usize,
    messages: AtomicUsize,
    bytes: AtomicUsize,
    /// Told when half of it is free again.
    freed: Notify,
}

impl Credit {
    /// Room for that many messages.
    pub(super) fn new(most: usize) -> Self {
        let none = AtomicUsize::default;
        Self { most: most.max(1), messages: none(), bytes: none(), freed: Notify::new() }
    }

    /// Whether the connection has to stop reading.
    pub(super) fn is_spent(&self) -> bool {
        self.messages.load(Ordering::Acquire) >= self.most || self.bytes.load(Ordering::Acquire) >= MOST_BYTES
    }

    /// One more message of that many bytes waits.
    pub(super) fn take(&self, bytes: usize) {
        self.messages.fetch_add(1, Ordering::AcqRel);
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    /// A message of that many bytes was taken. Call it without locks: it wakes.
    pub(super) fn give_back(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.messages.fetch_sub(1, Ordering::AcqRel);
        if self.is_half_free() {
            self.freed.notify_waiters();
        }
    }

    fn is_half_free(&self) -> bool {
        self.messages.load(Ordering::Acquire) <= self.most / 2
            && self.bytes.load(Ordering::Acquire) <= MOST_BYTES / 2
    }

    /// Waits until half of it is free. Cancel-safe.
    pub(super) async fn half_free(&self) {
        loop {
            let mut freed = pin!(self.freed.notified());
            // Before the look, so that nothing that is freed after it is missed.
            freed.as_mut().enable();
            if self.is_half_free() {
                return;
            }
            freed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn who_waits_goes_on_when_half_is_free() {
        let credit = Arc::new(Credit::new(4));
        (0..4).for_each(|_| credit.take(10));
        assert!(credit.is_spent());
        let waiting = tokio::spawn({
            let credit = credit.clone();
            async move { credit.half_free().await }
        });
        tokio::task::yield_now().await;
        credit.give_back(10);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished() && !credit.is_spent());
        credit.give_back(10);
        waiting.await.unwrap();
    }

    #[test]
    fn few_large_messages_spend_it_as_well() {
        let credit = Credit::new(1000);
        credit.take(MOST_BYTES);
        assert!(credit.is_spent());
        credit.give_back(MOST_BYTES);
        assert!(!credit.is_spent());
    }
}
