//! The memory that packets are read into, used again when its packets are gone.

use bytes::{Bytes, BytesMut};

/// How much is read at a time, in bytes: little on a quiet connection, since a message that is kept keeps the memory
/// around it, much on a busy one, but so little that a few buffers fit into a processor's cache.
const CHUNK: std::ops::RangeInclusive<usize> = 16 * 1024..=128 * 1024;

/// A buffer that one large packet needed is not remembered above this size, in bytes.
const KEEP: usize = 256 * 1024;

/// At most so many buffers whose packets are still in use are remembered.
const SPARE: usize = 16;

/// A buffer that is filled in so few reads makes the next one larger.
const BUSY: u32 = 2;

/// A buffer that is filled in so many reads makes the next one smaller.
const QUIET: u32 = 32;

/// Hands out buffers. Fresh memory for each would cost more than reading into it: the allocator gives large blocks back
/// to the system, which clears their pages each time.
#[derive(Debug)]
pub(super) struct Buffers {
    chunk: usize,
    /// How often the present buffer was read into.
    reads: u32,
    /// The size of the present buffer's memory.
    size: usize,
    /// What is left of earlier buffers, and the size of their memory: it can be had again once nobody holds a packet of
    /// theirs.
    spare: Vec<(usize, BytesMut)>,
}

impl Buffers {
    pub(super) fn new() -> (Self, BytesMut) {
        let chunk = *CHUNK.start();
        (Self { chunk, reads: 0, size: chunk, spare: Vec::new() }, BytesMut::with_capacity(chunk))
    }

    /// Makes room for a read: at least for the `missing` bytes of the packet that is under way.
    pub(super) fn make_room(&mut self, buffer: &mut BytesMut, missing: usize) {
        self.reads += 1;
        let least = missing.max(self.chunk / 4);
        if buffer.capacity() - buffer.len() >= least {
            return;
        }
        self.adapt();
        let want = self.chunk.max(buffer.len() + least);
        if can_serve(want, self.size, buffer) {
            return;
        }
        let mut next = self.again(want).unwrap_or_else(|| (want, BytesMut::with_capacity(want)));
        next.1.extend_from_slice(buffer);
        let mut used = (std::mem::replace(&mut self.size, next.0), std::mem::replace(buffer, next.1));
        if used.0 <= KEEP {
            used.1.clear();
            if self.spare.len() == SPARE {
                self.spare.remove(0);
            }
            self.spare.push(used);
        }
    }

    /// What was read and may be kept: a payload that is less than half of the present buffer is copied, so that it does not
    /// keep the buffer, and with it all that was read besides.
    pub(super) fn detach(&self, payload: Bytes) -> Bytes {
        if payload.len() < self.size / 2 { Bytes::copy_from_slice(&payload) } else { payload }
    }

    fn adapt(&mut self) {
        if self.reads <= BUSY {
            self.chunk = (self.chunk * 2).min(*CHUNK.end());
        } else if self.reads >= QUIET {
            self.chunk = (self.chunk / 2).max(*CHUNK.start());
            self.spare.clear();
        }
        self.reads = 0;
    }

    fn again(&mut self, want: usize) -> Option<(usize, BytesMut)> {
        // The last one in: what was used last is in the processor's cache.
        let at = self.spare.iter_mut().rposition(|(size, buffer)| can_serve(want, *size, buffer))?;
        Some(self.spare.remove(at))
    }
}

/// Whether a buffer's memory of this size is of use for `want` bytes, those in it included, and is ready for them.
fn can_serve(want: usize, size: usize, buffer: &mut BytesMut) -> bool {
    (want..=2 * want).contains(&size) && buffer.try_reclaim(want - buffer.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `size` bytes in one go, or in as many as there is room for.
    fn read(buffers: &mut Buffers, buffer: &mut BytesMut, mut size: usize) {
        while size > 0 {
            buffers.make_room(buffer, 1);
            let here = size.min(buffer.capacity() - buffer.len());
            buffer.extend_from_slice(&vec![1; here]);
            size -= here;
        }
    }

    #[test]
    fn memory_is_used_again_once_its_packets_are_gone() {
        let (mut buffers, mut buffer) = Buffers::new();
        let mut seen = std::collections::HashSet::new();
        let mut held = std::collections::VecDeque::new();
        for round in 0..1000 {
            read(&mut buffers, &mut buffer, 64 * 1024);
            let packet = buffer.split().freeze();
            if round >= 100 {
                seen.insert(packet.as_ptr() as usize / (16 * 1024));
            }
            held.push_back(packet);
            if held.len() > 4 {
                held.pop_front();
            }
        }
        // Fresh memory each time would be a thousand places, unless the allocator is kind.
        assert!(seen.len() <= 4 * SPARE * (CHUNK.end() / CHUNK.start()), "{}", seen.len());
        assert!(buffers.spare.len() <= SPARE);
        assert!(buffers.chunk > *CHUNK.start());
    }

    #[test]
    fn what_is_held_is_never_written_over() {
        let (mut buffers, mut buffer) = Buffers::new();
        let mut held = Vec::new();
        for round in 0..300u32 {
            buffers.make_room(&mut buffer, 10_000);
            buffer.extend_from_slice(&[round as u8; 10_000]);
            held.push((round as u8, buffer.split().freeze()));
            if round % 7 == 0 {
                held.drain(..held.len() / 2);
            }
        }
        assert!(held.iter().all(|(mark, packet)| packet.iter().all(|byte| byte == mark)));
    }

    #[test]
    fn quiet_connections_use_little() {
        let (mut buffers, mut buffer) = Buffers::new();
        let held: Vec<_> = (0..64)
            .map(|_| {
                read(&mut buffers, &mut buffer, *CHUNK.end());
                buffer.split().freeze()
            })
            .collect();
        assert_eq!((buffers.chunk, buffers.spare.len()), (*CHUNK.end(), SPARE));
        drop(held);
        for _ in 0..100_000 {
            read(&mut buffers, &mut buffer, 100);
            drop(buffer.split());
        }
        assert_eq!(buffers.chunk, *CHUNK.start());
        assert!(buffer.capacity() <= 2 * CHUNK.start() && buffers.spare.is_empty());
    }

    #[test]
    fn a_large_packet_gets_its_room_at_once_and_is_not_kept() {
        let (mut buffers, mut buffer) = Buffers::new();
        buffer.extend_from_slice(&[1; 100]);
        buffers.make_room(&mut buffer, 4 << 20);
        assert!(buffer.capacity() >= 100 + (4 << 20));
        buffer.extend_from_slice(&vec![2; 4 << 20]);
        let packet = buffer.split().freeze();
        buffers.make_room(&mut buffer, 1);
        assert!(buffer.capacity() < 1 << 20);
        assert!(buffers.spare.iter().all(|(size, _)| *size <= KEEP));
        assert_eq!(packet[99..101], [1, 2]);
    }
}
