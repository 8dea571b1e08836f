//! Placement, membership, registry.

pub mod hash_ring;

pub use hash_ring::{HashRing, NodeIndex};
