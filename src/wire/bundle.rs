//! Several frames for one session in one message.
//!
//! ```text
//! bundle  B5 52 01 02 | count u16 | messages
//! message length u16 | frame
//! ```
//!
//! A frame in a bundle is what it would be alone, and means the same. A bundle in a bundle is none: [`Frame::parse`] refuses
//! the kind, and so bundles are taken only where they are expected, from one session to another.

use std::ops::Range;

use bytes::{BufMut, Bytes};
use serde::Serialize;

use super::{Cursor, Frame, MAGIC, PREFIX_LEN, Room, VERSION, append_control, malformed};
use crate::error::Result;
use crate::message::Encoding;

const KIND_BUNDLE: u8 = 2;
const HEADER_LEN: usize = PREFIX_LEN + 2;
const LENGTH_LEN: usize = 2;

/// The most bytes of a bundle.
pub const MAX_BUNDLE_LEN: usize = 64 * 1024;
/// The most frames in a bundle.
pub const MAX_BUNDLED: usize = 1024;

/// The frames of a bundle, in order: checked as far as their lengths go, each to be [parsed](Frame::parse) by itself.
#[derive(Debug, Clone)]
pub struct Bundle {
    bytes: Bytes,
    at: usize,
    left: usize,
}

impl Bundle {
    /// Whether the bytes claim to be a bundle.
    pub fn is_bundle(bytes: &[u8]) -> bool {
        bytes.starts_with(&[MAGIC[0], MAGIC[1], VERSION, KIND_BUNDLE])
    }

    /// Checks a bundle's structure. Never panics, allocates nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`](crate::ErrorKind::Malformed) with the first thing that was wrong.
    pub fn parse(bytes: Bytes) -> Result<Self> {
        if !Self::is_bundle(&bytes) {
            return Err(malformed("not a bundle"));
        }
        if bytes.len() > MAX_BUNDLE_LEN {
            return Err(malformed("a bundle over 64 KiB"));
        }
        let mut cursor = Cursor { bytes: &bytes, at: PREFIX_LEN };
        let count = usize::from(cursor.u16().map_err(malformed)?);
        if count == 0 || count > MAX_BUNDLED {
            return Err(malformed("a bundle of none, or of more than 1,024"));
        }
        for _ in 0..count {
            let length = usize::from(cursor.u16().map_err(malformed)?);
            if length > bytes.len() - cursor.at {
                return Err(malformed("a bundled frame longer than the bundle"));
            }
            cursor.at += length;
        }
        if cursor.at != bytes.len() {
            return Err(malformed("bytes after the last bundled frame"));
        }
        Ok(Self { at: HEADER_LEN, left: count, bytes })
    }

    /// The frames that are left, where they lie.
    pub(crate) fn frames(&self) -> impl Iterator<Item = &[u8]> {
        let mut at = self.at;
        (0..self.left).map_while(move |_| self.frame(&mut at).map(|frame| &self.bytes[frame]))
    }

    /// One of these [`frames`](Self::frames) by itself, for somebody who may keep it: it shares the
    /// bundle's memory if it is at least half of it, and is copied otherwise. So what is kept takes at
    /// most twice the memory that its length says.
    pub(crate) fn share(&self, frame: &[u8]) -> Bytes {
        if frame.len() < self.bytes.len() / 2 {
            Bytes::copy_from_slice(frame)
        } else {
            self.bytes.slice_ref(frame)
        }
    }

    /// Where the frame lies whose length is at `at`; that is after it then.
    #[inline]
    fn frame(&self, at: &mut usize) -> Option<Range<usize>> {
        let mut cursor = Cursor { bytes: &self.bytes, at: *at };
        // Walked when it was parsed.
        let length = usize::from(cursor.u16().ok()?);
        *at = cursor.at + length;
        Some(cursor.at..*at)
    }
}

