//! The policies, each a total type with DDS's default and an order where the matching rule needs one.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long samples outlive the moment they are published. Ordered: later is stronger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub enum Durability {
    /// Late joiners get what is published after they have matched.
    #[default]
    Volatile,
    /// Late joiners get the writer's history first, as long as the writer lives.
    TransientLocal,
    /// The history outlives the writer.
    Transient,
    /// The history outlives the system.
    Persistent,
}

/// Whether samples may be lost. Ordered: later is stronger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub enum Reliability {
    /// Samples may be lost; every loss is counted.
    #[default]
    BestEffort,
    /// What the history keeps is delivered, in order and once.
    Reliable,
}

/// How many samples of an instance (a topic) are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum History {
    /// The last so many samples of each instance; at least one.
    KeepLast(u32),
    /// All samples, up to the [resource limits](ResourceLimits); then the publisher waits.
    KeepAll,
}

impl Default for History {
    /// `KeepLast(1)`.
    fn default() -> Self {
        Self::KeepLast(1)
    }
}

impl History {
    /// The depth as a number that compares: keep-all is deeper than any keep-last.
    pub fn depth(self) -> u64 {
        match self {
            Self::KeepLast(depth) => u64::from(depth),
            Self::KeepAll => u64::MAX,
        }
    }
}

/// Whether the writers of an instance share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Ownership {
    /// All writers of an instance are heard.
    #[default]
    Shared,
    /// Only the strongest live writer of an instance is heard.
    Exclusive,
}

/// Who asserts that a writer is alive. Ordered: later is stronger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub enum LivelinessKind {
    /// The library, as long as the session runs.
    #[default]
    Automatic,
    /// The program, once for all writers of its session.
    ManualByParticipant,
    /// The program, for each writer.
    ManualByTopic,
}

/// A period of time that may be infinite. Ordered: infinite is the longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub enum Period {
    /// At most this long.
    Finite(Duration),
    /// Without bound.
    #[default]
    Infinite,
}

impl Period {
    /// The duration, if it is finite.
    pub fn finite(self) -> Option<Duration> {
        match self {
            Self::Finite(duration) => Some(duration),
            Self::Infinite => None,
        }
    }
}

impl From<Duration> for Period {
    fn from(duration: Duration) -> Self {
        Self::Finite(duration)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finite(duration) => write!(f, "{duration:?}"),
            Self::Infinite => f.write_str("infinite"),
        }
    }
}

/// How a writer shows that it is alive, and how long its silence is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Liveliness {
    /// Who asserts it.
    pub kind: LivelinessKind,
    /// A writer that was silent for this long counts as gone.
    pub lease: Period,
}

impl Liveliness {
    /// Asserted by the library, believed for this long.
    pub fn automatic(lease: Duration) -> Self {
        Self { kind: LivelinessKind::Automatic, lease: lease.into() }
    }
}

/// The scope within which changes are presented together. Ordered: later is stronger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub enum Access {
    /// One instance.
    #[default]
    Instance,
    /// All instances of one topic.
    Topic,
    /// All topics of one publisher group.
    Group,
}

/// How changes are presented to the subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Presentation {
    /// The scope that the two flags apply to.
    pub access: Access,
    /// Whether a set of changes becomes visible as a whole.
    pub coherent: bool,
    /// Whether the order across instances is kept.
    pub ordered: bool,
}

/// By which time samples of several writers are ordered. Ordered: later is stronger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub enum DestinationOrder {
    /// By their arrival.
    #[default]
    ByReception,
    /// By their source timestamps.
    BySource,
}

/// Bounds on what one writer or reader keeps in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ResourceLimits {
    /// The most samples kept.
    pub max_samples: usize,
    /// The most bytes kept: frames with their headers, and 256 bytes more for each of them, about what managing one takes.
    pub max_bytes: usize,
}

impl Default for ResourceLimits {
    /// 1,048,576 samples, 256 MiB. DDS's own default is "unlimited"; every queue here is bounded.
    fn default() -> Self {
        Self { max_samples: 1 << 20, max_bytes: 256 << 20 }
    }
}
