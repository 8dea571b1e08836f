//! What the integration tests share.

#![allow(dead_code, unreachable_pub, unused_macros, reason = "each test crate uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

pub mod machine;
#[cfg(feature = "mqtt")]
pub mod mosquitto;
#[cfg(all(feature = "cli", feature = "mqtt"))]
pub mod net;
#[cfg(feature = "cli")]
pub mod program;
pub mod successor;

use std::future::Future;
use std::time::Duration;

use ringbus::Session;
use ringbus::transport::Transport;
use ringbus::transport::conformance::Harness;
use serde::{Deserialize, Serialize};

/// The value that most tests publish.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    pub station: String,
    pub hour: u64,
    pub celsius: f64,
}

impl Reading {
    pub fn of(hour: u64) -> Self {
        Self { station: "KSEA".into(), hour, celsius: hour as f64 / 10.0 }
    }
}

/// Nothing in a test may wait longer than this. It is there for what hangs: a machine may be busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Fails loudly where a test would otherwise hang.
pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {PATIENCE:?} for {what}"),
    }
}

/// Opens a session at a harness's endpoint.
pub async fn open<H: Harness>(harness: &H, name: &str) -> Session<H::Transport> {
    log();
    soon("a session", Session::open(harness.endpoint(name))).await.expect("the endpoint opens")
}

/// Makes two sessions known to each other; over a broker there is nothing to do.
pub async fn connect<T: Transport>(a: &Session<T>, b: &Session<T>) {
    a.attach(b.local()).await.expect("the peer's locator is good");
}

/// Two sessions that know each other.
pub async fn pair<H: Harness>(harness: &H) -> (Session<H::Transport>, Session<H::Transport>) {
    let (a, b) = (open(harness, "alpha").await, open(harness, "beta").await);
    connect(&a, &b).await;
    (a, b)
}

/// One memory network of its own for each test.
#[derive(Default)]
pub struct Memory(pub ringbus::transport::memory::Network);

impl Harness for Memory {
    type Transport = ringbus::transport::MemoryTransport;

    fn endpoint(&self, name: &str) -> Self::Transport {
        ringbus::transport::MemoryTransport::new(&self.0, name)
    }

    fn bad_addresses(&self) -> Vec<ringbus::transport::conformance::BadAddress<Self::Transport>> {
        Vec::new()
    }
}

/// `RUST_LOG=ringbus=debug cargo test ...` shows what a failing test did.
pub fn log() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    drop(tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init());
}

/// Loopback: each endpoint at a free port.
#[cfg(feature = "zmq")]
#[derive(Default)]
pub struct Zmq;

#[cfg(feature = "zmq")]
impl Harness for Zmq {
    type Transport = ringbus::transport::ZmqTransport;

    fn endpoint(&self, _name: &str) -> Self::Transport {
        ringbus::transport::ZmqTransport::ephemeral()
    }

    fn bad_addresses(&self) -> Vec<ringbus::transport::conformance::BadAddress<Self::Transport>> {
        Vec::new()
    }
}

/// A Mosquitto of the test's own.
#[cfg(feature = "mqtt")]
pub struct Mqtt(pub mosquitto::Mosquitto);

#[cfg(feature = "mqtt")]
impl Default for Mqtt {
    fn default() -> Self {
        Self(mosquitto::Mosquitto::start())
    }
}

#[cfg(feature = "mqtt")]
impl Harness for Mqtt {
    type Transport = ringbus::transport::MqttTransport;

    fn endpoint(&self, name: &str) -> Self::Transport {
        ringbus::transport::MqttTransport::new(self.0.url()).client_id(name)
    }

    fn bad_addresses(&self) -> Vec<ringbus::transport::conformance::BadAddress<Self::Transport>> {
        Vec::new()
    }
}

/// Runs each of the tests named, which are generic over the harness, over every transport that is compiled in.
macro_rules! over_every_transport {
    ($($test:ident),* $(,)?) => {
        over_every_transport!(@ memory, $crate::support::Memory::default(), $($test),*);
        #[cfg(feature = "zmq")]
        over_every_transport!(@ zmq, $crate::support::Zmq, $($test),*);
        #[cfg(feature = "mqtt")]
        over_every_transport!(@ mqtt, $crate::support::Mqtt::default(), $($test),*);
    };
    (@ $transport:ident, $harness:expr, $($test:ident),*) => {
        mod $transport {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test($harness).await;
            })*
        }
    };
}
