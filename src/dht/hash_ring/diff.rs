//! What changes hands between two rings.

use std::collections::HashMap;

use super::points::Points;
use super::{HashRing, KeyRule, NodeIndex};
use crate::dht::arc::Arc;
use crate::dht::key::Key;

/// The circle's positions, 2^32.
const CIRCLE: f64 = 4_294_967_296.0;

/// What changes hands when one ring becomes another: made by [`HashRing::diff`].
///
/// ```
/// use ringbus::HashRing;
///
/// let (old, new) = (HashRing::new(["a", "b", "c"]), HashRing::new(["a", "b", "c", "d"]));
/// let diff = HashRing::diff(&old, &new);
/// // A newcomer among equals takes what it gets from the others, and nothing else moves.
/// assert!(diff.moves().iter().all(|moved| moved.to == Some("d")));
/// assert!((0.2..0.3).contains(&diff.fraction()));
/// assert_eq!(diff.between_unchanged(), 0);
/// assert_eq!(diff.find(b"k9").map(|moved| moved.from), Some(Some("b")));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct RingDiff<'a> {
    moves: Vec<Move<'a>>,
    loads: Vec<Load<'a>>,
    moved: u64,
    between_unchanged: u64,
    keys: KeyRule,
}

/// An arc of the circle that changes hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move<'a> {
    /// The positions, none of which another move has.
    pub arc: Arc,
    /// Whose they were; `None` if the old ring had no point.
    pub from: Option<&'a str>,
    /// Whose they are to be; `None` if the new ring has no point.
    pub to: Option<&'a str>,
}

/// What a node owns in two rings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load<'a> {
    /// Its name.
    pub node: &'a str,
    /// In the old ring; `None` if it was not in there.
    pub before: Option<Share>,
    /// In the new ring; `None` if it is not in there.
    pub after: Option<Share>,
}

/// A part of the circle that is one node's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share {
    /// How many positions, up to 2^32.
    pub positions: u64,
    /// The node's weight.
    pub weight: f64,
    /// Its part of the total weight: the fraction of the circle that it should own.
    pub fair: f64,
}

impl Share {
    /// The fraction of the circle that it is, from 0 to 1.
    pub fn fraction(self) -> f64 {
        self.positions as f64 / CIRCLE
    }

    /// How much of the node's fair share it is: 1 if it is just that; `None` for a node without weight.
    pub fn of_fair(self) -> Option<f64> {
        (self.fair > 0.0).then(|| self.fraction() / self.fair)
    }
}

impl HashRing {
    /// What changes hands when `old` becomes `new`. The two may follow different [modes](super::Mode). The time is
    /// linear in their points.
    pub fn diff<'a>(old: &'a Self, new: &'a Self) -> RingDiff<'a> {
        let both = Both::new(old, new);
        let (mut pieces, mut moved, mut between_unchanged) = (Vec::new(), 0, 0);
        let (mut before, mut after) = (vec![0; both.names.len()], vec![0; both.names.len()]);
        walk(&old.inner.points, &new.inner.points, |start, end, from, to| {
            let length = positions(start, end);
            let (from, to) = (from.map(|node| both.old[node.get()]), to.map(|node| both.new[node.get()]));
            from.into_iter().for_each(|node| before[node] += length);
            to.into_iter().for_each(|node| after[node] += length);
            if from != to {
                moved += length;
                if from.is_some_and(|node| both.unchanged(node))
                    && to.is_some_and(|node| both.unchanged(node))
                {
                    between_unchanged += length;
                }
                append(&mut pieces, Piece { start, end, from, to });
            }
        });
        close(&mut pieces);
        let moves = pieces.into_iter().map(|piece| both.named(piece)).collect();
        RingDiff { moves, loads: both.loads(&before, &after), moved, between_unchanged, keys: old.keys }
    }
}

impl<'a> RingDiff<'a> {
    /// The arcs that change hands, by where they begin; of adjacent ones the pair of nodes differs.
    pub fn moves(&self) -> &[Move<'a>] {
        &self.moves
    }

    /// The nodes of either ring, those of the old one first, as they are listed.
    pub fn loads(&self) -> &[Load<'a>] {
        &self.loads
    }

    /// How many positions change hands, up to 2^32.
    pub fn moved(&self) -> u64 {
        self.moved
    }

