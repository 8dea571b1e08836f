//! HAProxy 2.6 (`lb_chash.c`), which knows servers by number: points are hashes of `4096 · id + j`, and a key belongs to
//! the point that is nearest to it on either side.

use std::collections::HashSet;

use crate::dht::hash_ring::points::Point;

/// Points for which a server's number leaves room.
const RANGE: u32 = 4096;

/// Calls `take` with the points of the server of a number.
pub(super) fn points(id: u32, count: u64, mut take: impl FnMut(u32)) {
    for j in 0..count.min(u64::from(RANGE)) as u32 {
        take(full_hash(id.wrapping_mul(RANGE).wrapping_add(j)));
    }
}

/// The numbers of the servers: what stands behind the `#` at the end of a name, as in `web#7`, or else the least from the
/// number of its line on that is free; a number that is not that of its line makes those below it count from there.
pub(super) fn ids<'a>(names: impl Iterator<Item = &'a str>) -> Vec<u32> {
    let own: Vec<Option<u32>> = names.map(own_id).collect();
    let taken: HashSet<u32> = own.iter().copied().flatten().collect();
    let mut next = 1_u32;
    let mut id = |own: Option<u32>| {
        while own.is_none() && taken.contains(&next) {
            next = next.wrapping_add(1);
        }
        let id = own.unwrap_or(next);
        next = next.wrapping_add(1);
        id
    };
    own.into_iter().map(&mut id).collect()
}

fn own_id(name: &str) -> Option<u32> {
    name.rsplit_once('#')?.1.parse().ok().filter(|&id| id > 0)
}

/// Points for which "the first point strictly greater" is the nearest of the given ones: each half way to the next, up to
/// where a key is as near to either, which the lower one has.
pub(super) fn halfway(mut points: Vec<Point>) -> Vec<Point> {
    points.sort_by_key(|point| point.0);
    let following: Vec<u32> = points.iter().cycle().skip(1).take(points.len()).map(|point| point.0).collect();
    for (point, next) in points.iter_mut().zip(following) {
        point.0 = point.0.wrapping_add(next.wrapping_sub(point.0) / 2).wrapping_add(1);
    }
    points
}

/// A hash of Bob Jenkins's of one number, times a prime.
pub(in super::super) fn full_hash(number: u32) -> u32 {
    let a = number.wrapping_add(0x7ed5_5d16).wrapping_add(number << 12);
    let a = a ^ 0xc761_c23c ^ a >> 19;
    let a = a.wrapping_add(0x1656_67b1).wrapping_add(a << 5);
    let a = a.wrapping_add(0xd3a2_646c) ^ a << 9;
    let a = a.wrapping_add(0xfd70_46c5).wrapping_add(a << 3);
    let a = a ^ 0xb55a_4f09 ^ a >> 16;
    a.wrapping_mul(3_221_225_473)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dht::hash_ring::NodeIndex;

    #[test]
    fn servers_have_their_own_numbers_or_free_ones() {
        let ids = |names: &[&str]| ids(names.iter().copied());
        assert_eq!(ids(&["a", "b", "c"]), [1, 2, 3]);
        assert_eq!(ids(&["a", "b#1", "c", "d#3", "e#0", "f#x"]), [2, 1, 4, 3, 6, 7]);
        assert_eq!(ids(&["a#4000", "b#4001", "c"]), [4000, 4001, 3]);
    }

    #[test]
    fn a_key_half_way_is_the_lower_points() {
        let points = [10, 15, 4_000_000_000].map(|position| (position, NodeIndex(position)));
        let moved: Vec<u32> = halfway(points.to_vec()).into_iter().map(|point| point.0).collect();
        // From 15 on it is half of 3,999,999,985; from the last one, half of 294,967,306 over the end.
        assert_eq!(moved, [13, 2_000_000_008, 4_147_483_654]);
    }
}
