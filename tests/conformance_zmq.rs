//! The conformance suite over ZeroMQ, plain and erased.
#![cfg(feature = "zmq")]
#![allow(clippy::expect_used)] // That is how tests fail, their helpers included.

#[path = "support/loopback.rs"]
mod loopback;

use loopback::Loopback;
use ringbus::transport::conformance::{BadAddress, Harness};
use ringbus::transport::zmq::Engine;
use ringbus::transport::{BoxTransport, Locator, ZmqTransport};

fn loopback() -> Loopback {
    Loopback::new(Engine::Libzmq, Engine::Libzmq)
}

mod plain {
    use super::*;

    ringbus::transport_conformance!(loopback());
}

/// The same through the erased form.
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

    ringbus::transport_conformance!(Boxed(loopback()));
}
