//! Envoy's `RING_HASH` (`ring_hash_lb.cc`), on a circle of 2^64 positions: at least 1,024 points for all hosts together.

use crate::dht::hash_ring::NodeIndex;
use crate::dht::hash_ring::hash::xx64;
use crate::dht::hash_ring::points::Point;

/// `min_ring_size` and `max_ring_size`, as they are unless they are configured.
const LEAST: f64 = 1024.0;
const MOST: f64 = 8_388_608.0;

/// How many points each host has: sums are kept, so that what is rounded away of one host is made up by a later one.
pub(super) fn counts(weights: &[f64]) -> Vec<u64> {
    let total: f64 = weights.iter().sum();
    let shares = weights.iter().map(|weight| weight / total);
    let least = shares.clone().filter(|&share| share > 0.0).fold(f64::INFINITY, f64::min);
    let scale = ((least * LEAST).ceil() / least).min(MOST);
    let (mut target, mut made) = (0.0, 0.0);
    let count = |share: f64| {
        target += scale * share;
        let mut count = 0;
        while made < target && made < MOST {
            made += 1.0;
            count += 1;
        }
        count
    };
    shares.map(count).collect()
}

/// Points of 64 bits in ascending order, each with the position of 32 bits at which the circle keeps it.
///
/// Positions ascend as points do. Where the upper halves of two points are equal the second has the next position, so
/// that [`Wide::position`] can place any key before the point that it belongs to.
#[derive(Debug, Default)]
pub(in super::super) struct Wide(Box<[(u64, u32)]>);

impl Wide {
    /// The points of hosts, each with its name and number of points, and where the circle keeps them.
    pub(in super::super) fn new<'a>(
        hosts: impl Iterator<Item = (NodeIndex, &'a str, u64)>,
    ) -> (Self, Vec<Point>) {
        let mut points = Vec::new();
        for (node, name, count) in hosts {
            points.extend((0..count).map(|j| (xx64(format!("{name}_{j}").as_bytes()), node)));
        }
        Self::of(points)
    }

    fn of(mut points: Vec<(u64, NodeIndex)>) -> (Self, Vec<Point>) {
        points.sort_by_key(|point| point.0);
        points.dedup_by_key(|point| point.0);
        let (mut next, mut kept, mut circle) = (0, Vec::new(), Vec::new());
        for (point, node) in points {
            // One position further than the upper half: a key that has the same one is before the point, or may be.
            let position = next.max(upper(point).saturating_add(1));
            next = position.saturating_add(1);
            kept.push((point, position));
            circle.push((position, node));
        }
        (Self(kept.into()), circle)
    }

    /// The position of a key before the first point that is not less.
    pub(in super::super) fn position(&self, hash: u64) -> u32 {
        let after = self.0.partition_point(|&(point, _)| point < hash);
        let before = after.checked_sub(1).and_then(|before| self.0.get(before));
        before.map_or(upper(hash), |&(_, position)| position.max(upper(hash)))
    }
}

fn upper(hash: u64) -> u32 {
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_placed_before_its_point_where_upper_halves_are_equal() {
        let points =
            [(5_u64 << 32 | 10, 0), (5 << 32 | 20, 1), (5 << 32 | 30, 2), (6 << 32, 3), (9 << 32 | 1, 4)];
        let (wide, circle) = Wide::of(points.map(|(point, node)| (point, NodeIndex(node))).to_vec());
        let circle = super::super::super::points::Points::new(circle);
        for hash in [0_u64, 4 << 32, 10 << 32, u64::MAX].into_iter().chain((5..10).flat_map(|half| {
            [0, 1, 2, 10, 11, 20, 21, 30, 31, u32::MAX].map(|low| half << 32 | u64::from(low))
        })) {
            let expected = points.iter().find(|(point, _)| *point >= hash).unwrap_or(&points[0]).1;
            let found = circle.owner(wide.position(hash)).map(|node| node.0);
            assert_eq!(found, Some(expected), "{hash:x}");
        }
    }

    #[test]
    fn the_least_host_has_a_whole_number_of_points() {
        assert_eq!(counts(&[1.0; 3]), [342; 3]);
        assert_eq!(counts(&[1.0, 2.0, 3.0]), [171, 342, 513]);
        assert_eq!(counts(&[0.0; 2]), [0; 2]);
    }
}
