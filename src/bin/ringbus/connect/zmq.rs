//! ZeroMQ from the options.

use anyhow::Result;
use ringbus::transport::{Locator, ZmqTransport};

use super::{Client, Endpoint, Kind, Options, shown};
use crate::engine::Engine;
use crate::failure::Usage;

/// The ports of a node that was told nothing else: into it, and out of it.
const PORTS: (&str, u16) = (":5556", 5550);

const EXPECTED: &str = "write HOST:PORT, for instance 127.0.0.1:5556, tcp://HOST:PORT, or ipc:///PATH";

pub(super) fn transport(options: &Options, endpoint: Endpoint<'_>) -> Result<ZmqTransport> {
    let listen = options.listen.as_deref().or(endpoint.listen);
    let has_ipc = listen.is_some_and(is_ipc) || endpoint.towards.iter().any(|to| is_ipc(to.as_str()));
    // The nodes of a ring stand first: a session finds others only through those of its own kind of address.
    let mut transport = match (listen, endpoint.towards.first()) {
        (Some(listen), _) if is_ipc(listen) => ZmqTransport::new(listen),
        (Some(listen), _) => {
            check_reachable(listen, options)?;
            ZmqTransport::new(format!("tcp://{}", without_scheme(listen)?))
        }
        (None, Some(peer)) => ZmqTransport::towards(peer.as_str()),
        (None, None) => ZmqTransport::ephemeral(),
    };
    // The two well-known ports belong together; whoever chooses another address gets a free one beside it.
    let engine = engine(options, has_ipc)?;
    let is_usual = engine == Engine::Libzmq && listen.is_some_and(|listen| listen.ends_with(PORTS.0));
    let usual = is_usual.then_some(PORTS.1);
    if let Some(port) = options.out_port.or(usual) {
        transport = transport.out_port(port);
    }
    if let Some(host) = &options.advertise {
        transport = transport.advertise(host);
    }
    secured(transport.engine(engine.into()), options)
}

/// The engine that was asked for, or the one that can do what was.
fn engine(options: &Options, has_ipc: bool) -> Result<Engine, Usage> {
    match (&options.curve_key, options.engine) {
        (None, engine) => Ok(engine.unwrap_or_else(|| Engine::usual(has_ipc))),
        #[cfg(feature = "zmtp")]
        (Some(_), None | Some(Engine::Native)) => Ok(Engine::Native),
        #[cfg(feature = "zmtp")]
        (Some(_), Some(Engine::Libzmq)) => {
            Err(Usage::new("--curve-key does not go with --engine libzmq: leave --engine out, or say native"))
        }
        #[cfg(not(feature = "zmtp"))]
        (Some(_), _) => Err(Usage::new(
            "--curve-key needs the native engine, which this ringbus was built without: build it with --features zmtp",
        )),
    }
}

#[cfg(feature = "zmtp")]
fn secured(transport: ZmqTransport, options: &Options) -> Result<ZmqTransport> {
    use ringbus::transport::zmq::{Curve, CurveKeys};
    let Some(key) = &options.curve_key else { return Ok(transport) };
    let mut curve = Curve::new(CurveKeys::read(key)?);
    if let Some(list) = &options.allow {
        curve = curve.allow_file(list)?;
    }
    Ok(transport.curve(curve))
}

#[cfg(not(feature = "zmtp"))]
#[allow(clippy::unnecessary_wraps, reason = "as with the engine that can")]
fn secured(transport: ZmqTransport, _options: &Options) -> Result<ZmqTransport> {
    Ok(transport)
}

pub(super) fn locator(text: &str) -> Result<Locator> {
    if is_ipc(text) {
        return Ok(Locator::new(text)?);
    }
    let address = without_scheme(text)?;
    let port = address.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
    match port {
        Some(Ok(port)) if port > 0 => Ok(Locator::new(format!("zmq+tcp://{address}"))?),
        _ => Err(Usage::new(format!("invalid address {:?}: {EXPECTED}", shown(text))).into()),
    }
}

pub(super) fn peers(client: &Client) -> Result<Vec<Locator>> {
    if client.name.is_some() {
        return Err(Usage::new("--name does not go with --transport zmq: leave it out").into());
    }
    if client.node.is_empty() && client.peer.is_empty() && client.options.listen.is_none() {
        let message = "nobody is named, and nobody can find this program: give --node of a ring, \
                       --peer HOST:PORT, or --listen HOST:PORT for others to connect to";
        return Err(Usage::new(message).into());
    }
    Kind::Zmq.locators(&client.peer)
}

pub(super) fn foreign(options: &Options) -> Vec<(&'static str, bool)> {
    vec![
        ("--broker", options.broker.is_some()),
        ("--user", options.user.is_some()),
        ("--password-file", options.password_file.is_some()),
        ("--max-packet", options.max_packet.is_some()),
    ]
}

fn is_ipc(text: &str) -> bool {
    text.trim_start_matches("zmq+").starts_with("ipc://")
}

fn without_scheme(text: &str) -> Result<&str, Usage> {
    match text.split_once("://") {
        None => Ok(text),
        Some(("tcp" | "zmq+tcp", address)) => Ok(address),
        Some((scheme, _)) => {
            Err(Usage::new(format!("unknown scheme {scheme:?} in {:?}: {EXPECTED}", shown(text))))
        }
    }
}

fn check_reachable(listen: &str, options: &Options) -> Result<(), Usage> {
    let everywhere = ["*:", "0.0.0.0:", "[::]:"]
        .iter()
        .any(|host| without_scheme(listen).is_ok_and(|address| address.starts_with(host)));
    if everywhere && options.advertise.is_none() {
        let message = "means all interfaces, which nobody can connect to: add --advertise HOST";
        return Err(Usage::new(format!("--listen {listen} {message}")));
    }
    Ok(())
}
