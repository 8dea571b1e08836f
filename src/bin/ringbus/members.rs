//! `ringbus members`: who is on the ring.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio::time::{Instant, timeout_at};

use crate::connect::{Endpoint, Options};
use crate::duration;
use crate::hints::patiently;
use crate::payload::escape;

const EXAMPLES: &str = "\
Examples:
  ringbus members --node 127.0.0.1:5556
      asks that node; any node of the ring will do
  ringbus members --node 127.0.0.1:5556,127.0.0.1:5557
      asks the second if the first does not answer
  ringbus members --transport mqtt --node n1
      asks the node that was started with --name n1 at the same broker

Output, a line a node, sorted by name:
  NAME<TAB>ADDRESS";

/// List the nodes of a ring
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Any node of the ring, as HOST:PORT (zmq) or by name (mqtt); further ones in case it is down
    #[arg(long, value_name = "NODE", required = true, value_delimiter = ',')]
    node: Vec<String>,

    /// How long to wait for an answer
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration::parse)]
    timeout: Duration,

    #[command(flatten)]
    options: Options,
}

/// Prints a line a node.
pub(crate) async fn run(args: Args) -> Result<()> {
    let nodes = args.options.kind()?.locators(&args.node)?;
    let deadline = Instant::now() + args.timeout;
    let patience = Some(args.timeout);
    let endpoint = Endpoint { towards: &nodes, patience, ..Endpoint::default() };
    let session = args.options.open(endpoint).await?;
    let dht = session.dht(nodes);
    let hint = || format!("no answer from {} yet", args.node.join(", "));
    let asked = timeout_at(deadline, patiently(hint, dht.members())).await;
    // Nothing is under way any more: there is nothing to flush.
    drop(session.close(Duration::ZERO).await);
    let members = asked.map_err(|_| {
        let (nodes, after) = (args.node.join(", "), args.timeout);
        anyhow!("cannot reach {nodes}: no answer within {after:?}: is a ring node running there?")
    })??;
    let mut out = io::stdout().lock();
    for member in members {
        let name = escape(member.name.as_str().as_bytes()).replace('\t', "\\t");
        writeln!(out, "{name}\t{}", member.locator).context("cannot write to standard output")?;
    }
    Ok(())
}
