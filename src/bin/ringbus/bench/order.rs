//! What the bench and its two processes say to each other: lines of JSON on standard input and output.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::engine::Engine;

/// What one process is to do in one round; its first line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) role: Role,
    pub(super) side: Side,
    pub(super) link: Link,
    /// Each round has its own, so that nothing of one gets into the next.
    pub(super) topic: String,
    pub(super) payload: Payload,
    pub(super) crowd: Crowd,
    pub(super) warm_up: Duration,
    pub(super) length: Duration,
}

/// Which of the two processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Role {
    /// All publishers of a rate.
    Publish,
    /// All subscribers of a rate.
    Subscribe,
    /// Sends, and waits for the answer.
    Ping,
    /// Answers.
    Pong,
}

/// Who does the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Side {
    Library,
    /// The transport's own crate, without this library.
    Raw,
}

/// What the samples travel over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Link {
    Zmq(Engine),
    Mqtt {
        host: String,
        port: u16,
        /// Of the raw crate's messages; the library is best-effort against 0 and reliable against 1.
        qos: u8,
        /// Of the raw crate's connections.
        nodelay: bool,
    },
}

/// What a sample is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Payload {
    Bytes(usize),
    /// [`Reading`](super::samples::Reading), by postcard. The raw crate, which knows no types, sends 16 bytes.
    Struct,
}

/// How many publish to how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Crowd {
    pub(super) publishers: usize,
    pub(super) subscribers: usize,
}

/// From the bench to a process, after the order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Cue {
    /// The addresses of the other process.
    Others(Vec<String>),
    /// Both are ready: begin.
    Go,
    /// The other one has done its part: finish and report.
    Finish,
}

/// From a process to the bench.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Answer {
    /// The addresses at which it listens, none if it does not.
    At(Vec<String>),
    Ready,
    /// It has published so many samples in all, or made so many round trips.
    Done(u64),
    /// The broker listens; its process.
    Broker(Option<u32>),
    Report(Report),
    Failed(String),
}

/// What one process has seen and spent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Report {
    /// Processor time from the start to the end of the work, user and system, all threads.
    pub(super) cpu: Duration,
    /// Received and decoded, all subscribers together, the warm-up too.
    pub(super) received: u64,
    /// Received again, or after a later one.
    pub(super) repeated: u64,
    /// Samples received after the warm-up, and the time from the first to the last of these.
    pub(super) counted: u64,
    pub(super) span: Duration,
    /// Of round trips.
    pub(super) p50: Duration,
    pub(super) p99: Duration,
}

impl Side {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Library => "ringbus",
            Self::Raw => "raw",
        }
    }
}

impl Link {
    /// Whether everything published has to arrive.
    pub(super) fn is_reliable(&self) -> bool {
        !matches!(self, Self::Mqtt { qos: 0, .. })
    }
}

impl Payload {
    /// The size of what the raw crate sends, in bytes.
    pub(super) fn raw_size(self) -> usize {
        match self {
            Self::Bytes(size) => size,
            Self::Struct => 16,
        }
    }

    /// How many samples pass between two looks at the clock: a look costs about as much as a small sample.
    pub(super) fn stride(self) -> u64 {
        if self.raw_size() < 4096 { 64 } else { 1 }
    }
}

impl Crowd {
    pub(super) const PAIR: Self = Self { publishers: 1, subscribers: 1 };
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zmq(_) => f.write_str("zmq"),
            Self::Mqtt { qos, nodelay, .. } => {
                write!(f, "mqtt, QoS {qos}{}", if *nodelay { ", nodelay" } else { "" })
            }
        }
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(size) if *size >= 1024 && size % 1024 == 0 => write!(f, "{} KiB", size / 1024),
            Self::Bytes(size) => write!(f, "{size} B"),
            Self::Struct => f.write_str("struct"),
        }
    }
}

impl fmt::Display for Crowd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.publishers, self.subscribers)
    }
}
