//! A node of the one-hop ring: it introduces publishers and subscribers.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anyhow::{Context, Result, anyhow};
use ringbus::DhtNode;
use ringbus::dht::NodeEvent;
use ringbus::dht::member::{Member, NodeName};
use ringbus::dht::membership::MemberEvent;
use ringbus::transport::BoxTransport;
use tokio::sync::broadcast::error::RecvError;

use super::{ALONE, Args, GOODBYE, LISTEN};
use crate::connect::Endpoint;
use crate::events;
use crate::payload::escape;
use crate::stop::Stop;

/// Runs until it is told to stop, then leaves.
pub(super) async fn run(args: Args) -> Result<()> {
    if let Some(name) = &args.name {
        // Before anything is opened.
        NodeName::new(name)?;
    }
    let seeds = args.options.kind()?.locators(&args.join)?;
    let endpoint = Endpoint { name: args.name.as_deref(), listen: Some(LISTEN), ..Endpoint::default() };
    let session = args.options.open(endpoint).await?;
    args.options.follow(&session, &[], false)?;
    let mut stop = Stop::listen()?;
    let mut builder = DhtNode::builder(session.clone()).join(seeds);
    if let Some(name) = &args.name {
        builder = builder.name(name);
    }
    let node = builder.start().await?;
    let me = node.me();
    let alone = || args.join.join(", ");
    let watched = tokio::select! {
        watched = watch(&node) => watched,
        never = mention_that_nobody_answers(&node, alone) => match never {},
        () = stop.requested() => Ok(()),
    };
    let left = tokio::select! {
        left = node.leave() => left.map_err(Into::into),
        () = stop.requested() => Err(anyhow!("told to stop twice: {} has not handed over what it held", me.name)),
    };
    drop(session.close(GOODBYE).await);
    watched?;
    left?;
    tell("left", &me)
}

/// Prints what happens on the ring. Ends with an error only.
async fn watch(node: &DhtNode<BoxTransport>) -> Result<()> {
    // Listening first, looking second: nobody is missed in between, and who is seen twice is told once.
    let mut events = node.events();
    let me = node.me();
    let mut known: BTreeMap<NodeName, Member> = BTreeMap::from([(me.name.clone(), me.clone())]);
    tell("started", &me)?;
    catch_up(node, &mut known)?;
    loop {
        match events.recv().await {
            Ok(NodeEvent::Member(event)) => follow(event, &mut known)?,
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => catch_up(node, &mut known)?,
            Err(RecvError::Closed) => return Err(anyhow!("the node {} has ended", me.name)),
        }
    }
}

fn follow(event: MemberEvent, known: &mut BTreeMap<NodeName, Member>) -> Result<()> {
    match event {
        MemberEvent::Up(member) => match known.insert(member.name.clone(), member.clone()) {
            Some(before) if before == member => Ok(()),
            _ => tell("joined", &member),
        },
        MemberEvent::Down(member) => {
            known.remove(&member.name);
            tell("failed", &member)
        }
        MemberEvent::Left(member) => {
            known.remove(&member.name);
            tell("left", &member)
        }
        MemberEvent::Restarted { to, .. } => {
            known.insert(to.name.clone(), to.clone());
            tell("restarted", &to)
        }
        MemberEvent::Renewed(member) => {
            known.insert(member.name.clone(), member.clone());
            tell("renewed", &member)
        }
        MemberEvent::NameTaken { by } => Err(anyhow!(
            "another node, at {}, has the name {:?}: give each node a --name of its own",
            by.locator,
            by.name.as_str()
        )),
    }
}

/// Tells how the ring differs from what was told.
fn catch_up(node: &DhtNode<BoxTransport>, known: &mut BTreeMap<NodeName, Member>) -> Result<()> {
    let now: BTreeMap<_, _> =
        node.members().into_iter().map(|member| (member.name.clone(), member)).collect();
    for (name, member) in &now {
        if known.get(name) != Some(member) {
            tell("joined", member)?;
        }
    }
    for member in known.values().filter(|member| !now.contains_key(&member.name)) {
        tell("left", member)?;
    }
    *known = now;
    Ok(())
}

/// The node goes on looking; whoever mistyped an address should know.
async fn mention_that_nobody_answers(
    node: &DhtNode<BoxTransport>,
    asked: impl Fn() -> String,
) -> std::convert::Infallible {
    tokio::time::sleep(ALONE).await;
    let asked = asked();
    if !asked.is_empty() && node.members().len() == 1 {
        events::say(&format!("no answer from {asked} yet: is a node running there? Still looking"));
    }
    std::future::pending().await
}

fn tell(what: &str, member: &Member) -> Result<()> {
    let name = escape(member.name.as_str().as_bytes()).replace('\t', "\\t");
    // A line at a time: whoever reads the pipe sees it at once.
    writeln!(io::stdout(), "{what}\t{name}\t{}", member.locator).context("cannot write to standard output")
}
