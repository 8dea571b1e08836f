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
        };
        out.truncate(start);
        Err(self.cannot_encode(type_name::<M>(), refused))
    }

    /// Decodes a payload; the value may borrow from it. Never panics.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] if the payload is not an `M`.
    #[inline(always)]
    pub fn decode<'a, M: Deserialize<'a>>(self, payload: &'a [u8]) -> Result<M> {
        let refused = match self {
            Self::Postcard => match postcard::from_bytes(payload) {
                Ok(value) => return Ok(value),
                Err(error) => Source::from(error),
            },
            Self::Raw => match M::deserialize(BorrowedBytesDeserializer::<raw::RawError>::new(payload)) {
                Ok(value) => return Ok(value),
                Err(error) => error.into(),
            },
            Self::Json => match read_json(payload) {
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

// Apart for the same reason: text costs more than a call.
#[inline(never)]
fn write_json<M: Serialize + ?Sized>(value: &M, out: &mut Vec<u8>) -> serde_json::Result<()> {
    serde_json::to_writer(out, value)
}

#[inline(never)]
fn read_json<'a, M: Deserialize<'a>>(payload: &'a [u8]) -> serde_json::Result<M> {
    serde_json::from_slice(payload)
}

type Source = Box<dyn std::error::Error + Send + Sync>;

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
