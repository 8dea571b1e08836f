//! Placement, bit-exact with Python's `hash_ring` 1.3.1. `docs/placement.md` states the rule and its edges.

mod compare;
mod diff;
mod digest;
mod mode;
mod points;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use points::Points;

pub use compare::{Comparison, Disagreement, Reason, RingSpec};
pub use diff::{Load, Move, RingDiff, Share};
pub use mode::Mode;

/// Consistent hashing: which node is responsible for a key.
///
/// Every ring of the same nodes, in the same order and with the same weights, places every key alike, here and in
/// Python's `hash_ring` 1.3.1; [`with_mode`](Self::with_mode) follows other programs instead. Where all weigh the same, a node that comes or goes moves only the keys that it gains or
/// loses, about one in *n*.
///
/// A ring never changes; a clone is a reference count.
///
/// ```
/// use ringbus::HashRing;
///
/// let ring = HashRing::new(["192.168.0.246:11212", "192.168.0.247:11212", "192.168.0.249:11212"]);
/// assert_eq!(ring.owner(b"my_key"), Some("192.168.0.247:11212"));
/// // Where the replicas go: the owner, then the next distinct nodes.
/// assert_eq!(ring.preference(b"my_key", 2), ["192.168.0.247:11212", "192.168.0.246:11212"]);
/// ```
#[derive(Clone, Default)]
pub struct HashRing {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Distinct names in the order in which they were first listed.
    nodes: Box<[Box<str>]>,
    /// Of each node; what is no weight is 0.
    weights: Box<[f64]>,
    mode: Mode,
    points: Points,
}

/// A node of one [`HashRing`]: its place among the ring's distinct names, in listed order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIndex(u32);

impl NodeIndex {
    /// The place as a number from 0, for tables with an entry a node.
    pub fn get(self) -> usize {
        self.0 as usize
    }
}

impl HashRing {
    /// A ring of nodes of equal weight.
    ///
    /// The order of the nodes matters only where two points collide; a name that is listed twice counts once.
    pub fn new<N: Into<String>>(nodes: impl IntoIterator<Item = N>) -> Self {
        Self::weighted(nodes.into_iter().map(|node| (node, 1)))
    }

    /// A ring in which each node's share of the keys is proportional to its weight.
    ///
    /// Weights are numbers as Python has them (integers, or `f64`) and computed with in `f64`, as Python does. Total:
    /// every list is a ring. A weight that is not finite and greater than zero counts as zero, and its node owns
    /// nothing; so does a node whose weight is less than a fortieth of the average. Of a name that is listed more than
    /// once the last weight holds for each mention, as in Python's dictionary of weights.
    ///
    /// ```
    /// use ringbus::HashRing;
    /// let ring = HashRing::weighted([("a", 3.0), ("b", 1.0), ("idle", 0.0)]);
    /// assert!((0..100).all(|key: u32| ring.owner(&key.to_le_bytes()) != Some("idle")));
    /// ```
    pub fn weighted<N: Into<String>, W: Into<f64>>(nodes: impl IntoIterator<Item = (N, W)>) -> Self {
        Self::with_mode(Mode::HashRing, nodes)
    }

    /// A ring like [`weighted`](Self::weighted), with the points and the rounding of another program.
    ///
    /// Every path is as fast as in the default mode: modes differ in how a ring is built alone.
    ///
    /// ```
    /// use ringbus::{HashRing, Mode};
    /// let ring = HashRing::with_mode(Mode::Ketama, [("10.0.0.1:11211", 600), ("10.0.0.2:11211", 300)]);
    /// assert_eq!(ring.owner(b"k2"), Some("10.0.0.2:11211"));
    /// ```
    pub fn with_mode<N: Into<String>, W: Into<f64>>(
        mode: Mode,
        nodes: impl IntoIterator<Item = (N, W)>,
    ) -> Self {
        let listed = Listed::new(nodes.into_iter().map(|(node, weight)| (node.into(), weight.into())));
        let points = Points::new(listed.points(mode));
        let (nodes, weights) = (listed.names.into(), listed.weights.into());
        Self { inner: Arc::new(Inner { nodes, weights, mode, points }) }
    }

