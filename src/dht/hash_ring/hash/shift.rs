//! The hash of sdbm, as HAProxy 2.6 has it; FNV, Hsieh's SuperFastHash and MurmurHash2, as twemproxy 0.5.0 has them.

use super::signed;

const OFFSET_32: u32 = 0x811c_9dc5;
const PRIME_32: u32 = 0x0100_0193;
/// The lower halves of the 64-bit constants: of the 64-bit hashes the lower half is the result, and follows from these.
const OFFSET_64: u32 = 0x8422_2325;
const PRIME_64: u32 = 0x0000_01b3;

pub(in super::super) fn sdbm(key: &[u8]) -> u32 {
    key.iter().fold(0, |hash, &byte| hash.wrapping_mul(65_599).wrapping_add(u32::from(byte)))
}

pub(in super::super) fn fnv1_32(key: &[u8]) -> u32 {
    key.iter().fold(OFFSET_32, |hash, &byte| hash.wrapping_mul(PRIME_32) ^ signed(byte))
}

pub(in super::super) fn fnv1a_32(key: &[u8]) -> u32 {
    key.iter().fold(OFFSET_32, |hash, &byte| (hash ^ signed(byte)).wrapping_mul(PRIME_32))
}

pub(in super::super) fn fnv1_64(key: &[u8]) -> u32 {
    key.iter().fold(OFFSET_64, |hash, &byte| hash.wrapping_mul(PRIME_64) ^ signed(byte))
}

pub(in super::super) fn fnv1a_64(key: &[u8]) -> u32 {
    key.iter().fold(OFFSET_64, |hash, &byte| (hash ^ signed(byte)).wrapping_mul(PRIME_64))
}

pub(in super::super) fn hsieh(key: &[u8]) -> u32 {
    let half = |one: u8, other: u8| u32::from(u16::from_le_bytes([one, other]));
    let (blocks, rest) = key.as_chunks();
    let mut hash = 0_u32;
    for &[a, b, c, d] in blocks {
        hash = hash.wrapping_add(half(a, b));
        hash = hash << 16 ^ half(c, d) << 11 ^ hash;
        hash = hash.wrapping_add(hash >> 11);
    }
    match *rest {
        [a, b, c] => {
            hash = hash.wrapping_add(half(a, b));
            hash ^= hash << 16 ^ signed(c) << 18;
            hash = hash.wrapping_add(hash >> 11);
        }
        [a, b] => {
            hash = hash.wrapping_add(half(a, b));
            hash ^= hash << 11;
            hash = hash.wrapping_add(hash >> 17);
        }
        [a] => {
            hash = hash.wrapping_add(u32::from(a));
            hash ^= hash << 10;
            hash = hash.wrapping_add(hash >> 1);
        }
        _ => {}
    }
    for (left, right) in [(3, 5), (4, 17), (25, 6)] {
        hash ^= hash << left;
        hash = hash.wrapping_add(hash >> right);
    }
    hash
}

pub(in super::super) fn murmur(key: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let length = key.len() as u32;
    let mut hash = 0xdead_beef_u32.wrapping_mul(length) ^ length;
    let (blocks, rest) = key.as_chunks();
    for &block in blocks {
        let mut word = u32::from_le_bytes(block).wrapping_mul(M);
        word ^= word >> 24;
        hash = hash.wrapping_mul(M) ^ word.wrapping_mul(M);
    }
    if !rest.is_empty() {
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u32::from_le_bytes(last)).wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> 15
}
