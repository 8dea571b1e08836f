//! Sending: which socket a message takes, and waiting for room in it.

use std::pin::pin;
use std::sync::Arc;

use super::address::Address;
use super::dealer::Dealer;
use super::drops::closed;
use super::frames;
use super::link::PARTING_LINGER;
use super::peers::{Peer, Route};
use super::socket::{Socket, Turn};
use super::sockets::failed;
use super::state::Session;
use crate::error::{Error, ErrorKind, Result};
use crate::transport::{Destination, Locator, Outbound};

/// So many publications are sent under one lock.
const RUN: usize = 64;

/// Why a message was not taken.
pub(super) enum Refused {
    /// This socket has no room.
    Full(Arc<Socket>),
    Failed(Error),
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
    pub(super) fn attempt(&self, outbound: &Outbound, turn: Turn) -> Result<(), Refused> {
        self.check_open()?;
        outbound.refuse_retained(self.capabilities.name)?;
        let (size, limit) = (outbound.payload.len(), self.capabilities.max_payload);
        if size > limit {
            return Err(ErrorKind::PayloadTooLarge { size, limit }.into());
        }
        match &outbound.to {
            Destination::Topic(topic) => {
                let socket = &self.sockets.publisher;
                let send =
                    |socket: &mut ::zmq::Socket| frames::send_topic(socket, topic, outbound, &self.under_way);
                let sent = socket.try_send(turn, send);
                outcome(socket, sent)
            }
            Destination::Peer(peer) => self.attempt_peer(peer, outbound, turn),
        }
    }

    fn attempt_peer(&self, peer: &Locator, outbound: &Outbound, turn: Turn) -> Result<(), Refused> {
        let dealer = match self.route(peer)? {
            Route::Dealer(dealer) => dealer,
            Route::Router => {
                let own = self.routing_id(peer);
                let router = &self.sockets.router;
                let sent = router.try_send(turn, |socket| {
                    socket.send(own.as_str(), ::zmq::DONTWAIT | ::zmq::SNDMORE)?;
                    frames::send_directed(socket, &outbound.payload)
                });
                if !matches!(sent, Some(Err(::zmq::Error::EHOSTUNREACH))) {
                    return outcome(router, sent);
                }
                self.route_by_dealer(peer)?
            }
        };
        let sent = dealer.socket.try_send(turn, |socket| frames::send_directed(socket, &outbound.payload));
        let result = outcome(&dealer.socket, sent);
        match &result {
            Ok(()) => dealer.note_sent(),
            // Until its name is known there is nowhere to put it. Its sender waits for the first answer, not for a good one.
            Err(Refused::Full(_)) if !dealer.leads_anywhere() => {
                let mut peers = self.peers();
                if let Some(reason) = peers.get_mut(peer).and_then(|record| record.place.unknown.clone()) {
                    return Err(ErrorKind::Unreachable { address: peer.to_string(), reason }.into());
                }
            }
            Err(_) => {}
        }
        result
    }

    /// Sends one message and waits for room where there is none.
    pub(super) async fn send_waiting(&self, outbound: &Outbound) -> Result<()> {
        let mut full = match self.attempt(outbound, Turn::Passing) {
            Ok(()) => return Ok(()),
            Err(Refused::Failed(error)) => return Err(error),
            Err(Refused::Full(socket)) => socket,
        };
        loop {
            let socket = full;
            let _turn = socket.turn().await;
            full = loop {
                let mut progress = pin!(socket.progress());
                // Before the attempt, so that no room that is made after it is missed.
                progress.as_mut().enable();
                match self.attempt(outbound, Turn::Holder) {
                    Ok(()) => return Ok(()),
                    Err(Refused::Failed(error)) => return Err(error),
                    // The peer is reached by another way now.
                    Err(Refused::Full(other)) if !Arc::ptr_eq(&other, &socket) => break other,
                    Err(Refused::Full(_)) => socket.room(progress).await,
                }
            };
        }
    }

    /// Sends as many publications as there are at the beginning of `batch` and the socket takes; says how many.
    pub(super) fn publish_run(&self, batch: &[Outbound]) -> usize {
        let limit = self.capabilities.max_payload;
        let mut sent = 0;
        if self.is_closed() {
            return sent;
        }
        self.sockets.publisher.try_send(Turn::Passing, |socket| {
            while let Some(
                outbound @ Outbound { to: Destination::Topic(topic), payload, retain: false, .. },
            ) = batch.get(sent)
            {
                if payload.len() > limit || sent == RUN {
                    break;
                }
                frames::send_topic(socket, topic, outbound, &self.under_way)?;
                sent += 1;
            }
            Ok(())
        });
        sent
    }

    /// The way to a peer. It stays the same while it works.
    fn route(&self, peer: &Locator) -> Result<Route> {
        let mut peers = self.peers();
        if let Some(Peer { route: Some(route), .. }) = peers.get_mut(peer) {
            return Ok(route.clone());
        }
        let address = Address::of_peer(peer)?;
        let Some(record) = peers.get_or_insert(peer, &address) else {
            return Err(crate::transport::zmq::peer_table::too_many().into());
        };
        let route = match &record.dealer {
            Some(dealer) if dealer.is_connected() || record.accepted.is_none() => {
                Route::Dealer(dealer.clone())
            }
            // It may have dialled us; if it has not, the ROUTER says so.
            _ => Route::Router,
        };
        Ok(record.route.insert(route).clone())
    }

    /// The way to a peer that is not connected to us.
    fn route_by_dealer(&self, peer: &Locator) -> Result<Arc<Dealer>> {
        let address = Address::of_peer(peer)?;
        let mut peers = self.peers();
        let known = peers.canonical(peer);
        if peers.get_mut(peer).is_none_or(|record| record.dealer.is_none())
            && let Some(surplus) = peers.surplus_dealer()
        {
            self.hang_up(&mut peers, &surplus, PARTING_LINGER);
        }
        let unsettled = peers.unsettled();
        let Some(record) = peers.get_or_insert(peer, &address) else {
            return Err(crate::transport::zmq::peer_table::too_many().into());
        };
        let dealer = match &record.dealer {
            Some(dealer) => dealer.clone(),
            None => self.dial(known.clone(), unsettled)?,
        };
        record.dealer = Some(dealer.clone());
        record.route = Some(Route::Dealer(dealer.clone()));
        self.reach(&mut peers, &known);
        Ok(dealer)
    }

    /// The name under which our ROUTER knows a peer.
    fn routing_id(&self, peer: &Locator) -> Locator {
        let mut peers = self.peers();
        peers.get_mut(peer).and_then(|record| record.accepted.clone()).unwrap_or_else(|| peer.clone())
    }
}

fn outcome(socket: &Arc<Socket>, sent: Option<::zmq::Result<()>>) -> Result<(), Refused> {
    match sent {
        Some(Ok(())) => Ok(()),
        Some(Err(::zmq::Error::EAGAIN)) => Err(Refused::Full(socket.clone())),
        Some(Err(error)) => Err(failed("sending")(error).into()),
        None => Err(closed().into()),
    }
}
