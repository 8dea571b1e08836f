//! The circle: sorted points, each with the node that owns the keys before it.

use super::NodeIndex;
use super::index::{Found, Index};

/// A position, and the node that has a point there.
pub(super) type Point = (u32, NodeIndex);

/// Points in ascending order of position, no position twice, and an index of them: 8 bytes a point each.
#[derive(Debug, Default)]
pub(super) struct Points {
    positions: Box<[u32]>,
    owners: Box<[NodeIndex]>,
    index: Index,
    /// Points that others in the same place outdo, ascending. They count again when those leave.
    outdone: Box<[Point]>,
}

impl Points {
    /// Takes points in the order in which the nodes are listed: where two collide, the later one stays.
    pub(super) fn new(listed: Vec<Point>) -> Self {
        Self::of(sorted(listed))
    }

    /// Takes points in ascending order; of equal positions the last one stays.
    fn of(ascending: Vec<Point>) -> Self {
        let mut positions = Vec::with_capacity(ascending.len());
        let mut owners = Vec::with_capacity(ascending.len());
        let mut outdone = Vec::new();
        for (position, owner) in ascending {
            match (positions.last(), owners.last_mut()) {
                (Some(&last), Some(kept)) if last == position => {
                    outdone.push((position, std::mem::replace(kept, owner)));
                }
                _ => {
                    positions.push(position);
                    owners.push(owner);
                }
            }
        }
        let index = Index::new(&positions, &owners);
        Self { positions: positions.into(), owners: owners.into(), index, outdone: outdone.into() }
    }

    /// The circle with some nodes' points gone, others' numbers changed, and new points: `renumbered` gives a node's new
    /// number, if its points stay, `listed` the new points in any order, and `rank` the place of a node, by its new
    /// number, in the list that decides collisions.
    pub(super) fn changed(
        &self,
        renumbered: impl Fn(NodeIndex) -> Option<NodeIndex>,
        listed: Vec<Point>,
        rank: impl Fn(NodeIndex) -> usize,
    ) -> Self {
        let all = self.positions.iter().copied().zip(self.owners.iter().copied());
        let kept = |(position, node)| renumbered(node).map(|node| (position, node));
        let mut added = sorted(listed);
        added.extend(self.outdone.iter().copied().filter_map(kept));
        added.sort_by_key(|point| point.0);
        let mut added = added.into_iter().peekable();
        let mut merged: Vec<Point> = Vec::with_capacity(self.positions.len() + added.len());
        for point in all.filter_map(kept) {
            while let Some(before) = added.next_if(|before| before.0 < point.0) {
                merged.push(before);
            }
            merged.push(point);
        }
        merged.extend(added);
        for together in merged.chunk_by_mut(|one, next| one.0 == next.0).filter(|together| together.len() > 1)
        {
            together.sort_by_key(|point| rank(point.1));
        }
        Self::of(merged)
    }

    /// How many points there are.
    pub(super) fn len(&self) -> usize {
        self.positions.len()
    }

    /// The positions in ascending order, no position twice.
    pub(super) fn positions(&self) -> &[u32] {
        &self.positions
    }

    /// The owners of the points, in the order of their positions.
    pub(super) fn holders(&self) -> &[NodeIndex] {
        &self.owners
    }

    /// The owner of a position: that of the first point strictly greater, or of the first point of all.
    #[inline]
    pub(super) fn owner(&self, position: u32) -> Option<NodeIndex> {
        match self.index.find(position)? {
            Found::Exactly(_, owner) => Some(owner),
            Found::Among(arc) => {
                let after = self.first_after(position, arc);
                self.owners.get(after).or(self.owners.first()).copied()
            }
        }
    }

    /// The owners of positions, in their order; there must be points.
    #[inline]
    pub(super) fn owners(&self, positions: &[u32], owners: &mut Vec<NodeIndex>) {
        owners.extend(positions.iter().map(|&position| self.owner(position).unwrap_or(NodeIndex(0))));
    }

    /// The owners of all points, once around from the owner of a position.
    pub(super) fn owners_from(&self, position: u32) -> OwnersFrom<'_> {
        let first = match self.index.find(position) {
            None => 0,
            Some(Found::Exactly(first, _)) => first,
            Some(Found::Among(arc)) => self.first_after(position, arc),
        };
        let (before, after) = self.owners.split_at(first);
        after.iter().chain(before).copied()
    }

    #[cold]
    fn first_after(&self, position: u32, mut arc: std::ops::Range<usize>) -> usize {
        arc.end = arc.end.min(self.positions.len());
        arc.start + self.positions[arc].partition_point(|&point| point <= position)
    }
}

/// The owners of points, once around the circle.
pub(super) type OwnersFrom<'a> =
    std::iter::Copied<std::iter::Chain<std::slice::Iter<'a, NodeIndex>, std::slice::Iter<'a, NodeIndex>>>;

