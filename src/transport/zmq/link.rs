//! How peers come and go: greetings and farewells.

use std::time::{Duration, Instant};

use super::address::Address;
use super::control::{Control, Greeting};
use super::dealer::Dealer;
use super::peers::{Feed, Peer, Peers, Route, Transition, too_many};
use super::socket::Turn;
use super::state::{Session, dropped};
use crate::error::Result;
use crate::transport::{Event, Locator};

/// How long an answer to a greeting is waited for before it is repeated.
const REPEAT_GREETING: Duration = Duration::from_millis(500);
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
            let _ =
                dealer.socket.try_send(Turn::Passing, |s| s.send(Control::Detach.encode(), ::zmq::DONTWAIT));
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
            // Who comes while this session ends is not told that it is there.
            Control::Hello(_) if self.is_closed() => {}
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
            Control::Bye | Control::Detach => {
                let Some(record) = peers.get_mut(from) else { return };
                record.accepted = None;
                record.seen = Instant::now();
                if matches!(record.route, Some(Route::Router)) {
                    record.route = None;
                }
                self.settle(&known, record);
                // What one who ends has published may still be on its way; one who stays goes on publishing, to others.
                if control == Control::Detach && !record.wanted && record.dealer.is_none() {
                    self.forget(&mut peers, &known);
                }
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
                let own = (greeting.locator != *known).then(|| greeting.locator.clone());
                if greeting.locator != *known
                    && let Some(stray) = peers.alias(greeting.locator.clone(), known)
                {
                    self.absorb(&mut peers, known, greeting.locator, stray);
                }
                let Some(record) = peers.get_mut(known) else { return };
                if !record.wanted {
                    return;
                }
                record.welcomed = true;
                record.own = own;
                let address = dealer.address.clone();
                self.follow(&mut peers, known, &address, greeting.publish_port);
            }
            Control::Bye | Control::Detach => {
                if let Some(record) = peers.get_mut(known) {
                    record.welcomed = false;
                    self.settle(known, record);
                }
            }
            Control::Ping => {}
            Control::Hello(_) => dropped("greeting by the wrong way", known),
        }
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
    pub(super) fn greet(&self, record: &mut Peer, dealer: &Dealer) {
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
    pub(super) fn settle(&self, locator: &Locator, record: &mut Peer) {
        match record.transition() {
            None => {}
            Some(Transition::Down) => {
                self.report(Event::PeerDown(locator.clone()));
                // It states its own name where it announces publishers.
                if let Some(other) = record.also_up.take().or_else(|| record.own.clone()) {
                    self.report(Event::PeerDown(other));
                }
            }
            Some(Transition::Up { again }) => {
                if again {
                    self.report(Event::Reconnected { session_present: false });
                    if let Some(own) = &record.own {
                        self.report(Event::PeerUp(own.clone()));
                    }
                }
                self.report(Event::PeerUp(locator.clone()));
            }
        }
    }

    pub(super) fn forget(&self, peers: &mut Peers, locator: &Locator) {
        if let Some(record) = self.forget_quietly(peers, locator) {
            let names = record
                .up
                .then(|| locator.clone())
                .into_iter()
                .chain(record.also_up.or(record.own.filter(|_| record.up)));
            names.for_each(|name| self.report(Event::PeerDown(name)));
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
    fn absorb(&self, peers: &mut Peers, locator: &Locator, own: Locator, stray: Peer) {
        if let Some(dealer) = &stray.dealer {
            dealer.close(PARTING_LINGER);
            self.dealers_changed();
        }
        let Some(record) = peers.get_mut(locator) else { return };
        record.accepted = record.accepted.take().or(stray.accepted);
        record.also_up = stray.up.then_some(own);
        match (&record.feed, stray.feed) {
            (None, feed) => record.feed = feed,
            (Some(_), Some(feed)) => self.unfollow(peers, locator, &feed),
            (Some(_), None) => {}
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
        record.route = Some(Route::Router);
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

    /// `false` if the peer is not there. A queue that is full counts as being there.
    pub(super) fn send_by_router(&self, locator: &Locator, control: &Control) -> bool {
        let frame = control.encode();
        let sent = self.sockets.router.try_send(Turn::Passing, |socket| {
            socket.send(locator.as_str(), ::zmq::DONTWAIT | ::zmq::SNDMORE)?;
            socket.send(&frame[..], ::zmq::DONTWAIT)
        });
        !matches!(sent, Some(Err(::zmq::Error::EHOSTUNREACH)))
    }
}
