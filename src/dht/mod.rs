//! Placement, membership, registry, and the successor ring.

pub mod arc;
pub mod client;
pub mod client_core;
pub mod core;
mod fullness;
pub mod hash_ring;
pub mod key;
pub mod member;
pub mod membership;
pub mod message;
pub mod node;
mod parts;
mod protocol;
mod protocols;
pub mod record;
pub mod registry;
pub mod relay;
pub mod ring_view;
mod schedule;
#[cfg(test)]
mod sim;
pub mod successor;

pub use client::Dht;
pub use hash_ring::{HashRing, Mode, NodeIndex, RingSpec};
pub use key::Key;
pub use node::{DhtNode, DhtNodeBuilder, NodeEvent};
pub use protocol::{OneHop, RingProtocol, Successor};
pub use successor::{Links, Progress, SuccessorConfig, SuccessorEvent, SuccessorNodeBuilder};
