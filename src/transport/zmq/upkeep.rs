//! Looking after connections: what libzmq's monitors tell, and what is due by the clock.

use std::time::{Duration, Instant};

use super::control::Control;
use super::dealer::Dealer;
use super::monitor::{Change, LinkEvent};
use super::peers::Peer;
use super::state::{Session, dropped};
use crate::transport::Event;

/// How long libzmq may take to say that it tries a lost connection again, before it is told to.
const ABANDONED_AFTER: Duration = Duration::from_millis(300);
/// A peer that is gone, and that nobody asked for, is forgotten after this.
const FORGET_AFTER: Duration = Duration::from_secs(60);
/// A peer that has said goodbye may still have messages under way to us for this long.
const FAREWELL: Duration = Duration::from_secs(2);

impl Session {
    /// Our connection to a peer's ROUTER has changed.
    pub(super) fn on_dealer_link(&self, dealer: &Dealer, change: Change) {
        self.set_urgent();
        let mut peers = self.peers();
        let Some(record) = peers.get_mut(&dealer.peer) else { return };
        match change {
            Change::Up => {
                dealer.set_connected(true);
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
        self.set_urgent();
        let mut peers = self.peers();
        for (locator, record) in peers.iter_mut() {
            let Some(feed) = record.feed.as_mut().filter(|feed| feed.endpoint == event.endpoint) else {
                continue;
            };
            match event.change {
                Change::Up => {
                    feed.connected = true;
                    feed.ever_connected = true;
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
                    reconnect(&dealer.socket, &dealer.address.endpoint());
                    dealer.set_retrying();
                }
            }
            if let Some(feed) = record.feed.as_mut()
                && !feed.connected
                && !feed.retrying
                && feed.since.elapsed() >= ABANDONED_AFTER
            {
                // libzmq cuts a connection for good when a message is over its limit, and says no more than that.
                dropped("connection cut by a protocol error", &feed.endpoint);
                self.report(Event::Lagged(1));
                reconnect(&self.sockets.subscriber, &feed.endpoint);
                feed.retrying = true;
            }
            self.settle(&locator, record);
            if self.is_past(record) {
                self.forget(&mut peers, &locator);
            } else {
                unsettled |= record.is_unsettled();
            }
        }
        unsettled
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

/// Makes libzmq forget a connection that it has given up, and make it anew.
fn reconnect(socket: &super::socket::Socket, endpoint: &str) {
    let _ = socket.with(|socket| {
        let _ = socket.disconnect(endpoint);
        socket.connect(endpoint)
    });
}
