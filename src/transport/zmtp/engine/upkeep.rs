//! What is due by the clock.

use std::sync::Arc;
use std::time::Duration;

use super::peers::{Peer, Peers};
use super::session::Session;
use crate::transport::zmq::drops::dropped;
use crate::transport::{Event, Locator};

/// How often connections are looked after, while something is under way and otherwise.
const SOON: Duration = Duration::from_millis(100);
const LATER: Duration = Duration::from_secs(1);
/// A peer that is gone, and that was not asked for here, is forgotten after this.
const FORGET_AFTER: Duration = Duration::from_secs(60);
/// A peer that has said goodbye may still have messages under way to us for this long.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long an address that was dialled for a message may take to answer.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(5);

/// Looks after the connections of a session.
pub(super) async fn keep(session: Arc<Session>) {
    let mut pause = SOON;
    loop {
        tokio::select! {
            () = session.closing() => return,
            () = tokio::time::sleep(pause) => {}
            () = session.urgent.notified(), if pause > SOON => {
                pause = SOON;
                continue;
            }
        }
        pause = if session.tick() { SOON } else { LATER };
    }
}

impl Session {
    /// Says whether more is due soon.
    fn tick(self: &Arc<Self>) -> bool {
        let mut peers = self.peers();
        let mut unsettled = false;
        for locator in peers.locators() {
            let Some(record) = peers.get_mut(&locator) else { continue };
            self.greet(record);
            self.settle(&locator, record);
            self.tell_trouble(&locator, record);
            if is_in_vain(record) {
                self.give_up(&mut peers, &locator);
            } else if is_past(record) {
                self.forget(&mut peers, &locator);
            } else {
                unsettled |= record.is_unsettled();
            }
        }
        unsettled
    }

    /// Says once why a peer is not reached, until it is.
    fn tell_trouble(&self, locator: &Locator, record: &mut Peer) {
        match record.trouble() {
            None => record.told = false,
            Some(_) if record.told => {}
            Some(reason) => {
                record.told = true;
                self.inbox.tell(Event::Unreachable { peer: locator.clone(), reason });
            }
        }
    }

    /// Nothing has answered at an address that was dialled for a message: its descriptor is for others.
    fn give_up(&self, peers: &mut Peers, locator: &Locator) {
        let Some(record) = peers.get_mut(locator) else { return };
        record.seen = tokio::time::Instant::now();
        record.route = None;
        let given_up = record.dealer.take().map_or(0, |dealer| dealer.outgoing.close());
        if given_up > 0 {
            dropped("sent to an address that does not answer", &given_up);
        }
    }
}

/// Whether nothing has ever answered where a message was to go.
fn is_in_vain(record: &Peer) -> bool {
    let in_vain =
        |made: tokio::time::Instant, was_connected: bool| !was_connected && made.elapsed() >= GIVEN_UP_AFTER;
    !record.wanted && record.dealer.as_ref().is_some_and(|dealer| in_vain(dealer.made, dealer.was_connected))
}

/// Whether nothing is left to be known about a peer, and nothing of it left to be read.
fn is_past(record: &Peer) -> bool {
    if record.wanted || record.accepted.is_some() || record.dealer.is_some() {
        return false;
    }
    let gone = record.seen.elapsed();
    let feed_lost = record.feed.as_ref().is_none_or(|feed| !feed.dialled.is_connected);
    gone >= FORGET_AFTER || (gone >= FAREWELL && feed_lost)
}
