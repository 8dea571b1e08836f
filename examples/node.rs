//! A node of the successor ring: it keeps its part of a key-value store at an MQTT broker.

#![allow(clippy::print_stdout, reason = "programs talk to their users")]

mod common;

use std::process::ExitCode;

use anyhow::bail;
use clap::Parser;
use ringbus::dht::{Key, Links, Successor, SuccessorEvent};
use ringbus::transport::MqttTransport;
use ringbus::{DhtNode, Session};
use tokio::sync::broadcast::error::RecvError;

/// Run a node of the key-value store until told to stop
#[derive(Debug, Parser)]
struct Args {
    /// What the node is called in its output [default: its id]
    name: Option<String>,
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
    let id = Key::new(rand::random());
    let name = args.name.unwrap_or_else(|| id.to_string());
    let told_to_stop = common::told_to_stop();
    tokio::pin!(told_to_stop);
    // Should this program die, the broker tells the others.
    let transport = MqttTransport::new(common::broker(args.broker)).last_will("fail", id.to_string());
    let session = Session::open(transport).await?;
    println!("{name}: joining as {id}");
    let node = tokio::select! {
        node = DhtNode::builder(session.clone()).successor().id(id).start() => node,
        stop = &mut told_to_stop => return Ok(stop?),
    };
    let node = match node {
        Ok(node) => node,
        Err(error) => {
            // Without a goodbye the broker would tell the ring that the node of this id is dead.
            session.close(common::PATIENCE).await?;
            return Err(error.into());
        }
    };
    tokio::select! {
        outcome = tell(&name, &node) => outcome?,
        stop = told_to_stop => stop?,
    }
    println!("{name}: leaving with {} pairs", node.pairs().len());
    node.leave().await?;
    session.close(common::PATIENCE).await?;
    println!("{name}: left");
    Ok(())
}

/// Prints what happens; ends with an error only.
async fn tell(name: &str, node: &DhtNode<MqttTransport, Successor>) -> anyhow::Result<()> {
    let mut events = node.events();
    println!("{name}: joined, {}, {} pairs", in_words(node.links()), node.pairs().len());
    loop {
        match events.recv().await {
            Ok(SuccessorEvent::Serving(links) | SuccessorEvent::Relinked(links)) => {
                println!("{name}: {}, {} pairs", in_words(links), node.pairs().len());
            }
            Ok(SuccessorEvent::Failed(other)) => println!("{name}: {other} failed"),
            Ok(SuccessorEvent::Left(other)) => println!("{name}: {other} left"),
            Ok(SuccessorEvent::Expelled) => println!("{name}: taken for dead, joining again"),
            Ok(SuccessorEvent::IdTaken) => bail!("another node has the id {}: start again", node.id()),
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => bail!("the node has ended"),
        }
    }
}

fn in_words(links: Links) -> String {
    match (links.predecessor, links.successor) {
        (Some(before), Some(after)) => format!("between {before} and {after}"),
        _ => "alone".to_owned(),
    }
}
