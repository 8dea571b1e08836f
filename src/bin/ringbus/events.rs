//! What publishers and subscribers hear about each other, on standard error.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use ringbus::EntityId;
use ringbus::pubsub::{Departure, Events, MatchEvent};

use crate::payload::escape;

/// What stands against a match, as far as events tell; for the error with which a command ends.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mismatches(Arc<Mutex<Told>>);

#[derive(Debug, Default)]
struct Told {
    mismatch: Option<String>,
    /// Who was found, by a ring for instance, and has not left.
    found: Option<EntityId>,
}

impl Mismatches {
    /// Why a match did not come about, if somebody is there: call it where nobody has matched.
    pub(crate) fn last(&self) -> Option<String> {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A ring does not judge encodings, and what a node finds out about its subscribers is not told.
        let found = || {
            let peer = told.found?;
            Some(format!("{peer} was found, but expects another encoding, or has not answered yet"))
        };
        told.mismatch.clone().or_else(found)
    }

    fn note(&self, event: &MatchEvent) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            MatchEvent::Mismatched { peer, mismatch, .. } => {
                told.mismatch = Some(format!("{peer} does not fit: {mismatch}"));
            }
            MatchEvent::EncodingMismatch { peer, offered, requested, .. } => {
                let why = format!("{peer} does not fit: encoding: offered {offered}, requested {requested}");
                told.mismatch = Some(why);
            }
            MatchEvent::Matched { peer, .. } => told.found = Some(*peer),
            MatchEvent::Departed { peer, .. } if told.found == Some(*peer) => told.found = None,
            _ => {}
        }
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
            | MatchEvent::SubscriptionRefused { .. }
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
        MatchEvent::Denied { broker, reason } => format!("{broker} refuses this session: {reason}"),
        MatchEvent::Unreachable { peer, reason } => {
            let peer = peer.as_str().trim_start_matches("zmq+").trim_start_matches("tcp://");
            format!("cannot reach {peer}: {reason}")
        }
        MatchEvent::SubscriptionRefused { filter, broker, reason } => {
            format!("{filter}: nothing is heard any more: {broker} refuses the subscription: {reason}")
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
