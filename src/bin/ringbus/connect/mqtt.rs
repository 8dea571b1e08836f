//! MQTT from the options.

use anyhow::Result;
use ringbus::transport::{Locator, MqttTransport};

use super::{Client, Endpoint, Options};
use crate::failure::Usage;

const BROKER: &str = "mqtt://127.0.0.1:1883";

pub(super) fn transport(options: &Options, endpoint: Endpoint<'_>) -> MqttTransport {
    let mut transport = MqttTransport::new(broker(options));
    if let Some(name) = endpoint.name {
        transport = transport.client_id(name);
    }
    if let Some((topic, payload)) = endpoint.will {
        transport = transport.last_will(topic, payload.to_owned());
    }
    transport
}

pub(super) fn broker(options: &Options) -> &str {
    options.broker.as_deref().unwrap_or(BROKER)
}

pub(super) fn locator(text: &str) -> Result<Locator> {
    let name = text.strip_prefix("mqtt:").unwrap_or(text);
    // An address is what a user of the other transport would write here.
    if name.is_empty() || name.contains("://") || name.contains(['/', '+', '#']) {
        let message = "over mqtt write the name with which the node was started, as in node-1 or mqtt:node-1";
        return Err(Usage::new(format!("invalid node {text:?}: {message}")).into());
    }
    Ok(Locator::new(format!("mqtt:{name}"))?)
}

pub(super) fn peers(client: &Client) -> Result<Vec<Locator>> {
    if client.peer.is_empty() {
        return Ok(Vec::new());
    }
    Err(Usage::new("--peer does not go with --transport mqtt: sharing the broker is enough").into())
}

pub(super) fn foreign(options: &Options) -> Vec<(&'static str, bool)> {
    vec![
        ("--listen", options.listen.is_some()),
        ("--out-port", options.out_port.is_some()),
        ("--advertise", options.advertise.is_some()),
    ]
}
