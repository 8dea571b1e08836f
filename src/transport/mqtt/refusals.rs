//! Messages that the broker refuses: what the sending halves know of them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::ErrorKind;
use crate::quiet::lock;

/// So many topics are remembered; beyond it the memory begins anew.
const MOST: usize = 1024;

/// So long the messages of a topic are refused without asking the broker.
const BELIEVED: Duration = Duration::from_secs(60);

/// A message of at most this size is not refused for its size: its topic is.
const SMALL: usize = 1024;

/// By topic. Shared by the connection's task and the sending halves.
#[derive(Debug, Clone, Default)]
pub(super) struct Refusals(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// What a send looks at: one load.
    any: AtomicBool,
    topics: Mutex<HashMap<String, Refusal>>,
}

#[derive(Debug)]
struct Refusal {
    why: ErrorKind,
    /// Messages of this size and more are refused, in bytes.
    least: usize,
    until: Instant,
    /// No flush has told it.
    untold: bool,
}

impl Refusals {
    /// A message was given up; until when messages like it are refused without asking, if they are `certain` to be.
    pub(super) fn note(&self, now: Instant, topic: &str, size: usize, why: ErrorKind, certain: bool) {
        let mut topics = lock(&self.0.topics);
        if topics.len() >= MOST {
            topics.clear();
        }
        let known = topics.get(topic).filter(|refusal| now < refusal.until).map_or(usize::MAX, |r| r.least);
        let least = if size <= SMALL { 0 } else { size.min(known) };
        let until = if certain { now + BELIEVED } else { now };
        topics.insert(topic.to_owned(), Refusal { why, least, until, untold: true });
        self.0.any.store(true, Ordering::Release);
    }

    /// Why a message is refused without asking the broker.
    pub(super) fn of(&self, topic: &str, size: usize) -> Option<ErrorKind> {
        if !self.0.any.load(Ordering::Acquire) {
            return None;
        }
        let topics = lock(&self.0.topics);
        let refusal = topics.get(topic)?;
        (size >= refusal.least && Instant::now() < refusal.until).then(|| refusal.why.clone())
    }

    /// The refusal of one of the topic's messages that was not taken yet.
    pub(super) fn take(&self, topic: &str) -> Option<ErrorKind> {
        if !self.0.any.load(Ordering::Acquire) {
            return None;
        }
        let mut topics = lock(&self.0.topics);
        let refusal = topics.get_mut(topic)?;
        std::mem::take(&mut refusal.untold).then(|| refusal.why.clone())
    }

    /// The broker was away: what comes back may be another one. What was not told stays.
    pub(super) fn outage(&self, now: Instant) {
        if self.0.any.load(Ordering::Acquire) {
            lock(&self.0.topics).values_mut().for_each(|refusal| refusal.until = now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(size: usize) -> ErrorKind {
        let (topic, broker, reason) = ("t".into(), "mqtt://h:1".into(), "it closes".into());
        ErrorKind::Refused { topic, size, broker, reason }
    }

    #[test]
    fn a_refusal_is_of_a_topic_or_of_a_size_and_is_taken_once() {
        let refusals = Refusals::default();
        assert!(refusals.of("t", 10).is_none() && refusals.take("t").is_none());
        let now = Instant::now();
        refusals.note(now, "t", 200_000, why(200_000), true);
        assert!(refusals.of("t", 199_999).is_none() && refusals.of("other", 200_000).is_none());
        assert_eq!(refusals.of("t", 200_001), Some(why(200_000)));
        assert_eq!(refusals.take("t"), Some(why(200_000)));
        assert_eq!(refusals.take("t"), None);
        refusals.note(now, "t", 300_000, why(300_000), true);
        assert!(refusals.of("t", 200_000).is_some(), "what is known stays");
        refusals.note(now, "t", 20, why(20), true);
        assert_eq!(refusals.of("t", 0), Some(why(20)));
        refusals.note(now, "u", 20, why(20), false);
        assert!(refusals.of("u", 20).is_none() && refusals.take("u").is_some());
        refusals.outage(now);
        assert!(refusals.of("t", 20).is_none());
        assert_eq!(refusals.take("t"), Some(why(20)));
    }
}
