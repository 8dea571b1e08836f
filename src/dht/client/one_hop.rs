//! What a client of the one-hop ring consists of.

use std::fmt;
use std::sync::Arc;

use super::ClientShell;
use crate::quiet::lock;
use crate::transport::TransportTx;

/// A handle on the session's one client.
pub struct OneHopClient<Tx: TransportTx> {
    pub(super) shell: Arc<ClientShell<Tx>>,
}

impl<Tx: TransportTx> Clone for OneHopClient<Tx> {
    fn clone(&self) -> Self {
        Self { shell: self.shell.clone() }
    }
}

impl<Tx: TransportTx> fmt::Debug for OneHopClient<Tx> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneHop").field("nodes", &lock(&self.shell.state).core.known_nodes()).finish()
    }
}
