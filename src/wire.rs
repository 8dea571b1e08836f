//! The frame format: with `bundle` below it, the only file that knows byte order.
//!
//! Every frame begins with `B5 52` (magic), a version byte and a kind byte. All integers are little-endian.
//!
//! ```text
//! data    B5 52 01 00 | encoding u8 | flags u8 | writer session u64 | writer entity u32 | epoch u32
//!         | first sequence u64 | sent i64 (ns since the Unix epoch) | count u16 | samples
//! sample  payload length varint | flags u8 | source time - sent, zigzag varint (ns) | payload
//! control B5 52 01 01 | room u8 | length u32 | postcard
//! ```
//!
//! A varint is LEB128, little end first, at most five bytes for lengths and ten for times; padding is allowed, so that a
//! length can be filled in after its payload. Of the flag bits, an unknown one in the high half refuses the frame, one in
//! the low half is ignored. Frames are walked once, before anything is decoded: what [`DataFrame::parse`] accepts can
//! be iterated without failure, and parsing allocates nothing.

mod builder;
mod bundle;
mod cursor;
#[cfg(feature = "mqtt")]
mod fragment;
mod pool;

use bytes::{BufMut, Bytes};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Result};
use crate::message::{Encoding, EntityId, SessionId};
use crate::time::Timestamp;

pub use builder::{FrameBuilder, Sealed};
pub use bundle::{Bundle, BundleBuilder, MAX_BUNDLE_LEN, MAX_BUNDLED};
#[cfg(feature = "mqtt")]
pub(crate) use fragment::{FRAGMENT_HEADER_LEN, Fragment, MAX_FRAGMENTS};
pub use pool::FramePool;

use cursor::{Cursor, Reason, check_flags};

const MAGIC: [u8; 2] = [0xB5, 0x52];
const VERSION: u8 = 1;
const KIND_DATA: u8 = 0;
const KIND_CONTROL: u8 = 1;
const CRITICAL_FLAGS: u8 = 0xF0;

const PREFIX_LEN: usize = 4;
const CONTROL_HEADER_LEN: usize = PREFIX_LEN + 5;
/// Length of a data frame's header in bytes.
pub const DATA_HEADER_LEN: usize = PREFIX_LEN + 36;
/// The most bytes that a sample takes besides its payload.
pub const SAMPLE_OVERHEAD: usize = 5 + 1 + 10;
/// The most samples in one frame.
pub const MAX_SAMPLES: usize = u16::MAX as usize;

/// Which part of the library a control message is for. Only ever grows at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Room {
    /// Publishers and subscribers.
    PubSub,
    /// A ring node: requests of clients, and the nodes among each other.
    DhtNode,
    /// A ring's client: answers and events.
    DhtClient,
}

impl Room {
    const ALL: [Self; Self::COUNT] = [Self::PubSub, Self::DhtNode, Self::DhtClient];
    /// How many there are.
    pub(crate) const COUNT: usize = 3;

    /// Its place among them.
    pub(crate) fn index(self) -> usize {
        self as usize
    }

    fn code(self) -> u8 {
        self as u8
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|room| room.code() == code)
    }
}

/// A frame of either kind.
#[derive(Debug, Clone)]
pub enum Frame {
    /// A batch of samples.
    Data(DataFrame),
    /// A control message, still encoded.
    Control {
        /// Whom it is for.
        room: Room,
        /// Its postcard, for [`decode_body`].
        body: Bytes,
    },
}

impl Frame {
    /// Whether the bytes claim to be a frame at all; plain messages of other programs do not.
    pub fn is_frame(bytes: &[u8]) -> bool {
        bytes.starts_with(&MAGIC)
    }

    /// Of a frame in another version of this format: that version, and the one that is spoken here.
    pub fn other_version(bytes: &[u8]) -> Option<(u8, u8)> {
        let theirs = *bytes.get(MAGIC.len())?;
        (Self::is_frame(bytes) && theirs != VERSION).then_some((theirs, VERSION))
    }

