//! From a position to the first point after it in one probe: one cache line for each arc of the circle.

use std::ops::Range;

use super::slots::{SLOTS, compare};
use super::{NodeIndex, memory};

/// Points an arc has on average. Fewer would take more memory, more would leave more lines crowded.
const LOAD: usize = 8;

/// The circle in arcs of equal length, each in one line. A look-up reads one line and has no branch that depends on the
/// key, but for one that is taken for one key in hundreds.
#[derive(Debug, Default)]
pub(super) struct Index {
    lines: Box<[Line]>,
}

/// An arc. Its points are known by 16 bits each: how far along the arc they lie.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line {
    /// Ascending; slots that are not used are `i16::MAX`. The last two are none: there are the two halves of the index
    /// of the arc's first point among all, so that the line is compared in registers of eight.
    fractions: [i16; 16],
    /// The owners of the arc's points, then that of the point after the arc.
    owners: [u16; SLOTS + 1],
    /// The line can tell for a place with fewer of its slots before it than this: for all places, [`SLOTS`]` + 1`, if
    /// it has all points of the arc; [`SLOTS`] if there are more, of which it has the first; none, 0, if owners have
    /// numbers of more than 16 bits. Else the points themselves have to be searched.
    exact: u16,
}

/// Where a position falls.
pub(super) enum Found {
    /// The first point after it, and that point's owner.
    Exactly(usize, NodeIndex),
    /// Some point among these, or the one after them.
    Among(Range<usize>),
}

/// An arc, and how far along it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    arc: u32,
    fraction: i16,
}

impl Index {
    /// The index of points in ascending order, no position twice.
    pub(super) fn new(positions: &[u32], owners: &[NodeIndex]) -> Self {
        let arcs = arcs(positions.len());
        let mut lines = memory::with_capacity(arcs);
        let (mut line, mut held) = (Line::from(0), 0);
        for (index, (&position, &owner)) in positions.iter().zip(owners).enumerate() {
            let Place { arc, fraction } = place(position, arcs);
            // The arcs before this point's: it is the first one after them.
            while lines.len() < arc as usize {
                line.put_owner(held, owner);
                lines.push(line);
                (line, held) = (Line::from(index), 0);
            }
            line.put(held, fraction, owner);
            held += 1;
        }
        // After the last point comes the first.
        if let Some(&first) = owners.first() {
            while lines.len() < arcs {
                line.put_owner(held, first);
                lines.push(line);
                (line, held) = (Line::from(positions.len()), 0);
            }
        }
        Self { lines: lines.into() }
    }

    /// The index of the same points and of some more: `added` are the places of those among all, ascending. Lines of
    /// arcs where no point was added are copied, and count the points before them anew.
    pub(super) fn grown(&self, positions: &[u32], owners: &[NodeIndex], added: &[usize]) -> Self {
        let arcs = self.lines.len();
        // Where most arcs have a new point, and where there are to be more arcs, copying gains nothing.
        if arcs != self::arcs(positions.len()) || added.len() > arcs / 8 {
            return Self::new(positions, owners);
        }
        let arc_of = |point: usize| place(positions[point], arcs).arc as usize;
        let mut lines = memory::with_capacity(arcs);
        for (before, &point) in added.iter().enumerate() {
            // The line of the point's own arc is made anew below.
            let upto = (arc_of(point) + 1).max(lines.len());
            lines.extend(self.lines[lines.len()..upto].iter().map(|line| line.moved_on(before)));
        }
        lines.extend(self.lines[lines.len()..].iter().map(|line| line.moved_on(added.len())));
        for &point in added {
            // The new point is the one after those arcs before it that end behind the last point before it.
            let before = point.checked_sub(1).unwrap_or(positions.len() - 1);
            let (from, upto) = (arc_of(before), arc_of(point));
            if point == 0 {
                renew(&mut lines, from..arcs, before, positions, owners);
                renew(&mut lines, 0..upto + 1, 0, positions, owners);
            } else {
                renew(&mut lines, from..upto + 1, before, positions, owners);
            }
        }
        Self { lines: lines.into() }
    }

    /// Where on the circle a position lies.
    #[inline]
    pub(super) fn place(&self, position: u32) -> Place {
        place(position, self.lines.len())
    }

    /// Says that a place is asked for soon.
    #[inline]
    pub(super) fn prefetch(&self, place: Place) {
        if let Some(line) = self.lines.get(place.arc as usize) {
            memory::prefetch(line);
        }
    }

    /// Where a place falls; `None` if there are no points.
    #[inline]
    pub(super) fn find(&self, place: Place) -> Option<Found> {
        let arc = place.arc as usize;
        let line = self.lines.get(arc)?;
        let (before, equal) = compare(&line.fractions, place.fraction);
        // Equal fractions are not equal positions.
        if !equal && before < usize::from(line.exact) {
            let owner = line.owners[before];
            return Some(Found::Exactly(line.first() + before, NodeIndex(u32::from(owner))));
        }
        Some(self.among(arc))
    }

    #[cold]
    fn among(&self, arc: usize) -> Found {
        let first = |arc: usize| self.lines.get(arc).map(Line::first);
        Found::Among(first(arc).unwrap_or(0)..first(arc + 1).unwrap_or(usize::MAX))
    }
}

impl Line {
    /// An arc without points, before which there are `first` in all.
    #[inline]
    fn from(first: usize) -> Self {
        let mut line = Self { fractions: [i16::MAX; 16], owners: [0; SLOTS + 1], exact: SLOTS as u16 + 1 };
        line.fractions[SLOTS..].copy_from_slice(&[first as i16, (first >> 16) as i16]);
        line
    }

