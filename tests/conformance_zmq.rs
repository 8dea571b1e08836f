//! The conformance suite over ZeroMQ, plain and erased.
#![cfg(feature = "zmq")]
#![allow(clippy::expect_used)] // That is how tests fail, their helpers included.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use ringbus::transport::conformance::{BadAddress, Harness, TAKEN};
use ringbus::transport::{BoxTransport, Locator, ZmqTransport};

/// Loopback, with a port for each name.
#[derive(Default)]
struct Loopback {
    ports: Mutex<HashMap<String, u16>>,
}

impl Loopback {
    fn port(&self, name: &str) -> u16 {
        let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        *ports.entry(name.to_owned()).or_insert_with(free_port)
    }
}

/// A loopback address of this process alone, so that tests which run side by side in processes of their own cannot meet
/// at a port.
fn host() -> String {
    let [high, mid, low, _] = (std::process::id() << 8).to_be_bytes();
    format!("127.{}.{mid}.{low}", 64 + high % 63)
}

/// A port of [`host`] that is free, below the range from which the system takes free ports.
fn free_port() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(10_000);
    loop {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        if std::net::TcpListener::bind((host(), port)).is_ok() {
            return port;
        }
    }
}

impl Harness for Loopback {
    type Transport = ZmqTransport;

    fn endpoint(&self, name: &str) -> ZmqTransport {
        ZmqTransport::new(format!("tcp://{}:{}", host(), self.port(name)))
    }

    fn bad_addresses(&self) -> Vec<BadAddress<ZmqTransport>> {
        let new = |address: &str| ZmqTransport::new(address);
        vec![
            BadAddress::in_use("a port that is taken", self.endpoint(TAKEN)),
            BadAddress::in_use(
                "a port for publications that is taken",
                new(&format!("tcp://{}:0", host())).out_port(self.port(TAKEN)),
            ),
            BadAddress::invalid("an empty address", new("")),
            BadAddress::invalid("an address without a scheme", new("127.0.0.1:5556")),
            BadAddress::invalid("an unknown scheme", new("carrier-pigeon://127.0.0.1:5556")),
            BadAddress::invalid("a port over 65535", new("tcp://127.0.0.1:65536")),
            BadAddress::invalid("an address of another machine", new("tcp://192.0.2.1:0")),
            BadAddress::invalid("all interfaces, with nothing to tell peers", new("tcp://0.0.0.0:0")),
            BadAddress::invalid("all interfaces to advertise", new("tcp://0.0.0.0:0").advertise("0.0.0.0")),
            BadAddress::invalid(
                "publications on another host",
                ZmqTransport::ephemeral().publish_at("tcp://127.0.0.2:0"),
            ),
        ]
    }

    fn bad_peers(&self) -> Vec<Locator> {
        ["zmq+tcp://0.0.0.0:5556", "zmq+tcp://*:5556", "zmq+tcp://[::1:5556"]
            .map(|text| Locator::new(text).expect("a well-formed locator"))
            .into()
    }
}

mod plain {
    use super::*;

    ringbus::transport_conformance!(Loopback::default());
}

/// The same through the erased form.
#[derive(Default)]
struct Boxed(Loopback);

impl Harness for Boxed {
    type Transport = BoxTransport;

    fn endpoint(&self, name: &str) -> BoxTransport {
        BoxTransport::new(self.0.endpoint(name))
    }

    fn bad_addresses(&self) -> Vec<BadAddress<BoxTransport>> {
        let erase = |bad: BadAddress<ZmqTransport>| BadAddress {
            what: bad.what,
            transport: BoxTransport::new(bad.transport),
            expected: bad.expected,
        };
        self.0.bad_addresses().into_iter().map(erase).collect()
    }

    fn bad_peers(&self) -> Vec<Locator> {
        self.0.bad_peers()
    }
}

mod boxed {
    use super::*;

    ringbus::transport_conformance!(Boxed::default());
}
