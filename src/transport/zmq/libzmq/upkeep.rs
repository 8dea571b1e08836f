//! Looking after connections: what libzmq's monitors tell, and what is due by the clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::control::Control;
use super::dealer::Dealer;
use super::drops::dropped;
use super::monitor::{Change, LinkEvent};
use super::peers::{Peer, Peers};
use super::sockets;
use super::state::Session;
use crate::transport::{Event, Locator};

/// How long libzmq may take to say that it tries a lost connection again, before it is told to.
const ABANDONED_AFTER: Duration = Duration::from_millis(300);
/// A peer that is gone, and that nobody asked for, is forgotten after this.
const FORGET_AFTER: Duration = Duration::from_secs(60);
/// A peer that has said goodbye may still have messages under way to us for this long.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long an address that was dialled for a message may take to answer.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(5);

impl Session {
    /// Our connection to a peer's ROUTER has changed.
    pub(super) fn on_dealer_link(&self, dealer: &Dealer, change: Change) {
        self.set_urgent();
        let mut peers = self.peers();
        let Some(record) = peers.get_mut(&dealer.peer) else { return };
        match change {
            Change::Up => {
                dealer.set_connected(true);
                record.place.reached();
                record.redial.reset();
                self.greet(record, dealer);
            }
            Change::Down => {
                dealer.set_connected(false);
                record.welcomed = false;
                record.greeted = None;
                self.settle(&dealer.peer, record);
            }
            Change::Retrying => dealer.set_retrying(),
        }
    }

    /// Our connection to a peer's XPUB has changed.
    pub(super) fn on_feed_link(&self, event: &LinkEvent) {
        let Some(number) = event.number else { return };
        self.set_urgent();
        let mut peers = self.peers();
        for (locator, record) in peers.iter_mut() {
            let Some(feed) = record.feed.as_mut().filter(|feed| feed.at == Some(number)) else { continue };
            match event.change {
                Change::Up => {
                    feed.connected = true;
                    feed.ever_connected = true;
                    record.place.reached();
                }
                Change::Down => {
                    feed.connected = false;
                    feed.retrying = false;
                    feed.since = Instant::now();
                    // Both connections of a process that dies die together; this one may be noticed first.
                    self.probe(record);
                }
                Change::Retrying => feed.retrying = true,
            }
            self.settle(locator, record);
        }
    }

    /// What is due without anybody asking for it. Says whether more is due soon.
    pub(super) fn tick(&self) -> bool {
        let mut peers = self.peers();
        let mut unsettled = false;
        for locator in peers.locators() {
            let Some(record) = peers.get_mut(&locator) else { continue };
            self.probe(record);
            if let Some(dealer) = record.dealer.clone() {
                self.greet(record, &dealer);
                if dealer.is_abandoned(ABANDONED_AFTER) {
                    dealer.reconnect();
                }
            }
            if let Some(feed) = record.feed.as_mut()
                && let Some(number) = feed.at
                && !feed.connected
                && !feed.retrying
                && feed.since.elapsed() >= ABANDONED_AFTER
            {
                // libzmq cuts a connection for good when a message is over its limit, and says no more than that.
                dropped("connection cut by a protocol error", &number);
                self.report(Event::Lagged(1));
                self.sockets.subscriber.with(|socket| {
                    let _ = sockets::disconnect(socket, number);
                    sockets::connect(socket, number)
                });
                feed.retrying = true;
            }
            self.settle(&locator, record);
            self.tell_trouble(&locator, record);
            let in_vain = |dealer: &Arc<Dealer>| dealer.is_in_vain(GIVEN_UP_AFTER);
            if !record.wanted && record.dealer.as_ref().is_some_and(in_vain) {
                self.give_up(&mut peers, &locator);
            } else if self.is_past(record) {
                self.forget(&mut peers, &locator);
            } else {
                unsettled |= record.is_unsettled();
                self.reach(&mut peers, &locator);
            }
        }
        unsettled
    }

    /// Says once why a peer is not reached, until it is.
    fn tell_trouble(&self, locator: &Locator, record: &mut Peer) {
        match record.trouble() {
            None => record.told = false,
            Some(_) if record.told => {}
            Some(reason) => {
                record.told = true;
                self.report(Event::Unreachable { peer: locator.clone(), reason });
            }
        }
    }

    /// Nobody has answered at an address that was dialled for a message: its descriptors are for others.
    fn give_up(&self, peers: &mut Peers, locator: &Locator) {
        let Some(record) = peers.get_mut(locator) else { return };
        let waiting = record.dealer.as_ref().map_or(0, |dealer| dealer.waiting());
        record.seen = Instant::now();
        self.hang_up(peers, locator, Duration::ZERO);
        if waiting > 0 {
            dropped("sent to an address that does not answer", &waiting);
        }
    }

    /// Looks whether the peer's connection to our ROUTER still stands.
    fn probe(&self, record: &mut Peer) {
        let Some(own) = &record.accepted else { return };
        if !self.send_by_router(own, &Control::Ping) {
            record.accepted = None;
            record.seen = Instant::now();
        }
    }

    /// Whether nothing is left to be known about a peer, and nothing of it left to be read.
    fn is_past(&self, record: &Peer) -> bool {
        if record.wanted || record.accepted.is_some() || record.dealer.is_some() {
            return false;
        }
        let gone = record.seen.elapsed();
        let feed_lost = record.feed.as_ref().is_none_or(|feed| !feed.connected);
        gone >= FORGET_AFTER || (gone >= FAREWELL && feed_lost && !self.sockets.subscriber.is_readable())
    }
}
