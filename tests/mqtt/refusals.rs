//! What is said where no session comes about.

use std::time::Duration;

use ringbus::ErrorKind;
use ringbus::transport::{MqttTransport, OpenOptions, Transport};

use super::Session;
use super::mosquitto::Mosquitto;

async fn refusal(url: &str, name: &str) -> ringbus::Error {
    let options = OpenOptions { connect_timeout: Duration::from_secs(3), ..OpenOptions::default() };
    MqttTransport::new(url).client_id(name).open(options).await.unwrap_err()
}

#[tokio::test]
async fn a_name_that_is_not_found_is_not_there_yet() {
    let error = refusal("mqtt://no-such-broker.invalid:1883", "s").await;
    assert!(matches!(error.kind(), ErrorKind::Unreachable { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("mqtt://no-such-broker.invalid:1883") && text.contains("name"), "{text}");
    assert!(!text.contains("mosquitto -p"), "{text}");
}

#[tokio::test]
async fn a_broker_that_refuses_the_last_will_is_not_taken_for_something_else() {
    let broker = Mosquitto::start_with("retain_available false");
    let error = refusal(&broker.url(), "s").await;
    assert!(matches!(error.kind(), ErrorKind::Unreachable { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("last will") && text.contains("retain_available true"), "{text}");
    assert!(!text.contains("MQTT broker?"), "{text}");
}

#[tokio::test]
async fn a_broker_that_is_full_is_said_to_be_perhaps() {
    // It takes one or two more than it says.
    let broker = Mosquitto::start_with("max_connections 1");
    let mut held = Vec::new();
    let error = loop {
        let transport = MqttTransport::new(broker.url());
        match transport.open(OpenOptions::default()).await {
            Ok(session) => held.push(session),
            Err(error) => break error,
        }
        assert!(held.len() < 10, "there is no limit");
    };
    assert!(error.to_string().contains("max_connections"), "{error}");
}

#[tokio::test]
async fn a_client_id_that_is_not_allowed_is_named() {
    let broker = Mosquitto::start_with("clientid_prefixes good-");
    let error = refusal(&broker.url(), "bad").await;
    assert!(error.to_string().contains("\"bad\""), "{error}");
    Session::open(&broker.url(), "good-one").await;
}
