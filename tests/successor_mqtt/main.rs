//! The successor ring over a real Mosquitto, with programs that know its plain protocol and nothing of this library.
#![cfg(feature = "mqtt")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "that is how tests fail")]

#[path = "../support/mod.rs"]
mod support;

mod commands;
mod counts;
mod interop;
mod malformed;
mod plain;
mod plain_client;
mod plain_link;
mod plain_peer;

use support::{PATIENCE, mosquitto};
