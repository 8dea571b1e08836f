//! The circle of 2^32 keys, on which nodes have their places and pairs theirs.

use std::fmt;
use std::str::FromStr;

use super::arc::Arc;
use super::hash_ring::HashRing;
use crate::error::{Error, ErrorKind};

/// A place on the circle: of a pair, or of a node. Written in decimal.
///
/// ```
/// use ringbus::dht::Key;
///
/// assert_eq!("98101".parse::<Key>()?, Key::new(98101));
/// assert_eq!(Key::of("98101"), Key::new(98101)); // a number is its own place
/// assert_eq!(Key::of("SEA"), Key::named("SEA")); // any other text is placed by its MD5
/// # Ok::<(), ringbus::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(u32);

impl Key {
    /// The key of this number.
    pub const fn new(key: u32) -> Self {
        Self(key)
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The key of a name: the first little-endian word of its MD5, as in [`HashRing::position`]. Of many names two may
    /// meet in one key: with 10,000 names that happens once in a hundred cases.
    pub fn named(name: &str) -> Self {
        Self(HashRing::position(name.as_bytes()))
    }

    /// The key that a user means: a decimal number in 0..2^32 is itself, any other text is a [name](Self::named).
    pub fn of(text: &str) -> Self {
        text.parse().unwrap_or_else(|_| Self::named(text))
    }

    /// How far `other` is ahead, clockwise; 0 for the key itself.
    pub(crate) const fn ahead(self, other: Self) -> u32 {
        other.0.wrapping_sub(self.0)
    }

    /// Whether this key is strictly between two others, clockwise from `after` to `before`. Between a key and itself is
    /// everything else.
    pub(crate) fn is_between(self, after: Self, before: Self) -> bool {
        self != before && Arc::new(after, before).contains(self)
    }
}

impl From<u32> for Key {
    fn from(key: u32) -> Self {
        Self(key)
    }
}

impl FromStr for Key {
    type Err = Error;

    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for anything but digits that stand for a number below 2^32.
    fn from_str(text: &str) -> Result<Self, Error> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| digits).map(Self).ok_or_else(|| {
            let (value, reason) =
                (text.chars().take(32).collect(), "use a decimal number in 0..4294967296".into());
            ErrorKind::InvalidArgument { what: "key", value, reason }.into()
        })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digits_below_two_to_the_32nd_are_numbers() {
        assert_eq!("0".parse::<Key>().unwrap(), Key::new(0));
        assert_eq!("4294967295".parse::<Key>().unwrap(), Key::new(u32::MAX));
        for wrong in ["", "4294967296", "-1", "+1", " 1", "1 ", "0x1", "None", "١"] {
            let error = wrong.parse::<Key>().unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::InvalidArgument { what: "key", .. }), "{wrong}");
        }
    }

    #[test]
    fn between_leaves_out_both_ends_and_wraps() {
        let between = |key, after, before| Key::new(key).is_between(Key::new(after), Key::new(before));
        assert!(between(5, 1, 9) && !between(1, 1, 9) && !between(9, 1, 9) && !between(0, 1, 9));
        assert!(between(0, u32::MAX, 1) && between(u32::MAX, 9, 1) && !between(5, 9, 1));
        assert!(between(5, 3, 3) && !between(3, 3, 3));
    }
}
