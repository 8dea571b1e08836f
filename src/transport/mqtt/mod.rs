//! MQTT.

/// To be built.
#[derive(Debug)]
pub struct MqttTransport;
