//! Placement, membership, registry.

pub mod hash_ring;
pub mod member;
pub mod membership;
pub mod message;
pub mod record;
pub mod ring_view;

pub use hash_ring::{HashRing, NodeIndex};
