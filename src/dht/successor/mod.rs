//! The successor ring: a key-value store whose nodes speak text on a transport's topics, so that any MQTT client can
//! take part.
//!
//! The core is a state machine; it does no I/O and reads no clock.

mod config;
mod core;
mod event;
mod message;
#[cfg(test)]
mod sim;
mod text;

pub use self::config::SuccessorConfig;
pub use self::event::{Links, SuccessorEvent};
