//! Sessions at Unix sockets, for the conformance suite.
#![allow(unreachable_pub, reason = "shared with the tests beside it")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use ringbus::transport::conformance::{BadAddress, Harness, TAKEN};
use ringbus::transport::zmq::Engine;
use ringbus::transport::{Locator, ZmqTransport};
use tempfile::TempDir;

use super::loopback::Loopback;

/// What an endpoint listens at.
#[derive(Clone, Copy)]
pub enum At {
    /// A path.
    Path,
    /// An abstract name.
    Name,
    /// A port of loopback.
    Port,
}

/// One host. The name that a check opens first is at one kind of address, all others at the other.
pub struct UnixSockets {
    first: At,
    others: At,
    directory: TempDir,
    ports: Loopback,
    known: Mutex<HashMap<String, Option<String>>>,
}

impl UnixSockets {
    /// A network of its own.
    pub fn new(first: At, others: At) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let ports = Loopback::new(Engine::Native, Engine::Native);
        Self { first, others, directory, ports, known: Mutex::default() }
    }

    /// The address of a name; `None` if it is a port.
    fn address(&self, name: &str) -> Option<String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let at = if known.is_empty() { self.first } else { self.others };
        let make = || {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            match at {
                At::Path => Some(format!("ipc://{}/{number}.sock", self.directory.path().display())),
                At::Name => Some(format!("ipc://@ringbus-test-{}-{number}", std::process::id())),
                At::Port => None,
            }
        };
        known.entry(name.to_owned()).or_insert_with(make).clone()
    }
}

impl Harness for UnixSockets {
    type Transport = ZmqTransport;

    fn endpoint(&self, name: &str) -> ZmqTransport {
        match self.address(name) {
            // The engine of a Unix socket is the native one.
            Some(address) => ZmqTransport::new(address),
            None => self.ports.endpoint(name),
        }
    }

    fn bad_addresses(&self) -> Vec<BadAddress<ZmqTransport>> {
        let directory = self.directory.path().display();
        let free = format!("ipc://{directory}/free.sock");
        let file = self.directory.path().join("file");
        std::fs::write(&file, "no socket").expect("a file");
        let mut bad = vec![
            BadAddress::in_use("an endpoint that is taken", self.endpoint(TAKEN)),
            BadAddress::invalid("no path", ZmqTransport::new("ipc://")),
            BadAddress::invalid("a relative path", ZmqTransport::new("ipc://x.sock")),
            BadAddress::invalid("a path that is too long", {
                ZmqTransport::new(format!("ipc:///tmp/{}", "x".repeat(103)))
            }),
            BadAddress::invalid("no such directory", {
                ZmqTransport::new(format!("ipc://{directory}/none/x.sock"))
            }),
            BadAddress::invalid("a file", ZmqTransport::new(format!("ipc://{}", file.display()))),
            BadAddress::invalid("a port", ZmqTransport::new(&free).out_port(5550)),
            BadAddress::invalid("another address to publish at", {
                ZmqTransport::new(&free).publish_at("tcp://127.0.0.1:0")
            }),
            BadAddress::invalid("a host to advertise", ZmqTransport::new(&free).advertise("127.0.0.1")),
        ];
        #[cfg(feature = "zmq")]
        bad.push(BadAddress::invalid("libzmq", ZmqTransport::new(&free).engine(Engine::Libzmq)));
        bad
    }

    fn bad_peers(&self) -> Vec<Locator> {
        self.ports.bad_peers()
    }
}
