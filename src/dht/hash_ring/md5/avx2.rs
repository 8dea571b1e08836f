//! Eight lanes a register with AVX2.
#![allow(unsafe_code, reason = "loads and stores of vector registers; each block argues for itself")]

use std::arch::x86_64::*;

use super::BATCH;
use super::block::Block;
use super::rounds::{INITIAL, steps};
use super::staged::staged;

staged!("avx2", __m256i, lanes: 8, sets: 2);

#[target_feature(enable = "avx2")]
#[inline]
fn quarter(blocks: &[Block; BATCH], from: usize, q: usize) -> [__m256i; 4] {
    let row = |lane: usize| {
        let row = blocks[from + lane].quarter(q);
        // SAFETY: `row` refers to 16 readable bytes; `loadu` asks for no alignment.
        unsafe { _mm_loadu_si128(row.as_ptr().cast()) }
    };
    // Rows g and g + 4 side by side, so that the lanes come out in order.
    let group = |g: usize| _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(row(g)), row(g + 4));
    let [w, x, y, z] = [group(0), group(1), group(2), group(3)];
    let (wx, yz) = (_mm256_unpacklo_epi32(w, x), _mm256_unpacklo_epi32(y, z));
    let (wx_high, yz_high) = (_mm256_unpackhi_epi32(w, x), _mm256_unpackhi_epi32(y, z));
    [
        _mm256_unpacklo_epi64(wx, yz),
        _mm256_unpackhi_epi64(wx, yz),
        _mm256_unpacklo_epi64(wx_high, yz_high),
        _mm256_unpackhi_epi64(wx_high, yz_high),
    ]
}

#[target_feature(enable = "avx2")]
#[inline]
fn store(words: &mut [u32; BATCH], at: usize, register: __m256i) {
    let to = &mut words[at..at + LANES];
    // SAFETY: `to` refers to 32 writable bytes; `storeu` asks for no alignment.
    unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), register) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn f<const S: i32, const R: i32>(sum: __m256i, b: __m256i, c: __m256i, d: __m256i) -> __m256i {
    turn::<S, R>(add(sum, xor(d, and(b, xor(c, d)))), b)
}

/// The two halves have no bit in common, and the one without `b` is added early.
#[target_feature(enable = "avx2")]
#[inline]
fn g<const S: i32, const R: i32>(sum: __m256i, b: __m256i, c: __m256i, d: __m256i) -> __m256i {
    turn::<S, R>(add(add(sum, _mm256_andnot_si256(d, c)), and(b, d)), b)
}

#[target_feature(enable = "avx2")]
#[inline]
fn h<const S: i32, const R: i32>(sum: __m256i, b: __m256i, c: __m256i, d: __m256i) -> __m256i {
    turn::<S, R>(add(sum, xor(b, xor(c, d))), b)
}

#[target_feature(enable = "avx2")]
#[inline]
fn i<const S: i32, const R: i32>(sum: __m256i, b: __m256i, c: __m256i, d: __m256i) -> __m256i {
    turn::<S, R>(add(sum, xor(c, _mm256_or_si256(b, xor(d, splat(u32::MAX))))), b)
}

#[target_feature(enable = "avx2")]
#[inline]
fn turn<const S: i32, const R: i32>(sum: __m256i, b: __m256i) -> __m256i {
    add(_mm256_or_si256(_mm256_slli_epi32::<S>(sum), _mm256_srli_epi32::<R>(sum)), b)
}

#[target_feature(enable = "avx2")]
#[inline]
fn and(a: __m256i, b: __m256i) -> __m256i {
    _mm256_and_si256(a, b)
}

#[target_feature(enable = "avx2")]
#[inline]
fn xor(a: __m256i, b: __m256i) -> __m256i {
    _mm256_xor_si256(a, b)
}

#[target_feature(enable = "avx2")]
#[inline]
fn add(a: __m256i, b: __m256i) -> __m256i {
    _mm256_add_epi32(a, b)
}

#[target_feature(enable = "avx2")]
#[inline]
fn splat(word: u32) -> __m256i {
    _mm256_set1_epi32(word as i32)
}
