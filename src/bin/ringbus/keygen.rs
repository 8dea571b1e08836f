//! `ringbus keygen`: keys of CURVE.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use ringbus::transport::zmq::CurveKeys;

const EXAMPLES: &str = "\
Examples:
  ringbus keygen ring.key
      one key for all: copy the file to each machine, and start every program with --curve-key ring.key
  ringbus keygen berlin.key >> allowed.txt
      a key for one machine, and a line for the --allow of the others; behind the key the address at which
      they connect to this machine: KEY HOST:PORT

Output: the public key. It is no secret; the file is, and its owner alone can read it.";

/// Make a key of CURVE: encryption over zmq, among programs that know each other's keys
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Where the key is written; a file that is there already is left as it is
    file: PathBuf,
}

/// Writes a new pair to the file and prints its public half.
pub(crate) fn run(args: Args) -> Result<()> {
    let keys = CurveKeys::generate()?;
    keys.write(&args.file)?;
    writeln!(io::stdout(), "{}", keys.public()).context("cannot write to standard output")
}
