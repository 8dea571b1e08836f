//! Readers whose connection the transport reports lost or restored.

use super::{WriterAction, WriterCore};
use crate::message::EntityId;
use crate::pubsub::events::{Departure, MatchEvent};
use crate::time::{Mono, earliest};
use crate::transport::Locator;

impl WriterCore {
    /// The transport has lost a session: its readers count no more unless they are heard again
    /// soon. What they have not acknowledged is kept for them as long as for those that are silent.
    pub(in crate::pubsub) fn on_peer_down(&mut self, now: Mono, peer: &Locator) {
        for proxy in self.readers.values_mut().filter(|proxy| proxy.locator == *peer) {
            proxy.connection.lose(now);
            self.give_up_at = earliest(self.give_up_at, proxy.connection.due());
        }
    }

    /// The transport reaches a session, maybe again.
    pub(in crate::pubsub) fn on_peer_up(&mut self, peer: &Locator) {
        let lost = self.readers.values_mut().filter(|proxy| proxy.connection.lost_at().is_some());
        lost.filter(|proxy| proxy.locator == *peer).for_each(|proxy| proxy.connection.restore());
    }

    /// Stops counting the readers that were lost and not heard again.
    pub(super) fn give_up_lost(&mut self, now: Mono) {
        if self.give_up_at.is_none_or(|at| now < at) {
            return;
        }
        self.give_up_at = None;
        let mut gone = Vec::new();
        for (id, proxy) in self.readers.iter_mut() {
            if proxy.connection.give_up(now) {
                proxy.subscribers = 0;
                gone.push((*id, proxy.is_told_of() && !proxy.has_left()));
            }
            self.give_up_at = earliest(self.give_up_at, proxy.connection.due());
        }
        for (peer, is_told) in gone {
            self.count(peer);
            self.tell_departed(peer, Departure::ConnectionLost, is_told);
        }
    }

    /// A reader was heard, from another session than before if it has `moved`: one that was given up, or was said to have
    /// left, is back.
    pub(super) fn heard(&mut self, now: Mono, reader: EntityId, moved: bool) {
        let had_left = self.forget_goodbye(reader);
        let Some(proxy) = self.readers.get_mut(&reader) else { return };
        let was_lost = proxy.connection.heard(now, moved);
        if (was_lost || had_left) && proxy.is_told_of() {
            let topic = self.config.topic.clone();
            self.actions.push_back(WriterAction::Event(MatchEvent::Matched { topic, peer: reader }));
        }
    }
}