    /// The fraction of the circle that changes hands, from 0 to 1.
    pub fn fraction(&self) -> f64 {
        self.moved as f64 / CIRCLE
    }

    /// How many positions move from one node to another although both are in either ring, with the same weight.
    ///
    /// With unequal weights a node's number of points depends on the number of nodes and on the total weight, and so
    /// changes with them. With equal weights there are none between rings of one mode, but for what the rounding of
    /// [`Mode::Ketama`](super::Mode::Ketama), of libmemcached's modes and of npm's does, and for points that collide where
    /// the lists are in another order. There are none either, whatever the weights, in [`Mode::Nginx`](super::Mode::Nginx).
    pub fn between_unchanged(&self) -> u64 {
        self.between_unchanged
    }

    /// The greatest load per weight in the old ring by the mean of them: 1 is perfect balance; `None` if nobody owns
    /// anything.
    pub fn imbalance_before(&self) -> Option<f64> {
        imbalance(self.loads.iter().map(|load| load.before))
    }

    /// The greatest load per weight in the new ring by the mean of them.
    pub fn imbalance_after(&self) -> Option<f64> {
        imbalance(self.loads.iter().map(|load| load.after))
    }

    /// The move that takes a key along; `None` if the key stays.
    ///
    /// The key is placed by the old ring's [`KeyRule`]: moves are arcs of one circle, and say nothing about a change of
    /// that rule.
    pub fn find(&self, key: &[u8]) -> Option<&Move<'a>> {
        let key = Key::new(self.keys.position(key));
        let after = self.moves.partition_point(|moved| moved.arc.after().get().wrapping_add(1) <= key.get());
        // Before the first arc begins, the last one may not have ended.
        let moved = self.moves[..after].last().or(self.moves.last())?;
        moved.arc.contains(key).then_some(moved)
    }
}

/// The nodes of two rings under common numbers.
struct Both<'a> {
    names: Vec<&'a str>,
    /// By the index in the old ring, and in the new one.
    old: Vec<usize>,
    new: Vec<usize>,
    /// By the common number.
    weights: Vec<[Option<f64>; 2]>,
}

impl<'a> Both<'a> {
    fn new(old: &'a HashRing, new: &'a HashRing) -> Self {
        let mut both = Self { names: Vec::new(), old: Vec::new(), new: Vec::new(), weights: Vec::new() };
        let mut known = HashMap::new();
        for (side, ring) in [old, new].into_iter().enumerate() {
            for (name, &weight) in ring.nodes().zip(&ring.inner.listed.weights) {
                let number = *known.entry(name).or_insert_with(|| {
                    both.names.push(name);
                    both.weights.push([None; 2]);
                    both.names.len() - 1
                });
                both.weights[number][side] = Some(weight);
                if side == 0 { &mut both.old } else { &mut both.new }.push(number);
            }
        }
        both
    }

    fn unchanged(&self, node: usize) -> bool {
        let [before, after] = self.weights[node];
        before.is_some() && before == after
    }

    fn named(&self, piece: Piece) -> Move<'a> {
        let name = |node: usize| self.names[node];
        // An `Arc` leaves out its beginning and includes its end.
        let arc = Arc::new(Key::new(piece.start.wrapping_sub(1)), Key::new(piece.end.wrapping_sub(1)));
        Move { arc, from: piece.from.map(name), to: piece.to.map(name) }
    }

    fn loads(&self, before: &[u64], after: &[u64]) -> Vec<Load<'a>> {
        let total = |side: usize| self.weights.iter().filter_map(|weights| weights[side]).sum::<f64>();
        let totals = [total(0), total(1)];
        let share = |node: usize, side: usize, owned: &[u64]| {
            let fair = |weight| if totals[side] > 0.0 { weight / totals[side] } else { 0.0 };
            let weight = self.weights[node][side]?;
            Some(Share { positions: owned[node], weight, fair: fair(weight) })
        };
        let names = self.names.iter().enumerate();
        names
            .map(|(n, &node)| Load { node, before: share(n, 0, before), after: share(n, 1, after) })
            .collect()
    }
}

/// `[start, end)` on the circle, all of it if the two are one; nodes by their common numbers.
#[derive(Clone, Copy)]
struct Piece {
    start: u32,
    end: u32,
    from: Option<usize>,
    to: Option<usize>,
}