    /// Checks a frame's structure. Never panics, allocates nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] with the first thing that was wrong.
    pub fn parse(bytes: Bytes) -> Result<Self> {
        let prefix = bytes.get(..PREFIX_LEN).ok_or_else(|| malformed("shorter than four bytes"))?;
        if !Self::is_frame(prefix) {
            return Err(malformed("no magic number: not a frame of this library"));
        }
        if prefix[2] != VERSION {
            return Err(malformed("unknown version"));
        }
        match prefix[3] {
            KIND_DATA => DataFrame::parse_after_prefix(bytes).map(Self::Data),
            KIND_CONTROL => parse_control(bytes),
            _ => Err("unknown kind"),
        }
        .map_err(malformed)
    }
}

/// A control message as a frame.
///
/// # Errors
/// [`ErrorKind::Encode`] if the message cannot be encoded; the library's own messages can.
pub fn encode_control<M: Serialize>(room: Room, message: &M) -> Result<Bytes> {
    encode_control_with(room, |out| Encoding::Postcard.encode(message, out))
}

/// As [`encode_control`], of a message that `write` appends.
pub(crate) fn encode_control_with(room: Room, write: impl Fn(&mut Vec<u8>) -> Result<()>) -> Result<Bytes> {
    let mut out = Vec::with_capacity(128);
    append_control(room, write, &mut out)?;
    Ok(out.into())
}

fn append_control(room: Room, write: impl Fn(&mut Vec<u8>) -> Result<()>, out: &mut Vec<u8>) -> Result<()> {
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[VERSION, KIND_CONTROL, room.code(), 0, 0, 0, 0]);
    let body = out.len();
    write(out)?;
    let length = u32::try_from(out.len() - body).map_err(|_| malformed("over 4 GiB"))?;
    out[start + CONTROL_HEADER_LEN - 4..body].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

/// Decodes the body of a control frame. Bytes after the message are ignored: they are a later version's new fields.
///
/// # Errors
/// [`ErrorKind::Decode`]. What is allocated on the way is bounded by a small multiple of the body's length.
pub fn decode_body<M: DeserializeOwned>(body: &[u8]) -> Result<M> {
    postcard::from_bytes(body).map_err(|error| {
        let (type_name, encoding) = (std::any::type_name::<M>(), Encoding::Postcard.name());
        Error::with_source(ErrorKind::Decode { type_name, encoding, size: body.len() }, error)
    })
}

/// A control frame's room and body, where they lie. `None` for anything else: [`Frame::parse`] says what it is, or what is
/// wrong with it.
pub(crate) fn control(frame: &[u8]) -> Option<(Room, &[u8])> {
    let is_control = frame.starts_with(&[MAGIC[0], MAGIC[1], VERSION, KIND_CONTROL]);
    if is_control { control_after_prefix(frame).ok() } else { None }
}

fn parse_control(bytes: Bytes) -> Result<Frame, Reason> {
    let (room, _) = control_after_prefix(&bytes)?;
    Ok(Frame::Control { room, body: bytes.slice(CONTROL_HEADER_LEN..) })
}

fn control_after_prefix(frame: &[u8]) -> Result<(Room, &[u8]), Reason> {
    let mut cursor = Cursor { bytes: frame, at: PREFIX_LEN };
    let room = Room::from_code(cursor.u8()?).ok_or("unknown room")?;
    let length = cursor.u32()? as usize;
    let body = &frame[cursor.at..];
    if length != body.len() {
        return Err("stated length differs from the frame's");
    }
    Ok((room, body))
}

/// What a data frame's header states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataHeader {
    /// How the payloads are encoded.
    pub encoding: Encoding,
    /// Who wrote the samples.
    pub writer: EntityId,
    /// The writer's incarnation.
    pub epoch: u32,
    /// The sequence number of the first sample.
    pub first: u64,
    /// When the frame was opened for sending.
    pub sent: Timestamp,
    /// How many samples it holds, at least one.
    pub count: u16,
}

