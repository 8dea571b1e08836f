//! The nodes that a client can ask.

use crate::dht::member::Member;
use crate::transport::Locator;

/// The most nodes that a client remembers besides its seeds.
const MAX_LEARNT: usize = 64;

/// Seeds, and members that the ring itself has named, so that a client survives the loss of all its seeds.
#[derive(Debug)]
pub(super) struct Nodes {
    seeds: Vec<Locator>,
    /// The best to ask first.
    learnt: Vec<Locator>,
}

impl Nodes {
    pub(super) fn new(seeds: Vec<Locator>) -> Self {
        Self { seeds, learnt: Vec::new() }
    }

    /// Further nodes that the user names.
    pub(super) fn add_seeds(&mut self, seeds: impl IntoIterator<Item = Locator>) {
        for seed in seeds {
            if !self.seeds.contains(&seed) {
                self.seeds.push(seed);
            }
        }
    }

    /// These are members now.
    pub(super) fn learn<'a>(&mut self, members: impl IntoIterator<Item = &'a Member>) {
        for member in members {
            if !self.learnt.contains(&member.locator) {
                // A member that was just named is a better choice than the last of a full list.
                self.learnt.truncate(MAX_LEARNT - 1);
                self.learnt.push(member.locator.clone());
            }
        }
    }

    /// A node has answered: it is asked first from now on.
    pub(super) fn answered(&mut self, node: &Locator) {
        match self.learnt.iter().position(|known| known == node) {
            // Most often.
            Some(0) => {}
            Some(at) => self.learnt[..=at].rotate_right(1),
            None if self.seeds.contains(node) => {
                self.learnt.truncate(MAX_LEARNT - 1);
                self.learnt.insert(0, node.clone());
            }
            None => {}
        }
    }

    /// A node did not answer: it is asked last from now on.
    pub(super) fn failed(&mut self, node: &Locator) {
        if let Some(at) = self.learnt.iter().position(|known| known == node) {
            self.learnt[at..].rotate_left(1);
        }
    }

    /// The best node to ask that has not been tried.
    pub(super) fn pick(&self, preferred: Option<&Locator>, tried: &[Locator]) -> Option<Locator> {
        let candidates = preferred.into_iter().chain(&self.learnt).chain(&self.seeds);
        candidates.filter(|candidate| !tried.contains(candidate)).map(Clone::clone).next()
    }

    /// All nodes that can be asked.
    pub(super) fn known(&self) -> Vec<Locator> {
        let mut known = self.learnt.clone();
        known.extend(self.seeds.iter().filter(|seed| !self.learnt.contains(seed)).cloned());
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dht::member::NodeName;

    fn at(name: &str) -> Locator {
        Locator::new(format!("memory:{name}")).unwrap()
    }

    fn member(name: &str) -> Member {
        Member { name: NodeName::new(name).unwrap(), locator: at(name), generation: 1 }
    }

    #[test]
    fn a_client_goes_from_node_to_node() {
        let mut nodes = Nodes::new(vec![at("seed")]);
        assert_eq!(nodes.pick(None, &[]), Some(at("seed")));
        nodes.learn(&[member("a"), member("b")]);
        nodes.failed(&at("a"));
        assert_eq!(nodes.pick(None, &[]), Some(at("b")));
        assert_eq!(nodes.pick(Some(&at("x")), &[]), Some(at("x")));
        assert_eq!(nodes.pick(None, &[at("a"), at("b")]), Some(at("seed")));
        assert_eq!(nodes.pick(None, &[at("a"), at("b"), at("seed")]), None);
        nodes.answered(&at("seed"));
        assert_eq!(nodes.known(), [at("seed"), at("b"), at("a")]);
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut nodes = Nodes::new(Vec::new());
        let members: Vec<_> = (0..1000).map(|number| member(&number.to_string())).collect();
        nodes.learn(&members);
        assert_eq!(nodes.known().len(), MAX_LEARNT);
    }
}
