//! Four lanes a register with SSE2, which every x86-64 has.
#![allow(unsafe_code, reason = "loads and stores of vector registers; each block argues for itself")]

use std::arch::x86_64::*;

use super::BATCH;
use super::block::Block;
use super::rounds::{INITIAL, steps};
use super::staged::staged;

staged!("sse2", __m128i, lanes: 4, sets: 2);

#[target_feature(enable = "sse2")]
#[inline]
fn quarter(blocks: &[Block; BATCH], from: usize, q: usize) -> [__m128i; 4] {
    let row = |lane: usize| {
        let row = blocks[from + lane].quarter(q);
        // SAFETY: `row` refers to 16 readable bytes; `loadu` asks for no alignment.
        unsafe { _mm_loadu_si128(row.as_ptr().cast()) }
    };
    let [w, x, y, z] = [row(0), row(1), row(2), row(3)];
    let (wx, yz) = (_mm_unpacklo_epi32(w, x), _mm_unpacklo_epi32(y, z));
    let (wx_high, yz_high) = (_mm_unpackhi_epi32(w, x), _mm_unpackhi_epi32(y, z));
    [
        _mm_unpacklo_epi64(wx, yz),
        _mm_unpackhi_epi64(wx, yz),
        _mm_unpacklo_epi64(wx_high, yz_high),
        _mm_unpackhi_epi64(wx_high, yz_high),
    ]
}

#[target_feature(enable = "sse2")]
#[inline]
fn store(words: &mut [u32; BATCH], at: usize, register: __m128i) {
    let to = &mut words[at..at + LANES];
    // SAFETY: `to` refers to 16 writable bytes; `storeu` asks for no alignment.
    unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), register) }
}

#[target_feature(enable = "sse2")]
#[inline]
fn f<const S: i32, const R: i32>(sum: __m128i, b: __m128i, c: __m128i, d: __m128i) -> __m128i {
    turn::<S, R>(add(sum, xor(d, and(b, xor(c, d)))), b)
}

/// The two halves have no bit in common, and the one without `b` is added early.
#[target_feature(enable = "sse2")]
#[inline]
fn g<const S: i32, const R: i32>(sum: __m128i, b: __m128i, c: __m128i, d: __m128i) -> __m128i {
    turn::<S, R>(add(add(sum, _mm_andnot_si128(d, c)), and(b, d)), b)
}

#[target_feature(enable = "sse2")]
#[inline]
fn h<const S: i32, const R: i32>(sum: __m128i, b: __m128i, c: __m128i, d: __m128i) -> __m128i {
    turn::<S, R>(add(sum, xor(b, xor(c, d))), b)
}

#[target_feature(enable = "sse2")]
#[inline]
fn i<const S: i32, const R: i32>(sum: __m128i, b: __m128i, c: __m128i, d: __m128i) -> __m128i {
    turn::<S, R>(add(sum, xor(c, _mm_or_si128(b, xor(d, splat(u32::MAX))))), b)
}

#[target_feature(enable = "sse2")]
#[inline]
fn turn<const S: i32, const R: i32>(sum: __m128i, b: __m128i) -> __m128i {
    add(_mm_or_si128(_mm_slli_epi32::<S>(sum), _mm_srli_epi32::<R>(sum)), b)
}

#[target_feature(enable = "sse2")]
#[inline]
fn and(a: __m128i, b: __m128i) -> __m128i {
    _mm_and_si128(a, b)
}

#[target_feature(enable = "sse2")]
#[inline]
fn xor(a: __m128i, b: __m128i) -> __m128i {
    _mm_xor_si128(a, b)
}

#[target_feature(enable = "sse2")]
#[inline]
fn add(a: __m128i, b: __m128i) -> __m128i {
    _mm_add_epi32(a, b)
}

#[target_feature(enable = "sse2")]
#[inline]
fn splat(word: u32) -> __m128i {
    _mm_set1_epi32(word as i32)
}
