//! Placement, membership, registry.

pub mod client_core;
pub mod core;
pub mod hash_ring;
pub mod member;
pub mod membership;
pub mod message;
mod parts;
pub mod record;
pub mod registry;
pub mod relay;
pub mod ring_view;
mod schedule;
#[cfg(test)]
mod sim;

pub use hash_ring::{HashRing, NodeIndex};
