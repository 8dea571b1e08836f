//! The end of a session in good order.

use std::sync::Arc;

use super::outgoing::Outgoing;
use super::session::Session;

impl Session {
    /// Lets every connection end as soon as it has written what waits, and those at once that have nothing to write. Says
    /// which may have.
    pub(super) fn part(&self) -> Vec<Arc<Outgoing>> {
        let mut parting: Vec<_> = self.accepted().values().cloned().collect();
        let mut peers = self.peers();
        for (_, record) in peers.iter_mut() {
            if let Some(feed) = &record.feed {
                feed.dialled.outgoing.close();
            }
            match &record.dealer {
                // Messages that wait for a peer which is not there yet are worth a wait.
                Some(dealer) if dealer.is_connected || dealer.outgoing.waiting() > 0 => {
                    parting.push(dealer.outgoing.clone());
                }
                Some(dealer) => drop(dealer.outgoing.close()),
                None => {}
            }
        }
        drop(peers);
        parting.iter().for_each(|outgoing| outgoing.finish());
        parting
    }
}
