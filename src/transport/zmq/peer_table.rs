//! The peers of a session, each by the locator under which the session knows it: what both engines keep them in.

use ahash::HashMap;

use crate::transport::Locator;

/// The most peers that are remembered. Strangers beyond them are refused.
pub(in crate::transport) const MAX_PEERS: usize = 4096;

/// What an engine knows about a peer.
pub(in crate::transport) trait Record {
    /// Where a peer is.
    type Address: Clone;

    /// A peer of which nothing but its address is known.
    fn at(address: Self::Address) -> Self;

    /// Whether it is more than a name: it is kept where the table is full.
    fn is_needed(&self) -> bool;
}

/// All peers, by the locator under which this session knows them.
#[derive(Debug)]
pub(in crate::transport) struct PeerTable<R> {
    by_locator: HashMap<Locator, R>,
    /// A peer's own locator, where it was attached under another.
    aliases: HashMap<Locator, Locator>,
}

impl<R> Default for PeerTable<R> {
    fn default() -> Self {
        Self { by_locator: HashMap::default(), aliases: HashMap::default() }
    }
}

impl<R: Record> PeerTable<R> {
    /// The locator under which a peer is known.
    pub(in crate::transport) fn canonical(&self, locator: &Locator) -> Locator {
        self.aliases.get(locator).unwrap_or(locator).clone()
    }

    pub(in crate::transport) fn get_mut(&mut self, locator: &Locator) -> Option<&mut R> {
        let known = self.aliases.get(locator).unwrap_or(locator);
        self.by_locator.get_mut(known)
    }

    /// The peer, made if it is new; `None` if there are too many.
    pub(in crate::transport) fn get_or_insert(
        &mut self,
        locator: &Locator,
        address: &R::Address,
    ) -> Option<&mut R> {
        let known = self.canonical(locator);
        if !self.by_locator.contains_key(&known) {
            self.make_room();
            if self.by_locator.len() >= MAX_PEERS {
                return None;
            }
        }
        Some(self.by_locator.entry(known).or_insert_with(|| R::at(address.clone())))
    }

    /// `own` and `known` are the same peer. What was noted under `own` joins the rest.
    pub(in crate::transport) fn alias(&mut self, own: Locator, known: &Locator) -> Option<R> {
        let stray = self.by_locator.remove(&own);
        self.aliases.retain(|_, to| to != known);
        self.aliases.insert(own, known.clone());
        stray
    }

    pub(in crate::transport) fn remove(&mut self, locator: &Locator) -> Option<R> {
        let known = self.canonical(locator);
        self.aliases.retain(|_, to| *to != known);
        self.by_locator.remove(&known)
    }

    pub(in crate::transport) fn iter(&self) -> impl Iterator<Item = (&Locator, &R)> {
        self.by_locator.iter()
    }

    pub(in crate::transport) fn iter_mut(&mut self) -> impl Iterator<Item = (&Locator, &mut R)> {
        self.by_locator.iter_mut()
    }

    pub(in crate::transport) fn locators(&self) -> Vec<Locator> {
        self.by_locator.keys().cloned().collect()
    }

    /// Forgets peers that are no more than a name, if the table is full.
    fn make_room(&mut self) {
        if self.by_locator.len() >= MAX_PEERS {
            self.by_locator.retain(|_, peer| peer.is_needed());
        }
    }
}

/// Why a stranger is refused.
pub(in crate::transport) fn too_many() -> crate::ErrorKind {
    crate::ErrorKind::Full { what: "the table of zmq peers", limit: MAX_PEERS }
}
