//! What publishers and subscribers hear about each other, on standard error.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use ringbus::pubsub::{Departure, Events, MatchEvent};

use crate::payload::escape;

/// What stands against a match, as it was last told; for the error with which a command ends.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mismatches(Arc<Mutex<Option<String>>>);

impl Mismatches {
    /// What to say of a match that did not come about, if somebody was there who does not fit.
    pub(crate) fn last(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, event: &MatchEvent) {
        let why = match event {
            MatchEvent::Mismatched { peer, mismatch, .. } => format!("{peer} does not fit: {mismatch}"),
            MatchEvent::EncodingMismatch { peer, offered, requested, .. } => {
                format!("{peer} does not fit: encoding: offered {offered}, requested {requested}")
            }
            _ => return,
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }
}

/// Prints events as they come, until the publisher or subscriber ends. Without `all`, only those that mean that
/// something does not arrive.
pub(crate) fn print(events: Events, all: bool) -> Mismatches {
    let mismatches = Mismatches::default();
    let noted = mismatches.clone();
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            noted.note(&event);
            if all || is_trouble(&event) {
                say(&line(&event));
            }
        }
    });
    mismatches
}

/// A line on standard error. Where that is closed, nobody wants it.
pub(crate) fn say(line: &str) {
    drop(writeln!(io::stderr(), "ringbus: {}", escape(line.as_bytes())));
}

fn is_trouble(event: &MatchEvent) -> bool {
    matches!(
        event,
        MatchEvent::Mismatched { .. }
            | MatchEvent::EncodingMismatch { .. }
            | MatchEvent::Unframed { .. }
            | MatchEvent::Lost { .. }
            | MatchEvent::Skipped { .. }
            | MatchEvent::Crowded { .. }
            | MatchEvent::Slow { .. }
            | MatchEvent::Unreachable { .. }
            | MatchEvent::OtherVersion { .. }
            | MatchEvent::Departed { cause: Departure::TooSlow, .. }
    )
}

fn line(event: &MatchEvent) -> String {
    match event {
        MatchEvent::Matched { topic, peer } => format!("{topic}: matched with {peer}"),
        MatchEvent::Mismatched { topic, peer, mismatch } => {
            format!("{topic}: no match with {peer}: {mismatch}")
        }
        MatchEvent::EncodingMismatch { topic, peer, offered, requested } => {
            format!("{topic}: no match with {peer}: encoding: offered {offered}, requested {requested}")
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
        MatchEvent::Unframed { topic } => format!(
            "{topic}: dropped a message without a frame, from a program that knows nothing of ringbus: add --plain to \
             take such messages"
        ),
        MatchEvent::OtherVersion { topic, theirs, ours } => format!(
            "{topic}: a peer speaks version {theirs} of ringbus's frames, this program version {ours}: use the same release"
        ),
        MatchEvent::Unreachable { peer, reason } => {
            format!("cannot reach {}: {reason}", peer.as_str().trim_start_matches("zmq+tcp://"))
        }
        MatchEvent::Lost { topic, peer, samples } => format!("{topic}: lost {samples} samples of {peer}"),
        MatchEvent::Departed { topic, peer, cause: Departure::Displaced } => {
            format!("{topic}: {peer} gave way to another: the table of peers is full")
        }
        MatchEvent::Skipped { topic, peer, samples } => {
            format!("{topic}: skipped {samples} samples of {peer}: by their times they were heard before")
        }
        MatchEvent::Crowded { topic, limit } => {
            format!("{topic}: {limit} peers are known, which is the limit: others give way to newcomers")
        }
        other => format!("{other:?}"),
    }
}
