//! Postcard's format, written at the speed at which samples come.
//!
//! Postcard's own serializer writes a number byte by byte into a buffer and hands that over as a slice, whose copy then
//! waits for those bytes. Here a number is put together in registers and stored as a whole. The format is that of
//! [postcard's specification](https://postcard.jamesmunns.com/wire-format), version 1; postcard itself reads it, and is what
//! the tests compare with.

use std::fmt::{self, Display, Write};

use postcard::{Error, Result};
use serde::Serialize;
use serde::ser::{
    SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

/// Seven of a number's bits are in each byte; the eighth says that more follow.
const MORE: u64 = 0x8080_8080_8080_8080;
/// So many bits fit into eight such bytes.
const BITS_OF_EIGHT: u32 = 56;

/// Appends values to a vector.
pub(super) struct PostcardSerializer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> PostcardSerializer<'a> {
    #[inline]
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// Appends the first `len` of these bytes. All of them and then less is one store; a copy of unknown length is a call.
    #[inline(always)]
    fn put<const N: usize>(&mut self, bytes: [u8; N], len: usize) {
        let end = self.out.len() + len;
        self.out.extend_from_slice(&bytes);
        self.out.truncate(end);
    }

    // Always inlined, as `put` is: the vector's length then stays in a register from one field to the next.
    #[inline(always)]
    fn varint(&mut self, value: u64) {
        if value < 0x80 {
            self.out.push(value as u8);
        } else if value >> BITS_OF_EIGHT == 0 {
            let len = (u64::BITS - value.leading_zeros()).div_ceil(7);
            let more = MORE & ((1 << (8 * (len - 1))) - 1);
            self.put((sevens(value) | more).to_le_bytes(), len as usize);
        } else {
            let low = sevens(value & ((1 << BITS_OF_EIGHT) - 1)) | MORE;
            let high = (value >> BITS_OF_EIGHT) as u8;
            let (ninth, tenth) = if high < 0x80 { (high, 0) } else { (high | 0x80, high >> 7) };
            let bytes = u128::from(low) | u128::from(ninth) << 64 | u128::from(tenth) << 72;
            self.put(bytes.to_le_bytes(), 9 + usize::from(tenth));
        }
    }

    fn varint_u128(&mut self, mut value: u128) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    fn len(&mut self, len: Option<usize>) -> Result<()> {
        self.varint(len.ok_or(Error::SerializeSeqLengthUnknown)? as u64);
        Ok(())
    }
}

/// Spreads 56 bits over eight bytes, seven in each.
#[inline]
fn sevens(value: u64) -> u64 {
    let halves = (value & 0x0FFF_FFFF) | (value & 0x00FF_FFFF_F000_0000) << 4;
    let quarters = (halves & 0x0000_3FFF_0000_3FFF) | (halves & 0x0FFF_C000_0FFF_C000) << 2;
    (quarters & 0x007F_007F_007F_007F) | (quarters & 0x3F80_3F80_3F80_3F80) << 1
}

/// Small numbers of either sign become small numbers.
#[inline]
pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

macro_rules! numbers {
    ($($method:ident($number:ty) $value:ident => $written:expr;)*) => {
        $(
            #[inline]
            fn $method(self, $value: $number) -> Result<()> {
                self.varint($written);
                Ok(())
            }
        )*
    };
}

