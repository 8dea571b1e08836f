//! What is known about each peer, and by which connection it is spoken to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::address::Address;
use super::dealer::Dealer;
use super::place::{Pause, Place};
use super::room;
use crate::transport::Locator;
use crate::transport::zmq::peer_table::{PeerTable, Record};

/// The most DEALERs that were opened for a message rather than by `attach`; fewer, where descriptors are few.
pub(super) const MAX_DIALLED: usize = 128;

/// A peer whose feed has not connected by then is behind NAT, or something is: it is up without it.
const FEED_GRACE: Duration = Duration::from_secs(1);

/// What has not come about by then is told.
const WORTH_TELLING: Duration = Duration::from_secs(3);

/// What has been down for so long may have moved.
const MAY_HAVE_MOVED: Duration = Duration::from_secs(2);

/// The connection that directed messages to a peer take. It is kept while it works, so that they stay in order.
#[derive(Debug, Clone)]
pub(super) enum Route {
    /// The peer's own connection to our ROUTER.
    Router,
    /// Our DEALER.
    Dealer(Arc<Dealer>),
}

/// The peer's publications: what our SUB is connected to.
#[derive(Debug, Clone)]
pub(super) struct Feed {
    pub(super) port: u16,
    /// The number that is connected to, once it is known.
    pub(super) at: Option<SocketAddr>,
    pub(super) connected: bool,
    pub(super) ever_connected: bool,
    /// When it was connected to, or lost.
    pub(super) since: Instant,
    /// libzmq is trying by itself.
    pub(super) retrying: bool,
}

impl Feed {
    pub(super) fn new(port: u16) -> Self {
        Self {
            port,
            at: None,
            connected: false,
            ever_connected: false,
            since: Instant::now(),
            retrying: true,
        }
    }

    fn is_settled(&self) -> bool {
        self.connected || (!self.ever_connected && self.since.elapsed() >= FEED_GRACE)
    }
}

/// One peer.
#[derive(Debug)]
pub(super) struct Peer {
    /// `attach` asked for it.
    pub(super) wanted: bool,
    /// It has greeted our ROUTER, under this locator, and its connection stands.
    pub(super) accepted: Option<Locator>,
    /// It has answered our greeting and our connection stands.
    pub(super) welcomed: bool,
    pub(super) dealer: Option<Arc<Dealer>>,
    pub(super) greeted: Option<Instant>,
    pub(super) feed: Option<Feed>,
    pub(super) route: Option<Route>,
    /// What was last reported.
    pub(super) up: bool,
    pub(super) was_up: bool,
    /// Its own name, where it was attached under another.
    pub(super) own: Option<Locator>,
    /// Another name under which it was reported as up, before that turned out to be the same peer.
    pub(super) also_up: Option<Locator>,
    /// When a peer that nobody here asked for was last seen.
    pub(super) seen: Instant,
    pub(super) place: Place,
    /// Why there is no DEALER to a peer that is wanted, and when one is tried again.
    pub(super) refused: Option<String>,
    pub(super) redial: Pause,
    /// That it is not reached was told.
    pub(super) told: bool,
}

/// What to tell about a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transition {
    Up { again: bool },
    Down,
}

impl Peer {
    pub(super) fn new(address: Address) -> Self {
        Self {
            wanted: false,
            accepted: None,
            welcomed: false,
            dealer: None,
            greeted: None,
            feed: None,
            route: None,
            up: false,
            was_up: false,
            own: None,
            also_up: None,
            seen: Instant::now(),
            place: Place::new(address),
            refused: None,
            redial: Pause::new(),
            told: false,
        }
    }

    /// Whether it has been without a connection for so long that its name may have moved.
    pub(super) fn is_cut_off(&self) -> bool {
        let feed_lost =
            self.feed.as_ref().is_some_and(|feed| !feed.connected && feed.since.elapsed() >= MAY_HAVE_MOVED);
        feed_lost || self.dealer.as_ref().is_some_and(|dealer| dealer.is_down_for(MAY_HAVE_MOVED))
    }

    /// Why the peer is not reached, where that is worth telling.
    pub(super) fn trouble(&self) -> Option<String> {
        let linked = self.is_linked();
        if !self.wanted && !linked {
            return None;
        }
        if self.refused.is_some() {
            return self.refused.clone();
        }
        if self.place.unknown.is_some() {
            return self.place.unknown.clone();
        }
        if !linked {
            let dealer = self.dealer.as_ref().filter(|dealer| dealer.is_as_old_as(WORTH_TELLING))?;
            if self.was_up {
                return None;
            }
            let reason = match dealer.is_connected() {
                false => "nobody answers there yet",
                true => "what answers there does not greet: is it a session of ringbus, of this version?",
            };
            return Some(reason.to_owned());
        }
        let feed = self.feed.as_ref()?;
        let in_vain = !feed.ever_connected && feed.since.elapsed() >= WORTH_TELLING;
        in_vain.then(|| {
            format!("what it publishes at port {} does not come: is that port open and forwarded?", feed.port)
        })
    }

    fn is_linked(&self) -> bool {
        self.accepted.is_some() || (self.wanted && self.welcomed)
    }

