//! What becomes of a session's connections, for programs that show it.

use std::sync::{Mutex, PoisonError};

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::transport::{Event, Locator};

/// The most events that wait for one listener; the oldest give way.
const QUEUE: usize = 256;

/// Something happened to a connection of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionEvent {
    /// A peer can be reached: it answers where it was attached, has attached itself, or is at the broker.
    PeerUp(Locator),
    /// A peer was lost or has left; what was attached is tried again.
    PeerDown(Locator),
    /// The connection to the broker was lost, and is tried again.
    Disconnected {
        /// What ended it.
        reason: String,
    },
    /// The broker refuses the session's credentials. Sends and flushes fail until it takes them again.
    Denied {
        /// The broker's address, without credentials.
        broker: String,
        /// The broker's reason, and what to look at.
        reason: String,
    },
    /// Another session uses this one's name at the broker.
    NameTaken {
        /// The broker's address, without credentials.
        broker: String,
        /// The name.
        name: String,
        /// Whether that session has had the name for longer: then this one ends.
        ends: bool,
    },
    /// A lost connection is back, and subscriptions are in force again.
    Reconnected,
}

/// The events of one session's connections, from [`Session::connection_events`](super::Session::connection_events) on.
#[derive(Debug)]
pub struct ConnectionEvents(broadcast::Receiver<ConnectionEvent>);

impl ConnectionEvents {
    /// The next event; `None` once the session has ended and all events were read. Of those that wait unread the oldest
    /// give way beyond 256.
    ///
    /// Cancel-safe.
    pub async fn next(&mut self) -> Option<ConnectionEvent> {
        loop {
            match self.0.recv().await {
                Ok(event) => return Some(event),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

/// The session's side; `None` once it has ended.
pub(super) struct Connections(Mutex<Option<broadcast::Sender<ConnectionEvent>>>);

impl Default for Connections {
    fn default() -> Self {
        Self(Mutex::new(Some(broadcast::channel(QUEUE).0)))
    }
}

impl Connections {
    pub(super) fn listen(&self) -> ConnectionEvents {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ConnectionEvents(match &*sender {
            Some(sender) => sender.subscribe(),
            // Of a channel whose other end is gone.
            None => broadcast::channel(1).1,
        })
    }

    /// Passes on what concerns connections.
    pub(super) fn note(&self, event: &Event) {
        let event = match event {
            Event::PeerUp(peer) => ConnectionEvent::PeerUp(peer.clone()),
            Event::PeerDown(peer) => ConnectionEvent::PeerDown(peer.clone()),
            Event::Disconnected { reason } => ConnectionEvent::Disconnected { reason: reason.clone() },
            Event::Denied { broker, reason } => {
                ConnectionEvent::Denied { broker: broker.clone(), reason: reason.clone() }
            }
            Event::NameTaken { broker, name, ends } => {
                ConnectionEvent::NameTaken { broker: broker.clone(), name: name.clone(), ends: *ends }
            }
            Event::Reconnected { .. } => ConnectionEvent::Reconnected,
            _ => return,
        };
        if let Some(sender) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            // An error says that nobody listens.
            drop(sender.send(event));
        }
    }

    pub(super) fn end(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}
