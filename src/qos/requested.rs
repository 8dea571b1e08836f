//! What a subscriber requests.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    DestinationOrder, Durability, History, Liveliness, Overflow, Ownership, Partition, Period, Presentation,
    Reliability, ResourceLimits,
};

/// The quality of service that a subscriber requests. The default is DDS's default for a data reader.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Requested {
    /// What the subscriber wants of the time before it joined.
    pub durability: Durability,
    /// How changes are to be presented.
    pub presentation: Presentation,
    /// A sample of each instance is expected at least this often.
    pub deadline: Period,
    /// The delay that is acceptable for batching.
    pub latency_budget: Duration,
    /// Whether several publishers of an instance are all heard.
    pub ownership: Ownership,
    /// How publishers are to show that they are alive.
    pub liveliness: Liveliness,
    /// Whether samples may be lost.
    pub reliability: Reliability,
    /// By which time samples are to be ordered.
    pub destination_order: DestinationOrder,
    /// How many samples of each instance wait in the subscriber's queue.
    pub history: History,
    /// System A's extension: only publishers that keep at least this subscriber's `history` match.
    pub match_history: bool,
    /// At most one sample of each instance in this time; zero for all.
    pub time_based_filter: Duration,
    /// The partitions that the subscriber reads from.
    pub partition: Partition,
    /// Bounds on the subscriber's queue.
    pub resource_limits: ResourceLimits,
    /// What gives way when the queue is full. Not told to publishers.
    #[serde(skip)]
    pub overflow: Overflow,
}

impl Default for Requested {
    /// DDS's defaults: best-effort, volatile, keep-last 1, shared, automatic liveliness with an infinite lease.
    fn default() -> Self {
        Self {
            durability: Durability::default(),
            presentation: Presentation::default(),
            deadline: Period::Infinite,
            latency_budget: Duration::ZERO,
            ownership: Ownership::default(),
            liveliness: Liveliness::default(),
            reliability: Reliability::BestEffort,
            destination_order: DestinationOrder::default(),
            history: History::default(),
            match_history: false,
            time_based_filter: Duration::ZERO,
            partition: Partition::default(),
            resource_limits: ResourceLimits::default(),
            overflow: Overflow::default(),
        }
    }
}

impl Requested {
    /// Every sample of every matched reliable publisher: reliable, keep-all.
    pub fn reliable() -> Self {
        Self { reliability: Reliability::Reliable, history: History::KeepAll, ..Self::default() }
    }

    /// The newest samples, losses allowed: the default under its own name.
    pub fn best_effort() -> Self {
        Self::default()
    }

    /// Ask for the publishers' history on joining.
    pub fn transient_local(mut self) -> Self {
        self.durability = Durability::TransientLocal;
        self
    }

    /// Keep the last `depth` unread samples of each instance.
    pub fn keep_last(mut self, depth: u32) -> Self {
        self.history = History::KeepLast(depth);
        self
    }

    /// Keep all unread samples, up to the resource limits.
    pub fn keep_all(mut self) -> Self {
        self.history = History::KeepAll;
        self
    }

    /// Hear only the strongest live publisher of each instance.
    pub fn exclusive(mut self) -> Self {
        self.ownership = Ownership::Exclusive;
        self
    }

    /// Only publishers whose automatic liveliness lease is at most this long.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.liveliness = Liveliness::automatic(lease);
        self
    }

    /// System A's extension: only publishers that keep at least as much history as this subscriber.
    pub fn match_history(mut self) -> Self {
        self.match_history = true;
        self
    }

    /// Bounds on what the subscriber queues.
    pub fn resource_limits(mut self, limits: ResourceLimits) -> Self {
        self.resource_limits = limits;
        self
    }

    /// What gives way when the queue is full.
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }
}
