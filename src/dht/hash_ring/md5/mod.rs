//! MD5 for placement: the first word of a key's digest, one key or a batch at a time, by the widest instructions that
//! the machine has.

mod block;
mod path;
mod rounds;
mod scalar;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_single;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod sse2;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod staged;

use md5::{Digest, Md5};

use super::NodeIndex;
use block::{Block, Prefix};
pub(super) use path::Path;

/// How many keys or blocks the paths take at once: two registers of the widest.
pub(super) const BATCH: usize = 32;

/// Where a key lies: the first word of its digest.
#[inline]
pub(super) fn position(key: &[u8]) -> u32 {
    Path::best().position(key)
}

/// Where many keys lie, batch by batch, in their order: `take` is called with the positions of up to [`BATCH`] keys.
pub(super) fn positions(path: Path, keys: &[&[u8]], mut take: impl FnMut(&[u32])) {
    let mut positions = [0; BATCH];
    let (batches, rest) = keys.as_chunks();
    for batch in batches {
        path.positions(batch, &mut positions);
        take(&positions);
    }
    // A batch takes as long as a few single keys, however few it has.
    if rest.len() > 4 {
        let mut batch: [&[u8]; BATCH] = [&[]; BATCH];
        batch[..rest.len()].copy_from_slice(rest);
        path.positions(&batch, &mut positions);
    } else {
        for (position, key) in positions.iter_mut().zip(rest) {
            *position = path.position(key);
        }
    }
    take(&positions[..rest.len()]);
}

/// Digests `{name}-{j}` for many names and numbers, some at a time.
pub(super) struct Replicas<F> {
    path: Path,
    blocks: [Block; BATCH],
    nodes: [NodeIndex; BATCH],
    held: usize,
    take: F,
}

impl<F: FnMut(NodeIndex, [u32; 4])> Replicas<F> {
    /// `take` is called with each digest and the node it is of, in the order of asking.
    pub(super) fn new(path: Path, take: F) -> Self {
        Self { path, blocks: [Block::EMPTY; BATCH], nodes: [NodeIndex(0); BATCH], held: 0, take }
    }

    /// Asks for the digests of a node's name with numbers from 0 to less than `count`.
    pub(super) fn push(&mut self, node: NodeIndex, name: &str, count: u64) {
        let prefix = Prefix::new(name.as_bytes());
        for j in 0..count {
            if !prefix.number(j, &mut self.blocks[self.held]) {
                self.flush();
                (self.take)(node, words(Md5::digest(format!("{name}-{j}")).into()));
                continue;
            }
            self.nodes[self.held] = node;
            self.held += 1;
            if self.held == BATCH {
                self.flush();
            }
        }
    }

    /// Hands out what is still held.
    pub(super) fn flush(&mut self) {
        if self.held == 0 {
            return;
        }
        let mut digests = [[0; BATCH]; 4];
        self.path.digests(&self.blocks, &mut digests);
        for (n, node) in self.nodes.iter().take(self.held).enumerate() {
            (self.take)(*node, digests.map(|words| words[n]));
        }
        self.held = 0;
    }
}

/// A key that does not fit into one block.
#[cold]
fn long(key: &[u8]) -> u32 {
    words(Md5::digest(key).into())[0]
}

fn words(digest: [u8; 16]) -> [u32; 4] {
    let (words, _) = digest.as_chunks();
    std::array::from_fn(|word| u32::from_le_bytes(words[word]))
}
