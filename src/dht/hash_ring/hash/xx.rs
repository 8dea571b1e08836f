//! xxHash64 with the seed 0.

const P1: u64 = 0x9e37_79b1_85eb_ca87;
const P2: u64 = 0xc2b2_ae3d_27d4_eb4f;
const P3: u64 = 0x1656_67b1_9e37_79f9;
const P4: u64 = 0x85eb_ca77_c2b2_ae63;
const P5: u64 = 0x27d4_eb2f_1656_67c5;

pub(in super::super) fn xx64(key: &[u8]) -> u64 {
    let (stripes, rest) = key.as_chunks::<32>();
    let mut hash = if stripes.is_empty() { P5 } else { striped(stripes) };
    hash = hash.wrapping_add(key.len() as u64);
    let (words, rest) = rest.as_chunks();
    for &word in words {
        hash ^= round(0, u64::from_le_bytes(word));
        hash = hash.rotate_left(27).wrapping_mul(P1).wrapping_add(P4);
    }
    let (words, rest) = rest.as_chunks();
    for &word in words {
        hash ^= u64::from(u32::from_le_bytes(word)).wrapping_mul(P1);
        hash = hash.rotate_left(23).wrapping_mul(P2).wrapping_add(P3);
    }
    for &byte in rest {
        hash ^= u64::from(byte).wrapping_mul(P5);
        hash = hash.rotate_left(11).wrapping_mul(P1);
    }
    hash = (hash ^ hash >> 33).wrapping_mul(P2);
    hash = (hash ^ hash >> 29).wrapping_mul(P3);
    hash ^ hash >> 32
}

fn striped(stripes: &[[u8; 32]]) -> u64 {
    let mut lanes = [P1.wrapping_add(P2), P2, 0, P1.wrapping_neg()];
    for stripe in stripes {
        for (lane, &word) in lanes.iter_mut().zip(stripe.as_chunks().0) {
            *lane = round(*lane, u64::from_le_bytes(word));
        }
    }
    let together = lanes.iter().zip([1, 7, 12, 18]).map(|(lane, rotation)| lane.rotate_left(rotation));
    let hash = together.fold(0, u64::wrapping_add);
    let merged = |hash: u64, &lane: &u64| (hash ^ round(0, lane)).wrapping_mul(P1).wrapping_add(P4);
    lanes.iter().fold(hash, merged)
}

fn round(lane: u64, word: u64) -> u64 {
    lane.wrapping_add(word.wrapping_mul(P2)).rotate_left(31).wrapping_mul(P1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_one_of_the_reference() {
        assert_eq!([xx64(b""), xx64(b"abc")], [0xef46_db37_51d8_e999, 0x44bc_2cf5_ad77_0999]);
    }
}
