//! Placement compatible with Python's `hash_ring`.

/// To be built.
#[derive(Debug)]
pub struct HashRing;
