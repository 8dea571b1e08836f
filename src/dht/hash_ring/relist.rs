//! The list that a ring is made of, and rings whose lists differ little.

use std::collections::HashMap;

use super::md5::{Path, Replicas};
use super::mode::{PointHash, Rules, Wide};
use super::points::{Point, Points};
use super::{HashRing, Inner, Mode, NodeIndex};

/// The list: each mention of a node, by index, and each node's name and weight.
pub(super) struct Listed {
    mentions: Box<[NodeIndex]>,
    /// Distinct names in the order in which they were first listed.
    pub(super) names: Box<[Box<str>]>,
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
        let points = self.inner.listed.changed_to(&listed, &self.inner.points);
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

impl Listed {
    pub(super) fn new(mode: Mode, nodes: impl Iterator<Item = (String, f64)>) -> Self {
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
        let rules = mode.rules(&weights);
        Self { mentions: mentions.into(), names: names.into(), weights: weights.into(), mode, rules }
    }

    /// The same list with other rules than those of its mode.
    pub(super) fn with_rules(self, rules: Rules) -> Self {
        Self { rules, ..self }
    }

    /// The circle of this list.
    pub(super) fn points(&self) -> Points {
        Points::new(self.rules.settled(self.points_of(&self.replicas(), |_| true)))
    }

    /// The circle of another list, made out of that of this one.
    fn changed_to(&self, new: &Self, points: &Points) -> Points {
        if self.rules != new.rules || self.rules.depend() {
            return new.points();
        }
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
        for (rank, node) in new.arranged().iter().enumerate() {
            ranks[node.get()] = rank;
        }
        points.changed(|node| renumbered[node.get()], added, |node| ranks[node.get()])
    }

    /// Each mention's name and weight.
    fn mentioned(&self) -> impl Iterator<Item = (&str, f64)> {
        self.mentions.iter().map(|node| (&*self.names[node.get()], self.weights[node.get()]))
    }

    /// Points of 64 bits, if the rules make such, and where the circle keeps them.
    pub(super) fn wide(&self) -> Option<(Wide, Vec<Point>)> {
        if self.rules.points != PointHash::Xx64 {
            return None;
        }
        let hosts = (0..).map(NodeIndex).zip(self.names.iter()).zip(self.replicas());
        Some(Wide::new(hosts.map(|((node, name), count)| (node, &**name, count))))
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
    fn points_of(&self, replicas: &[u64], wanted: impl Fn(NodeIndex) -> bool) -> Vec<Point> {
        let (rules, mentions) = (self.rules, self.arranged());
        let mut last = vec![0; self.names.len()];
        for (mention, node) in mentions.iter().enumerate() {
            last[node.get()] = mention;
        }
        let here = |mention: usize, node: NodeIndex| last[node.get()] == mention && wanted(node);
        let nodes = || mentions.iter().enumerate().filter(|&(mention, &node)| here(mention, node));
        let count: u64 = nodes().map(|(_, node)| replicas[node.get()]).sum();
        let PointHash::Md5 { words } = rules.points else {
            if let Some((_, points)) = self.wide() {
                return points;
            }
            let (mut points, numbers) =
                (Vec::with_capacity(count as usize), rules.numbers(self.names.iter().map(|name| &**name)));
            for (_, &node) in nodes() {
                let take = |position| points.push((rules.point(position), node));
                rules.points_of(&self.names[node.get()], numbers[node.get()], replicas[node.get()], take);
            }
            return points;
        };
        let mut points = Vec::with_capacity(words * count as usize);
        let mut digests = Replicas::new(Path::best(), |node, digest: [u32; 4]| {
            points.extend(digest[..words].iter().map(|&word| (rules.point(word), node)));
        });
        for (_, &node) in nodes() {
            digests.push(node, rules.label(&self.names[node.get()]), replicas[node.get()]);
        }
        digests.flush();
        points
    }
}
