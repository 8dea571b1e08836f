//! Who wants which peer attached: the transport is told once, and lets go when the last has.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::Result;
use crate::message::EntityId;
use crate::transport::{Locator, TransportTx};

/// On whose behalf a peer is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    /// The program asked for it.
    User,
    /// A ring introduced the peer to this publisher or subscriber.
    Entity(EntityId),
}

#[derive(Debug, Default)]
pub(super) struct Attachments {
    /// The transport is told one thing at a time.
    turn: tokio::sync::Mutex<()>,
    holders: Mutex<HashMap<Locator, HashSet<Holder>>>,
}

impl Attachments {
    pub(super) async fn attach<Tx: TransportTx>(
        &self,
        tx: &Tx,
        holder: Holder,
        peer: &Locator,
    ) -> Result<()> {
        let _turn = self.turn.lock().await;
        if !self.lock().contains_key(peer) {
            tx.attach(peer).await?;
        }
        self.lock().entry(peer.clone()).or_default().insert(holder);
        Ok(())
    }

    pub(super) async fn detach<Tx: TransportTx>(
        &self,
        tx: &Tx,
        holder: Holder,
        peer: &Locator,
    ) -> Result<()> {
        let _turn = self.turn.lock().await;
        let is_last = match self.lock().get_mut(peer) {
            Some(holders) => {
                holders.remove(&holder);
                holders.is_empty()
            }
            // Unknown here, but perhaps foreign: the transport says so.
            None => true,
        };
        if is_last {
            self.lock().remove(peer);
            tx.detach(peer).await?;
        }
        Ok(())
    }

    /// On whose behalf a peer is attached now.
    pub(super) fn holders(&self, peer: &Locator) -> Vec<Holder> {
        self.lock().get(peer).into_iter().flatten().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Locator, HashSet<Holder>>> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
