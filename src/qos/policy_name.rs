//! The policies' names.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A QoS policy, by name.
///
/// Part of the wire format: variants are only ever added at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Policy {
    /// [`Durability`](super::Durability).
    Durability,
    /// [`Presentation`](super::Presentation).
    Presentation,
    /// The deadline, a [`Period`](super::Period).
    Deadline,
    /// The latency budget.
    LatencyBudget,
    /// [`Ownership`](super::Ownership).
    Ownership,
    /// [`Liveliness`](super::Liveliness).
    Liveliness,
    /// [`Reliability`](super::Reliability).
    Reliability,
    /// [`DestinationOrder`](super::DestinationOrder).
    DestinationOrder,
    /// [`History`](super::History).
    History,
    /// The strength of an exclusive publisher.
    OwnershipStrength,
    /// How long a sample stays of interest, a [`Period`](super::Period).
    Lifespan,
    /// The least time between two samples that a subscriber gets.
    TimeBasedFilter,
    /// [`Partition`](super::Partition).
    Partition,
    /// [`ResourceLimits`](super::ResourceLimits).
    ResourceLimits,
    /// The hint for transports with priorities.
    TransportPriority,
}

impl Policy {
    /// The policies that take part in matching, in the order in which mismatches are reported.
    pub const MATCHED: [Self; 9] = [
        Self::Durability,
        Self::Presentation,
        Self::Deadline,
        Self::LatencyBudget,
        Self::Ownership,
        Self::Liveliness,
        Self::Reliability,
        Self::DestinationOrder,
        Self::History,
    ];

    /// The name in the DDS specification, in kebab case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Durability => "durability",
            Self::Presentation => "presentation",
            Self::Deadline => "deadline",
            Self::LatencyBudget => "latency-budget",
            Self::Ownership => "ownership",
            Self::Liveliness => "liveliness",
            Self::Reliability => "reliability",
            Self::DestinationOrder => "destination-order",
            Self::History => "history",
            Self::OwnershipStrength => "ownership-strength",
            Self::Lifespan => "lifespan",
            Self::TimeBasedFilter => "time-based-filter",
            Self::Partition => "partition",
            Self::ResourceLimits => "resource-limits",
            Self::TransportPriority => "transport-priority",
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
