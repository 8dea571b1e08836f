//! `ringbus sub`: print what is published.

use std::collections::HashSet;
use std::io::{self, BufWriter, StdoutLock, Write};
use std::num::NonZeroU64;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::ValueEnum;
use ringbus::pubsub::{Route, SubscriberStats};
use ringbus::transport::BoxTransport;
use ringbus::{Encoding, ErrorKind, Sample, SampleInfo, Subscriber, Timestamp, Topic, TopicFilter};
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use crate::connect::{Client, Link};
use crate::events::Mismatches;
use crate::payload::{Format, Shown, escape};
use crate::quality::Request;
use crate::stop::Stop;
use crate::{duration, events};

const EXAMPLES: &str = "\
Examples:
  ringbus sub --node 127.0.0.1:5556 weather/98101
      through a ring: finds the publishers of weather/98101 and prints what they publish, until Ctrl-C
  ringbus sub --node 127.0.0.1:5556 --route node 'weather/#'
      everything under weather, relayed by the responsible nodes rather than straight from the publishers
  ringbus sub --node 127.0.0.1:5556 --count 1 --timeout 5s weather/98101
      one value, or exit code 1 after five seconds
  ringbus sub --node 127.0.0.1:5556 --transient-local weather/98101
      with what publishers keep for late joiners
  ringbus sub --peer 127.0.0.1:7000 weather/98101
      without a ring: from ringbus pub --listen 127.0.0.1:7000 weather/98101
  ringbus sub --transport mqtt --plain 'weather/+'
      over MQTT, also from programs that know nothing of ringbus

In a filter, + stands for one level and # for all that follow. Output, a line a value:
  TOPIC<TAB>VALUE
Line breaks, control characters and bytes that are not text appear as \\n, \\r and \\xNN, values in postcard in hex, as in
0x0000803f; --json is exact.";

const UNWRITABLE: &str = "cannot write to standard output";

/// Topics whose trouble has been told; beyond, trouble is only counted.
const MAX_TOLD: usize = 100;

/// Print what is published on topics, a line a value
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A topic, or a filter as in 'weather/+' or 'weather/#'
    filter: String,

    /// End after so many values
    #[arg(long, value_name = "N")]
    count: Option<NonZeroU64>,

    /// End after this long, goodbyes included; exit code 1 if --count was not reached by then
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    timeout: Option<Duration>,

    /// How values travel: straight from the publishers, or through the ring node responsible for the topic
    #[arg(long, value_enum, default_value_t)]
    route: Way,

    /// Take values in this encoding only; publishers that use another do not match. Without it all are taken, and
    /// postcard, which does not say what it holds, is printed in hex
    #[arg(long, value_enum)]
    encoding: Option<Format>,

    /// Over mqtt: take values from programs that know nothing of ringbus, too. (Over zmq there is no way to hear a bare
    /// ZeroMQ publisher: --plain takes what ringbus pub --plain publishes)
    #[arg(long)]
    plain: bool,

    /// Print a JSON object a line: topic, value, writer, sequence number, times
    #[arg(long)]
    json: bool,

    /// At the end, print to standard error what was received, dropped and lost
    #[arg(long)]
    stats: bool,

    /// Tell on standard error who matches, leaves and takes over (as -v does); mismatches and losses are always told
    #[arg(long)]
    events: bool,

    #[command(flatten)]
    quality: Request,

    #[command(flatten)]
    client: Client,
}

/// [`Route`] as an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Way {
    #[default]
    Direct,
    Node,
}

