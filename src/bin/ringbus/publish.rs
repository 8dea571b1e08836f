//! `ringbus pub`: publish values on a topic.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use ringbus::pubsub::PublisherStats;
use ringbus::transport::BoxTransport;
use ringbus::{ErrorKind, Publisher, Topic};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout_at};

use crate::connect::{Client, Link};
use crate::events::Mismatches;
use crate::hints::patiently;
use crate::payload::{Format, Payload};
use crate::quality::Offer;
use crate::source::Source;
use crate::stop::Stop;
use crate::{duration, events};

const EXAMPLES: &str = "\
Examples:
  ringbus pub --node 127.0.0.1:5556 weather/98101 12.5 12.7
      through a ring: finds the subscribers to weather/98101, waits for the first, publishes two values
  sensor | ringbus pub --node 127.0.0.1:5556 --wait 2 weather/98101
      a value a line, as they come, once two subscribers are there
  ringbus pub --node 127.0.0.1:5556 --transient-local --keep-last 10 --keep weather/98101 12.5
      for late joiners too: stays until Ctrl-C
  ringbus pub --node 127.0.0.1:5556 --exclusive 10 --lease 2s --interval 1s weather/98101 < readings
      heard in place of weaker publishers of the topic as long as it lives
  ringbus pub --listen 127.0.0.1:7000 weather/98101 12.5
      without a ring: ringbus sub --peer 127.0.0.1:7000 weather/98101 connects to it
  ringbus pub --transport mqtt --plain weather/98101 12.5
      over MQTT, readable by any MQTT program

It ends when every matched reliable subscriber has acknowledged everything, with --plain over mqtt when the broker has.";

/// How long the subscribers may take to acknowledge what was published when Ctrl-C was pressed.
const PATIENCE_AFTER_STOP: Duration = Duration::from_millis(2500);

/// How long the count of what the broker refused may lag behind the flush that tells it.
const COUNTED_WITHIN: Duration = Duration::from_secs(1);

/// Publish values, or lines from standard input, on a topic
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The topic: levels separated by '/', as in weather/98101
    topic: String,

    /// The values; without any, they are read from standard input, one a line
    #[arg(value_name = "VALUE", allow_negative_numbers = true)]
    values: Vec<String>,

    /// How values are encoded; subscribers that expect another encoding do not match
    #[arg(long, value_enum, default_value_t)]
    encoding: Format,

    /// Publish for programs that know nothing of ringbus: values alone, without matching, history and repair. Over mqtt
    /// they go with QoS 2, with --best-effort with QoS 0. Over zmq, subscribers that are not connected yet miss them
    #[arg(long, conflicts_with_all = [
        "node", "wait", "keep", "keep_last", "keep_all",
        "transient_local", "durability", "lease", "exclusive",
    ])]
    plain: bool,

    /// Wait for so many subscribers first [default: 1; 0 with --transient-local]
    #[arg(long, value_name = "N")]
    wait: Option<usize>,

    /// How long to wait until everything is ready, from the start to the last subscriber that is waited for; and how long at
    /// the end, for acknowledgements and goodbyes
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::parse)]
    timeout: Duration,

    /// Leave this much time between two values
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, conflicts_with = "rate")]
    interval: Option<Duration>,

    /// Publish so many values a second, on average
    #[arg(long, value_name = "N", value_parser = parse_rate)]
    rate: Option<f64>,

    /// Stay after the last value, for late joiners, until Ctrl-C
    #[arg(long)]
    keep: bool,

    /// At the end, print to standard error what was published, dropped and sent again
    #[arg(long)]
    stats: bool,

    /// Tell on standard error who matches, leaves and takes over (as -v does); mismatches and losses are always told
    #[arg(long)]
    events: bool,

    #[command(flatten)]
    quality: Offer,

    #[command(flatten)]
    client: Client,
}

