//! The circle: sorted points, each with the node that owns the keys before it.

use super::NodeIndex;

/// Points in ascending order of position, no position twice. Positions and owners are apart, so that a search touches
/// positions alone.
#[derive(Debug, Default)]
pub(super) struct Points {
    positions: Box<[u32]>,
    owners: Box<[NodeIndex]>,
}

impl Points {
    /// Takes points in the order in which the nodes are listed: where two collide, the later one stays.
    pub(super) fn new(mut listed: Vec<(u32, NodeIndex)>) -> Self {
        // The sort is stable: among equal positions the last is the one listed last.
        listed.sort_by_key(|&(position, _)| position);
        listed.dedup_by(|later, kept| {
            let collide = later.0 == kept.0;
            if collide {
                kept.1 = later.1;
            }
            collide
        });
        let (positions, owners): (Vec<_>, Vec<_>) = listed.into_iter().unzip();
        Self { positions: positions.into(), owners: owners.into() }
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
    pub(super) fn owner(&self, position: u32) -> Option<NodeIndex> {
        let after = self.first_after(position);
        self.owners.get(after).or(self.owners.first()).copied()
    }

    /// The owners of all points, once around from the owner of a position.
    pub(super) fn owners_from(&self, position: u32) -> impl Iterator<Item = NodeIndex> + '_ {
        let (before, after) = self.owners.split_at(self.first_after(position));
        after.iter().chain(before).copied()
    }

    fn first_after(&self, position: u32) -> usize {
        self.positions.partition_point(|&point| point <= position)
    }
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
}
