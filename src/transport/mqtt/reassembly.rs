//! Fragments on their way back to messages: bounded in memory, in number and in time.

use std::collections::HashMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use crate::wire::Fragment;

/// So many messages of one sender, and of all, are put together at a time. The oldest gives way.
const OF_ONE: usize = 8;
const OF_ALL: usize = 256;

/// A message of which nothing has come for so long is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// The messages of which some fragments have come.
///
/// The fragments of a message come in order, since a broker keeps the order of what a session
/// publishes to a topic. Second copies are passed over. A gap ends the message, which is then
/// repaired, or counted as lost, as any other.
#[derive(Debug)]
pub(super) struct Reassembly {
    partial: HashMap<(u64, u32), Partial>,
    /// The bytes of all that have come.
    bytes: usize,
    /// The most of them.
    most: usize,
    /// The largest message.
    largest: usize,
}

#[derive(Debug)]
struct Partial {
    /// Where its fragments arrive: one from elsewhere is none of them.
    topic: String,
    next: u16,
    count: u16,
    total: usize,
    content: BytesMut,
    seen: Instant,
}

/// What became of a fragment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It completes this message.
    Whole(Bytes),
    /// More are to come, or it came before.
    Part,
    /// Its message cannot be put together.
    Lost,
    /// Its message is over the limit.
    Oversize,
}

impl Reassembly {
    /// For messages of at most `largest` bytes.
    pub(super) fn new(largest: usize) -> Self {
        Self { partial: HashMap::new(), bytes: 0, most: largest.saturating_mul(2), largest }
    }

    /// Takes a fragment that came on a topic.
    pub(super) fn take(&mut self, now: Instant, topic: &str, fragment: Fragment, part: &[u8]) -> Taken {
        let key = (fragment.sender, fragment.message);
        let total = fragment.total as usize;
        if total > self.largest {
            return if fragment.index == 0 { Taken::Oversize } else { Taken::Part };
        }
        if fragment.index == 0 && !self.partial.contains_key(&key) {
            self.make_room(now, fragment.sender);
            // Grows with what comes, not with what is stated.
            let content = BytesMut::with_capacity(part.len());
            let (topic, count) = (topic.to_owned(), fragment.count);
            let partial = Partial { topic, next: 0, count, total, content, seen: now };
            self.partial.insert(key, partial);
        }
        // The rest of one that was given up, or a late copy of one that is complete.
        let Some(partial) = self.partial.get_mut(&key) else { return Taken::Part };
        if fragment.index < partial.next || partial.topic != topic {
            return Taken::Part;
        }
        let fits = partial.content.len() + part.len() <= partial.total;
        if fragment.index > partial.next || (fragment.count, total) != (partial.count, partial.total) || !fits
        {
            self.forget(key);
            return Taken::Lost;
        }
        partial.content.extend_from_slice(part);
        (partial.next, partial.seen) = (partial.next + 1, now);
        self.bytes += part.len();
        if partial.next < partial.count {
            while self.bytes > self.most && self.forget_oldest(|other| *other != key) {}
            return Taken::Part;
        }
        match self.forget(key) {
            Some(partial) if partial.content.len() == partial.total => Taken::Whole(partial.content.freeze()),
            _ => Taken::Lost,
        }
    }

    /// Gives up what has not gone on for long.
    pub(super) fn expire(&mut self, now: Instant) {
        let is_old = |partial: &Partial| now.saturating_duration_since(partial.seen) > PATIENCE;
        let old: Vec<_> =
            self.partial.iter().filter(|(_, partial)| is_old(partial)).map(|(key, _)| *key).collect();
        for key in old {
            self.forget(key);
        }
    }

    fn make_room(&mut self, now: Instant, sender: u64) {
        if self.partial.is_empty() {
            return;
        }
        self.expire(now);
        if self.partial.keys().filter(|(of, _)| *of == sender).count() >= OF_ONE {
            self.forget_oldest(|(of, _)| *of == sender);
        }
        if self.partial.len() >= OF_ALL {
            self.forget_oldest(|_| true);
        }
    }

    fn forget_oldest(&mut self, may: impl Fn(&(u64, u32)) -> bool) -> bool {
        let oldest = self.partial.iter().filter(|(key, _)| may(key)).min_by_key(|(_, partial)| partial.seen);
        let oldest = oldest.map(|(key, _)| *key);
        oldest.is_some_and(|key| self.forget(key).is_some())
    }

