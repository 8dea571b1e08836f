//! How peers come and go: greetings and farewells.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::connect::Failure;
use super::dialled::Dialled;
use super::endpoint::Endpoint;
use super::item::Item;
use super::outgoing::Outgoing;
use super::peers::{Feed, Peer, Peers, Transition};
use super::role::Role;
use super::session::Session;
use crate::error::Result;
use crate::quiet::afterwards;
use crate::transport::zmq::control::Control;
use crate::transport::zmq::drops::dropped;
use crate::transport::zmq::peer_table::too_many;
use crate::transport::{Event, Locator};

/// How long an answer to a greeting is waited for before it is repeated.
const REPEAT_GREETING: Duration = Duration::from_millis(500);
/// How long a connection that is given up may take to write what it holds.
pub(super) const PARTING_LINGER: Duration = Duration::from_secs(1);

fn frame(control: &Control) -> Item {
    Item::Control(Bytes::from(control.encode()))
}

impl Session {
    /// Connects to a peer and stays connected.
    pub(super) fn attach(self: &Arc<Self>, peer: &Locator, address: &Endpoint) -> Result<()> {
        if *peer == self.local {
            return Ok(());
        }
        let mut peers = self.peers();
        self.check_open()?;
        let known = peers.canonical(peer);
        let Some(record) = peers.get_or_insert(peer, address) else { return Err(too_many().into()) };
        if record.wanted {
            return Ok(());
        }
        record.wanted = true;
        self.dial(&known, record);
        self.greet(record);
        self.settle(&known, record);
        drop(peers);
        self.urgent.notify_one();
        Ok(())
    }

    /// Begins to connect to a peer, unless that was begun.
    pub(super) fn dial(self: &Arc<Self>, known: &Locator, record: &mut Peer) -> Arc<Outgoing> {
        let dealer = record.dealer.get_or_insert_with(|| {
            Dialled::begin(self, known, record.address.clone(), Role::Dealer(known.clone()))
        });
        dealer.outgoing.clone()
    }

    /// Whether a peer was asked for here.
    pub(super) fn is_wanted(&self, peer: &Locator) -> bool {
        self.peers().get_mut(peer).is_some_and(|record| record.wanted)
    }

    /// Undoes [`attach`](Self::attach). What the peer itself has connected stays.
    pub(super) fn detach(self: &Arc<Self>, peer: &Locator) {
        let mut peers = self.peers();
        let known = peers.canonical(peer);
        let Some(record) = peers.get_mut(peer) else { return };
        if !record.wanted {
            return;
        }
        (record.wanted, record.welcomed, record.route) = (false, false, None);
        if let Some(dealer) = record.dealer.take() {
            dealer.outgoing.force(frame(&Control::Detach));
            dealer.hang_up(self, PARTING_LINGER);
        }
        if record.accepted.is_some() {
            self.settle(&known, record);
        } else {
            self.forget(&mut peers, &known);
        }
    }

    /// One of our connections stands. Says what is sent first.
    pub(super) fn on_dial_up(
        self: &Arc<Self>,
        peer: &Locator,
        number: u64,
        role: &Role,
        outgoing: &Arc<Outgoing>,
    ) -> Vec<Item> {
        self.urgent.notify_one();
        let mut peers = self.peers();
        let Some(record) = peers.get_mut(peer) else { return Vec::new() };
        let mut first = Vec::new();
        if let Some(dealer) = record.dealer.as_mut().filter(|dealer| dealer.number == number) {
            dealer.note(true);
            if record.wanted {
                first.push(frame(&Control::Hello(self.greeting())));
                record.greeted = Some(Instant::now());
            }
        }
        if let Some(feed) = record.feed.as_mut().filter(|feed| feed.dialled.number == number) {
            feed.dialled.note(true);
        }
        if role.is_feed() {
            first = self.wants.connect(number, outgoing);
        }
        self.settle(peer, record);
        first
    }

    /// One of our connections is lost.
    pub(super) fn on_dial_down(&self, peer: &Locator, number: u64) {
        self.urgent.notify_one();
        self.wants.disconnect(number);
        let mut peers = self.peers();
        let Some(record) = peers.get_mut(peer) else { return };
        if let Some(dealer) = record.dealer.as_mut().filter(|dealer| dealer.number == number) {
            dealer.note(false);
            (record.welcomed, record.greeted) = (false, None);
        }
        if let Some(feed) = record.feed.as_mut().filter(|feed| feed.dialled.number == number) {
            feed.dialled.note(false);
        }
        self.settle(peer, record);
    }

