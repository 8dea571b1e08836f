//! The successor ring: a key-value store whose nodes speak text on a transport's topics, so that any MQTT client can
//! take part.
//!
//! The cores are state machines; they do no I/O and read no clock. `node` and `client` are the shells that drive them.

mod client;
mod client_core;
mod config;
mod core;
mod event;
mod message;
mod node;
mod outgoing;
#[cfg(test)]
mod sim;
mod text;

pub(super) use self::client::SuccessorClient;
pub use self::client_core::Progress;
pub use self::config::SuccessorConfig;
pub use self::event::{Links, SuccessorEvent};
pub(super) use self::node::SuccessorNode;
pub use self::node::SuccessorNodeBuilder;
