//! One party of the demo, in a process of its own: a ring node or a publisher. It lives as long as its standard input
//! is open, so that it never outlives the demo.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::Context;
use clap::Subcommand;
use ringbus::qos::Offered;
use ringbus::transport::Locator;
use ringbus::{DhtNode, Session};
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};

use super::Kind;
use super::readings::{City, Reading};

/// A party of the demo (started by the demo itself)
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    transport: Kind,

    #[arg(long)]
    broker: Option<String>,

    #[arg(long)]
    name: String,

    /// Ring nodes to use
    #[arg(long)]
    node: Vec<Locator>,

    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    Node,
    Publisher {
        #[arg(long)]
        city: City,
        #[arg(long)]
        strength: i32,
        /// Hours in a second
        #[arg(long)]
        speed: u32,
        /// In milliseconds
        #[arg(long)]
        lease: u64,
    },
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let session = Session::open(args.transport.transport(args.broker.as_deref(), &args.name)?).await?;
    let mut stage_door = BufReader::new(tokio::io::stdin()).lines();
    match args.role {
        Role::Node => {
            let node = DhtNode::builder(session).name(&args.name).join(args.node).start().await?;
            tell(&format!("at {}", node.me().locator))?;
            while stage_door.next_line().await?.is_some() {}
        }
        Role::Publisher { city, strength, speed, lease } => {
            let offered =
                Offered::reliable().transient_local().exclusive(strength).lease(Duration::from_millis(lease));
            let ring = session.dht(args.node);
            let publisher =
                session.publisher::<Reading>(city.topic()).qos(offered).dht(&ring).build().await?;
            tell(&format!("at {}", publisher.id()))?;
            wait_for_go(&mut stage_door).await?;
            let mut sent = 0u32;
            let mut beat = tokio::time::interval(Duration::from_millis(10));
            let mut due = 0f64;
            for (hour, reading) in city.readings()? {
                while f64::from(sent) >= due {
                    tell(&format!("sent {sent}"))?;
                    beat.tick().await;
                    due += f64::from(speed) / 100.0;
                }
                publisher.publish_at(&reading, hour).await?;
                sent += 1;
            }
            tell(&format!("sent {sent}"))?;
            // Stays for those who still need its history.
            while stage_door.next_line().await?.is_some() {}
        }
    }
    Ok(())
}

async fn wait_for_go(stage_door: &mut Lines<BufReader<Stdin>>) -> anyhow::Result<()> {
    stage_door.next_line().await?.context("the demo ended before it began").map(drop)
}

fn tell(line: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}
