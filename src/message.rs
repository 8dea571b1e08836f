//! Samples as the user sees them, and how values become payload bytes.

mod encoding;
mod postcard_serializer;
mod raw;

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use encoding::Encoding;
pub(crate) use postcard_serializer::zigzag;

use crate::error::Result;
use crate::time::Timestamp;
use crate::topic::Topic;

/// The identity of one session, drawn at random when it opens: no two incarnations share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId(pub u64);

/// The identity of one publisher or subscriber: its session, and a number within it.
///
/// The order breaks ties between exclusive publishers of equal strength: the greater id is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EntityId {
    /// The session.
    pub session: SessionId,
    /// The number within the session.
    pub entity: u32,
}

impl fmt::Display for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}.{}", self.session.0, self.entity)
    }
}

/// What is known of a sample besides its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleInfo {
    /// The topic it was published on.
    pub topic: Topic,
    /// How its payload is encoded; what the subscriber expects, for a plain message.
    pub encoding: Encoding,
    /// Who published it; `None` for a plain message from a program that does not use this library.
    pub writer: Option<EntityId>,
    /// The writer's strength as it last announced it.
    pub strength: i32,
    /// The depth of history that the writer offers.
    pub history: crate::qos::History,
    /// The writer's incarnation.
    pub epoch: u32,
    /// The writer's running number of the sample, from 1.
    pub sequence: u64,
    /// When the sample was true at its source: given to `publish_at`, or the time of `publish`.
    pub source_timestamp: Timestamp,
    /// When the writer framed it for sending.
    pub sent: Timestamp,
    /// When the subscriber's session took it from the transport.
    pub received: Timestamp,
    /// The broker had kept it, and handed it out because of the subscription: it was published some time before. Of plain
    /// messages only.
    pub retained: bool,
}

/// One received sample. The payload is decoded when [`value`](Self::value) is called, not before.
pub struct Sample<M> {
    info: SampleInfo,
    payload: Bytes,
    value: PhantomData<fn() -> M>,
}

impl<M> Sample<M> {
    pub(crate) fn new(info: SampleInfo, payload: Bytes) -> Self {
        Self { info, payload, value: PhantomData }
    }

    /// Topic, writer, numbers and times.
    pub fn info(&self) -> &SampleInfo {
        &self.info
    }

    /// The topic it was published on.
    pub fn topic(&self) -> &Topic {
        &self.info.topic
    }

    /// The payload as it came.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// How the payload is encoded.
    pub fn encoding(&self) -> Encoding {
        self.info.encoding
    }

    /// Decodes the payload.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`](crate::ErrorKind::Decode) if the payload is not an `M` in its encoding, or has bytes left over
    /// behind it. The sample is unchanged.
    pub fn value<'a>(&'a self) -> Result<M>
    where
        M: Deserialize<'a>,
    {
        self.info.encoding.decode(&self.payload)
    }

    /// Decodes the payload as another type, one that borrows from it for instance (`&str`, `&[u8]`).
    ///
    /// # Errors
    /// [`ErrorKind::Decode`](crate::ErrorKind::Decode) if the payload is not a `U` in its encoding. The sample is unchanged.
    pub fn decode<'a, U: Deserialize<'a>>(&'a self) -> Result<U> {
        self.info.encoding.decode(&self.payload)
    }

    /// The same payload, taken to be in another encoding.
    pub(crate) fn with_encoding(mut self, encoding: Encoding) -> Self {
        self.info.encoding = encoding;
        self
    }

    /// Fails unless the sample has the encoding that the subscriber expects.
    pub(crate) fn expect_encoding(self, expected: Encoding) -> Result<Self> {
        expected.expect(self.info.encoding, &self.info.topic)?;
        Ok(self)
    }
}

impl<M> Clone for Sample<M> {
    fn clone(&self) -> Self {
        Self::new(self.info.clone(), self.payload.clone())
    }
}

impl<M> fmt::Debug for Sample<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sample")
            .field("info", &self.info)
            .field("payload", &format_args!("{} bytes", self.payload.len()))
            .finish()
    }
}
