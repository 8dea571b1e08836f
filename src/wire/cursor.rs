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
    #[inline(always)]
    pub(super) fn sample(&mut self, sent: Timestamp) -> Result<(Timestamp, &'a [u8]), Reason> {
        let (length, delta) = match self.short_head() {
            Some(head) => head,
            None => self.head()?,
        };
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let payload = rest.get(..length).ok_or("a payload longer than the frame")?;
        self.at += length;
        Ok((Timestamp::from_nanos(sent.as_nanos().wrapping_add(unzigzag(delta))), payload))
    }

    /// What stands before a payload, if it has the form that nearly all have: a length of one byte, no critical flag, a time of
    /// six bytes at most. It is read in one go, since there are as many as there are samples.
    #[inline(always)]
    fn short_head(&mut self) -> Option<(usize, u64)> {
        const GOES_ON: u64 = 0x8080_8080_8080;
        let head = u64::from_le_bytes(*self.bytes.get(self.at..)?.first_chunk()?);
        let [length, flags, ..] = head.to_le_bytes();
        let time = head >> 16;
        let ends = !time & GOES_ON;
        if length >= 0x80 || check_flags(flags).is_err() || ends == 0 {
            return None;
        }
        let bits = ends.trailing_zeros() + 1;
        let time = time & (u64::MAX >> (64 - bits));
        // Seven bits of each byte: first two neighbours each, then all.
        let pairs = (time & 0x007F_007F_007F) | ((time & 0x7F00_7F00_7F00) >> 1);
        let delta = (pairs & 0x3FFF) | ((pairs >> 2) & 0x0FFF_C000) | ((pairs >> 4) & 0x03FF_F000_0000);
        self.at += 2 + bits as usize / 8;
        Some((usize::from(length), delta))
    }

    /// The same, in any form.
    fn head(&mut self) -> Result<(usize, u64), Reason> {
        let length = usize::try_from(self.varint(5)?).map_err(|_| "a payload over the address space")?;
        check_flags(self.u8()?)?;
        Ok((length, self.varint(10)?))
    }
}

#[inline]
pub(super) fn check_flags(flags: u8) -> Result<(), Reason> {
    if flags & CRITICAL_FLAGS == 0 { Ok(()) } else { Err("a flag of a later version") }
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever the bytes are, what is read in one go is what is read one by one.
        #[test]
        fn the_short_way_reads_what_the_long_one_does(
            mut bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0x80u8.., 0u8..0x10], 0..24),
            plain in any::<bool>(),
        ) {
            if plain && bytes.len() > 1 {
                (bytes[0], bytes[1]) = (bytes[0] & 0x7F, bytes[1] & !CRITICAL_FLAGS);
            }
            let (mut short, mut long) = (Cursor { bytes: &bytes, at: 0 }, Cursor { bytes: &bytes, at: 0 });
            match short.short_head() {
                Some(head) => {
                    prop_assert_eq!(long.head(), Ok(head));
                    prop_assert_eq!(short.at, long.at);
                }
                None => prop_assert_eq!(short.at, 0),
            }
        }
    }

    #[test]
    fn the_short_way_takes_times_of_up_to_six_bytes() {
        for (time, value) in [
            (&[0x00][..], 0),
            (&[0x7F], 0x7F),
            (&[0x80, 0x01], 0x80),
            (&[0xFF, 0xFF, 0x7F], (1 << 21) - 1),
            (&[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F], (1 << 42) - 1),
            (&[0x81, 0x82, 0x83, 0x84, 0x85, 0x06], 1 | 2 << 7 | 3 << 14 | 4 << 21 | 5 << 28 | 6 << 35),
        ] {
            let bytes = [&[16, 3], time, &[0; 16]].concat();
            let mut cursor = Cursor { bytes: &bytes, at: 0 };
            assert_eq!(cursor.short_head(), Some((16, value)), "{time:x?}");
            assert_eq!(cursor.at, 2 + time.len());
        }
        for none in [
            &[0x80, 1, 0, 0, 0, 0, 0, 0][..],
            &[1, 0x10, 0, 0, 0, 0, 0, 0],
            &[1, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80],
            &[1, 0, 0],
        ] {
            assert_eq!(Cursor { bytes: none, at: 0 }.short_head(), None, "{none:x?}");
        }
    }
}
