//! The hashes of other programs that are no MD5: of keys, and of names of nodes.
//!
//! Where the original reads bytes through C's `char`, bytes from 128 up are negative numbers, as they are on x86-64.

mod crc;
mod jenkins;
mod shift;
mod xx;

pub(super) use crc::{Crc32, crc16, crc32, crc32a};
pub(super) use jenkins::{jenkins, one_at_a_time};
pub(super) use shift::sdbm;
pub(super) use shift::{fnv1_32, fnv1_64, fnv1a_32, fnv1a_64, hsieh, murmur};
pub(super) use xx::xx64;

/// A byte as C's `char` is widened where it has a sign.
const fn signed(byte: u8) -> u32 {
    byte.cast_signed() as i32 as u32
}
