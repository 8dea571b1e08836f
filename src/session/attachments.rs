//! Who wants which peer attached: the transport is told once, and lets go when the last has.

use std::collections::{HashMap, HashSet};

use tokio::sync::Mutex;

use crate::error::Result;
use crate::message::EntityId;
use crate::transport::{Locator, TransportTx};

/// On whose behalf a peer is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Holder {
    /// The program asked for it.
    User,
    /// A ring introduced the peer to this publisher or subscriber.
    Entity(EntityId),
}

#[derive(Debug, Default)]
pub(super) struct Attachments(Mutex<HashMap<Locator, HashSet<Holder>>>);

impl Attachments {
    pub(super) async fn attach<Tx: TransportTx>(
        &self,
        tx: &Tx,
        holder: Holder,
        peer: &Locator,
    ) -> Result<()> {
        let mut attachments = self.0.lock().await;
        if !attachments.contains_key(peer) {
            tx.attach(peer).await?;
        }
        attachments.entry(peer.clone()).or_default().insert(holder);
        Ok(())
    }

    pub(super) async fn detach<Tx: TransportTx>(
        &self,
        tx: &Tx,
        holder: Holder,
        peer: &Locator,
    ) -> Result<()> {
        let mut attachments = self.0.lock().await;
        let Some(holders) = attachments.get_mut(peer) else {
            // Unknown here, but perhaps foreign: the transport says so.
            return tx.detach(peer).await;
        };
        holders.remove(&holder);
        if holders.is_empty() {
            attachments.remove(peer);
            tx.detach(peer).await?;
        }
        Ok(())
    }
}