/// Publishes until the values end or it is told to stop.
pub(crate) async fn run(args: Args, verbose: bool) -> Result<()> {
    let topic = Topic::new(&args.topic)?;
    let offered = args.quality.offered()?;
    // Before anything is opened: what is wrong with the values is said at once.
    let source = Source::new(args.encoding, args.values.clone())?;
    let ready_by = Instant::now() + args.timeout;
    let link = args.client.open(Some(args.timeout), args.plain).await?;
    let mut builder = link.session.publisher(&topic).qos(offered).encoding(args.encoding.into());
    if args.plain {
        builder = builder.plain();
    }
    if let Some(dht) = &link.dht {
        builder = builder.dht(dht);
    }
    let mut end_by = ready_by;
    let outcome = match link.registered(Some(ready_by), builder.build()).await {
        Ok(publisher) => {
            let mismatches = events::print(publisher.events(), args.events || verbose);
            publish_all(publisher, source, &args, args.events || verbose, &mismatches, &mut end_by).await
        }
        Err(error) => Err(error),
    };
    close(link, outcome, args.plain, end_by).await
}

/// A publisher has flushed before, as far as it can; a plain one learns from the transport what did not arrive.
async fn close(link: Link, outcome: Result<()>, plain: bool, end_by: Instant) -> Result<()> {
    let undelivered = link.close(Some(end_by)).await;
    outcome?;
    match undelivered? {
        count if plain && count > 0 => {
            Err(anyhow!("{count} values were not delivered: is the other side there?"))
        }
        _ => Ok(()),
    }
}

/// Moves `end_by` when waiting for acknowledgements begins.
async fn publish_all(
    publisher: Publisher<Payload, BoxTransport>,
    mut source: Source,
    args: &Args,
    verbose: bool,
    mismatches: &Mismatches,
    end_by: &mut Instant,
) -> Result<()> {
    let mut stop = Stop::listen()?;
    tokio::select! {
        outcome = wait_for_subscribers(&publisher, args, mismatches, *end_by) => outcome?,
        () = stop.requested() => return Err(anyhow!("stopped while waiting for subscribers: nothing was published")),
    }
    let mut stopped = tokio::select! {
        outcome = publish_source(&publisher, &mut source, args) => {
            outcome.inspect_err(|_| tell_stats(&publisher.stats(), args))?;
            false
        }
        () = stop.requested() => true,
    };
    if args.keep && !stopped {
        if verbose {
            let topic = publisher.topic();
            events::say(&format!("{topic}: everything is published, staying for late joiners until Ctrl-C"));
        }
        stop.requested().await;
        stopped = true;
    }
    *end_by = Instant::now() + args.timeout;
    let (what, count) = (publisher.topic().clone(), publisher.subscribers());
    let flushed = tokio::select! {
        biased;
        flushed = timeout_at(*end_by, publisher.flush()) => match flushed {
            // The error says all by itself, whatever has matched.
            Ok(Err(error)) if is_refusal(&error) => Err(counted(&publisher, error).await),
            Ok(flushed) => flushed.with_context(|| match args.plain {
                true => format!("{what}: the broker has not acknowledged everything"),
                false => format!("{what}: {count} subscribers matched, not all of them acknowledged everything"),
            }),
            Err(_) => Err(anyhow!("{what}: {}", unacknowledged(args.plain, count, args.timeout))),
        },
        () = patience_ends(&mut stop, stopped) => {
            let who = if args.plain { "broker" } else { "subscribers" };
            Err(anyhow!("{what}: stopped before the {who} acknowledged everything"))
        }
    };
    tell_stats(&publisher.stats(), args);
    flushed?;
    match source.left() {
        0 => Ok(()),
        left => Err(anyhow!("stopped before {left} values were published on {what}")),
    }
}

fn is_refusal(error: &ringbus::Error) -> bool {
    matches!(error.kind(), ErrorKind::Refused { .. })
}

