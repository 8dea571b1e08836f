//! The one error type of the crate: what was wrong, with the value, and what would be right.

use std::fmt;
use std::time::Duration;

use crate::qos::{Mismatch, ResourceLimits};

/// A `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn std::error::Error + Send + Sync + 'static>;

/// An error: a [kind](ErrorKind) to match on, and the error below it, where there is one.
///
/// The message is one line, names the value that was wrong and says what would be right. `Debug` is that message too,
/// with those of the errors below it, so that `fn main() -> ringbus::Result<()>` prints it; match on [`kind`](Self::kind).
pub struct Error {
    // Boxed: results travel through hot paths, and an error should not widen them.
    kind: Box<ErrorKind>,
    source: Option<Source>,
}

impl Error {
    /// An error of this kind with nothing below it.
    pub fn new(kind: ErrorKind) -> Self {
        Self { kind: Box::new(kind), source: None }
    }

    /// An error of this kind, caused by `source`.
    pub fn with_source(kind: ErrorKind, source: impl Into<Source>) -> Self {
        Self { kind: Box::new(kind), source: Some(source.into()) }
    }

    /// What went wrong.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            let text = cause.to_string();
            // A message often quotes the error below it.
            if !told.contains(&text) {
                told = format!("{told}: {text}");
            }
            next = cause.source();
        }
        f.write_str(&told)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self::new(kind)
    }
}

