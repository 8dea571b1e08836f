//! System A's subscriber: prints the weather of the places that it asks for.

mod common;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use common::Reading;
use ringbus::pubsub::Route;
use ringbus::qos::Requested;
use ringbus::transport::ZmqTransport;
use ringbus::{Sample, Session};

/// Print readings, a line each: topic, temperature, humidity, strength, history, latency in ms
#[derive(Debug, Parser)]
struct Args {
    /// A zipcode, or + or # for all; with a '/' in it, a whole filter
    filter: String,
    /// Servers of the ring, any of them: IP, IP:PORT or a locator
    #[arg(required = true)]
    server: Vec<String>,
    /// The port of servers that are given without one
    #[arg(long, default_value_t = 5556)]
    port: u16,
    /// Straight from the publishers, or through the responsible node
    #[arg(long, value_enum, default_value_t = Way::Direct)]
    route: Way,
    /// Stop after so many readings
    #[arg(long)]
    count: Option<usize>,
    /// Three more columns: publisher, its number of the reading, nanoseconds since 1970 when the reading was made
    #[arg(long)]
    details: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Way {
    Direct,
    Node,
}

#[tokio::main]
async fn main() -> ExitCode {
    common::log();
    common::exit_code(run(Args::parse()).await)
}

async fn run(args: Args) -> anyhow::Result<()> {
    let servers = common::locators(&args.server, args.port)?;
    let session = Session::open(ZmqTransport::towards(servers[0].as_str())).await?;
    let filter = match &args.filter {
        filter if filter.contains('/') => filter.clone(),
        place => format!("weather/{place}"),
    };
    let route = match args.route {
        Way::Direct => Route::Direct,
        Way::Node => Route::ViaNode,
    };
    let (requested, dht) = (Requested::reliable().transient_local().exclusive(), session.dht(servers));
    let builder = session.subscriber::<Reading>(&filter).qos(requested).route(route);
    let mut subscriber = builder.dht(&dht).build().await?;
    tokio::spawn(common::print(subscriber.events()));
    let printing = async {
        for _ in 0..args.count.unwrap_or(usize::MAX) {
            let Some(sample) = subscriber.recv().await? else { break };
            print(&sample, args.details)?;
        }
        anyhow::Ok(())
    };
    tokio::select! {
        outcome = printing => outcome?,
        stop = common::told_to_stop() => stop?,
    }
    drop(subscriber);
    session.close(common::PATIENCE).await?;
    Ok(())
}

fn print(sample: &Sample<Reading>, details: bool) -> anyhow::Result<()> {
    let (info, Reading { temperature, humidity }) = (sample.info(), sample.value()?);
    let latency = info.received.saturating_since(info.source_timestamp).as_secs_f64() * 1e3;
    let mut line = format!(
        "{}\t{temperature:.1}\t{humidity:.1}\t{}\t{}\t{latency:.3}",
        info.topic, info.strength, info.history
    );
    if let (true, Some(writer)) = (details, info.writer) {
        line += &format!("\t{writer}\t{}\t{}", info.sequence, info.source_timestamp.as_nanos());
    }
    // Rust's standard output is flushed at the end of each line, also into a pipe.
    Ok(writeln!(io::stdout(), "{line}")?)
}
