//! Samples in the batch that they came in.

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::Deserialize;

use super::queue::{Chunk, Content};
use crate::error::Result;
use crate::message::{Encoding, EntityId, Sample, SampleInfo};
use crate::time::Timestamp;
use crate::topic::Topic;
use crate::wire::{BorrowedSample, BorrowedSamples};

/// The unread samples of one frame: of one publisher, on one topic, in order. From
/// [`Subscriber::recv_batch`](super::Subscriber::recv_batch).
///
/// Iterating borrows from the frame: no sample is copied, counted or decoded before it is asked for.
pub struct Batch<M> {
    chunk: Chunk,
    /// What a plain message is taken to be encoded in.
    plain: Encoding,
    message: PhantomData<fn() -> M>,
}

impl<M> Batch<M> {
    pub(super) fn new(chunk: Chunk, plain: Encoding) -> Self {
        Self { chunk, plain, message: PhantomData }
    }

    /// How many samples it holds, at least one.
    pub fn len(&self) -> usize {
        self.chunk.samples()
    }

    /// Whether it holds none; that is never so.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The topic they were published on.
    pub fn topic(&self) -> &Topic {
        &self.chunk.topic
    }

    /// Who published them; `None` for a plain message from a program that does not use this library.
    pub fn writer(&self) -> Option<EntityId> {
        match &self.chunk.content {
            Content::Frame(samples) => Some(samples.header().writer),
            Content::Plain { .. } => None,
        }
    }

    /// When the subscriber's session took them from the transport.
    pub fn received(&self) -> Timestamp {
        self.chunk.received
    }

    /// The samples, in order.
    pub fn iter(&self) -> BatchIter<'_, M> {
        let (samples, plain) = match &self.chunk.content {
            Content::Frame(samples) => (Some(samples.borrowed()), None),
            Content::Plain { payload, .. } => (None, payload.as_ref()),
        };
        BatchIter { batch: self, samples, plain }
    }

    fn encoding(&self) -> Encoding {
        match &self.chunk.content {
            Content::Frame(samples) => samples.header().encoding,
            Content::Plain { .. } => self.plain,
        }
    }
}

impl<M> IntoIterator for Batch<M> {
    type Item = Sample<M>;
    type IntoIter = OwnedSamples<M>;

    /// The samples one by one, each of which keeps the frame alive by itself.
    fn into_iter(self) -> OwnedSamples<M> {
        OwnedSamples(self)
    }
}

impl<'a, M> IntoIterator for &'a Batch<M> {
    type Item = SampleRef<'a, M>;
    type IntoIter = BatchIter<'a, M>;

    fn into_iter(self) -> BatchIter<'a, M> {
        self.iter()
    }
}

impl<M> fmt::Debug for Batch<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("topic", self.topic()).field("len", &self.len()).finish()
    }
}

/// The samples of a [`Batch`], borrowed from it.
pub struct BatchIter<'a, M> {
    batch: &'a Batch<M>,
    samples: Option<BorrowedSamples<'a>>,
    plain: Option<&'a Bytes>,
}

impl<'a, M> Iterator for BatchIter<'a, M> {
    type Item = SampleRef<'a, M>;

    #[inline]
    fn next(&mut self) -> Option<SampleRef<'a, M>> {
        let batch = self.batch;
        match &mut self.samples {
            Some(samples) => samples.next().map(|sample| SampleRef { batch, sample }),
            None => self.plain.take().map(|payload| {
                let sample = BorrowedSample { sequence: 0, source: batch.chunk.received, payload };
                SampleRef { batch, sample }
            }),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.samples {
            Some(samples) => samples.size_hint(),
            None => (usize::from(self.plain.is_some()), Some(usize::from(self.plain.is_some()))),
        }
    }
}

impl<M> ExactSizeIterator for BatchIter<'_, M> {}

impl<M> fmt::Debug for BatchIter<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchIter").field("left", &self.len()).finish()
    }
}

/// One sample of a [`Batch`], borrowed from it. The payload is decoded when [`value`](Self::value) is called, not before.
pub struct SampleRef<'a, M> {
    batch: &'a Batch<M>,
    sample: BorrowedSample<'a>,
}

impl<'a, M> SampleRef<'a, M> {
    /// The payload as it came.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.sample.payload
    }

    /// The writer's running number of the sample, from 1; 0 for a plain message.
    #[inline]
    pub fn sequence(&self) -> u64 {
        self.sample.sequence
    }

    /// When the sample was true at its source.
    #[inline]
    pub fn source_timestamp(&self) -> Timestamp {
        self.sample.source
    }

    /// The topic it was published on.
    pub fn topic(&self) -> &'a Topic {
        &self.batch.chunk.topic
    }

    /// How the payload is encoded.
    pub fn encoding(&self) -> Encoding {
        self.batch.encoding()
    }

    /// Topic, writer, numbers and times.
    pub fn info(&self) -> SampleInfo {
        let info = self.batch.chunk.info(self.sample.sequence, self.sample.source);
        SampleInfo { encoding: self.encoding(), ..info }
    }

    /// Decodes the payload; the value may borrow from the batch (`&str`, `&[u8]`).
    ///
    /// # Errors
    /// [`ErrorKind::Decode`](crate::ErrorKind::Decode) if the payload is not an `M` in its encoding. The batch is unchanged.
    #[inline]
    pub fn value(&self) -> Result<M>
    where
        M: Deserialize<'a>,
    {
        self.decode()
    }

    /// Decodes the payload as another type.
    ///
    /// # Errors
    /// As for [`value`](Self::value).
    #[inline]
    pub fn decode<U: Deserialize<'a>>(&self) -> Result<U> {
        self.encoding().decode(self.sample.payload)
    }
}

impl<M> Clone for SampleRef<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for SampleRef<'_, M> {}

impl<M> fmt::Debug for SampleRef<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SampleRef")
            .field("topic", self.topic())
            .field("sequence", &self.sequence())
            .field("payload", &format_args!("{} bytes", self.payload().len()))
            .finish()
    }
}

/// The samples of a [`Batch`], each by itself.
pub struct OwnedSamples<M>(Batch<M>);

impl<M> Iterator for OwnedSamples<M> {
    type Item = Sample<M>;

    fn next(&mut self) -> Option<Sample<M>> {
        let plain = self.0.plain;
        let sample = self.0.chunk.next_sample()?;
        Some(if sample.info().writer.is_none() { sample.with_encoding(plain) } else { sample })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.0.len(), Some(self.0.len()))
    }
}

impl<M> ExactSizeIterator for OwnedSamples<M> {}

impl<M> fmt::Debug for OwnedSamples<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedSamples").field("left", &self.0.len()).finish()
    }
}
