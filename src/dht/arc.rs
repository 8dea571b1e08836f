//! Intervals on the circle of keys.

use super::key::Key;

/// The keys from `after` (left out) clockwise to `upto` (included); the whole circle if the two are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arc {
    after: Key,
    upto: Key,
}

impl Arc {
    /// `(after, upto]`.
    pub const fn new(after: Key, upto: Key) -> Self {
        Self { after, upto }
    }

    /// The last key before the arc.
    pub const fn after(self) -> Key {
        self.after
    }

    /// The last key of the arc.
    pub const fn upto(self) -> Key {
        self.upto
    }

    /// Whether the key lies on the arc.
    pub const fn contains(self, key: Key) -> bool {
        let length = self.after.ahead(self.upto);
        let at = self.after.ahead(key);
        length == 0 || (at != 0 && at <= length)
    }

    /// How many keys it has, up to 2^32.
    pub const fn keys(self) -> u64 {
        match self.after.ahead(self.upto) {
            0 => 1 << 32,
            length => length as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_arc_to_itself_is_the_whole_circle() {
        let whole = Arc::new(Key::new(7), Key::new(7));
        assert!([0, 6, 7, 8, u32::MAX].map(Key::new).into_iter().all(|key| whole.contains(key)));
        assert_eq!(whole.keys(), 1 << 32);
    }

    proptest! {
        /// Walks the circle, made small, key by key.
        #[test]
        fn contains_what_a_walk_meets(after in 0u32..16, upto in 0u32..16, key in 0u32..16) {
            // Sixteen places spread over the circle, its ends included.
            let place = |index: u32| Key::new(index.wrapping_mul(0x1111_1111));
            let mut walk = std::iter::successors(Some((after + 1) % 16), |at| (*at != upto).then(|| (at + 1) % 16));
            let met = walk.any(|at| at == key);
            prop_assert_eq!(Arc::new(place(after), place(upto)).contains(place(key)), met);
        }
    }
}
