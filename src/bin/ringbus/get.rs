//! `ringbus get`: values from the store.

use std::io::{self, Write};

use anyhow::{Context, Result, bail};
use futures::{StreamExt, stream};
use ringbus::dht::Key;
use serde_json::json;

use crate::payload::escape;
use crate::store::{self, Access, Store};

/// How many keys are asked for at a time.
const IN_FLIGHT: usize = 64;

const EXAMPLES: &str = "\
Examples:
  ringbus get --node 127.0.0.1:5556 greeting
      any node of the ring will do
  ringbus get --transport mqtt SEA SFO
      a ring at the MQTT broker of this machine
  ringbus get --transport mqtt --no-newline notes > notes.txt
      byte for byte what was put

Output, for one key: the value as it is, and a newline.
For several, a line a key, in the order in which they were given; control characters are written as \\n, \\r or \\xNN:
  KEY<TAB>VALUE
A key without a value has no line, but a mention on standard error, and exit code 1.";

/// Print the value of a key, or of several
#[derive(Debug, clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{}", store::KEYS))]
pub(crate) struct Args {
    /// Whose values to print
    #[arg(value_name = "KEY", required = true)]
    keys: Vec<String>,

    /// A line a key, as {"key": KEY, "value": VALUE}; the value is null if there is none
    #[arg(long)]
    json: bool,

    /// One key: print nothing after the value
    #[arg(short, long, conflicts_with = "json")]
    no_newline: bool,

    #[command(flatten)]
    access: Access,
}

/// Prints what is there, and fails if something is not.
pub(crate) async fn run(args: Args) -> Result<()> {
    if args.no_newline && args.keys.len() > 1 {
        return Err(crate::failure::Usage::new("--no-newline goes with one key: leave it out").into());
    }
    let store = args.access.open().await?;
    let missing = print_all(&args, &store).await;
    store.close().await;
    let missing = missing?;
    if missing.is_empty() {
        return Ok(());
    }
    bail!("no value for {}", missing.join(", "))
}

/// Returns the keys that have no value.
async fn print_all(args: &Args, store: &Store) -> Result<Vec<String>> {
    let ask = |key| async move { (key, store.get(Key::of(key)).await) };
    let mut answers = stream::iter(args.keys.iter().map(String::as_str)).map(ask).buffered(IN_FLIGHT);
    let mut missing = Vec::new();
    while let Some((key, value)) = answers.next().await {
        let value = value?;
        print(args, key, value.as_deref()).context("cannot write to standard output")?;
        if value.is_none() {
            missing.push(format!("\"{}\"", escape(key.as_bytes())));
        }
    }
    Ok(missing)
}

fn print(args: &Args, key: &str, value: Option<&str>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match value {
        value if args.json => writeln!(out, "{}", json!({ "key": key, "value": value })),
        None => Ok(()),
        Some(value) if args.no_newline => write!(out, "{value}").and_then(|()| out.flush()),
        Some(value) if args.keys.len() == 1 => writeln!(out, "{value}"),
        Some(value) => {
            let key = escape(key.as_bytes()).replace('\t', "\\t");
            writeln!(out, "{key}\t{}", escape(value.as_bytes()))
        }
    }
}