impl Piece {
    fn is_continued_by(&self, next: &Self) -> bool {
        self.end == next.start && (self.from, self.to) == (next.from, next.to)
    }
}

fn append(pieces: &mut Vec<Piece>, piece: Piece) {
    match pieces.last_mut() {
        Some(last) if last.is_continued_by(&piece) => last.end = piece.end,
        _ => pieces.push(piece),
    }
}

/// Joins the last piece with the first, where the circle closes.
fn close(pieces: &mut Vec<Piece>) {
    if let [first, .., last] = pieces.as_mut_slice()
        && last.is_continued_by(first)
    {
        last.end = first.end;
        pieces.remove(0);
    }
}

/// Visits the circle once around, cut at every point of either ring: where a part begins, where it ends, and whose it is
/// in each. A part that is the whole circle ends where it begins.
fn walk(old: &Points, new: &Points, mut visit: impl FnMut(u32, u32, Option<NodeIndex>, Option<NodeIndex>)) {
    let (olds, news) = (old.positions(), new.positions());
    let owner =
        |points: &Points, after: usize| points.holders().get(after).or(points.holders().first()).copied();
    let Some(&first) = olds.first().into_iter().chain(news.first()).min() else { return };
    let (mut start, mut i, mut j) = (first, 0, 0);
    loop {
        // What is at the beginning of a part is behind it: a key belongs to the first point strictly greater.
        i += usize::from(olds.get(i) == Some(&start));
        j += usize::from(news.get(j) == Some(&start));
        let next = olds.get(i).into_iter().chain(news.get(j)).min().copied();
        visit(start, next.unwrap_or(first), owner(old, i), owner(new, j));
        let Some(next) = next else { return };
        start = next;
    }
}

fn positions(start: u32, end: u32) -> u64 {
    match end.wrapping_sub(start) {
        0 => 1 << 32,
        length => length.into(),
    }
}

