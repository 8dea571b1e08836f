//! Sending: which connections a message takes, and waiting for room in them.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::time::Instant;

use super::credit::Credit;
use super::endpoint::Endpoint;
use super::item::Item;
use super::links::PARTING_LINGER;
use super::outgoing::{Outgoing, Pushed};
use super::session::Session;
use crate::error::{Error, ErrorKind, Result};
use crate::topic::Topic;
use crate::transport::zmq::peer_table::too_many;
use crate::transport::zmq::prefix::SEPARATOR;
use crate::transport::{Destination, Locator, Origin, Outbound};

/// Why a message was not taken.
pub(super) enum Refused {
    /// There has no room.
    Full(Narrow),
    Failed(Error),
}

/// Where there is no room.
pub(super) enum Narrow {
    /// In the queue towards a peer.
    Peer(Arc<Outgoing>),
    /// In the session's own inbox.
    Own(Arc<Credit>),
}

impl Narrow {
    /// Waits until there is some. Cancel-safe.
    pub(super) async fn room(&self) {
        match self {
            Self::Peer(outgoing) => outgoing.half_free().await,
            Self::Own(credit) => credit.half_free().await,
        }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<ErrorKind> for Refused {
    fn from(kind: ErrorKind) -> Self {
        Self::Failed(kind.into())
    }
}

impl Session {
    /// Sends one message, or says why not.
    pub(super) fn attempt(self: &Arc<Self>, outbound: &Outbound) -> Result<(), Refused> {
        self.check_open()?;
        outbound.refuse_retained(self.capabilities.name)?;
        let (size, limit) = (outbound.payload.len(), self.capabilities.max_payload);
        if size > limit {
            return Err(ErrorKind::PayloadTooLarge { size, limit }.into());
        }
        match &outbound.to {
            Destination::Topic(topic) => self.publish(topic, outbound),
            Destination::Peer(peer) => self.send_to(peer, &outbound.payload),
        }
    }

    /// Sends one message and waits for room where there is none. Cancel-safe.
    pub(super) async fn send_waiting(self: &Arc<Self>, outbound: &Outbound) -> Result<()> {
        loop {
            match self.attempt(outbound) {
                Ok(()) => return Ok(()),
                Err(Refused::Failed(error)) => return Err(error),
                Err(Refused::Full(narrow)) => tokio::select! {
                    () = narrow.room() => {}
                    () = self.closing() => {}
                },
            }
        }
    }

    /// Publishes to all who hear it, or to none if one of them has no room.
    fn publish(&self, topic: &Topic, outbound: &Outbound) -> Result<(), Refused> {
        let audience = self.audiences.of(topic);
        if audience.is_empty() {
            return Ok(());
        }
        if audience.own && self.own_credit.is_spent() {
            return Err(Refused::Full(Narrow::Own(self.own_credit.clone())));
        }
        let frame = outbound.framed.clone().unwrap_or_else(|| joined(topic, &outbound.payload));
        let narrow = |outgoing: &&Arc<Outgoing>| !outgoing.has_room() && !outgoing.is_closed();
        if let Some(full) = audience.of(&frame).find(narrow) {
            return Err(Refused::Full(Narrow::Peer(full.clone())));
        }
        for outgoing in audience.of(&frame) {
            // Another publisher may have taken the room meanwhile: there is some beyond it. Who has gone hears nothing.
            outgoing.force(Item::Publication(frame.clone()));
        }
        if audience.own {
            self.inbox.queue(Origin::Topic(topic.clone()), outbound.payload.clone(), &self.own_credit);
        }
        Ok(())
    }

    fn send_to(self: &Arc<Self>, peer: &Locator, payload: &Bytes) -> Result<(), Refused> {
        // A way may end between being found and being taken; then another is found.
        for _ in 0..2 {
            let outgoing = self.route(peer)?;
            match outgoing.push(Item::Directed(payload.clone())) {
                Pushed::Taken => return Ok(()),
                Pushed::Full => return Err(Refused::Full(Narrow::Peer(outgoing))),
                Pushed::Closed => {}
            }
        }
        let reason = "its connection has just ended: try again".to_owned();
        Err(ErrorKind::Unreachable { address: peer.to_string(), reason }.into())
    }

    /// The way to a peer. It stays the same while it works.
    fn route(self: &Arc<Self>, peer: &Locator) -> Result<Arc<Outgoing>> {
        let mut peers = self.peers();
        if let Some(record) = peers.get_mut(peer)
            && let Some(route) = record.route.as_ref().filter(|route| !route.is_closed())
        {
            record.used = Instant::now();
            return Ok(route.clone());
        }
        let address = Endpoint::of_peer(peer)?;
        let known = peers.canonical(peer);
        let Some(record) = peers.get_or_insert(peer, &address) else { return Err(too_many().into()) };
        let dealer = record.dealer.as_ref();
        if let Some(dealer) = dealer.filter(|dealer| dealer.is_connected || record.accepted.is_none()) {
            if let Some(reason) = dealer.obstacle.clone().filter(|_| !dealer.is_connected) {
                return Err(ErrorKind::Unreachable { address: peer.to_string(), reason }.into());
            }
            // That is not the last word: the peer may still connect to us.
            return Ok(dealer.outgoing.clone());
        }
        // It may have connected to us.
        let own = record.accepted.clone().unwrap_or_else(|| peer.clone());
        let router = peers.routers.get(&own).map(|(_, router)| router.clone()).filter(|r| !r.is_closed());
        if router.is_none()
            && let Some(surplus) = peers.surplus_dealer()
            && let Some(dealer) = peers.get_mut(&surplus).and_then(|record| record.dealer.take())
        {
            dealer.hang_up(self, PARTING_LINGER);
        }
        let Some(record) = peers.get_or_insert(peer, &address) else { return Err(too_many().into()) };
        let route = router.unwrap_or_else(|| self.dial(&known, record));
        record.used = Instant::now();
        record.route = Some(route.clone());
        Ok(route)
    }
}

/// A publication in one piece.
fn joined(topic: &Topic, payload: &Bytes) -> Bytes {
    let name = topic.as_str().as_bytes();
    let mut frame = BytesMut::with_capacity(name.len() + 1 + payload.len());
    frame.put_slice(name);
    frame.put_u8(SEPARATOR);
    frame.put_slice(payload);
    frame.freeze()
}
