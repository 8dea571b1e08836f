//! A reader's queue of unread samples: bounded, by the history policy.

use std::collections::VecDeque;

use ahash::HashMap;
use bytes::Bytes;

use super::FRAME_OVERHEAD;
use crate::error::Result;
use crate::message::{Encoding, Sample, SampleInfo};
use crate::qos::{History, Overflow, ResourceLimits};
use crate::time::Timestamp;
use crate::topic::Topic;
use crate::wire::{DATA_HEADER_LEN, Samples};

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
    Plain {
        /// What it says, until it is taken.
        payload: Option<Bytes>,
        /// The broker had kept it: it was not published just now.
        retained: bool,
    },
}

impl Chunk {
    pub(super) fn samples(&self) -> usize {
        match &self.content {
            Content::Frame(samples) => samples.remaining(),
            Content::Plain { payload, .. } => usize::from(payload.is_some()),
        }
    }

    /// What it keeps in memory: one unread sample keeps its whole frame.
    fn bytes(&self) -> usize {
        FRAME_OVERHEAD
            + match &self.content {
                Content::Frame(samples) => samples.frame().bytes().len(),
                Content::Plain { payload, .. } => payload.as_ref().map_or(0, Bytes::len),
            }
    }

    /// Lets go of the frame once half of it or more is read or dropped: what is left gets a smaller one.
    fn shrink(&mut self) {
        if let Content::Frame(samples) = &mut self.content
            && DATA_HEADER_LEN + samples.remaining_bytes() <= samples.frame().bytes().len() / 2
        {
            samples.compact();
        }
    }

    fn skip_one(&mut self) {
        match &mut self.content {
            Content::Frame(samples) => drop(samples.skip_one()),
            Content::Plain { payload, .. } => *payload = None,
        }
    }

    /// Fails unless the samples have the encoding that the subscriber expects. A plain message states none.
    pub(super) fn expect_encoding(&self, expected: Encoding) -> Result<()> {
        match &self.content {
            Content::Frame(samples) => expected.expect(samples.header().encoding, &self.topic),
            Content::Plain { .. } => Ok(()),
        }
    }

    /// What is known of a sample besides its value.
    pub(super) fn info(&self, sequence: u64, source_timestamp: Timestamp) -> SampleInfo {
        let (writer, epoch, sent, encoding) = match &self.content {
            Content::Frame(samples) => {
                let header = samples.header();
                (Some(header.writer), header.epoch, header.sent, header.encoding)
            }
            Content::Plain { .. } => (None, 0, self.received, Encoding::Raw),
        };
        SampleInfo {
            topic: self.topic.clone(),
            encoding,
            writer,
            strength: self.strength,
            history: self.history,
            epoch,
            sequence,
            source_timestamp,
            sent,
            received: self.received,
            retained: matches!(self.content, Content::Plain { retained: true, .. }),
        }
    }

    /// The next sample, for the user.
    pub(super) fn next_sample<M>(&mut self) -> Option<Sample<M>> {
        match &mut self.content {
            Content::Plain { payload, .. } => {
                let payload = payload.take()?;
                Some(Sample::new(self.info(0, self.received), payload))
            }
            Content::Frame(samples) => {
                let sample = samples.next()?;
                Some(Sample::new(self.info(sample.sequence, sample.source), sample.payload))
            }
        }
    }
}

/// How many unread samples a new one cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct GaveWay {
    /// By the keep-last depth.
    pub(super) replaced: u64,
    /// At the resource limits.
    pub(super) over_limits: u64,
}

/// The queue. Keep-last replaces the oldest of the instance. At the resource limits it is for the reader to say what gives
/// way ([`has_room_for`](Self::has_room_for)), unless the oldest of all does.
#[derive(Debug)]
pub(super) struct ReaderQueue {
    history: History,
    limits: ResourceLimits,
    /// At the resource limits the oldest of all gives way.
    drops_oldest: bool,
    chunks: VecDeque<Chunk>,
    samples: usize,
    bytes: usize,
    /// Unread samples of each instance; kept only for keep-last.
    instances: HashMap<Topic, u64>,
}

