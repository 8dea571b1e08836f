//! `ringbus node`: a ring node as a process.

mod one_hop;
mod successor;

use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use ringbus::dht::Key;

use crate::connect::Options;
use crate::failure::Usage;

const EXAMPLES: &str = "\
Examples:
  ringbus node --name n1
      a ring of one, into which others come at 127.0.0.1:5556
  ringbus node --name n2 --listen 127.0.0.1:5557 --join 127.0.0.1:5556
      a second node; any node of the ring will do for --join
  ringbus node --name 10.0.0.1 --listen 10.0.0.1:5556 --join 10.0.0.2:5556,10.0.0.3:5556
      on a network: every node can be started with the same list, in any order
  ringbus node --transport mqtt --name n2 --join n1
      the same through an MQTT broker; there nodes are called by their names
  ringbus node --protocol successor --transport mqtt
      a node of the key-value store at the MQTT broker; start as many as you like
  ringbus node --protocol successor --listen 127.0.0.1:5557 --join 127.0.0.1:5556
      a node of the key-value store over zmq, beside one that listens at port 5556

One-hop: topics are placed by the names of the nodes: a node that comes back should have the name that it had.
Ctrl-C and SIGTERM let a node hand over what it holds and leave; the others notice at once.

Output, one-hop, a line a change:
  started|joined|failed|left|restarted|renewed<TAB>NAME<TAB>ADDRESS
Output, successor, a line a change; None where the node is alone:
  started|left<TAB>ID<TAB>ADDRESS[<TAB>NAME]          this node
  linked<TAB>PREDECESSOR<TAB>SUCCESSOR                 its neighbours; it has the keys after PREDECESSOR up to ID
  failed|left<TAB>ID                                   another node
  expelled<TAB>ID                                      the others took this node for dead; it joins again";

/// Where a node listens over ZeroMQ if nothing else was asked for.
const LISTEN: &str = "127.0.0.1:5556";

/// When to mention that nobody has answered.
const ALONE: Duration = Duration::from_secs(5);

/// How long goodbyes may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// Run a node of a ring: one through which publishers and subscribers find each other, or a key-value store's
///
/// Over zmq it listens at 127.0.0.1:5556 unless --listen says otherwise; beside port 5556 it publishes at 5550 unless
/// --out-port says otherwise.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// What the ring does
    #[arg(long, value_enum, default_value_t)]
    protocol: Protocol,

    /// The node's name on the ring, and at an MQTT broker [default: its address]. On a successor ring the --id counts; there
    /// the name is for the broker and for your eyes
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// successor: the node's place, a decimal number from 0 to 4294967295 [default: a random one]
    #[arg(long, value_name = "ID")]
    id: Option<Key>,

    /// Join the ring of these nodes, as HOST:PORT (zmq) or by name (mqtt); some may be down. A successor ring at a broker
    /// needs none
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    join: Vec<String>,

    #[command(flatten)]
    options: Options,
}

/// The protocols that nodes speak among themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Protocol {
    /// Publishers and subscribers find each other; every node knows all
    #[default]
    OneHop,
    /// A key-value store that any MQTT client can use; every node knows its neighbours
    Successor,
}

/// Runs until it is told to stop, then leaves.
pub(crate) async fn run(args: Args) -> Result<()> {
    match args.protocol {
        Protocol::OneHop if args.id.is_some() => {
            let message = "--id goes with --protocol successor: add that, or give the node a --name";
            Err(Usage::new(message).into())
        }
        Protocol::OneHop => one_hop::run(args).await,
        Protocol::Successor => successor::run(args).await,
    }
}