/// Points in ascending order; those in one place keep their order. A radix sort: digests are as good as random, which is
/// the worst case of comparing and no case at all here.
fn sorted(listed: Vec<Point>) -> Vec<Point> {
    const DIGITS: u32 = 4;
    let digit = |point: &Point, n: u32| (point.0 >> (8 * n)) as u8 as usize;
    let mut counts = [[0; 256]; DIGITS as usize];
    for point in &listed {
        for (n, counts) in (0..).zip(&mut counts) {
            counts[digit(point, n)] += 1;
        }
    }
    let mut from = listed;
    let mut to = vec![(0, NodeIndex(0)); from.len()];
    for (n, counts) in (0..).zip(&mut counts) {
        let mut total = 0;
        for count in counts.iter_mut() {
            total += std::mem::replace(count, total);
        }
        for &point in &from {
            let next: &mut usize = &mut counts[digit(&point, n)];
            to[*next] = point;
            *next += 1;
        }
        std::mem::swap(&mut from, &mut to);
    }
    from
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(listed: &[(u32, u32)]) -> Points {
        Points::new(listed.iter().map(|&(position, node)| (position, NodeIndex(node))).collect())
    }

    fn owner(points: &Points, position: u32) -> Option<u32> {
        points.owner(position).map(|node| node.0)
    }

    #[test]
    fn the_owner_is_the_first_point_strictly_greater() {
        let points = points(&[(30, 1), (10, 0), (u32::MAX, 2)]);
        for (position, expected) in
            [(0, 0), (9, 0), (10, 1), (29, 1), (30, 2), (u32::MAX - 1, 2), (u32::MAX, 0)]
        {
            assert_eq!(owner(&points, position), Some(expected), "{position}");
        }
    }

    #[test]
    fn a_point_at_zero_is_reached_by_wrapping_alone() {
        let points = points(&[(0, 0), (5, 1)]);
        assert_eq!([owner(&points, 0), owner(&points, 5)], [Some(1), Some(0)]);
    }

    #[test]
    fn the_later_of_colliding_points_stays() {
        let points = points(&[(10, 2), (10, 0), (20, 1), (10, 3), (20, 0)]);
        assert_eq!(points.len(), 2);
        assert_eq!([owner(&points, 9), owner(&points, 19)], [Some(3), Some(0)]);
    }

    #[test]
    fn once_around_visits_every_point_once() {
        let points = points(&[(10, 0), (20, 1), (30, 2)]);
        let around = |position| points.owners_from(position).map(|node| node.0).collect::<Vec<_>>();
        assert_eq!(around(5), [0, 1, 2]);
        assert_eq!(around(10), [1, 2, 0]);
        assert_eq!(around(30), [0, 1, 2]);
    }

    #[test]
    fn an_empty_circle_has_no_owner() {
        assert_eq!(owner(&Points::default(), 7), None);
        assert_eq!(Points::default().owners_from(7).count(), 0);
    }

    /// Points that crowd one arc, among points all around: the look-up has to search the arc.
    #[test]
    fn crowded_arcs_and_equal_fractions_are_searched() {
        let spread = (0..200_u32).map(|n| (n.wrapping_mul(0x9e37_79b9), n % 7));
        let listed: Vec<(u32, u32)> = spread.chain((0..60).map(|n| (0x8000_0000 + 2 * n, n % 5))).collect();
        let points = points(&listed);
        let mut sorted = listed.clone();
        sorted.sort_by_key(|point| point.0);
        for position in
            listed.iter().flat_map(|point| [point.0.wrapping_sub(1), point.0, point.0.wrapping_add(1)])
        {
            let after = sorted.iter().find(|point| point.0 > position).or(sorted.first());
            assert_eq!(owner(&points, position), after.map(|point| point.1), "{position}");
            assert_eq!(points.owners_from(position).next().map(|node| node.0), after.map(|point| point.1));
        }
    }

    #[test]
    fn owners_with_numbers_of_more_than_16_bits_are_found() {
        let points = points(&[(10, 70_000), (20, 65_536), (30, 65_535)]);
        assert_eq!(
            [9, 10, 20, 30].map(|position| owner(&points, position)),
            [Some(70_000), Some(65_536), Some(65_535), Some(70_000)]
        );
    }

    #[test]
    fn a_point_that_was_outdone_counts_again_when_the_other_leaves() {
        let points = points(&[(10, 0), (20, 0), (10, 1), (30, 1), (10, 2), (40, 2)]);
        let without = |points: &Points, gone: u32| {
            let renumbered = |node: NodeIndex| (node.0 != gone).then_some(node);
            points.changed(renumbered, Vec::new(), NodeIndex::get)
        };
        let (one, two) = (without(&points, 2), without(&without(&points, 2), 1));
        assert_eq!([owner(&points, 5), owner(&one, 5), owner(&two, 5)], [Some(2), Some(1), Some(0)]);
        assert_eq!([points.len(), one.len(), two.len()], [4, 3, 2]);
        // And one that comes back takes its place by its rank, not by when it came.
        let back = |rank: fn(NodeIndex) -> usize| {
            two.changed(Some, vec![(10, NodeIndex(1)), (30, NodeIndex(1))], rank)
        };
        assert_eq!(owner(&back(NodeIndex::get), 5), Some(1));
        assert_eq!(owner(&back(|node| 9 - node.get()), 5), Some(0));
    }
}