impl ReaderQueue {
    pub(super) fn new(history: History, limits: ResourceLimits, overflow: Overflow) -> Self {
        let (chunks, instances) = Default::default();
        let drops_oldest = match overflow {
            Overflow::Wait => history != History::KeepAll,
            Overflow::DropOldest => true,
            Overflow::DropNewest | Overflow::Disconnect => false,
        };
        Self { history, limits, drops_oldest, chunks, samples: 0, bytes: 0, instances }
    }

    /// Whether nothing is unread.
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Whether another frame of the instance is welcome: there is room, or something gives way. The bound may be passed by
    /// that one frame.
    pub(super) fn has_room_for(&self, topic: &Topic) -> bool {
        let room = self.samples < self.limits.max_samples && self.bytes < self.limits.max_bytes;
        room || self.drops_oldest || self.is_at_depth(topic)
    }

    /// Whether a sample of the instance replaces one.
    fn is_at_depth(&self, topic: &Topic) -> bool {
        let History::KeepLast(depth) = self.history else { return false };
        self.instances.get(topic).is_some_and(|unread| *unread >= u64::from(depth))
    }

    /// Whether at most half of the bound is taken: time to ask for more.
    pub(super) fn has_much_room(&self) -> bool {
        self.samples <= self.limits.max_samples / 2 && self.bytes <= self.limits.max_bytes / 2
    }

    /// Appends, and says what gave way.
    pub(super) fn push(&mut self, mut chunk: Chunk) -> GaveWay {
        let added = chunk.samples();
        if added == 0 {
            return GaveWay::default();
        }
        chunk.shrink();
        self.samples += added;
        self.bytes += chunk.bytes();
        let topic = chunk.topic.clone();
        self.chunks.push_back(chunk);
        let mut replaced = 0;
        if let History::KeepLast(depth) = self.history {
            let unread = self.instances.entry(topic.clone()).or_default();
            *unread += added as u64;
            replaced = unread.saturating_sub(u64::from(depth));
            *unread -= replaced;
            self.drop_oldest(&topic, replaced);
        }
        GaveWay { replaced, over_limits: if self.drops_oldest { self.drop_over_limits() } else { 0 } }
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
        if front.samples() == 0 {
            self.bytes -= bytes;
            self.chunks.pop_front();
        }
        self.forget(&sample.info().topic, 1);
        Some(sample)
    }

