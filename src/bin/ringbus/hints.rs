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
/// calls it: that it was lost, the log says. It is back when a connection stands: while the session finds out over which
/// message the broker closes, connections come and go.
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
        let mut link = Link { broker, back: None };
        loop {
            let waiting = peers.iter().filter(|peer| !peer.told).filter_map(|peer| peer.missing).min();
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => {
                        link.note(&event, Instant::now());
                        peers.iter_mut().for_each(|peer| peer.note(&event));
                    }
                    None => return,
                },
                () = sleep_until(waiting.unwrap_or_else(Instant::now) + AFTER), if waiting.is_some() => {
                    peers.iter_mut().for_each(|peer| peer.complain(plain));
                }
                () = sleep_until(link.due().unwrap_or_else(Instant::now)), if link.due().is_some() => {
                    if let Some(line) = link.told(Instant::now()) {
                        say(&line);
                    }
                }
            }
        }
    });
}

/// The connection to the broker.
struct Link {
    broker: Option<String>,
    /// Since when it is there again, until that is said.
    back: Option<Instant>,
}

impl Link {
    fn note(&mut self, event: &ConnectionEvent, now: Instant) {
        match event {
            ConnectionEvent::Reconnected if self.broker.is_some() => self.back = Some(now),
            ConnectionEvent::Disconnected { .. } => self.back = None,
            _ => {}
        }
    }

    /// When it has stood for long enough.
    fn due(&self) -> Option<Instant> {
        self.back.map(|since| since + AFTER)
    }

    /// What is to be said of it now.
    fn told(&mut self, now: Instant) -> Option<String> {
        self.back.take_if(|since| *since + AFTER <= now)?;
        Some(format!("connected again to {}", self.broker.as_deref()?))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_is_back_when_a_connection_stands_and_that_is_said_once() {
        let (mut now, broker) = (Instant::now(), Some("mqtt://h:1".to_owned()));
        let mut link = Link { broker, back: None };
        let lost = || ConnectionEvent::Disconnected { reason: "closed".into() };
        for _ in 0..5 {
            link.note(&lost(), now);
            assert_eq!(link.due(), None);
            link.note(&ConnectionEvent::Reconnected, now);
            now += AFTER / 2;
            assert_eq!(link.told(now), None);
        }
        now = link.due().unwrap();
        assert_eq!(link.told(now).as_deref(), Some("connected again to mqtt://h:1"));
        assert_eq!((link.due(), link.told(now + AFTER)), (None, None));
        let mut elsewhere = Link { broker: None, back: None };
        elsewhere.note(&ConnectionEvent::Reconnected, now);
        assert_eq!(elsewhere.due(), None, "peers are told one by one");
    }
}
