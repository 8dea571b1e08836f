//! The list that a ring is made of, and rings whose lists differ little.

use std::collections::HashMap;

use ahash::RandomState;

use super::md5::{Path, Replicas};
use super::merge::Renumbered;
use super::mode::{PointHash, Rules, Wide};
use super::names::Names;
use super::points::{Point, Points};
use super::{HashRing, Inner, Mode, NodeIndex, memory};

/// The list: each mention of a node, by index, and each node's name and weight.
pub(super) struct Listed {
    mentions: Box<[NodeIndex]>,
    /// Distinct names in the order in which they were first listed.
    pub(super) names: Names,
    /// Of each node; what is no weight is 0.
    pub(super) weights: Box<[f64]>,
    pub(super) mode: Mode,
    /// The rules of the mode for these weights.
    rules: Rules,
}

impl Default for Listed {
    fn default() -> Self {
        Self::new(Mode::default(), std::iter::empty())
    }
}

impl HashRing {
    /// The ring of another list of nodes and weights, which is what [`with_mode`](Self::with_mode) would make of it, but
    /// made out of this ring: a node that has as many points in both is not digested again, and points that stay are
    /// not sorted again. Where all nodes weigh the same, that is every node that stays.
    ///
    /// This ring stays as it is, and whoever reads it does not wait.
    pub fn relisted<N: Into<String>, W: Into<f64>>(&self, nodes: impl IntoIterator<Item = (N, W)>) -> Self {
        let nodes = nodes.into_iter().map(|(node, weight)| (node.into(), weight.into()));
        let listed = Listed::new(self.mode(), nodes);
        let known: HashMap<&str, NodeIndex, RandomState> =
            listed.names.iter().zip((0..).map(NodeIndex)).collect();
        let points =
            self.inner.listed.changed_to(&listed, |_, name| known.get(name).copied(), &self.inner.points);
        Self { inner: Inner::new(listed, points), keys: self.keys }
    }

    /// The ring with one more node, listed last; of a node that it has already, with another weight.
    ///
    /// ```
    /// use ringbus::HashRing;
    /// let ring = HashRing::new(["a", "b"]).with_node("c", 1);
    /// assert_eq!(ring.owner(b"key"), HashRing::new(["a", "b", "c"]).owner(b"key"));
    /// ```
    pub fn with_node(&self, node: impl Into<String>, weight: impl Into<f64>) -> Self {
        let listed = self.inner.listed.with(&node.into(), weight.into());
        let points = self.inner.listed.changed_to(&listed, |node, _| Some(node), &self.inner.points);
        Self { inner: Inner::new(listed, points), keys: self.keys }
    }

    /// The ring without a node; the same ring if it does not have it.
    pub fn without_node(&self, node: &str) -> Self {
        let Some(gone) = self.inner.listed.names.find(node) else { return self.clone() };
        let listed = self.inner.listed.without(gone);
        let closer = |node: NodeIndex, _: &str| closed_up(node, gone);
        let points = self.inner.listed.changed_to(&listed, closer, &self.inner.points);
        Self { inner: Inner::new(listed, points), keys: self.keys }
    }
}

impl HashRing {
    /// A ring that follows other rules than those of its mode: one that no program has.
    pub(super) fn by_rules<'a>(
        mode: Mode,
        rules: Rules,
        nodes: impl Iterator<Item = (&'a str, f64)>,
    ) -> Self {
        let nodes = nodes.map(|(node, weight)| (node.to_owned(), weight));
        let listed = Listed::new(mode, nodes).with_rules(rules);
        let points = listed.points();
        Self { inner: Inner::new(listed, points), keys: mode.key_rule() }
    }
}

/// The number that a node has when another is gone; `None` if it is that one.
fn closed_up(node: NodeIndex, gone: NodeIndex) -> Option<NodeIndex> {
    (node != gone).then(|| NodeIndex(node.0 - u32::from(node > gone)))
}

impl Listed {
    pub(super) fn new(mode: Mode, nodes: impl Iterator<Item = (String, f64)>) -> Self {
        let (mut mentions, mut names, mut weights) = (Vec::new(), Names::default(), Vec::new());
        let mut known = HashMap::with_hasher(RandomState::new());
        for (name, weight) in nodes {
            let weight = counted(weight);
            let index = *known.entry(name).or_insert_with_key(|name| {
                names.push(name);
                weights.push(weight);
                // Four billion names do not fit into memory.
                NodeIndex((names.len() - 1) as u32)
            });
            weights[index.get()] = weight;
            mentions.push(index);
        }
        names.shrink();
        let rules = mode.rules(&weights);
        Self { mentions: mentions.into(), names, weights: weights.into(), mode, rules }
    }

    /// The same list with other rules than those of its mode.
    pub(super) fn with_rules(self, rules: Rules) -> Self {
        Self { rules, ..self }
    }

    /// The list with one more node, or with another weight of a node that it has.
    fn with(&self, name: &str, weight: f64) -> Self {
        let (mut mentions, mut names) = (self.mentions.to_vec(), self.names.clone());
        let mut weights = self.weights.to_vec();
        match names.find(name) {
            Some(node) => weights[node.get()] = counted(weight),
            None => {
                mentions.push(NodeIndex(names.len() as u32));
                names.push(name);
                names.shrink();
                weights.push(counted(weight));
            }
        }
        let rules = self.mode.rules(&weights);
        Self { mentions: mentions.into(), names, weights: weights.into(), mode: self.mode, rules }
    }

