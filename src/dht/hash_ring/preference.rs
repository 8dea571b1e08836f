//! The order in which nodes come up for a key.

use super::NodeIndex;
use super::points::OwnersFrom;

/// Nodes that a set of bits within [`Preference`] has room for.
const BITS: usize = 1024;
/// Nodes that [`Preference`] remembers by number on larger rings before it needs a set of bits.
const FEW: usize = 32;

/// The distinct nodes for a key in order of preference, its owner first; made by
/// [`HashRing::preference_iter`](super::HashRing::preference_iter).
///
/// Which nodes it has been to, it remembers within itself: it allocates nothing on rings of up to 1,024 nodes, and on
/// larger ones nothing for the first 32 nodes; the 33rd makes it allocate one bit a node, once.
#[derive(Debug, Clone)]
pub struct Preference<'a> {
    around: OwnersFrom<'a>,
    nodes: usize,
    /// Nodes that have not come up yet. When none is left, the rest of the circle is not looked at.
    left: usize,
    seen: Seen,
}

#[derive(Debug, Clone)]
enum Seen {
    Bits([u64; BITS / 64]),
    Few([NodeIndex; FEW], usize),
    Many(Box<[u64]>),
}

impl<'a> Preference<'a> {
    pub(super) fn new(around: OwnersFrom<'a>, nodes: usize) -> Self {
        let seen = if nodes <= BITS { Seen::Bits([0; BITS / 64]) } else { Seen::Few([NodeIndex(0); FEW], 0) };
        Self { around, nodes, left: nodes, seen }
    }
}

impl Iterator for Preference<'_> {
    type Item = NodeIndex;

    fn next(&mut self) -> Option<NodeIndex> {
        self.left = self.left.checked_sub(1)?;
        let (seen, nodes) = (&mut self.seen, self.nodes);
        self.around.find(|&node| seen.is_new(node, nodes))
    }
}

impl std::iter::FusedIterator for Preference<'_> {}

impl Seen {
    /// Whether a node was not seen before; from now on it was.
    fn is_new(&mut self, node: NodeIndex, nodes: usize) -> bool {
        match self {
            Self::Bits(bits) => set(bits, node),
            Self::Many(bits) => set(bits, node),
            Self::Few(few, count) => {
                if few[..*count].contains(&node) {
                    return false;
                }
                if let Some(next) = few.get_mut(*count) {
                    *next = node;
                    *count += 1;
                    return true;
                }
                let mut bits = vec![0; nodes.div_ceil(64)].into_boxed_slice();
                for &node in few.iter() {
                    set(&mut bits, node);
                }
                set(&mut bits, node);
                *self = Self::Many(bits);
                true
            }
        }
    }
}

/// Sets a node's bit; whether it was not set.
fn set(bits: &mut [u64], node: NodeIndex) -> bool {
    let bit = 1 << (node.get() % 64);
    // Every node of the ring has a bit.
    bits.get_mut(node.get() / 64).is_some_and(|word| std::mem::replace(word, *word | bit) & bit == 0)
}
