//! `ringbus bench`: the library and the raw crate of its transport do the same work, in turns.

mod broker;
mod cpu;
mod door;
mod library;
mod measure;
mod order;
mod pace;
mod peer;
mod process;
#[cfg(feature = "mqtt")]
mod raw_mqtt;
#[cfg(feature = "zmq")]
mod raw_zmq;
mod report;
mod round;
mod samples;
mod tally;
mod trips;
#[cfg(feature = "zmq")]
mod zmq_ffi;

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};

use broker::Broker;
use measure::{Case, Kind, Measured, Method};
use order::{Crowd, Link, Payload, Side};
pub(crate) use peer::{Args as PeerArgs, run as run_peer};

use crate::engine::Engine;
use crate::failure::Usage;

/// The largest sample: a thousand of them wait in each queue of libzmq.
const LARGEST: usize = 1 << 20;

const RATE_SIZES: [Payload; 5] = [
    Payload::Bytes(16),
    Payload::Bytes(256),
    Payload::Bytes(1024),
    Payload::Bytes(64 << 10),
    Payload::Struct,
];
const ROUND_TRIP_SIZES: [Payload; 2] = [Payload::Bytes(64), Payload::Bytes(1024)];

/// Measure this library beside the raw crate of its transport doing the same work
///
/// The raw crates are zmq (libzmq's PUB and SUB, nothing dropped, blocking threads) and rumqttc through the same broker.
/// Publishers and subscribers are two processes, on loopback; the two sides take turns, round by round. At full speed the
/// library puts many samples into one message where the raw crate sends a message for each: rates compare samples in
/// batches against one message each. Both deliver every sample, but for MQTT with QoS 0, where the library is best-effort too. Exit code 1 if a sample was lost where
/// none may be.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  ringbus bench\n  ringbus bench --transport mqtt --qos 1 --size 16,struct\n  \
                        ringbus bench --subscribers 1,8,64 --rate\n  ringbus bench --round-trip --rounds 9 --seconds 3"
)]
pub(crate) struct Args {
    /// What to measure
    #[arg(long, value_name = "TRANSPORT", default_value = "zmq")]
    transport: Transport,

    /// zmq: this library's engine [default: libzmq]
    #[arg(long, value_name = "ENGINE")]
    engine: Option<Engine>,

    /// mqtt: go through this broker rather than through an own mosquitto
    #[arg(long, value_name = "URL")]
    broker: Option<String>,

    /// Bytes of a sample, or struct for a typed one of six fields, which is compared with 16 raw bytes [default: rates of
    /// 16,256,1024,65536,struct, round trips of 64,1024]
    #[arg(long, value_name = "BYTES", value_delimiter = ',', value_parser = payload)]
    size: Vec<Payload>,

    /// The numbers of publishers
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1", value_parser = clap::value_parser!(u16).range(1..=1024))]
    publishers: Vec<u16>,

    /// The numbers of subscribers, each with each number of publishers
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1", value_parser = clap::value_parser!(u16).range(1..=1024))]
    subscribers: Vec<u16>,

    /// mqtt: the quality of service, 0 or 1 [default: both]
    #[arg(long, value_name = "QOS", value_delimiter = ',', value_parser = clap::value_parser!(u8).range(0..=1))]
    qos: Vec<u8>,

    /// mqtt: TCP_NODELAY at the raw crate's clients and at the own mosquitto, which both leave it off by themselves
    #[arg(long)]
    nodelay: bool,

    /// Only the raw crate
    #[arg(long, conflicts_with = "library")]
    raw: bool,

    /// Only this library
    #[arg(long)]
    library: bool,

    /// Only rates, no round trips
    #[arg(long, conflicts_with = "round_trip")]
    rate: bool,

    /// Only round trips, no rates
    #[arg(long)]
    round_trip: bool,

    /// How often both sides do each part of the work
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,

    /// How long a side publishes in a round, after 0.2 s to warm up
    #[arg(long, value_name = "DURATION", default_value = "1", value_parser = length)]
    seconds: Duration,

