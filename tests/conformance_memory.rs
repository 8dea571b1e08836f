//! The conformance suite over the memory network, plain and erased.

use ringbus::transport::conformance::{self, BadAddress, Harness, TAKEN};
use ringbus::transport::memory::Network;
use ringbus::transport::{BoxTransport, MemoryTransport};

struct Memory(Network);

impl Harness for Memory {
    type Transport = MemoryTransport;

    fn endpoint(&self, name: &str) -> MemoryTransport {
        MemoryTransport::new(&self.0, name)
    }

    fn bad_addresses(&self) -> Vec<BadAddress<MemoryTransport>> {
        let elsewhere = Network::new();
        elsewhere.stop();
        vec![
            BadAddress::in_use("a name in use", self.endpoint(TAKEN)),
            BadAddress::invalid("an empty name", self.endpoint("")),
            BadAddress::invalid("a name with white space", self.endpoint("a b")),
            BadAddress::invalid("a name that is too long", self.endpoint(&"a".repeat(300))),
            BadAddress::unreachable("a stopped network", MemoryTransport::new(&elsewhere, "a")),
        ]
    }

    async fn interrupt(&self) -> bool {
        self.0.stop();
        true
    }

    async fn restore(&self) {
        self.0.start();
    }
}

struct Boxed(Memory);

impl Harness for Boxed {
    type Transport = BoxTransport;

    fn endpoint(&self, name: &str) -> BoxTransport {
        BoxTransport::new(self.0.endpoint(name))
    }

    fn bad_addresses(&self) -> Vec<BadAddress<BoxTransport>> {
        let erased = |bad: BadAddress<MemoryTransport>| BadAddress {
            what: bad.what,
            transport: BoxTransport::new(bad.transport),
            expected: bad.expected,
        };
        self.0.bad_addresses().into_iter().map(erased).collect()
    }

    async fn interrupt(&self) -> bool {
        self.0.interrupt().await
    }

    async fn restore(&self) {
        self.0.restore().await;
    }
}

mod plain {
    use super::*;
    ringbus::transport_conformance!(Memory(Network::new()));
}

mod boxed {
    use super::*;
    ringbus::transport_conformance!(Boxed(Memory(Network::new())));
}

mod slow {
    use super::*;
    use std::time::Duration;

    // Delays change nothing that the contract promises.
    ringbus::transport_conformance!(Memory(
        Network::seeded(1).with_delay(Duration::from_micros(10)..=Duration::from_millis(2))
    ));
}

/// The checks do not get into each other's way on a network that they share.
#[tokio::test]
async fn the_whole_suite_on_one_network() {
    assert_eq!(conformance::run(&Memory(Network::new())).await, Ok(()));
}
