//! The first connection: how long it is tried, and what is said where there is none.

use std::fmt;
use std::io;
use std::ops::Deref;
use std::time::Duration;

use rumqttc::{Connect, ConnectReturnCode};
use tokio::time::{Instant, sleep};

use super::connection::{Connection, ConnectionError};
use super::denial::denial;
use super::event_loop::Settings;
use crate::error::{Error, ErrorKind, Result};

/// How often a broker that is not there yet is looked for.
const RETRY: Duration = Duration::from_millis(100);

/// What finding out why a broker closes connections may take.
const DIAGNOSIS: Duration = Duration::from_secs(1);

/// A CONNECT whose `Debug` shows no credentials.
#[derive(Clone)]
pub(super) struct Hello(pub(super) Connect);

impl Deref for Hello {
    type Target = Connect;

    fn deref(&self) -> &Connect {
        &self.0
    }
}

impl fmt::Debug for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hello").field("client_id", &self.0.client_id).finish_non_exhaustive()
    }
}

/// Connects, waiting for a broker that is not listening, or whose name is not known, yet.
///
/// # Errors
/// [`ErrorKind::Unreachable`], [`ErrorKind::Denied`], and [`ErrorKind::Transport`] for other refusals.
pub(super) async fn connect(settings: &Settings, deadline: Instant) -> Result<Connection> {
    loop {
        let attempt = Connection::open(&settings.broker, &settings.hello, settings.max_packet, deadline);
        let error = match attempt.await {
            Ok((connection, _)) => return Ok(connection),
            Err(ConnectionError::Refused(code)) => return Err(refused(settings, code)),
            Err(error) => error,
        };
        if is_passing(&error) && Instant::now() + RETRY < deadline {
            sleep(RETRY).await;
            continue;
        }
        let why = match &error {
            ConnectionError::Ended => closed_by_the_other_side(settings).await,
            ConnectionError::TimedOut => "no answer: is it an MQTT broker?".to_owned(),
            ConnectionError::Lookup(error) => {
                format!("its name was not found ({error}): is it written right?")
            }
            ConnectionError::Io(error) => {
                let port = settings.broker.port;
                format!("{error}: is a broker listening there? start one with: mosquitto -p {port}")
            }
            error => format!("something answers there, but {error}: is it an MQTT broker?"),
        };
        return Err(Error::with_source(unreachable(settings, &why), error));
    }
}

/// Whether it is worth trying again while `open` waits: the broker, its name or the network is not there yet.
fn is_passing(error: &ConnectionError) -> bool {
    match error {
        ConnectionError::Lookup(_) => true,
        ConnectionError::Io(error) => matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
        ),
        _ => false,
    }
}

/// The other side has closed the connection without a CONNACK. Brokers do that over things that MQTT 3.1.1 has no code
/// for; which one it is, attempts without them tell.
async fn closed_by_the_other_side(settings: &Settings) -> String {
    let takes = async |hello: Connect| {
        let deadline = Instant::now() + DIAGNOSIS;
        Connection::open(&settings.broker, &hello, settings.max_packet, deadline).await.is_ok()
    };
    let without_will = Connect { last_will: None, ..settings.hello.0.clone() };
    let of_another_name = Connect { client_id: super::random_name(), ..without_will.clone() };
    let name = &settings.hello.client_id;
    if !takes(of_another_name).await {
        return "something answers there, but closes the connection without an answer: is it an MQTT broker? One may do \
                so when it has all the connections that it takes (max_connections): see its log"
            .to_owned();
    }
    if !takes(without_will).await {
        return format!("the broker closes the connection over the client id {name:?}: choose another");
    }
    match &settings.hello.last_will {
        Some(will) if will.retain => format!(
            "the broker closes the connection over the session's last will, a retained message to {:?}: let it keep \
             retained messages (Mosquitto: retain_available true), and choose a name of letters, digits, '-' and '_'",
            will.topic
        ),
        Some(will) => {
            format!("the broker closes the connection over the last will to {:?}: see its log", will.topic)
        }
        None => "the broker closed the connection without an answer: see its log".to_owned(),
    }
}

pub(super) fn unreachable(settings: &Settings, why: &str) -> ErrorKind {
    ErrorKind::Unreachable {
        address: settings.broker.to_string(),
        reason: format!("{why} (waited up to {:?})", settings.connect_timeout),
    }
}

fn refused(settings: &Settings, code: ConnectReturnCode) -> Error {
    let client_id = &settings.hello.client_id;
    if let Some(reason) = denial(code, client_id) {
        return ErrorKind::Denied { broker: settings.broker.to_string(), reason }.into();
    }
    let reason = match code {
        ConnectReturnCode::BadClientId => {
            format!("the broker refused the client id {client_id:?}: choose another")
        }
        ConnectReturnCode::ServiceUnavailable => "the broker is not available: try again later".to_owned(),
        _ => "the broker does not accept MQTT 3.1.1".to_owned(),
    };
    ErrorKind::Transport { transport: "mqtt", operation: "connect", reason }.into()
}
