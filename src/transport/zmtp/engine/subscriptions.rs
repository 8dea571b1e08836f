//! What one peer has subscribed to: byte prefixes of publications.

use std::collections::BTreeSet;
use std::ops::Bound;

use crate::topic::Topic;
use crate::transport::zmq::prefix::lead;

/// As many prefixes, and bytes of them, one connection may have.
const MOST: usize = 65_536;
const MOST_BYTES: usize = 8 << 20;
/// What a prefix takes beside its bytes.
const EACH: usize = 64;

/// The prefixes of one connection. Each counts once, however often it is subscribed to, as at libzmq's XPUB.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    prefixes: BTreeSet<Box<[u8]>>,
    bytes: usize,
}

/// Some of them.
pub(super) type Prefixes = Vec<Box<[u8]>>;

/// Whether publications to a topic are wanted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// None of them.
    No,
    /// All of them.
    Yes,
    /// Those that begin with one of these: they go on behind the topic.
    If(Prefixes),
}

impl Subscriptions {
    /// Adds a prefix. `None` if there are too many.
    pub(super) fn insert(&mut self, prefix: &[u8]) -> Option<()> {
        if self.prefixes.contains(prefix) {
            return Some(());
        }
        let bytes = self.bytes + prefix.len() + EACH;
        if self.prefixes.len() >= MOST || bytes > MOST_BYTES {
            return None;
        }
        self.bytes = bytes;
        self.prefixes.insert(prefix.into());
        Some(())
    }

    /// Takes a prefix back.
    pub(super) fn remove(&mut self, prefix: &[u8]) {
        if self.prefixes.remove(prefix) {
            self.bytes -= prefix.len() + EACH;
        }
    }

    /// What publications to a topic are wanted.
    pub(super) fn wants(&self, topic: &Topic) -> Wanted {
        let lead = lead(topic);
        if self.has_prefix_of(&lead) {
            return Wanted::Yes;
        }
        let longer: Vec<_> = self
            .prefixes
            .range::<[u8], _>((Bound::Excluded(&lead[..]), Bound::Unbounded))
            .take_while(|prefix| prefix.starts_with(&lead))
            .cloned()
            .collect();
        if longer.is_empty() { Wanted::No } else { Wanted::If(longer) }
    }

    /// Whether one of the prefixes is one of `frame`.
    fn has_prefix_of(&self, mut frame: &[u8]) -> bool {
        // The greatest prefix that is not above the frame is one of it, or all of the frame's own prefixes in the set are
        // ones of what the two have in common.
        loop {
            let below =
                self.prefixes.range::<[u8], _>((Bound::Unbounded, Bound::Included(frame))).next_back();
            let Some(below) = below else { return false };
            let common = below.iter().zip(frame).take_while(|(a, b)| a == b).count();
            if common == below.len() {
                return true;
            }
            frame = &frame[..common];
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn topic(name: &str) -> Topic {
        Topic::new(name).unwrap()
    }

    #[test]
    fn prefixes_end_within_the_topic_behind_it_or_in_the_payload() {
        let mut set = Subscriptions::default();
        for prefix in [&b"a/b\0"[..], b"x/", b"p\0key", b"p\0other", b"q"] {
            set.insert(prefix).unwrap();
        }
        assert_eq!(set.wants(&topic("a/b")), Wanted::Yes);
        assert_eq!(set.wants(&topic("a/bc")), Wanted::No);
        assert_eq!(set.wants(&topic("x/y/z")), Wanted::Yes);
        assert_eq!(set.wants(&topic("x")), Wanted::No);
        let Wanted::If(prefixes) = set.wants(&topic("p")) else { panic!() };
        assert_eq!(prefixes, [b"p\0key"[..].into(), b"p\0other"[..].into()]);
        set.remove(b"q");
        set.remove(b"never");
        assert_eq!(set.wants(&topic("q")), Wanted::No);
        set.insert(b"").unwrap();
        assert_eq!(set.wants(&topic("anything")), Wanted::Yes);
    }

    #[test]
    fn a_stranger_cannot_subscribe_without_bound() {
        let mut set = Subscriptions::default();
        for number in 0..MOST {
            assert!(set.insert(format!("{number}").as_bytes()).is_some());
            assert!(set.insert(format!("{number}").as_bytes()).is_some(), "it is there");
        }
        assert!(set.insert(b"one more").is_none());
        let mut set = Subscriptions::default();
        let long = vec![0; 1024];
        let most = (0..MOST)
            .take_while(|number| set.insert(&[&number.to_be_bytes()[..], &long].concat()).is_some())
            .count();
        assert!(most * 1024 <= MOST_BYTES && most * 1200 > MOST_BYTES, "{most}");
    }

    proptest! {
        #[test]
        fn the_set_finds_what_a_search_finds(
            prefixes in proptest::collection::vec(proptest::collection::vec(0..4u8, 0..5), 0..20),
            frame in proptest::collection::vec(0..4u8, 0..8),
        ) {
            let mut set = Subscriptions::default();
            prefixes.iter().for_each(|prefix| set.insert(prefix).unwrap());
            let expected = prefixes.iter().any(|prefix| frame.starts_with(prefix));
            prop_assert_eq!(set.has_prefix_of(&frame), expected);
        }
    }
}
