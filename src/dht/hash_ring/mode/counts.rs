//! How many digests or points a node has, in the arithmetic of each program: operations, their order and their
//! precision are those of the original, since any other could round to another count.

use super::envoy;

/// Digests per node of weight 1 among nodes of weight 1.
const REPLICAS: f64 = 40.0;
/// Points that a ring has at most: 16 bytes each, a quarter of a GiB. Where weights would make more, which takes nodes
/// that weigh more than 100,000 together in the modes that do not divide by the total, each node has its share of them.
pub(super) const MOST: u64 = 1 << 24;

/// The arithmetic. *w* is the node's weight, *W* the total, *n* the number of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Counts {
    /// `floor(40·n·w / W)` in `f64`.
    HashRing,
    /// `floorf(w / W * 40.0 * n)`: the share in `f32`, the product in `f64`, rounded to `f32`.
    Ketama,
    /// `floorf(w / W * 160 / 4 * n + 1e-10)`, in `f32` up to the sum.
    Libmemcached,
    /// `floor(w / W * 40 * n)` in `f64`.
    Npm,
    /// 100 for each node.
    Hundred,
    /// `floor(160·w + 0.5)`, whatever the others weigh.
    Nginx,
    /// `floor(16·w)`, whatever the others weigh, up to 4,096.
    Haproxy,
    /// At least 1,024 for all together, in shares of which the least is a whole number.
    Envoy,
}

impl Counts {
    /// How many digests, or points, each of the nodes has.
    pub(in super::super) fn of(self, weights: &[f64], total: f64, nodes: usize) -> Vec<u64> {
        if self == Self::Envoy {
            return envoy::counts(weights);
        }
        let counts: Vec<u64> = weights.iter().map(|&weight| self.one(weight, total, nodes)).collect();
        let sum = counts.iter().map(|&count| u128::from(count)).sum::<u128>();
        if sum <= u128::from(MOST) || self.divides() {
            return counts;
        }
        let share = |count: u64| (u128::from(count) * u128::from(MOST) / sum) as u64;
        counts.into_iter().map(share).collect()
    }

    /// Whether the total number follows from the number of nodes alone, however great the weights are.
    const fn divides(self) -> bool {
        !matches!(self, Self::Nginx | Self::Haproxy)
    }

    fn one(self, weight: f64, total: f64, nodes: usize) -> u64 {
        let most = REPLICAS * nodes as f64;
        let count = match self {
            Self::HashRing => (most * weight / total).floor(),
            // C: `float pct = …; floorf(pct * 40.0 * (float)n)`, of which the product is one of doubles.
            Self::Ketama => {
                let share = weight as f32 / total as f32;
                f64::from(((f64::from(share) * REPLICAS * f64::from(nodes as f32)) as f32).floor())
            }
            // C: `float pct = …; floorf((float)(pct * 160 / 4 * (float)n + 0.0000000001))`, floats up to the sum.
            Self::Libmemcached => {
                let share = weight as f32 / total as f32;
                f64::from(((f64::from(share * 160.0 / 4.0 * nodes as f32) + 0.000_000_000_1) as f32).floor())
            }
            Self::Npm => (weight / total * REPLICAS * nodes as f64).floor(),
            Self::Hundred => return if weight > 0.0 { 100 } else { 0 },
            Self::Nginx => return (160.0 * weight + 0.5) as u64,
            Self::Haproxy => return ((16.0 * weight) as u64).min(4096),
            Self::Envoy => return 0,
        };
        // Weights at the ends of their range overflow to infinity or NaN; no node's share is over the whole.
        if count.is_finite() { count.min(most) as u64 } else { 0 }
    }

    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::HashRing => "40·n·w / W digests, in f64",
            Self::Ketama => "w/W · 40·n digests, of which the share is an f32",
            Self::Libmemcached => "w/W · 160/4 · n digests, in f32",
            Self::Npm => "w/W · 40·n digests, in f64",
            Self::Hundred => "100 points a node",
            Self::Nginx => "160 points for each unit of weight",
            Self::Haproxy => "16 points for each unit of weight",
            Self::Envoy => "at least 1,024 points together",
        }
    }
}
