//! Between filters with wildcards and libzmq's subscriptions, which are byte prefixes of `topic 0x00 payload`.

use bytes::Bytes;

use crate::topic::{MAX_TOPIC_LEN, Topic, TopicFilter};

/// What stands between the topic and the payload; topics never hold it.
pub(in crate::transport) const SEPARATOR: u8 = 0;

/// What comes before the payload in a publication.
pub(in crate::transport) fn lead(topic: &Topic) -> Bytes {
    terminated(topic.as_str()).into()
}

/// How long the topic of a publication is, in bytes. `None` if the frame is no publication.
pub(in crate::transport) fn topic_end(frame: &[u8]) -> Option<usize> {
    frame.iter().take(MAX_TOPIC_LEN + 1).position(|&b| b == SEPARATOR)
}

/// The prefixes to subscribe to, so that everything under the filter arrives, and little else.
pub(in crate::transport) fn prefixes(filter: &TopicFilter) -> Vec<Vec<u8>> {
    let text = filter.as_str();
    if filter.is_exact() {
        return vec![terminated(text)];
    }
    match text.strip_suffix("/#") {
        // `a/#` is `a` itself and all below it; the prefix `a` would bring `ab` as well.
        Some(parent) if !parent.contains('+') => vec![terminated(parent), format!("{parent}/").into_bytes()],
        _ => vec![filter.literal_prefix().as_bytes().to_vec()],
    }
}

/// The narrowest filter that covers what a prefix subscribes to. `None` for a prefix that no topic begins with.
///
/// `#` does not match reserved topics: the empty prefix of a peer of this library does not ask for them either.
pub(in crate::transport) fn interest(prefix: &[u8]) -> Option<TopicFilter> {
    if let Some(at) = prefix.iter().position(|&b| b == SEPARATOR) {
        // What follows the separator filters payloads: the topic is the widest that can be said.
        let filter = TopicFilter::new(std::str::from_utf8(&prefix[..at]).ok()?).ok()?;
        return filter.is_exact().then_some(filter);
    }
    // A prefix may end within a character.
    let text = match std::str::from_utf8(prefix) {
        Ok(text) => text,
        Err(e) if e.error_len().is_none() => std::str::from_utf8(&prefix[..e.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    if text.contains(['+', '#']) {
        return None;
    }
    match text.rsplit_once('/') {
        Some((parent, _)) => TopicFilter::new(format!("{parent}/#")).ok(),
        None if text == crate::topic::RESERVED_LEVEL => TopicFilter::new(format!("{text}/#")).ok(),
        None => TopicFilter::new("#").ok(),
    }
}

fn terminated(topic: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(topic.len() + 1);
    bytes.extend_from_slice(topic.as_bytes());
    bytes.push(SEPARATOR);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::Topic;
    use proptest::prelude::*;

    fn of(filter: &str) -> Vec<Vec<u8>> {
        prefixes(&TopicFilter::new(filter).unwrap())
    }

    #[test]
    fn filters_become_prefixes() {
        assert_eq!(of("a/b"), [b"a/b\0".to_vec()]);
        assert_eq!(of("a/#"), [b"a\0".to_vec(), b"a/".to_vec()]);
        assert_eq!(of("a/+"), [b"a/".to_vec()]);
        assert_eq!(of("a/+/#"), [b"a/".to_vec()]);
        assert_eq!(of("#"), [b"".to_vec()]);
        assert_eq!(of("+/b"), [b"".to_vec()]);
        assert_eq!(of("@ringbus/#"), [b"@ringbus\0".to_vec(), b"@ringbus/".to_vec()]);
    }

    #[test]
    fn prefixes_become_filters() {
        let cases: [(&[u8], Option<&str>); 12] = [
            (b"a/b\0", Some("a/b")),
            (b"a/b\0xyz", Some("a/b")),
            (b"a/", Some("a/#")),
            (b"a/b", Some("a/#")),
            (b"a", Some("#")),
            (b"", Some("#")),
            (b"@ringbus", Some("@ringbus/#")),
            (b"@ringbus/x", Some("@ringbus/#")),
            (b"a+", None),
            (b"a/+\0", None),
            (b"\xff\xff", None),
            (b"\0", None),
        ];
        for (prefix, filter) in cases {
            assert_eq!(interest(prefix).as_ref().map(TopicFilter::as_str), filter, "{prefix:?}");
        }
        assert_eq!(interest("a/ü".as_bytes().split_last().unwrap().1).unwrap().as_str(), "a/#");
    }

    fn level() -> impl Strategy<Value = String> {
        prop_oneof![Just("a"), Just("b"), Just("ab"), Just(""), Just("@ringbus"), Just("$x"), Just("ü")]
            .prop_map(str::to_owned)
    }

    fn filter() -> impl Strategy<Value = TopicFilter> {
        let levels = proptest::collection::vec(prop_oneof![3 => level(), 1 => Just("+".to_owned())], 1..4);
        (levels, any::<bool>()).prop_filter_map("valid", |(mut levels, open)| {
            if open {
                levels.push("#".into());
            }
            TopicFilter::new(levels.join("/")).ok()
        })
    }

    fn topic() -> impl Strategy<Value = Topic> {
        proptest::collection::vec(level(), 1..5)
            .prop_filter_map("valid", |levels| Topic::new(levels.join("/")).ok())
    }

    proptest! {
        /// Nothing that a filter matches is held back by the socket, and a publisher hears of the interest in it.
        #[test]
        fn prefixes_and_interest_cover_the_filter(filter in filter(), topic in topic()) {
            let frame = terminated(topic.as_str());
            let prefixes = prefixes(&filter);
            if filter.matches(&topic) {
                prop_assert!(prefixes.iter().any(|prefix| frame.starts_with(prefix)));
                prop_assert!(prefixes.iter().filter_map(|p| interest(p)).any(|wide| wide.matches(&topic)));
            }
        }

        #[test]
        fn arbitrary_prefixes_never_panic(prefix in proptest::collection::vec(any::<u8>(), 0..40)) {
            let filter = interest(&prefix);
            prop_assert!(filter.is_none_or(|filter| filter.as_str().len() <= prefix.len() + 2));
        }
    }
}
