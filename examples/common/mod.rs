//! What the example programs have in common: addresses, readings, events in words, how a program ends.

#![allow(dead_code, reason = "each program uses a part of it")]
#![allow(clippy::print_stderr, reason = "programs talk to their users")]

use std::process::ExitCode;
use std::time::Duration;

use jiff::SignedDuration;
use ringbus::pubsub::{Departure, Events, MatchEvent};
use ringbus::transport::Locator;
use ringbus::{Error, ErrorKind};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

/// How long a program that was told to stop waits for acknowledgements.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// What a weather station tells.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reading {
    /// Degrees Fahrenheit.
    pub(crate) temperature: f64,
    /// Percent.
    pub(crate) humidity: f64,
}

/// `RUST_LOG=ringbus=debug` shows on standard error what the library does.
pub(crate) fn log() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
}

/// Reads `IP`, `IP:PORT`, `NAME`, `NAME:PORT` or a whole locator.
pub(crate) fn locators(servers: &[String], port: u16) -> ringbus::Result<Vec<Locator>> {
    servers.iter().map(|server| Locator::new(address(server, port))).collect()
}

fn address(server: &str, port: u16) -> String {
    // An IPv6 address is full of colons: it has its port after brackets, or none.
    let is_ipv6 = server.parse::<std::net::Ipv6Addr>().is_ok();
    match server {
        server if server.contains("://") => server.to_owned(),
        server if is_ipv6 => format!("zmq+tcp://[{server}]:{port}"),
        server if server.contains(':') && !server.ends_with(']') => format!("zmq+tcp://{server}"),
        server => format!("zmq+tcp://{server}:{port}"),
    }
}

/// Reads `100ms`, `2s`, `1m30s`, or a plain number of seconds; not zero.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let parsed = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => text.parse::<SignedDuration>().ok().and_then(|duration| duration.try_into().ok()),
    };
    let positive = parsed.filter(|duration| !duration.is_zero());
    positive.ok_or_else(|| "write for instance 100ms, 2s, 1m30s, or a number of seconds".to_owned())
}

/// Reads what [`duration`] reads, or zero.
pub(crate) fn pause(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(0.0) => Ok(Duration::ZERO),
        _ => duration(text),
    }
}

/// The MQTT broker: as given, or as environment variable `BROKER` says, or on this machine. `HOST:PORT` is short for
/// `mqtt://HOST:PORT`.
pub(crate) fn broker(given: Option<String>) -> String {
    let broker =
        given.or_else(|| std::env::var("BROKER").ok()).unwrap_or_else(|| "127.0.0.1:1883".to_owned());
    if broker.contains("://") { broker } else { format!("mqtt://{broker}") }
}

/// Waits for Ctrl-C or SIGTERM.
pub(crate) async fn told_to_stop() -> std::io::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// Prints events on standard error until their publisher or subscriber ends.
pub(crate) async fn print(events: Events) {
    while let Some(event) = events.next().await {
        eprintln!("{}", in_words(&event));
    }
}

fn in_words(event: &MatchEvent) -> String {
    match event {
        MatchEvent::Matched { topic, peer } => format!("{topic}: matched {peer}"),
        MatchEvent::Mismatched { topic, peer, mismatch } => {
            format!("{topic}: {peer} does not match: {mismatch}")
        }
        MatchEvent::EncodingMismatch { topic, peer, offered, requested } => {
            format!("{topic}: {peer} does not match: encoding: offered {offered}, requested {requested}")
        }
        MatchEvent::Departed { topic, peer, cause: Departure::Left } => format!("{topic}: {peer} left"),
        MatchEvent::Departed { topic, peer, cause: Departure::LeaseExpired } => {
            format!("{topic}: {peer} was silent for longer than its lease")
        }
        MatchEvent::Departed { topic, peer, cause: Departure::ConnectionLost } => {
            format!("{topic}: the connection to {peer} was lost")
        }
        MatchEvent::Takeover { topic, from, to, .. } => format!("{topic}: {to} took over from {from}"),
        MatchEvent::Remapped { topic, from, to } => format!("{topic}: remapped from {from} to {to}"),
        MatchEvent::Lost { topic, peer, samples } => format!("{topic}: lost {samples} samples of {peer}"),
        other => format!("{other:?}"),
    }
}

/// Exit code 0, or one line on standard error and 1; 2 for what was wrong on the command line already.
pub(crate) fn exit_code(outcome: anyhow::Result<()>) -> ExitCode {
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    eprintln!("error: {error:#}");
    let is_usage = matches!(
        error.downcast_ref::<Error>().map(Error::kind),
        Some(
            ErrorKind::InvalidTopic { .. }
                | ErrorKind::InvalidFilter { .. }
                | ErrorKind::InvalidAddress { .. }
                | ErrorKind::InvalidArgument { .. }
                | ErrorKind::ForeignLocator { .. }
                | ErrorKind::InconsistentPolicy { .. }
        )
    );
    ExitCode::from(if is_usage { 2 } else { 1 })
}
