//! `ringbus demo`: a ring, publishers and subscribers on real data, with a publisher and a node killed on the way.

mod audience;
mod cast;
mod party;
mod readings;
mod report;
mod stage;

use std::io::{self, Write};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueEnum;

use ringbus::transport::BoxTransport;

pub(crate) use party::Args as PartyArgs;
pub(crate) use party::run as run_party;

use crate::failure::Usage;

/// Show it all at work: four ring nodes, three publishers and two subscribers replay a year of real hourly
/// temperatures, and lose the strongest publisher and the responsible node on the way
///
/// Nodes and publishers are processes of their own, on loopback; the two that are killed get SIGKILL. It runs over
/// ZeroMQ first, then the same over MQTT with a broker inside this program. Exit code 0 says that each subscriber has
/// every hour of its cities exactly once, in order.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  ringbus demo\n  ringbus demo --transport zmq\n  \
                        ringbus demo --transport mqtt --broker mqtt://127.0.0.1:1883")]
pub(crate) struct Args {
    /// Only over this transport; both, one after the other, if not given
    #[arg(long)]
    transport: Option<Kind>,

    /// Use the MQTT broker at this URL, a Mosquitto for instance, rather than the one inside this program
    #[arg(long, value_name = "URL")]
    broker: Option<String>,

    /// Hours of data that each publisher sends in a second
    #[arg(long, default_value_t = 450, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    speed: u32,

    /// How long a publisher's silence is believed, in milliseconds: it bounds how long a takeover takes
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(300..=60_000))]
    lease: u64,
}

/// The transports that the demo runs over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Zmq,
    Mqtt,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Zmq => "ZeroMQ",
            Self::Mqtt => "MQTT",
        }
    }

    /// Its name on the command line.
    fn argument(self) -> &'static str {
        match self {
            Self::Zmq => "zmq",
            Self::Mqtt => "mqtt",
        }
    }

    /// A transport for one party: the only place where the two differ.
    fn transport(self, broker: Option<&str>, name: &str) -> anyhow::Result<BoxTransport> {
        match self {
            #[cfg(feature = "zmq")]
            Self::Zmq => Ok(BoxTransport::new(ringbus::transport::ZmqTransport::ephemeral())),
            #[cfg(feature = "mqtt")]
            Self::Mqtt => {
                let broker = broker.context("the demo over MQTT has no broker: give --broker URL")?;
                // Several demos may share a broker.
                let client = format!("demo-{name}");
                Ok(BoxTransport::new(ringbus::transport::MqttTransport::new(broker).client_id(client)))
            }
            #[allow(unreachable_patterns, reason = "all transports may be compiled in")]
            _ => {
                let _ = (broker, name);
                bail!("this ringbus was built without {}: build it with --features zmq,mqtt", self.name())
            }
        }
    }
}

/// What one run over one transport is told.
struct Plan {
    kind: Kind,
    broker: Option<String>,
    /// Tells the names of this run's parties from another's on the same broker.
    run: u32,
    speed: u32,
    lease: Duration,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let kinds = match args.transport {
        Some(kind) => vec![kind],
        None => vec![Kind::Zmq, Kind::Mqtt],
    };
    if args.broker.is_some() && !kinds.contains(&Kind::Mqtt) {
        return Err(Usage::new("--broker goes with MQTT: leave --transport zmq or --broker out").into());
    }
    // All brokers before the first performance: what is missing is said at once.
    let stages: Vec<(Kind, Broker)> = kinds
        .into_iter()
        .map(|kind| Broker::for_demo(kind, args.broker.as_deref()).map(|broker| (kind, broker)))
        .collect::<anyhow::Result<_>>()?;
    let mut failed = Vec::new();
    for (kind, broker) in stages {
        let plan = Plan {
            kind,
            broker: broker.url(),
            run: std::process::id(),
            speed: args.speed,
            lease: Duration::from_millis(args.lease),
        };
        let outcome =
            stage::perform(&plan).await.with_context(|| format!("the demo over {}", kind.name()))?;
        let mut out = io::stdout().lock();
        writeln!(out, "{}", report::table(&plan, &outcome))?;
        out.flush()?;
        if let Some(flaw) = outcome.flaw() {
            failed.push(format!("{}: {flaw}", kind.name()));
        }
    }
    if !failed.is_empty() {
        bail!("the demo failed: {}", failed.join("; "));
    }
    let mut out = io::stdout().lock();
    writeln!(out, "{}", report::LEGEND)?;
    writeln!(out, "Every subscriber has every hour of its cities exactly once, in order.")?;
    Ok(())
}

/// The broker that a run uses.
enum Broker {
    None,
    Given(String),
    #[cfg(feature = "embedded-broker")]
    Embedded(ringbus::transport::mqtt::EmbeddedBroker),
}

impl Broker {
    fn for_demo(kind: Kind, given: Option<&str>) -> anyhow::Result<Self> {
        match (kind, given) {
            (Kind::Zmq, _) => Ok(Self::None),
            (Kind::Mqtt, Some(url)) => Ok(Self::Given(url.to_owned())),
            #[cfg(feature = "embedded-broker")]
            (Kind::Mqtt, None) => {
                let broker = ringbus::transport::mqtt::EmbeddedBroker::start("127.0.0.1:0")?;
                Ok(Self::Embedded(broker))
            }
            #[cfg(not(feature = "embedded-broker"))]
            (Kind::Mqtt, None) => Err(Usage::new(
                "this ringbus was built without a broker of its own: give --broker URL, leave MQTT out with \
                 --transport zmq, or build it with --features cli,embedded-broker",
            )
            .into()),
        }
    }

    fn url(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Given(url) => Some(url.clone()),
            #[cfg(feature = "embedded-broker")]
            Self::Embedded(broker) => Some(broker.url()),
        }
    }
}
