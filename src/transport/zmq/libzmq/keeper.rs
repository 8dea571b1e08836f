//! Keeps a session's connections going while its receiving half does something else.
//!
//! Greetings are answered where they are read. A program that takes its time between two receives would let its peers
//! wait for an answer; so while nobody receives, a task reads now and then, publications aside: those stay in their
//! queue and hold their publishers up, as they should.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::reader::Reader;
use super::socket::Interest;
use super::state::Session;

/// How often connections are looked after, while something is under way and otherwise.
pub(super) const SOON: Duration = Duration::from_millis(100);
pub(super) const LATER: Duration = Duration::from_secs(1);
/// How often is read in the receiving half's place.
const STAND_IN: Duration = Duration::from_millis(10);

/// Watches over a session until it ends.
pub(super) async fn keep(session: Weak<Session>) {
    let mut reader = Reader::default();
    let mut pause = SOON;
    loop {
        tokio::time::sleep(pause).await;
        let Some(session) = session.upgrade() else { return };
        if session.has_ended() {
            return;
        }
        pause = stand_in(&session, &mut reader);
    }
}

/// Reads once, if nobody else does. Says when to look again.
fn stand_in(session: &Arc<Session>, reader: &mut Reader) -> Duration {
    let _only_reader = session.reading();
    if session.receiving.load(Ordering::SeqCst) {
        return SOON;
    }
    reader.read_links(session, Interest::Passing);
    let mut events = Vec::new();
    let room = session.setup.options.queue.saturating_sub(session.events().len());
    reader.read_directed(session, &mut events, room);
    session.events().extend(events);
    session.tick();
    STAND_IN
}

impl Session {
    /// Reads what the sockets hold once more, before they are closed, for the receiving half to find.
    pub(super) fn collect_rest(&self) {
        let _only_reader = self.reading();
        let mut reader = Reader::default();
        // No more than the queues hold; a peer that goes on sending must not keep us from closing.
        let full = self.setup.options.queue.saturating_mul(2);
        let mut rest = Vec::new();
        while rest.len() < full && reader.read_all(self, Interest::Passing, &mut rest, full) {}
        self.events().extend(rest);
    }
}
