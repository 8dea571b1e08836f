//! What a node of the successor ring tells its program.

use crate::dht::arc::Arc;
use crate::dht::key::Key;

/// A node's neighbours: both or neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Links {
    /// The node before it; `None` if it is alone.
    pub predecessor: Option<Key>,
    /// The node after it; `None` if it is alone.
    pub successor: Option<Key>,
}

impl Links {
    /// The keys that a node with these neighbours is responsible for.
    pub fn arc(&self, id: Key) -> Arc {
        Arc::new(self.predecessor.unwrap_or(id), id)
    }
}

/// What happens on the ring, as one node sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SuccessorEvent {
    /// The node serves from now on: it has joined, or started a ring of its own.
    Serving(Links),
    /// It has other neighbours.
    Relinked(Links),
    /// A node has been given up.
    Failed(Key),
    /// A node has left.
    Left(Key),
    /// The others have given this node up: it joins again.
    Expelled,
    /// Another node has this one's id.
    IdTaken,
}
