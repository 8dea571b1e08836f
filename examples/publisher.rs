//! System A's publisher: the weather of one place, for whoever subscribes, in place of weaker publishers.

#![allow(clippy::print_stdout, reason = "programs talk to their users")]

mod common;

use std::f64::consts::TAU;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use common::Reading;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use ringbus::Session;
use ringbus::qos::Offered;
use ringbus::transport::ZmqTransport;
use tokio::time::{MissedTickBehavior, interval};

/// Publish readings on weather/ZIPCODE until told to stop
#[derive(Debug, Parser)]
struct Args {
    /// The strongest live publisher of a zipcode is the one that is heard
    #[arg(allow_negative_numbers = true)]
    strength: i32,
    /// The place
    zipcode: String,
    /// Servers of the ring, any of them: IP, IP:PORT or a locator
    #[arg(required = true)]
    server: Vec<String>,
    /// The port of servers that are given without one
    #[arg(long, default_value_t = 5556)]
    port: u16,
    /// The time between two readings
    #[arg(long, default_value = "1s", value_parser = common::duration)]
    period: Duration,
    /// How many readings are kept for late joiners and repairs
    #[arg(long, default_value_t = 10)]
    history: u32,
    /// Keep all readings
    #[arg(long, conflicts_with = "history")]
    keep_all: bool,
    /// A publisher that is silent for so long counts as gone
    #[arg(long, default_value = "2s", value_parser = common::duration)]
    lease: Duration,
    /// Stop after so many readings
    #[arg(long)]
    count: Option<usize>,
    /// The same seed makes the same weather
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    common::log();
    common::exit_code(run(Args::parse()).await)
}

async fn run(args: Args) -> anyhow::Result<()> {
    let servers = common::locators(&args.server, args.port)?;
    let session = Session::open(ZmqTransport::towards(servers[0].as_str())).await?;
    let offered = Offered::reliable().transient_local().exclusive(args.strength).lease(args.lease);
    let offered = if args.keep_all { offered } else { offered.keep_last(args.history) };
    let topic = format!("weather/{}", args.zipcode);
    let dht = session.dht(servers);
    let publisher = session.publisher::<Reading>(&topic).qos(offered).dht(&dht).build().await?;
    let responsible = publisher.responsible().unwrap_or_default();
    println!("{topic}: registered with strength {}, responsible node {responsible}", args.strength);
    tokio::spawn(common::print(publisher.events()));

    let mut pace = interval(args.period);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let publishing = async {
        for reading in weather(args.seed).take(args.count.unwrap_or(usize::MAX)) {
            pace.tick().await;
            publisher.publish(&reading).await?;
        }
        anyhow::Ok(())
    };
    tokio::select! {
        outcome = publishing => outcome?,
        stop = common::told_to_stop() => stop?,
    }
    publisher.close(common::PATIENCE).await?;
    session.close(common::PATIENCE).await?;
    Ok(())
}

/// A reading an hour: warm at noon, dry when warm.
fn weather(seed: u64) -> impl Iterator<Item = Reading> {
    let mut random = SmallRng::seed_from_u64(seed);
    (0_u32..).map(move |hour| {
        let sun = (TAU * f64::from(hour % 24) / 24.0).cos();
        let temperature = 55.0 - 12.0 * sun + random.random_range(-3.0..3.0);
        let humidity = (60.0 + 25.0 * sun + random.random_range(-10.0..10.0)).clamp(0.0, 100.0);
        Reading { temperature, humidity }
    })
}
