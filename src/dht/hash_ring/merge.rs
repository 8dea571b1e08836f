//! The circle of a changed list, made out of the one before: points that stay are copied, not sorted.

use std::ops::Range;

use super::NodeIndex;
use super::points::{Ascending, Point, Points};

/// What becomes of nodes.
pub(super) struct Renumbered {
    /// Of each node its new number, if its points stay.
    to: Vec<Option<NodeIndex>>,
    /// Whether all points stay, and every node keeps its number.
    none: bool,
}

impl Renumbered {
    pub(super) fn new(to: Vec<Option<NodeIndex>>) -> Self {
        let none = to.iter().zip(0..).all(|(node, n)| *node == Some(NodeIndex(n)));
        Self { to, none }
    }

    fn get(&self, node: NodeIndex) -> Option<NodeIndex> {
        self.to[node.get()]
    }
}

/// The circle `old` with some nodes' points gone, others' numbers changed, and new points, `added`, in ascending order.
/// `rank` is the place of a node, by its new number, in the list that decides collisions.
///
/// Also the places of the new points among all, where nothing else is different.
pub(super) fn merged(
    old: &Points,
    renumbered: &Renumbered,
    mut added: Vec<Point>,
    rank: impl Fn(NodeIndex) -> usize,
) -> (Ascending, Option<Vec<usize>>) {
    // They count again if those that outdid them have left.
    let outdone = old.outdone().iter();
    let before = added.len();
    added.extend(outdone.filter_map(|&(position, node)| Some((position, renumbered.get(node)?))));
    if added.len() > before {
        added.sort_by_key(|point| point.0);
    }
    let mut new = Ascending::with_capacity(old.len() + added.len());
    let (mut rest, mut at) = (added.as_slice(), 0);
    let (mut places, mut grown) = (Vec::with_capacity(added.len()), renumbered.none);
    while let Some(&(position, _)) = rest.first() {
        let next = at + first_not_less(&old.positions()[at..], position);
        copy(old, at..next, renumbered, &mut new);
        at = next;
        let (here, others) = rest.split_at(rest.iter().take_while(|point| point.0 == position).count());
        rest = others;
        let held = (old.positions().get(at) == Some(&position)).then(|| old.holders()[at]);
        at += usize::from(held.is_some());
        let stays = held.and_then(|node| renumbered.get(node)).map(|node| (position, node));
        let mut together: Vec<Point> = stays.into_iter().chain(here.iter().copied()).collect();
        // The one that others outdo comes before them.
        together.sort_by_key(|point| rank(point.1));
        match held {
            None => places.push(new.len()),
            Some(held) => grown &= together.last().is_some_and(|last| last.1 == held),
        }
        new.extend(together.into_iter());
    }
    copy(old, at..old.len(), renumbered, &mut new);
    (new, grown.then_some(places))
}

/// How many numbers, which ascend, are less than another: found by steps that double, in no more than twice the
/// logarithm of the result.
fn first_not_less(positions: &[u32], position: u32) -> usize {
    let mut step = 1;
    while positions.get(step - 1).is_some_and(|&before| before < position) {
        step *= 2;
    }
    let (from, to) = (step / 2, step.min(positions.len()));
    from + positions[from..to].partition_point(|&before| before < position)
}

fn copy(old: &Points, range: Range<usize>, renumbered: &Renumbered, new: &mut Ascending) {
    let (positions, owners) = (&old.positions()[range.clone()], &old.holders()[range]);
    if renumbered.none {
        return new.extend_distinct(positions, owners);
    }
    for (&position, &owner) in positions.iter().zip(owners) {
        if let Some(owner) = renumbered.get(owner) {
            new.push((position, owner));
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    /// Whether a node more is as if its points had been listed from the beginning. Points lie in few places, so that
    /// many collide.
    fn check(rng: &mut SmallRng, nodes: u32, places: u32, last: bool) {
        let mut points = |nodes: std::ops::Range<u32>| -> Vec<Point> {
            let place = |rng: &mut SmallRng| rng.random_range(0..places) * (u32::MAX / places);
            nodes
                .flat_map(|node| (0..20).map(move |_| node))
                .map(|node| (place(rng), NodeIndex(node)))
                .collect()
        };
        let (listed, added) = (points(0..nodes), points(nodes..nodes + 1));
        // The new node is listed last, or first.
        let all: Vec<Point> =
            if last { [listed.clone(), added.clone()] } else { [added.clone(), listed.clone()] }.concat();
        let same = Renumbered::new((0..nodes).map(|node| Some(NodeIndex(node))).collect());
        let rank = |node: NodeIndex| if last || node.0 < nodes { node.get() + 1 } else { 0 };
        let (changed, expected) = (Points::new(listed).changed(&same, added, rank), Points::new(all));
        assert_eq!(changed.positions(), expected.positions());
        assert_eq!(changed.holders(), expected.holders());
        assert_eq!(changed.outdone(), expected.outdone());
        for position in
            expected.positions().iter().flat_map(|at| [at.wrapping_sub(1), *at, at.wrapping_add(1)])
        {
            assert_eq!(changed.owner(position), expected.owner(position), "{position}");
        }
    }

    #[test]
    fn a_node_more_is_as_if_it_had_been_listed_from_the_beginning() {
        let mut rng = SmallRng::seed_from_u64(22);
        for round in 0..if cfg!(miri) { 4 } else { 100 } {
            check(&mut rng, 100, 100_000, round % 2 == 0);
            check(&mut rng, 30, 900, round % 2 == 0);
            check(&mut rng, 3, 10, round % 2 == 0);
        }
    }

    #[test]
    fn steps_that_double_find_what_one_by_one_finds() {
        for length in 0..40_u32 {
            let positions: Vec<u32> = (0..length).map(|n| 2 * n + 1).collect();
            for position in 0..=2 * length + 1 {
                let expected = positions.iter().take_while(|&&before| before < position).count();
                assert_eq!(first_not_less(&positions, position), expected, "{position} among {length}");
            }
        }
    }
}
