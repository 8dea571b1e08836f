//! The conformance suite over ZeroMQ, plain and erased.
#![cfg(feature = "zmq")]

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
    /// A port that was free a moment ago. It is below the range from which the system takes free ports, so that none of
    /// those can meet it before the endpoint is opened, and processes that run side by side begin at different places.
    fn port(&self, name: &str) -> u16 {
        let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        *ports.entry(name.to_owned()).or_insert_with(free_port)
    }
}

fn free_port() -> u16 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 10_000 + ((std::process::id().wrapping_mul(97) + step) % 20_000) as u16;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Harness for Loopback {
    type Transport = ZmqTransport;

    fn endpoint(&self, name: &str) -> ZmqTransport {
        ZmqTransport::new(format!("tcp://127.0.0.1:{}", self.port(name)))
    }

    fn bad_addresses(&self) -> Vec<BadAddress<ZmqTransport>> {
        let new = |address: &str| ZmqTransport::new(address);
        vec![
            BadAddress::in_use("a port that is taken", self.endpoint(TAKEN)),
            BadAddress::in_use(
                "a port for publications that is taken",
                ZmqTransport::ephemeral().out_port(self.port(TAKEN)),
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
        ["zmq+tcp://127.0.0.1", "zmq+tcp://127.0.0.1:0", "zmq+tcp://0.0.0.0:5556", "zmq+tcp:5556"]
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
