//! What ring nodes and clients say to each other.
//!
//! The enums only ever grow at their ends: their variants' numbers are the wire format. Every list has a bound, and a
//! longer one is sent in parts; [`Message::decode`] checks the size before it decodes anything.

pub(crate) mod lookups;
mod matches;
mod shared;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::message::{Encoding, EntityId};
use crate::qos::{Offered, Requested};
use crate::topic::{Topic, TopicFilter};
use crate::transport::Locator;

pub use self::matches::{MatchEntry, Matches, QosSummary, Verdict};
use super::member::{Member, NodeName};
use super::record::{Rank, Record};

/// The longest encoded control message, in bytes.
pub const MAX_MESSAGE_LEN: usize = 256 * 1024;

/// The most entries in one part of a list.
pub const MAX_PART: usize = 64;

/// The most records in one replication message.
pub const MAX_TRANSFER: usize = 32;

/// The most parts of one list.
pub const MAX_PARTS: u16 = 1024;

/// The number that ties an answer to its request; unique within the asking session.
pub type RequestId = u64;

/// A control message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Message {
    /// Between nodes: who is on the ring.
    Membership(MembershipMessage),
    /// From a client to any node.
    Request(Request),
    /// From node to node: a client's request on its way to the owner.
    Forward(Forward),
    /// From a node to the client that asked.
    Reply(Reply),
    /// From the owner back to the node that the client had asked, which passes it on.
    ReplyVia(ReplyVia),
    /// From a responsible node to a client: the present matches of a registration on one topic.
    Matches(Box<Matches>),
    /// Between nodes: copies of records.
    Transfer(Transfer),
    /// Between nodes: the records are held.
    TransferAck(TransferAck),
    /// Between nodes: what offers do you own?
    Gather(Gather),
    /// The answer to [`Message::Gather`].
    Gathered(Gathered),
}

impl Message {
    /// Encodes the message.
    ///
    /// # Errors
    /// [`ErrorKind::PayloadTooLarge`] over [`MAX_MESSAGE_LEN`].
    pub fn encode(&self) -> Result<Vec<u8>> {
        let bytes = postcard::to_stdvec(self).map_err(|source| {
            Error::with_source(ErrorKind::Encode { type_name: "Message", encoding: "postcard" }, source)
        })?;
        if bytes.len() > MAX_MESSAGE_LEN {
            return Err(ErrorKind::PayloadTooLarge { size: bytes.len(), limit: MAX_MESSAGE_LEN }.into());
        }
        Ok(bytes)
    }

    /// Decodes a message; never panics, and allocates in proportion to the bytes at hand.
    ///
    /// # Errors
    /// [`ErrorKind::PayloadTooLarge`] over [`MAX_MESSAGE_LEN`], [`ErrorKind::Malformed`] if the bytes are no message.
    /// What follows it is ignored: it is a later version's.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_MESSAGE_LEN {
            return Err(ErrorKind::PayloadTooLarge { size: bytes.len(), limit: MAX_MESSAGE_LEN }.into());
        }
        let malformed = |reason| ErrorKind::Malformed { what: "control message", reason };
        match postcard::take_from_bytes(bytes) {
            Ok((message, _)) => Ok(message),
            Err(source) => Err(Error::with_source(malformed("it does not decode"), source)),
        }
    }
}

/// Membership traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MembershipMessage {
    /// A packet of the SWIM protocol, in foca's own format.
    Swim(Vec<u8>),
    /// The sender would like to meet the receiver, whose name it does not know yet.
    Join(Member),
    /// The answer to `Join`: who the receiver is.
    Welcome(Member),
    /// The receiver's name is this node's, as far as the sender knows; with the receiver's own locator, an earlier life
    /// of the receiver is remembered under this generation. The receiver asks that node before it gives way.
    NameTaken(Member),
    /// The sender leaves the ring now.
    Leaving(Member),
    /// The receiver has taken the sender's name: these are nodes of the ring that the sender was a member of.
    Heritage(Vec<Locator>),
    /// The sender bears the receiver's name: does the receiver live, and since when has it had the name?
    NameQuery {
        /// The sender.
        from: Member,
        /// Comes back in the answer.
        nonce: u64,
    },
    /// The answer to `NameQuery`.
    NameHeld {
        /// The sender.
        by: Member,
        /// For how long it has had the name without standing still, on its own monotonic clock.
        held: Duration,
        /// The question's number.
        nonce: u64,
    },
}

impl MembershipMessage {
    /// The member that is named outside a SWIM packet.
    pub(super) fn names(&self) -> Option<&Member> {
        match self {
            Self::Join(member) | Self::Welcome(member) | Self::NameTaken(member) | Self::Leaving(member) => {
                Some(member)
            }
            Self::NameQuery { from, .. } => Some(from),
            Self::NameHeld { by, .. } => Some(by),
            Self::Swim(_) | Self::Heritage(_) => None,
        }
    }
}

/// What a client asks of any node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Comes back in the answer.
    pub id: RequestId,
    /// What is asked.
    pub body: RequestBody,
}