    /// Write every figure to this file as JSON too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Transport {
    Zmq,
    Mqtt,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    args.check()?;
    let broker = match (args.transport, &args.broker) {
        (Transport::Zmq, _) => None,
        (Transport::Mqtt, Some(url)) => Some(Broker::at(url)?),
        (Transport::Mqtt, None) => Some(Broker::start(args.nodelay).await?),
    };
    let method = Method {
        sides: args.sides(),
        rounds: args.rounds,
        length: args.seconds,
        broker: broker.as_ref().and_then(|broker| broker.pid),
    };
    let cases = args.cases(broker.as_ref());
    let plays = cases.len() as u64 * u64::from(args.rounds) * method.sides.len() as u64;
    let bar = progress_bar(plays);
    let mut measured: Vec<Measured> = Vec::new();
    for case in cases {
        let what = format!("{}, {}, {}", case.link, case.crowd, case.payload);
        bar.set_message(what.clone());
        let one = measure::measure(case, &method, || bar.inc(1))
            .await
            .with_context(|| format!("the bench of {what}"))?;
        measured.push(one);
    }
    bar.finish_and_clear();
    if let Some(broker) = broker {
        broker.end().await?;
    }
    let mut out = io::stdout().lock();
    writeln!(out, "{}{}", report::tables(&measured), report::LEGEND)?;
    out.flush()?;
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&report::json(&measured))?;
        std::fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))?;
    }
    let lost: u64 = measured
        .iter()
        .filter(|one| one.case.link.is_reliable())
        .flat_map(|one| [&one.library, &one.raw])
        .flatten()
        .map(|figures| figures.lost)
        .sum();
    if lost > 0 {
        bail!(
            "{lost} samples were lost, came twice or late, where all have to arrive once: the table says which"
        );
    }
    Ok(())
}

impl Args {
    fn check(&self) -> Result<(), Usage> {
        if self.transport == Transport::Zmq {
            let foreign = [
                ("--broker", self.broker.is_some()),
                ("--qos", !self.qos.is_empty()),
                ("--nodelay", self.nodelay),
            ];
            if let Some((option, _)) = foreign.into_iter().find(|(_, given)| *given) {
                return Err(Usage::new(format!(
                    "{option} goes with MQTT: add --transport mqtt, or leave {option} out"
                )));
            }
        }
        if self.transport == Transport::Mqtt && self.engine.is_some() {
            return Err(Usage::new("--engine goes with ZeroMQ: leave --engine or --transport mqtt out"));
        }
        if self.round_trip && self.size.contains(&Payload::Struct) {
            return Err(Usage::new("round trips are of bytes: leave struct out of --size, or --round-trip"));
        }
        let built_in = match self.transport {
            Transport::Zmq => cfg!(feature = "zmq"),
            Transport::Mqtt => cfg!(feature = "mqtt"),
        };
        if !built_in {
            return Err(Usage::new(
                "this ringbus was built without this transport: build it with --features zmq,mqtt",
            ));
        }
        Ok(())
    }

    fn sides(&self) -> Vec<Side> {
        match (self.library, self.raw) {
            (true, _) => vec![Side::Library],
            (_, true) => vec![Side::Raw],
            _ => vec![Side::Library, Side::Raw],
        }
    }

    fn links(&self, broker: Option<&Broker>) -> Vec<Link> {
        let Some(broker) = broker else { return vec![Link::Zmq(self.engine.unwrap_or_default())] };
        let qos = if self.qos.is_empty() { &[0, 1] } else { self.qos.as_slice() };
        qos.iter().map(|qos| broker.link(*qos, self.nodelay)).collect()
    }

    /// Everything that was asked for: rates with every number of publishers and subscribers, round trips of a pair.
    fn cases(&self, broker: Option<&Broker>) -> Vec<Case> {
        let mut cases = Vec::new();
        for link in self.links(broker) {
            let mut add = |kind, payload, crowd| {
                let case = Case { link: link.clone(), kind, payload, crowd };
                if !cases.contains(&case) {
                    cases.push(case);
                }
            };
            let given = |defaults: &[Payload]| {
                if self.size.is_empty() { defaults.to_vec() } else { self.size.clone() }
            };
            if !self.round_trip {
                for publishers in self.publishers.iter().copied().map(usize::from) {
                    for subscribers in self.subscribers.iter().copied().map(usize::from) {
                        for payload in given(&RATE_SIZES) {
                            add(Kind::Rate, payload, Crowd { publishers, subscribers });
                        }
                    }
                }
            }
            if !self.rate {
                let sizes =
                    given(&ROUND_TRIP_SIZES).into_iter().filter(|payload| *payload != Payload::Struct);
                sizes.for_each(|payload| add(Kind::RoundTrip, payload, Crowd::PAIR));
            }
        }
        cases
    }
}

fn payload(text: &str) -> Result<Payload, String> {
    if text == "struct" {
        return Ok(Payload::Struct);
    }
    let size = text.parse().ok().filter(|size| (samples::SMALLEST..=LARGEST).contains(size));
    let expected = || format!("write struct, or a number of bytes from {} to {LARGEST}", samples::SMALLEST);
    size.map(Payload::Bytes).ok_or_else(expected)
}

fn length(text: &str) -> Result<Duration, String> {
    let duration = crate::duration::parse(text)?;
    let bounds = Duration::from_millis(50)..=Duration::from_secs(600);
    if bounds.contains(&duration) { Ok(duration) } else { Err("write a duration from 50ms to 10m".into()) }
}

fn progress_bar(plays: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("bench [{bar:32}] {pos}/{len} {msg}");
    let bar = ProgressBar::new(plays);
    style.map(|style| bar.clone().with_style(style.progress_chars("=> "))).unwrap_or(bar)
}
