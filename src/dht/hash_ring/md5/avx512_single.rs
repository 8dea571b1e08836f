//! One key with AVX-512. The 61 steps are one chain, each waiting for the one before it; in vector registers, where each
//! function of MD5 takes one cycle, a step takes four cycles, in ordinary ones up to five.
#![allow(unsafe_code, reason = "masked loads, and stores of vector registers; each block argues for itself")]

use std::arch::asm;
use std::arch::x86_64::*;
use std::hint::black_box;

use super::avx512::{F, G, H, I};
use super::block::LONGEST;
use super::rounds::{CONSTANTS, INITIAL, ORDER, Steps, steps};

/// The first word of the digest of a key of at most [`LONGEST`] bytes; of a longer key, any number.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn position(key: &[u8]) -> u32 {
    let words = black_box(&words(key)).0;
    let [mut a, mut b, mut c, mut d] = INITIAL.map(|word| splat(word));
    macro_rules! step {
        ($n:literal, $f:ident, $a:ident $b:ident $c:ident $d:ident, $s:literal, $word:literal, $k:literal) => {
            let sum = early(_mm_add_epi32($a, splat(words[$n])));
            $a = _mm_add_epi32(_mm_rol_epi32::<$s>(_mm_add_epi32(sum, $f($b, $c, $d))), $b);
        };
    }
    steps!(61, step, a b c d);
    (_mm_cvtsi128_si32(a) as u32).wrapping_add(INITIAL[0])
}

/// What `then` makes of that word.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) fn then<R>(key: &[u8], then: impl FnOnce(u32) -> R) -> R {
    then(position(key))
}

/// What each step adds: its word of the message plus its constant.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn words(key: &[u8]) -> Steps {
    let length = key.len().min(LONGEST);
    let mask = (1_u64 << length) - 1;
    // SAFETY: the mask has a bit for each of the first `length` bytes of the key; bytes whose bit is not set are not
    // read.
    let bytes = unsafe { _mm512_maskz_loadu_epi8(mask, key.as_ptr().cast()) };
    let padded = _mm512_mask_mov_epi8(bytes, mask + 1, _mm512_set1_epi8(-128));
    let block = _mm512_mask_set1_epi32(padded, 1 << 14, length as i32 * 8);
    let mut words = Steps([0; 64]);
    for round in 0..4 {
        let round = 16 * round..16 * round + 16;
        let (order, constants) = (&ORDER.0[round.clone()], &CONSTANTS.0[round.clone()]);
        // SAFETY: both slices are 16 words, 64 readable bytes; `loadu` asks for no alignment.
        let (order, constants) = unsafe {
            (_mm512_loadu_si512(order.as_ptr().cast()), _mm512_loadu_si512(constants.as_ptr().cast()))
        };
        let sums = _mm512_add_epi32(_mm512_permutexvar_epi32(order, block), constants);
        // SAFETY: the slice is 16 words, 64 writable bytes; `storeu` asks for no alignment.
        unsafe { _mm512_storeu_si512(words.0[round].as_mut_ptr().cast(), sums) };
    }
    words
}

/// Keeps the compiler from adding this last, when the step waits, and not early, while it waits.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn early(mut sum: __m128i) -> __m128i {
    // SAFETY: no instruction, and a register that is only said to change.
    unsafe { asm!("/* {0} */", inout(xmm_reg) sum, options(pure, nomem, nostack, preserves_flags)) };
    sum
}

macro_rules! functions {
    ($($name:ident $table:ident,)*) => {$(
        #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
        #[inline]
        fn $name(b: __m128i, c: __m128i, d: __m128i) -> __m128i {
            _mm_ternarylogic_epi32::<$table>(b, c, d)
        }
    )*};
}

functions! {
    f F,
    g G,
    h H,
    i I,
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
#[inline]
fn splat(word: u32) -> __m128i {
    _mm_set1_epi32(word as i32)
}
