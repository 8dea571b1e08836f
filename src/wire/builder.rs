//! Data frames under construction.

use bytes::Bytes;

use super::pool::FramePool;
use super::{DATA_HEADER_LEN, DataFrame, DataHeader, MAX_SAMPLES, SAMPLE_OVERHEAD};
use crate::error::{ErrorKind, Result};
use crate::message::{Encoding, EntityId};
use crate::time::Timestamp;

/// A data frame under construction: samples are serialised straight into it.
#[derive(Debug)]
pub struct FrameBuilder {
    header: DataHeader,
    /// The newest source timestamp in the frame.
    newest: Timestamp,
    /// What the transport wants before the frame in the same piece of memory.
    lead: Bytes,
    out: Vec<u8>,
    pool: FramePool,
    /// How many bytes the last length took: the next one is likely to take as many.
    length_width: usize,
}

/// A finished frame.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// The frame.
    pub frame: DataFrame,
    /// The frame behind the lead that the builder was given, in one piece of memory with it.
    pub framed: Bytes,
    /// The newest source timestamp in it.
    pub newest: Timestamp,
}

impl FrameBuilder {
    /// An empty frame; `header.count` and `header.sent` are set as samples come.
    pub fn new(encoding: Encoding, writer: EntityId, epoch: u32, first: u64) -> Self {
        Self::with_lead(encoding, writer, epoch, first, Bytes::new(), FramePool::default())
    }

    /// The same, with memory from `pool`, and with `lead` in front of every frame (see [`Sealed::framed`]).
    pub fn with_lead(
        encoding: Encoding,
        writer: EntityId,
        epoch: u32,
        first: u64,
        lead: Bytes,
        pool: FramePool,
    ) -> Self {
        let header = DataHeader { encoding, writer, epoch, first, sent: Timestamp::from_nanos(0), count: 0 };
        Self { header, newest: Timestamp::MIN, lead, out: Vec::new(), pool, length_width: 1 }
    }

    /// How many samples it holds.
    #[inline]
    pub fn count(&self) -> usize {
        usize::from(self.header.count)
    }

    /// Its present size in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.out.len().saturating_sub(self.lead.len())
    }

    /// Whether it holds no sample.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.header.count == 0
    }

    /// The sequence number that the next sample gets.
    pub fn next_sequence(&self) -> u64 {
        self.header.end()
    }

    /// Appends a sample whose payload `write` appends to the vector that it is given. Returns the payload's size.
    ///
    /// # Errors
    /// `write`'s, [`ErrorKind::PayloadTooLarge`] over `limit` bytes, [`ErrorKind::Full`] after [`MAX_SAMPLES`]; the frame is as it was.
    #[inline]
    pub fn push(
        &mut self,
        now: Timestamp,
        source: Timestamp,
        limit: usize,
        write: impl FnOnce(&mut Vec<u8>) -> Result<()>,
    ) -> Result<usize> {
        if self.count() == MAX_SAMPLES {
            return Err(ErrorKind::Full { what: "frame", limit: MAX_SAMPLES }.into());
        }
        if self.is_empty() {
            self.begin(now);
        }
        let start = self.out.len();
        let payload_start = self.put_sample_head(source);
        let written = write(&mut self.out).and_then(|()| {
            let size = self.out.len() - payload_start;
            match u32::try_from(size) {
                Ok(length) if size <= limit => Ok((size, length)),
                _ => Err(ErrorKind::PayloadTooLarge { size, limit }.into()),
            }
        });
        match written {
            Ok((size, length)) => {
                self.fill_length(start, length);
                self.header.count += 1;
                self.newest = self.newest.max(source);
                Ok(size)
            }
            Err(error) => {
                self.out.truncate(start);
                Err(error)
            }
        }
    }

    /// Takes the finished frame and goes on with an empty one, whose first sample follows the last of this.
    /// Nothing if there is no sample.
    pub fn take(&mut self) -> Option<DataFrame> {
        self.seal().map(|sealed| sealed.frame)
    }

    /// As [`take`](Self::take), with the lead.
    pub fn seal(&mut self) -> Option<Sealed> {
        if self.is_empty() {
            return None;
        }
        let (header, lead) = (self.header, self.lead.len());
        header.write(&mut self.out[lead..]);
        self.header.first = header.end();
        self.header.count = 0;
        let framed = self.pool.freeze(&mut self.out);
        let frame = DataFrame { header, bytes: framed.slice(lead..) };
        Some(Sealed { frame, framed, newest: self.newest })
    }

    fn begin(&mut self, now: Timestamp) {
        self.header.sent = now;
        self.newest = Timestamp::MIN;
        if self.out.capacity() == 0 {
            self.out = self.pool.buffer();
        }
        self.out.clear();
        self.out.extend_from_slice(&self.lead);
        self.out.resize(self.lead.len() + DATA_HEADER_LEN, 0);
    }

    /// Everything before the payload, with room for its length; returns where the payload begins.
    #[inline]
    fn put_sample_head(&mut self, source: Timestamp) -> usize {
        let mut head = [0; SAMPLE_OVERHEAD];
        let mut at = self.length_width + 1;
        let mut delta = zigzag(source.as_nanos().wrapping_sub(self.header.sent.as_nanos()));
        while delta >= 0x80 {
            head[at] = (delta & 0x7F) as u8 | 0x80;
            delta >>= 7;
            at += 1;
        }
        head[at] = delta as u8;
        self.out.extend_from_slice(&head[..=at]);
        self.out.len()
    }

    /// Writes a length into the space that was left for it, shifting the payload only if the guess was too small.
    #[inline]
    fn fill_length(&mut self, start: usize, length: u32) {
        let needed = varint_len(length);
        if needed > self.length_width {
            let extra = needed - self.length_width;
            let end = self.out.len();
            self.out.resize(end + extra, 0);
            self.out.copy_within(start + self.length_width..end, start + needed);
        }
        let width = needed.max(self.length_width);
        let mut rest = length;
        for (index, byte) in self.out[start..start + width].iter_mut().enumerate() {
            let more = if index + 1 < width { 0x80 } else { 0 };
            *byte = (rest & 0x7F) as u8 | more;
            rest >>= 7;
        }
        self.length_width = needed;
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn varint_len(value: u32) -> usize {
    (32 - (value | 1).leading_zeros()).div_ceil(7) as usize
}

const _: () = assert!(u32::BITS.div_ceil(7) == 5 && u64::BITS.div_ceil(7) == 10, "as SAMPLE_OVERHEAD says");
