//! A connection of ours to a peer, which comes back while it is wanted.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::super::HandshakeError;
use super::connect::Failure;
use super::endpoint::Endpoint;
use super::handshake::{self, Met, NotMet};
use super::outgoing::Outgoing;
use super::role::Role;
use super::session::Session;
use super::{connect, connection};
use crate::transport::Locator;

/// The pauses between two attempts, which grow to a bound.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(1);
/// A connection that stood for so long was a good one: the next attempt is soon.
const STOOD: Duration = Duration::from_secs(1);

/// What the session knows of it.
#[derive(Debug)]
pub(super) struct Dialled {
    /// Differs from that of every other, so that late news of one are not taken for another's.
    pub(super) number: u64,
    pub(super) outgoing: Arc<Outgoing>,
    pub(super) is_connected: bool,
    pub(super) was_connected: bool,
    pub(super) made: Instant,
    /// When it was connected or lost.
    pub(super) since: Instant,
    /// Why it cannot be made, if that is worth telling at once: a name that is unknown, no descriptors.
    pub(super) obstacle: Option<String>,
}

impl Dialled {
    /// Begins to connect to `address`, for `peer` as the session knows it.
    pub(super) fn begin(session: &Arc<Session>, peer: &Locator, address: Endpoint, role: Role) -> Self {
        let number = session.next_number();
        let outgoing = session.outgoing();
        let now = Instant::now();
        let dial = Dial {
            session: session.clone(),
            peer: peer.clone(),
            address,
            role,
            number,
            outgoing: outgoing.clone(),
            was_cut: AtomicBool::new(false),
        };
        session.spawn(dial.run());
        Self {
            number,
            outgoing,
            is_connected: false,
            was_connected: false,
            made: now,
            since: now,
            obstacle: None,
        }
    }

    /// Notes that the connection stands, or does no longer.
    pub(super) fn note(&mut self, is_connected: bool) {
        (self.is_connected, self.since) = (is_connected, Instant::now());
        self.was_connected |= is_connected;
        if is_connected {
            self.obstacle = None;
        }
    }

    /// Lets what has come be read to its end, within `linger`, and connects no more.
    pub(super) fn retire(self, session: &Arc<Session>, linger: Duration) {
        if !self.is_connected {
            self.outgoing.close();
            return;
        }
        self.outgoing.retire();
        self.close_after(session, linger);
    }

    fn close_after(self, session: &Arc<Session>, linger: Duration) {
        let outgoing = self.outgoing;
        session.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(linger) => drop(outgoing.close()),
                () = outgoing.closed() => {}
            }
        });
    }

    /// Ends it, when what waits is written, for `linger` at most.
    pub(super) fn hang_up(self, session: &Arc<Session>, linger: Duration) {
        if linger.is_zero() || !self.is_connected {
            self.outgoing.close();
            return;
        }
        self.outgoing.finish();
        self.close_after(session, linger);
    }
}

/// The task that connects, again and again.
struct Dial {
    session: Arc<Session>,
    peer: Locator,
    address: Endpoint,
    role: Role,
    number: u64,
    outgoing: Arc<Outgoing>,
    /// Whether the peer has ended the handshake of the last attempt without a word.
    was_cut: AtomicBool,
}

impl Dial {
    async fn run(self) {
        let mut pause = FIRST_PAUSE;
        while !self.outgoing.is_finished() && !self.outgoing.is_retired() {
            let begun = Instant::now();
            self.attempt().await;
            if begun.elapsed() >= STOOD {
                pause = FIRST_PAUSE;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.outgoing.closed() => {}
            }
            pause = (pause * 2).min(LAST_PAUSE);
        }
        self.outgoing.close();
    }

    /// Connects once, and stays until the connection is lost.
    async fn attempt(&self) {
        let Self { session, peer, role, number, outgoing, .. } = self;
        let met = tokio::select! {
            met = self.meet() => met,
            () = outgoing.closed() => return,
        };
        if let Some(met) = met {
            let _lost = Lost(self);
            let first = session.on_dial_up(peer, *number, role, outgoing);
            connection::run(session, met, outgoing.clone(), role.clone(), *number, first).await;
        }
    }

    async fn meet(&self) -> Option<Met> {
        let session = &self.session;
        let wanted = session.is_wanted(&self.peer);
        let stream = match connect::connect(session, &self.address, wanted).await {
            Ok(stream) => stream,
            Err(failure) => {
                session.on_dial_failed(&self.peer, self.number, failure);
                return None;
            }
        };
        let config = self.role.config(session, &self.peer);
        match handshake::handshake(stream, &config, session.peer_timeout).await {
            Ok(met) => {
                self.was_cut.store(false, Ordering::Relaxed);
                Some(met)
            }
            Err(error) => {
                if let Some(reason) = self.obstacle(&error) {
                    session.on_dial_failed(&self.peer, self.number, Failure::Obstacle(reason));
                }
                tracing::debug!(%error, peer = %self.peer, "zmq: a peer does not complete the handshake");
                None
            }
        }
    }

    /// What is wrong with the keys or the mechanisms of the two sides, if that is what it looks
    /// like. A CURVE server ends the connection of a client that expects another key without a
    /// word; a session that is just closed does so, too, but not twice.
    fn obstacle(&self, error: &NotMet) -> Option<String> {
        let expected = self.session.access.expected(&self.peer);
        let is_cut = matches!(error, NotMet::Broken(error) if error.kind() == io::ErrorKind::UnexpectedEof);
        let was_cut = self.was_cut.swap(is_cut, Ordering::Relaxed);
        match (error, expected) {
            (NotMet::Refused(HandshakeError::Mechanism { .. }), _) => Some(error.to_string()),
            (NotMet::Refused(HandshakeError::Refused { .. }), Some(_)) => {
                Some(format!("{error}: has it allowed this session's key?"))
            }
            (NotMet::Broken(_), Some(key)) if is_cut && was_cut => Some(format!(
                "it ends the handshake of CURVE: it seems to have another key than {key}, which is expected there"
            )),
            _ => None,
        }
    }
}

/// Tells that a connection is lost, also if its task is dropped.
struct Lost<'a>(&'a Dial);

impl Drop for Lost<'_> {
    fn drop(&mut self) {
        let Dial { session, peer, number, role, outgoing, .. } = self.0;
        session.on_dial_down(peer, *number);
        // The subscriptions that the next connection begins with are those of then.
        outgoing.disconnect(!matches!(role, Role::Feed));
    }
}
