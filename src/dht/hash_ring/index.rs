//! From a position to the first point after it in one probe: one cache line for each arc of the circle.

use super::NodeIndex;
use super::slots::{SLOTS, compare};

/// Points an arc has on average. Fewer would take more memory, more would leave more lines crowded.
const LOAD: usize = 8;

/// The circle in arcs of equal length, each in one line. A look-up reads one line and has no branch that depends on the
/// key, but for one that is taken for one key in sixty.
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
    /// Not 0 if the line cannot tell, so that the arc's points have to be searched themselves: they are more than the
    /// slots, or owners have numbers of more than 16 bits.
    crowded: u16,
}

/// Where a position falls.
pub(super) enum Found {
    /// The first point after it, and that point's owner.
    Exactly(usize, NodeIndex),
    /// Some point among these, or the one after them.
    Among(std::ops::Range<usize>),
}

impl Index {
    /// The index of points in ascending order, no position twice.
    pub(super) fn new(positions: &[u32], owners: &[NodeIndex]) -> Self {
        let arcs = arcs(positions.len());
        let mut lines = Vec::with_capacity(arcs);
        let mut first = 0;
        for arc in 0..arcs {
            let held =
                positions[first..].iter().take_while(|&&position| place(position, arcs).0 == arc).count();
            lines.push(Line::new(&positions[first..first + held], first, owners, arcs));
            first += held;
        }
        Self { lines: lines.into() }
    }

    /// Where a position falls; `None` if there are no points.
    #[inline]
    pub(super) fn find(&self, position: u32) -> Option<Found> {
        let (arc, fraction) = place(position, self.lines.len());
        let line = self.lines.get(arc)?;
        let (before, equal) = compare(&line.fractions, fraction);
        // Equal fractions are not equal positions.
        if !equal && line.crowded == 0 {
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
    fn new(arc: &[u32], first: usize, owners: &[NodeIndex], arcs: usize) -> Self {
        // The point after the arc; after the last point comes the first.
        let around = owners[first..].iter().chain(owners).copied();
        let mut line =
            Self { fractions: [i16::MAX; 16], owners: [0; SLOTS + 1], crowded: u16::from(arc.len() > SLOTS) };
        for (slot, &position) in line.fractions.iter_mut().zip(&arc[..arc.len().min(SLOTS)]) {
            *slot = place(position, arcs).1;
        }
        line.fractions[SLOTS..].copy_from_slice(&[first as i16, (first >> 16) as i16]);
        for (slot, owner) in line.owners.iter_mut().zip(around.take(arc.len() + 1)) {
            *slot = u16::try_from(owner.0).unwrap_or_else(|_| {
                line.crowded = 1;
                0
            });
        }
        line
    }

    fn first(&self) -> usize {
        let half = |slot: usize| usize::from(self.fractions[slot].cast_unsigned());
        half(SLOTS) | half(SLOTS + 1) << 16
    }
}

/// How many arcs a circle of so many points is divided into.
fn arcs(points: usize) -> usize {
    points.div_ceil(LOAD)
}

/// The arc of a position, and how far along that arc it lies: both ascend with the position.
#[inline]
fn place(position: u32, arcs: usize) -> (usize, i16) {
    // There are fewer arcs than points, and those are fewer than positions.
    let scaled = u64::from(position) * arcs as u64;
    // A signed number in the order of the unsigned one: what SSE2 compares.
    ((scaled >> 32) as usize, ((scaled >> 16) as u16 ^ 0x8000).cast_signed())
}
