//! The conformance suite over the native engine: alone, and beside libzmq in both directions.
#![cfg(all(feature = "zmtp", feature = "zmq"))]
#![allow(clippy::expect_used)] // That is how tests fail, their helpers included.

#[path = "support/loopback.rs"]
mod loopback;

use loopback::Loopback;
use ringbus::transport::zmq::Engine;

mod alone {
    use super::*;

    ringbus::transport_conformance!(Loopback::new(Engine::Native, Engine::Native));
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
