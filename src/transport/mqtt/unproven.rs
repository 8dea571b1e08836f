//! Messages with QoS 0 of which nothing has shown yet that the broker has read them.

use std::collections::{HashMap, VecDeque};

use rumqttc::{Publish, QoS};

/// So many are remembered: a connection is lost behind the last ones.
const REMEMBERED: usize = 64;

/// So many topics are guarded; beyond it all are let go.
const GUARDED: usize = 1024;

/// What may have cost a connection, since QoS 0 has no acknowledgement.
#[derive(Debug, Default)]
pub(super) struct Unproven {
    /// By when each was sent, its topic and its size.
    sent: VecDeque<(u64, String, usize)>,
    /// By topic: messages from this size on go out with QoS 1, whose acknowledgement tells, and how many were lost.
    guarded: HashMap<String, (usize, usize)>,
}

impl Unproven {
    /// A message was sent as the `order`th.
    pub(super) fn sent(&mut self, order: u64, publish: Publish) {
        if self.sent.len() == REMEMBERED {
            self.sent.pop_front();
        }
        self.sent.push_back((order, publish.topic, publish.payload.len()));
    }

    /// The broker has read what was sent before the `order`th.
    pub(super) fn read(&mut self, order: u64) {
        while self.sent.front().is_some_and(|(sent, ..)| *sent < order) {
            self.sent.pop_front();
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.sent.len()
    }

    /// The connection was lost, with them. If `behind`, one of them may be why: their topics are guarded.
    pub(super) fn lost(&mut self, behind: bool) {
        for (_, topic, size) in self.sent.drain(..).filter(|_| behind) {
            if self.guarded.len() >= GUARDED {
                self.guarded.clear();
            }
            let guard = self.guarded.entry(topic).or_insert((size, 0));
            // One that was let pass was smaller.
            *guard = (guard.0.min(size), guard.1 + 1);
        }
    }

    /// The QoS for a message that was to have QoS 0.
    pub(super) fn qos(&self, publish: &Publish) -> QoS {
        let guarded =
            || self.guarded.get(&publish.topic).is_some_and(|(size, _)| publish.payload.len() >= *size);
        if !self.guarded.is_empty() && guarded() { QoS::AtLeastOnce } else { QoS::AtMostOnce }
    }

    /// The broker has taken a message: its topic needs no guard, as far as that goes.
    pub(super) fn taken(&mut self, topic: &str, size: usize) {
        if !self.guarded.is_empty() && self.guarded.get(topic).is_some_and(|(guarded, _)| size >= *guarded) {
            self.guarded.remove(topic);
        }
    }

    /// The topic's messages are refused, those of this size at least; how many were lost to find that out.
    pub(super) fn refused(&mut self, topic: &str) -> usize {
        self.guarded.remove(topic).map_or(0, |(_, lost)| lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(topic: &str, size: usize) -> Publish {
        Publish::new(topic, QoS::AtMostOnce, vec![0; size])
    }

    #[test]
    fn what_a_connection_was_lost_behind_is_guarded_until_it_passes() {
        let mut unproven = Unproven::default();
        unproven.sent(1, message("good", 10));
        unproven.sent(2, message("bad", 100));
        unproven.read(2);
        assert_eq!(unproven.len(), 1);
        unproven.lost(true);
        assert_eq!(unproven.qos(&message("good", 10)), QoS::AtMostOnce);
        assert_eq!(unproven.qos(&message("bad", 100)), QoS::AtLeastOnce);
        assert_eq!(unproven.qos(&message("bad", 99)), QoS::AtMostOnce);
        unproven.sent(3, message("bad", 99));
        unproven.lost(true);
        assert_eq!(unproven.qos(&message("bad", 99)), QoS::AtLeastOnce);
        unproven.taken("bad", 98);
        assert_eq!(unproven.qos(&message("bad", 99)), QoS::AtLeastOnce);
        unproven.taken("bad", 99);
        assert_eq!(unproven.qos(&message("bad", 99)), QoS::AtMostOnce);
        assert_eq!(unproven.refused("bad"), 0);
    }

    #[test]
    fn is_bounded_and_a_connection_that_fails_by_itself_accuses_nothing() {
        let mut unproven = Unproven::default();
        for order in 0..10_000 {
            unproven.sent(order, message(&format!("t{order}"), 1));
        }
        assert_eq!(unproven.len(), REMEMBERED);
        unproven.lost(false);
        assert_eq!((unproven.len(), unproven.guarded.len()), (0, 0));
    }
}
