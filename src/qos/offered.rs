//! What a publisher offers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    DestinationOrder, Durability, History, Liveliness, Overflow, Ownership, Partition, Period, Presentation,
    Reliability, ResourceLimits,
};

/// The quality of service that a publisher offers. The default is DDS's default for a data writer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Offered {
    /// What late joiners get.
    pub durability: Durability,
    /// How changes are presented.
    pub presentation: Presentation,
    /// The publisher promises a sample of each instance at least this often.
    pub deadline: Period,
    /// The delay that the publisher may add in order to batch.
    pub latency_budget: Duration,
    /// Whether several publishers of an instance are all heard.
    pub ownership: Ownership,
    /// Who is heard under exclusive ownership: the greatest strength wins.
    pub strength: i32,
    /// How the publisher shows that it is alive.
    pub liveliness: Liveliness,
    /// Whether samples may be lost.
    pub reliability: Reliability,
    /// By which time samples are ordered.
    pub destination_order: DestinationOrder,
    /// How many samples of each instance are kept for late joiners and repairs.
    pub history: History,
    /// Samples older than this are not delivered.
    pub lifespan: Period,
    /// The partitions that the publisher writes to.
    pub partition: Partition,
    /// Bounds on the history.
    pub resource_limits: ResourceLimits,
    /// A hint for transports with priorities.
    pub transport_priority: i32,
    /// What gives way when there is no room. A node that passes the samples on is told; subscribers need not know.
    #[serde(skip)]
    pub overflow: Overflow,
}

impl Default for Offered {
    /// DDS's defaults: reliable, volatile, keep-last 1, shared, automatic liveliness with an infinite lease.
    fn default() -> Self {
        Self {
            durability: Durability::default(),
            presentation: Presentation::default(),
            deadline: Period::Infinite,
            latency_budget: Duration::ZERO,
            ownership: Ownership::default(),
            strength: 0,
            liveliness: Liveliness::default(),
            reliability: Reliability::Reliable,
            destination_order: DestinationOrder::default(),
            history: History::default(),
            lifespan: Period::Infinite,
            partition: Partition::default(),
            resource_limits: ResourceLimits::default(),
            transport_priority: 0,
            overflow: Overflow::default(),
        }
    }
}

impl Offered {
    /// Every sample reaches every matched reliable subscriber: reliable, keep-all.
    pub fn reliable() -> Self {
        Self { history: History::KeepAll, ..Self::default() }
    }

    /// Samples may be lost; nothing is kept for repair.
    pub fn best_effort() -> Self {
        Self { reliability: Reliability::BestEffort, ..Self::default() }
    }

    /// Late joiners get the history that is kept.
    pub fn transient_local(mut self) -> Self {
        self.durability = Durability::TransientLocal;
        self
    }

    /// Keep the last `depth` samples of each instance.
    pub fn keep_last(mut self, depth: u32) -> Self {
        self.history = History::KeepLast(depth);
        self
    }

    /// Keep all samples, up to the resource limits.
    pub fn keep_all(mut self) -> Self {
        self.history = History::KeepAll;
        self
    }

    /// Exclusive ownership with this strength.
    pub fn exclusive(mut self, strength: i32) -> Self {
        self.ownership = Ownership::Exclusive;
        self.strength = strength;
        self
    }

    /// Automatic liveliness: a publisher that was silent for this long counts as gone.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.liveliness = Liveliness::automatic(lease);
        self
    }

    /// Bounds on what the publisher keeps.
    pub fn resource_limits(mut self, limits: ResourceLimits) -> Self {
        self.resource_limits = limits;
        self
    }

    /// What gives way when there is no room for a sample.
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }
}
