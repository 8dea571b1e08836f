//! The first level of the library's own topics at the broker, and the way of names across it.

use std::borrow::Cow;
use std::sync::Arc;

use crate::error::{ErrorKind, Result};
use crate::topic::RESERVED_LEVEL;

/// The longest level that may be chosen, in bytes.
const MAX_LEN: usize = 64;

/// What stands at the broker for [`RESERVED_LEVEL`], which the layers above use: that itself unless another one was chosen.
#[derive(Debug, Clone, Default)]
pub(super) struct Level(Option<Arc<str>>);

impl Level {
    /// A level of one's own: letters, digits, `-`, `_` and `@`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`].
    pub(super) fn new(level: &str) -> Result<Self> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_@".contains(&b);
        if level.is_empty() || level.len() > MAX_LEN || !level.bytes().all(fits) {
            return Err(ErrorKind::InvalidArgument {
                what: "MQTT reserved level",
                value: level.chars().take(80).collect(),
                reason: "use 1 to 64 letters, digits, '-', '_' and '@'".into(),
            }
            .into());
        }
        Ok(Self((level != RESERVED_LEVEL).then(|| level.into())))
    }

    fn text(&self) -> &str {
        self.0.as_deref().unwrap_or(RESERVED_LEVEL)
    }

    /// The topic of the library `rest` below the level, as the broker knows it.
    pub(super) fn topic(&self, rest: &str) -> String {
        format!("{}/{rest}", self.text())
    }

    /// What follows the level in a topic from the broker; `None` if that is none of the library's.
    pub(super) fn below<'a>(&self, topic: &'a str) -> Option<&'a str> {
        topic.strip_prefix(self.text())?.strip_prefix('/')
    }

    /// Whether a name at the broker, of a topic or a filter, begins with the level.
    pub(super) fn holds(&self, name: &str) -> bool {
        begins_with(name, self.text())
    }

    /// A topic or a filter as the broker is to know it.
    ///
    /// # Errors
    /// What is wrong with one that a user must not use here: the level is chosen for the library.
    pub(super) fn outgoing<'a>(&self, name: &'a str) -> Result<Cow<'a, str>, &'static str> {
        let Some(level) = &self.0 else { return Ok(Cow::Borrowed(name)) };
        if begins_with(name, level) {
            return Err("its first level is the session's reserved level: begin with another one");
        }
        match name.strip_prefix(RESERVED_LEVEL) {
            Some(rest) if begins_with(name, RESERVED_LEVEL) => Ok(Cow::Owned(format!("{level}{rest}"))),
            _ => Ok(Cow::Borrowed(name)),
        }
    }

    /// A topic from the broker as the layers above know it; `None` for one of sessions with another level.
    pub(super) fn incoming<'a>(&self, topic: &'a str) -> Option<Cow<'a, str>> {
        let Some(level) = &self.0 else { return Some(Cow::Borrowed(topic)) };
        if begins_with(topic, RESERVED_LEVEL) {
            return None;
        }
        match topic.strip_prefix(&**level) {
            Some(rest) if begins_with(topic, level) => Some(Cow::Owned(format!("{RESERVED_LEVEL}{rest}"))),
            _ => Some(Cow::Borrowed(topic)),
        }
    }
}

/// Whether this is the name's first level.
fn begins_with(name: &str, level: &str) -> bool {
    name.strip_prefix(level).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cross_a_chosen_level_and_come_back() {
        let level = Level::new("ringbus").unwrap();
        assert_eq!(level.topic("inbox/a"), "ringbus/inbox/a");
        for (above, at_the_broker) in [
            ("@ringbus/query", "ringbus/query"),
            ("@ringbus", "ringbus"),
            ("@ringbusy/x", "@ringbusy/x"),
            ("a/b", "a/b"),
        ] {
            assert_eq!(level.outgoing(above).unwrap(), at_the_broker);
            assert_eq!(level.incoming(at_the_broker).unwrap(), above);
        }
        assert_eq!(level.outgoing("#").unwrap(), "#");
        assert!(level.outgoing("ringbus/x").is_err() && level.outgoing("ringbus").is_err());
        assert!(level.outgoing("ringbusy").is_ok());
        assert_eq!(level.incoming("@ringbus/query"), None, "sessions with the default level are not heard");
        assert!(level.holds("ringbus/inbox/a") && !level.holds("@ringbus/x") && !level.holds("ringbusy"));
        assert_eq!(level.below("ringbus/presence/x"), Some("presence/x"));
        assert_eq!(level.below("ringbusy/x"), None);
    }

    #[test]
    fn the_default_changes_nothing() {
        for level in [Level::default(), Level::new("@ringbus").unwrap()] {
            for name in ["@ringbus/query", "ringbus/x", "#", "a"] {
                assert_eq!(level.outgoing(name).unwrap(), name);
                assert_eq!(level.incoming(name).unwrap(), name);
            }
            assert_eq!(level.below("@ringbus/x/y"), Some("x/y"));
        }
    }

    #[test]
    fn a_level_is_one_level_of_harmless_characters() {
        for wrong in ["", "a/b", "+", "#", "$x", "a b", "a.b", "*", &"x".repeat(MAX_LEN + 1)] {
            assert!(Level::new(wrong).is_err(), "{wrong:?}");
        }
    }
}