    /// The list without any mention of a node.
    fn without(&self, gone: NodeIndex) -> Self {
        let mentions = self.mentions.iter().filter_map(|&node| closed_up(node, gone)).collect();
        let stay = || (0..).map(NodeIndex).zip(self.names.iter().zip(&self.weights));
        let mut names = Names::default();
        stay().filter(|(node, _)| *node != gone).for_each(|(_, (name, _))| names.push(name));
        names.shrink();
        let weights = stay().filter(|(node, _)| *node != gone).map(|(_, (_, weight))| *weight);
        let weights: Box<[f64]> = weights.collect();
        let rules = self.mode.rules(&weights);
        Self { mentions, names, weights, mode: self.mode, rules }
    }

    /// The circle of this list.
    pub(super) fn points(&self) -> Points {
        let points = self.points_of(&self.replicas(), &self.arranged(), |_| true);
        Points::new(self.rules.settled(points))
    }

    /// The circle of another list, made out of that of this one; `known` is the number there of a node here.
    fn changed_to(
        &self,
        new: &Self,
        known: impl Fn(NodeIndex, &str) -> Option<NodeIndex>,
        points: &Points,
    ) -> Points {
        if self.rules != new.rules || self.rules.depend() {
            return new.points();
        }
        let (before, after) = (self.replicas(), new.replicas());
        let mut stays = vec![false; new.names.len()];
        let nodes = (0..).map(NodeIndex).zip(self.names.iter().zip(&before));
        let renumbered = nodes.map(|(node, (name, replicas))| {
            let node = known(node, name).filter(|node| after[node.get()] == *replicas)?;
            stays[node.get()] = true;
            Some(node)
        });
        let renumbered = Renumbered::new(renumbered.collect());
        let arranged = new.arranged();
        let added = new.points_of(&after, &arranged, |node| !stays[node.get()]);
        let mut ranks = vec![0; new.names.len()];
        for (rank, node) in arranged.iter().enumerate() {
            ranks[node.get()] = rank;
        }
        points.changed(&renumbered, added, |node| ranks[node.get()])
    }

    /// Points of 64 bits, if the rules make such, and where the circle keeps them.
    pub(super) fn wide(&self) -> Option<(Wide, Vec<Point>)> {
        if self.rules.points != PointHash::Xx64 {
            return None;
        }
        let hosts = (0..).map(NodeIndex).zip(self.names.iter()).zip(self.replicas());
        Some(Wide::new(hosts.map(|((node, name), count)| (node, name, count))))
    }

    /// The mentions, so that of two nodes that meet in a point the one mentioned later is to have it.
    fn arranged(&self) -> Box<[NodeIndex]> {
        let mut mentions = self.mentions.clone();
        self.rules.arrange(&mut mentions, &self.names);
        mentions
    }

    /// How many digests each node has.
    fn replicas(&self) -> Vec<u64> {
        // In list order, as Python adds them up.
        let total: f64 = self.mentions.iter().map(|node| self.weights[node.get()]).sum();
        self.rules.counts.of(&self.weights, total, self.mentions.len())
    }

    /// The points of some nodes, as they are arranged: each node's once, where it is mentioned last.
    fn points_of(
        &self,
        replicas: &[u64],
        mentions: &[NodeIndex],
        wanted: impl Fn(NodeIndex) -> bool,
    ) -> Vec<Point> {
        let rules = self.rules;
        let mut last = vec![0; self.names.len()];
        for (mention, node) in mentions.iter().enumerate() {
            last[node.get()] = mention;
        }
        let here = |mention: usize, node: NodeIndex| last[node.get()] == mention && wanted(node);
        let name = |node: NodeIndex| self.names.get(node).unwrap_or_default();
        let nodes = || mentions.iter().enumerate().filter(|&(mention, &node)| here(mention, node));
        // Sorting takes as much room again.
        let count: u64 = nodes().map(|(_, node)| replicas[node.get()]).sum();
        let PointHash::Md5 { words } = rules.points else {
            if let Some((_, points)) = self.wide() {
                return points;
            }
            let (mut points, numbers) =
                (Vec::with_capacity(2 * count as usize), rules.numbers(self.names.iter()));
            for (_, &node) in nodes() {
                let take = |position| points.push((rules.point(position), node));
                rules.points_of(name(node), numbers[node.get()], replicas[node.get()], take);
            }
            return points;
        };
        let mut points = memory::with_capacity(2 * words * count as usize);
        let mut digests = Replicas::new(Path::best(), |node, digest: [u32; 4]| {
            points.extend(digest[..words].iter().map(|&word| (rules.point(word), node)));
        });
        for (_, &node) in nodes() {
            digests.push(node, rules.label(name(node)), replicas[node.get()]);
        }
        digests.flush();
        points
    }
}

/// A weight as it counts.
fn counted(weight: f64) -> f64 {
    if weight.is_finite() && weight > 0.0 { weight } else { 0.0 }
}
