//! What a node is told, and what it wants done.

use std::time::Duration;

use crate::dht::member::Member;
use crate::dht::membership::{MemberEvent, MembershipConfig};
use crate::dht::message::Message;
use crate::dht::relay::RelayCommand;
use crate::transport::Locator;

/// How a node behaves.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// How many nodes hold each record, as far as there are so many.
    pub replicas: usize,
    /// The most records that this node holds, copies included.
    pub max_registrations: usize,
    /// How long a lookup with wildcards waits for the other members.
    pub gather_timeout: Duration,
    /// How long a leaving node tries to hand its records over.
    pub leave_timeout: Duration,
    /// Failure detection.
    pub membership: MembershipConfig,
}

impl Default for NodeConfig {
    /// Three replicas, 65,536 records, 300 ms for a lookup with wildcards, two seconds to leave.
    fn default() -> Self {
        Self {
            replicas: 3,
            max_registrations: 65_536,
            gather_timeout: Duration::from_millis(300),
            leave_timeout: Duration::from_secs(2),
            membership: MembershipConfig::default(),
        }
    }
}

/// What a node takes in.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A message of another node or of a client.
    Message {
        /// Where the sender is reached.
        from: Locator,
        /// What it says.
        message: Message,
    },
    /// The transport lost a peer; a hint.
    PeerDown(Locator),
    /// Join through these nodes. May be given again, with others.
    Join(Vec<Locator>),
    /// Hand over, then leave the ring. [`Action::Ended`] follows.
    Leave,
}

/// What a node wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Send a message.
    Send {
        /// Where to.
        to: Locator,
        /// What.
        message: Message,
    },
    /// The membership changed.
    Member(MemberEvent),
    /// Placement changed: topics may have moved.
    Remapped {
        /// Counts this node's views of the ring.
        epoch: u64,
        /// The members of the new view, sorted by name.
        members: Vec<Member>,
    },
    /// Pass the samples of a topic on, or stop it.
    Relay(RelayCommand),
    /// The node is off the ring: it has left, or another living node has its name. It does nothing any more.
    Ended,
}
