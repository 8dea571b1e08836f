//! What a mode consists of, part by part: a part can be exchanged for that of another mode, which is how
//! [`Comparison`](crate::dht::hash_ring::Comparison) finds the one that a placement depends on.

use std::cmp::Reverse;
use std::fmt;

use super::counts::Counts;
use super::{haproxy, libmemcached, nginx};
use crate::dht::hash_ring::NodeIndex;
use crate::dht::hash_ring::names::Names;
use crate::dht::hash_ring::points::Point;

/// By which rules nodes get their points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Rules {
    pub(super) label: Label,
    pub(in super::super) counts: Counts,
    pub(in super::super) points: PointHash,
    pub(super) search: Search,
    pub(super) tie: Tie,
}

/// A part of what a mode consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// The hash that places keys, and the part of a key that is hashed.
    KeyHash,
    /// What of a node's name is hashed: with or without a `:11211`.
    Label,
    /// How many points a node has, and in which arithmetic that is computed.
    Counts,
    /// The hash that makes points of a node's name.
    Points,
    /// Whose a key is that lies exactly on a point.
    OnPoint,
    /// Which node has a point on which two meet.
    Tie,
}

/// What is hashed of a node's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Label {
    Name,
    /// Without `:11211` at its end.
    WithoutPort,
    /// The number that the node has, and not its name.
    Number,
}

/// What makes points of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum PointHash {
    /// The first words of the MD5 digests of `{label}-{j}`.
    Md5 { words: usize },
    /// The one-at-a-time hashes of `{label}-{j}`.
    OneAtATime,
    /// CRC-32 of host and port, chained.
    Crc32Chain,
    /// Jenkins's hash of a number, times a prime.
    Jenkins,
    /// xxHash64 of `{name}_{j}`: points of 64 bits.
    Xx64,
}

/// To which point a key belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Search {
    Greater,
    NotLess,
    /// On either side; the lower one of two that are as near.
    Nearest,
}

/// Which of the nodes that meet in a point has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tie {
    LastListed,
    FirstListed,
    /// Of the shortest ones the least.
    ShortestName,
}

impl Rule {
    /// The rules that make a ring out of nodes, in the order in which differences are explained by them.
    pub(in super::super) const OF_RINGS: [Self; 5] =
        [Self::Label, Self::Points, Self::Counts, Self::OnPoint, Self::Tie];
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::KeyHash => "the hash of keys",
            Self::Label => "what is hashed of a node's name",
            Self::Counts => "how many points a node has",
            Self::Points => "the points of a node",
            Self::OnPoint => "whose a key on a point is",
            Self::Tie => "whose a point is on which two nodes meet",
        })
    }
}

impl Rules {
    /// These rules with one as it is in others.
    pub(in super::super) fn exchanged(self, rule: Rule, there: Self) -> Self {
        match rule {
            Rule::KeyHash => self,
            Rule::Label => Self { label: there.label, ..self },
            Rule::Counts => Self { counts: there.counts, ..self },
            Rule::Points => Self { points: there.points, ..self },
            Rule::OnPoint => Self { search: there.search, ..self },
            Rule::Tie => Self { tie: there.tie, ..self },
        }
    }

    /// What one of the rules says.
    pub(in super::super) fn text(self, rule: Rule) -> &'static str {
        match rule {
            Rule::KeyHash => "",
            Rule::Label => match self.label {
                Label::Name => "the whole name",
                Label::WithoutPort => "the name without :11211 at its end",
                Label::Number => "the number of the server",
            },
            Rule::Counts => self.counts.text(),
            Rule::Points => match self.points {
                PointHash::Md5 { words: 3 } => "three words of each MD5 digest",
                PointHash::Md5 { .. } => "four words of each MD5 digest",
                PointHash::OneAtATime => "one-at-a-time hashes",
                PointHash::Crc32Chain => "a chain of CRC-32",
                PointHash::Jenkins => "Jenkins's hash of a number",
                PointHash::Xx64 => "xxHash64",
            },
            Rule::OnPoint => match self.search {
                Search::Greater => "that of the next point",
                Search::NotLess => "that of the point",
                Search::Nearest => "that of the nearest point on either side",
            },
            Rule::Tie => match self.tie {
                Tie::LastListed => "that of the node listed last",
                Tie::FirstListed => "that of the node listed first",
                Tie::ShortestName => "that of the node with the shortest name",
            },
        }
    }

    /// Where a point is kept, on a circle where a key belongs to the first point strictly greater. "The first point not
    /// less" is the same with each point one position further; from the last position to 0, which wraps as it should.
    pub(in super::super) const fn point(self, position: u32) -> u32 {
        match self.search {
            // Those that are to be half way to the next are moved together.
            Search::Greater | Search::Nearest => position,
            Search::NotLess => position.wrapping_add(1),
        }
    }

    /// What is hashed of a node's name.
    pub(in super::super) fn label(self, node: &str) -> &str {
        match self.label {
            Label::Name | Label::Number => node,
            Label::WithoutPort => node.strip_suffix(":11211").unwrap_or(node),
        }
    }

    /// Calls `take` with each point of a node of this name and number, but for those that are made together.
    pub(in super::super) fn points_of(self, node: &str, number: u32, count: u64, take: impl FnMut(u32)) {
        match self.points {
            PointHash::Md5 { .. } | PointHash::Xx64 => {}
            PointHash::Jenkins => haproxy::points(number, count, take),
            PointHash::OneAtATime => libmemcached::points(self.label(node), count, take),
            PointHash::Crc32Chain => nginx::points(self.label(node), count, take),
        }
    }

    /// The numbers of nodes, for rules that know them by those.
    pub(in super::super) fn numbers<'a>(self, names: impl ExactSizeIterator<Item = &'a str>) -> Vec<u32> {
        if self.points == PointHash::Jenkins { haproxy::ids(names) } else { vec![0; names.len()] }
    }

    /// Whether points depend on more than the name of their own node: then no ring is made out of another.
    pub(in super::super) fn depend(self) -> bool {
        self.search == Search::Nearest || matches!(self.points, PointHash::Jenkins | PointHash::Xx64)
    }

    /// The points of a circle where a key belongs to the first one strictly greater.
    pub(in super::super) fn settled(self, points: Vec<Point>) -> Vec<Point> {
        if self.search == Search::Nearest { haproxy::halfway(points) } else { points }
    }

    /// Sorts nodes, given as listed, so that of two that meet in a point the later one is to have it.
    pub(in super::super) fn arrange(self, nodes: &mut [NodeIndex], names: &Names) {
        if self.tie != Tie::LastListed {
            nodes.reverse();
        }
        if self.tie == Tie::ShortestName {
            nodes.sort_by_key(|node| {
                let label = self.label(names.get(*node).unwrap_or_default());
                Reverse((label.len(), label))
            });
        }
    }
}
