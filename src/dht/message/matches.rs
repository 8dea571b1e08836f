//! What a responsible node tells a client about its counterparts.

use serde::{Deserialize, Serialize};

use crate::dht::member::Member;
use crate::dht::record::Route;
use crate::message::{Encoding, EntityId};
use crate::qos::{Durability, History, Mismatch, Offered, Ownership, Period, Reliability, Requested};
use crate::topic::Topic;
use crate::transport::Locator;

/// All present matches of one registration on one topic: a state, not a change, so that the next one heals the loss of
/// this one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Matches {
    /// Whose matches.
    pub registration: EntityId,
    /// On which topic.
    pub topic: Topic,
    /// The node that is responsible for the topic.
    pub responsible: Member,
    /// Grows with every push of that node.
    pub revision: u64,
    /// Which part of the list, from 0.
    pub part: u16,
    /// How many parts there are, at least 1.
    pub parts: u16,
    /// The strongest exclusive offer that is heard, if there is one.
    pub owner: Option<EntityId>,
    /// The other side; at most [`MAX_PART`](super::MAX_PART) in one part.
    pub entries: Vec<MatchEntry>,
}

/// One counterpart of a registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatchEntry {
    /// The counterpart.
    pub peer: EntityId,
    /// Its session.
    pub locator: Locator,
    /// How the offer of the pair encodes its samples; on the offer's side, what the request expects.
    pub encoding: Encoding,
    /// How the request of the pair wants its samples.
    pub route: Route,
    /// What the counterpart offers or requests, in short.
    pub qos: QosSummary,
    /// Whether the two fit.
    pub verdict: Verdict,
}

/// Whether an offer satisfies a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It does.
    Compatible,
    /// It does not, for these reasons.
    Incompatible(Mismatch),
}

impl Verdict {
    /// Whether the two fit.
    pub fn is_compatible(&self) -> bool {
        matches!(self, Self::Compatible)
    }
}

/// The policies that a counterpart acts upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QosSummary {
    /// The offer's strength; 0 for a request.
    pub strength: i32,
    /// Shared or exclusive.
    pub ownership: Ownership,
    /// What late joiners get.
    pub durability: Durability,
    /// Whether samples may be lost.
    pub reliability: Reliability,
    /// The depth of history.
    pub history: History,
    /// How long the silence of the writer is believed.
    pub lease: Period,
}

impl From<&Offered> for QosSummary {
    fn from(offered: &Offered) -> Self {
        Self {
            strength: offered.strength,
            ownership: offered.ownership,
            durability: offered.durability,
            reliability: offered.reliability,
            history: offered.history,
            lease: offered.liveliness.lease,
        }
    }
}

impl From<&Requested> for QosSummary {
    fn from(requested: &Requested) -> Self {
        Self {
            strength: 0,
            ownership: requested.ownership,
            durability: requested.durability,
            reliability: requested.reliability,
            history: requested.history,
            lease: requested.liveliness.lease,
        }
    }
}
