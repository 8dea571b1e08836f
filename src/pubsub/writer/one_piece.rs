//! Batches that the transport sends in one piece.

use super::WriterCore;

/// At how many bytes a batch is full that is to travel in one piece of `piece` bytes: a batch that
/// is not full takes another sample, and those of up to an eighth of a piece still fit.
pub(in crate::pubsub) fn within(piece: usize) -> usize {
    piece - piece / 8
}

impl WriterCore {
    /// The transport sends this many bytes in one piece: batches are full before that from now on.
    pub(in crate::pubsub) fn bound_batch(&mut self, piece: usize) {
        self.config.batch_bytes = self.config.batch_bytes.min(within(piece));
    }
}
