//! Keys as MD5 blocks: the key, the byte 0x80, zeros, and the length in bits in word 14.

/// The longest key that fits into one block: nine bytes of 64 are padding.
pub(super) const LONGEST: usize = 55;

/// One padded block. Aligned so that a row of it never straddles two cache lines.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Block([u8; 64]);

impl Block {
    /// The block of the empty key.
    pub(super) const EMPTY: Self = {
        let mut bytes = [0; 64];
        bytes[0] = 0x80;
        Self(bytes)
    };

    /// Makes this the block of a key, or that of the empty key if the key is longer than [`LONGEST`].
    #[inline]
    pub(super) fn set(&mut self, key: &[u8]) {
        self.0 = [0; 64];
        let length = key.len();
        match length {
            0 | 56.. => return self.pad(0),
            1..4 => {
                self.0[0] = key[0];
                self.0[length / 2] = key[length / 2];
                self.0[length - 1] = key[length - 1];
            }
            4..8 => self.ends::<4>(key),
            8..16 => self.ends::<8>(key),
            16..32 => self.ends::<16>(key),
            32.. => {
                self.0[..32].copy_from_slice(&key[..32]);
                self.0[length - 32..length].copy_from_slice(&key[length - 32..]);
            }
        }
        self.pad(length);
    }

    /// The 16 little-endian words.
    #[inline]
    pub(super) fn words(&self) -> [u32; 16] {
        let (words, _) = self.0.as_chunks();
        std::array::from_fn(|word| u32::from_le_bytes(words[word]))
    }

    /// Words `4q` to `4q + 3`, for loads wider than a word.
    #[inline]
    pub(super) fn quarter(&self, q: usize) -> &[u8; 16] {
        &self.0.as_chunks().0[q]
    }

    /// Copies a key of N to 2N bytes as its first and its last N, which may overlap: two moves, and no loop.
    #[inline]
    fn ends<const N: usize>(&mut self, key: &[u8]) {
        self.0[..N].copy_from_slice(&key[..N]);
        self.0[key.len() - N..key.len()].copy_from_slice(&key[key.len() - N..]);
    }

    #[inline]
    fn pad(&mut self, length: usize) {
        self.0[length] = 0x80;
        // 55 bytes are 440 bits: two bytes hold any length.
        self.0[56..58].copy_from_slice(&((length * 8) as u16).to_le_bytes());
    }
}

/// A name and a dash, to which numbers are to be put.
pub(super) struct Prefix {
    bytes: [u8; 64],
    /// More than [`LONGEST`] if no number fits.
    length: usize,
}

impl Prefix {
    pub(super) fn new(name: &[u8]) -> Self {
        let mut bytes = [0; 64];
        if name.len() < LONGEST {
            bytes[..name.len()].copy_from_slice(name);
            bytes[name.len()] = b'-';
        }
        Self { bytes, length: name.len() + 1 }
    }

    /// Makes a block that of `{name}-{j}`; `false`, and the block stays as it is, if that is longer than [`LONGEST`].
    #[inline]
    pub(super) fn number(&self, mut j: u64, block: &mut Block) -> bool {
        let digits = j.checked_ilog10().map_or(1, |log| log as usize + 1);
        let length = self.length + digits;
        if length > LONGEST {
            return false;
        }
        block.0 = self.bytes;
        for digit in block.0[self.length..length].iter_mut().rev() {
            *digit = b'0' + (j % 10) as u8;
            j /= 10;
        }
        block.pad(length);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(key: &[u8]) -> [u8; 64] {
        let mut bytes = key.to_vec();
        bytes.push(0x80);
        bytes.resize(56, 0);
        bytes.extend((key.len() as u64 * 8).to_le_bytes());
        bytes.try_into().unwrap()
    }

    #[test]
    fn keys_of_every_length_are_padded_as_rfc_1321_says() {
        let key: Vec<u8> = (1..=LONGEST as u8).collect();
        let mut block = Block([0xff; 64]);
        for length in 0..=LONGEST {
            block.set(&key[..length]);
            assert_eq!(block.0, expected(&key[..length]), "{length}");
        }
        block.set(&[7; LONGEST + 1]);
        assert_eq!(block.0, Block::EMPTY.0);
    }

    #[test]
    fn replicas_are_the_name_a_dash_and_a_number() {
        let mut block = Block::EMPTY;
        for (name, j) in [("", 0), ("a", 9), ("10.0.0.1:5556", 39), ("node", 10), ("n", u64::MAX)] {
            assert!(Prefix::new(name.as_bytes()).number(j, &mut block));
            assert_eq!(block.0, expected(format!("{name}-{j}").as_bytes()));
        }
        assert!(Prefix::new(&[b'n'; 53]).number(9, &mut block));
        assert!(!Prefix::new(&[b'n'; 53]).number(10, &mut block));
        assert!(!Prefix::new(&[b'n'; 54]).number(0, &mut block));
        assert!(!Prefix::new(&[b'n'; 300]).number(0, &mut block));
    }
}
