//! What a session's users subscribe to, and the exact check of what a socket or a broker lets through.

use ahash::{HashMap, HashSet};

use crate::topic::{Topic, TopicFilter};

/// So many decisions about topics are remembered; a session that hears more decides anew.
const REMEMBERED: usize = 4096;

/// Which topics are wanted. Exact filters are looked up, wildcards are tried one by one, and both only once for a
/// topic: the decision is remembered together with the parsed topic.
#[derive(Debug, Default)]
pub(in crate::transport) struct Filters {
    exact: HashSet<String>,
    wildcards: Vec<TopicFilter>,
    decided: HashMap<Box<[u8]>, Verdict>,
}

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::transport) enum Verdict {
    /// A filter matches.
    Wanted(Topic),
    /// It came, but no filter matches.
    Unwanted,
    /// This is no topic.
    Malformed,
}

impl Filters {
    /// Adds a filter; `false` if it was there.
    pub(in crate::transport) fn insert(&mut self, filter: &TopicFilter) -> bool {
        let new = if filter.is_exact() {
            self.exact.insert(filter.as_str().to_owned())
        } else if self.wildcards.contains(filter) {
            false
        } else {
            self.wildcards.push(filter.clone());
            true
        };
        if new {
            self.decided.clear();
        }
        new
    }

    /// Takes a filter back; `false` if it was not there.
    pub(in crate::transport) fn remove(&mut self, filter: &TopicFilter) -> bool {
        let known = if filter.is_exact() {
            self.exact.remove(filter.as_str())
        } else {
            let before = self.wildcards.len();
            self.wildcards.retain(|other| other != filter);
            self.wildcards.len() < before
        };
        if known {
            self.decided.clear();
        }
        known
    }

    /// Decides about a topic as it came from the network.
    pub(in crate::transport) fn judge(&mut self, name: &[u8]) -> Verdict {
        if let Some(verdict) = self.decided.get(name) {
            return verdict.clone();
        }
        let verdict = self.decide(name);
        if self.decided.len() >= REMEMBERED {
            self.decided.clear();
        }
        self.decided.insert(name.into(), verdict.clone());
        verdict
    }

    fn decide(&self, name: &[u8]) -> Verdict {
        let Some(topic) = std::str::from_utf8(name).ok().and_then(|name| Topic::new(name).ok()) else {
            return Verdict::Malformed;
        };
        if self.exact.contains(topic.as_str()) || self.wildcards.iter().any(|filter| filter.matches(&topic)) {
            Verdict::Wanted(topic)
        } else {
            Verdict::Unwanted
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::new(text).unwrap()
    }

    #[test]
    fn a_filter_counts_once_and_decisions_follow_changes() {
        let mut filters = Filters::default();
        assert_eq!(filters.judge(b"a/b"), Verdict::Unwanted);
        assert!(filters.insert(&filter("a/+")));
        assert!(!filters.insert(&filter("a/+")));
        assert!(filters.insert(&filter("a/b")));
        assert_eq!(filters.judge(b"a/b"), Verdict::Wanted(Topic::new("a/b").unwrap()));
        assert!(filters.remove(&filter("a/+")));
        assert!(matches!(filters.judge(b"a/b"), Verdict::Wanted(_)));
        assert_eq!(filters.judge(b"a/c"), Verdict::Unwanted);
        assert!(filters.remove(&filter("a/b")));
        assert!(!filters.remove(&filter("a/b")));
        assert_eq!(filters.judge(b"a/b"), Verdict::Unwanted);
    }

    #[test]
    fn reserved_topics_need_a_reserved_filter() {
        let mut filters = Filters::default();
        filters.insert(&filter("#"));
        assert_eq!(filters.judge(b"@ringbus/x"), Verdict::Unwanted);
        filters.insert(&filter("@ringbus/#"));
        assert!(matches!(filters.judge(b"@ringbus/x"), Verdict::Wanted(_)));
    }

    #[test]
    fn what_is_no_topic_is_malformed_and_memory_is_bounded() {
        let mut filters = Filters::default();
        assert_eq!(filters.judge(b""), Verdict::Malformed);
        assert_eq!(filters.judge(b"\xff"), Verdict::Malformed);
        assert_eq!(filters.judge(b"a/+"), Verdict::Malformed);
        for i in 0..2 * REMEMBERED {
            filters.judge(format!("t/{i}").as_bytes());
        }
        assert!(filters.decided.len() <= REMEMBERED);
    }
}
