//! What the registry stores: registrations, and the versions of them that win.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::message::{Encoding, EntityId};
use crate::qos::{Offered, Requested};
use crate::topic::{Topic, TopicFilter};
use crate::transport::Locator;

/// How a subscriber wants its samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Route {
    /// Straight from the publishers.
    #[default]
    Direct,
    /// Through the node that is responsible for the topic.
    ViaNode,
}

/// What a session offers or requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Interest {
    /// A publisher.
    Offer {
        /// Its topic.
        topic: Topic,
        /// What it offers.
        qos: Box<Offered>,
    },
    /// A subscriber.
    Request {
        /// Its topics.
        filter: TopicFilter,
        /// What it requests.
        qos: Box<Requested>,
        /// How it wants its samples.
        route: Route,
    },
}

impl Interest {
    /// The one topic concerned; `None` for a filter with wildcards.
    pub fn topic(&self) -> Option<Topic> {
        match self {
            Self::Offer { topic, .. } => Some(topic.clone()),
            Self::Request { filter, .. } => filter.as_topic(),
        }
    }

    /// The text that is placed on the ring.
    pub(crate) fn key(&self) -> &str {
        match self {
            Self::Offer { topic, .. } => topic.as_str(),
            Self::Request { filter, .. } => filter.as_str(),
        }
    }

    /// Whether every node holds it: a request with wildcards may match topics anywhere.
    pub(crate) fn is_everywhere(&self) -> bool {
        matches!(self, Self::Request { filter, .. } if !filter.is_exact())
    }
}

/// A publisher's or a subscriber's entry in the registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Who.
    pub id: EntityId,
    /// Where its session is reached.
    pub locator: Locator,
    /// How its samples are encoded.
    pub encoding: Encoding,
    /// For how long the entry is believed without a renewal. Nodes clamp it to their bounds.
    pub lease: Duration,
    /// What it offers or requests.
    pub interest: Interest,
}

/// What decides between two copies of a record: the version, and of equal ones the end of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rank {
    /// Counted up by the registering session with every renewal and change.
    pub version: u64,
    /// Whether it was withdrawn, or its lease has ended.
    pub withdrawn: bool,
}

/// A registration at one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Which copy wins.
    pub rank: Rank,
    /// The content.
    pub registration: Registration,
}

impl Record {
    /// Who.
    pub fn id(&self) -> EntityId {
        self.registration.id
    }

    /// Whether it takes part in matching.
    pub fn is_live(&self) -> bool {
        !self.rank.withdrawn
    }
}
