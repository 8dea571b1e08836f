//! What is known about each peer, and by which connection it is spoken to.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use ahash::HashMap;
use tokio::time::Instant;

use super::dialled::Dialled;
use super::endpoint::Endpoint;
use super::outgoing::Outgoing;
use crate::transport::Locator;
use crate::transport::zmq::peer_table::{PeerTable, Record};

/// The most peers that are dialled for a message rather than by `attach`.
const MAX_DIALLED: usize = 128;
/// A peer whose publications have not connected by then is behind NAT, or something is: it is up without them.
const FEED_GRACE: Duration = Duration::from_secs(1);
/// What has not come about by then is told.
const WORTH_TELLING: Duration = Duration::from_secs(3);

/// The peer's publications, which we are connected to.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) port: u16,
    pub(super) dialled: Dialled,
}

impl Feed {
    fn is_settled(&self) -> bool {
        let dialled = &self.dialled;
        dialled.is_connected || (!dialled.was_connected && dialled.since.elapsed() >= FEED_GRACE)
    }
}

/// One peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) address: Endpoint,
    /// `attach` asked for it.
    pub(super) wanted: bool,
    /// It has greeted us over its own connection, under this locator, and that stands.
    pub(super) accepted: Option<Locator>,
    /// It has answered our greeting and our connection stands.
    pub(super) welcomed: bool,
    /// Our connection to it, for directed messages.
    pub(super) dealer: Option<Dialled>,
    pub(super) greeted: Option<Instant>,
    pub(super) feed: Option<Feed>,
    /// The connection that directed messages take. It is kept while it works, so that they stay in order.
    pub(super) route: Option<Arc<Outgoing>>,
    /// Which incarnation of the peer it is, as it has said.
    pub(super) nonce: Option<u64>,
    /// What was last reported.
    pub(super) up: bool,
    was_up: bool,
    /// Its own name, where it was attached under another.
    pub(super) own: Option<Locator>,
    /// Another name under which it was reported as up, before that turned out to be the same peer.
    pub(super) also_up: Option<Locator>,
    /// When a peer that nobody here asked for was last seen.
    pub(super) seen: Instant,
    /// When a message was last sent by the connection that was dialled for it.
    pub(super) used: Instant,
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
    fn new(address: Endpoint) -> Self {
        let now = Instant::now();
        Self {
            address,
            wanted: false,
            accepted: None,
            welcomed: false,
            dealer: None,
            greeted: None,
            feed: None,
            route: None,
            nonce: None,
            up: false,
            was_up: false,
            own: None,
            also_up: None,
            seen: now,
            used: now,
            told: false,
        }
    }

    fn is_linked(&self) -> bool {
        self.accepted.is_some() || (self.wanted && self.welcomed)
    }

    /// Compares what is with what was reported.
    pub(super) fn transition(&mut self) -> Option<Transition> {
        // A feed that was up and is lost means trouble; one that never came up is waited for a little.
        let up = self.is_linked() && self.feed.as_ref().is_none_or(Feed::is_settled);
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

    /// Why the peer is not reached, where that is worth telling.
    pub(super) fn trouble(&self) -> Option<String> {
        let linked = self.is_linked();
        if !self.wanted && !linked {
            return None;
        }
        let dials = self.dealer.iter().chain(self.feed.as_ref().map(|feed| &feed.dialled));
        if let Some(reason) = dials.filter_map(|dialled| dialled.obstacle.clone()).next() {
            return Some(reason);
        }
        if !linked {
            let dealer = self.dealer.as_ref().filter(|dealer| dealer.made.elapsed() >= WORTH_TELLING)?;
            if self.was_up {
                return None;
            }
            let reason = match dealer.is_connected {
                false => "nobody answers there yet",
                true => "what answers there does not greet: is it a session of ringbus, of this version?",
            };
            return Some(reason.to_owned());
        }
        let feed = self.feed.as_ref()?;
        let in_vain = !feed.dialled.was_connected && feed.dialled.made.elapsed() >= WORTH_TELLING;
        in_vain.then(|| self.address.feed_trouble(feed.port))
    }

    /// Whether something is to be looked at again soon.
    pub(super) fn is_unsettled(&self) -> bool {
        ((self.wanted || self.accepted.is_some()) && !self.up)
            || self.feed.as_ref().is_some_and(|feed| !feed.dialled.is_connected)
    }
}

impl Record for Peer {
    type Address = Endpoint;

    fn at(address: Endpoint) -> Self {
        Self::new(address)
    }

    fn is_needed(&self) -> bool {
        self.wanted || self.accepted.is_some() || self.dealer.is_some()
    }
}

/// All peers, by the locator under which this session knows them.
#[derive(Debug, Default)]
pub(super) struct Peers {
    table: PeerTable<Peer>,
    /// The connections of peers to us, by the locator that each came with; and each one's number.
    pub(super) routers: HashMap<Locator, (u64, Arc<Outgoing>)>,
}

impl Deref for Peers {
    type Target = PeerTable<Peer>;

    fn deref(&self) -> &PeerTable<Peer> {
        &self.table
    }
}

impl DerefMut for Peers {
    fn deref_mut(&mut self) -> &mut PeerTable<Peer> {
        &mut self.table
    }
}

impl Peers {
    /// Whether the publications of that incarnation already come, for another name of it.
    pub(super) fn shares_feed(&self, nonce: u64, except: &Locator) -> bool {
        let mut others = self.iter().filter(|(locator, _)| *locator != except);
        others.any(|(_, peer)| peer.nonce == Some(nonce) && peer.feed.is_some())
    }

    /// Another name of that incarnation, which has to follow its publications itself now.
    pub(super) fn heir_of_feed(&self, nonce: u64) -> Option<Locator> {
        let mut heirs = self.iter();
        heirs.find(|(_, peer)| peer.nonce == Some(nonce) && peer.feed.is_none()).map(|(heir, _)| heir.clone())
    }

    /// The dialled connection to give up, so that another may be: the one that has been silent for the longest.
    pub(super) fn surplus_dealer(&self) -> Option<Locator> {
        let dialled = || self.iter().filter(|(_, peer)| !peer.wanted && peer.dealer.is_some());
        if dialled().count() < MAX_DIALLED {
            return None;
        }
        dialled().min_by_key(|(_, peer)| peer.used).map(|(locator, _)| locator.clone())
    }
}
