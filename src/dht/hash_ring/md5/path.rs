//! The choice of instructions, at run time.
#![allow(unsafe_code, reason = "calls of functions for features that a path is evidence of")]

use std::sync::atomic::{AtomicU8, Ordering};

use super::block::{Block, LONGEST};
#[cfg(target_arch = "aarch64")]
use super::neon;
use super::{BATCH, long, scalar};
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512, avx512_single, sse2};

/// Which instructions digest. A value is evidence that the machine has them: [`Path::best`] and [`Path::available`]
/// alone make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Path(Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Scalar = 1,
    #[cfg(target_arch = "x86_64")]
    Sse2,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "aarch64")]
    Neon,
}

/// All kinds, the best last.
const KINDS: &[Kind] = &[
    Kind::Scalar,
    #[cfg(target_arch = "x86_64")]
    Kind::Sse2,
    #[cfg(target_arch = "x86_64")]
    Kind::Avx2,
    #[cfg(target_arch = "x86_64")]
    Kind::Avx512,
    #[cfg(target_arch = "aarch64")]
    Kind::Neon,
];

impl Path {
    /// The widest instructions of this machine.
    #[inline]
    pub(in super::super) fn best() -> Self {
        /// The kind that was found, 0 before it was looked for. Two threads that both look find the same.
        static FOUND: AtomicU8 = AtomicU8::new(0);
        #[cold]
        fn look() -> Path {
            let best = Path::available().last().unwrap_or(Path(Kind::Scalar));
            FOUND.store(best.0 as u8, Ordering::Relaxed);
            best
        }
        Kind::of_number(FOUND.load(Ordering::Relaxed)).map_or_else(look, Self)
    }

    /// All that this machine has, the best last.
    pub(in super::super) fn available() -> impl Iterator<Item = Self> {
        KINDS.iter().copied().filter(|kind| kind.is_available()).map(Self)
    }

    /// The name of the instructions: `scalar`, `sse2`, `avx2`, `avx512` or `neon`.
    pub(in super::super) fn name(self) -> &'static str {
        match self.0 {
            Kind::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Kind::Sse2 => "sse2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "avx512",
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => "neon",
        }
    }

    /// The first word of a key's digest.
    #[inline]
    pub(super) fn position(self, key: &[u8]) -> u32 {
        if key.len() > LONGEST {
            return long(key);
        }
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the kind is evidence of AVX-512.
            Kind::Avx512 => unsafe { avx512_single::position(key) },
            _ => {
                let mut block = Block::EMPTY;
                block.set(key);
                scalar::position(&block)
            }
        }
    }

    /// What `then` makes of the first word of a key's digest. It is compiled for the instructions that digest: of a
    /// look-up that waits for memory, the next ones begin the sooner the fewer its own are.
    #[inline]
    pub(in super::super) fn then<R>(self, key: &[u8], then: impl FnOnce(u32) -> R) -> R {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the kind is evidence of AVX-512.
            Kind::Avx512 if key.len() <= LONGEST => unsafe { avx512_single::then(key, then) },
            _ => then(self.position(key)),
        }
    }

    /// The first words of a batch's digests.
    pub(super) fn positions(self, keys: &[&[u8]; BATCH], positions: &mut [u32; BATCH]) {
        let longest = keys.iter().map(|key| key.len()).max().unwrap_or(0);
        #[cfg(target_arch = "x86_64")]
        if self.0 == Kind::Avx512 {
            // SAFETY: the kind is evidence of AVX-512.
            unsafe { avx512::positions_of(keys, longest, positions) };
            return patch(keys, longest, positions);
        }
        let mut blocks = [Block::EMPTY; BATCH];
        for (block, key) in blocks.iter_mut().zip(keys) {
            block.set(key);
        }
        let quarters = longest / 16 + 1;
        match self.0 {
            Kind::Scalar => {
                for (position, block) in positions.iter_mut().zip(&blocks) {
                    *position = scalar::position(block);
                }
            }
            // SAFETY: each kind is evidence of its feature.
            #[cfg(target_arch = "x86_64")]
            Kind::Sse2 => unsafe { sse2::positions(&blocks, quarters, positions) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => unsafe { avx2::positions(&blocks, quarters, positions) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => unsafe { avx512::positions(&blocks, quarters, positions) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => unsafe { neon::positions(&blocks, quarters, positions) },
        }
        patch(keys, longest, positions);
    }

    /// The digests of a batch's blocks, word by word.
    pub(super) fn digests(self, blocks: &[Block; BATCH], words: &mut [[u32; BATCH]; 4]) {
        match self.0 {
            Kind::Scalar => {
                for (n, block) in blocks.iter().enumerate() {
                    for (words, word) in words.iter_mut().zip(scalar::digest(block)) {
                        words[n] = word;
                    }
                }
            }
            // SAFETY: each kind is evidence of its feature.
            #[cfg(target_arch = "x86_64")]
            Kind::Sse2 => unsafe { sse2::digests(blocks, words) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => unsafe { avx2::digests(blocks, words) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => unsafe { avx512::digests(blocks, words) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => unsafe { neon::digests(blocks, words) },
        }
    }
}

impl Kind {
    /// The kind with a number: a look-up begins with it, and is to be as short as can be.
    #[inline]
    fn of_number(number: u8) -> Option<Self> {
        const SCALAR: u8 = Kind::Scalar as u8;
        #[cfg(target_arch = "x86_64")]
        const SSE2: u8 = Kind::Sse2 as u8;
        #[cfg(target_arch = "x86_64")]
        const AVX2: u8 = Kind::Avx2 as u8;
        #[cfg(target_arch = "x86_64")]
        const AVX512: u8 = Kind::Avx512 as u8;
        #[cfg(target_arch = "aarch64")]
        const NEON: u8 = Kind::Neon as u8;
        match number {
            SCALAR => Some(Self::Scalar),
            #[cfg(target_arch = "x86_64")]
            SSE2 => Some(Self::Sse2),
            #[cfg(target_arch = "x86_64")]
            AVX2 => Some(Self::Avx2),
            #[cfg(target_arch = "x86_64")]
            AVX512 => Some(Self::Avx512),
            #[cfg(target_arch = "aarch64")]
            NEON => Some(Self::Neon),
            _ => None,
        }
    }

    fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Sse2 => is_x86_feature_detected!("sse2"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(target_arch = "aarch64")]
            Self::Neon => std::arch::is_aarch64_feature_detected!("neon"),
        }
    }
}

/// Puts right the positions of keys that do not fit into a lane.
fn patch(keys: &[&[u8]; BATCH], longest: usize, positions: &mut [u32; BATCH]) {
    if longest > LONGEST {
        for (position, key) in positions.iter_mut().zip(keys).filter(|(_, key)| key.len() > LONGEST) {
            *position = long(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_number() {
        assert!(KINDS.iter().all(|kind| Kind::of_number(*kind as u8) == Some(*kind)));
        assert_eq!(Kind::of_number(0), None);
    }
}
