//! Four lanes a register with NEON, which every 64-bit ARM has.
#![allow(unsafe_code, reason = "loads and stores of vector registers; each block argues for itself")]

use std::arch::aarch64::*;

use super::BATCH;
use super::block::Block;
use super::rounds::{INITIAL, steps};
use super::staged::staged;

staged!("neon", uint32x4_t, lanes: 4, sets: 2);

#[target_feature(enable = "neon")]
#[inline]
fn quarter(blocks: &[Block; BATCH], from: usize, q: usize) -> [uint32x4_t; 4] {
    let row = |lane: usize| {
        let row = blocks[from + lane].quarter(q);
        // SAFETY: `row` refers to 16 readable bytes; loads of bytes ask for no alignment.
        unsafe { vreinterpretq_u32_u8(vld1q_u8(row.as_ptr())) }
    };
    let [w, x, y, z] = [row(0), row(1), row(2), row(3)];
    let (wx, wx_odd) = (vtrn1q_u32(w, x), vtrn2q_u32(w, x));
    let (yz, yz_odd) = (vtrn1q_u32(y, z), vtrn2q_u32(y, z));
    [low(wx, yz), low(wx_odd, yz_odd), high(wx, yz), high(wx_odd, yz_odd)]
}

/// The first halves of both.
#[target_feature(enable = "neon")]
#[inline]
fn low(a: uint32x4_t, b: uint32x4_t) -> uint32x4_t {
    vreinterpretq_u32_u64(vtrn1q_u64(vreinterpretq_u64_u32(a), vreinterpretq_u64_u32(b)))
}

/// The second halves of both.
#[target_feature(enable = "neon")]
#[inline]
fn high(a: uint32x4_t, b: uint32x4_t) -> uint32x4_t {
    vreinterpretq_u32_u64(vtrn2q_u64(vreinterpretq_u64_u32(a), vreinterpretq_u64_u32(b)))
}

#[target_feature(enable = "neon")]
#[inline]
fn store(words: &mut [u32; BATCH], at: usize, register: uint32x4_t) {
    let to = &mut words[at..at + LANES];
    // SAFETY: `to` refers to four writable words.
    unsafe { vst1q_u32(to.as_mut_ptr(), register) }
}

#[target_feature(enable = "neon")]
#[inline]
fn f<const S: i32, const R: i32>(sum: uint32x4_t, b: uint32x4_t, c: uint32x4_t, d: uint32x4_t) -> uint32x4_t {
    turn::<S, R>(add(sum, vbslq_u32(b, c, d)), b)
}

#[target_feature(enable = "neon")]
#[inline]
fn g<const S: i32, const R: i32>(sum: uint32x4_t, b: uint32x4_t, c: uint32x4_t, d: uint32x4_t) -> uint32x4_t {
    turn::<S, R>(add(sum, vbslq_u32(d, b, c)), b)
}

#[target_feature(enable = "neon")]
#[inline]
fn h<const S: i32, const R: i32>(sum: uint32x4_t, b: uint32x4_t, c: uint32x4_t, d: uint32x4_t) -> uint32x4_t {
    turn::<S, R>(add(sum, veorq_u32(b, veorq_u32(c, d))), b)
}

#[target_feature(enable = "neon")]
#[inline]
fn i<const S: i32, const R: i32>(sum: uint32x4_t, b: uint32x4_t, c: uint32x4_t, d: uint32x4_t) -> uint32x4_t {
    turn::<S, R>(add(sum, veorq_u32(c, vornq_u32(b, d))), b)
}

#[target_feature(enable = "neon")]
#[inline]
fn turn<const S: i32, const R: i32>(sum: uint32x4_t, b: uint32x4_t) -> uint32x4_t {
    add(vsriq_n_u32::<R>(vshlq_n_u32::<S>(sum), sum), b)
}

#[target_feature(enable = "neon")]
#[inline]
fn add(a: uint32x4_t, b: uint32x4_t) -> uint32x4_t {
    vaddq_u32(a, b)
}

#[target_feature(enable = "neon")]
#[inline]
fn splat(word: u32) -> uint32x4_t {
    vdupq_n_u32(word)
}
