//! What a connection is for.

use bytes::Bytes;

use super::super::{Config, Socket, SocketType};
use super::session::Session;
use crate::topic::MAX_TOPIC_LEN;
use crate::transport::Locator;

/// What a connection is for.
#[derive(Debug, Clone)]
pub(super) enum Role {
    /// Our DEALER at the ROUTER of a peer, which the session knows by this locator.
    Dealer(Locator),
    /// Our SUB at the publications of a peer.
    Feed,
    /// A peer's DEALER at our ROUTER; `None` if it has no locator for a routing id: a stranger.
    Router(Option<Locator>),
    /// A peer's SUB at our publications.
    Subscriber,
}

/// No subscription is longer: a topic and a few bytes.
pub(super) const MAX_SUBSCRIPTION: usize = MAX_TOPIC_LEN + 256;

impl Role {
    /// How we come where we connect to this peer.
    pub(super) fn config(&self, session: &Session, peer: &Locator) -> Config {
        let (socket, identity) = match self {
            Self::Feed => (SocketType::Sub, Bytes::new()),
            _ => (SocketType::Dealer, Bytes::copy_from_slice(session.local.as_str().as_bytes())),
        };
        Config {
            socket: Socket::Fixed(socket),
            identity,
            security: session.access.towards(peer),
            max_message: max_message(session),
        }
    }

    /// What is lost if the peer breaks the protocol.
    pub(super) fn is_feed(&self) -> bool {
        matches!(self, Self::Feed)
    }
}

/// How we come where peers connect to us: on one port as what each of them needs.
pub(super) fn answering(session: &Session) -> Config {
    let answer = |peer| match peer {
        SocketType::Sub | SocketType::Xsub => Some(SocketType::Xpub),
        SocketType::Dealer => Some(SocketType::Router),
        _ => None,
    };
    Config {
        socket: Socket::Answer(answer),
        identity: Bytes::new(),
        security: session.access.answering(),
        max_message: max_message(session),
    }
}

/// A longer message ends its connection: this bounds what a peer can make the session hold. What is a little over the limit on
/// payloads is dropped alone.
fn max_message(session: &Session) -> usize {
    session.options.max_payload.saturating_mul(2).saturating_add(MAX_SUBSCRIPTION)
}
