//! What a running node of the one-hop ring consists of.

use std::fmt;
use std::sync::Arc;

use tokio::task::JoinHandle;

use super::NodeShell;
use crate::quiet::lock;
use crate::transport::TransportTx;
use crate::wire::Room;

/// A running node; it ends when this is dropped.
pub struct OneHopNode<Tx: TransportTx> {
    pub(super) shell: Arc<NodeShell<Tx>>,
    pub(super) relays: JoinHandle<()>,
}

impl<Tx: TransportTx> Drop for OneHopNode<Tx> {
    fn drop(&mut self) {
        self.relays.abort();
        self.shell.session.unregister(Room::DhtNode);
    }
}

impl<Tx: TransportTx> fmt::Debug for OneHopNode<Tx> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneHop").field("me", lock(&self.shell.core).me()).finish()
    }
}
