//! An MQTT broker inside the process.

/// x
#[derive(Debug)]
pub struct EmbeddedBroker;