/// Prints samples until there are enough, or time is up, or it is told to stop.
pub(crate) async fn run(args: Args, verbose: bool) -> Result<()> {
    let filter = TopicFilter::new(&args.filter)?;
    let requested = args.quality.requested()?;
    if args.route == Way::Node && !args.client.has_ring() {
        return Err(
            crate::failure::Usage::new("--route node needs a ring: name a node of it with --node").into()
        );
    }
    let end_by = args.timeout.map(|timeout| Instant::now() + timeout);
    let link = args.client.open(args.timeout, args.plain).await?;
    let mut builder = link
        .session
        .subscriber(filter.as_str())
        .qos(requested)
        .encoding(args.encoding.map_or(Encoding::Any, Encoding::from))
        .route(if args.route == Way::Node { Route::ViaNode } else { Route::Direct });
    if args.plain {
        builder = builder.plain();
    }
    if let Some(dht) = &link.dht {
        builder = builder.dht(dht);
    }
    let outcome = match link.registered(end_by, builder.build()).await {
        Ok(subscriber) => {
            if args.events || verbose {
                events::say(&ready(&subscriber, &link));
            }
            let mismatches = events::print(subscriber.events(), args.events || verbose);
            print_all(subscriber, &args, &mismatches, end_by).await
        }
        Err(error) => Err(error),
    };
    let closed = link.close(end_by).await;
    outcome.and(closed.map(drop))
}

