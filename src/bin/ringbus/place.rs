//! `ringbus place`: which node is responsible for a key, what a change of the ring moves, and why two rings disagree.

mod doctor;
mod from;
mod keys;
mod like;
mod names;
mod nginx;
mod placed;
mod plan;
mod ring;
mod table;
mod twemproxy;

use std::ffi::OsString;
use std::io::{self, Write};
use std::num::NonZeroUsize;

use anyhow::{Context, Result};
use clap::ArgGroup;
use ringbus::Mode;
use ringbus::dht::hash_ring::KeyRule;

use self::like::Like;
use self::ring::parse_weight;
use crate::failure::Usage;

const EXAMPLES: &str = "\
Examples:
  ringbus place --nodes 10.0.0.1,10.0.0.2,10.0.0.3 weather/98101
      weather/98101 and its position, its owner, and all nodes in the order in which replicas go to them
  ringbus place --nodes a,b,c --weights a=2 k1 k2
      a gets twice the keys of b and of c
  cut -f1 keys.tsv | ringbus place --nodes a,b,c --replicas 2
      keys from standard input, one a line; the owner and one more node for each
  find . -type f -print0 | ringbus place -0 --nodes-file nodes.txt --replicas 1
      keys that may hold any byte but NUL, on the nodes of a file
  ringbus place --mode ketama --nodes a,b,c k1
      as libketama places it
  ringbus place --like 'pylibmc ketama_weighted' --nodes 10.0.0.1:11211,10.0.0.2:11211 k1
      as that client does; --clients lists those that are known
  ringbus place --from-nginx /etc/nginx/nginx.conf --pool backend /index.html
      as nginx does with the upstream 'backend', which has 'hash $request_uri consistent'
  ringbus place --plan --nodes a,b,c --add d=2 --remove b --keys keys.txt
      what moves if d comes with the weight 2 and b goes: from whom to whom, how much of the circle, how many of the
      keys in the file, and how evenly the circle is shared before and after
  ringbus place --doctor --nodes a,b --mode hash_ring --against-nodes a,c --against-mode ketama --keys keys.txt
      which of these keys the two place differently, and why

Output, tab-separated, a line a key:
  KEY  POSITION (0 to 4294967295)  OWNER  PREFERENCE,...

A key is any bytes, at most 1048576, printed as they are but for tabs and line feeds, which appear as \\t and \\n. Of a
line, a carriage return before its end is no part of the key, nor a byte order mark before the first; with -0, where
keys end in a NUL, both are.

Modes: hash_ring (Python's hash_ring 1.3.1, and ringbus's own rings), ketama (libketama), libmemcached-weighted,
libmemcached, twemproxy (nutcracker with 'distribution: ketama' and 'hash: md5'), npm-hashring, npm-memcached, nginx
(hash ... consistent), haproxy (hash-type consistent) and envoy (RING_HASH). A placement depends on nothing but the mode, the names and the weights.";

const UNWRITABLE: &str = "cannot write to standard output";

/// Show which node is responsible for a key, and where its replicas go; plan changes, and compare rings
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, group(ArgGroup::new("task").args(["plan", "doctor"])))]
#[command(group(ArgGroup::new("configuration").args(["from_nginx", "from_twemproxy"])))]
pub(crate) struct Args {
    /// The ring's nodes, separated by commas
    #[arg(long, value_name = "NODE,...", value_delimiter = ',')]
    nodes: Vec<String>,

    /// A file of nodes, one a line: they are listed behind those of --nodes
    #[arg(long, value_name = "FILE")]
    nodes_file: Option<String>,

    /// Shares of nodes that are not to have the same as the others; the rest have 1
    #[arg(long, value_name = "NODE=WEIGHT,...", value_delimiter = ',', value_parser = parse_weight)]
    weights: Vec<(String, f64)>,

    /// Whose rule of placement, as in ketama: the modes are listed below
    #[arg(long, default_value_t, hide_default_value = true)]
    mode: Mode,

    /// Place keys as this client does, as in 'pylibmc ketama': mode and hash of keys in one
    #[arg(long, value_name = "CLIENT", conflicts_with = "mode", value_parser = like::parse)]
    like: Option<Like>,

    /// List the clients that --like knows
    #[arg(long, exclusive = true)]
    clients: bool,

    /// How keys are hashed, if otherwise than the mode does, as in fnv1a_64 or, with a hash tag, fnv1a_64:{}
    #[arg(long, value_name = "HASH[:TAG]")]
    hash: Option<KeyRule>,

    /// Take the ring from an nginx configuration: an upstream with 'hash ... consistent'
    #[arg(long, value_name = "FILE")]
    #[arg(conflicts_with_all = ["nodes", "nodes_file", "weights", "mode", "like", "hash", "from_twemproxy"])]
    from_nginx: Option<String>,

