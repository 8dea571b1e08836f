//! One block at a time, in ordinary registers.

use std::hint::black_box;

use super::block::Block;
use super::rounds::{CONSTANTS, INITIAL, steps};

/// The first word of a block's digest.
#[inline]
pub(super) fn position(block: &Block) -> u32 {
    digest(block)[0]
}

/// A block's digest.
#[inline(always)]
pub(super) fn digest(block: &Block) -> [u32; 4] {
    let words = block.words();
    // Each step waits for the `b` of the one before it: what a step adds besides has to be summed up while it waits. A
    // compiler that knows the constants adds them last, a cycle a step; so it must not know them.
    let constants = &black_box(&CONSTANTS).0;
    let [mut a, mut b, mut c, mut d] = INITIAL;
    macro_rules! step {
        ($n:literal, $f:ident, $a:ident $b:ident $c:ident $d:ident, $s:literal, $word:literal, $k:literal) => {
            let early = $a.wrapping_add(words[$word].wrapping_add(constants[$n]));
            $a = $f(early, $b, $c, $d).rotate_left($s).wrapping_add($b);
        };
    }
    // Of a caller that takes word 0 alone, the compiler drops steps 61 to 63.
    steps!(64, step, a b c d);
    let sum = [a, b, c, d];
    std::array::from_fn(|word| sum[word].wrapping_add(INITIAL[word]))
}

#[inline(always)]
fn f(early: u32, b: u32, c: u32, d: u32) -> u32 {
    early.wrapping_add(d ^ (b & (c ^ d)))
}

/// The two halves have no bit in common: added instead of combined, the one without `b` is added early.
#[inline(always)]
fn g(early: u32, b: u32, c: u32, d: u32) -> u32 {
    early.wrapping_add(c & !d).wrapping_add(b & d)
}

#[inline(always)]
fn h(early: u32, b: u32, c: u32, d: u32) -> u32 {
    early.wrapping_add(b ^ (c ^ d))
}

#[inline(always)]
fn i(early: u32, b: u32, c: u32, d: u32) -> u32 {
    early.wrapping_add(c ^ (b | !d))
}
