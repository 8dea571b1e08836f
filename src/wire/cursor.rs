//! Reading a frame: numbers, and samples one by one.

use super::CRITICAL_FLAGS;
use crate::time::Timestamp;

/// Why bytes are no frame.
pub(super) type Reason = &'static str;

/// Reads little-endian numbers; every read is checked against the end.
pub(super) struct Cursor<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Reason> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let array = *rest.first_chunk::<N>().ok_or("cut short")?;
        self.at += N;
        Ok(array)
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Result<u8, Reason> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Reason> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Reason> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Reason> {
        self.array().map(u64::from_le_bytes)
    }

    #[inline]
    fn varint(&mut self, max_bytes: u32) -> Result<u64, Reason> {
        let first = self.u8()?;
        if first < 0x80 { Ok(u64::from(first)) } else { self.long_varint(first, max_bytes) }
    }

    fn long_varint(&mut self, first: u8, max_bytes: u32) -> Result<u64, Reason> {
        let mut value = u64::from(first & 0x7F);
        for index in 1..max_bytes {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7F);
            if index == 9 && bits > 1 {
                return Err("a number over 64 bits");
            }
            value |= bits << (7 * index);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a number that does not end")
    }

    /// Passes over one sample: its source time and its payload; the cursor is after the payload.
    #[inline]
    pub(super) fn sample(&mut self, sent: Timestamp) -> Result<(Timestamp, &'a [u8]), Reason> {
        let length = usize::try_from(self.varint(5)?).map_err(|_| "a payload over the address space")?;
        check_flags(self.u8()?)?;
        let delta = unzigzag(self.varint(10)?);
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let payload = rest.get(..length).ok_or("a payload longer than the frame")?;
        self.at += length;
        Ok((Timestamp::from_nanos(sent.as_nanos().wrapping_add(delta)), payload))
    }
}

#[inline]
pub(super) fn check_flags(flags: u8) -> Result<(), Reason> {
    if flags & CRITICAL_FLAGS == 0 { Ok(()) } else { Err("a flag of a later version") }
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}
