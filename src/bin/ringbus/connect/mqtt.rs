//! MQTT from the options.

use std::path::Path;

use anyhow::{Context, Result};
use ringbus::transport::{Locator, MqttTransport};

use super::{Client, Endpoint, Options, Url, shown};
use crate::failure::Usage;

const BROKER: &str = "mqtt://127.0.0.1:1883";

pub(super) fn transport(options: &Options, endpoint: Endpoint<'_>) -> Result<MqttTransport> {
    let broker = broker(options);
    let mut transport = MqttTransport::new(broker.as_str());
    if let Some((user, password)) = credentials(options, &broker)? {
        transport = transport.credentials(user, password);
    }
    if let Some(bytes) = options.max_packet {
        transport = transport.max_packet(bytes);
    }
    if let Some(name) = endpoint.name {
        transport = transport.client_id(name);
    }
    if let Some((topic, payload)) = endpoint.will {
        transport = transport.last_will(topic, payload.to_owned());
    }
    Ok(transport)
}

/// The broker's address, which may hold a password.
pub(super) fn broker(options: &Options) -> String {
    match &options.broker {
        Some(Url(broker)) => broker.clone(),
        None => of_environment("BROKER").map_or_else(|| BROKER.to_owned(), with_scheme),
    }
}

/// In the environment, as the examples and the scripts have it, `HOST:PORT` will do.
fn with_scheme(broker: String) -> String {
    if broker.contains("://") { broker } else { format!("mqtt://{broker}") }
}

/// User and password that do not stand in the broker's address: given, or else, if nothing stands there, of the
/// environment.
fn credentials(options: &Options, broker: &str) -> Result<Option<(String, String)>> {
    let of_file = options.password_file.as_deref().map(password).transpose()?;
    let in_address = broker.contains('@');
    let user = match &options.user {
        Some(user) => Some(user.clone()),
        None if in_address => None,
        None => of_environment("RINGBUS_USER"),
    };
    match (user, of_file) {
        (Some(user), Some(password)) => Ok(Some((user, password))),
        (Some(user), None) => {
            let password = of_environment("RINGBUS_PASSWORD").unwrap_or_default();
            Ok(Some((user, password)))
        }
        (None, Some(_)) => {
            let message = "--password-file needs a user: add --user NAME, and leave the one in the broker's address out";
            Err(Usage::new(message).into())
        }
        (None, None) => Ok(None),
    }
}

fn of_environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn password(file: &Path) -> Result<String> {
    let what = || format!("cannot read the password in {}", file.display());
    let text = std::fs::read_to_string(file).with_context(what)?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

pub(super) fn locator(text: &str) -> Result<Locator> {
    let name = text.strip_prefix("mqtt:").unwrap_or(text);
    // An address is what a user of the other transport would write here.
    if name.is_empty() || name.contains("://") || name.contains(['/', '+', '#']) {
        let message = "over mqtt write the name with which the node was started, as in node-1 or mqtt:node-1";
        return Err(Usage::new(format!("invalid node {:?}: {message}", shown(text))).into());
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
        ("--engine", options.engine.is_some()),
        ("--curve-key", options.curve_key.is_some()),
        ("--allow", options.allow.is_some()),
    ]
}
