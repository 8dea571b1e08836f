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
    pub fn encode<M: Serialize + ?Sized>(self, value: &M, out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        let outcome: Result<(), Box<dyn std::error::Error + Send + Sync>> = match self {
            Self::Postcard => postcard::serialize_with_flavor(value, Append(out)).map_err(Into::into),
            Self::Json => serde_json::to_writer(&mut *out, value).map_err(Into::into),
            Self::Raw => value.serialize(raw::RawSerializer::new(out)).map_err(Into::into),
        };
        outcome.map_err(|source| {
            out.truncate(start);
            Error::with_source(
                ErrorKind::Encode { type_name: type_name::<M>(), encoding: self.name() },
                source,
            )
        })
    }

    /// Decodes a payload; the value may borrow from it. Never panics.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] if the payload is not an `M`.
    pub fn decode<'a, M: Deserialize<'a>>(self, payload: &'a [u8]) -> Result<M> {
        let outcome: Result<M, Box<dyn std::error::Error + Send + Sync>> = match self {
            Self::Postcard => postcard::from_bytes(payload).map_err(Into::into),
            Self::Json => serde_json::from_slice(payload).map_err(Into::into),
            Self::Raw => {
                M::deserialize(BorrowedBytesDeserializer::<raw::RawError>::new(payload)).map_err(Into::into)
            }
        };
        outcome.map_err(|source| {
            let kind =
                ErrorKind::Decode { type_name: type_name::<M>(), encoding: self.name(), size: payload.len() };
            Error::with_source(kind, source)
        })
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Lets postcard append in whole slices; its own adapters go byte by byte.
struct Append<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Append<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
