//! `ringbus put`: a value into the store.

use std::io::{self, Write};

use anyhow::{Context, Result};
use ringbus::dht::Key;

use crate::store::{self, Access};

const EXAMPLES: &str = "\
Examples:
  ringbus put --node 127.0.0.1:5556 greeting 'hello, world'
      any node of the ring will do
  ringbus put --transport mqtt 98101 rain
      a ring at the MQTT broker of this machine; 98101 is the key itself
  ringbus put --transport mqtt notes - < notes.txt
      the whole file, byte for byte; it has to be UTF-8 text

Output: the id of the node that stored it. It is printed when the value survives the crash of that node too, if
the ring has more than one.";

/// Store a value under a key; a value that is there already is replaced
#[derive(Debug, clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{}", store::KEYS))]
pub(crate) struct Args {
    /// Where to store it
    key: String,

    /// What to store; '-' reads it from standard input, to its end and as it is
    #[arg(allow_negative_numbers = true)]
    value: String,

    #[command(flatten)]
    access: Access,
}

/// Prints the node that stored it.
pub(crate) async fn run(args: Args) -> Result<()> {
    // Before anything is opened: whoever types the value may take his time.
    let value = match args.value.as_str() {
        "-" => io::read_to_string(io::stdin()).context("cannot read standard input: give UTF-8 text")?,
        _ => args.value,
    };
    let store = args.access.open().await?;
    let stored = store.put(Key::of(&args.key), &value).await;
    store.close().await;
    writeln!(io::stdout(), "{}", stored?).context("cannot write to standard output")
}