    /// Compares what is with what was reported.
    pub(super) fn transition(&mut self) -> Option<Transition> {
        let linked = self.is_linked();
        // A feed that was up and is lost means trouble; one that never came up is waited for a little.
        let up = linked && self.feed.as_ref().is_none_or(Feed::is_settled);
        if up == self.up {
            return None;
        }
        self.up = up;
        if !up {
            return Some(Transition::Down);
        }
        let again = std::mem::replace(&mut self.was_up, true);
        Some(Transition::Up { again })
    }

    /// Whether something is to be looked at again soon.
    pub(super) fn is_unsettled(&self) -> bool {
        ((self.wanted || self.accepted.is_some()) && !self.up)
            || self.feed.as_ref().is_some_and(|f| !f.connected)
    }
}

/// All peers, by the locator under which this session knows them.
pub(super) type Peers = PeerTable<Peer>;

impl Record for Peer {
    type Address = Address;

    fn at(address: Address) -> Self {
        Self::new(address)
    }

    fn is_needed(&self) -> bool {
        self.wanted || self.accepted.is_some() || self.dealer.is_some()
    }
}

impl PeerTable<Peer> {
    /// Every DEALER that is open.
    pub(super) fn dealers(&self) -> Vec<Arc<Dealer>> {
        self.iter().filter_map(|(_, peer)| peer.dealer.clone()).collect()
    }

    /// Whether another peer than `except` publishes at `number`.
    pub(super) fn shares_feed(&self, number: SocketAddr, except: &Locator) -> bool {
        self.iter().any(|(locator, peer)| {
            locator != except && peer.feed.as_ref().is_some_and(|feed| feed.at == Some(number))
        })
    }

    /// How many peers are dialled whose connections are still to come.
    pub(super) fn unsettled(&self) -> usize {
        let settled = |peer: &Peer| peer.feed.as_ref().is_some_and(|feed| feed.connected);
        self.iter().filter(|(_, peer)| peer.dealer.is_some() && !settled(peer)).count()
    }

    /// The DEALER to give up, so that another may be dialled: the one that has been silent for the longest.
    pub(super) fn surplus_dealer(&self) -> Option<Locator> {
        let dialled = || self.iter().filter(|(_, peer)| !peer.wanted && peer.dealer.is_some());
        if dialled().count() < room::most_dialled(MAX_DIALLED) {
            return None;
        }
        dialled()
            .min_by_key(|(_, peer)| peer.dealer.as_ref().map(|dealer| dealer.last_used()))
            .map(|(locator, _)| locator.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::zmq::peer_table::MAX_PEERS;

    fn address() -> Address {
        Address::parse("tcp://127.0.0.1:9").unwrap()
    }

    fn locator(port: u16) -> Locator {
        Locator::new(format!("zmq+tcp://127.0.0.1:{port}")).unwrap()
    }

    #[test]
    fn a_peer_is_up_when_both_directions_are() {
        let mut peer = Peer::new(address());
        peer.wanted = true;
        assert_eq!(peer.transition(), None);
        peer.welcomed = true;
        peer.feed = Some(Feed::new(1));
        assert_eq!(peer.transition(), None, "its feed may still come");
        let feed = peer.feed.as_mut().unwrap();
        (feed.connected, feed.ever_connected) = (true, true);
        assert_eq!(peer.transition(), Some(Transition::Up { again: false }));
        assert_eq!(peer.transition(), None);
        peer.feed.as_mut().unwrap().connected = false;
        assert_eq!(peer.transition(), Some(Transition::Down));
        peer.feed.as_mut().unwrap().connected = true;
        assert_eq!(peer.transition(), Some(Transition::Up { again: true }));
    }

    #[test]
    fn a_feed_that_cannot_be_reached_is_waited_for_a_little_only() {
        let mut peer = Peer::new(address());
        peer.accepted = Some(locator(9));
        peer.feed = Some(Feed::new(1));
        assert_eq!(peer.transition(), None);
        peer.feed.as_mut().unwrap().since -= FEED_GRACE;
        assert_eq!(peer.transition(), Some(Transition::Up { again: false }));
    }

    #[test]
    fn aliases_lead_to_one_peer() {
        let mut peers = Peers::default();
        peers.get_or_insert(&locator(1), &address()).unwrap().wanted = true;
        peers.get_or_insert(&locator(2), &address()).unwrap().accepted = Some(locator(9));
        assert!(peers.alias(locator(2), &locator(1)).is_some_and(|stray| stray.accepted.is_some()));
        assert!(peers.get_mut(&locator(2)).unwrap().wanted);
        assert_eq!(peers.locators(), [locator(1)]);
        assert!(peers.remove(&locator(2)).is_some());
        assert_eq!(peers.canonical(&locator(2)), locator(2));
    }

    #[test]
    fn strangers_cannot_grow_the_table_without_bound() {
        let mut peers = Peers::default();
        for i in 0..MAX_PEERS {
            let stranger = Locator::new(format!("zmq+tcp://h{i}:1")).unwrap();
            peers.get_or_insert(&stranger, &address()).unwrap().accepted = Some(locator(9));
        }
        assert!(peers.get_or_insert(&locator(1), &address()).is_none());
        peers.get_mut(&Locator::new("zmq+tcp://h7:1").unwrap()).unwrap().accepted = None;
        assert!(peers.get_or_insert(&locator(1), &address()).is_some());
    }
}