impl Iterator for Bundle {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        self.left = self.left.checked_sub(1)?;
        let mut at = self.at;
        let frame = self.frame(&mut at)?;
        self.at = at;
        Some(self.bytes.slice(frame))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

/// A bundle under construction.
#[derive(Debug, Default)]
pub struct BundleBuilder {
    out: Vec<u8>,
    count: u16,
}

impl BundleBuilder {
    /// An empty bundle with room for so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { out: Vec::with_capacity(bytes.min(MAX_BUNDLE_LEN)), count: 0 }
    }

    /// How many frames it holds.
    pub fn count(&self) -> usize {
        usize::from(self.count)
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Its size in bytes.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Appends a frame; `false`, and nothing happens, if it would not fit into `limit` bytes or is no single frame.
    pub fn push(&mut self, frame: &[u8], limit: usize) -> bool {
        if !Frame::is_frame(frame) || Bundle::is_bundle(frame) {
            return false;
        }
        self.append(limit, |out| {
            out.extend_from_slice(frame);
            Ok(())
        })
        .is_ok_and(|fits| fits)
    }

    /// Appends a control message, encoded on the spot; `false`, and nothing happens, if it would not fit into `limit`
    /// bytes.
    ///
    /// # Errors
    /// As [`encode_control`](super::encode_control). The bundle is as it was.
    pub fn push_control<M: Serialize>(&mut self, room: Room, message: &M, limit: usize) -> Result<bool> {
        self.push_control_with(room, |out| Encoding::Postcard.encode(message, out), limit)
    }

    /// As [`push_control`](Self::push_control), of a message that `write` appends.
    pub(crate) fn push_control_with(
        &mut self,
        room: Room,
        write: impl Fn(&mut Vec<u8>) -> Result<()>,
        limit: usize,
    ) -> Result<bool> {
        self.append(limit, |out| append_control(room, write, out))
    }

    /// Takes what there is as one message, a single frame as itself, and goes on with an empty bundle.
    pub fn take(&mut self) -> Option<Bytes> {
        let bytes = match self.count {
            0 => return None,
            1 => Bytes::from(std::mem::take(&mut self.out)).slice(HEADER_LEN + LENGTH_LEN..),
            count => {
                let mut head = &mut self.out[..HEADER_LEN];
                head.put_slice(&MAGIC);
                head.put_slice(&[VERSION, KIND_BUNDLE]);
                head.put_u16_le(count);
                std::mem::take(&mut self.out).into()
            }
        };
        self.count = 0;
        Some(bytes)
    }

    fn append(&mut self, limit: usize, write: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<bool> {
        if usize::from(self.count) >= MAX_BUNDLED {
            return Ok(false);
        }
        if self.count == 0 {
            self.out.clear();
            self.out.resize(HEADER_LEN, 0);
        }
        let start = self.out.len();
        self.out.resize(start + LENGTH_LEN, 0);
        let written = write(&mut self.out);
        let length = u16::try_from(self.out.len() - start - LENGTH_LEN);
        match (written, length) {
            (Ok(()), Ok(length)) if self.out.len() <= limit.min(MAX_BUNDLE_LEN) => {
                self.out[start..start + LENGTH_LEN].copy_from_slice(&length.to_le_bytes());
                self.count += 1;
                Ok(true)
            }
            (written, _) => {
                self.out.truncate(start);
                written.map(|()| false)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::encode_control;

    #[test]
    fn a_small_frame_does_not_keep_its_bundle() {
        let small = encode_control(Room::PubSub, &7u8).unwrap();
        let large = encode_control(Room::PubSub, &vec![7u8; 20_000]).unwrap();
        let mut builder = BundleBuilder::default();
        assert!(builder.push(&small, MAX_BUNDLE_LEN) && builder.push(&large, MAX_BUNDLE_LEN));
        let bundle = Bundle::parse(builder.take().unwrap()).unwrap();
        let shared: Vec<Bytes> = bundle.frames().map(|frame| bundle.share(frame)).collect();
        assert_eq!(shared, [small, large]);
        let within = |bytes: &Bytes| bundle.bytes.as_ptr_range().contains(&bytes.as_ptr());
        assert_eq!([within(&shared[0]), within(&shared[1])], [false, true]);
    }
}
