//! What the wide modules share: one block a lane, transposed into registers of words.

/// Defines the functions of a wide module over blocks in memory: `digests` and `positions`.
///
/// In scope must be, for the register: `splat`, `add`, the step functions `f`, `g`, `h` and `i` (generic over a rotation
/// to the left and its complement to 32, and over the sum `a + word + constant`), `store(&mut words, at, register)`, and
/// `quarter(blocks, from, q)`: words `4q` to `4q + 3` of the blocks from `from` on, one a lane, as four registers.
macro_rules! staged {
    ($features:literal, $register:ty, lanes: $lanes:literal, sets: $sets:literal) => {
        const LANES: usize = $lanes;
        /// Registers of lanes that go through the steps side by side: each waits for its own results alone.
        const SETS: usize = $sets;

        /// The digests of a batch's blocks, word by word.
        #[target_feature(enable = $features)]
        pub(super) fn digests(blocks: &[Block; BATCH], words: &mut [[u32; BATCH]; 4]) {
            for first in (0..BATCH).step_by(LANES * SETS) {
                for (set, digest) in digest(message::<4>(blocks, first)).into_iter().enumerate() {
                    for (words, register) in words.iter_mut().zip(digest) {
                        store(words, first + set * LANES, register);
                    }
                }
            }
        }

        /// The first words of the digests of a batch's blocks, of which words `4 * quarters` to 13 are zero.
        #[target_feature(enable = $features)]
        pub(super) fn positions(blocks: &[Block; BATCH], quarters: usize, positions: &mut [u32; BATCH]) {
            match quarters {
                0 | 1 => first_words::<1>(blocks, positions),
                2 => first_words::<2>(blocks, positions),
                3 => first_words::<3>(blocks, positions),
                _ => first_words::<4>(blocks, positions),
            }
        }

        #[target_feature(enable = $features)]
        fn first_words<const QUARTERS: usize>(blocks: &[Block; BATCH], positions: &mut [u32; BATCH]) {
            for first in (0..BATCH).step_by(LANES * SETS) {
                for (set, [a, ..]) in digest(message::<QUARTERS>(blocks, first)).into_iter().enumerate() {
                    store(positions, first + set * LANES, a);
                }
            }
        }

        /// The message words of the blocks from `first` on. Those known to be zero are constants: adding them costs
        /// nothing.
        #[target_feature(enable = $features)]
        #[inline]
        fn message<const QUARTERS: usize>(blocks: &[Block; BATCH], first: usize) -> [[$register; 16]; SETS] {
            let mut message = [[splat(0); 16]; SETS];
            for (set, words) in message.iter_mut().enumerate() {
                let from = first + set * LANES;
                for q in 0..QUARTERS {
                    words[4 * q..4 * q + 4].copy_from_slice(&quarter(blocks, from, q));
                }
                // Where all blocks have their lengths.
                words[14] = quarter(blocks, from, 3)[2];
            }
            message
        }

        /// The digests of one block a lane, each as four registers. Of a caller that takes the first alone, the compiler
        /// drops steps 61 to 63.
        #[target_feature(enable = $features)]
        #[inline]
        fn digest(message: [[$register; 16]; SETS]) -> [[$register; 4]; SETS] {
            let [mut a, mut b, mut c, mut d] = INITIAL.map(|word| [splat(word); SETS]);
            macro_rules! step {
                ($n:literal, $f:ident, $a:ident $b:ident $c:ident $d:ident, $s:literal, $word:literal, $k:literal) => {
                    for set in 0..SETS {
                        let sum = add($a[set], add(message[set][$word], splat($k)));
                        $a[set] = $f::<$s, { 32 - $s }>(sum, $b[set], $c[set], $d[set]);
                    }
                };
            }
            steps!(64, step, a b c d);
            let [w, x, y, z] = INITIAL.map(|word| splat(word));
            std::array::from_fn(|set| [add(a[set], w), add(b[set], x), add(c[set], y), add(d[set], z)])
        }
    };
}

pub(super) use staged;