/// The error of a flush, once what it tells is counted, too: the transport tells a flush at once, and the publisher by
/// an event.
async fn counted(publisher: &Publisher<Payload, BoxTransport>, error: ringbus::Error) -> anyhow::Error {
    let deadline = Instant::now() + COUNTED_WITHIN;
    while publisher.stats().refused == 0 && Instant::now() < deadline {
        tokio::time::sleep(COUNTED_WITHIN / 100).await;
    }
    error.into()
}

fn unacknowledged(plain: bool, subscribers: usize, after: Duration) -> String {
    match plain {
        true => format!("the broker has not acknowledged everything within {after:?}"),
        false => {
            format!(
                "{subscribers} subscribers matched, not all of them acknowledged everything within {after:?}"
            )
        }
    }
}

/// What was dropped is told in any case: the values look as if they had been published.
fn tell_stats(stats: &PublisherStats, args: &Args) {
    let PublisherStats { published, link_busy, history_full, oversize, repaired, disconnected, .. } = stats;
    if args.stats {
        events::say(&format!(
            "published {published}, dropped: link busy {link_busy}, history full {history_full}, too large {oversize}, \
             refused by the broker {}; sent again {repaired}, subscribers let go {disconnected}, held up for {:.1?}",
            stats.refused, stats.held_up
        ));
    } else if link_busy + history_full > 0 {
        let (topic, dropped) = (&args.topic, link_busy + history_full);
        events::say(&format!(
            "{topic}: {dropped} values were dropped: the link was busy for {link_busy}, the history full for \
             {history_full}"
        ));
    }
}

/// Ctrl-C ends a pipeline's input and this program at once: only the second says that waiting is to end too.
async fn patience_ends(stop: &mut Stop, stopped: bool) {
    if !stopped {
        stop.requested().await;
    }
    tokio::select! {
        () = stop.requested() => {}
        () = tokio::time::sleep(PATIENCE_AFTER_STOP) => {}
    }
}

async fn wait_for_subscribers(
    publisher: &Publisher<Payload, BoxTransport>,
    args: &Args,
    mismatches: &Mismatches,
    ready_by: Instant,
) -> Result<()> {
    let wanted = args.wait.unwrap_or(usize::from(!args.plain && !args.quality.is_for_late_joiners()));
    let (topic, after) = (publisher.topic(), args.timeout);
    let hint = || {
        let (found, left) = (publisher.subscribers(), ready_by.saturating_duration_since(Instant::now()));
        format!("{topic}: {found} of {wanted} subscribers yet: waiting for {left:.0?} more")
    };
    match timeout_at(ready_by, patiently(hint, publisher.matched(wanted))).await {
        Ok(matched) => Ok(matched?),
        Err(_) => {
            let found = publisher.subscribers();
            let advice = mismatches.last().filter(|_| found == 0).unwrap_or_else(|| {
                "start one with ringbus sub, or publish for nobody with --wait 0".to_owned()
            });
            Err(anyhow!("{found} of {wanted} subscribers matched {topic} within {after:?}: {advice}"))
        }
    }
}

async fn publish_source(
    publisher: &Publisher<Payload, BoxTransport>,
    source: &mut Source,
    args: &Args,
) -> Result<()> {
    let mut pace = pace(args);
    while let Some(value) = source.next().await? {
        if let Some(pace) = &mut pace {
            pace.tick().await;
        }
        publisher.publish(&value).await?;
    }
    Ok(())
}

fn pace(args: &Args) -> Option<Interval> {
    let (period, missed) = match (args.interval, args.rate) {
        (Some(interval), _) => (interval, MissedTickBehavior::Delay),
        // The timer is coarse: several values may fall into one of its steps.
        (None, Some(rate)) => (Duration::from_secs_f64(rate.recip()), MissedTickBehavior::Burst),
        (None, None) => return None,
    };
    if period.is_zero() {
        return None;
    }
    let mut pace = interval_at(Instant::now(), period);
    pace.set_missed_tick_behavior(missed);
    Some(pace)
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.001..=1e9).contains(&rate) => Ok(rate),
        _ => Err("give a number of values a second, from 0.001 to 1000000000".to_owned()),
    }
}