fn imbalance(shares: impl Iterator<Item = Option<Share>>) -> Option<f64> {
    let most = shares.flatten().filter_map(Share::of_fair).max_by(f64::total_cmp)?;
    (most > 0.0).then_some(most)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::relist::Listed;
    use super::super::{Inner, Mode};
    use super::*;

    /// A ring of chosen points; the node of number `n` is named so and weighs as much as the ring's `weights` say.
    fn ring(points: &[(u32, u32)], weights: &[f64]) -> HashRing {
        let nodes = weights.iter().enumerate().map(|(node, weight)| (node.to_string(), *weight));
        let points: Vec<_> = points.iter().map(|&(position, node)| (position, NodeIndex(node))).collect();
        let inner = Inner::new(Listed::new(Mode::HashRing, nodes), Points::new(points));
        HashRing { inner, keys: KeyRule::default() }
    }

    fn moves<'a>(diff: &RingDiff<'a>) -> Vec<(u32, u32, Option<&'a str>, Option<&'a str>)> {
        let ends = |moved: &Move<'_>| (moved.arc.after().get(), moved.arc.upto().get());
        diff.moves().iter().map(|moved| (ends(moved).0, ends(moved).1, moved.from, moved.to)).collect()
    }

    #[test]
    fn a_newcomers_point_takes_what_lies_before_it() {
        let weights = [1.0, 1.0, 1.0];
        let (old, new) = (ring(&[(10, 0), (20, 1)], &weights), ring(&[(10, 0), (15, 2), (20, 1)], &weights));
        let diff = HashRing::diff(&old, &new);
        // The keys 10 to 14: one on a point belongs to the next.
        assert_eq!(moves(&diff), [(9, 14, Some("1"), Some("2"))]);
        assert_eq!((diff.moved(), diff.between_unchanged()), (5, 5));
        assert_eq!(HashRing::diff(&old, &old).moves(), []);
    }

    #[test]
    fn arcs_of_the_same_pair_are_one_also_where_the_circle_closes() {
        let weights = [1.0, 1.0];
        let old = ring(&[(10, 0), (20, 0), (30, 1), (40, 0)], &weights);
        let new = ring(&[(20, 1), (30, 1), (40, 1)], &weights);
        assert_eq!(moves(&HashRing::diff(&old, &new)), [(29, 19, Some("0"), Some("1"))]);
        let new = ring(&[(30, 0)], &weights);
        assert_eq!(moves(&HashRing::diff(&old, &new)), [(19, 29, Some("1"), Some("0"))]);
    }

    #[test]
    fn a_ring_without_points_gives_or_takes_the_whole_circle() {
        let (none, one) = (ring(&[], &[0.0]), ring(&[(7, 0)], &[1.0]));
        let diff = HashRing::diff(&none, &one);
        assert_eq!((moves(&diff), diff.moved()), (vec![(6, 6, None, Some("0"))], 1 << 32));
        assert_eq!((diff.imbalance_before(), diff.imbalance_after()), (None, Some(1.0)));
        assert_eq!(moves(&HashRing::diff(&one, &none)), [(6, 6, Some("0"), None)]);
        assert_eq!(HashRing::diff(&none, &none).fraction(), 0.0);
    }

    #[test]
    fn load_is_told_by_weight() {
        // A quarter of the circle each, then three quarters of it for the heavier.
        let points = |nodes: [u32; 4]| nodes.iter().zip(1..).map(|(&n, i)| (i << 30, n)).collect::<Vec<_>>();
        let (old, new) = (ring(&points([0, 1, 0, 1]), &[1.0, 1.0]), ring(&points([0, 1, 0, 0]), &[3.0, 1.0]));
        let diff = HashRing::diff(&old, &new);
        assert_eq!((diff.imbalance_before(), diff.imbalance_after()), (Some(1.0), Some(1.0)));
        let after = diff.loads()[0].after.unwrap();
        assert_eq!((after.fraction(), after.fair, after.of_fair()), (0.75, 0.75, Some(1.0)));
        assert_eq!((diff.fraction(), diff.between_unchanged()), (0.25, 0));
    }

    fn any_points() -> impl Strategy<Value = Vec<(u32, u32)>> {
        // Few places, so that points meet and adjoin; the ends of the circle among them.
        let place = (0_u32..12)
            .prop_map(|place| [0, 1, 2, u32::MAX, u32::MAX - 1, 1 << 31][place as usize % 6] ^ (place / 6));
        prop::collection::vec((place, 0_u32..4), 0..9)
    }

    proptest! {
        #[test]
        fn exactly_what_has_another_owner_lies_in_a_move(a in any_points(), b in any_points(), w in prop::array::uniform4(1..3_u8)) {
            let (old, new) = (ring(&a, &[1.0; 4]), ring(&b, &w.map(f64::from)));
            let diff = HashRing::diff(&old, &new);
            let near = a.iter().chain(&b).flat_map(|&(at, _)| [at.wrapping_sub(1), at, at.wrapping_add(1)]);
            for position in near.chain([0, 1 << 30, u32::MAX]) {
                let owner = |ring: &HashRing| ring.inner.points.owner(position).map(|node| node.get().to_string());
                let (from, to) = (owner(&old), owner(&new));
                let found: Vec<_> = diff.moves().iter().filter(|moved| moved.arc.contains(Key::new(position))).collect();
                prop_assert_eq!(found.len(), usize::from(from != to), "{}", position);
                for moved in found {
                    prop_assert_eq!((moved.from, moved.to), (from.as_deref(), to.as_deref()));
                }
            }
            prop_assert_eq!(diff.moves().iter().map(|moved| moved.arc.keys()).sum::<u64>(), diff.moved());
            let owned = |after: bool| {
                let shares = diff.loads().iter().filter_map(|load| if after { load.after } else { load.before });
                shares.map(|share| share.positions).sum::<u64>()
            };
            let circle = |points: &[(u32, u32)]| if points.is_empty() { 0 } else { 1 << 32 };
            prop_assert_eq!((owned(false), owned(true)), (circle(&a), circle(&b)));
            let unchanged = |node: Option<&str>| node.is_some_and(|node| w[node.parse::<usize>().unwrap()] == 1);
            let sideways = diff.moves().iter().filter(|moved| unchanged(moved.from) && unchanged(moved.to));
            prop_assert_eq!(sideways.map(|moved| moved.arc.keys()).sum::<u64>(), diff.between_unchanged());
            // Nothing that could be one move is two.
            for (one, next) in diff.moves().iter().zip(diff.moves().iter().cycle().skip(1)) {
                let adjacent = one.arc.upto() == next.arc.after() && diff.moves().len() > 1;
                prop_assert!(!adjacent || (one.from, one.to) != (next.from, next.to));
            }
        }
    }
}
