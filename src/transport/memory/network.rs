//! The network as a value: what a test holds to make trouble.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;

use super::faults::{Faults, MAX_DELAY, probability};
use super::hub::Hub;
use crate::quiet::{MutexGuard, lock};

/// A network of [`MemoryTransport`](super::MemoryTransport)s. Clones are the same network.
///
/// It starts without any fault. Settings apply to what is sent from then on; what is under way arrives as it was
/// decided when it was sent. All chance comes from the seed.
///
/// ```
/// use std::time::Duration;
/// use ringbus::transport::memory::Network;
///
/// let network = Network::seeded(7)
///     .with_delay(Duration::from_millis(1)..=Duration::from_millis(5))
///     .with_loss(0.01);
/// network.partition(&["a", "b"], &["c"]);
/// network.heal();
/// ```
#[derive(Clone)]
pub struct Network(Arc<Shared>);

pub(super) struct Shared {
    hub: Mutex<Hub>,
    /// Woken whenever a message that had no room may be taken now, or fail now.
    pub(super) room: Notify,
}

impl Shared {
    pub(super) fn hub(&self) -> MutexGuard<'_, Hub> {
        // The hub's methods leave it whole wherever they could panic, so a poisoned lock is still a good hub.
        lock(&self.hub)
    }
}

impl Network {
    /// A network with the seed 0.
    pub fn new() -> Self {
        Self::seeded(0)
    }

    /// A network whose every chance comes from `seed`.
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Shared { hub: Mutex::new(Hub::new(Faults::seeded(seed))), room: Notify::new() }))
    }

    /// [`set_delay`](Self::set_delay), while building.
    pub fn with_delay(self, range: RangeInclusive<Duration>) -> Self {
        self.set_delay(range);
        self
    }

    /// [`set_loss`](Self::set_loss), while building.
    pub fn with_loss(self, probability: f64) -> Self {
        self.set_loss(probability);
        self
    }

    /// [`set_reorder`](Self::set_reorder), while building.
    pub fn with_reorder(self, probability: f64) -> Self {
        self.set_reorder(probability);
        self
    }

    /// [`set_detection`](Self::set_detection), while building.
    pub fn with_detection(self, after: Option<Duration>) -> Self {
        self.set_detection(after);
        self
    }

    /// How long messages travel, drawn evenly for each message and receiver. Order is kept: a message that would
    /// overtake waits. A range that runs backwards means its end, always;
    /// nothing travels longer than a day.
    pub fn set_delay(&self, range: RangeInclusive<Duration>) {
        let (least, most) = range.into_inner();
        self.change(|faults| faults.delay = least.min(MAX_DELAY)..=most.min(MAX_DELAY));
    }

    /// The probability that a message is lost, for each receiver on its own. What is not a probability is taken for
    /// the nearest one.
    pub fn set_loss(&self, value: f64) {
        self.change(|faults| faults.loss = probability(value));
    }

    /// The probability that a message is held back, by up to 10 ms or the longest delay if that is more, so that later
    /// ones overtake it. What is not a probability is taken for the nearest one.
    pub fn set_reorder(&self, value: f64) {
        self.change(|faults| faults.reorder = probability(value));
    }

    /// How long after a [`kill`](Self::kill) the others hear [`PeerDown`](super::Event::PeerDown), or `None`, the
    /// default, for never: then whoever wants to know must find out.
    pub fn set_detection(&self, after: Option<Duration>) {
        self.change(|faults| faults.detection = after.map(|after| after.min(MAX_DELAY)));
    }

    /// Cuts all links between the endpoints named in `one` and those named in `other`, in both directions. Names need
    /// not be open. Messages across vanish, and so do announcements; nobody is told.
    pub fn partition<A: AsRef<str>, B: AsRef<str>>(&self, one: &[A], other: &[B]) {
        for (a, b) in one.iter().flat_map(|a| other.iter().map(move |b| (a.as_ref(), b.as_ref()))) {
            self.cut(a, b);
            self.cut(b, a);
        }
    }

    /// Cuts one direction: nothing from `from` arrives at `to` any more.
    pub fn cut(&self, from: &str, to: &str) {
        self.change(|faults| faults.cut(from, to));
    }

    /// Mends all cuts. Those who had been cut off hear of the others ([`PeerUp`](super::Event::PeerUp)) and of their
    /// subscriptions again.
    pub fn heal(&self) {
        self.0.hub().heal();
        self.0.room.notify_waiters();
    }

    /// Ends the endpoint `name` as SIGKILL would: without a goodbye, what it had not read is lost, its halves answer
    /// [`Closed`](crate::ErrorKind::Closed) and the name is free. What it had sent still arrives. `false` if there is
    /// no such endpoint.
    pub fn kill(&self, name: &str) -> bool {
        let killed = self.0.hub().kill(name);
        self.0.room.notify_waiters();
        killed
    }

    /// Stops the hub, as one stops a broker: until [`start`](Self::start) what is sent vanishes, opening fails as
    /// [`Unreachable`](crate::ErrorKind::Unreachable), and nobody is told.
    pub fn stop(&self) {
        self.change(|faults| faults.stopped = true);
    }

    /// Starts the hub again. It remembers all subscriptions; every endpoint hears
    /// [`Reconnected`](super::Event::Reconnected), and of all others again. Nothing happens if it was running.
    pub fn start(&self) {
        self.0.hub().start();
        self.0.room.notify_waiters();
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        self.0.clone()
    }

    fn change(&self, change: impl FnOnce(&mut Faults)) {
        change(self.0.hub().faults());
        // Whoever waits for room at the far side of a new cut need not wait any more.
        self.0.room.notify_waiters();
    }
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").field("endpoints", &self.0.hub().names()).finish_non_exhaustive()
    }
}
