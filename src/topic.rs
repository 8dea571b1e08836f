//! Topic names and filters, with MQTT's rules. Parsed once: no unvalidated topic exists.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::text::serde_as_text;

/// The longest topic or filter, in bytes.
pub const MAX_TOPIC_LEN: usize = 1024;

/// The most levels a topic or filter may have; mosquitto closes the connection above 200.
pub const MAX_TOPIC_LEVELS: usize = 128;

/// The first level under which the library keeps its own messages.
pub const RESERVED_LEVEL: &str = "@ringbus";

/// The name that samples are published under: levels separated by `/`, without wildcards.
///
/// ```
/// use ringbus::Topic;
/// let topic: Topic = "weather/98101".parse()?;
/// assert_eq!(topic.as_str(), "weather/98101");
/// assert!(Topic::new("weather/+").is_err());
/// # Ok::<(), ringbus::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(Arc<str>);

serde_as_text!(Topic, "a topic");

impl Topic {
    /// Checks and takes a topic name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidTopic`] if the name is empty, longer than [`MAX_TOPIC_LEN`] bytes, deeper than
    /// [`MAX_TOPIC_LEVELS`] levels, or holds `+`, `#` or a NUL.
    pub fn new(name: impl AsRef<str>) -> Result<Self> {
        let name = name.as_ref();
        let reason = check_length(name).err().or_else(|| {
            has_wildcard(name).then_some("'+' and '#' are wildcards, for filters only: name one topic")
        });
        match reason {
            None => Ok(Self(name.into())),
            Some(reason) => Err(ErrorKind::InvalidTopic { topic: shorten(name), reason }.into()),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the topic belongs to the library itself (first level [`RESERVED_LEVEL`]) or to a broker
    /// (first character `$`). Filters that begin with a wildcard do not match such topics.
    pub fn is_reserved(&self) -> bool {
        is_reserved(&self.0)
    }
}

impl Borrow<str> for Topic {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A pattern of topics: `+` stands for one level, a closing `#` for any number of levels, none included.
///
/// The rules are MQTT 3.1.1's (section 4.7), shared-subscription prefixes aside. A filter that begins with
/// a wildcard does not match topics whose first level begins with `$` or is [`RESERVED_LEVEL`].
///
/// ```
/// use ringbus::{Topic, TopicFilter};
/// let filter: TopicFilter = "weather/+".parse()?;
/// assert!(filter.matches(&Topic::new("weather/98101")?));
/// assert!(!filter.matches(&Topic::new("weather/98101/humidity")?));
/// # Ok::<(), ringbus::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter(Arc<str>);

serde_as_text!(TopicFilter, "a topic filter");

impl TopicFilter {
    /// Checks and takes a filter.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidFilter`] if the filter is empty, too long, too deep, holds a NUL, or has a wildcard that
    /// shares its level with other characters, or a `#` that is not last.
    pub fn new(filter: impl AsRef<str>) -> Result<Self> {
        let filter = filter.as_ref();
        match check_length(filter).and_then(|()| check_wildcards(filter)) {
            Ok(()) => Ok(Self(filter.into())),
            Err(reason) => Err(ErrorKind::InvalidFilter { filter: shorten(filter), reason }.into()),
        }
    }

    /// The filter as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the filter has no wildcard, so that it names one topic.
    pub fn is_exact(&self) -> bool {
        !has_wildcard(&self.0)
    }

    /// The one topic that an exact filter names.
    pub fn as_topic(&self) -> Option<Topic> {
        self.is_exact().then(|| Topic(self.0.clone()))
    }

    /// Whether the library or a broker owns what this filter names; see [`Topic::is_reserved`].
    pub fn is_reserved(&self) -> bool {
        is_reserved(&self.0)
    }

    /// Whether a topic falls under the filter.
    pub fn matches(&self, topic: &Topic) -> bool {
        if topic.is_reserved() && self.0.starts_with(['+', '#']) {
            return false;
        }
        let mut names = topic.0.split('/');
        for level in self.0.split('/') {
            if level == "#" {
                return true;
            }
            match names.next() {
                Some(name) if level == "+" || level == name => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }

    /// Whether some topic falls under both filters.
    pub fn intersects(&self, other: &TopicFilter) -> bool {
        let guarded = |a: &str, b: &str| is_reserved(a) && b.starts_with(['+', '#']);
        if guarded(&self.0, &other.0) || guarded(&other.0, &self.0) {
            return false;
        }
        let (mut left, mut right) = (self.0.split('/'), other.0.split('/'));
        loop {
            match (left.next(), right.next()) {
                (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
                (Some(a), Some(b)) if a == "+" || b == "+" || a == b => {}
                _ => return false,
            }
        }
    }

    /// The leading bytes that every matching topic shares: for transports that filter by prefix.
    ///
    /// `a/#` also matches `a`, so its prefix is `a`.
    pub fn literal_prefix(&self) -> &str {
        let prefix = self.0.find(['+', '#']).map_or(&*self.0, |at| &self.0[..at]);
        if self.0.ends_with("/#") && self.0.len() == prefix.len() + 1 {
            prefix.strip_suffix('/').unwrap_or(prefix)
        } else {
            prefix
        }
    }
}

impl From<&Topic> for TopicFilter {
    fn from(topic: &Topic) -> Self {
        Self(topic.0.clone())
    }
}

/// Both wildcards are ASCII: looking at bytes finds them.
fn has_wildcard(text: &str) -> bool {
    text.bytes().any(|byte| matches!(byte, b'+' | b'#'))
}

fn is_reserved(name: &str) -> bool {
    name.starts_with('$')
        || name.strip_prefix(RESERVED_LEVEL).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Why a name that [is reserved](Topic::is_reserved) can be neither published nor subscribed to, and what would be right.
pub(crate) fn why_refused(name: &str) -> &'static str {
    if name.starts_with("$share/") {
        "shared subscriptions are not supported: every subscriber gets every sample, subscribe without $share/GROUP/"
    } else if name.starts_with('$') {
        "topics of the broker, whose first level begins with '$', are not supported: begin with another character"
    } else {
        "it is reserved for the library: begin with another first level"
    }
}

fn check_length(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        Err("it is empty: give at least one character")
    } else if name.len() > MAX_TOPIC_LEN {
        Err("it is longer than 1024 bytes")
    } else if name.contains('\0') {
        Err("it holds a NUL character")
    } else if name.split('/').nth(MAX_TOPIC_LEVELS).is_some() {
        Err("it has more than 128 levels")
    } else {
        Ok(())
    }
}

fn check_wildcards(filter: &str) -> Result<(), &'static str> {
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        if level.len() > 1 && level.contains(['+', '#']) {
            return Err("a wildcard stands for a whole level: write 'a/+/b' or 'a/#'");
        }
        if level == "#" && levels.peek().is_some() {
            return Err("'#' must be the last level");
        }
    }
    Ok(())
}

/// Errors quote the input, but not a megabyte of it.
fn shorten(name: &str) -> String {
    match name.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

macro_rules! string_like {
    ($type:ident) => {
        impl FromStr for $type {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $type {
            type Error = Error;

            fn try_from(text: String) -> Result<Self> {
                Self::new(text)
            }
        }

        impl TryFrom<&str> for $type {
            type Error = Error;

            fn try_from(text: &str) -> Result<Self> {
                Self::new(text)
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

string_like!(Topic);
string_like!(TopicFilter);
