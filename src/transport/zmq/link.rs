//! How connections come and go: greetings, farewells, and what libzmq's monitors tell.

use std::time::{Duration, Instant};

use super::address::Address;
use super::control::{Control, Greeting};
use super::dealer::Dealer;
use super::monitor::{Change, LinkEvent};
use super::peers::{Feed, Peer, Peers, Transition};
use super::socket::Turn;
use super::state::{Session, dropped};
use crate::error::Result;
use crate::transport::{Event, Locator};

/// How long an answer to a greeting is waited for before it is repeated.
const REPEAT_GREETING: Duration = Duration::from_millis(500);
/// How long libzmq may take to say that it tries a lost connection again, before it is told to.
const ABANDONED_AFTER: Duration = Duration::from_millis(300);
/// A peer that is gone, and that nobody asked for, is forgotten after this.
const FORGET_AFTER: Duration = Duration::from_secs(60);
/// A peer that has said goodbye may still have messages under way to us for this long.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long a closed connection may take to write what it holds.
const PARTING_LINGER: Duration = Duration::from_secs(1);

impl Session {
    /// Connects to a peer and stays connected.
    pub(super) fn attach(&self, peer: &Locator, address: Address) -> Result<()> {
        if *peer == self.local {
            return Ok(());
        }
        let mut peers = self.peers();
        self.check_open()?;
        let known = peers.canonical(peer);
        let Some(record) = peers.get_or_insert(peer) else { return Err(too_many().into()) };
        if record.wanted {
            return Ok(());
        }
        let dealer = match &record.dealer {
            Some(dealer) => dealer.clone(),
            None => self.dial(known.clone(), address)?,
        };
        record.wanted = true;
        record.dealer = Some(dealer.clone());
        self.greet(record, &dealer);
        self.settle(&known, record);
        self.receiver.wake();
        Ok(())
    }

    /// Undoes [`attach`](Self::attach). What the peer itself has connected stays.
    pub(super) fn detach(&self, peer: &Locator) {
        let mut peers = self.peers();
        let known = peers.canonical(peer);
        let Some(record) = peers.get_mut(peer) else { return };
        if !record.wanted {
            return;
        }
        record.wanted = false;
        record.welcomed = false;
        record.route = None;
        if let Some(dealer) = record.dealer.take() {
            let _ = dealer.socket.try_send(Turn::Passing, |s| s.send(Control::Bye.encode(), ::zmq::DONTWAIT));
            dealer.close(PARTING_LINGER);
            self.dealers_changed();
        }
        if record.accepted.is_some() {
            self.settle(&known, record);
        } else {
            self.forget(&mut peers, &known);
        }
    }

    /// A control frame that came in through our ROUTER.
    pub(super) fn on_router_control(&self, from: &Locator, control: Control) {
        let mut peers = self.peers();
        let known = peers.canonical(from);
        match control {
            Control::Hello(greeting) => {
                let address = match Address::of_peer(from) {
                    Ok(address) if greeting.locator == *from && *from != self.local => address,
                    _ => return dropped("greeting under a foreign name", from),
                };
                let Some(record) = peers.get_or_insert(from) else { return dropped("too many peers", from) };
                record.accepted = Some(from.clone());
                record.seen = Instant::now();
                self.prefer_living_route(record);
                self.send_by_router(from, &Control::Welcome(self.greeting()));
                // Where this side dialled the peer itself, it knows better under which address it is reached.
                let address = record.dealer.as_ref().map_or(address, |dealer| dealer.address.clone());
                self.follow(&mut peers, &known, &address, greeting.publish_port);
            }
            Control::Bye => {
                let Some(record) = peers.get_mut(from) else { return };
                record.accepted = None;
                record.seen = Instant::now();
                if matches!(record.route, Some(super::peers::Route::Router)) {
                    record.route = None;
                }
                self.settle(&known, record);
            }
            Control::Ping => {}
            Control::Welcome(_) => dropped("welcome by the wrong way", from),
        }
    }

