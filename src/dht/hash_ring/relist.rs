//! The list that a ring is made of, and rings whose lists differ little.

use std::collections::HashMap;
use std::sync::Arc;

use super::md5::{Path, Replicas};
use super::points::{Point, Points};
use super::{HashRing, Inner, NodeIndex};

/// Digests per node of weight 1 among nodes of weight 1; each gives three points.
const REPLICAS: f64 = 40.0;

/// The list: each mention of a node, by index, and each node's name and weight.
#[derive(Default)]
pub(super) struct Listed {
    mentions: Box<[NodeIndex]>,
    /// Distinct names in the order in which they were first listed.
    pub(super) names: Box<[Box<str>]>,
    weights: Box<[f64]>,
}

impl HashRing {
    /// The ring of another list of nodes and weights, which is what [`weighted`](Self::weighted) would make of it, but
    /// made out of this ring: a node that has as many points in both is not digested again, and points that stay are
    /// not sorted again. Where all nodes weigh the same, that is every node that stays.
    ///
    /// This ring stays as it is, and whoever reads it does not wait.
    pub fn relisted<N: Into<String>, W: Into<f64>>(&self, nodes: impl IntoIterator<Item = (N, W)>) -> Self {
        let listed = Listed::new(nodes.into_iter().map(|(node, weight)| (node.into(), weight.into())));
        let points = self.inner.listed.changed_to(&listed, &self.inner.points);
        Self { inner: Arc::new(Inner { listed, points }) }
    }

    /// The ring with one more node, listed last; of a node that it has already, with another weight.
    ///
    /// ```
    /// use ringbus::HashRing;
    /// let ring = HashRing::new(["a", "b"]).with_node("c", 1);
    /// assert_eq!(ring.owner(b"key"), HashRing::new(["a", "b", "c"]).owner(b"key"));
    /// ```
    pub fn with_node(&self, node: impl Into<String>, weight: impl Into<f64>) -> Self {
        let (node, weight) = (node.into(), weight.into());
        let listed = &self.inner.listed;
        let known = listed.names.iter().any(|name| **name == *node);
        let one_more = (!known).then_some((node.as_str(), weight));
        let nodes = listed.mentioned().map(|(name, old)| (name, if *name == *node { weight } else { old }));
        self.relisted(nodes.chain(one_more))
    }

    /// The ring without a node; the same ring if it does not have it.
    pub fn without_node(&self, node: &str) -> Self {
        let listed = &self.inner.listed;
        if !listed.names.iter().any(|name| **name == *node) {
            return self.clone();
        }
        self.relisted(listed.mentioned().filter(|&(name, _)| *name != *node))
    }
}

impl Listed {
    pub(super) fn new(nodes: impl Iterator<Item = (String, f64)>) -> Self {
        let (mut mentions, mut names, mut weights) = (Vec::new(), Vec::<Box<str>>::new(), Vec::new());
        let mut known = HashMap::new();
        for (name, weight) in nodes {
            let weight = if weight.is_finite() && weight > 0.0 { weight } else { 0.0 };
            let index = *known.entry(name).or_insert_with_key(|name| {
                names.push(name.as_str().into());
                weights.push(weight);
                // Four billion names do not fit into memory.
                NodeIndex((names.len() - 1) as u32)
            });
            weights[index.get()] = weight;
            mentions.push(index);
        }
        Self { mentions: mentions.into(), names: names.into(), weights: weights.into() }
    }

    /// The circle of this list.
    pub(super) fn points(&self) -> Points {
        Points::new(self.points_of(&self.replicas(), |_| true))
    }

    /// The circle of another list, made out of that of this one.
    fn changed_to(&self, new: &Self, points: &Points) -> Points {
        let (before, after) = (self.replicas(), new.replicas());
        let known: HashMap<&str, NodeIndex> =
            (0..).map(NodeIndex).zip(&new.names).map(|(node, name)| (&**name, node)).collect();
        let mut stays = vec![false; new.names.len()];
        let renumbered: Vec<Option<NodeIndex>> = self
            .names
            .iter()
            .zip(&before)
            .map(|(name, replicas)| {
                let node = known.get(&**name).copied().filter(|node| after[node.get()] == *replicas)?;
                stays[node.get()] = true;
                Some(node)
            })
            .collect();
        let added = new.points_of(&after, |node| !stays[node.get()]);
        let mut ranks = vec![0; new.names.len()];
        for (rank, node) in new.mentions.iter().enumerate() {
            ranks[node.get()] = rank;
        }
        points.changed(|node| renumbered[node.get()], added, |node| ranks[node.get()])
    }

    /// Each mention's name and weight.
    fn mentioned(&self) -> impl Iterator<Item = (&str, f64)> {
        self.mentions.iter().map(|node| (&*self.names[node.get()], self.weights[node.get()]))
    }

    /// How many digests each node has. Operations and their order are Python's: any other could round to another count.
    fn replicas(&self) -> Vec<u64> {
        let total: f64 = self.mentions.iter().map(|node| self.weights[node.get()]).sum();
        let most = REPLICAS * self.mentions.len() as f64;
        let share = |weight: &f64| {
            let replicas = (most * weight / total).floor();
            // Weights near `f64::MAX` overflow to infinity or NaN; no node's share is over the whole.
            if replicas.is_finite() { replicas.min(most) as u64 } else { 0 }
        };
        self.weights.iter().map(share).collect()
    }

    /// The points of some nodes, in list order: each node's once, where it is mentioned last.
    fn points_of(&self, replicas: &[u64], wanted: impl Fn(NodeIndex) -> bool) -> Vec<Point> {
        let mut last = vec![0; self.names.len()];
        for (mention, node) in self.mentions.iter().enumerate() {
            last[node.get()] = mention;
        }
        let here = |mention: usize, node: NodeIndex| last[node.get()] == mention && wanted(node);
        let count = |(mention, &node): (usize, &NodeIndex)| {
            if here(mention, node) { replicas[node.get()] } else { 0 }
        };
        let digests: u64 = self.mentions.iter().enumerate().map(count).sum();
        let mut points = Vec::with_capacity(3 * digests as usize);
        let mut digests = Replicas::new(Path::best(), |node, [first, second, third, _]| {
            points.extend([first, second, third].map(|position| (position, node)));
        });
        for (mention, &node) in self.mentions.iter().enumerate() {
            if here(mention, node) {
                digests.push(node, &self.names[node.get()], replicas[node.get()]);
            }
        }
        digests.flush();
        points
    }
}