    /// The node that is responsible for a key; `None` if no node has a point.
    pub fn owner(&self, key: &[u8]) -> Option<&str> {
        self.inner.points.owner(Self::position(key)).map(|node| self.node(node))
    }

    /// The first `n` distinct nodes for a key, its owner first: where its replicas go. Fewer if the ring has fewer.
    pub fn preference(&self, key: &[u8], n: usize) -> Vec<&str> {
        let n = n.min(self.inner.nodes.len());
        let mut preference = Vec::with_capacity(n);
        if n == 0 {
            return preference;
        }
        let mut seen = vec![false; self.inner.nodes.len()];
        for node in self.inner.points.owners_from(Self::position(key)) {
            if !std::mem::replace(&mut seen[node.get()], true) {
                preference.push(self.node(node));
                if preference.len() == n {
                    break;
                }
            }
        }
        preference
    }

    /// The owners of many keys at once, in their order. `owners` is cleared first; it stays empty if no node has a
    /// point.
    pub fn owners(&self, keys: &[&[u8]], owners: &mut Vec<NodeIndex>) {
        owners.clear();
        owners.extend(keys.iter().filter_map(|key| self.inner.points.owner(Self::position(key))));
    }

    /// The name of a node of this ring. An index that another, larger ring gave out names nothing: `""`.
    pub fn node(&self, node: NodeIndex) -> &str {
        self.inner.nodes.get(node.get()).map_or("", |name| name)
    }

    /// The distinct nodes, in the order in which they were first listed: that of their [`NodeIndex`].
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &str> + '_ {
        self.inner.nodes.iter().map(|name| &**name)
    }

    /// Where a key lies on the circle of 2^32 positions: the same in every ring.
    pub fn position(key: &[u8]) -> u32 {
        digest::position(key)
    }

    /// Whose rule it follows.
    pub fn mode(&self) -> Mode {
        self.inner.mode
    }

    /// How many distinct points the nodes have on the circle: 120 a node, less collisions, if all weigh the same; 160
    /// in the modes that make four of a digest.
    pub fn points(&self) -> usize {
        self.inner.points.len()
    }
}

impl fmt::Debug for HashRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HashRing").field("nodes", &self.inner.nodes).field("points", &self.points()).finish()
    }
}

/// Compiles the examples of the page.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/placement.md")]
struct PlacementPage;

/// The list that a ring is made of: each mention of a node, by index, and each node's name and weight.
struct Listed {
    mentions: Vec<NodeIndex>,
    names: Vec<Box<str>>,
    weights: Vec<f64>,
}

impl Listed {
    fn new(nodes: impl Iterator<Item = (String, f64)>) -> Self {
        let mut listed = Self { mentions: Vec::new(), names: Vec::new(), weights: Vec::new() };
        let mut known = HashMap::new();
        for (name, weight) in nodes {
            let weight = if weight.is_finite() && weight > 0.0 { weight } else { 0.0 };
            let index = *known.entry(name).or_insert_with_key(|name| {
                listed.names.push(name.as_str().into());
                listed.weights.push(weight);
                // Four billion names do not fit into memory.
                NodeIndex((listed.names.len() - 1) as u32)
            });
            listed.weights[index.get()] = weight;
            listed.mentions.push(index);
        }
        listed
    }

    /// All points: of those that collide, the last is to stay.
    fn points(&self, mode: Mode) -> Vec<(u32, NodeIndex)> {
        // In list order, as Python adds them up.
        let total: f64 = self.mentions.iter().map(|node| self.weights[node.get()]).sum();
        let mut mentions = self.mentions.clone();
        mode.arrange(&mut mentions, &self.names);
        let mut points = Vec::new();
        for node in mentions {
            let label = mode.label(&self.names[node.get()]);
            for j in 0..mode.replicas(self.weights[node.get()], total, self.mentions.len()) {
                let words = digest::replica(label, j);
                points.extend(words[..mode.words()].iter().map(|&word| (mode.point(word), node)));
            }
        }
        points
    }
}