    /// A control frame that came in through one of our DEALERs.
    pub(super) fn on_dealer_control(&self, dealer: &Dealer, control: Control) {
        let mut peers = self.peers();
        let known = &dealer.peer;
        match control {
            Control::Welcome(greeting) if greeting.nonce == self.nonce => {
                tracing::debug!(peer = %known, "zmq: attached to itself under another name");
                drop(self.forget_quietly(&mut peers, known));
            }
            Control::Welcome(greeting) => {
                if greeting.locator != *known {
                    if let Some(stray) = peers.alias(greeting.locator, known) {
                        self.absorb(&mut peers, known, stray);
                    }
                }
                let Some(record) = peers.get_mut(known) else { return };
                if !record.wanted {
                    return;
                }
                record.welcomed = true;
                let address = dealer.address.clone();
                self.follow(&mut peers, known, &address, greeting.publish_port);
            }
            Control::Bye => {
                if let Some(record) = peers.get_mut(known) {
                    record.welcomed = false;
                    self.settle(known, record);
                }
            }
            Control::Ping => {}
            Control::Hello(_) => dropped("greeting by the wrong way", known),
        }
    }

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
            if let Some(feed) = record.feed.as_mut() {
                if !feed.connected && !feed.retrying && feed.since.elapsed() >= ABANDONED_AFTER {
                    // libzmq cuts a connection for good when a message is over its limit, and says no more than that.
                    dropped("connection cut by a protocol error", &feed.endpoint);
                    self.report(Event::Lagged(1));
                    reconnect(&self.sockets.subscriber, &feed.endpoint);
                    feed.retrying = true;
                }
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

    /// Tells every peer that this session ends.
    pub(super) fn say_goodbye(&self) {
        let mut peers = self.peers();
        for (_, record) in peers.iter_mut() {
            if let Some(dealer) = record.dealer.as_ref().filter(|dealer| dealer.is_connected()) {
                let _ =
                    dealer.socket.try_send(Turn::Passing, |s| s.send(Control::Bye.encode(), ::zmq::DONTWAIT));
            }
            if let Some(own) = &record.accepted {
                self.send_by_router(own, &Control::Bye);
            }
        }
    }

    /// Sends the greeting, if there is somebody to greet who has not answered yet.
    fn greet(&self, record: &mut Peer, dealer: &Dealer) {
        let patient = record.greeted.is_some_and(|at| at.elapsed() < REPEAT_GREETING);
        if !record.wanted || record.welcomed || patient || !dealer.is_connected() {
            return;
        }
        let hello = Control::Hello(self.greeting()).encode();
        if let Some(Ok(())) = dealer.socket.try_send(Turn::Passing, |s| s.send(&hello[..], ::zmq::DONTWAIT)) {
            record.greeted = Some(Instant::now());
        }
    }

    fn greeting(&self) -> Greeting {
        Greeting { locator: self.local.clone(), publish_port: self.publish_port, nonce: self.nonce }
    }

    /// Connects to the peer's publications, and no longer to those it had before.
    fn follow(&self, peers: &mut Peers, locator: &Locator, address: &Address, port: u16) {
        let endpoint = address.with_port(port).endpoint();
        let Some(record) = peers.get_mut(locator) else { return };
        let same = record.feed.as_ref().is_some_and(|feed| feed.endpoint == endpoint);
        if !same && port != 0 && !self.publish_endpoints.contains(&endpoint) {
            let old = record.feed.take();
            if let Some(old) = old {
                self.unfollow(peers, locator, &old);
            }
            let connected = self.sockets.subscriber.with(|socket| socket.connect(&endpoint));
            if let Some(Err(error)) = connected {
                tracing::debug!(%error, endpoint, "zmq: cannot connect to a peer's publications");
            }
            if let Some(record) = peers.get_mut(locator) {
                record.feed = Some(Feed::new(endpoint));
            }
        }
        if let Some(record) = peers.get_mut(locator) {
            self.settle(locator, record);
        }
        self.receiver.wake();
    }

    fn unfollow(&self, peers: &Peers, locator: &Locator, feed: &Feed) {
        if !peers.shares_feed(&feed.endpoint, locator) {
            let _ = self.sockets.subscriber.with(|socket| socket.disconnect(&feed.endpoint));
        }
    }

    /// Reports what has changed about a peer.
    fn settle(&self, locator: &Locator, record: &mut Peer) {
        match record.transition() {
            None => {}
            Some(Transition::Down) => self.report(Event::PeerDown(locator.clone())),
            Some(Transition::Up { again }) => {
                if again {
                    self.report(Event::Reconnected { session_present: false });
                }
                self.report(Event::PeerUp(locator.clone()));
            }
        }
    }

    fn forget(&self, peers: &mut Peers, locator: &Locator) {
        if self.forget_quietly(peers, locator).is_some_and(|record| record.up) {
            self.report(Event::PeerDown(locator.clone()));
        }
    }

    fn forget_quietly(&self, peers: &mut Peers, locator: &Locator) -> Option<Peer> {
        let mut record = peers.remove(locator)?;
        if let Some(dealer) = record.dealer.take() {
            dealer.close(PARTING_LINGER);
            self.dealers_changed();
        }
        if let Some(feed) = record.feed.take() {
            self.unfollow(peers, locator, &feed);
        }
        Some(record)
    }

    /// A peer was known under two names: what was noted under the other one joins the record that stays.
    fn absorb(&self, peers: &mut Peers, locator: &Locator, stray: Peer) {
        if let Some(feed) = &stray.feed {
            self.unfollow(peers, locator, feed);
        }
        if let Some(dealer) = &stray.dealer {
            dealer.close(PARTING_LINGER);
            self.dealers_changed();
        }
        if let Some(record) = peers.get_mut(locator) {
            record.accepted = record.accepted.take().or(stray.accepted);
        }
    }

    /// A peer that speaks to our ROUTER is reached there, if the DEALER that was dialled for it never got through.
    pub(super) fn prefer_living_route(&self, record: &mut Peer) {
        if record.wanted || record.dealer.as_ref().is_none_or(|dealer| dealer.is_connected()) {
            return;
        }
        if let Some(dealer) = record.dealer.take() {
            if dealer.waiting() > 0 {
                dropped("sent to an address that does not answer", &dealer.waiting());
            }
            dealer.close(Duration::ZERO);
            self.dealers_changed();
        }
        record.route = Some(super::peers::Route::Router);
    }

    /// Gives up a connection that was dialled for messages; what was sent is still written.
    pub(super) fn hang_up(&self, peers: &mut Peers, locator: &Locator) {
        let Some(record) = peers.get_mut(locator) else { return };
        record.route = None;
        if let Some(dealer) = record.dealer.take() {
            dealer.close(PARTING_LINGER);
            self.dealers_changed();
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

    /// `false` if the peer is not there. A queue that is full counts as being there.
    fn send_by_router(&self, locator: &Locator, control: &Control) -> bool {
        let frame = control.encode();
        let sent = self.sockets.router.try_send(Turn::Passing, |socket| {
            socket.send(locator.as_str(), ::zmq::DONTWAIT | ::zmq::SNDMORE)?;
            socket.send(&frame[..], ::zmq::DONTWAIT)
        });
        !matches!(sent, Some(Err(::zmq::Error::EHOSTUNREACH)))
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

pub(super) fn too_many() -> crate::ErrorKind {
    crate::ErrorKind::Full { what: "the table of zmq peers", limit: super::peers::MAX_PEERS }
}
