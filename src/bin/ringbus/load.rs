//! `ringbus load`: the rows of a CSV file into the store.

mod pipeline;
mod rows;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use ringbus::dht::Key;

use self::rows::Row;
use crate::events::say;
use crate::stop::Stop;
use crate::store::{self, Access, Store};

/// After so many rows whose key had a row already, the others are only counted.
const MENTIONED: usize = 10;

const EXAMPLES: &str = "\
Examples:
  ringbus load --transport mqtt airports.csv --key iata
      every row under what its column 'iata' says, into the ring at the MQTT broker of this machine
  ringbus load --node 127.0.0.1:5556 airports.csv --key 1
      the same over zmq, through any node of the ring; the column is the first
  ringbus get --node 127.0.0.1:5556 SEA
      a row, exactly as it stands in the file

The file has a line of column names, and is UTF-8 text. A row is stored as it stands there, without its line end; quoted
fields may hold line breaks. Of rows with the same key the last one stays. A row that is not acknowledged ends the
loading. Output:
  loaded ROWS rows (KEYS keys) on NODES nodes in SECONDS s, ROWS/s";

/// Store every row of a CSV file
#[derive(Debug, clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{}", store::KEYS))]
pub(crate) struct Args {
    /// The CSV file
    file: PathBuf,

    /// The column whose values are the keys: its name, or its number from 1
    #[arg(long, value_name = "COLUMN")]
    key: String,

    /// How many rows may wait for their acknowledgement at a time
    #[arg(long, value_name = "N", default_value = "64")]
    in_flight: NonZeroUsize,

    #[command(flatten)]
    access: Access,
}

/// Puts all rows, or stops at the first that fails.
pub(crate) async fn run(args: Args) -> Result<()> {
    let file = args.file.display();
    let bytes = std::fs::read(&args.file).with_context(|| format!("cannot read {file}"))?;
    // Before anything is opened or put: a broken file leaves the store as it was.
    let rows = rows::read(&bytes, &args.key, &file.to_string())?;
    mention_twins(&rows);
    let store = args.access.open().await?;
    let loaded = load(&rows, &args, &store).await;
    store.close().await;
    loaded
}

async fn load(rows: &[Row<'_>], args: &Args, store: &Store) -> Result<()> {
    let started = Instant::now();
    let bar = progress_bar(rows.len());
    let mut nodes = BTreeSet::new();
    let note = |node| {
        nodes.insert(node);
        bar.inc(1);
    };
    let limit = args.in_flight.get();
    let mut stop = Stop::listen()?;
    let loaded = tokio::select! {
        loaded = pipeline::run(rows, limit, |row| store.put(row.key, row.text), note) => Some(loaded),
        () = stop.requested() => None,
    };
    let so_far = bar.position();
    bar.finish_and_clear();
    let Some((acknowledged, failed)) = loaded else {
        bail!("stopped: {so_far} of {} rows were acknowledged, up to {limit} more may be stored", rows.len());
    };
    if let Some((row, error)) = failed {
        bail!("{row}: {error:#}; {acknowledged} of {} rows were acknowledged", rows.len());
    }
    let seconds = started.elapsed().as_secs_f64();
    let keys = rows.iter().map(|row| row.key).collect::<BTreeSet<Key>>().len();
    let (rows, keys, nodes) =
        (counted(acknowledged, "row"), counted(keys, "key"), counted(nodes.len(), "node"));
    let pace = acknowledged as f64 / seconds;
    writeln!(io::stdout(), "loaded {rows} ({keys}) on {nodes} in {seconds:.2} s, {pace:.0} rows/s")
        .context("cannot write to standard output")
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

fn mention_twins(rows: &[Row<'_>]) {
    let mut count = 0;
    for (earlier, later) in rows::twins(rows) {
        count += 1;
        if count <= MENTIONED {
            say(&format!("{earlier} and {later} have the same key {}: the later one stays", later.key));
        }
    }
    if count > MENTIONED {
        say(&format!("{} more rows have the key of an earlier one", count - MENTIONED));
    }
}

/// Shows itself only where standard error is a terminal.
fn progress_bar(rows: usize) -> ProgressBar {
    let bar = ProgressBar::new(rows as u64);
    let style = ProgressStyle::with_template("[{bar:32}] {pos}/{len} rows, {per_sec}, {eta} left");
    style.map(|style| bar.clone().with_style(style.progress_chars("=> "))).unwrap_or(bar)
}