    /// One of our connections cannot be made, for now.
    pub(super) fn on_dial_failed(&self, peer: &Locator, number: u64, failure: Failure) {
        let mut peers = self.peers();
        let Some(record) = peers.get_mut(peer) else { return };
        let dials = record.dealer.iter_mut().chain(record.feed.as_mut().map(|feed| &mut feed.dialled));
        for dialled in dials.filter(|dialled| dialled.number == number) {
            dialled.obstacle = match &failure {
                Failure::Obstacle(reason) => Some(reason.clone()),
                Failure::Unanswered => None,
            };
        }
        drop(peers);
        self.urgent.notify_one();
    }

    /// A peer has connected to our ROUTER.
    pub(super) fn on_router_up(&self, peer: &Locator, number: u64, outgoing: &Arc<Outgoing>) {
        let mut peers = self.peers();
        let before = peers.routers.insert(peer.clone(), (number, outgoing.clone()));
        if let Some((_, before)) = before {
            // It comes back under its own name, and its old connection is dead.
            before.close();
            self.let_go(&mut peers, peer);
        }
    }

    /// A peer's connection to our ROUTER is lost.
    pub(super) fn on_router_down(&self, peer: &Locator, number: u64) {
        self.urgent.notify_one();
        let mut peers = self.peers();
        if peers.routers.get(peer).is_some_and(|(current, _)| *current == number) {
            peers.routers.remove(peer);
            self.let_go(&mut peers, peer);
        }
    }

    fn let_go(&self, peers: &mut Peers, peer: &Locator) {
        let known = peers.canonical(peer);
        if let Some(record) = peers.get_mut(peer).filter(|record| record.accepted.as_ref() == Some(peer)) {
            record.accepted = None;
            record.seen = Instant::now();
            self.settle(&known, record);
        }
    }

