//! ringbus
#![deny(missing_docs)]

pub mod dht;
pub mod error;
pub mod message;
pub mod pubsub;
pub mod qos;
pub mod session;
pub mod time;
pub mod topic;
pub mod transport;
pub mod wire;

pub use dht::{Dht, DhtNode, HashRing, NodeIndex};
pub use error::{Error, ErrorKind, Result};
pub use message::{Encoding, EntityId, Sample, SampleInfo, SessionId};
pub use pubsub::{Publisher, Subscriber};
pub use session::{Session, SessionOptions};
pub use time::Timestamp;
pub use topic::{Topic, TopicFilter};

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct ReadmeDoctests;
