//! A frame's head: flags and length.

use std::ops::Deref;

use bytes::Bytes;

use super::error::FrameError;

/// The most frames that a message may have: each costs its receiver a place, however empty it is.
pub(super) const MAX_PARTS: usize = 1024;
/// The longest head: flags and eight bytes of length.
pub(super) const MAX_HEAD: usize = 9;

const MORE: u8 = 0x01;
const LONG: u8 = 0x02;
const COMMAND: u8 = 0x04;

/// A frame that was received, its body cut from the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::transport) struct Frame {
    /// Whether the next frame belongs to the same message.
    pub(in crate::transport) more: bool,
    /// Whether it is a command rather than a part of a message.
    pub(in crate::transport) command: bool,
    /// What it carries.
    pub(in crate::transport) body: Bytes,
}

/// What a frame that is sent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::transport) enum Flags {
    /// The last frame of a message, or the only one.
    Last,
    /// A frame of a message that goes on.
    More,
    /// A command.
    Command,
}

/// A frame's head, to be written before its body: 2 bytes, or 9 for a body of more than 255 bytes.
#[derive(Debug, Clone, Copy)]
pub(in crate::transport) struct Head {
    bytes: [u8; MAX_HEAD],
    len: u8,
}

impl Head {
    /// The head of a frame with a body of that many bytes.
    #[inline]
    pub(in crate::transport) const fn new(flags: Flags, body: usize) -> Self {
        let flags = match flags {
            Flags::Last => 0,
            Flags::More => MORE,
            Flags::Command => COMMAND,
        };
        let mut bytes = [0; MAX_HEAD];
        if body <= u8::MAX as usize {
            bytes[0] = flags;
            bytes[1] = body as u8;
            return Self { bytes, len: 2 };
        }
        let [a, b, c, d, e, f, g, h] = (body as u64).to_be_bytes();
        Self { bytes: [flags | LONG, a, b, c, d, e, f, g, h], len: MAX_HEAD as u8 }
    }
}

impl Deref for Head {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// A head that was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) more: bool,
    pub(super) command: bool,
    /// Length of the head itself.
    pub(super) head: usize,
    /// Length of the body, not yet compared with any bound.
    pub(super) body: u64,
}

/// Reads the head at the front; `None` while it is not whole.
#[inline]
pub(super) fn read_head(input: &[u8]) -> Result<Option<Received>, FrameError> {
    let Some(&flags) = input.first() else { return Ok(None) };
    let (more, command) = (flags & MORE != 0, flags & COMMAND != 0);
    if flags & !(MORE | LONG | COMMAND) != 0 || (more && command) {
        return Err(FrameError::Flags(flags));
    }
    let (head, body) = if flags & LONG == 0 {
        let Some(&len) = input.get(1) else { return Ok(None) };
        (2, u64::from(len))
    } else {
        let Some(len) = input.get(1..).and_then(|rest| rest.first_chunk()) else { return Ok(None) };
        (MAX_HEAD, u64::from_be_bytes(*len))
    };
    Ok(Some(Received { more, command, head, body }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn heads_are_those_of_the_specification() {
        assert_eq!(&*Head::new(Flags::Last, 0), b"\0\0");
        assert_eq!(&*Head::new(Flags::More, 255), b"\x01\xff");
        assert_eq!(&*Head::new(Flags::Command, 26), b"\x04\x1a");
        assert_eq!(&*Head::new(Flags::Last, 256), b"\x02\0\0\0\0\0\0\x01\0");
        assert_eq!(&*Head::new(Flags::More, 65_536), b"\x03\0\0\0\0\0\x01\0\0");
        assert_eq!(&*Head::new(Flags::Command, 300), b"\x06\0\0\0\0\0\0\x01\x2c");
    }

    #[test]
    fn flags_without_a_meaning_are_refused() {
        for flags in 0..=u8::MAX {
            let is_defined = matches!(flags, 0..=4 | 6);
            assert_eq!(read_head(&[flags; MAX_HEAD]).is_ok(), is_defined, "{flags:#04x}");
        }
    }

    proptest! {
        #[test]
        fn a_head_is_read_as_it_was_written(body in any::<u32>(), which in 0..3) {
            let flags = [Flags::Last, Flags::More, Flags::Command][which as usize];
            let head = Head::new(flags, body as usize);
            for short in 0..head.len() {
                prop_assert_eq!(read_head(&head[..short]), Ok(None));
            }
            let expected = Received {
                more: flags == Flags::More,
                command: flags == Flags::Command,
                head: head.len(),
                body: u64::from(body),
            };
            prop_assert_eq!(read_head(&head), Ok(Some(expected)));
        }
    }
}
