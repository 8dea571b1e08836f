//! Data frames under construction.

use bytes::Bytes;

use super::pool::FramePool;
use super::{DATA_HEADER_LEN, DataFrame, DataHeader, MAX_SAMPLES, SAMPLE_OVERHEAD};
use crate::error::{ErrorKind, Result};
use crate::message::{Encoding, EntityId, zigzag};
use crate::time::Timestamp;

/// A data frame under construction: samples are serialised straight into it.
#[derive(Debug)]
pub struct FrameBuilder {
    header: DataHeader,
    /// The newest source timestamp in the frame.
    newest: Timestamp,
    /// What the transport wants before the frame in the same piece of memory.
    lead: Bytes,
    /// The frame, but for what is staged.
    out: Vec<u8>,
    /// Its end. Small samples are written here, where the processor has the memory at hand, and moved in one go: the frame's
    /// buffer was last used by whoever sent it, on another core, and waiting for it line by line takes longer than the copy.
    stage: Vec<u8>,
    /// How long the two are together, up to the last whole sample: what lies behind was left by a value whose serialisation
    /// panicked.
    end: usize,
    pool: FramePool,
    /// How many bytes the last length took: the next one is likely to take as many.
    length_width: usize,
    /// What was put before the last payload.
    head: Head,
    /// Whether the last sample was large: the next is likely to be, and has no use for the stage.
    large: bool,
}

/// What is staged is moved when it is as long as this, in bytes.
const STAGE: usize = 4096;
/// Samples from this size on, in bytes, are not staged.
const LARGE: usize = 1024;

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
        let head = Head::new(1, header.sent, header.sent);
        Self {
            header,
            newest: Timestamp::MIN,
            lead,
            out: Vec::new(),
            stage: Vec::new(),
            end: 0,
            pool,
            length_width: 1,
            head,
            large: false,
        }
    }

    /// How many samples it holds.
    #[inline]
    pub fn count(&self) -> usize {
        usize::from(self.header.count)
    }

    /// Its present size in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.end.saturating_sub(self.lead.len())
    }

    /// Whether it holds no sample.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.header.count == 0
    }

    /// Whether the last sample was large, in which case the next is likely to be.
    #[inline]
    pub(crate) fn is_large(&self) -> bool {
        self.large
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
        self.cut();
        if self.large || self.stage.len() >= STAGE {
            self.unstage();
        }
        let sent = self.header.sent;
        let into = if self.large { &mut self.out } else { &mut self.stage };
        let start = into.len();
        // Neighbours in a burst share a timestamp.
        if source != self.head.source || self.head.space != self.length_width {
            self.head = Head::new(self.length_width, sent, source);
        }
        let payload_start = self.head.put(into);
        let written = write(into).and_then(|()| {
            let size = into.len() - payload_start;
            match u32::try_from(size) {
                Ok(length) if size <= limit => Ok((size, length)),
                _ => Err(ErrorKind::PayloadTooLarge { size, limit }.into()),
            }
        });
        match written {
            Ok((size, length)) => {
                self.length_width = fill_length(into, start, self.length_width, length);
                self.end = self.out.len() + self.stage.len();
                self.header.count += 1;
                self.newest = self.newest.max(source);
                self.large = size >= LARGE;
                Ok(size)
            }
            Err(error) => {
                into.truncate(start);
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
        self.cut();
        self.end = 0;
        // A frame that never left the stage is copied out of it.
        let whole = if self.out.is_empty() { &mut self.stage } else { &mut self.out };
        header.write(&mut whole[lead..]);
        self.header.first = header.end();
        self.header.count = 0;
        let framed = if self.out.is_empty() {
            Bytes::copy_from_slice(&self.stage)
        } else {
            self.out.extend_from_slice(&self.stage);
            self.pool.freeze(&mut self.out)
        };
        self.stage.clear();
        if self.stage.capacity() > 2 * STAGE {
            self.stage = Vec::new();
        }
        let frame = DataFrame { header, bytes: framed.slice(lead..) };
        Some(Sealed { frame, framed, newest: self.newest })
    }

    fn begin(&mut self, now: Timestamp) {
        self.header.sent = now;
        // The times in heads count from here.
        self.head = Head::new(self.length_width, now, now);
        self.newest = Timestamp::MIN;
        self.out.clear();
        self.stage.clear();
        self.stage.extend_from_slice(&self.lead);
        self.stage.resize(self.lead.len() + DATA_HEADER_LEN, 0);
        self.end = self.stage.len();
    }

    /// Lets go of what is no whole sample.
    #[inline]
    fn cut(&mut self) {
        let excess = (self.out.len() + self.stage.len()).saturating_sub(self.end);
        if excess > 0 {
            // It was written at the very end.
            let into = if self.stage.is_empty() { &mut self.out } else { &mut self.stage };
            into.truncate(into.len().saturating_sub(excess));
        }
    }

    fn unstage(&mut self) {
        if self.out.capacity() == 0 {
            self.out = self.pool.buffer();
        }
        self.out.extend_from_slice(&self.stage);
        self.stage.clear();
    }
}

/// What stands before a payload, with room for its length.
#[derive(Debug)]
struct Head {
    bytes: [u8; SAMPLE_OVERHEAD],
    len: usize,
    /// How many bytes the length has.
    space: usize,
    source: Timestamp,
}

impl Head {
    fn new(space: usize, sent: Timestamp, source: Timestamp) -> Self {
        let mut bytes = [0; SAMPLE_OVERHEAD];
        let mut at = space + 1;
        let mut delta = zigzag(source.as_nanos().wrapping_sub(sent.as_nanos()));
        while delta >= 0x80 {
            bytes[at] = (delta & 0x7F) as u8 | 0x80;
            delta >>= 7;
            at += 1;
        }
        bytes[at] = delta as u8;
        Self { bytes, len: at + 1, space, source }
    }

    /// Appends it; returns where the payload begins.
    #[inline]
    fn put(&self, into: &mut Vec<u8>) -> usize {
        let end = into.len() + self.len;
        // All of it and then less is one store; a copy of unknown length would be a call.
        into.extend_from_slice(&self.bytes);
        into.truncate(end);
        end
    }
}

/// Writes a length into the space that was left for it, shifting the payload only if the guess was too small. Returns how
/// many bytes it needs.
#[inline]
fn fill_length(into: &mut Vec<u8>, start: usize, space: usize, length: u32) -> usize {
    if length < 0x80 && space == 1 {
        into[start] = length as u8;
        return 1;
    }
    let needed = varint_len(length);
    if needed > space {
        let extra = needed - space;
        let end = into.len();
        into.resize(end + extra, 0);
        into.copy_within(start + space..end, start + needed);
    }
    let width = needed.max(space);
    let mut rest = length;
    for (index, byte) in into[start..start + width].iter_mut().enumerate() {
        let more = if index + 1 < width { 0x80 } else { 0 };
        *byte = (rest & 0x7F) as u8 | more;
        rest >>= 7;
    }
    needed
}

fn varint_len(value: u32) -> usize {
    (32 - (value | 1).leading_zeros()).div_ceil(7) as usize
}

const _: () = assert!(u32::BITS.div_ceil(7) == 5 && u64::BITS.div_ceil(7) == 10, "as SAMPLE_OVERHEAD says");
