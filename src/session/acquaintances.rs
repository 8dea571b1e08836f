//! Peers that others have named: attached in the background, on behalf of a part of the library.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::task::JoinHandle;

use super::SessionCore;
use crate::error::Result;
use crate::message::EntityId;
use crate::quiet::{afterwards, lock};
use crate::transport::{Locator, TransportTx};

/// The most peers that are attached; beyond them, those that were not named for longest are let go.
const MAX_PEERS: usize = 1024;

/// A bounded set of attached peers. All are detached when it is dropped.
pub(crate) struct Acquaintances<Tx: TransportTx> {
    session: Arc<SessionCore<Tx>>,
    holder: EntityId,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    known: Known,
    /// Attaches and detaches; the next one waits for it, so that an end does not overtake its beginning.
    connecting: Option<JoinHandle<()>>,
}

impl<Tx: TransportTx> Acquaintances<Tx> {
    pub(crate) fn new(session: &Arc<SessionCore<Tx>>) -> Self {
        let holder = session.new_entity();
        Self { session: session.clone(), holder, state: Mutex::default() }
    }

    /// Attaches a peer at once.
    ///
    /// # Errors
    /// The transport's; then the peer is no acquaintance.
    pub(crate) async fn attach(&self, peer: &Locator) -> Result<()> {
        self.session.attach(self.holder, peer).await?;
        let mut state = lock(&self.state);
        let mut changes = state.known.name(peer.clone());
        // It is done.
        changes.retain(|change| matches!(change, Change::Detach(_)));
        self.follow(&mut state, changes);
        Ok(())
    }

    /// These peers exist. What is no address of this transport is passed over. Within a tokio runtime only.
    pub(crate) fn meet(&self, addresses: &[String]) {
        let mut state = lock(&self.state);
        let mut changes = Vec::new();
        for address in addresses {
            match Locator::new(address) {
                Ok(peer) if peer == *self.session.tx.local() => {}
                Ok(peer) if peer.scheme() == self.session.tx.local().scheme() => {
                    changes.extend(state.known.name(peer));
                }
                Ok(peer) => afterwards(move || {
                    tracing::debug!(%peer, "passed over an address of another transport");
                }),
                Err(error) => afterwards(move || tracing::debug!(%error, "passed over an address")),
            }
        }
        self.follow(&mut state, changes);
    }

    fn follow(&self, state: &mut State, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        let (session, holder, before) = (self.session.clone(), self.holder, state.connecting.take());
        state.connecting = Some(tokio::spawn(async move {
            if let Some(before) = before {
                drop(before.await);
            }
            for change in changes {
                let outcome = match &change {
                    Change::Attach(peer) => session.attach(holder, peer).await,
                    Change::Detach(peer) => session.detach(holder, peer).await,
                };
                if session.check_open().is_err() {
                    return;
                }
                if let Err(error) = outcome {
                    tracing::warn!(?change, %error, "could not follow what a peer has named");
                }
            }
        }));
    }
}

impl<Tx: TransportTx> Drop for Acquaintances<Tx> {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        // A closed session has let go of everybody.
        if self.session.check_open().is_ok() && tokio::runtime::Handle::try_current().is_ok() {
            let all = std::mem::take(&mut state.known).named.into_keys().map(Change::Detach).collect();
            self.follow(&mut state, all);
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Change {
    Attach(Locator),
    Detach(Locator),
}

/// Who was named, and when, counted in names.
#[derive(Debug, Default)]
struct Known {
    named: BTreeMap<Locator, u64>,
    names: u64,
}

impl Known {
    fn name(&mut self, peer: Locator) -> Vec<Change> {
        self.names += 1;
        let mut changes = Vec::new();
        if let Some(when) = self.named.get_mut(&peer) {
            *when = self.names;
            return changes;
        }
        if self.named.len() >= MAX_PEERS {
            let oldest = self.named.iter().min_by_key(|(_, when)| **when).map(|(peer, _)| peer.clone());
            if let Some(oldest) = oldest {
                self.named.remove(&oldest);
                changes.push(Change::Detach(oldest));
            }
        }
        self.named.insert(peer.clone(), self.names);
        changes.push(Change::Attach(peer));
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: usize) -> Locator {
        Locator::new(format!("memory:{number}")).unwrap()
    }

    #[test]
    fn a_peer_is_attached_once_and_the_longest_unnamed_makes_room() {
        let mut known = Known::default();
        for number in 0..MAX_PEERS {
            assert_eq!(known.name(peer(number)), [Change::Attach(peer(number))]);
        }
        assert_eq!(known.name(peer(0)), []);
        let newcomer = peer(MAX_PEERS);
        assert_eq!(known.name(newcomer.clone()), [Change::Detach(peer(1)), Change::Attach(newcomer)]);
        assert_eq!(known.named.len(), MAX_PEERS);
    }
}
