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

mod bundle;

use bytes::{BufMut, Bytes};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Result};
use crate::message::{Encoding, EntityId, SessionId};
use crate::time::Timestamp;

pub use bundle::{Bundle, BundleBuilder, MAX_BUNDLE_LEN, MAX_BUNDLED};

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
    const ALL: [Self; 3] = [Self::PubSub, Self::DhtNode, Self::DhtClient];

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
            _ => Err(malformed("unknown kind")),
        }
    }
}

/// A control message as a frame.
///
/// # Errors
/// [`ErrorKind::Encode`] if the message cannot be encoded; the library's own messages can.
pub fn encode_control<M: Serialize>(room: Room, message: &M) -> Result<Bytes> {
    let mut out = Vec::with_capacity(128);
    append_control(room, message, &mut out)?;
    Ok(out.into())
}

fn append_control<M: Serialize>(room: Room, message: &M, out: &mut Vec<u8>) -> Result<()> {
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[VERSION, KIND_CONTROL, room.code(), 0, 0, 0, 0]);
    let body = out.len();
    Encoding::Postcard.encode(message, out)?;
    let length = u32::try_from(out.len() - body).map_err(|_| malformed("over 4 GiB"))?;
    out[start + CONTROL_HEADER_LEN - 4..body].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

/// Decodes the body of a control frame. Bytes after the message are ignored: they are a later version's new fields.
///
/// # Errors
/// [`ErrorKind::Decode`]. What is allocated on the way is bounded by a small multiple of the body's length.
pub fn decode_body<M: DeserializeOwned>(body: &[u8]) -> Result<M> {
    Encoding::Postcard.decode(body)
}

