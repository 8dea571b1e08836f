//! The circle: sorted points, each with the node that owns the keys before it.

use super::index::{Found, Index, Place};
use super::md5::BATCH;
use super::merge::{Renumbered, merged};
use super::sort::sort;
use super::{NodeIndex, memory};

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

/// Points that are put in ascending order, one behind the other.
#[derive(Debug)]
pub(super) struct Ascending {
    positions: Vec<u32>,
    owners: Vec<NodeIndex>,
    outdone: Vec<Point>,
}

impl Ascending {
    /// None, and room for as many.
    pub(super) fn with_capacity(points: usize) -> Self {
        let (positions, owners) = (memory::with_capacity(points), memory::with_capacity(points));
        Self { positions, owners, outdone: Vec::new() }
    }

    /// Adds the next point. It outdoes one in the same place.
    #[inline]
    pub(super) fn push(&mut self, (position, owner): Point) {
        match (self.positions.last(), self.owners.last_mut()) {
            (Some(&last), Some(kept)) if last == position => {
                self.outdone.push((position, std::mem::replace(kept, owner)));
            }
            _ => {
                self.positions.push(position);
                self.owners.push(owner);
            }
        }
    }

    /// Adds the next points: each outdoes those before it in the same place.
    pub(super) fn extend(&mut self, points: impl Iterator<Item = Point>) {
        points.for_each(|point| self.push(point));
    }

    /// Adds the next points, of which none is in the place of another, nor of those that were added.
    pub(super) fn extend_distinct(&mut self, positions: &[u32], owners: &[NodeIndex]) {
        self.positions.extend_from_slice(positions);
        self.owners.extend_from_slice(owners);
    }
}

impl Ascending {
    /// How many distinct points there are.
    pub(super) fn len(&self) -> usize {
        self.positions.len()
    }

    fn indexed(self, index: impl FnOnce(&[u32], &[NodeIndex]) -> Index) -> Points {
        let Self { positions, owners, outdone } = self;
        let index = index(&positions, &owners);
        Points { positions: positions.into(), owners: owners.into(), index, outdone: outdone.into() }
    }
}

impl Points {
    /// Takes points in the order in which the nodes are listed: where two collide, the later one stays.
    pub(super) fn new(mut listed: Vec<Point>) -> Self {
        sort(&mut listed);
        let mut points = Ascending::with_capacity(listed.len());
        points.extend(listed.into_iter());
        points.indexed(Index::new)
    }

    /// The circle with some nodes' points gone, others' numbers changed, and new points: `listed`, in any order. `rank`
    /// is the place of a node, by its new number, in the list that decides collisions.
    pub(super) fn changed(
        &self,
        renumbered: &Renumbered,
        mut listed: Vec<Point>,
        rank: impl Fn(NodeIndex) -> usize,
    ) -> Self {
        sort(&mut listed);
        let (points, grown) = merged(self, renumbered, listed, rank);
        points.indexed(|positions, owners| match grown {
            Some(added) => self.index.grown(positions, owners, &added),
            None => Index::new(positions, owners),
        })
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

    /// The points that others in the same place outdo, ascending.
    pub(super) fn outdone(&self) -> &[Point] {
        &self.outdone
    }

    /// The owner of a position: that of the first point strictly greater, or of the first point of all.
    #[inline]
    pub(super) fn owner(&self, position: u32) -> Option<NodeIndex> {
        self.owner_at(position, self.index.place(position))
    }

    #[inline]
    fn owner_at(&self, position: u32, place: Place) -> Option<NodeIndex> {
        match self.index.find(place)? {
            Found::Exactly(_, owner) => Some(owner),
            Found::Among(arc) => {
                let after = self.first_after(position, arc);
                self.owners.get(after).or(self.owners.first()).copied()
            }
        }
    }

    /// The owners of all points, once around from the owner of a position.
    pub(super) fn owners_from(&self, position: u32) -> OwnersFrom<'_> {
        let first = match self.index.find(self.index.place(position)) {
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

/// Finds the owners of positions batch by batch, each batch while the next one is digested: until then the lines of the
/// index that it needs are on their way.
pub(super) struct Owners<'a> {
    points: &'a Points,
    owners: &'a mut Vec<NodeIndex>,
    waiting: [(u32, Place); BATCH],
    held: usize,
}

impl<'a> Owners<'a> {
    /// Puts owners behind those in `owners`; there must be points.
    pub(super) fn new(points: &'a Points, owners: &'a mut Vec<NodeIndex>) -> Self {
        Self { points, owners, waiting: [(0, Place::default()); BATCH], held: 0 }
    }

    /// Asks for the owners of at most [`BATCH`] positions, and finds those that were asked for before.
    #[inline]
    pub(super) fn ask(&mut self, positions: &[u32]) {
        self.finish();
        for (waiting, &position) in self.waiting.iter_mut().zip(positions) {
            let place = self.points.index.place(position);
            self.points.index.prefetch(place);
            *waiting = (position, place);
        }
        self.held = positions.len();
    }

    /// Finds all owners that were asked for.
    #[inline]
    pub(super) fn finish(&mut self) {
        let waiting = self.waiting.iter().take(self.held);
        let owner = |&(position, place)| self.points.owner_at(position, place).unwrap_or(NodeIndex(0));
        self.owners.extend(waiting.map(owner));
        self.held = 0;
    }
}

/// The owners of points, once around the circle.
pub(super) type OwnersFrom<'a> =
    std::iter::Copied<std::iter::Chain<std::slice::Iter<'a, NodeIndex>, std::slice::Iter<'a, NodeIndex>>>;

#[cfg(test)]
mod tests {
    use super::*;

    fn points(listed: &[(u32, u32)]) -> Points {
        let listed: Vec<Point> = listed.iter().map(|&(position, node)| (position, NodeIndex(node))).collect();
        Points::new(listed)
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
            let to = (0..3).map(|node| (node != gone).then_some(NodeIndex(node))).collect();
            points.changed(&Renumbered::new(to), Vec::new(), NodeIndex::get)
        };
        let (one, two) = (without(&points, 2), without(&without(&points, 2), 1));
        assert_eq!([owner(&points, 5), owner(&one, 5), owner(&two, 5)], [Some(2), Some(1), Some(0)]);
        assert_eq!([points.len(), one.len(), two.len()], [4, 3, 2]);
        // And one that comes back takes its place by its rank, not by when it came.
        let back = |rank: fn(NodeIndex) -> usize| {
            let same = Renumbered::new((0..3).map(|node| Some(NodeIndex(node))).collect());
            two.changed(&same, vec![(10, NodeIndex(1)), (30, NodeIndex(1))], rank)
        };
        assert_eq!(owner(&back(NodeIndex::get), 5), Some(1));
        assert_eq!(owner(&back(|node| 9 - node.get()), 5), Some(0));
    }
}