impl DataHeader {
    /// The sequence number after the last sample's.
    pub fn end(&self) -> u64 {
        self.first.saturating_add(u64::from(self.count))
    }

    /// Writes it over the first bytes of a frame.
    fn write(&self, frame: &mut [u8]) {
        let mut head = &mut frame[..DATA_HEADER_LEN];
        head.put_slice(&MAGIC);
        head.put_slice(&[VERSION, KIND_DATA, self.encoding.code(), 0]);
        head.put_u64_le(self.writer.session.0);
        head.put_u32_le(self.writer.entity);
        head.put_u32_le(self.epoch);
        head.put_u64_le(self.first);
        head.put_i64_le(self.sent.as_nanos());
        head.put_u16_le(self.count);
    }
}

/// A batch of samples of one writer on one topic, checked and still encoded. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DataFrame {
    header: DataHeader,
    bytes: Bytes,
}

impl DataFrame {
    /// Checks a data frame's structure, down to the last sample. Never panics, allocates nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`]; also for a control frame.
    pub fn parse(bytes: Bytes) -> Result<Self> {
        match Frame::parse(bytes)? {
            Frame::Data(frame) => Ok(frame),
            Frame::Control { .. } => Err(malformed("a control message where samples were expected")),
        }
    }

    fn parse_after_prefix(bytes: Bytes) -> Result<Self, Reason> {
        let mut cursor = Cursor { bytes: &bytes, at: PREFIX_LEN };
        let encoding = Encoding::from_code(cursor.u8()?).ok_or("unknown encoding")?;
        check_flags(cursor.u8()?)?;
        let header = DataHeader {
            encoding,
            writer: EntityId { session: SessionId(cursor.u64()?), entity: cursor.u32()? },
            epoch: cursor.u32()?,
            first: cursor.u64()?,
            sent: Timestamp::from_nanos(cursor.u64()?.cast_signed()),
            count: cursor.u16()?,
        };
        if header.count == 0 {
            return Err("no samples");
        }
        if header.first == 0 || header.first.checked_add(u64::from(header.count)).is_none() {
            return Err("sequence numbers out of range");
        }
        for _ in 0..header.count {
            cursor.sample(header.sent)?;
        }
        if cursor.at != bytes.len() {
            return Err("bytes after the last sample");
        }
        Ok(Self { header, bytes })
    }

    /// The header.
    pub fn header(&self) -> &DataHeader {
        &self.header
    }

    /// The frame as it travels.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The same frame in memory of its own, which keeps nothing else alive.
    pub(crate) fn detached(&self) -> Self {
        Self { header: self.header, bytes: Bytes::copy_from_slice(&self.bytes) }
    }

    /// The newest source timestamp in it.
    pub fn newest(&self) -> Timestamp {
        // A frame holds at least one sample.
        self.samples().newest().unwrap_or(Timestamp::MIN)
    }

    /// The samples, in order.
    pub fn samples(&self) -> Samples {
        Samples { frame: self.clone(), at: DATA_HEADER_LEN, next: self.header.first }
    }
}

/// One sample within a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawSample {
    /// Its sequence number.
    pub sequence: u64,
    /// Its source timestamp.
    pub source: Timestamp,
    /// Its payload, a slice of the frame.
    pub payload: Bytes,
}

/// The samples of a frame, in order; owns a reference to the frame.
#[derive(Debug, Clone)]
pub struct Samples {
    frame: DataFrame,
    at: usize,
    next: u64,
}

impl Samples {
    /// The frame's header.
    pub fn header(&self) -> &DataHeader {
        &self.frame.header
    }

    /// The frame that they are in.
    pub fn frame(&self) -> &DataFrame {
        &self.frame
    }

    /// How many samples are left.
    pub fn remaining(&self) -> usize {
        usize::try_from(self.frame.header.end().saturating_sub(self.next)).unwrap_or(0)
    }