    /// A control frame that came in through our ROUTER.
    pub(super) fn on_router_control(self: &Arc<Self>, from: &Locator, number: u64, control: Control) {
        let mut peers = self.peers();
        let known = peers.canonical(from);
        match control {
            // Who comes while this session ends is not told that it is there.
            Control::Hello(_) if self.is_closed() => {}
            Control::Hello(greeting) => {
                let address = match Endpoint::of_peer(from) {
                    Ok(address) if greeting.locator == *from && *from != self.local => address,
                    _ => return dropped("greeting under a foreign name", from),
                };
                // An old connection of a peer that has come back says nothing for it any more.
                let router = peers.routers.get(from).filter(|(current, _)| *current == number).cloned();
                let Some((_, outgoing)) = router else { return };
                // Where this side has attached the peer itself, it knows better under which address it is reached.
                let Some(record) = peers.get_or_insert(from, &address) else {
                    return dropped("too many peers", from);
                };
                record.accepted = Some(from.clone());
                record.seen = Instant::now();
                self.prefer_living_route(record, &outgoing);
                outgoing.force(frame(&Control::Welcome(self.greeting())));
                self.follow(&mut peers, &known, greeting.publish_port, greeting.nonce);
            }
            Control::Bye | Control::Detach => {
                let Some(record) = peers.get_mut(from) else { return };
                (record.accepted, record.seen) = (None, Instant::now());
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
    pub(super) fn on_dealer_control(self: &Arc<Self>, known: &Locator, number: u64, control: Control) {
        let mut peers = self.peers();
        let is_current = |record: &mut Peer| record.dealer.as_ref().is_some_and(|d| d.number == number);
        if !peers.get_mut(known).is_some_and(is_current) {
            return;
        }
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
                (record.welcomed, record.own) = (true, own);
                self.follow(&mut peers, known, greeting.publish_port, greeting.nonce);
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
            if let Some(dealer) = record.dealer.as_ref().filter(|dealer| dealer.is_connected) {
                dealer.outgoing.force(frame(&Control::Bye));
            }
        }
        for (_, outgoing) in peers.routers.values() {
            outgoing.force(frame(&Control::Bye));
        }
    }

    /// Sends the greeting, if there is a peer to greet that has not answered yet.
    pub(super) fn greet(&self, record: &mut Peer) {
        let patient = record.greeted.is_some_and(|at| at.elapsed() < REPEAT_GREETING);
        let Some(dealer) = record.dealer.as_ref().filter(|dealer| dealer.is_connected) else { return };
        if record.wanted && !record.welcomed && !patient {
            dealer.outgoing.force(frame(&Control::Hello(self.greeting())));
            record.greeted = Some(Instant::now());
        }
    }

    /// Connects to the peer's publications, and no longer to those it had before.
    fn follow(self: &Arc<Self>, peers: &mut Peers, locator: &Locator, port: u16, nonce: u64) {
        let before = peers.get_mut(locator).and_then(|record| record.nonce.replace(nonce));
        // The connection to an earlier life of the peer is dead, and says so only when it has been read to its end.
        let is_reborn = before.is_some_and(|before| before != nonce);
        // One that is known under two names is heard once.
        let shared = nonce == self.nonce || peers.shares_feed(nonce, locator);
        let Some(record) = peers.get_mut(locator) else { return };
        let same = !is_reborn && record.feed.as_ref().is_some_and(|feed| feed.port == port);
        if !same && !shared && port != 0 {
            let dialled = Dialled::begin(self, locator, record.address.of_publications(port), Role::Feed);
            if let Some(before) = record.feed.replace(Feed { port, dialled }) {
                before.dialled.retire(self, self.peer_timeout);
            }
        }
        self.settle(locator, record);
        self.urgent.notify_one();
    }

    /// Reports what has changed about a peer.
    pub(super) fn settle(&self, locator: &Locator, record: &mut Peer) {
        match record.transition() {
            None => {}
            Some(Transition::Down) => {
                self.inbox.tell(Event::PeerDown(locator.clone()));
                // It states its own name where it announces publishers.
                if let Some(other) = record.also_up.take().or_else(|| record.own.clone()) {
                    self.inbox.tell(Event::PeerDown(other));
                }
            }
            Some(Transition::Up { again }) => {
                if again {
                    self.inbox.tell(Event::Reconnected { session_present: false });
                    if let Some(own) = &record.own {
                        self.inbox.tell(Event::PeerUp(own.clone()));
                    }
                }
                self.inbox.tell(Event::PeerUp(locator.clone()));
            }
        }
    }

    pub(super) fn forget(self: &Arc<Self>, peers: &mut Peers, locator: &Locator) {
        if let Some(record) = self.forget_quietly(peers, locator) {
            let names = record
                .up
                .then(|| locator.clone())
                .into_iter()
                .chain(record.also_up.or(record.own.filter(|_| record.up)));
            names.for_each(|name| self.inbox.tell(Event::PeerDown(name)));
        }
    }

    fn forget_quietly(self: &Arc<Self>, peers: &mut Peers, locator: &Locator) -> Option<Peer> {
        let mut record = peers.remove(locator)?;
        record.route = None;
        if let Some(dealer) = record.dealer.take() {
            dealer.hang_up(self, PARTING_LINGER);
        }
        if let Some(feed) = record.feed.take() {
            let port = feed.port;
            feed.dialled.hang_up(self, Duration::ZERO);
            if let Some(nonce) = record.nonce
                && let Some(heir) = peers.heir_of_feed(nonce)
            {
                self.follow(peers, &heir, port, nonce);
            }
        }
        Some(record)
    }

    /// A peer was known under two names: what was noted under the other one joins the record that stays.
    fn absorb(self: &Arc<Self>, peers: &mut Peers, locator: &Locator, own: Locator, mut stray: Peer) {
        if let Some(dealer) = stray.dealer.take() {
            dealer.hang_up(self, PARTING_LINGER);
        }
        if let Some(feed) = stray.feed.take() {
            // It was begun under the name that is gone: the record that stays begins its own.
            feed.dialled.hang_up(self, Duration::ZERO);
        }
        let Some(record) = peers.get_mut(locator) else { return };
        record.accepted = record.accepted.take().or(stray.accepted);
        record.also_up = stray.up.then_some(own);
    }

    /// A peer that speaks to our ROUTER is reached there, if the connection that was dialled for it never got through.
    fn prefer_living_route(&self, record: &mut Peer, router: &Arc<Outgoing>) {
        if record.wanted || record.dealer.as_ref().is_none_or(|dealer| dealer.is_connected) {
            return;
        }
        if let Some(dealer) = record.dealer.take() {
            let given_up = dealer.outgoing.close();
            if given_up > 0 {
                dropped("sent to an address that does not answer", &given_up);
            }
        }
        record.route = Some(router.clone());
    }
}
