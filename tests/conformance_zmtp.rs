//! The conformance suite over the native engine: alone, under CURVE, and beside libzmq in both directions; and
//! at Unix sockets, alone and beside TCP.
#![cfg(all(feature = "zmtp", feature = "zmq"))]
#![allow(clippy::expect_used)] // That is how tests fail, their helpers included.

#[path = "support/loopback.rs"]
mod loopback;
#[cfg(target_os = "linux")]
#[path = "support/unix_sockets.rs"]
mod unix_sockets;

use loopback::Loopback;
use ringbus::transport::zmq::Engine;

mod alone {
    use super::*;

    ringbus::transport_conformance!(Loopback::new(Engine::Native, Engine::Native));
}

mod curve {
    use super::*;

    ringbus::transport_conformance!(Loopback::secured());
}

/// What is opened first publishes, in most checks.
mod to_libzmq {
    use super::*;

    ringbus::transport_conformance!(Loopback::new(Engine::Native, Engine::Libzmq));
}

mod from_libzmq {
    use super::*;

    ringbus::transport_conformance!(Loopback::new(Engine::Libzmq, Engine::Native));
}

#[cfg(target_os = "linux")]
mod at_paths {
    use super::unix_sockets::{At, UnixSockets};

    ringbus::transport_conformance!(UnixSockets::new(At::Path, At::Path));
}

#[cfg(target_os = "linux")]
mod at_a_path_and_names {
    use super::unix_sockets::{At, UnixSockets};

    ringbus::transport_conformance!(UnixSockets::new(At::Path, At::Name));
}

#[cfg(target_os = "linux")]
mod from_a_path_to_ports {
    use super::unix_sockets::{At, UnixSockets};

    ringbus::transport_conformance!(UnixSockets::new(At::Path, At::Port));
}

#[cfg(target_os = "linux")]
mod from_a_port_to_paths {
    use super::unix_sockets::{At, UnixSockets};

    ringbus::transport_conformance!(UnixSockets::new(At::Port, At::Path));
}
