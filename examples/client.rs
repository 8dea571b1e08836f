//! A client of the successor ring: puts random pairs into the store at an MQTT broker, gets and compares them.

#![allow(clippy::print_stdout, reason = "programs talk to their users")]

mod common;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Parser;
use futures::{StreamExt, TryStreamExt, stream};
use indicatif::ProgressBar;
use rand::Rng;
use rand::distr::Alphanumeric;
use ringbus::Session;
use ringbus::transport::MqttTransport;

/// How many pairs, and how long each value is.
const PAIRS: usize = 100;
const LENGTH: usize = 10;
/// How many may be under way at the same time.
const AT_A_TIME: usize = 16;

/// Put 100 random pairs, get them again, and fail unless they are the same
#[derive(Debug, Parser)]
struct Args {
    /// Seconds between the last put and the first get, or for instance 500ms
    #[arg(default_value = "0", value_parser = common::pause)]
    wait: Duration,
    /// The MQTT broker; environment variable BROKER says so too [default: mqtt://127.0.0.1:1883]
    #[arg(long, value_name = "URL")]
    broker: Option<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    common::log();
    common::exit_code(run(Args::parse()).await)
}

async fn run(args: Args) -> anyhow::Result<()> {
    let session = Session::open(MqttTransport::new(common::broker(args.broker))).await?;
    let dht = session.successor_dht([]);
    let pairs = random_pairs();
    let bar = ProgressBar::new(2 * PAIRS as u64);
    let started = Instant::now();
    let put = async |(&key, value): (&u32, &String)| {
        let put = dht.put(key, value).await.with_context(|| format!("cannot put {key}: are nodes running?"));
        bar.inc(1);
        put
    };
    stream::iter(&pairs).map(put).buffer_unordered(AT_A_TIME).try_collect::<Vec<_>>().await?;
    let put = started.elapsed();
    tokio::time::sleep(args.wait).await;

    let started = Instant::now();
    let get = async |(&key, value): (&u32, &String)| {
        let found = dht.get(key).await.with_context(|| format!("cannot get {key}"))?;
        bar.inc(1);
        let differs = found.as_ref() != Some(value);
        anyhow::Ok(differs.then(|| format!("{key}: put {value:?}, got {found:?}")))
    };
    let compared = stream::iter(&pairs).map(get).buffer_unordered(AT_A_TIME);
    let compared: Vec<Option<String>> = compared.try_collect().await?;
    let (got, differences) = (started.elapsed(), compared.into_iter().flatten().collect::<Vec<_>>());
    bar.finish_and_clear();
    session.close(common::PATIENCE).await?;
    for difference in &differences {
        println!("{difference}");
    }
    if !differences.is_empty() {
        bail!("{} of {PAIRS} pairs are not what was put", differences.len());
    }
    println!("{PAIRS} pairs verified: put in {put:.1?}, got in {got:.1?}");
    Ok(())
}

fn random_pairs() -> BTreeMap<u32, String> {
    let mut random = rand::rng();
    let mut pairs = BTreeMap::new();
    while pairs.len() < PAIRS {
        let value = (0..LENGTH).map(|_| char::from(random.sample(Alphanumeric))).collect();
        pairs.insert(random.random(), value);
    }
    pairs
}
