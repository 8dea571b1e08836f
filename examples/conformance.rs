//! Whether an MQTT broker can carry ringbus: the public conformance suite over a broker of your choice.
//!
//! ```sh
//! cargo run --example conformance --features embedded-broker -- mqtt://127.0.0.1:1883
//! ```
//!
//! It prints a line for each check, then the counts. Without `--stop` and `--start`, which are shell commands, the
//! check that needs the broker gone is not run, and the last line says so.

#![allow(clippy::print_stdout, reason = "programs talk to their users")]

mod common;

use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use clap::Parser;
use ringbus::Topic;
use ringbus::transport::conformance::{BadAddress, Harness, checks};
use ringbus::transport::mqtt::EmbeddedBroker;
use ringbus::transport::{Locator, MqttTransport};

/// The check that stops the broker.
const INTERRUPTING: &str = "interrupted_link";

/// Run the transport conformance suite over an MQTT broker
#[derive(Debug, Parser)]
struct Args {
    /// The MQTT broker, or `embedded` for the one that ringbus brings
    broker: String,
    /// The checks to run [default: all]
    checks: Vec<String>,
    /// A shell command that stops the broker, and returns when it is gone
    #[arg(long, value_name = "COMMAND", requires = "start")]
    stop: Option<String>,
    /// A shell command that starts it again, and returns when it accepts connections
    #[arg(long, value_name = "COMMAND", requires = "stop")]
    start: Option<String>,
    /// A topic whose messages the broker closes the connection over
    #[arg(long, value_name = "TOPIC")]
    refuses: Option<Topic>,
    /// The broker refuses them because they have so many bytes
    #[arg(long, value_name = "BYTES", default_value_t = 16, requires = "refuses")]
    refuses_size: usize,
    /// How long to wait for anything that must happen
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = common::duration)]
    patience: Duration,
}

/// A broker that is there, and how to stop it.
struct Broker {
    url: String,
    switch: Option<Switch>,
    refused: Option<(Topic, usize)>,
    patience: Duration,
}

enum Switch {
    Embedded(Mutex<Option<EmbeddedBroker>>),
    Commands { stop: String, start: String },
}

impl Broker {
    fn new(args: Args) -> anyhow::Result<Self> {
        let Args { broker, stop, start, patience, .. } = args;
        let refused = args.refuses.map(|topic| (topic, args.refuses_size));
        if broker == "embedded" {
            let broker = EmbeddedBroker::start("127.0.0.1:0")?;
            let url = broker.url();
            let switch = Some(Switch::Embedded(Mutex::new(Some(broker))));
            return Ok(Self { url, switch, refused, patience });
        }
        let switch = stop.zip(start).map(|(stop, start)| Switch::Commands { stop, start });
        Ok(Self { url: common::broker(Some(broker)), switch, refused, patience })
    }

    fn stop(&self) -> anyhow::Result<()> {
        match &self.switch {
            Some(Switch::Embedded(broker)) => {
                drop(broker.lock().unwrap_or_else(PoisonError::into_inner).take());
            }
            Some(Switch::Commands { stop, .. }) => shell(stop)?,
            None => bail!("nobody has said how to stop the broker"),
        }
        Ok(())
    }

    fn start(&self) -> anyhow::Result<()> {
        match &self.switch {
            Some(Switch::Embedded(broker)) => {
                let again = EmbeddedBroker::start(self.url.trim_start_matches("mqtt://"))?;
                *broker.lock().unwrap_or_else(PoisonError::into_inner) = Some(again);
            }
            Some(Switch::Commands { start, .. }) => shell(start)?,
            None => {}
        }
        Ok(())
    }
}

fn shell(command: &str) -> anyhow::Result<()> {
    let status = std::process::Command::new("sh").args(["-c", command]).status()?;
    ensure!(status.success(), "`{command}` ended with {status}");
    Ok(())
}

impl Harness for Broker {
    type Transport = MqttTransport;

    fn endpoint(&self, name: &str) -> MqttTransport {
        MqttTransport::new(&self.url).client_id(name)
    }

    fn bad_addresses(&self) -> Vec<BadAddress<MqttTransport>> {
        vec![
            BadAddress::invalid("no scheme", MqttTransport::new("127.0.0.1:1883")),
            BadAddress::invalid("no host", MqttTransport::new("mqtt://")),
            BadAddress::invalid("no such port", MqttTransport::new("mqtt://127.0.0.1:99999")),
        ]
    }

    fn bad_peers(&self) -> Vec<Locator> {
        ["mqtt:a/b", "mqtt:+", "mqtt:#"].iter().filter_map(|text| Locator::new(text).ok()).collect()
    }

    /// A broker does not slow a publisher down for the sake of a subscriber.
    fn broker_drops(&self) -> bool {
        true
    }

    fn refused_message(&self) -> Option<(Topic, Bytes)> {
        self.refused.clone().map(|(topic, size)| (topic, vec![7; size].into()))
    }

    fn patience(&self) -> Duration {
        self.patience
    }

    async fn interrupt(&self) -> bool {
        told("stop the broker", tokio::task::block_in_place(|| self.stop()))
    }

    async fn restore(&self) {
        told("start the broker", tokio::task::block_in_place(|| self.start()));
    }
}

/// Prints what went wrong; whether nothing did.
fn told(what: &str, outcome: anyhow::Result<()>) -> bool {
    outcome.with_context(|| format!("failed to {what}")).inspect_err(|error| println!("{error:#}")).is_ok()
}

#[tokio::main]
async fn main() -> ExitCode {
    common::log();
    common::exit_code(run(Args::parse()).await)
}

async fn run(mut args: Args) -> anyhow::Result<()> {
    let wanted = std::mem::take(&mut args.checks);
    let all = checks::<Broker>();
    if let Some(unknown) = wanted.iter().find(|name| all.iter().all(|check| check.name != **name)) {
        let names: Vec<_> = all.iter().map(|check| check.name).collect();
        bail!("there is no check {unknown:?}: choose from {}", names.join(", "));
    }
    let broker = Broker::new(args)?;
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    for check in all.iter().filter(|check| is_wanted(check.name)) {
        if check.name == INTERRUPTING && broker.switch.is_none() {
            println!("not run {}: it needs --stop and --start", check.name);
            skipped += 1;
            continue;
        }
        let started = Instant::now();
        match check.run(&broker).await {
            Ok(()) => {
                println!("passed {} ({:.1} s)", check.name, started.elapsed().as_secs_f64());
                passed += 1;
            }
            Err(failure) => {
                let what = failure.what.replace('\n', " ");
                println!("FAILED {} ({:.1} s): {what}", check.name, started.elapsed().as_secs_f64());
                failed += 1;
            }
        }
    }
    println!("{passed} passed, {failed} failed, {skipped} not run");
    ensure!(failed == 0, "the broker cannot carry all of ringbus");
    Ok(())
}