    /// Bounds all instances together.
    fn drop_over_limits(&mut self) -> u64 {
        let mut dropped = 0;
        while self.samples > 1
            && (self.samples > self.limits.max_samples || self.bytes > self.limits.max_bytes)
        {
            let Some(front) = self.chunks.front_mut() else { break };
            let (topic, before) = (front.topic.clone(), front.bytes());
            front.skip_one();
            front.shrink();
            self.samples -= 1;
            if front.samples() == 0 {
                self.bytes -= before;
                self.chunks.pop_front();
            } else {
                self.bytes -= before - front.bytes();
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
            if chunk.samples() == 0 {
                self.bytes -= before;
                drop(self.chunks.remove(index));
            } else {
                chunk.shrink();
                self.bytes -= before - chunk.bytes();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{EntityId, SessionId};
    use crate::wire::FrameBuilder;

    /// Sixty-odd KiB of samples of sixteen bytes.
    const COUNT: usize = 3_000;

    fn chunk(topic: &str, count: usize) -> Chunk {
        let writer = EntityId { session: SessionId(1), entity: 1 };
        let mut builder = FrameBuilder::new(Encoding::Raw, writer, 1, 1);
        for number in 0..count as u64 {
            let at = Timestamp::from_secs(1);
            let payload = |out: &mut Vec<u8>| {
                out.extend_from_slice(&number.to_le_bytes());
                out.extend_from_slice(&[0; 8]);
                Ok(())
            };
            builder.push(at, at, 100, payload).unwrap();
        }
        let content = Content::Frame(builder.take().unwrap().samples());
        let (topic, history, received) =
            (Topic::new(topic).unwrap(), History::KeepAll, Timestamp::from_secs(2));
        Chunk { topic, strength: 0, history, received, content }
    }

    /// What the queue keeps in memory.
    fn kept(queue: &ReaderQueue) -> usize {
        queue.chunks.iter().map(Chunk::bytes).sum()
    }

    fn numbers(queue: &mut ReaderQueue) -> Vec<(u64, u64)> {
        let mut numbers = Vec::new();
        while let Some(sample) = queue.pop_sample::<()>() {
            let number = sample.payload().first_chunk().copied().map(u64::from_le_bytes);
            numbers.push((sample.info().sequence, number.unwrap()));
        }
        numbers
    }

    #[test]
    fn the_last_of_each_topic_does_not_keep_its_frame() {
        let mut queue = ReaderQueue::new(History::KeepLast(1), ResourceLimits::default(), Overflow::Wait);
        for topic in 0..100 {
            let gave_way = queue.push(chunk(&format!("many/{topic}"), COUNT));
            assert_eq!(gave_way, GaveWay { replaced: COUNT as u64 - 1, over_limits: 0 });
        }
        assert_eq!((queue.samples, queue.bytes), (100, kept(&queue)));
        let most = 100 * (FRAME_OVERHEAD + 128);
        assert!(queue.bytes < most, "{} bytes for a hundred samples of sixteen", queue.bytes);
        assert_eq!(numbers(&mut queue), [(COUNT as u64, COUNT as u64 - 1); 100]);
        assert_eq!((queue.samples, queue.bytes, queue.instances.len()), (0, 0, 0));
    }

    #[test]
    fn the_oldest_give_way_at_the_bound_in_bytes() {
        let limits = ResourceLimits { max_samples: 1 << 20, max_bytes: 100_000 };
        let mut queue = ReaderQueue::new(History::KeepAll, limits, Overflow::DropOldest);
        let mut gave_way = 0;
        for _ in 0..10 {
            gave_way += queue.push(chunk("one", COUNT)).over_limits;
            assert!(queue.bytes <= limits.max_bytes && queue.bytes == kept(&queue), "{}", queue.bytes);
        }
        let numbers = numbers(&mut queue);
        assert_eq!(numbers.len() as u64 + gave_way, 10 * COUNT as u64);
        assert!(numbers.len() > COUNT, "the newest frame and a part of the one before");
        assert!(numbers.iter().all(|(sequence, number)| *sequence == number + 1));
        assert_eq!((queue.samples, queue.bytes), (0, 0));
    }

    #[test]
    fn a_frame_that_is_being_read_counts_as_a_whole() {
        let mut queue = ReaderQueue::new(History::KeepLast(5_000), ResourceLimits::default(), Overflow::Wait);
        queue.push(chunk("one", COUNT));
        let whole = queue.bytes;
        for _ in 0..COUNT - 1 {
            assert!(queue.pop_sample::<()>().is_some());
        }
        assert_eq!((queue.samples, queue.bytes, kept(&queue)), (1, whole, whole));
    }

    #[test]
    fn room_is_by_policy() {
        let limits = ResourceLimits { max_samples: 2, max_bytes: 1 << 20 };
        let (one, other) = (Topic::new("one").unwrap(), Topic::new("other").unwrap());
        let rooms = |history, overflow| {
            let mut queue = ReaderQueue::new(history, limits, overflow);
            queue.push(chunk("one", 2));
            (queue.has_room_for(&one), queue.has_room_for(&other))
        };
        let keep_last = History::KeepLast(2);
        for overflow in [Overflow::DropNewest, Overflow::Disconnect] {
            assert_eq!(rooms(History::KeepAll, overflow), (false, false));
            assert_eq!(rooms(keep_last, overflow), (true, false), "by its depth the one topic has room");
        }
        assert_eq!(rooms(History::KeepAll, Overflow::Wait), (false, false));
        assert_eq!(rooms(keep_last, Overflow::Wait), (true, true));
        assert_eq!(rooms(History::KeepAll, Overflow::DropOldest), (true, true));
    }
}
