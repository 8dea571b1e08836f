//! A node's stand-in for a writer, as its relay sees it.

use super::WriterEndpoint;
use crate::message::EntityId;
use crate::pubsub::control::Replay;
use crate::pubsub::hub::Hub;
use crate::pubsub::inside::Inside;
use crate::qos::Offered;
use crate::quiet::lock;
use crate::time::Timestamp;
use crate::transport::TransportTx;

impl<Tx: TransportTx> WriterEndpoint<Tx> {
    /// How many subscribers there are behind a node, and how far those are that samples are kept for.
    pub(in crate::pubsub) fn standing(&self) -> (usize, u64) {
        lock(&self.state).core.standing()
    }

    /// The reliable subscribers that are registered behind a node.
    pub(in crate::pubsub) fn set_awaited(&self, hub: &Hub<Tx>, subscribers: &[EntityId]) {
        let _inside = Inside::enter(self);
        lock(&self.state).core.set_awaited(hub.core.clock.now(), subscribers);
        self.progress.notify_waiters();
    }

    /// What subscribers ask the writer and the relay is to pass on.
    pub(in crate::pubsub) fn questions(&self) -> Vec<Timestamp> {
        lock(&self.state).core.take_questions()
    }

    /// The writer answers what its subscribers have asked.
    pub(in crate::pubsub) fn on_replay(&self, hub: &Hub<Tx>, replay: &Replay) {
        let _inside = Inside::enter(self);
        let mut state = lock(&self.state);
        state.core.on_replay(replay);
        drop(self.run_actions(hub, state));
    }

    /// The writer is gone: the stand-in answers by what it has.
    pub(in crate::pubsub) fn answer_alone(&self, hub: &Hub<Tx>) {
        let _inside = Inside::enter(self);
        let mut state = lock(&self.state);
        state.core.answer_alone();
        drop(self.run_actions(hub, state));
    }

    /// The relay has lost what comes before `next` and was not passed on.
    pub(in crate::pubsub) fn skip_to(&self, hub: &Hub<Tx>, next: u64) {
        let _inside = Inside::enter(self);
        let mut state = lock(&self.state);
        state.core.skip_to(hub.core.clock.now(), next);
        drop(self.run_actions(hub, state));
        self.progress.notify_waiters();
    }

    /// What the relayed writer offers now.
    pub(in crate::pubsub) fn set_offered(&self, hub: &Hub<Tx>, offered: &Offered) {
        let _inside = Inside::enter(self);
        let mut state = lock(&self.state);
        if state.core.config().offered != *offered {
            state.core.set_offered(offered.clone());
            state.core.announce(hub.core.clock.now());
            drop(self.run_actions(hub, state));
        }
    }
}
