//! What the program says while it waits: that nobody answers yet, and who is gone or back.

use std::future::Future;
use std::time::Duration;

use ringbus::ConnectionEvent;
use ringbus::transport::Locator;
use tokio::time::{Instant, sleep_until, timeout};

use crate::connect::AnySession;
use crate::events::say;

/// When to say that nobody has answered; who comes back sooner is not missed.
const AFTER: Duration = Duration::from_secs(1);

/// Waits for something, and says once what it waits for if that takes a while.
pub(crate) async fn patiently<F: Future>(waits_for: impl FnOnce() -> String, future: F) -> F::Output {
    tokio::pin!(future);
    match timeout(AFTER, &mut future).await {
        Ok(output) => output,
        Err(_) => {
            say(&waits_for());
            future.await
        }
    }
}

/// A peer that the user has named.
struct Named {
    locator: Locator,
    /// Since when it is not there.
    missing: Option<Instant>,
    told: bool,
    was_there: bool,
}

/// Says which of the peers do not answer, and who is back, until the session ends. `broker` is what a session at a broker
/// calls it: that it was lost, the log says.
pub(crate) fn follow(session: &AnySession, peers: &[Locator], broker: Option<String>, plain: bool) {
    let mut events = session.connection_events();
    let new = |peer: &Locator| Named {
        locator: peer.clone(),
        missing: Some(Instant::now()),
        told: false,
        was_there: false,
    };
    let mut peers: Vec<Named> = peers.iter().map(new).collect();
    tokio::spawn(async move {
        loop {
            let waiting = peers.iter().filter(|peer| !peer.told).filter_map(|peer| peer.missing).min();
            tokio::select! {
                event = events.next() => match event {
                    Some(ConnectionEvent::Reconnected) => {
                        if let Some(broker) = &broker {
                            say(&format!("connected again to {broker}"));
                        }
                    }
                    Some(event) => peers.iter_mut().for_each(|peer| peer.note(&event)),
                    None => return,
                },
                () = sleep_until(waiting.unwrap_or_else(Instant::now) + AFTER), if waiting.is_some() => {
                    peers.iter_mut().for_each(|peer| peer.complain(plain));
                }
            }
        }
    });
}

impl Named {
    fn note(&mut self, event: &ConnectionEvent) {
        match event {
            ConnectionEvent::PeerUp(peer) if *peer == self.locator => {
                if std::mem::replace(&mut self.told, false) {
                    let again = if self.was_there { " again" } else { "" };
                    say(&format!("connected{again} to {}", self.locator));
                }
                (self.missing, self.was_there) = (None, true);
            }
            ConnectionEvent::PeerDown(peer) if *peer == self.locator => {
                self.missing.get_or_insert_with(Instant::now);
            }
            _ => {}
        }
    }

    fn complain(&mut self, plain: bool) {
        if self.told || self.missing.is_none_or(|since| since.elapsed() < AFTER) {
            return;
        }
        self.told = true;
        let when = if self.was_there { "any more" } else { "yet" };
        let bare = match plain && !self.was_there {
            true => {
                ": a bare ZeroMQ publisher, which is no ringbus program, cannot be heard by --peer, with --plain either"
            }
            false => "",
        };
        say(&format!("nobody answers at {} {when}{bare}", self.locator));
    }
}