    fn forget(&mut self, key: (u64, u32)) -> Option<Partial> {
        let partial = self.partial.remove(&key)?;
        self.bytes -= partial.content.len();
        Some(partial)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fragment(message: u32, index: u16, count: u16, total: u32) -> Fragment {
        Fragment { sender: 1, message, index, count, total }
    }

    #[test]
    fn parts_in_order_are_the_message_whatever_comes_twice() {
        let mut all = Reassembly::new(1000);
        let now = Instant::now();
        for index in [0, 0, 1, 0, 1] {
            assert_eq!(all.take(now, "t", fragment(1, index, 3, 6), b"ab"), Taken::Part);
        }
        assert_eq!(all.take(now, "t", fragment(2, 0, 1, 1), b"x"), Taken::Whole("x".into()));
        assert_eq!(all.take(now, "another", fragment(1, 2, 3, 6), b"xy"), Taken::Part, "elsewhere");
        assert_eq!(all.take(now, "t", fragment(1, 2, 3, 6), b"ab"), Taken::Whole("ababab".into()));
        assert_eq!(all.take(now, "t", fragment(1, 2, 3, 6), b"ab"), Taken::Part, "a late copy");
        assert!(all.partial.is_empty() && all.bytes == 0);
    }

    #[test]
    fn a_gap_a_contradiction_or_a_wrong_length_loses_the_message() {
        let now = Instant::now();
        for second in [fragment(1, 2, 3, 6), fragment(1, 1, 4, 6), fragment(1, 1, 3, 7), fragment(1, 1, 2, 5)]
        {
            let mut all = Reassembly::new(1000);
            let first =
                Fragment { index: 0, ..if second.count == 2 { second } else { fragment(1, 0, 3, 6) } };
            assert_eq!(all.take(now, "t", first, b"ab"), Taken::Part);
            assert_eq!(all.take(now, "t", second, b"ab"), Taken::Lost, "{second:?}");
            assert_eq!(
                all.take(now, "t", fragment(1, 2, 3, 6), b"ab"),
                Taken::Part,
                "the rest is passed over"
            );
            assert!(all.partial.is_empty() && all.bytes == 0);
        }
        let mut all = Reassembly::new(5);
        assert_eq!(all.take(now, "t", fragment(1, 0, 3, 6), b"ab"), Taken::Oversize);
        assert_eq!(all.take(now, "t", fragment(1, 1, 3, 6), b"ab"), Taken::Part, "it is told once");
    }

    #[test]
    fn is_bounded_in_memory_in_number_and_in_time() {
        let mut all = Reassembly::new(10_000);
        let now = Instant::now();
        for message in 0..10_000u32 {
            let sender = u64::from(message / 20);
            let begin = Fragment { sender, ..fragment(message, 0, 100, 10_000) };
            assert_eq!(all.take(now, "t", begin, &[0; 150]), Taken::Part);
            assert!(
                all.partial.len() <= OF_ALL && all.bytes <= all.most,
                "{} {}",
                all.partial.len(),
                all.bytes
            );
            assert!(all.partial.keys().filter(|(of, _)| *of == sender).count() <= OF_ONE);
        }
        assert!(all.partial.len() > 100);
        all.expire(now + PATIENCE);
        assert!(all.partial.len() > 100);
        all.expire(now + PATIENCE + Duration::from_millis(1));
        assert!(all.partial.is_empty() && all.bytes == 0);
    }

    fn hostile() -> impl Strategy<Value = (Fragment, Vec<u8>)> {
        let numbers = (0..3u64, 0..3u32, 0..4u16, 1..4u16, 1..9u32);
        let fragment = numbers.prop_map(|(sender, message, index, count, total)| Fragment {
            sender,
            message,
            index,
            count,
            total,
        });
        (fragment, prop::collection::vec(any::<u8>(), 1..6))
    }

    proptest! {
        #[test]
        fn whatever_comes_is_bounded_and_a_whole_message_has_the_stated_length(
            all_that_comes in prop::collection::vec(hostile(), 0..200)
        ) {
            let (mut all, now) = (Reassembly::new(7), Instant::now());
            for (fragment, part) in all_that_comes {
                match all.take(now, "t", fragment, &part) {
                    Taken::Whole(whole) => prop_assert_eq!(whole.len(), fragment.total as usize),
                    Taken::Oversize => prop_assert!(fragment.total > 7),
                    Taken::Part | Taken::Lost => {}
                }
                let bytes: usize = all.partial.values().map(|partial| partial.content.len()).sum();
                prop_assert!(bytes == all.bytes && bytes <= all.most);
            }
        }
    }
}
