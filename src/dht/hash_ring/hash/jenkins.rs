//! Bob Jenkins's hashes.

use super::signed;

/// One-at-a-time.
pub(in super::super) fn one_at_a_time(key: &[u8]) -> u32 {
    let mut hash = 0_u32;
    for &byte in key {
        hash = hash.wrapping_add(signed(byte));
        hash = hash.wrapping_add(hash << 10);
        hash ^= hash >> 6;
    }
    hash = hash.wrapping_add(hash << 3);
    hash ^= hash >> 11;
    hash.wrapping_add(hash << 15)
}

/// `hashlittle` of lookup3, from 13 as libmemcached and twemproxy have it.
pub(in super::super) fn jenkins(key: &[u8]) -> u32 {
    const INITIAL: u32 = 0xdead_beef_u32.wrapping_add(13);
    let [mut a, mut b, mut c] = [INITIAL.wrapping_add(key.len() as u32); 3];
    // The last block is mixed otherwise, also where it is full.
    let last = key.len().saturating_sub(1) / 12 * 12;
    let (blocks, rest) = key.split_at(last);
    for block in blocks.chunks_exact(12) {
        [a, b, c] = added([a, b, c], block);
        for (rotation, then) in [(4, 6), (8, 16), (19, 4)] {
            for rotation in [rotation, then] {
                // a -= c; a ^= rot(c, n); c += b, and the three change their places.
                (a, c) = (a.wrapping_sub(c) ^ c.rotate_left(rotation), c.wrapping_add(b));
                (a, b, c) = (b, c, a);
            }
        }
    }
    if rest.is_empty() {
        return c;
    }
    [a, b, c] = added([a, b, c], rest);
    for rotation in [14, 11, 25, 16, 4, 14, 24] {
        // c ^= b; c -= rot(b, n), and the three change their places.
        c = (c ^ b).wrapping_sub(b.rotate_left(rotation));
        (a, b, c) = (b, c, a);
    }
    // Seven steps: what was changed last stands in the middle.
    b
}

/// Adds up to twelve bytes as three little-endian words; those that are missing are zero.
fn added(state: [u32; 3], bytes: &[u8]) -> [u32; 3] {
    let mut block = [0; 12];
    block[..bytes.len()].copy_from_slice(bytes);
    let (words, _) = block.as_chunks();
    std::array::from_fn(|n| state[n].wrapping_add(u32::from_le_bytes(words[n])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_is_the_one_of_the_reference() {
        assert_eq!(
            [one_at_a_time(b"a"), one_at_a_time(b"The quick brown fox jumps over the lazy dog")],
            [0xca2e_9442, 0x519e_91f5]
        );
    }
}
