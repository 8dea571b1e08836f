//! The topics under which ring nodes relay: `@ringbus/via/` and the topic itself.

pub use crate::dht::record::Route;
pub(crate) use crate::dht::relay::via_topic;
use crate::error::Result;
use crate::topic::{Topic, TopicFilter};

const PREFIX: &str = "@ringbus/via/";

/// The filter that a subscriber on this route hands to the transport.
///
/// # Errors
/// [`InvalidFilter`](crate::ErrorKind::InvalidFilter) if the prefix makes it too long.
pub(crate) fn wire_filter(filter: &TopicFilter, route: Route) -> Result<TopicFilter> {
    match route {
        Route::Direct => Ok(filter.clone()),
        Route::ViaNode => TopicFilter::new(format!("{PREFIX}{filter}")),
    }
}

/// Whether the topic is a node's relay of another.
pub(crate) fn is_relayed(topic: &Topic) -> bool {
    topic.as_str().starts_with(PREFIX)
}

/// The topic as publisher and subscriber know it.
pub(crate) fn user_topic(topic: &Topic) -> Topic {
    topic
        .as_str()
        .strip_prefix(PREFIX)
        .and_then(|rest| Topic::new(rest).ok())
        .unwrap_or_else(|| topic.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relayed_topics_are_told_apart_and_translated_back() {
        let topic = Topic::new("weather/98101").unwrap();
        let relayed = via_topic(&topic).unwrap();
        assert!(relayed.is_reserved());
        assert_eq!(user_topic(&relayed), topic);
        assert_eq!(user_topic(&topic), topic);
        let filter = TopicFilter::new("weather/+").unwrap();
        assert!(wire_filter(&filter, Route::ViaNode).unwrap().matches(&relayed));
        assert!(!wire_filter(&filter, Route::Direct).unwrap().matches(&relayed));
        assert!(!TopicFilter::new("#").unwrap().matches(&relayed));
    }
}
