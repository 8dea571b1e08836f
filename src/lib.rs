//! Publish/subscribe with DDS-grade quality of service, and a registry without a server to run, over ZeroMQ, MQTT or
//! any other transport.
//!
//! ```
//! use ringbus::qos::{Offered, Requested};
//! use ringbus::transport::{MemoryTransport, memory::Network};
//! use ringbus::{DhtNode, Session};
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Reading {
//!     celsius: f64,
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> ringbus::Result<()> {
//! // One endpoint for each process. With `ZmqTransport::new("tcp://127.0.0.1:5556")` or
//! // `MqttTransport::new("mqtt://127.0.0.1:1883")` the rest of the program stays as it is.
//! let network = Network::new();
//! let (a, b, c) = ("a", "b", "c");
//! let [a, b, c] = [a, b, c].map(|name| Session::open(MemoryTransport::new(&network, name)));
//! let (a, b, c) = (a.await?, b.await?, c.await?);
//!
//! // A ring, here of one node, introduces publishers and subscribers to each other.
//! let node = DhtNode::builder(a).name("10.0.0.1").start().await?;
//! let ring = node.me().locator;
//!
//! let mut subscriber = b
//!     .subscriber::<Reading>("weather/+")
//!     .qos(Requested::reliable())
//!     .dht(&b.dht([ring.clone()]))
//!     .build()
//!     .await?;
//! let publisher =
//!     c.publisher::<Reading>("weather/98101").qos(Offered::reliable()).dht(&c.dht([ring])).build().await?;
//!
//! publisher.matched(1).await?; // the subscriber really receives
//! publisher.publish(&Reading { celsius: 21.5 }).await?;
//!
//! if let Some(sample) = subscriber.recv().await? {
//!     assert_eq!(sample.value()?.celsius, 21.5);
//! }
//! # Ok(()) }
//! ```
//!
//! # Where to find what
//! - [`Session`]: one endpoint on one [`transport`]. [`publisher`](Session::publisher), [`subscriber`](Session::subscriber)
//!   and [`dht`](Session::dht) begin there. A ring is optional: publishers and subscribers also find each other on a
//!   shared broker, or when their sessions are [attached](Session::attach).
//! - [`qos`]: what publishers offer, what subscribers request, and [`qos::check`], which says why the two do not fit.
//! - [`DhtNode`], [`Dht`]: the ring of event services; [`HashRing`]: its placement, bit-exact with Python's `hash_ring`.
//! - [`DhtNodeBuilder::successor`](dht::DhtNodeBuilder::successor) and [`Session::successor_dht`]: the other ring, a key-value
//!   store that any MQTT client can use.
//! - [`transport::Transport`]: the trait to bring a transport of one's own, and [`transport::conformance`] to test it.
//!
//! # Features
//! `zmq` and `mqtt` (both default) are the transports; `zmtp` is an engine for ZeroMQ without libzmq
//! ([`Engine::Native`](transport::zmq::Engine)); `embedded-broker` is an MQTT broker inside the process; `cli` is the
//! program `ringbus`. Each is useful alone, and none takes anything away.
//!
//! Everything runs on tokio. Logs go to `tracing`, counts to `metrics` under names that begin with `ringbus_`.

#![deny(missing_docs)]

pub mod dht;
pub mod error;
#[cfg(any(feature = "zmq", target_os = "linux"))]
mod ffi;
pub mod message;
pub mod pubsub;
pub mod qos;
mod quiet;
mod session;
mod text;
pub mod time;
pub mod topic;
pub mod transport;
pub mod wire;

pub use dht::{Dht, DhtNode, HashRing, Mode, NodeIndex, RingSpec};
pub use error::{Error, ErrorKind, Result};
pub use message::{Encoding, EntityId, Sample, SampleInfo, SessionId};
pub use pubsub::{Publisher, Subscriber};
pub use session::{ConnectionEvent, ConnectionEvents, Session, SessionOptions};
pub use time::Timestamp;
pub use topic::{Topic, TopicFilter};

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct ReadmeDoctests;

#[doc = include_str!("../docs/successor.md")]
#[cfg(doctest)]
struct SuccessorRingDoctests;
