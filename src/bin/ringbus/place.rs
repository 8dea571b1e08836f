//! `ringbus place`: which node is responsible for a key.

use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::num::NonZeroUsize;

use anyhow::{Context, Result};
use ringbus::HashRing;

use crate::failure::Usage;

const EXAMPLES: &str = "\
Examples:
  ringbus place --nodes 10.0.0.1,10.0.0.2,10.0.0.3 weather/98101
      weather/98101 and its position, its owner, and all nodes in the order in which replicas go to them
  ringbus place --nodes a,b,c --weights a=2 k1 k2
      a gets twice the keys of b and of c
  cut -f1 keys.tsv | ringbus place --nodes a,b,c --replicas 2
      keys from standard input, one a line; the owner and one more node for each

Output, tab-separated, a line a key:
  KEY  POSITION (0 to 4294967295)  OWNER  PREFERENCE,...

Placement is that of Python's hash_ring 1.3.1. It depends on nothing but the names and weights given here.";

const UNWRITABLE: &str = "cannot write to standard output";

/// Show which node is responsible for a key, and where its replicas go
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The ring's nodes, separated by commas
    #[arg(long, value_name = "NODE,...", required = true, value_delimiter = ',')]
    nodes: Vec<String>,

    /// Shares of nodes that are not to have the same as the others; the rest have 1
    #[arg(long, value_name = "NODE=WEIGHT,...", value_delimiter = ',', value_parser = parse_weight)]
    weights: Vec<(String, f64)>,

    /// How many nodes to list for each key, the owner among them [default: all]
    #[arg(long, value_name = "N")]
    replicas: Option<NonZeroUsize>,

    /// The keys; without any, they are read from standard input, one a line
    #[arg(value_name = "KEY")]
    keys: Vec<String>,
}

/// Prints a line a key.
pub(crate) fn run(args: Args) -> Result<()> {
    let ring = ring(&args.nodes, &args.weights)?;
    let replicas = args.replicas.map_or(usize::MAX, NonZeroUsize::get);
    let mut out = BufWriter::new(io::stdout().lock());
    if args.keys.is_empty() {
        place_stdin(&ring, replicas, &mut out)?;
    }
    for key in &args.keys {
        place(&ring, key, replicas, &mut out)?;
    }
    out.flush().context(UNWRITABLE)
}

fn place_stdin(ring: &HashRing, replicas: usize, out: &mut impl Write) -> Result<()> {
    let mut input = BufReader::new(io::stdin().lock());
    let (mut line, mut number) = (String::new(), 0_u64);
    loop {
        line.clear();
        number += 1;
        let read = input.read_line(&mut line);
        let read =
            read.with_context(|| format!("cannot read line {number} of standard input: give UTF-8 text"))?;
        if read == 0 {
            return Ok(());
        }
        let key = line.strip_suffix('\n').unwrap_or(&line);
        place(ring, key.strip_suffix('\r').unwrap_or(key), replicas, out)?;
        // Whoever types keys, or waits for each answer, gets it before the next line is read.
        if input.buffer().is_empty() {
            out.flush().context(UNWRITABLE)?;
        }
    }
}

fn place(ring: &HashRing, key: &str, replicas: usize, out: &mut impl Write) -> Result<()> {
    let bytes = key.as_bytes();
    let owner = ring.owner(bytes).context("no node owns anything: give a node a greater weight")?;
    let preference = ring.preference(bytes, replicas).join(",");
    writeln!(out, "{key}\t{}\t{owner}\t{preference}", HashRing::position(bytes)).context(UNWRITABLE)
}

fn ring(nodes: &[String], weights: &[(String, f64)]) -> Result<HashRing, Usage> {
    if nodes.iter().any(String::is_empty) {
        return Err(Usage::new(
            "--nodes has an empty name: give names separated by single commas, as in a,b,c",
        ));
    }
    for (index, (node, _)) in weights.iter().enumerate() {
        if !nodes.contains(node) {
            let known = nodes.join(",");
            return Err(Usage::new(format!("--weights names {node:?}, which is not among --nodes {known}")));
        }
        if weights[..index].iter().any(|(earlier, _)| earlier == node) {
            return Err(Usage::new(format!("--weights names {node:?} twice: give it one weight")));
        }
    }
    let weight =
        |node: &String| weights.iter().find(|(name, _)| name == node).map_or(1.0, |&(_, weight)| weight);
    Ok(HashRing::weighted(nodes.iter().map(|node| (node.as_str(), weight(node)))))
}

fn parse_weight(text: &str) -> Result<(String, f64), String> {
    let expected = "give NODE=WEIGHT with a number greater than 0, as in a=2";
    // Names may hold an equals sign, numbers do not.
    let (node, weight) = text.rsplit_once('=').ok_or(expected)?;
    match weight.parse::<f64>() {
        Ok(weight) if weight.is_finite() && weight > 0.0 => Ok((node.to_owned(), weight)),
        _ => Err(format!("{weight:?} is not a weight: {expected}")),
    }
}
