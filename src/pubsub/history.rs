//! A writer's cache of sent frames, for repairs, late joiners and takeovers.

use std::collections::VecDeque;

use crate::qos::History;
use crate::time::Timestamp;
use crate::wire::DataFrame;

/// Frames in sequence order. Frames are kept and dropped whole; [`first`](Self::first) hides what a keep-last depth
/// no longer covers.
#[derive(Debug, Default)]
pub(super) struct HistoryCache {
    frames: VecDeque<Kept>,
    samples: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    frame: DataFrame,
    newest: Timestamp,
}

impl HistoryCache {
    /// Appends a frame that follows all others, and whose newest source timestamp is `newest`.
    pub(super) fn push(&mut self, frame: DataFrame, newest: Timestamp) {
        self.samples += usize::from(frame.header().count);
        self.bytes += frame.bytes().len();
        self.frames.push_back(Kept { frame, newest });
    }

    /// Samples kept.
    pub(super) fn samples(&self) -> usize {
        self.samples
    }

    /// Frame bytes kept.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The sequence number of the oldest sample that the history policy still covers.
    pub(super) fn first(&self, history: History) -> Option<u64> {
        let front = self.frames.front()?.frame.header().first;
        let end = self.frames.back()?.frame.header().end();
        Some(front.max(end.saturating_sub(history.depth())))
    }

    /// The first sequence number whose source timestamp is after `after`.
    pub(super) fn first_after(&self, after: Timestamp) -> Option<u64> {
        let kept = self.frames.iter().find(|kept| kept.newest > after)?;
        kept.frame.samples().find(|sample| sample.source > after).map(|sample| sample.sequence)
    }

    /// The frames that hold samples of the inclusive range, in order.
    pub(super) fn range(&self, from: u64, to: u64) -> impl Iterator<Item = &DataFrame> {
        let start = self.frames.partition_point(|kept| kept.frame.header().end() <= from);
        self.frames.range(start..).map(|kept| &kept.frame).take_while(move |frame| frame.header().first <= to)
    }

    /// Drops frames from the old end while `more` says so of the oldest; it sees the oldest frame's end and how
    /// many samples and bytes are kept with it.
    pub(super) fn evict_while(&mut self, mut more: impl FnMut(&DataFrame, usize, usize) -> bool) {
        while let Some(kept) = self.frames.front() {
            if !more(&kept.frame, self.samples, self.bytes) {
                break;
            }
            self.samples -= usize::from(kept.frame.header().count);
            self.bytes -= kept.frame.bytes().len();
            self.frames.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Encoding, EntityId, SessionId};
    use crate::wire::FrameBuilder;

    fn frames(counts: &[usize]) -> Vec<DataFrame> {
        let writer = EntityId { session: SessionId(1), entity: 1 };
        let mut builder = FrameBuilder::new(Encoding::Raw, writer, 1, 1);
        counts
            .iter()
            .map(|count| {
                for _ in 0..*count {
                    let source = Timestamp::from_secs(builder.next_sequence() as i64 * 10);
                    let payload = |out: &mut Vec<u8>| {
                        out.push(7);
                        Ok(())
                    };
                    builder.push(source, source, 100, payload).unwrap();
                }
                builder.take().unwrap()
            })
            .collect()
    }

    #[test]
    fn ranges_cover_whole_frames_and_nothing_more() {
        let mut cache = HistoryCache::default();
        frames(&[2, 3, 1]).into_iter().for_each(|frame| cache.push(frame.clone(), frame.newest()));
        let firsts = |from, to| cache.range(from, to).map(|f| f.header().first).collect::<Vec<_>>();
        assert_eq!(firsts(1, 6), [1, 3, 6]);
        assert_eq!(firsts(2, 2), [1]);
        assert_eq!(firsts(5, 6), [3, 6]);
        assert_eq!(firsts(7, 9), [] as [u64; 0]);
    }

    #[test]
    fn keep_last_hides_the_rest_of_a_frame() {
        let mut cache = HistoryCache::default();
        frames(&[2, 3]).into_iter().for_each(|frame| cache.push(frame.clone(), frame.newest()));
        assert_eq!(cache.first(History::KeepAll), Some(1));
        assert_eq!(cache.first(History::KeepLast(2)), Some(4));
        assert_eq!(cache.first(History::KeepLast(9)), Some(1));
    }

    #[test]
    fn finds_the_first_sample_after_a_time() {
        let mut cache = HistoryCache::default();
        frames(&[2, 3]).into_iter().for_each(|frame| cache.push(frame.clone(), frame.newest()));
        assert_eq!(cache.first_after(Timestamp::MIN), Some(1));
        assert_eq!(cache.first_after(Timestamp::from_secs(30)), Some(4));
        assert_eq!(cache.first_after(Timestamp::from_secs(50)), None);
    }

    #[test]
    fn evicts_from_the_old_end() {
        let mut cache = HistoryCache::default();
        frames(&[2, 3, 1]).into_iter().for_each(|frame| cache.push(frame.clone(), frame.newest()));
        cache.evict_while(|_, samples, _| samples > 4);
        assert_eq!((cache.samples(), cache.first(History::KeepAll)), (4, Some(3)));
    }
}
