//! A reader's queue of unread samples: bounded, by the history policy.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use crate::error::Result;
use crate::message::{Encoding, Sample, SampleInfo};
use crate::qos::{History, ResourceLimits};
use crate::time::Timestamp;
use crate::topic::Topic;
use crate::wire::Samples;

/// Unread samples of one frame, with what is known of their writer.
#[derive(Debug, Clone)]
pub(super) struct Chunk {
    pub(super) topic: Topic,
    pub(super) strength: i32,
    pub(super) history: History,
    pub(super) received: Timestamp,
    pub(super) content: Content,
}

#[derive(Debug, Clone)]
pub(super) enum Content {
    Frame(Samples),
    /// A message of a program that does not use this library.
    Plain(Option<Bytes>),
}

impl Chunk {
    pub(super) fn samples(&self) -> usize {
        match &self.content {
            Content::Frame(samples) => samples.remaining(),
            Content::Plain(payload) => usize::from(payload.is_some()),
        }
    }

    fn bytes(&self) -> usize {
        match &self.content {
            Content::Frame(samples) => samples.remaining_bytes(),
            Content::Plain(payload) => payload.as_ref().map_or(0, Bytes::len),
        }
    }

    fn skip_one(&mut self) {
        match &mut self.content {
            Content::Frame(samples) => drop(samples.skip_one()),
            Content::Plain(payload) => *payload = None,
        }
    }

    /// Fails unless the samples have the encoding that the subscriber expects. A plain message states none.
    pub(super) fn expect_encoding(&self, expected: Encoding) -> Result<()> {
        match &self.content {
            Content::Frame(samples) => expected.expect(samples.header().encoding, &self.topic),
            Content::Plain(_) => Ok(()),
        }
    }

    /// What is known of a sample besides its value.
    pub(super) fn info(&self, sequence: u64, source_timestamp: Timestamp) -> SampleInfo {
        let (writer, epoch, sent) = match &self.content {
            Content::Frame(samples) => {
                let header = samples.header();
                (Some(header.writer), header.epoch, header.sent)
            }
            Content::Plain(_) => (None, 0, self.received),
        };
        SampleInfo {
            topic: self.topic.clone(),
            writer,
            strength: self.strength,
            history: self.history,
            epoch,
            sequence,
            source_timestamp,
            sent,
            received: self.received,
        }
    }

    /// The next sample, for the user.
    pub(super) fn next_sample<M>(&mut self) -> Option<Sample<M>> {
        match &mut self.content {
            Content::Plain(payload) => {
                let payload = payload.take()?;
                Some(Sample::new(self.info(0, self.received), Encoding::Raw, payload))
            }
            Content::Frame(samples) => {
                let encoding = samples.header().encoding;
                let sample = samples.next()?;
                Some(Sample::new(self.info(sample.sequence, sample.source), encoding, sample.payload))
            }
        }
    }
}

/// The queue. Keep-all refuses when full ([`has_room`](Self::has_room)); keep-last replaces the oldest of the instance,
/// and at the resource limits the oldest of all.
#[derive(Debug)]
pub(super) struct ReaderQueue {
    history: History,
    limits: ResourceLimits,
    chunks: VecDeque<Chunk>,
    samples: usize,
    bytes: usize,
    /// Unread samples of each instance; kept only for keep-last.
    instances: HashMap<Topic, u64>,
}

impl ReaderQueue {
    pub(super) fn new(history: History, limits: ResourceLimits) -> Self {
        let (chunks, instances) = Default::default();
        Self { history, limits, chunks, samples: 0, bytes: 0, instances }
    }

    /// Whether another frame is welcome. The bound may be passed by that one frame.
    pub(super) fn has_room(&self) -> bool {
        self.samples < self.limits.max_samples && self.bytes < self.limits.max_bytes
    }

    /// Whether at most half of the bound is taken: time to ask for more.
    pub(super) fn has_much_room(&self) -> bool {
        self.samples <= self.limits.max_samples / 2 && self.bytes <= self.limits.max_bytes / 2
    }

    /// Appends; returns how many older samples a keep-last depth pushed out.
    pub(super) fn push(&mut self, chunk: Chunk) -> u64 {
        let added = chunk.samples();
        if added == 0 {
            return 0;
        }
        self.samples += added;
        self.bytes += chunk.bytes();
        let topic = chunk.topic.clone();
        self.chunks.push_back(chunk);
        let History::KeepLast(depth) = self.history else { return 0 };
        let unread = self.instances.entry(topic.clone()).or_default();
        *unread += added as u64;
        let excess = unread.saturating_sub(u64::from(depth));
        *unread -= excess;
        self.drop_oldest(&topic, excess);
        excess + self.drop_over_limits()
    }

    /// Takes the oldest chunk whole.
    pub(super) fn pop_chunk(&mut self) -> Option<Chunk> {
        let chunk = self.chunks.pop_front()?;
        self.samples -= chunk.samples();
        self.bytes -= chunk.bytes();
        self.forget(&chunk.topic, chunk.samples() as u64);
        Some(chunk)
    }

    /// Takes the oldest sample; under keep-last the rest of its frame may still be replaced.
    pub(super) fn pop_sample<M>(&mut self) -> Option<Sample<M>> {
        let front = self.chunks.front_mut()?;
        let bytes = front.bytes();
        let sample = front.next_sample()?;
        self.samples -= 1;
        self.bytes -= bytes - front.bytes();
        if front.samples() == 0 {
            self.chunks.pop_front();
        }
        self.forget(&sample.info().topic, 1);
        Some(sample)
    }

    /// Keep-last bounds each instance; this bounds them all together.
    fn drop_over_limits(&mut self) -> u64 {
        let mut dropped = 0;
        while self.samples > 1
            && (self.samples > self.limits.max_samples || self.bytes > self.limits.max_bytes)
        {
            let Some(front) = self.chunks.front_mut() else { break };
            let (topic, before) = (front.topic.clone(), front.bytes());
            front.skip_one();
            self.samples -= 1;
            self.bytes -= before - front.bytes();
            if front.samples() == 0 {
                self.chunks.pop_front();
            }
            self.forget(&topic, 1);
            dropped += 1;
        }
        dropped
    }

    fn forget(&mut self, topic: &Topic, samples: u64) {
        if let Some(unread) = self.instances.get_mut(topic) {
            *unread = unread.saturating_sub(samples);
            if *unread == 0 {
                self.instances.remove(topic);
            }
        }
    }

    fn drop_oldest(&mut self, topic: &Topic, mut excess: u64) {
        let mut index = 0;
        while excess > 0 && index < self.chunks.len() {
            let chunk = &mut self.chunks[index];
            if chunk.topic != *topic {
                index += 1;
                continue;
            }
            let before = chunk.bytes();
            while excess > 0 && chunk.samples() > 0 {
                chunk.skip_one();
                self.samples -= 1;
                excess -= 1;
            }
            self.bytes -= before - chunk.bytes();
            if chunk.samples() == 0 {
                drop(self.chunks.remove(index));
            }
        }
    }
}