async fn print_all(
    mut subscriber: Subscriber<Value, BoxTransport>,
    args: &Args,
    mismatches: &Mismatches,
    end_by: Option<Instant>,
) -> Result<()> {
    let mut stop = Stop::listen()?;
    let mut printer = Printer {
        json: args.json,
        expected: args.encoding,
        out: BufWriter::new(io::stdout().lock()),
        told: HashSet::new(),
    };
    let (wanted, mut printed) = (args.count.map(NonZeroU64::get), 0);
    let time_is_up = async {
        match end_by {
            Some(end_by) => tokio::time::sleep_until(end_by).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(time_is_up);
    let mut why = "stopped";
    while wanted.is_none_or(|wanted| printed < wanted) {
        tokio::select! {
            biased;
            () = stop.requested() => break,
            () = &mut time_is_up => {
                why = "time is up";
                break;
            }
            next = printer.next(&mut subscriber) => match next? {
                Some(sample) => printed += u64::from(printer.print(sample)?),
                None => break,
            },
        }
    }
    printer.out.flush().context(UNWRITABLE)?;
    tell_stats(&subscriber.stats(), args);
    match wanted {
        Some(wanted) if printed < wanted => {
            let (filter, publishers) = (subscriber.filter(), subscriber.publishers());
            let mismatch = mismatches
                .last()
                .filter(|_| publishers == 0)
                .map(|mismatch| format!(", {mismatch}"))
                .unwrap_or_default();
            Err(anyhow!(
                "{why} after {printed} of {wanted} values on {filter}: {publishers} publishers matched{mismatch}"
            ))
        }
        _ => Ok(()),
    }
}

struct Printer {
    json: bool,
    expected: Option<Format>,
    out: BufWriter<StdoutLock<'static>>,
    told: HashSet<String>,
}

impl Printer {
    /// Before it waits it shows what it has. Cancel-safe.
    async fn next(
        &mut self,
        subscriber: &mut Subscriber<Value, BoxTransport>,
    ) -> Result<Option<ringbus::Result<Sample<Value>>>> {
        if let Some(at_hand) = subscriber.try_recv().transpose() {
            return Ok(Some(at_hand));
        }
        self.out.flush().context(UNWRITABLE)?;
        Ok(subscriber.recv().await.transpose())
    }

    /// Says whether there was something to print: what cannot be decoded is passed over.
    fn print(&mut self, sample: ringbus::Result<Sample<Value>>) -> Result<bool> {
        let sample = match sample {
            Ok(sample) => sample,
            Err(error) if matches!(error.kind(), ErrorKind::TooSlow { .. }) => return Err(error.into()),
            Err(error) => {
                self.say_once(format!("passed over: {error}"));
                return Ok(false);
            }
        };
        let shown = match Shown::of(&sample, self.expected) {
            Ok(shown) => shown,
            Err(error) => return Ok(self.pass_over(sample.topic(), &error)),
        };
        if matches!(shown, Shown::Hex(_)) {
            let topic = sample.topic();
            self.say_once(format!(
                "{topic} carries postcard, whose types are known to its programs only: printed in hex; if the values \
                 are text, add --encoding postcard"
            ));
        }
        if self.json {
            let line =
                serde_json::to_string(&Object::new(sample.info(), shown)).context("cannot write JSON")?;
            writeln!(self.out, "{line}").context(UNWRITABLE)?;
        } else {
            let topic = escape(sample.topic().as_str().as_bytes()).replace('\t', "\\t");
            writeln!(self.out, "{topic}\t{}", shown.line()).context(UNWRITABLE)?;
        }
        Ok(true)
    }

    fn pass_over(&mut self, topic: &Topic, error: &ringbus::Error) -> bool {
        self.say_once(format!("{topic}: passed over: {error:?}"));
        false
    }

    fn say_once(&mut self, line: String) {
        if self.told.len() < MAX_TOLD && !self.told.contains(&line) {
            events::say(&line);
            self.told.insert(line);
        }
    }
}

/// A sample as `--json` prints it. A plain message has neither writer nor numbers.
#[derive(Debug, Serialize)]
struct Object<'a> {
    topic: &'a str,
    encoding: &'static str,
    #[serde(flatten)]
    value: Shown<'a>,
    #[serde(flatten)]
    origin: Option<Origin>,
    received: Option<String>,
}

#[derive(Debug, Serialize)]
struct Origin {
    writer: String,
    epoch: u32,
    sequence: u64,
    strength: i32,
    history: String,
    source_timestamp: Option<String>,
    sent: Option<String>,
}

impl<'a> Object<'a> {
    fn new(info: &'a SampleInfo, value: Shown<'a>) -> Self {
        let origin = info.writer.map(|writer| Origin {
            writer: writer.to_string(),
            epoch: info.epoch,
            sequence: info.sequence,
            strength: info.strength,
            history: info.history.to_string(),
            source_timestamp: time(info.source_timestamp),
            sent: time(info.sent),
        });
        Self {
            topic: info.topic.as_str(),
            encoding: info.encoding.name(),
            value,
            origin,
            received: time(info.received),
        }
    }
}

/// RFC 3339, in UTC, as exact as it is known.
fn time(timestamp: Timestamp) -> Option<String> {
    let nanos = i128::from(timestamp.as_nanos());
    jiff::Timestamp::from_nanosecond(nanos).ok().map(|time| time.to_string())
}

fn ready(subscriber: &Subscriber<Value, BoxTransport>, link: &Link) -> String {
    let (filter, local) = (subscriber.filter(), link.session.local());
    match subscriber.responsible() {
        Some(node) => format!("{filter}: subscribed at {local}, node {node} is responsible"),
        None => format!("{filter}: subscribed at {local}"),
    }
}

/// What gave way is told in any case: nobody would miss it else.
fn tell_stats(counts: &SubscriberStats, args: &Args) {
    if args.stats {
        return events::say(&stats(counts));
    }
    let (filter, SubscriberStats { replaced, gave_way, queue_full, .. }) = (&args.filter, counts);
    if *replaced > 0 {
        events::say(&format!(
            "{filter}: {replaced} unread values gave way to newer ones of their topic: with --keep-all on both sides \
             publishers wait"
        ));
    }
    if gave_way + queue_full > 0 {
        let dropped = gave_way + queue_full;
        events::say(&format!("{filter}: {dropped} values found no room in the queue"));
    }
}

fn stats(stats: &SubscriberStats) -> String {
    format!(
        "received {}, duplicates {}, lost {}, replaced {}, queue full {}, gave way {}, unmatched {}, undecodable {}, skipped {}",
        stats.received,
        stats.duplicates,
        stats.lost,
        stats.replaced,
        stats.queue_full,
        stats.gave_way,
        stats.unmatched,
        stats.undecodable,
        stats.skipped
    )
}