    /// Take the ring from a twemproxy configuration: a pool with 'distribution: ketama', which is its default
    #[arg(long, value_name = "FILE", conflicts_with_all = ["nodes", "nodes_file", "weights", "mode", "like", "hash"])]
    from_twemproxy: Option<String>,

    /// Which upstream or pool of the configuration [default: the only one]
    #[arg(long, value_name = "NAME", requires = "configuration")]
    pool: Option<String>,

    /// How many nodes to list for each key, the owner among them [default: all]
    #[arg(long, value_name = "N")]
    replicas: Option<NonZeroUsize>,

    /// Show what a change of the nodes moves, instead of placing keys
    #[arg(long)]
    plan: bool,

    /// With --plan: nodes that come; of weight 1 if they have none here
    #[arg(long, value_name = "NODE[=WEIGHT],...", value_delimiter = ',', requires = "plan")]
    add: Vec<String>,

    /// With --plan: nodes that go
    #[arg(long, value_name = "NODE,...", value_delimiter = ',', requires = "plan")]
    remove: Vec<String>,

    /// Show which keys another ring places differently, and why
    #[arg(long, requires = "keys")]
    doctor: bool,

    /// With --doctor: the other ring's nodes [default: those of --nodes]
    #[arg(long, value_name = "NODE,...", value_delimiter = ',', requires = "doctor")]
    against_nodes: Vec<String>,

    /// With --doctor: the other ring's weights [default: those of --weights, for the nodes that it has]
    #[arg(long, value_name = "NODE=WEIGHT,...", value_delimiter = ',', value_parser = parse_weight)]
    #[arg(requires = "doctor")]
    against_weights: Vec<(String, f64)>,

    /// With --doctor: the other ring's mode [default: that of --mode]
    #[arg(long, value_name = "MODE", requires = "doctor")]
    against_mode: Option<Mode>,

    /// With --doctor: the client that the other ring is like, in place of its mode
    #[arg(long, value_name = "CLIENT", requires = "doctor", conflicts_with = "against_mode")]
    #[arg(value_parser = like::parse)]
    against_like: Option<Like>,

    /// With --doctor: how the other ring's keys are hashed [default: as its mode does]
    #[arg(long, value_name = "HASH[:TAG]", requires = "doctor")]
    against_hash: Option<KeyRule>,

    /// With --plan and --doctor: a file of keys, one a line; - is standard input
    #[arg(long, value_name = "FILE", requires = "task")]
    keys: Option<String>,

    /// With --doctor: how many keys to show at most
    #[arg(long, value_name = "N", requires = "doctor", default_value = "20")]
    limit: usize,

    /// With --plan and --doctor: print JSON; the doctor an object a line, one for each key that differs, then the counts
    #[arg(long, requires = "task", conflicts_with = "limit")]
    json: bool,

    /// Keys that are read end in a NUL, not in a line feed: as find -print0 writes them
    #[arg(short = '0', long = "null")]
    null: bool,

    /// The keys; without any, they are read from standard input, one a line
    #[arg(value_name = "KEY")]
    key: Vec<OsString>,
}

/// Prints a line a key, or what --plan or --doctor ask for.
pub(crate) fn run(mut args: Args) -> Result<()> {
    if args.clients {
        return io::stdout().lock().write_all(like::list().as_bytes()).context(UNWRITABLE);
    }
    if let Some(file) = &args.nodes_file {
        let nodes = read_nodes(file)?;
        if nodes.is_empty() && args.nodes.is_empty() {
            return Err(Usage::new(format!("{file} names no node: give one a line")).into());
        }
        args.nodes.extend(nodes);
    }
    // Not by clap, for which an option need not be there that conflicts with another: --add k1 would be read over.
    if args.plan || args.doctor {
        if !args.key.is_empty() {
            return Err(Usage::new("--plan and --doctor read keys from a file: give --keys FILE").into());
        }
        if args.replicas.is_some() {
            return Err(Usage::new("--replicas has no meaning for --plan and --doctor: leave it out").into());
        }
    }
    if args.plan {
        plan::run(&args)
    } else if args.doctor {
        doctor::run(&args)
    } else {
        placed::run(&args)
    }
}

/// The nodes of a file.
fn read_nodes(file: &str) -> Result<Vec<String>> {
    let mut nodes = Vec::new();
    keys::each(file, keys::End::Line, |name| {
        let line = nodes.len() + 1;
        let name = str::from_utf8(name)
            .with_context(|| format!("line {line} of {file} is no name: names of nodes are UTF-8 text"))?;
        nodes.push(name.to_owned());
        Ok(())
    })?;
    Ok(nodes)
}
