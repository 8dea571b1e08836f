//! The payload encodings.

use std::any::type_name;
use std::fmt;

use serde::de::value::BorrowedBytesDeserializer;
use serde::{Deserialize, Serialize};

use super::postcard_serializer::PostcardSerializer;
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
    /// Whatever the publisher uses: for subscribers that pass samples on or show them. Each sample states its encoding
    /// ([`SampleInfo::encoding`](super::SampleInfo)); [`Sample::payload`](super::Sample::payload) is its bytes, and
    /// `Sample::value` decodes them as that encoding has it. Nothing is published in it, and no frame states it.
    Any,
}

impl Encoding {
    /// The encoding's name in messages and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Postcard => "postcard",
            Self::Json => "json",
            Self::Raw => "raw",
            Self::Any => "any",
        }
    }

    /// Whether a subscriber that expects this encoding takes samples in that one.
    pub(crate) fn accepts(self, offered: Self) -> bool {
        self == Self::Any || self == offered
    }

    /// How a message without a frame is taken to be encoded, where this encoding is expected.
    pub(crate) fn of_plain(self) -> Self {
        if self == Self::Any { Self::Raw } else { self }
    }

    /// The encoding's number in a frame. [`Any`](Self::Any) has none there: a frame with its number is refused.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Postcard => 0,
            Self::Json => 1,
            Self::Raw => 2,
            Self::Any => u8::MAX,
        }
    }

    /// Fails unless samples in `found` are taken where this one is expected.
    pub(crate) fn expect(self, found: Self, topic: &Topic) -> Result<()> {
        if self.accepts(found) {
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
            Self::Postcard => match value.serialize(&mut PostcardSerializer::new(out)) {
                Ok(()) => return Ok(()),
                Err(error) => error.into(),
            },
            Self::Json => match write_json(value, out) {
                Ok(()) => return Ok(()),
                Err(error) => error.into(),
            },
            Self::Raw => match value.serialize(raw::RawSerializer::new(out)) {
                Ok(()) => return Ok(()),
                Err(error) => error.into(),
            },
            Self::Any => "values are published in one encoding: choose postcard, json or raw".into(),
        };
        out.truncate(start);
        Err(self.cannot_encode(type_name::<M>(), refused))
    }

    /// Decodes a payload; the value may borrow from it. Never panics.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] if the payload is not an `M`, or has bytes left over behind it: then it is the encoding of
    /// another type, and what was read of it would be a wrong value.
    #[inline(always)]
    pub fn decode<'a, M: Deserialize<'a>>(self, payload: &'a [u8]) -> Result<M> {
        let refused = match self {
            Self::Postcard => match postcard::take_from_bytes(payload) {
                Ok((value, [])) => return Ok(value),
                Ok((_, rest)) => Source::from(left_over(rest.len())),
                Err(error) => error.into(),
            },
            Self::Raw => match M::deserialize(BorrowedBytesDeserializer::<raw::RawError>::new(payload)) {
                Ok(value) => return Ok(value),
                Err(error) => error.into(),
            },
            Self::Json => match read_json(payload) {
                Ok(value) => return Ok(value),
                Err(error) => error.into(),
            },
            Self::Any => "any is no encoding of bytes: decode with the one that the sample states".into(),
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

// Apart for the same reason: text costs more than a call.
#[inline(never)]
fn write_json<M: Serialize + ?Sized>(value: &M, out: &mut Vec<u8>) -> serde_json::Result<()> {
    serde_json::to_writer(out, value)
}

#[inline(never)]
fn read_json<'a, M: Deserialize<'a>>(payload: &'a [u8]) -> serde_json::Result<M> {
    serde_json::from_slice(payload)
}

#[cold]
fn left_over(bytes: usize) -> String {
    format!("{bytes} bytes are left over: it was published as another type")
}

type Source = Box<dyn std::error::Error + Send + Sync>;

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn postcard<M: Serialize>(value: &M) -> Vec<u8> {
        let mut out = Vec::new();
        Encoding::Postcard.encode(value, &mut out).unwrap();
        out
    }

    /// What a value of one type is when it is read as another.
    fn read<'a, M: Deserialize<'a>>(bytes: &'a [u8]) -> Result<()> {
        Encoding::Postcard.decode::<M>(bytes).map(drop)
    }

    #[test]
    fn bytes_left_over_are_an_error_and_not_a_wrong_value() {
        let (number, zero, pair) = (postcard(&21.5_f64), postcard(&0.0_f64), postcard(&(7_u8, 8_u8)));
        for outcome in [
            read::<u8>(&number),
            read::<u32>(&number),
            read::<&str>(&zero),
            read::<u8>(&pair),
            read::<()>(&pair),
        ] {
            let error = outcome.unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Decode { encoding: "postcard", .. }), "{error}");
            assert!(format!("{error:?}").contains("bytes are left over"), "{error:?}");
        }
        assert_eq!(Encoding::Postcard.decode::<f64>(&number).unwrap(), 21.5);
        assert_eq!(Encoding::Postcard.decode::<(u8, u8)>(&pair).unwrap(), (7, 8));
        assert!(Encoding::Json.decode::<u8>(b"7 8").is_err());
        assert!(Encoding::Raw.decode::<u8>(b"7").is_err());
    }
}