impl Serializer for &mut PostcardSerializer<'_> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    numbers! {
        serialize_u16(u16) value => value.into();
        serialize_u32(u32) value => value.into();
        serialize_u64(u64) value => value;
        serialize_i16(i16) value => zigzag(value.into());
        serialize_i32(i32) value => zigzag(value.into());
        serialize_i64(i64) value => zigzag(value);
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline]
    fn serialize_bool(self, value: bool) -> Result<()> {
        self.serialize_u8(value.into())
    }

    #[inline]
    fn serialize_i8(self, value: i8) -> Result<()> {
        self.serialize_u8(value.cast_unsigned())
    }

    #[inline]
    fn serialize_u8(self, value: u8) -> Result<()> {
        self.out.push(value);
        Ok(())
    }

    fn serialize_i128(self, value: i128) -> Result<()> {
        self.varint_u128(((value << 1) ^ (value >> 127)).cast_unsigned());
        Ok(())
    }

    fn serialize_u128(self, value: u128) -> Result<()> {
        self.varint_u128(value);
        Ok(())
    }

    #[inline]
    fn serialize_f32(self, value: f32) -> Result<()> {
        self.out.extend_from_slice(&value.to_le_bytes());
        Ok(())
    }

    #[inline]
    fn serialize_f64(self, value: f64) -> Result<()> {
        self.out.extend_from_slice(&value.to_le_bytes());
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<()> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<()> {
        self.serialize_bytes(value.as_bytes())
    }

    #[inline]
    fn serialize_bytes(self, value: &[u8]) -> Result<()> {
        self.varint(value.len() as u64);
        self.out.extend_from_slice(value);
        Ok(())
    }

    #[inline]
    fn serialize_none(self) -> Result<()> {
        self.serialize_u8(0)
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<()> {
        self.out.push(1);
        value.serialize(self)
    }

    #[inline]
    fn serialize_unit(self) -> Result<()> {
        Ok(())
    }

    #[inline]
    fn serialize_unit_struct(self, _: &'static str) -> Result<()> {
        Ok(())
    }

    #[inline]
    fn serialize_unit_variant(self, _: &'static str, index: u32, _: &'static str) -> Result<()> {
        self.serialize_u32(index)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<()> {
        value.serialize(self)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        value: &T,
    ) -> Result<()> {
        self.varint(index.into());
        value.serialize(self)
    }

    #[inline]
    fn serialize_seq(self, len: Option<usize>) -> Result<Self> {
        self.len(len)?;
        Ok(self)
    }

    #[inline]
    fn serialize_tuple(self, _: usize) -> Result<Self> {
        Ok(self)
    }

    #[inline]
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self> {
        Ok(self)
    }

    #[inline]
    fn serialize_tuple_variant(self, _: &'static str, index: u32, _: &'static str, _: usize) -> Result<Self> {
        self.varint(index.into());
        Ok(self)
    }

    #[inline]
    fn serialize_map(self, len: Option<usize>) -> Result<Self> {
        self.len(len)?;
        Ok(self)
    }

    #[inline]
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self> {
        Ok(self)
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self> {
        self.varint(index.into());
        Ok(self)
    }

    /// The length stands before the text, and is known after it.
    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<()> {
        let mut text = String::new();
        write!(text, "{value}").map_err(|fmt::Error| Error::CollectStrError)?;
        self.serialize_str(&text)
    }
}

/// The parts of a compound value follow each other, their names and their end unsaid.
macro_rules! parts {
    ($($compound:ident::$method:ident($($name:ty)?);)*) => {
        $(
            impl $compound for &mut PostcardSerializer<'_> {
                type Ok = ();
                type Error = Error;

                #[inline]
                fn $method<T: Serialize + ?Sized>(&mut self, $(_: $name,)? value: &T) -> Result<()> {
                    value.serialize(&mut **self)
                }

                #[inline]
                fn end(self) -> Result<()> {
                    Ok(())
                }
            }
        )*
    };
}

parts! {
    SerializeSeq::serialize_element();
    SerializeTuple::serialize_element();
    SerializeTupleStruct::serialize_field();
    SerializeTupleVariant::serialize_field();
    SerializeStruct::serialize_field(&'static str);
    SerializeStructVariant::serialize_field(&'static str);
}

impl SerializeMap for &mut PostcardSerializer<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        key.serialize(&mut **self)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Serialize)]
    struct Unit;

    #[derive(Debug, Serialize)]
    struct Pair(u8, String);

    #[derive(Debug, Serialize)]
    enum Any {
        Unit,
        Number(i128),
        Two(i8, Option<u16>),
        Named { at: f32, text: char },
    }

    /// Of every kind that serde knows.
    #[derive(Debug, Serialize)]
    struct All<'a> {
        numbers: (u16, u32, u64, u128, i16, i32, i64),
        floats: (f32, f64),
        byte: i8,
        flag: bool,
        #[serde(serialize_with = "as_bytes")]
        bytes: &'a [u8],
        list: Vec<u64>,
        map: BTreeMap<String, u32>,
        unit: (Unit, ()),
        pair: Option<Pair>,
        any: Vec<Any>,
        #[serde(serialize_with = "as_text")]
        text: IpAddr,
    }

    fn as_bytes<S: Serializer>(bytes: &[u8], out: S) -> std::result::Result<S::Ok, S::Error> {
        out.serialize_bytes(bytes)
    }

    fn as_text<S: Serializer>(address: &IpAddr, out: S) -> std::result::Result<S::Ok, S::Error> {
        out.collect_str(address)
    }

    fn ours(value: &impl Serialize, before: &[u8]) -> Result<Vec<u8>> {
        let mut out = before.to_vec();
        value.serialize(&mut PostcardSerializer::new(&mut out))?;
        assert_eq!(out[..before.len()], *before);
        Ok(out.split_off(before.len()))
    }

    #[test]
    fn numbers_of_every_length_are_written_as_postcard_does() {
        for shift in 0..128 {
            for near in [-1, 0, 1] {
                let value = (1_u128 << shift).wrapping_add_signed(near);
                let numbers = (
                    value as u16,
                    value as u32,
                    value as u64,
                    value,
                    (value as i64).wrapping_neg(),
                    value as i128,
                );
                assert_eq!(ours(&numbers, &[]).unwrap(), postcard::to_stdvec(&numbers).unwrap(), "{value}");
                let signed =
                    (value as i16, value as i32, value as i64, (value as i32).wrapping_neg(), value as i8);
                assert_eq!(ours(&signed, &[]).unwrap(), postcard::to_stdvec(&signed).unwrap(), "{value}");
            }
        }
    }

    #[test]
    fn a_sequence_of_unknown_length_is_refused_as_postcard_does() {
        struct Endless;
        impl Serialize for Endless {
            fn serialize<S: Serializer>(&self, out: S) -> std::result::Result<S::Ok, S::Error> {
                out.serialize_seq(None)?.end()
            }
        }
        assert_eq!(ours(&Endless, &[]), Err(Error::SerializeSeqLengthUnknown));
        assert_eq!(postcard::to_stdvec(&Endless), Err(Error::SerializeSeqLengthUnknown));
    }

    proptest! {
        #[test]
        fn every_kind_of_value_is_written_as_postcard_does(
            before in proptest::collection::vec(any::<u8>(), 0..9),
            numbers in any::<(u16, u32, u64, u128, i16, i32, i64)>(),
            (floats, byte, flag, text) in any::<((f32, f64), i8, bool, char)>(),
            shift in 0u32..64,
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            list in proptest::collection::vec(any::<u64>(), 0..9),
            map in proptest::collection::btree_map(".{0,5}", any::<u32>(), 0..5),
            address in any::<IpAddr>(),
        ) {
            let any = vec![
                Any::Unit,
                Any::Number(numbers.3.cast_signed() >> shift),
                Any::Two(byte, Some(numbers.0)),
                Any::Two(byte, None),
                Any::Named { at: floats.0, text },
            ];
            let list = list.into_iter().map(|number| number >> shift).collect();
            let pair = flag.then(|| Pair(bytes.len() as u8, address.to_string()));
            let unit = (Unit, ());
            let all = All { numbers, floats, byte, flag, bytes: &bytes, list, map, unit, pair, any, text: address };
            prop_assert_eq!(ours(&all, &before).unwrap(), postcard::to_stdvec(&all).unwrap());
        }
    }
}
