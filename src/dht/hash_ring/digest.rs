//! MD5 as little-endian words: where nodes and keys lie on the circle.

use md5::{Digest, Md5};

/// Where a key lies: the first word of its digest.
pub(super) fn position(key: &[u8]) -> u32 {
    words(Md5::digest(key).into())[0]
}

/// The words of a node's replica `j`, the digest of `{node}-{j}`: where its points come from.
pub(super) fn replica(node: &str, j: u64) -> [u32; 4] {
    words(Md5::digest(format!("{node}-{j}")).into())
}

fn words(digest: [u8; 16]) -> [u32; 4] {
    let mut words = [0; 4];
    let (bytes, _) = digest.as_chunks();
    for (word, bytes) in words.iter_mut().zip(bytes) {
        *word = u32::from_le_bytes(*bytes);
    }
    words
}
