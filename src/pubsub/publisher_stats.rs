//! Counts of one publisher.

use std::time::Duration;

/// Counts of one publisher, since it was built. What subscribers received and lost, they count themselves:
/// [`SubscriberStats`](super::SubscriberStats).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublisherStats {
    /// Samples taken, those that were dropped later included.
    pub published: u64,
    /// Samples dropped unsent because the link was busy, by an [`Overflow`](crate::qos::Overflow) of drop-oldest or
    /// drop-newest.
    pub link_busy: u64,
    /// Samples dropped because the history was full of samples that a subscriber had not acknowledged: under drop-newest
    /// those that were not taken; under drop-oldest those given up, which the subscriber may have received all the same.
    pub history_full: u64,
    /// Values refused because they were over the largest payload; `publish` has said so.
    pub oversize: u64,
    /// Messages that a broker refuses and that were given up: values without a frame, and frames, each of one sample or
    /// many.
    pub refused: u64,
    /// Samples sent again, to whoever missed them; one that two subscribers missed counts twice.
    pub repaired: u64,
    /// How often a subscriber was let go because it was too slow.
    pub disconnected: u64,
    /// For how long subscribers held the publisher up: from the first value that found the history full until half of it
    /// is free.
    pub held_up: Duration,
}