    /// Payload bytes and overhead that are left.
    pub fn remaining_bytes(&self) -> usize {
        self.frame.bytes.len() - self.at
    }

    /// The sequence number of the next sample.
    pub fn next_sequence(&self) -> Option<u64> {
        (self.remaining() > 0).then_some(self.next)
    }

    /// The source timestamp of the next sample.
    pub fn peek_source(&self) -> Option<Timestamp> {
        let mut cursor = Cursor { bytes: &self.frame.bytes, at: self.at };
        cursor.sample(self.frame.header.sent).ok().map(|(source, _)| source)
    }

    /// Lets go of the frame: those that are left get one of their own, which is no larger than it must be.
    pub fn compact(&mut self) {
        let remaining = u16::try_from(self.remaining()).unwrap_or(0);
        let header = DataHeader { first: self.next, count: remaining, ..self.frame.header };
        let mut out = vec![0; DATA_HEADER_LEN];
        header.write(&mut out);
        out.extend_from_slice(&self.frame.bytes[self.at..]);
        (self.frame, self.at) = (DataFrame { header, bytes: out.into() }, DATA_HEADER_LEN);
    }

    /// The samples that are left, borrowed.
    pub fn borrowed(&self) -> BorrowedSamples<'_> {
        let header = &self.frame.header;
        BorrowedSamples {
            bytes: &self.frame.bytes,
            at: self.at,
            sent: header.sent,
            next: self.next,
            end: header.end(),
        }
    }

    /// The newest source timestamp of the samples that are left.
    pub fn newest(&self) -> Option<Timestamp> {
        self.borrowed().map(|sample| sample.source).max()
    }

    /// Passes over a sample without touching its payload.
    pub fn skip_one(&mut self) -> bool {
        let mut cursor = Cursor { bytes: &self.frame.bytes, at: self.at };
        let found = cursor.sample(self.frame.header.sent).is_ok();
        if found {
            (self.at, self.next) = (cursor.at, self.next + 1);
        }
        found
    }
}

/// One sample within a frame, borrowed from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BorrowedSample<'a> {
    /// Its sequence number.
    pub sequence: u64,
    /// Its source timestamp.
    pub source: Timestamp,
    /// Its payload.
    pub payload: &'a [u8],
}

/// The samples of a frame, in order, borrowed from it: nothing is counted and nothing allocated.
#[derive(Debug, Clone)]
pub struct BorrowedSamples<'a> {
    bytes: &'a [u8],
    at: usize,
    sent: Timestamp,
    next: u64,
    end: u64,
}

impl<'a> Iterator for BorrowedSamples<'a> {
    type Item = BorrowedSample<'a>;

    #[inline]
    fn next(&mut self) -> Option<BorrowedSample<'a>> {
        let mut cursor = Cursor { bytes: self.bytes, at: self.at };
        let (source, payload) = cursor.sample(self.sent).ok()?;
        let sequence = self.next;
        (self.at, self.next) = (cursor.at, self.next + 1);
        Some(BorrowedSample { sequence, source, payload })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.end - self.next).unwrap_or(usize::MAX);
        (left, Some(left))
    }
}

impl ExactSizeIterator for BorrowedSamples<'_> {}

impl Iterator for Samples {
    type Item = RawSample;

    fn next(&mut self) -> Option<RawSample> {
        let mut cursor = Cursor { bytes: &self.frame.bytes, at: self.at };
        // The frame was walked when it was parsed; the end of the bytes is the end of the samples.
        let (source, payload) = cursor.sample(self.frame.header.sent).ok()?;
        let sample = RawSample {
            sequence: self.next,
            source,
            payload: self.frame.bytes.slice(cursor.at - payload.len()..cursor.at),
        };
        (self.at, self.next) = (cursor.at, self.next + 1);
        Some(sample)
    }
}

fn malformed(reason: Reason) -> Error {
    ErrorKind::Malformed { what: "frame", reason }.into()
}