fn parse_control(bytes: Bytes) -> Result<Frame> {
    let mut cursor = Cursor { bytes: &bytes, at: PREFIX_LEN };
    let room = Room::from_code(cursor.u8()?).ok_or_else(|| malformed("unknown room"))?;
    let length = cursor.u32()? as usize;
    if length != bytes.len() - CONTROL_HEADER_LEN {
        return Err(malformed("stated length differs from the frame's"));
    }
    Ok(Frame::Control { room, body: bytes.slice(CONTROL_HEADER_LEN..) })
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

    fn parse_after_prefix(bytes: Bytes) -> Result<Self> {
        let mut cursor = Cursor { bytes: &bytes, at: PREFIX_LEN };
        let encoding = Encoding::from_code(cursor.u8()?).ok_or_else(|| malformed("unknown encoding"))?;
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
            return Err(malformed("no samples"));
        }
        if header.first == 0 || header.first.checked_add(u64::from(header.count)).is_none() {
            return Err(malformed("sequence numbers out of range"));
        }
        for _ in 0..header.count {
            cursor.sample(header.sent)?;
        }
        if cursor.at != bytes.len() {
            return Err(malformed("bytes after the last sample"));
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

    /// The source timestamp of the next sample.
    pub fn peek_source(&self) -> Option<Timestamp> {
        let mut cursor = Cursor { bytes: &self.frame.bytes, at: self.at };
        cursor.sample(self.frame.header.sent).ok().map(|(source, _)| source)
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

impl Iterator for Samples {
    type Item = RawSample;

    fn next(&mut self) -> Option<RawSample> {
        let mut cursor = Cursor { bytes: &self.frame.bytes, at: self.at };
        // The frame was walked when it was parsed; the end of the bytes is the end of the samples.
        let (source, length) = cursor.sample(self.frame.header.sent).ok()?;
        let sample = RawSample {
            sequence: self.next,
            source,
            payload: self.frame.bytes.slice(cursor.at - length..cursor.at),
        };
        (self.at, self.next) = (cursor.at, self.next + 1);
        Some(sample)
    }
}

/// A data frame under construction: samples are serialised straight into it.
#[derive(Debug)]
pub struct FrameBuilder {
    header: DataHeader,
    out: Vec<u8>,
    /// How many bytes the last length took: the next one is likely to take as many.
    length_width: usize,
}

impl FrameBuilder {
    /// An empty frame; `header.count` and `header.sent` are set as samples come.
    pub fn new(encoding: Encoding, writer: EntityId, epoch: u32, first: u64) -> Self {
        let header = DataHeader { encoding, writer, epoch, first, sent: Timestamp::from_nanos(0), count: 0 };
        Self { header, out: Vec::new(), length_width: 1 }
    }

    /// How many samples it holds.
    pub fn count(&self) -> usize {
        usize::from(self.header.count)
    }

    /// Its present size in bytes.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether it holds no sample.
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
            self.header.sent = now;
            self.out.clear();
            self.out.resize(DATA_HEADER_LEN, 0);
        }
        let start = self.out.len();
        self.out.resize(start + self.length_width, 0);
        self.out.push(0);
        put_varint(&mut self.out, zigzag(source.as_nanos().wrapping_sub(self.header.sent.as_nanos())));
        let payload_start = self.out.len();
        let written = write(&mut self.out).and_then(|()| {
            let size = self.out.len() - payload_start;
            if size > limit { Err(ErrorKind::PayloadTooLarge { size, limit }.into()) } else { Ok(size) }
        });
        match written.and_then(|size| Ok((size, u32::try_from(size).map_err(|_| malformed("over 4 GiB"))?))) {
            Ok((size, length)) => {
                self.fill_length(start, length);
                self.header.count += 1;
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
        if self.is_empty() {
            return None;
        }
        let header = self.header;
        let mut head = &mut self.out[..DATA_HEADER_LEN];
        head.put_slice(&MAGIC);
        head.put_slice(&[VERSION, KIND_DATA, header.encoding.code(), 0]);
        head.put_u64_le(header.writer.session.0);
        head.put_u32_le(header.writer.entity);
        head.put_u32_le(header.epoch);
        head.put_u64_le(header.first);
        head.put_i64_le(header.sent.as_nanos());
        head.put_u16_le(header.count);
        self.header.first = header.end();
        self.header.count = 0;
        Some(DataFrame { header, bytes: std::mem::take(&mut self.out).into() })
    }

    /// Writes a length into the space that was left for it, shifting the payload only if the guess was too small.
    fn fill_length(&mut self, start: usize, length: u32) {
        let needed = varint_len(u64::from(length));
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

/// Reads little-endian numbers; every read is checked against the end.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let array = *rest.first_chunk::<N>().ok_or_else(|| malformed("cut short"))?;
        self.at += N;
        Ok(array)
    }

    fn u8(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn varint(&mut self, max_bytes: u32) -> Result<u64> {
        let mut value = 0;
        for index in 0..max_bytes {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7F);
            if index == 9 && bits > 1 {
                return Err(malformed("a number over 64 bits"));
            }
            value |= bits << (7 * index);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(malformed("a number that does not end"))
    }

    /// Passes over one sample: its source time and its payload's length; the cursor is after the payload.
    fn sample(&mut self, sent: Timestamp) -> Result<(Timestamp, usize)> {
        let length =
            usize::try_from(self.varint(5)?).map_err(|_| malformed("a payload over the address space"))?;
        check_flags(self.u8()?)?;
        let delta = unzigzag(self.varint(10)?);
        if length > self.bytes.len() - self.at {
            return Err(malformed("a payload longer than the frame"));
        }
        self.at += length;
        Ok((Timestamp::from_nanos(sent.as_nanos().wrapping_add(delta)), length))
    }
}

fn check_flags(flags: u8) -> Result<()> {
    if flags & CRITICAL_FLAGS == 0 { Ok(()) } else { Err(malformed("a flag of a later version")) }
}

fn malformed(reason: &'static str) -> Error {
    ErrorKind::Malformed { what: "frame", reason }.into()
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros()).div_ceil(7) as usize
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
