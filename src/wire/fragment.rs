//! A part of a message that is larger than what lies below takes in one piece.
//!
//! ```text
//! fragment  B5 52 01 03 | sender u64 | message u32 | index u16 | count u16 | length of the message u32 | part
//! ```
//!
//! Versions before this kind refuse it, as they do all that is no frame.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Cursor, MAGIC, PREFIX_LEN, VERSION, malformed};
use crate::error::Result;

const KIND_FRAGMENT: u8 = 3;

/// How many bytes of a fragment are not its part of the message.
pub(crate) const FRAGMENT_HEADER_LEN: usize = PREFIX_LEN + 8 + 4 + 2 + 2 + 4;

/// The most fragments of a message.
pub(crate) const MAX_FRAGMENTS: usize = 1 << 14;

/// What a fragment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fragment {
    /// The session that sends it: drawn at random.
    pub(crate) sender: u64,
    /// Which of the sender's messages it is of.
    pub(crate) message: u32,
    /// Which of the message's fragments, from 0 on.
    pub(crate) index: u16,
    /// How many there are.
    pub(crate) count: u16,
    /// The whole message's length in bytes.
    pub(crate) total: u32,
}

impl Fragment {
    /// Whether the bytes claim to be a fragment.
    pub(crate) fn is_fragment(bytes: &[u8]) -> bool {
        bytes.starts_with(&[MAGIC[0], MAGIC[1], VERSION, KIND_FRAGMENT])
    }

    /// With its part of the message.
    pub(crate) fn encode(&self, part: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(FRAGMENT_HEADER_LEN + part.len());
        out.put_slice(&[MAGIC[0], MAGIC[1], VERSION, KIND_FRAGMENT]);
        out.put_u64_le(self.sender);
        out.put_u32_le(self.message);
        out.put_u16_le(self.index);
        out.put_u16_le(self.count);
        out.put_u32_le(self.total);
        out.put_slice(part);
        out.freeze()
    }

    /// A fragment, and its part of the message. Never panics, allocates nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`](crate::ErrorKind::Malformed) with the first thing that was wrong.
    pub(crate) fn parse(bytes: &[u8]) -> Result<(Self, &[u8])> {
        if !Self::is_fragment(bytes) {
            return Err(malformed("not a fragment"));
        }
        let mut cursor = Cursor { bytes, at: PREFIX_LEN };
        let mut read = || {
            Ok(Self {
                sender: cursor.u64()?,
                message: cursor.u32()?,
                index: cursor.u16()?,
                count: cursor.u16()?,
                total: cursor.u32()?,
            })
        };
        let fragment = read().map_err(malformed)?;
        let part = &bytes[FRAGMENT_HEADER_LEN..];
        let too_many = usize::from(fragment.count) > MAX_FRAGMENTS;
        let impossible = part.is_empty() || part.len() > fragment.total as usize;
        if fragment.index >= fragment.count || too_many || impossible {
            return Err(malformed("a fragment whose numbers make no sense"));
        }
        Ok((fragment, part))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::{Bundle, Frame};

    #[test]
    fn is_what_earlier_versions_drop() {
        let fragment = Fragment { sender: 1, message: 2, index: 0, count: 2, total: 9 };
        let bytes = fragment.encode(b"part");
        assert_eq!(bytes[..4], [0xB5, 0x52, 1, 3]);
        assert_eq!(bytes.len(), FRAGMENT_HEADER_LEN + 4);
        assert_eq!(Fragment::parse(&bytes).unwrap(), (fragment, &b"part"[..]));
        // Not a plain message, which subscribers would be given.
        assert!(Frame::is_frame(&bytes) && !Bundle::is_bundle(&bytes) && Frame::parse(bytes).is_err());
    }

    proptest! {
        #[test]
        fn garbage_never_panics(rest in prop::collection::vec(any::<u8>(), 0..60)) {
            let bytes = [&[0xB5, 0x52, 1, 3][..], &rest].concat();
            if let Ok((fragment, part)) = Fragment::parse(&bytes) {
                prop_assert!(fragment.index < fragment.count && !part.is_empty());
            }
        }
    }
}