/// What went wrong. Every variant carries the offending value.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A topic name that cannot be published to.
    #[error("invalid topic {topic:?}: {reason}")]
    InvalidTopic {
        /// The name as it was given.
        topic: String,
        /// What is wrong with it and what would be right.
        reason: &'static str,
    },
    /// A topic filter that cannot be subscribed to.
    #[error("invalid topic filter {filter:?}: {reason}")]
    InvalidFilter {
        /// The filter as it was given.
        filter: String,
        /// What is wrong with it and what would be right.
        reason: &'static str,
    },
    /// An address or locator that cannot be parsed.
    #[error("invalid address {address:?}: {reason}")]
    InvalidAddress {
        /// The address as it was given.
        address: String,
        /// What is wrong with it and what would be right.
        reason: String,
    },
    /// A locator of another transport than the one it was given to.
    #[error("{locator} is not an address of this transport: expected one that begins with {:?}", .expected.trim_end_matches(':'))]
    ForeignLocator {
        /// The locator as it was given.
        locator: String,
        /// The scheme that this transport understands.
        expected: &'static str,
    },
    /// A listening address that another socket holds.
    #[error("{address} is in use: choose another one (port 0 is a free port)")]
    AddressInUse {
        /// The address that could not be bound.
        address: String,
    },
    /// A broker or a peer that does not answer.
    #[error("cannot reach {address}: {reason}")]
    Unreachable {
        /// Where it was looked for.
        address: String,
        /// What was tried, for how long, and what to check.
        reason: String,
    },
    /// The broker refuses this session's credentials, from the start or since they were revoked. Sends, flushes and
    /// subscriptions fail with it until it takes them again.
    #[error("{broker} refuses the session: {reason}")]
    Denied {
        /// The broker's address, without credentials.
        broker: String,
        /// The broker's reason, and what to look at.
        reason: String,
    },
    /// A payload over the transport's or the session's limit.
    #[error(
        "payload of {size} bytes is over the limit of {limit} bytes: send less at a time, or raise the limit"
    )]
    PayloadTooLarge {
        /// The size that was asked for, in bytes.
        size: usize,
        /// The largest size that is accepted, in bytes.
        limit: usize,
    },
    /// A value that its encoding cannot express.
    #[error("cannot encode a value of type {type_name} as {encoding}")]
    Encode {
        /// The Rust type.
        type_name: &'static str,
        /// The encoding that was asked for.
        encoding: &'static str,
    },
    /// A payload that does not decode as the expected type.
    #[error("cannot decode a payload of {size} bytes in {encoding} as {type_name}")]
    Decode {
        /// The Rust type.
        type_name: &'static str,
        /// The encoding that the frame stated.
        encoding: &'static str,
        /// The payload's size in bytes.
        size: usize,
    },
    /// A sample in another encoding than the subscriber was built for.
    #[error(
        "{topic} carries {found} samples, the subscriber expects {expected}: set the same encoding on both sides"
    )]
    EncodingMismatch {
        /// The topic of the sample.
        topic: String,
        /// The encoding that the subscriber was built with.
        expected: &'static str,
        /// The encoding that the frame states.
        found: &'static str,
    },
    /// Bytes that are not a frame of this library.
    #[error("malformed {what}: {reason}")]
    Malformed {
        /// What the bytes were taken for.
        what: &'static str,
        /// The first thing that was wrong.
        reason: &'static str,
    },
    /// A QoS policy that this version does not enforce yet.
    #[error("QoS policy {policy} = {value} is not supported yet: leave it at its default")]
    UnsupportedPolicy {
        /// The policy's name.
        policy: &'static str,
        /// The value that was asked for.
        value: String,
    },
    /// Policies of one side that contradict each other.
    #[error("inconsistent QoS: {reason}")]
    InconsistentPolicy {
        /// Which policies, with their values.
        reason: String,
    },
    /// The two sides' QoS do not fit.
    #[error("incompatible QoS: {0}")]
    Incompatible(Mismatch),
    /// Something that this transport cannot do.
    #[error("transport {transport} does not support {what}")]
    Unsupported {
        /// The transport's scheme.
        transport: &'static str,
        /// What was asked for.
        what: &'static str,
    },
    /// A message that the broker refuses, by closing the connection over it again and again, by never acknowledging it or
    /// by never passing it on: it was given up, and everything else goes on.
    #[error("{broker} does not take a message of {size} bytes to {topic}: {reason}")]
    Refused {
        /// The topic that it was published to.
        topic: String,
        /// Its size in bytes.
        size: usize,
        /// The broker's address.
        broker: String,
        /// What the broker did, and what is likely.
        reason: String,
    },
    /// Another living ring node has this node's name: this one has ended.
    #[error("another node, at {by}, has the name {name:?}: give each node a name of its own")]
    NameTaken {
        /// The name.
        name: String,
        /// Where the node that has it is reached.
        by: String,
    },
    /// A bounded queue or cache is full; nothing was accepted, try again later.
    #[error("{what} is full at {limit}: wait, or raise the limit")]
    Full {
        /// Which queue or cache.
        what: &'static str,
        /// Its bound.
        limit: usize,
    },
    /// A subscriber whose overflow policy is disconnect did not keep up: it has left its publishers.
    #[error(
        "the subscriber to {filter} left its publishers: {missed} samples found its queue full at {limits}: read faster or raise its resource limits, then subscribe anew"
    )]
    TooSlow {
        /// What it was subscribed to.
        filter: String,
        /// How many samples came when the queue was full; what came after it had left is not counted.
        missed: u64,
        /// The queue's bounds.
        limits: ResourceLimits,
    },
    /// An operation that did not end in time. Unless the operation's own text says otherwise it may still
    /// take effect.
    #[error("{what} did not complete within {after:?}")]
    Timeout {
        /// The operation and its subject.
        what: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// A value was published while the same publisher was at work on this thread: by the
    /// `Serialize` of another value, or by what listens to the log or to the metrics. Or it was
    /// published so from within another publisher, while a thread within this one wanted that
    /// other: the two would wait for each other. It is not published.
    #[error(
        "a value for {topic} was published from within its own publisher, or one that waits for it: publish it after the other"
    )]
    Reentrant {
        /// The publisher's topic.
        topic: String,
    },
    /// The session or the peer object was closed.
    #[error("{what} is closed")]
    Closed {
        /// What was used after it had been closed.
        what: &'static str,
    },
    /// An argument out of its range.
    #[error("invalid {what} {value:?}: {reason}")]
    InvalidArgument {
        /// Which argument.
        what: &'static str,
        /// The value as it was given.
        value: String,
        /// What would be right.
        reason: String,
    },
    /// The transport's own library failed.
    #[error("{transport}: {operation} failed: {reason}")]
    Transport {
        /// The transport's scheme.
        transport: &'static str,
        /// The call that failed.
        operation: &'static str,
        /// What it said.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_is_the_message_and_those_below_it() {
        let kind = ErrorKind::InvalidTopic { topic: "a/+".into(), reason: "name one topic" };
        let alone = Error::new(kind.clone());
        assert_eq!(format!("{alone:?}"), "invalid topic \"a/+\": name one topic");
        assert_eq!(format!("{:?}", Err::<(), _>(alone)), "Err(invalid topic \"a/+\": name one topic)");
        let below = Error::with_source(ErrorKind::Closed { what: "session" }, "the socket is gone");
        let error = Error::with_source(kind.clone(), below);
        assert_eq!(format!("{error:?}"), format!("{error}: session is closed: the socket is gone"));
        // What is quoted already is not said twice.
        let error = Error::with_source(kind, "name one topic");
        assert_eq!(format!("{error:?}"), error.to_string());
    }
}
