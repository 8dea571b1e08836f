//! Sessions over ZeroMQ on loopback, for the conformance suite.
#![allow(unreachable_pub, reason = "shared with the tests beside it")]

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use ringbus::transport::conformance::{BadAddress, Harness, TAKEN};
use ringbus::transport::zmq::Engine;
use ringbus::transport::{Locator, ZmqTransport};

/// Loopback, with a port for each name. The name that a check opens first is on one engine, all others on the other.
pub struct Loopback {
    first: Engine,
    others: Engine,
    known: Mutex<HashMap<String, (u16, Engine)>>,
    #[cfg(feature = "zmtp")]
    keys: Option<ringbus::transport::zmq::CurveKeys>,
}

impl Loopback {
    /// A network of its own.
    pub fn new(first: Engine, others: Engine) -> Self {
        Self {
            first,
            others,
            known: Mutex::default(),
            #[cfg(feature = "zmtp")]
            keys: None,
        }
    }

    /// The same, on the native engine and under CURVE with one key for all.
    #[cfg(feature = "zmtp")]
    #[allow(dead_code, reason = "not each test that has this file")]
    pub fn secured() -> Self {
        let keys = ringbus::transport::zmq::CurveKeys::generate().expect("random numbers");
        Self { keys: Some(keys), ..Self::new(Engine::Native, Engine::Native) }
    }

    fn at(&self, address: &str, engine: Engine) -> ZmqTransport {
        let transport = ZmqTransport::new(address).engine(engine);
        #[cfg(feature = "zmtp")]
        if let Some(keys) = &self.keys {
            return transport.curve(keys.clone());
        }
        transport
    }

    fn place(&self, name: &str) -> (u16, Engine) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let engine = if known.is_empty() { self.first } else { self.others };
        *known.entry(name.to_owned()).or_insert_with(|| (free_port(), engine))
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
        let (port, engine) = self.place(name);
        self.at(&format!("tcp://{}:{port}", host()), engine)
    }

    fn bad_addresses(&self) -> Vec<BadAddress<ZmqTransport>> {
        let new = |address: &str| self.at(address, self.others);
        let taken = format!("tcp://{}:{}", host(), self.place(TAKEN).0);
        vec![
            BadAddress::in_use("a port that is taken", new(&taken)),
            BadAddress::in_use(
                "a port for publications that is taken",
                new(&format!("tcp://{}:0", host())).out_port(self.place(TAKEN).0),
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
                new("tcp://127.0.0.1:0").publish_at("tcp://127.0.0.2:0"),
            ),
        ]
    }

    fn bad_peers(&self) -> Vec<Locator> {
        ["zmq+tcp://0.0.0.0:5556", "zmq+tcp://*:5556", "zmq+tcp://[::1:5556"]
            .map(|text| Locator::new(text).expect("a well-formed locator"))
            .into()
    }
}
