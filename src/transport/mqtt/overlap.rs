//! Second copies of a message while the broker holds an old and a new filter that overlap.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use rumqttc::Publish;

use crate::topic::TopicFilter;

/// How many messages a generation of the memory holds. Copies come close behind each other.
const GENERATION: usize = 4096;

/// Recognises the second copy of a message between a SUBSCRIBE and the end of the filter that it replaces.
///
/// That is the round trip in which [`Subscriptions`](super::subscriptions::Subscriptions) is in transition; subscribing
/// first and unsubscribing after it loses nothing, but lets some messages come twice. Retained messages are left alone:
/// they were asked for by the SUBSCRIBE. What this cannot tell apart from a copy is an equal message to the same topic
/// that the broker takes in the microseconds between the end of the old filter and the fence behind it.
#[derive(Debug, Default)]
pub(super) struct Transition {
    old: Vec<TopicFilter>,
    new: Vec<TopicFilter>,
    /// Hashes of the messages that came once and are expected again.
    once: HashSet<u64>,
    /// The generation before: messages that were under way when the transition began come once and would fill the one.
    before: HashSet<u64>,
    hasher: RandomState,
}

impl Transition {
    /// Begins: `new` is being subscribed to while `old` is in force.
    pub(super) fn begin(&mut self, old: Vec<TopicFilter>, new: Vec<TopicFilter>) {
        self.end();
        (self.old, self.new) = (old, new);
    }

    /// Whether one has begun and not ended in which second copies are possible.
    pub(super) fn is_under_way(&self) -> bool {
        !self.old.is_empty()
    }

    /// Ends: the broker holds disjoint filters again.
    pub(super) fn end(&mut self) {
        self.old.clear();
        self.new.clear();
        self.once = HashSet::new();
        self.before = HashSet::new();
    }

    /// Whether this is the copy of a message that was handed out already.
    pub(super) fn is_second_copy(&mut self, publish: &Publish) -> bool {
        let under = |filters: &[TopicFilter]| {
            filters.iter().any(|filter| rumqttc::matches(&publish.topic, filter.as_str()))
        };
        if self.new.is_empty() || publish.retain || !under(&self.old) || !under(&self.new) {
            return false;
        }
        let hash = self.hasher.hash_one((&publish.topic, &publish.payload));
        if self.once.remove(&hash) || self.before.remove(&hash) {
            return true;
        }
        if self.once.len() >= GENERATION {
            self.before = std::mem::take(&mut self.once);
        }
        self.once.insert(hash);
        false
    }
}

#[cfg(test)]
mod tests {
    use rumqttc::QoS;

    use super::*;

    fn message(topic: &str, payload: &str) -> Publish {
        Publish::new(topic, QoS::AtMostOnce, payload)
    }

    fn filters(text: &str) -> Vec<TopicFilter> {
        vec![TopicFilter::new(text).unwrap()]
    }

    #[test]
    fn drops_the_second_copy_and_no_more() {
        let mut transition = Transition::default();
        transition.begin(filters("a/b"), filters("a/+"));
        let seen: Vec<bool> = (0..4).map(|_| transition.is_second_copy(&message("a/b", "equal"))).collect();
        assert_eq!(seen, [false, true, false, true]);
        assert!(!transition.is_second_copy(&message("a/c", "x")));
        assert!(!transition.is_second_copy(&message("a/c", "x")), "only the new filter matches");
    }

    #[test]
    fn a_backlog_of_single_copies_does_not_fill_the_memory() {
        let mut transition = Transition::default();
        transition.begin(filters("a/b"), filters("a/+"));
        for n in 0..3 * GENERATION {
            assert!(!transition.is_second_copy(&message("a/b", &n.to_string())));
        }
        assert!(!transition.is_second_copy(&message("a/b", "twice")));
        assert!(transition.is_second_copy(&message("a/b", "twice")));
        assert!(transition.once.len() + transition.before.len() <= 2 * GENERATION);
    }

    #[test]
    fn outside_of_a_transition_equal_messages_are_messages() {
        let mut transition = Transition::default();
        assert!(!transition.is_second_copy(&message("a/b", "equal")));
        assert!(!transition.is_second_copy(&message("a/b", "equal")));
        transition.begin(filters("a/b"), filters("a/+"));
        transition.is_second_copy(&message("a/b", "equal"));
        transition.end();
        assert!(!transition.is_second_copy(&message("a/b", "equal")));
    }

    #[test]
    fn retained_messages_are_left_alone() {
        let mut transition = Transition::default();
        transition.begin(filters("a/b"), filters("a/+"));
        let mut retained = message("a/b", "kept");
        retained.retain = true;
        assert!(!transition.is_second_copy(&retained));
        assert!(!transition.is_second_copy(&retained));
    }
}
