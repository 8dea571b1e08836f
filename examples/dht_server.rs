//! System A's event service: one node of the ring.

#![allow(clippy::print_stdout, reason = "programs talk to their users")]

mod common;

use std::process::ExitCode;

use anyhow::bail;
use clap::Parser;
use ringbus::dht::NodeEvent;
use ringbus::dht::membership::MemberEvent;
use ringbus::transport::ZmqTransport;
use ringbus::{DhtNode, Session};
use tokio::sync::broadcast::error::RecvError;

/// Run a node of the ring of event services until told to stop
#[derive(Debug, Parser)]
struct Args {
    /// The address to listen on; also the node's name
    own_ip: String,
    /// Other nodes, any of them, up or not yet: IP, IP:PORT or a locator
    other_ip: Vec<String>,
    /// The port on which this node, and others given without a port, take messages
    #[arg(long, default_value_t = 5556)]
    in_port: u16,
    /// The port at which this node publishes
    #[arg(long, default_value_t = 5550)]
    out_port: u16,
}

#[tokio::main]
async fn main() -> ExitCode {
    common::log();
    common::exit_code(run(Args::parse()).await)
}

async fn run(args: Args) -> anyhow::Result<()> {
    let others = common::locators(&args.other_ip, args.in_port)?;
    let own = common::locators(std::slice::from_ref(&args.own_ip), args.in_port)?.remove(0);
    let session = Session::open(ZmqTransport::new(own.as_str()).out_port(args.out_port)).await?;
    let node = DhtNode::builder(session.clone()).name(&args.own_ip).join(others).start().await?;
    let mut events = node.events();
    println!("{}: serving at {}", args.own_ip, session.local());
    print_members(&node);
    let serving = async {
        loop {
            match events.recv().await {
                Ok(NodeEvent::Member(MemberEvent::NameTaken { by })) => {
                    bail!("{} is off the ring: {} has the name now", args.own_ip, by.locator)
                }
                Ok(NodeEvent::Member(event)) => println!("{}", in_words(&event)),
                Ok(_) | Err(RecvError::Lagged(_)) => print_members(&node),
                Err(RecvError::Closed) => return anyhow::Ok(()),
            }
        }
    };
    tokio::select! {
        outcome = serving => outcome?,
        stop = common::told_to_stop() => stop?,
    }
    node.leave().await?;
    session.close(common::PATIENCE).await?;
    Ok(())
}

fn print_members(node: &DhtNode<ZmqTransport>) {
    let names: Vec<String> = node.members().iter().map(|member| member.name.to_string()).collect();
    println!("members: {}", names.join(" "));
}

fn in_words(event: &MemberEvent) -> String {
    match event {
        MemberEvent::Up(member) => format!("up: {}", member.name),
        MemberEvent::Down(member) => format!("down: {}", member.name),
        MemberEvent::Left(member) => format!("left: {}", member.name),
        MemberEvent::Restarted { to, .. } => format!("restarted: {}", to.name),
        MemberEvent::Renewed(me) => format!("back after being given up: {}", me.name),
        MemberEvent::NameTaken { by } => format!("name taken: {}", by.name),
    }
}
