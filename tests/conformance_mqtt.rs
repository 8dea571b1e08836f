//! The conformance suite over MQTT: Mosquitto, and the broker inside the process.
#![cfg(feature = "mqtt")]

#[path = "support/mosquitto.rs"]
mod mosquitto;

use std::sync::Mutex;

use mosquitto::Mosquitto;
use ringbus::transport::conformance::{BadAddress, Harness};
use ringbus::transport::{Locator, MqttTransport};

/// A Mosquitto of the check's own.
struct OverMosquitto(Mutex<Mosquitto>);

impl OverMosquitto {
    fn start() -> Self {
        Self(Mutex::new(Mosquitto::start()))
    }
}

impl Harness for OverMosquitto {
    type Transport = MqttTransport;

    fn endpoint(&self, name: &str) -> MqttTransport {
        MqttTransport::new(self.0.lock().unwrap().url()).client_id(name)
    }

    fn bad_addresses(&self) -> Vec<BadAddress<MqttTransport>> {
        bad_addresses()
    }

    fn bad_peers(&self) -> Vec<Locator> {
        bad_peers()
    }

    async fn interrupt(&self) -> bool {
        self.0.lock().unwrap().stop();
        true
    }

    async fn restore(&self) {
        self.0.lock().unwrap().restart();
    }
}

fn bad_addresses() -> Vec<BadAddress<MqttTransport>> {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    vec![
        BadAddress::invalid("no scheme", MqttTransport::new("127.0.0.1:1883")),
        BadAddress::invalid("another scheme", MqttTransport::new("http://127.0.0.1:1883")),
        BadAddress::invalid("no host", MqttTransport::new("mqtt://")),
        BadAddress::invalid("no such port", MqttTransport::new("mqtt://127.0.0.1:99999")),
        BadAddress::unreachable("nobody listens", MqttTransport::new(format!("mqtt://{nobody}"))),
    ]
}

fn bad_peers() -> Vec<Locator> {
    ["mqtt:a/b", "mqtt:+", "mqtt:#"].iter().map(|text| Locator::new(text).unwrap()).collect()
}

ringbus::transport_conformance!(OverMosquitto::start());
