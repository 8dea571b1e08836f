//! How peers come and go: greetings and farewells.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::address::Address;
use super::control::{Control, Greeting};
use super::dealer::Dealer;
use super::drops::dropped;
use super::peers::{Feed, Peer, Peers, Route, Transition};
use super::socket::Turn;
use super::sockets;
use super::state::Session;
use crate::error::{Error, ErrorKind, Result};
use crate::quiet::afterwards;
use crate::transport::zmq::peer_table::too_many;
use crate::transport::{Event, Locator};

/// How long an answer to a greeting is waited for before it is repeated.
const REPEAT_GREETING: Duration = Duration::from_millis(500);
/// How long a closed connection may take to write what it holds.
pub(super) const PARTING_LINGER: Duration = Duration::from_secs(1);

impl Session {
    /// Connects to a peer and stays connected.
    pub(super) fn attach(&self, peer: &Locator, address: Address) -> Result<()> {
        if *peer == self.local {
            return Ok(());
        }
        let mut peers = self.peers();
        self.check_open()?;
        let known = peers.canonical(peer);
        let Some(record) = peers.get_or_insert(peer, &address) else { return Err(too_many().into()) };
        if record.wanted {
            return Ok(());
        }
        record.wanted = true;
        self.reach(&mut peers, &known);
        if let Some(record) = peers.get_mut(&known) {
            if let Some(dealer) = record.dealer.clone() {
                self.greet(record, &dealer);
            }
            self.settle(&known, record);
        }
        self.set_urgent();
        self.receiver.wake();
        Ok(())
    }

    /// Connects to where a peer is, as far as that is known and there is room, and has its name looked up where it is due.
    pub(super) fn reach(&self, peers: &mut Peers, locator: &Locator) {
        let unsettled = match peers.get_mut(locator) {
            Some(record) if record.wanted && record.dealer.is_none() && record.redial.is_over() => {
                Some(peers.unsettled())
            }
            _ => None,
        };
        let Some(record) = peers.get_mut(locator) else { return };
        if let Some(unsettled) = unsettled {
            record.redial.begin();
            match self.dial(locator.clone(), unsettled) {
                Ok(dealer) => (record.dealer, record.refused) = (Some(dealer), None),
                Err(error) => record.refused = Some(reason_of(&error)),
            }
        }
        let cut_off = record.is_cut_off();
        if record.place.look_up_now(cut_off) {
            self.look_up(locator.clone(), record.place.address.clone(), record.wanted);
        }
        if let (Some(dealer), Some(number)) = (&record.dealer, record.place.number) {
            dealer.lead_to(number);
        }
        self.lead_feed(peers, locator);
    }

    fn look_up(&self, locator: Locator, address: Address, wanted: bool) {
        let (lookups, session) = (self.lookups.clone(), self.me.clone());
        self.runtime.spawn(async move {
            let found = lookups.find(&address, wanted).await;
            if let Some(session) = session.upgrade() {
                session.on_found(&locator, found);
            }
        });
    }

    fn on_found(&self, locator: &Locator, found: std::result::Result<SocketAddr, String>) {
        let mut peers = self.peers();
        let Some(record) = peers.get_mut(locator) else { return };
        record.place.found(found);
        if let Some(dealer) = &record.dealer {
            // Who waits for it asks again.
            dealer.socket.with(|_| ());
        }
        self.reach(&mut peers, locator);
        self.set_urgent();
        self.receiver.wake();
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
                // Where this side has attached the peer itself, it knows better under which address it is reached.
                let Some(record) = peers.get_or_insert(from, &address) else {
                    return dropped("too many peers", from);
                };
                record.accepted = Some(from.clone());
                record.seen = Instant::now();
                self.prefer_living_route(record);
                self.send_by_router(from, &Control::Welcome(self.greeting()));
                self.follow(&mut peers, &known, greeting.publish_port);
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
                let peer = known.clone();
                afterwards(move || tracing::debug!(%peer, "zmq: attached to itself under another name"));
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
                self.follow(&mut peers, known, greeting.publish_port);
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
    fn follow(&self, peers: &mut Peers, locator: &Locator, port: u16) {
        let Some(record) = peers.get_mut(locator) else { return };
        let own = self.publish_endpoints.contains(&record.place.address.with_port(port).endpoint());
        let same = record.feed.as_ref().is_some_and(|feed| feed.port == port);
        if !same
            && port != 0
            && !own
            && let Some(old) = record.feed.replace(Feed::new(port))
        {
            self.unfollow(peers, locator, &old);
        }
        self.reach(peers, locator);
        if let Some(record) = peers.get_mut(locator) {
            self.settle(locator, record);
        }
        self.receiver.wake();
    }

    /// Lets the SUB follow a peer to where it is.
    fn lead_feed(&self, peers: &mut Peers, locator: &Locator) {
        let Some(record) = peers.get_mut(locator) else { return };
        let (Some(feed), Some(number)) = (&mut record.feed, record.place.number) else { return };
        let number = SocketAddr::new(number.ip(), feed.port);
        if feed.at == Some(number) || self.publish_endpoints.contains(&Address::of_number(number).endpoint())
        {
            return;
        }
        // A new connection, which is waited for like the first.
        let old = std::mem::replace(feed, Feed { at: Some(number), ..Feed::new(feed.port) });
        self.unfollow(peers, locator, &old);
        let connected = self.sockets.subscriber.with(|socket| sockets::connect(socket, number));
        if let Some(Err(error)) = connected {
            afterwards(
                move || tracing::debug!(%error, %number, "zmq: cannot connect to a peer's publications"),
            );
        }
    }

    fn unfollow(&self, peers: &Peers, locator: &Locator, feed: &Feed) {
        if let Some(number) = feed.at
            && !peers.shares_feed(number, locator)
        {
            let _ = self.sockets.subscriber.with(|socket| sockets::disconnect(socket, number));
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
    pub(super) fn hang_up(&self, peers: &mut Peers, locator: &Locator, linger: Duration) {
        let Some(record) = peers.get_mut(locator) else { return };
        record.route = None;
        if let Some(dealer) = record.dealer.take() {
            dealer.close(linger);
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

/// What to tell of why a peer is not dialled.
fn reason_of(error: &Error) -> String {
    match error.kind() {
        ErrorKind::Unreachable { reason, .. } => reason.clone(),
        _ => error.to_string(),
    }
}
