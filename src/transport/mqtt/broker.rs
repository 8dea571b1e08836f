//! An MQTT broker inside the process.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::mpsc;
use std::task::Poll;
use std::thread;

use rumqttd::protocol::v4::V4;
use rumqttd::{ConnectionSettings, LinkType, Router, RouterConfig, Server, ServerSettings};
use tokio::sync::oneshot;

use crate::error::{Error, ErrorKind, Result};

/// The largest payload that the broker takes, in bytes; over it, it closes the sender's connection.
const MAX_PAYLOAD: usize = 20 << 20;

/// How many clients may be connected.
const MAX_CONNECTIONS: usize = 1000;

/// How often port 0 is tried with another port, if somebody is faster.
const PORT_ATTEMPTS: usize = 10;

/// An MQTT 3.1.1 broker (rumqttd) for programs and tests that have none at hand. It stops when it is dropped.
///
/// It keeps nothing on disk and lets everybody in, so it listens on loopback addresses alone, unless it is
/// [told otherwise](Self::start_public). Deviations from a full broker, Mosquitto for instance:
/// - A message that matches several filters of one client is sent to it once for each. This library's own sessions
///   never hold overlapping filters, so they do not notice.
/// - It delivers with the subscription's QoS, whatever a message was published with. To topics that are not the library's own
///   this library subscribes with QoS 2, so each message comes by a handshake of four packets, frames too.
/// - It keeps the last 16 MiB of each filter's messages: a subscriber further behind loses the rest.
/// - It keeps the order of the messages on each topic, but not between topics of different subscriptions.
/// - A new subscription may bring a message that was published just before it.
/// - A client that comes back under its id within moments of leaving may have its new last will sent at once, and none
///   later: a peer's crash may then go unnoticed.
/// - It moves about 4,000 messages of 64 KiB a second.
/// - rumqttd's router thread cannot be stopped. After the drop it is idle and keeps its memory until the process ends.
///
/// Its logs are rumqttd's, in `tracing`: `rumqttd=off` in a filter silences them.
#[derive(Debug)]
pub struct EmbeddedBroker {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    server: Option<thread::JoinHandle<()>>,
}

impl EmbeddedBroker {
    /// Starts a broker on a loopback address, `127.0.0.1:1883` for instance; port 0 takes a free one.
    ///
    /// When it returns, clients can connect.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidAddress`] if the address is none or is not a loopback address,
    /// [`ErrorKind::AddressInUse`]; [`ErrorKind::Transport`] if a thread or a socket cannot be had.
    pub fn start(address: &str) -> Result<Self> {
        let parsed = parse(address)?;
        if !parsed.ip().is_loopback() {
            return Err(invalid(
                address,
                "it lets everybody in, so it takes 127.0.0.1:PORT; start_public takes any",
            ));
        }
        start(parsed)
    }

    /// Starts a broker on any address. Whoever reaches it can read and write everything.
    ///
    /// # Errors
    /// As [`start`](Self::start), loopback aside.
    pub fn start_public(address: &str) -> Result<Self> {
        start(parse(address)?)
    }

    /// Where it listens, for [`MqttTransport::new`](super::MqttTransport::new).
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for EmbeddedBroker {
    fn drop(&mut self) {
        // Its sockets live in the thread's runtime, which closes them when it ends.
        drop(self.stop.take());
        if let Some(server) = self.server.take() {
            // It has nothing to tell: a panic in it was reported by the panic hook.
            drop(server.join());
        }
    }
}

fn parse(address: &str) -> Result<SocketAddr> {
    address.parse().map_err(|_| invalid(address, "write IP:PORT, for instance 127.0.0.1:1883"))
}

fn invalid(address: &str, reason: &str) -> Error {
    ErrorKind::InvalidAddress { address: address.chars().take(80).collect(), reason: reason.into() }.into()
}

fn start(address: SocketAddr) -> Result<EmbeddedBroker> {
    if address.port() != 0 {
        return start_at(address).map_err(|error| failed(address, error));
    }
    // rumqttd does not tell which port it was given, so one is chosen for it.
    let mut last = None;
    for _ in 0..PORT_ATTEMPTS {
        let free = TcpListener::bind(address).and_then(|socket| socket.local_addr());
        match free.and_then(start_at) {
            Ok(broker) => return Ok(broker),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = Some(error),
            Err(error) => return Err(failed(address, error)),
        }
    }
    Err(failed(address, last.unwrap_or_else(|| io::ErrorKind::AddrInUse.into())))
}

fn failed(address: SocketAddr, error: io::Error) -> Error {
    let kind = if error.kind() == io::ErrorKind::AddrInUse {
        ErrorKind::AddressInUse { address: address.to_string() }
    } else {
        ErrorKind::Transport { transport: "mqtt", operation: "starting a broker", reason: error.to_string() }
    };
    Error::with_source(kind, error)
}

fn start_at(address: SocketAddr) -> io::Result<EmbeddedBroker> {
    // The router's thread cannot be stopped, so it is not started for an address that cannot be had.
    drop(TcpListener::bind(address)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let (report, reported) = mpsc::channel();
    let server = thread::Builder::new().name("mqtt-broker".into()).spawn(move || {
        let router = Router::new(0, router_config()).spawn();
        let mut server = Server::new(server_settings(address), router, V4);
        runtime.block_on(async move {
            let mut serving = pin!(server.start(LinkType::Remote));
            // It binds and listens in its first poll.
            let first = std::future::poll_fn(|context| Poll::Ready(serving.as_mut().poll(context))).await;
            if let Poll::Ready(outcome) = first {
                return drop(report.send(outcome.map_err(into_io)));
            }
            drop(report.send(Ok(())));
            tokio::select! {
                outcome = serving => tracing::error!(?outcome, "the embedded broker has stopped"),
                _ = stopped => {}
            }
        });
    })?;
    reported.recv().unwrap_or_else(|_| Err(io::Error::other("the broker's thread ended at once")))?;
    Ok(EmbeddedBroker { address, stop: Some(stop), server: Some(server) })
}

fn into_io(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(inner) = source {
        if let Some(inner) = inner.downcast_ref::<io::Error>() {
            return io::Error::new(inner.kind(), inner.to_string());
        }
        source = inner.source();
    }
    io::Error::other(error)
}

fn router_config() -> RouterConfig {
    RouterConfig {
        max_connections: MAX_CONNECTIONS,
        max_outgoing_packet_count: 200,
        // For each filter. Large segments made a process grow to gigabytes.
        max_segment_size: 2 << 20,
        max_segment_count: 8,
        ..RouterConfig::default()
    }
}

fn server_settings(address: SocketAddr) -> ServerSettings {
    ServerSettings {
        name: "embedded".into(),
        listen: address,
        tls: None,
        next_connection_delay_ms: 0,
        connections: ConnectionSettings {
            connection_timeout_ms: 5000,
            max_payload_size: MAX_PAYLOAD,
            max_inflight_count: 500,
            auth: None,
            external_auth: None,
            dynamic_filters: true,
        },
    }
}
