//! What publishers and subscribers tell each other: postcard in control frames of [`Room::PubSub`].
//!
//! [`Room::PubSub`]: crate::wire::Room::PubSub

use serde::{Deserialize, Serialize};

use crate::message::{Encoding, EntityId};
use crate::qos::{Offered, Requested};
use crate::time::Timestamp;
use crate::topic::TopicFilter;
use crate::transport::Locator;

/// The topic on which a new subscriber asks for announcements.
pub(crate) const QUERY_TOPIC: &str = "@ringbus/query";

/// One message. Only ever grows at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Message {
    /// A writer's announcement, on its topic: whoever hears it receives the samples too.
    Heartbeat(Heartbeat),
    /// A writer leaves, on its topic.
    WriterBye {
        writer: EntityId,
        epoch: u32,
        /// The last sequence number that it used; 0 for none.
        last: u64,
    },
    /// A reader's answer to a heartbeat, or its request for what it misses; to the writer's session.
    AckNack(AckNack),
    /// A reader leaves; to the writer's session.
    ReaderBye { reader: EntityId, writer: EntityId, via_node: bool },
    /// A writer's answer to [`AckNack::replay_after`]; to the reader's session.
    Replay(Replay),
    /// A new reader asks the writers under its filter to announce themselves, on [`QUERY_TOPIC`].
    Query { filter: TopicFilter },
}

/// What a writer says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Heartbeat {
    pub(crate) writer: EntityId,
    pub(crate) epoch: u32,
    /// Where the writer's session takes answers.
    pub(crate) locator: Locator,
    pub(crate) offered: Offered,
    pub(crate) encoding: Encoding,
    /// The oldest sample that can still be had; `last + 1` if none.
    pub(crate) first: u64,
    /// The newest sample's sequence number; 0 if nothing was published yet.
    pub(crate) last: u64,
}

/// What a reader says of itself to one writer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AckNack {
    pub(crate) reader: EntityId,
    pub(crate) writer: EntityId,
    pub(crate) epoch: u32,
    /// Whether it is for a node's stand-in rather than for the writer itself: the two share an identity.
    pub(crate) via_node: bool,
    pub(crate) requested: Requested,
    /// Everything below has been received, or is not wanted.
    pub(crate) next: u64,
    /// Inclusive ranges that are missing, at most [`MAX_RANGES`].
    pub(crate) missing: Vec<(u64, u64)>,
    /// Ask where in the sequence the samples after this source timestamp begin.
    pub(crate) replay_after: Option<Timestamp>,
}

/// Where a replay begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Replay {
    pub(crate) reader: EntityId,
    pub(crate) writer: EntityId,
    pub(crate) epoch: u32,
    /// The timestamp that was asked for.
    pub(crate) after: Timestamp,
    /// The first sample after it that is kept; `last + 1` if none.
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// The most ranges in one [`AckNack`].
pub(crate) const MAX_RANGES: usize = 32;
