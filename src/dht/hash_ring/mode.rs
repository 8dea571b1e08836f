//! The rules of placement of other programs, as what differs between them. `docs/placement.md` compares them.

use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;

use super::NodeIndex;
use crate::error::{Error, ErrorKind};

/// Digests per node of weight 1 among nodes of weight 1.
const REPLICAS: f64 = 40.0;

/// Whose placement a [`HashRing`](super::HashRing) reproduces.
///
/// All take points from the MD5 of `{node}-{j}` and place a key at the first little-endian word of its own MD5. They
/// differ in how many digests a weight is worth, in how many words of a digest are points, in whose a key is that lies
/// exactly on a point, and in who has a point on which two nodes meet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// Python's package `hash_ring` 1.3.1: ⌊40·n·w / W⌋ digests in `f64`, three words each; a key belongs to the first
    /// point strictly greater; the node listed last has a shared point. The only mode that ringbus's own rings use.
    #[default]
    HashRing,
    /// `libketama` (the C library of Last.fm): ⌊w/W · 40·n⌋ digests with the share and the product rounded to `f32`,
    /// four words each; a key belongs to the first point not less than it; the node listed first has a shared point.
    ///
    /// In C the weights are whole numbers of megabytes and names have at most 21 bytes; neither limit is kept here.
    Ketama,
    /// twemproxy (nutcracker) 0.5.0 with `distribution: ketama` and `hash: md5`: as libketama, but computed in `f32`
    /// throughout and in another order; the port of a name that ends in `:11211` is left out of `{node}-{j}`, as for
    /// its servers without a name of their own; a shared point goes to the shortest name, of these to the least.
    ///
    /// Its default `hash`, fnv1a_64, and its `hash_tag` are not offered: a pool with either places keys otherwise.
    Twemproxy,
}

impl Mode {
    /// All modes, the default first.
    pub const ALL: [Self; 3] = [Self::HashRing, Self::Ketama, Self::Twemproxy];

    /// What it is called on the command line: `hash_ring`, `ketama`, `twemproxy`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HashRing => "hash_ring",
            Self::Ketama => "ketama",
            Self::Twemproxy => "twemproxy",
        }
    }

    /// How many digests a weight of all `nodes` nodes' total is worth. Operations, their order and their precision are
    /// those of the original: any other could round to another count.
    pub(super) fn replicas(self, weight: f64, total: f64, nodes: usize) -> u64 {
        let most = REPLICAS * nodes as f64;
        let replicas = match self {
            Self::HashRing => (most * weight / total).floor(),
            // C: `float pct = …; floorf(pct * 40.0 * (float)n)`, of which the product is one of doubles.
            Self::Ketama => {
                let share = weight as f32 / total as f32;
                f64::from(((f64::from(share) * REPLICAS * f64::from(nodes as f32)) as f32).floor())
            }
            // C: `float pct = …; floorf((float)(pct * 160 / 4 * (float)n + 0.0000000001))`, floats up to the sum.
            Self::Twemproxy => {
                let share = weight as f32 / total as f32;
                f64::from(((f64::from(share * 160.0 / 4.0 * nodes as f32) + 0.000_000_000_1) as f32).floor())
            }
        };
        // Weights at the ends of their range overflow to infinity or NaN; no node's share is over the whole.
        if replicas.is_finite() { replicas.min(most) as u64 } else { 0 }
    }

    /// How many words of a digest are points.
    pub(super) const fn words(self) -> usize {
        match self {
            Self::HashRing => 3,
            Self::Ketama | Self::Twemproxy => 4,
        }
    }

    /// Where a word's point is kept, on a circle where a key belongs to the first point strictly greater. "The first
    /// point not less" is the same with each point one position further; from the last position to 0, which wraps as
    /// it should.
    pub(super) const fn point(self, word: u32) -> u32 {
        match self {
            Self::HashRing => word,
            Self::Ketama | Self::Twemproxy => word.wrapping_add(1),
        }
    }

    /// What is digested of a node's name.
    pub(super) fn label(self, node: &str) -> &str {
        match self {
            Self::HashRing | Self::Ketama => node,
            Self::Twemproxy => node.strip_suffix(":11211").unwrap_or(node),
        }
    }

    /// Sorts nodes, given as listed, so that of two that meet in a point the later one is to have it.
    pub(super) fn arrange(self, nodes: &mut [NodeIndex], names: &[Box<str>]) {
        if self != Self::HashRing {
            nodes.reverse();
        }
        if self == Self::Twemproxy {
            nodes.sort_by_key(|node| {
                let label = self.label(&names[node.get()]);
                Reverse((label.len(), label))
            });
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Mode {
    type Err = Error;

    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for anything but a [name](Self::name).
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|mode| mode.name() == text).ok_or_else(|| {
            let (value, reason) =
                (text.chars().take(32).collect(), "use hash_ring, ketama or twemproxy".into());
            ErrorKind::InvalidArgument { what: "mode", value, reason }.into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for mode in Mode::ALL {
            assert_eq!(mode.to_string().parse::<Mode>().unwrap(), mode);
        }
        let error = "Ketama".parse::<Mode>().unwrap_err();
        assert!(error.to_string().contains("hash_ring, ketama or twemproxy"), "{error}");
    }

    #[test]
    fn the_last_position_is_reached_by_wrapping() {
        assert_eq!([Mode::HashRing.point(u32::MAX), Mode::Ketama.point(u32::MAX)], [u32::MAX, 0]);
    }

    #[test]
    fn a_shared_point_goes_where_each_original_puts_it() {
        let names: Vec<Box<str>> = ["ccc:11211", "b", "aaaa", "a"].map(Into::into).into();
        let winners = |mode: Mode| {
            let mut nodes: Vec<_> = (0..4).map(NodeIndex).collect();
            mode.arrange(&mut nodes, &names);
            nodes.into_iter().rev().map(|node| node.0).collect::<Vec<_>>()
        };
        assert_eq!(winners(Mode::HashRing), [3, 2, 1, 0]);
        assert_eq!(winners(Mode::Ketama), [0, 1, 2, 3]);
        assert_eq!(winners(Mode::Twemproxy), [3, 1, 0, 2]);
    }
}
