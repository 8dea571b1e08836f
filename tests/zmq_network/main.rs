//! What is ZeroMQ's own: strangers, restarts, address translation, plain ZeroMQ programs. Once for each engine.
#![cfg(feature = "zmq")]
#![allow(clippy::unwrap_used, clippy::panic)] // That is how tests fail, their helpers included.
#![allow(clippy::duplicate_mod, reason = "each engine has the same cases")]

#[path = "../support/machine.rs"]
mod machine;
mod node;

use std::time::Duration;

use ringbus::transport::zmq::Engine;

const PATIENCE: Duration = Duration::from_secs(60);

#[path = "."]
mod libzmq {
    use super::Engine;

    const ENGINE: Engine = Engine::Libzmq;

    mod cases;
}

#[cfg(feature = "zmtp")]
#[path = "."]
mod native {
    use super::Engine;

    const ENGINE: Engine = Engine::Native;

    mod cases;
}
