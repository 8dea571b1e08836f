//! What publishers and subscribers hear about each other, on standard error.

use std::io::{self, Write};

use ringbus::pubsub::{Departure, Events, MatchEvent};

use crate::payload::escape;

/// Prints events as they come, until the publisher or subscriber ends. Without `all`, only those that mean that
/// something does not arrive.
pub(crate) fn print(events: Events, all: bool) {
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            if all || is_trouble(&event) {
                say(&line(&event));
            }
        }
    });
}

/// A line on standard error. Where that is closed, nobody wants it.
pub(crate) fn say(line: &str) {
    drop(writeln!(io::stderr(), "ringbus: {}", escape(line.as_bytes())));
}

fn is_trouble(event: &MatchEvent) -> bool {
    matches!(event, MatchEvent::Mismatched { .. } | MatchEvent::Lost { .. } | MatchEvent::Slow { .. })
        || matches!(event, MatchEvent::Departed { cause: Departure::TooSlow, .. })
}

fn line(event: &MatchEvent) -> String {
    match event {
        MatchEvent::Matched { topic, peer } => format!("{topic}: matched with {peer}"),
        MatchEvent::Mismatched { topic, peer, mismatch } => {
            format!("{topic}: no match with {peer}: {mismatch}")
        }
        MatchEvent::Departed { topic, peer, cause: Departure::Left } => format!("{topic}: {peer} left"),
        MatchEvent::Departed { topic, peer, cause: Departure::LeaseExpired } => {
            format!("{topic}: {peer} is gone: it was silent for longer than its lease")
        }
        MatchEvent::Departed { topic, peer, cause: Departure::ConnectionLost } => {
            format!("{topic}: {peer} is gone: the connection to it was lost")
        }
        MatchEvent::Departed { topic, peer, cause: Departure::TooSlow } => {
            format!("{topic}: {peer} is not waited for any more: it is too slow")
        }
        MatchEvent::Slow { topic, peer, behind } => {
            format!("{topic}: {peer} holds this publisher up: it is {behind} samples behind")
        }
        MatchEvent::Takeover { topic, from, to, .. } => {
            format!("{topic}: {to} is heard from now on, no longer {from}")
        }
        MatchEvent::Remapped { topic, from, to } => {
            format!("{topic}: node {to} is responsible from now on, no longer {from}")
        }
        MatchEvent::Lost { topic, peer, samples } => format!("{topic}: lost {samples} samples of {peer}"),
        other => format!("{other:?}"),
    }
}
