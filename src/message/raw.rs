//! The `Raw` encoding as a serializer: bytes and strings go out as they are, everything else is refused.

use std::fmt::Display;

use serde::Serialize;
use serde::ser::{Impossible, SerializeSeq, Serializer};

/// Why a value has no raw form.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct RawError(String);

impl serde::ser::Error for RawError {
    fn custom<T: Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

impl serde::de::Error for RawError {
    fn custom<T: Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

fn refused<T>() -> Result<T, RawError> {
    Err(RawError("the raw encoding takes bytes and strings only: use postcard or json for this type".into()))
}

pub(super) struct RawSerializer<'a> {
    out: &'a mut Vec<u8>,
    /// Within a sequence single bytes are welcome.
    in_sequence: bool,
}

impl<'a> RawSerializer<'a> {
    #[inline]
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, in_sequence: false }
    }
}

macro_rules! refuse {
    ($($method:ident($type:ty)),* $(,)?) => {
        $(fn $method(self, _: $type) -> Result<(), RawError> { refused() })*
    };
}

impl<'a> Serializer for RawSerializer<'a> {
    type Ok = ();
    type Error = RawError;
    type SerializeSeq = Self;
    type SerializeTuple = Impossible<(), RawError>;
    type SerializeTupleStruct = Impossible<(), RawError>;
    type SerializeTupleVariant = Impossible<(), RawError>;
    type SerializeMap = Impossible<(), RawError>;
    type SerializeStruct = Impossible<(), RawError>;
    type SerializeStructVariant = Impossible<(), RawError>;

    #[inline]
    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), RawError> {
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn serialize_str(self, text: &str) -> Result<(), RawError> {
        self.serialize_bytes(text.as_bytes())
    }

    fn serialize_u8(self, byte: u8) -> Result<(), RawError> {
        if !self.in_sequence {
            return refused();
        }
        self.out.push(byte);
        Ok(())
    }

    /// `Vec<u8>` and `&[u8]` serialize as sequences of bytes.
    fn serialize_seq(mut self, _: Option<usize>) -> Result<Self, RawError> {
        self.in_sequence = true;
        Ok(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), RawError> {
        value.serialize(self)
    }

    refuse!(
        serialize_bool(bool),
        serialize_i8(i8),
        serialize_i16(i16),
        serialize_i32(i32),
        serialize_i64(i64),
        serialize_u16(u16),
        serialize_u32(u32),
        serialize_u64(u64),
        serialize_f32(f32),
        serialize_f64(f64),
        serialize_char(char),
        serialize_unit_struct(&'static str),
    );

    fn serialize_none(self) -> Result<(), RawError> {
        refused()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<(), RawError> {
        refused()
    }

    fn serialize_unit(self) -> Result<(), RawError> {
        refused()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<(), RawError> {
        refused()
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), RawError> {
        refused()
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, RawError> {
        refused()
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, RawError> {
        refused()
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, RawError> {
        refused()
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, RawError> {
        refused()
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct, RawError> {
        refused()
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, RawError> {
        refused()
    }
}

impl SerializeSeq for RawSerializer<'_> {
    type Ok = ();
    type Error = RawError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), RawError> {
        value.serialize(RawSerializer { out: &mut *self.out, in_sequence: true })
    }

    fn end(self) -> Result<(), RawError> {
        Ok(())
    }
}
