//! Sixteen lanes a register with AVX-512: the functions of MD5 are one instruction each (`vpternlogd`), and so is a
//! rotation (`vprold`).
#![allow(unsafe_code, reason = "loads and stores of vector registers; each block argues for itself")]

use std::arch::x86_64::*;

use super::BATCH;
use super::block::{Block, LONGEST};
use super::rounds::{INITIAL, steps};
use super::staged::staged;

staged!("avx512f,avx512bw,avx512vl", __m512i, lanes: 16, sets: 2);

/// The first words of the digests of keys of at most [`LONGEST`] bytes; of a longer key, any number.
///
/// Keys are loaded under a mask, so that none is copied and nothing behind its end is read.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn positions_of(keys: &[&[u8]; BATCH], longest: usize, positions: &mut [u32; BATCH]) {
    match longest / 16 {
        0 => positions_by::<1>(keys, positions),
        1 => positions_by::<2>(keys, positions),
        2 => positions_by::<3>(keys, positions),
        _ => positions_by::<4>(keys, positions),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn positions_by<const QUARTERS: usize>(keys: &[&[u8]; BATCH], positions: &mut [u32; BATCH]) {
    let mut m = [[splat(0); 16]; SETS];
    let (sets, _) = keys.as_chunks::<LANES>();
    for (m, keys) in m.iter_mut().zip(sets) {
        for q in 0..QUARTERS {
            let words = transposed(std::array::from_fn(|lane| row(keys[lane], q)));
            m[4 * q..4 * q + 4].copy_from_slice(&words);
        }
        // Of keys that reach word 14, the block has zeros there: nothing is lost by overwriting.
        let bits: [u32; LANES] = std::array::from_fn(|lane| (keys[lane].len() as u32).wrapping_mul(8));
        // SAFETY: `bits` is 64 readable bytes; `loadu` asks for no alignment.
        m[14] = unsafe { _mm512_loadu_si512(bits.as_ptr().cast()) };
    }
    for (set, [a, ..]) in digest(m).into_iter().enumerate() {
        store(positions, set * LANES, a);
    }
}

/// Quarter `q` of a key's block, less the length.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn row(key: &[u8], q: usize) -> __m128i {
    /// 0x80 at 64: what is read from `64 - length` on is a block's padding.
    static PADDING: [u8; 128] = {
        let mut padding = [0; 128];
        padding[64] = 0x80;
        padding
    };
    let length = if key.len() <= LONGEST { key.len() } else { 0 };
    let here = length.saturating_sub(16 * q).min(16);
    let mask = ((1_u32 << here) - 1) as u16;
    // SAFETY: the mask has a bit for each byte of the key from `16 * q` on, and for no other; bytes whose bit is not
    // set are not read. The pointer is wrapping, for it may lie behind the key if the mask is empty.
    let bytes = unsafe { _mm_maskz_loadu_epi8(mask, key.as_ptr().wrapping_add(16 * q).cast()) };
    // SAFETY: `length <= 55` and `q < 4`, so that the 16 bytes begin between 9 and 112 in a table of 128.
    let padding = unsafe { _mm_loadu_si128(PADDING.as_ptr().add(64 - length + 16 * q).cast()) };
    _mm_or_si128(bytes, padding)
}

/// Words `4q` to `4q + 3` of 16 blocks: lane `l` is of block `from + l`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn quarter(blocks: &[Block; BATCH], from: usize, q: usize) -> [__m512i; 4] {
    transposed(std::array::from_fn(|lane| {
        let row = blocks[from + lane].quarter(q);
        // SAFETY: `row` refers to 16 readable bytes; `loadu` asks for no alignment.
        unsafe { _mm_loadu_si128(row.as_ptr().cast()) }
    }))
}

/// Sixteen rows of four words as four registers of sixteen.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn transposed(rows: [__m128i; 16]) -> [__m512i; 4] {
    // Lane by lane: rows g, g + 4, g + 8 and g + 12, so that the lanes come out in order.
    let mut groups = [splat(0); 4];
    for (g, group) in groups.iter_mut().enumerate() {
        let low = _mm512_inserti32x4::<1>(_mm512_castsi128_si512(rows[g]), rows[g + 4]);
        *group = _mm512_inserti32x4::<3>(_mm512_inserti32x4::<2>(low, rows[g + 8]), rows[g + 12]);
    }
    let [w, x, y, z] = groups;
    let (wx, yz) = (_mm512_unpacklo_epi32(w, x), _mm512_unpacklo_epi32(y, z));
    let (wx_high, yz_high) = (_mm512_unpackhi_epi32(w, x), _mm512_unpackhi_epi32(y, z));
    [
        _mm512_unpacklo_epi64(wx, yz),
        _mm512_unpackhi_epi64(wx, yz),
        _mm512_unpacklo_epi64(wx_high, yz_high),
        _mm512_unpackhi_epi64(wx_high, yz_high),
    ]
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn store(words: &mut [u32; BATCH], at: usize, register: __m512i) {
    let (to, _) = words[at..].as_chunks_mut::<LANES>();
    // SAFETY: `to[0]` refers to 64 writable bytes; `storeu` asks for no alignment.
    unsafe { _mm512_storeu_si512(to[0].as_mut_ptr().cast(), register) }
}

macro_rules! functions {
    ($($name:ident $table:ident,)*) => {$(
        #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
        #[inline]
        fn $name<const S: i32, const R: i32>(sum: __m512i, b: __m512i, c: __m512i, d: __m512i) -> __m512i {
            add(_mm512_rol_epi32::<S>(add(sum, _mm512_ternarylogic_epi32::<$table>(b, c, d))), b)
        }
    )*};
}

// The third operand's bit counts 1, the second's 2, the first's 4: bit n of the table is the function of n's bits.

/// b ? c : d
pub(super) const F: i32 = 0b1100_1010;
/// d ? b : c
pub(super) const G: i32 = 0b1110_0100;
/// b ^ c ^ d
pub(super) const H: i32 = 0b1001_0110;
/// c ^ (b | !d)
pub(super) const I: i32 = 0b0011_1001;

functions! {
    f F,
    g G,
    h H,
    i I,
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn add(a: __m512i, b: __m512i) -> __m512i {
    _mm512_add_epi32(a, b)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn splat(word: u32) -> __m512i {
    _mm512_set1_epi32(word as i32)
}
