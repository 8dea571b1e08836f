//! What gives way where more is published than can be sent, acknowledged or read.

use serde::{Deserialize, Serialize};

/// What gives way when there is no room: for a sample in a publisher's history or open batch, or in a subscriber's queue.
///
/// A policy of each side alone: it takes no part in matching and is not told to peers. Everything that gives way is
/// counted by cause: [`PublisherStats`](crate::pubsub::PublisherStats),
/// [`SubscriberStats`](crate::pubsub::SubscriberStats), and the metric `ringbus_samples_dropped_total`.
///
/// A **publisher** lacks room while the link is busy and the open batch full, and under reliable keep-all while its
/// history is full of samples that a subscriber has not acknowledged. A **subscriber** lacks room when its queue is at
/// the [resource limits](super::ResourceLimits); that newer samples replace unread ones by a keep-last depth is not
/// overflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Overflow {
    /// Nothing gives way.
    ///
    /// Publisher: [`publish`](crate::Publisher::publish) waits, [`try_publish`](crate::Publisher::try_publish) says
    /// [`Full`](crate::ErrorKind::Full). A subscriber that holds it up for a second is told of:
    /// [`MatchEvent::Slow`](crate::pubsub::MatchEvent::Slow).
    ///
    /// Subscriber: with keep-all, samples that can be repaired are refused and asked for again when there is room, which
    /// holds a reliable keep-all publisher up; others are dropped. With keep-last, which never waits, the oldest give way.
    #[default]
    Wait,
    /// The oldest samples give way to new ones: nobody waits.
    ///
    /// Publisher: the oldest samples leave the history although a subscriber has not acknowledged them. Where it misses
    /// them, it counts them as lost; the others are not affected. While the link is busy, a full batch waits in the
    /// history for its turn; without a history it is dropped whole, and subscribers see the gap.
    ///
    /// Subscriber: the oldest unread samples are dropped.
    DropOldest,
    /// New samples give way to those that wait: nobody waits.
    ///
    /// Publisher: [`publish`](crate::Publisher::publish) is `Ok` although the value was dropped; it gets no number, so that
    /// subscribers know nothing of it. [`try_publish`](crate::Publisher::try_publish) says
    /// [`Full`](crate::ErrorKind::Full) instead.
    ///
    /// Subscriber: what arrives while the queue is full is dropped, and acknowledged if it is reliable.
    DropNewest,
    /// Whoever is too slow is let go.
    ///
    /// Publisher, reliable keep-all only: as [`Wait`](Self::Wait), but a subscriber that holds the publisher up for a
    /// second, and in that time does not acknowledge a quarter of the history, is not waited for any more:
    /// [`Departure::TooSlow`](crate::pubsub::Departure::TooSlow). It is matched anew when it has caught up.
    ///
    /// Subscriber: when the queue is full, it leaves its publishers. What was received can be read; then
    /// [`recv`](crate::Subscriber::recv) fails once with [`TooSlow`](crate::ErrorKind::TooSlow), then it ends.
    Disconnect,
}
