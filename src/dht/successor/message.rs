//! What nodes and clients of the successor ring say to each other. [`text`](super::text) says how it is written.

use std::sync::Arc;

use crate::dht::key::Key;

/// One message of the protocol; the last eight are extensions, on topics that plain peers do not
/// listen to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    /// A newcomer announces itself.
    Join(Key),
    /// A running node's answer to any newcomer.
    HasStarted,
    /// `from` is the neighbour of `to` on this side.
    AckJoin { from: Key, to: Key, side: Side },
    /// Store a pair.
    Put { client: Arc<str>, key: Key, value: Arc<str> },
    /// `node` has stored what `client` asked for.
    AckPut { client: Arc<str>, node: Key },
    /// Fetch a value.
    Get(Key),
    /// The owner's answer.
    ResGet { key: Key, value: Arc<str> },
    /// A graceful leave begins: these two are neighbours from now on.
    Leave { id: Key, successor: Option<Key>, predecessor: Option<Key> },
    /// A neighbour has relinked.
    AckLeave { leaver: Key, acker: Key },
    /// This node is dead.
    Fail(Key),
    /// A node tells its neighbourhood.
    Heal(Heal),
    /// To the node `to`, or to whoever owns the key.
    Replica { to: Option<Key>, replica: Replica },
    /// The owner's answer where there is no value.
    ErrGet(Key),
    /// A client asks the node `at` to answer, or to have the owner answer; then `by` is the node
    /// that has passed it on.
    Ask { at: Key, by: Option<Key>, token: Arc<str>, question: Question },
    /// What became of an [`Ask`](Self::Ask), for whoever has chosen the token; to the node `at`
    /// first, if there is one.
    Answer { at: Option<Key>, token: Arc<str>, key: Key, reply: Reply },
    /// One node's message to another that may not hear it, by way of the node `at`; at its end `by`
    /// says which that was.
    Via { at: Key, by: Option<Key>, carried: Box<Carried> },
}

/// What a client asks by way of any node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Question {
    /// Store a pair; the token is the client's of [`Message::Put`].
    Put { key: Key, value: Arc<str> },
    /// Fetch a value.
    Get { key: Key },
}

impl Question {
    /// What it is about.
    pub(crate) fn key(&self) -> Key {
        match self {
            Self::Put { key, .. } | Self::Get { key } => *key,
        }
    }
}

/// What a client is answered by way of any node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// This node has stored the pair.
    Stored(Key),
    /// The value.
    Found(Arc<str>),
    /// There is no value.
    Nothing,
    /// The node `by` was asked, and has not passed it on: it does not hear the owner itself.
    Unreached { owner: Key, by: Key },
}

/// A message between two nodes that goes by way of a third.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Carried {
    pub(crate) from: Key,
    pub(crate) to: Key,
    /// None that is about detours.
    pub(crate) message: Message,
}

/// Which neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The next node, clockwise.
    Successor,
    /// The node before.
    Predecessor,
}

/// A node's view of its neighbourhood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heal {
    /// Who.
    pub(crate) id: Key,
    /// The node before it.
    pub(crate) predecessor: Option<Key>,
    /// The node after it.
    pub(crate) successor: Option<Key>,
    /// Which of the two is a plain peer, of which nobody would hear otherwise.
    pub(crate) plain: Plain,
    /// What it is doing.
    pub(crate) stage: Stage,
    /// The greatest version that it has seen.
    pub(crate) clock: u64,
    /// Where it and its neighbours are reached, for transports without a broker. Empty otherwise.
    pub(crate) addresses: Vec<String>,
    /// Whether it passes on what others cannot say to each other.
    pub(crate) takes_detours: bool,
}

/// Which neighbours are plain peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Plain {
    pub(crate) predecessor: bool,
    pub(crate) successor: bool,
}

/// What a node is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It is not on the ring yet.
    Joining,
    /// It is on the ring, and holds pairs that belong to its predecessor or waits for pairs itself.
    Busy,
    /// It is on the ring, and its predecessor has everything that is its own.
    Done,
    /// It is handing over.
    Leaving,
    /// It has handed over.
    Gone,
}

/// Pairs among nodes of this library, which know versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replica {
    /// Who says it.
    pub(crate) from: Key,
    /// Chosen by the one who asks, echoed by the one who answers: an answer counts for the asker's present view only.
    pub(crate) tag: u64,
    /// The pair's key.
    pub(crate) key: Key,
    /// What it is about.
    pub(crate) body: ReplicaBody,
}

/// What is said about a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReplicaBody {
    /// I am the owner: keep this copy for me. Answered by `Have`.
    Store { version: u64, value: Arc<str> },
    /// The same, to a node that has the value. Answered by `Have` or `Lack`.
    Keep { version: u64, digest: u64 },
    /// I hold a copy that is not mine to keep: does the owner have it? Answered by `Have` or `Lack`, and by `Free` from
    /// the node `bound`, for which this copy is kept.
    Ask { version: u64, digest: u64, bound: Option<Key> },
    /// I keep this version for you; or, as the owner: another node keeps it for me.
    Have { version: u64, digest: u64 },
    /// I have nothing of it.
    Lack,
    /// I do not count on your copy.
    Free,
}
