//! One node's view of the ring: the members, and who is responsible for what.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::HashRing;
use super::member::{Member, NodeName};

/// The members that a node knows, placed on the ring. Two nodes that know the same names place everything alike.
#[derive(Debug)]
pub struct RingView {
    epoch: u64,
    replicas: usize,
    members: BTreeMap<NodeName, Member>,
    ring: Arc<HashRing>,
}

impl RingView {
    /// The first view, of these members, with this many copies of each record (at least one).
    pub fn new(members: impl IntoIterator<Item = Member>, replicas: usize) -> Self {
        let members = by_name(members);
        let ring = ring_of(&members);
        Self { epoch: 0, replicas: replicas.max(1), members, ring }
    }

    /// The view that follows this one.
    pub fn next(&self, members: impl IntoIterator<Item = Member>) -> Self {
        let members = by_name(members);
        // Where only incarnations have changed the points on the circle have not.
        let ring = if members.keys().eq(self.members.keys()) {
            Arc::clone(&self.ring)
        } else {
            Arc::new(self.ring.relisted(members.keys().map(|name| (name.as_str(), 1))))
        };
        Self { epoch: self.epoch + 1, replicas: self.replicas, members, ring }
    }

    /// Counts this node's views, from 0.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The members, sorted by name.
    pub fn members(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.members.values()
    }

    /// The member of this name.
    pub fn member(&self, name: &NodeName) -> Option<&Member> {
        self.members.get(name)
    }

    /// The responsible node of a key; `None` if the ring is empty.
    pub fn owner(&self, key: &str) -> Option<&Member> {
        self.ring.owner(key.as_bytes()).and_then(|name| self.members.get(name))
    }

    /// Whether this node is responsible for a key.
    pub fn is_owner(&self, node: &NodeName, key: &str) -> bool {
        self.owner(key).is_some_and(|owner| owner.name == *node)
    }

    /// The replica set of a key, the responsible node first.
    pub fn replicas(&self, key: &str) -> Vec<&Member> {
        self.preference(key, self.replicas)
    }

    /// All members in the order of preference for a key, the responsible node first.
    pub fn everyone(&self, key: &str) -> Vec<&Member> {
        self.preference(key, self.members.len())
    }

    fn preference(&self, key: &str, count: usize) -> Vec<&Member> {
        let names = self.ring.preference(key.as_bytes(), count);
        names.into_iter().filter_map(|name| self.members.get(name)).collect()
    }
}

fn by_name(members: impl IntoIterator<Item = Member>) -> BTreeMap<NodeName, Member> {
    members.into_iter().map(|member| (member.name.clone(), member)).collect()
}

/// The ring of these names; they come sorted out of the map, so that every member computes the same one.
fn ring_of(members: &BTreeMap<NodeName, Member>) -> Arc<HashRing> {
    Arc::new(HashRing::new(members.keys().map(NodeName::as_str)))
}