    /// Puts in the arc's next point, behind the `held` that it has.
    #[inline]
    fn put(&mut self, held: usize, fraction: i16, owner: NodeIndex) {
        match self.fractions[..SLOTS].get_mut(held) {
            Some(slot) => *slot = fraction,
            None => self.exact = self.exact.min(SLOTS as u16),
        }
        self.put_owner(held, owner);
    }

    /// Puts in an owner behind those of `held` points.
    #[inline]
    fn put_owner(&mut self, held: usize, owner: NodeIndex) {
        let Some(slot) = self.owners.get_mut(held) else { return };
        match u16::try_from(owner.0) {
            Ok(owner) => *slot = owner,
            Err(_) => self.exact = 0,
        }
    }

    /// The same line, with more points before it.
    #[inline]
    fn moved_on(&self, points: usize) -> Self {
        let (mut line, first) = (*self, self.first() + points);
        line.fractions[SLOTS..].copy_from_slice(&[first as i16, (first >> 16) as i16]);
        line
    }

    fn first(&self) -> usize {
        let half = |slot: usize| usize::from(self.fractions[slot].cast_unsigned());
        half(SLOTS) | half(SLOTS + 1) << 16
    }
}

/// Makes the lines of some arcs anew; `near` is a point in the first of them, or the first point after its beginning.
fn renew(lines: &mut [Line], arcs: Range<usize>, near: usize, positions: &[u32], owners: &[NodeIndex]) {
    let all = lines.len();
    let lies =
        |point: usize, arc: usize| positions.get(point).map(|&at| place(at, all).arc as usize) == Some(arc);
    let mut first = near;
    while first > 0 && lies(first - 1, arcs.start) {
        first -= 1;
    }
    for arc in arcs {
        let mut line = Line::from(first);
        let mut held = 0;
        while lies(first + held, arc) {
            let point = first + held;
            line.put(held, place(positions[point], all).fraction, owners[point]);
            held += 1;
        }
        first += held;
        if let (Some(&owner), Some(renewed)) = (owners.get(first).or(owners.first()), lines.get_mut(arc)) {
            line.put_owner(held, owner);
            *renewed = line;
        }
    }
}

/// How many arcs a circle of so many points is divided into: enough for [`LOAD`] points each, and rounded up by at most a
/// part in 32, so that a node more seldom makes them others.
fn arcs(points: usize) -> usize {
    let least = points.div_ceil(LOAD);
    least.next_multiple_of(1 << least.checked_ilog2().unwrap_or(0).saturating_sub(5))
}

/// The arc of a position, and how far along that arc it lies: both ascend with the position.
#[inline]
fn place(position: u32, arcs: usize) -> Place {
    // There are fewer arcs than positions: about one for eight points, and no two points are in one position.
    let scaled = u64::from(position) * arcs as u64;
    // A signed number in the order of the unsigned one: what SSE2 compares.
    Place { arc: (scaled >> 32) as u32, fraction: ((scaled >> 16) as u16 ^ 0x8000).cast_signed() }
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    /// Whether an index that has grown is the one of all its points. Points lie in `span` positions from `start` on.
    fn check(rng: &mut SmallRng, points: usize, more: usize, start: u32, span: u32) {
        let mut all: Vec<u32> =
            (0..points + more).map(|_| start.wrapping_add(rng.random_range(0..span))).collect();
        all.sort_unstable();
        all.dedup();
        let wide = if rng.random() { 70_000 } else { 9 };
        let owners: Vec<NodeIndex> = all.iter().map(|_| NodeIndex(rng.random_range(0..wide))).collect();
        let mut added: Vec<usize> = (0..more).map(|_| rng.random_range(0..all.len())).collect();
        // The first of all and the last of all, by turns.
        added.extend([0, all.len() - 1].get(rng.random_range(0..3)));
        added.sort_unstable();
        added.dedup();
        let stay = |point: &usize| added.binary_search(point).is_err();
        let before: Vec<u32> = (0..all.len()).filter(stay).map(|point| all[point]).collect();
        let owned: Vec<NodeIndex> = (0..all.len()).filter(stay).map(|point| owners[point]).collect();
        let grown = Index::new(&before, &owned).grown(&all, &owners, &added);
        let expected = Index::new(&all, &owners);
        assert_eq!(grown.lines.len(), expected.lines.len());
        for (arc, (grown, expected)) in grown.lines.iter().zip(&expected.lines).enumerate() {
            assert_eq!(format!("{grown:?}"), format!("{expected:?}"), "arc {arc} of {points} and {added:?}");
        }
    }

    #[test]
    fn an_index_that_has_grown_is_that_of_all_its_points() {
        let mut rng = SmallRng::seed_from_u64(21);
        for _ in 0..if cfg!(miri) { 2 } else { 150 } {
            check(&mut rng, 2_000, 4, 0, u32::MAX);
            // Arcs without points, and arcs with more than a line has slots for.
            check(&mut rng, 1_000, 4, 0xf000_0000, 0x2000_0000);
            check(&mut rng, 300, 3, 0, 0x0100_0000);
            // So many that all is made anew.
            check(&mut rng, 40, 30, 0, u32::MAX);
        }
    }

    #[test]
    fn a_line_has_room_for_eight_points_on_average_and_a_few_more_nodes_leave_the_arcs_alone() {
        assert_eq!([0, 1, 8, 9, 960, 120_000].map(arcs), [0, 1, 1, 2, 120, 15_104]);
        assert_eq!(arcs(1_200_000), arcs(1_200_120));
        assert!(
            (1..100_000_usize)
                .all(|points| (points.div_ceil(8)..=points.div_ceil(8) * 33 / 32).contains(&arcs(points)))
        );
    }
}