/// The requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum RequestBody {
    /// Store a registration, renew it, change it, or withdraw it: all are a record of a higher rank.
    Put(Box<Record>),
    /// Which offers are there?
    Lookup {
        /// On which topics.
        filter: TopicFilter,
        /// Judge each offer against this request.
        requested: Option<Box<Requested>>,
    },
    /// Which nodes are on the ring?
    Members,
}

/// A client's request, passed on towards the owner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Forward {
    /// The request as it came.
    pub request: Request,
    /// Where the client is reached by the entry node.
    pub client: Locator,
    /// The node that the client had asked.
    pub entry: Locator,
    /// How often the request was passed on.
    pub hops: u8,
}

/// An answer, or one part of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The request's number.
    pub id: RequestId,
    /// Which part of the answer, from 0.
    pub part: u16,
    /// How many parts there are, at least 1.
    pub parts: u16,
    /// The answer.
    pub body: ReplyBody,
}

/// The answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ReplyBody {
    /// A majority of the replica set holds the record.
    Stored(Box<Stored>),
    /// Offers that a lookup has found.
    Offers(Offers),
    /// Members of the ring.
    Members(Vec<Member>),
    /// Nothing was done.
    Refused(Refusal),
    /// The responsible node does not answer the one that was asked, which has asked a third to try. An answer may follow.
    Unanswered(Box<Unanswered>),
}

/// That a node cannot reach the responsible one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unanswered {
    /// The node that was asked.
    pub by: Member,
    /// The node that is responsible.
    pub responsible: Member,
    /// Members that can be asked instead; at most [`MAX_PART`].
    pub members: Vec<Member>,
}

/// The answer to a `Put`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Which registration.
    pub registration: EntityId,
    /// The version that is held.
    pub version: u64,
    /// The node that is responsible for it.
    pub responsible: Member,
    /// The lease that was granted; renew well before its end.
    pub lease: Duration,
    /// Other members that can be asked when the responsible node is gone; at most [`MAX_PART`].
    pub members: Vec<Member>,
}

/// Part of the answer to a lookup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Offers {
    /// At most [`MAX_PART`] offers. Shared: a client hands the same answer to all who ask the same.
    #[serde(with = "shared")]
    pub found: Arc<[FoundOffer]>,
    /// Members that did not answer in time: their offers are missing. At most [`MAX_PART`].
    pub unanswered: Vec<NodeName>,
    /// There was more than one answer may hold.
    pub truncated: bool,
}

/// One offer that a lookup has found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoundOffer {
    /// Its topic.
    pub topic: Topic,
    /// The publisher.
    pub id: EntityId,
    /// The publisher's session.
    pub locator: Locator,
    /// How its samples are encoded.
    pub encoding: Encoding,
    /// What it offers.
    pub offered: Offered,
    /// Whether it satisfies the request of the lookup; `None` if there was none.
    pub verdict: Option<Verdict>,
    /// The node that is responsible for the topic.
    pub responsible: Member,
}

/// Why a node did not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The node holds as many registrations as it may.
    Full {
        /// Its bound.
        limit: u64,
    },
    /// The registration is larger than a node accepts.
    TooLarge {
        /// Its encoded size in bytes.
        size: u64,
        /// The bound in bytes.
        limit: u64,
    },
    /// The members disagreed about the owner for longer than three hops: ask again shortly.
    TooManyHops,
    /// The node is too busy, or on its way out: ask another.
    Unavailable,
}

impl Refusal {
    /// Whether asking again, or another node, can help.
    pub fn is_transient(self) -> bool {
        matches!(self, Self::TooManyHops | Self::Unavailable)
    }
}

/// An answer on its way through the entry node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplyVia {
    /// The client.
    pub client: Locator,
    /// Its answer.
    pub reply: Reply,
}

/// Copies of records for another node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transfer {
    /// The sender.
    pub from: Member,
    /// At most [`MAX_TRANSFER`] records.
    pub records: Vec<Copied>,
}

/// A record, and what its sender does with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Copied {
    /// The record.
    pub record: Record,
    /// Whether the sender belongs to the replica set, as it sees the ring, or is handing the record over.
    pub kept: bool,
}

/// What of a [`Transfer`] is held now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferAck {
    /// The holder.
    pub from: Member,
    /// The records that it has.
    pub held: Vec<Holding>,
}

/// That a record has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// Which record.
    pub id: EntityId,
    /// At which rank it is held.
    pub rank: Rank,
    /// Whether the holder belongs to the replica set, as it sees the ring, or will hand the record over.
    pub kept: bool,
}

/// A lookup with wildcards, to every member.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gather {
    /// Comes back in the answer.
    pub query: u64,
    /// On which topics.
    pub filter: TopicFilter,
    /// Judge each offer against this request.
    pub requested: Option<Box<Requested>>,
}

/// One part of one member's answer to [`Gather`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gathered {
    /// The query's number.
    pub query: u64,
    /// The member that answers.
    pub from: NodeName,
    /// Which part, from 0.
    pub part: u16,
    /// How many parts there are, at least 1.
    pub parts: u16,
    /// At most [`MAX_PART`] offers of topics that the member owns.
    pub found: Vec<FoundOffer>,
}
