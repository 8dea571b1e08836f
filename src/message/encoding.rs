//! The payload encodings.

use std::any::type_name;
use std::fmt;

use serde::de::value::BorrowedBytesDeserializer;
use serde::{Deserialize, Serialize};

use super::raw;
use crate::error::{Error, ErrorKind, Result};
use crate::topic::Topic;

/// How a value becomes payload bytes. Each frame states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Encoding {
    /// Postcard: compact, for Rust on both sides.
    #[default]
    Postcard,
    /// JSON: readable everywhere.
    Json,
    /// The bytes themselves, for `&[u8]`, `Vec<u8>`, `Bytes`, `&str` and `String`.
    Raw,
}

impl Encoding {
    /// The encoding's name in messages and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Postcard => "postcard",
            Self::Json => "json",
            Self::Raw => "raw",
        }
    }

    /// The encoding's number in a frame.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Postcard => 0,
            Self::Json => 1,
            Self::Raw => 2,
        }
    }

    /// Fails unless `found` is this one.
    pub(crate) fn expect(self, found: Self, topic: &Topic) -> Result<()> {
        if self == found {
            return Ok(());
        }
        let (expected, found) = (self.name(), found.name());
        Err(ErrorKind::EncodingMismatch { topic: topic.to_string(), expected, found }.into())
    }

    /// The encoding with this number.
    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Postcard),
            1 => Some(Self::Json),
            2 => Some(Self::Raw),
            _ => None,
        }
    }

    /// Appends the encoded value to `out`.
    ///
    /// # Errors
    /// [`ErrorKind::Encode`] if the encoding cannot express the value (raw bytes of a struct, for instance); `out` is
    /// as it was.
    #[inline]
    pub fn encode<M: Serialize + ?Sized>(self, value: &M, out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        let refused = match self {
            Self::Postcard => match postcard::serialize_with_flavor(value, Append(out)) {
                Ok(()) => return Ok(()),
                Err(error) => error.into(),
            },
            Self::Json => match serde_json::to_writer(&mut *out, value) {
                Ok(()) => return Ok(()),
                Err(error) => error.into(),
            },
            Self::Raw => match value.serialize(raw::RawSerializer::new(out)) {
                Ok(()) => return Ok(()),
                Err(error) => error.into(),
            },
        };
        out.truncate(start);
        Err(self.cannot_encode(type_name::<M>(), refused))
    }

    /// Decodes a payload; the value may borrow from it. Never panics.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] if the payload is not an `M`.
    #[inline]
    pub fn decode<'a, M: Deserialize<'a>>(self, payload: &'a [u8]) -> Result<M> {
        let refused = match self {
            Self::Postcard => match postcard::from_bytes(payload) {
                Ok(value) => return Ok(value),
                Err(error) => error.into(),
            },
            Self::Json => match serde_json::from_slice(payload) {
                Ok(value) => return Ok(value),
                Err(error) => error.into(),
            },
            Self::Raw => match M::deserialize(BorrowedBytesDeserializer::<raw::RawError>::new(payload)) {
                Ok(value) => return Ok(value),
                Err(error) => error.into(),
            },
        };
        Err(self.cannot_decode(type_name::<M>(), payload.len(), refused))
    }

    // Apart, so that what is copied into every caller is short.
    #[cold]
    fn cannot_encode(self, type_name: &'static str, source: Source) -> Error {
        Error::with_source(ErrorKind::Encode { type_name, encoding: self.name() }, source)
    }

    #[cold]
    fn cannot_decode(self, type_name: &'static str, size: usize, source: Source) -> Error {
        Error::with_source(ErrorKind::Decode { type_name, encoding: self.name(), size }, source)
    }
}

type Source = Box<dyn std::error::Error + Send + Sync>;

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Appends between `N` and twice `N` bytes.
#[inline]
fn overlapping<const N: usize>(out: &mut Vec<u8>, bytes: &[u8]) {
    if let (Some(first), Some(last)) = (bytes.first_chunk::<N>(), bytes.last_chunk::<N>()) {
        let end = out.len() + bytes.len();
        out.extend_from_slice(first);
        out.truncate(end - N);
        out.extend_from_slice(last);
    }
}

/// Lets postcard append in whole slices; its own adapters go byte by byte.
struct Append<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Append<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        // Numbers take a few bytes each. Two stores of fixed length, which may overlap, do for any of these lengths; a copy of
        // unknown length is a call.
        match bytes.len() {
            1..4 => self.0.extend(bytes.iter().copied()),
            4..8 => overlapping::<4>(self.0, bytes),
            8..=16 => overlapping::<8>(self.0, bytes),
            _ => self.0.extend_from_slice(bytes),
        }
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn postcard_appends_what_it_writes_elsewhere(
            before in proptest::collection::vec(any::<u8>(), 0..9),
            numbers in any::<(u64, u128, u32, u16, i64, f64, bool, char)>(),
            shifts in (0u32..64, 0u32..128, 0u32..32),
            bytes in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let (a, b, c, ..) = numbers;
            // Of every length that a number may have.
            let value = (a >> shifts.0, b >> shifts.1, c >> shifts.2, numbers, String::from_utf8_lossy(&bytes), &bytes);
            let mut out = before.clone();
            Encoding::Postcard.encode(&value, &mut out).unwrap();
            prop_assert_eq!(&out[..before.len()], &before[..]);
            prop_assert_eq!(&out[before.len()..], &postcard::to_stdvec(&value).unwrap()[..]);
        }
    }
}
