//! The names of nodes in one piece of text: a small table says where each is, so that the one that a look-up asks for
//! is likely in a cache.
#![allow(unsafe_code, reason = "a slice of text at bounds that are known to be those of names")]

use super::NodeIndex;

/// Distinct names by index.
#[derive(Debug, Default, Clone)]
pub(super) struct Names {
    /// All names, one behind the other.
    text: String,
    bounds: Bounds,
}

/// Where names begin, then where the last one ends; empty if there is no name. All of them ascend, none lies beyond the
/// end of the text, and each lies between two characters.
#[derive(Debug, Clone)]
enum Bounds {
    /// Of texts of less than 4 GiB. Sixteen of them are in a cache line.
    Short(Vec<u32>),
    Long(Vec<usize>),
}

impl Default for Bounds {
    fn default() -> Self {
        Self::Short(Vec::new())
    }
}

impl Names {
    /// Adds a name behind the others, whether or not it is among them.
    pub(super) fn push(&mut self, name: &str) {
        self.push_within(name, u32::MAX as usize);
    }

    /// Adds a name, where bounds of more than `most` are long ones.
    fn push_within(&mut self, name: &str, most: usize) {
        if self.is_empty() {
            self.push_bound(0, most);
        }
        self.text.push_str(name);
        self.push_bound(self.text.len(), most);
    }

    fn push_bound(&mut self, bound: usize, most: usize) {
        match &mut self.bounds {
            Bounds::Short(bounds) => match u32::try_from(bound) {
                Ok(bound) if bound as usize <= most => bounds.push(bound),
                _ => {
                    let longer = bounds.iter().map(|&bound| bound as usize).chain([bound]).collect();
                    self.bounds = Bounds::Long(longer);
                }
            },
            Bounds::Long(bounds) => bounds.push(bound),
        }
    }

    /// The name of a node; `None` if there are not as many.
    #[inline]
    pub(super) fn get(&self, node: NodeIndex) -> Option<&str> {
        let [start, end] = match &self.bounds {
            Bounds::Short(bounds) => {
                bounds.get(node.get()..)?.first_chunk::<2>()?.map(|bound| bound as usize)
            }
            Bounds::Long(bounds) => *bounds.get(node.get()..)?.first_chunk::<2>()?,
        };
        // SAFETY: `push_within` alone adds bounds: 0, and each time the length of the text behind a name that was added
        // whole. The text never gets shorter. So the two are in order, within the text, and between characters.
        // A slice that checks them would read the text, which may be in no cache.
        Some(unsafe { self.text.get_unchecked(start..end) })
    }

    /// How many names there are.
    pub(super) fn len(&self) -> usize {
        let bounds = match &self.bounds {
            Bounds::Short(bounds) => bounds.len(),
            Bounds::Long(bounds) => bounds.len(),
        };
        bounds.saturating_sub(1)
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All names, in the order of their indices.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &str> + '_ {
        // An index fits into 32 bits: that many names do not fit into memory.
        (0..self.len()).map(|node| self.get(NodeIndex(node as u32)).unwrap_or_default())
    }

    /// The index of a name.
    pub(super) fn find(&self, name: &str) -> Option<NodeIndex> {
        self.iter().position(|known| known == name).map(|node| NodeIndex(node as u32))
    }

    /// Gives back room that further names would take.
    pub(super) fn shrink(&mut self) {
        self.text.shrink_to_fit();
        match &mut self.bounds {
            Bounds::Short(bounds) => bounds.shrink_to_fit(),
            Bounds::Long(bounds) => bounds.shrink_to_fit(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_names_are_none() {
        let names = Names::default();
        assert_eq!((names.len(), names.get(NodeIndex(0)), names.find("")), (0, None, None));
        assert_eq!(names.get(NodeIndex(u32::MAX)), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 4 } else { 256 }, failure_persistence: None, ..ProptestConfig::default() })]

        /// The oracle is a list of strings; beyond 9 bytes of text the bounds are long.
        #[test]
        fn names_are_those_that_were_added(listed in prop::collection::vec("[aé🦀]{0,3}", 0..9)) {
            for most in [u32::MAX as usize, 9] {
                let mut names = Names::default();
                for name in &listed {
                    names.push_within(name, most);
                }
                names.shrink();
                prop_assert!(names.iter().eq(listed.iter().map(String::as_str)));
                prop_assert_eq!(names.len(), listed.len());
                prop_assert_eq!(names.get(NodeIndex(listed.len() as u32)), None);
                for name in &listed {
                    let first = listed.iter().position(|listed| listed == name).unwrap();
                    prop_assert_eq!(names.find(name), Some(NodeIndex(first as u32)));
                }
                prop_assert_eq!(names.find("b"), None);
            }
        }
    }
}
