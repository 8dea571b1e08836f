//! Frame buffers that come back when nobody reads them any more.
//!
//! A frame of 64 KiB is above what glibc's allocator keeps at hand: asking for each anew costs page faults, which at large
//! samples is half the rate. Here a buffer goes out inside a [`Bytes`] and returns when the last reference is dropped,
//! on whatever thread that happens.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;

/// The most buffers that wait for use.
const SPARE: usize = 128;
/// A buffer that one large sample made grow is not kept above this size in bytes.
const LARGEST: usize = 256 << 10;
/// A frame that fills less of its buffer than one part in this many is copied out of it, so that what is kept of frames
/// takes at most so many times the memory that is accounted for.
const SLACK: usize = 2;

/// A bounded stock of frame buffers: at most 128 of up to 256 KiB. Clones share it.
#[derive(Clone, Default)]
pub struct FramePool(Arc<Stock>);

#[derive(Default)]
struct Stock(Mutex<Vec<Vec<u8>>>);

impl FramePool {
    /// A buffer to build a frame in: one that came back, or an empty one.
    pub(super) fn buffer(&self) -> Vec<u8> {
        self.0.lock().pop().unwrap_or_default()
    }

    /// Turns what was built into shared bytes. `buffer` is left empty: with its memory, if the bytes were few enough to
    /// be copied, without it otherwise.
    pub(super) fn freeze(&self, buffer: &mut Vec<u8>) -> Bytes {
        if buffer.len() * SLACK < buffer.capacity() {
            let copy = Bytes::copy_from_slice(buffer);
            buffer.clear();
            return copy;
        }
        Bytes::from_owner(Lent { buffer: std::mem::take(buffer), home: Arc::downgrade(&self.0) })
    }
}

impl fmt::Debug for FramePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FramePool").field("spare", &self.0.lock().len()).finish()
    }
}

impl Stock {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A buffer that is out, inside a [`Bytes`].
struct Lent {
    buffer: Vec<u8>,
    home: Weak<Stock>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(home) = self.home.upgrade().filter(|_| self.buffer.capacity() <= LARGEST) else { return };
        let mut spare = home.lock();
        if spare.len() < SPARE {
            self.buffer.clear();
            spare.push(std::mem::take(&mut self.buffer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_when_its_last_reader_is_gone() {
        let pool = FramePool::default();
        let mut buffer = vec![7; 5000];
        let place = buffer.as_ptr();
        let bytes = pool.freeze(&mut buffer);
        assert_eq!(buffer.capacity(), 0);
        let part = bytes.slice(10..20);
        drop(bytes);
        assert_eq!(pool.buffer().capacity(), 0, "a part of it is still read");
        assert_eq!(&part[..], [7; 10]);
        drop(part);
        let back = pool.buffer();
        assert!(back.is_empty());
        assert_eq!(back.as_ptr(), place);
    }

    #[test]
    fn few_bytes_do_not_hold_a_large_buffer() {
        let pool = FramePool::default();
        let mut buffer = Vec::with_capacity(64 << 10);
        buffer.extend_from_slice(b"few");
        let bytes = pool.freeze(&mut buffer);
        assert_eq!(&bytes[..], b"few");
        assert!(buffer.is_empty() && buffer.capacity() >= 64 << 10);
    }

    #[test]
    fn the_stock_is_bounded_and_may_go_first() {
        let pool = FramePool::default();
        let lent: Vec<_> = (0..2 * SPARE).map(|_| pool.freeze(&mut vec![1; 100])).collect();
        drop(lent);
        assert_eq!(pool.0.lock().len(), SPARE);
        drop(pool.freeze(&mut vec![1; LARGEST + 1]));
        assert!(pool.0.lock().iter().all(|buffer| buffer.capacity() <= LARGEST));
        let late = pool.freeze(&mut vec![2; 100]);
        drop(pool);
        assert_eq!(&late[..], [2; 100]);
    }
}
