//! A node of the successor ring: it keeps values.

use std::convert::Infallible;
use std::fmt::Display;
use std::io::{self, Write};

use anyhow::{Context, Result, anyhow};
use ringbus::DhtNode;
use ringbus::dht::{Key, Links, Successor, SuccessorEvent};
use ringbus::transport::{BoxTransport, Locator};
use tokio::sync::broadcast::error::RecvError;

use super::{ALONE, Args, GOODBYE, LISTEN};
use crate::connect::Endpoint;
use crate::events;
use crate::payload::escape;
use crate::stop::Stop;

type Node = DhtNode<BoxTransport, Successor>;

/// What its broker tells the others, with its id, if a node dies.
const FAIL: &str = "fail";

/// Runs until it is told to stop, then leaves.
pub(super) async fn run(args: Args) -> Result<()> {
    let seeds = args.options.kind()?.successor_seeds("--join", &args.join)?;
    let id = args.id.unwrap_or_else(|| Key::new(rand::random()));
    let payload = id.to_string();
    let endpoint = Endpoint {
        name: args.name.as_deref(),
        listen: Some(LISTEN),
        will: Some((FAIL, &payload)),
        ..Endpoint::default()
    };
    let session = args.options.open(endpoint).await?;
    args.options.follow(&session, &[], false)?;
    let mut stop = Stop::listen()?;
    let name = args.name.as_deref();
    let node = tokio::select! {
        node = DhtNode::builder(session.clone()).successor().id(id).join(seeds).start() => node,
        () = stop.requested() => {
            drop(session.close(GOODBYE).await);
            return Ok(());
        }
    };
    let node = match node {
        Ok(node) => node,
        Err(error) => {
            // Said to the broker, this is no crash: the last will would have the ring give up the node whose id this is.
            drop(session.close(GOODBYE).await);
            return Err(error.into());
        }
    };
    let watched = tokio::select! {
        watched = watch(&node, session.local(), name) => watched,
        never = mention_that_nobody_answers(&node, &args.join) => match never {},
        () = stop.requested() => Ok(()),
    };
    let left = tokio::select! {
        left = node.leave() => left.map_err(Into::into),
        () = stop.requested() => Err(anyhow!("told to stop twice: {id} may not have handed over what it held")),
    };
    drop(session.close(GOODBYE).await);
    watched?;
    left?;
    tell_own("left", id, session.local(), name)
}

/// Prints what happens on the ring. Ends with an error only.
async fn watch(node: &Node, local: &Locator, name: Option<&str>) -> Result<()> {
    // Listening first, looking second: nothing is missed in between.
    let mut events = node.events();
    tell_own("started", node.id(), local, name)?;
    let mut told = node.links();
    tell_links(told)?;
    loop {
        let links = match events.recv().await {
            Ok(SuccessorEvent::Serving(links) | SuccessorEvent::Relinked(links)) => links,
            Ok(SuccessorEvent::Failed(other)) => {
                tell("failed", other)?;
                continue;
            }
            Ok(SuccessorEvent::Left(other)) => {
                tell("left", other)?;
                continue;
            }
            Ok(SuccessorEvent::Expelled) => {
                tell("expelled", node.id())?;
                continue;
            }
            Ok(SuccessorEvent::IdTaken) => {
                return Err(anyhow!(
                    "another node has the id {}: give each node an --id of its own",
                    node.id()
                ));
            }
            Ok(_) => continue,
            Err(RecvError::Lagged(_)) => node.links(),
            Err(RecvError::Closed) => return Err(anyhow!("the node {} has ended", node.id())),
        };
        if links != told {
            tell_links(links)?;
            told = links;
        }
    }
}

/// The node goes on looking; whoever mistyped an address should know.
async fn mention_that_nobody_answers(node: &Node, asked: &[String]) -> Infallible {
    tokio::time::sleep(ALONE).await;
    if !asked.is_empty() && node.links() == Links::default() {
        let asked = asked.join(", ");
        events::say(&format!("no answer from {asked} yet: is a node running there? Serving alone meanwhile"));
    }
    std::future::pending().await
}

fn tell_own(what: &str, id: Key, local: &Locator, name: Option<&str>) -> Result<()> {
    let name = name.map(|name| format!("\t{}", escape(name.as_bytes()).replace('\t', "\\t")));
    line(format_args!("{what}\t{id}\t{local}{}", name.unwrap_or_default()))
}

fn tell_links(links: Links) -> Result<()> {
    let name = |key: Option<Key>| key.map_or_else(|| "None".to_owned(), |key| key.to_string());
    line(format_args!("linked\t{}\t{}", name(links.predecessor), name(links.successor)))
}

fn tell(what: &str, other: Key) -> Result<()> {
    line(format_args!("{what}\t{other}"))
}

/// A line at a time: whoever reads the pipe sees it at once.
fn line(line: impl Display) -> Result<()> {
    writeln!(io::stdout(), "{line}").context("cannot write to standard output")
}
