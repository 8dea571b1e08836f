//! What is particular to a node's stand-in for a writer, and to the writer that is relayed.
//!
//! Reliable means reliable to the subscribers behind the relay: the stand-in says how far they are, its
//! relay acknowledges that much to the writer, and no more. Subscribers that are registered behind the
//! node and have not been heard yet are waited for: they may miss what the relay before this one did not
//! bring them.

use super::tally::Numbers;
use super::{HEARTBEAT_PERIOD, PEER_TIMEOUT, WriterCore};
use crate::error::{ErrorKind, Result};
use crate::message::EntityId;
use crate::pubsub::events::Departure;
use crate::qos::Offered;
use crate::time::Mono;
use crate::wire::DataFrame;

/// A relay that answered no heartbeat for this long may have been followed by another one.
const RELAY_TIMEOUT: std::time::Duration = HEARTBEAT_PERIOD.saturating_mul(2);

/// Subscribers that are registered and have not been heard.
#[derive(Debug, Default)]
pub(super) struct Awaited {
    /// Where each may begin and until when it is waited for; `None` once that is over.
    of: ahash::HashMap<EntityId, Option<(u64, Mono)>>,
    /// Where those may begin that are still waited for.
    from: Numbers,
}

impl Awaited {
    /// Everything from here on is kept for them.
    pub(super) fn floor(&self) -> Option<u64> {
        self.from.lowest()
    }

    /// It was heard: from now on its acknowledgements say what it needs.
    pub(super) fn heard(&mut self, reader: EntityId) {
        if let Some((from, _)) = self.of.get_mut(&reader).and_then(Option::take) {
            self.from.remove(from);
        }
    }

    /// Those that hold the oldest frame, which ends before `end`, are not waited for any more.
    pub(super) fn give_up_before(&mut self, end: u64) {
        for entry in self.of.values_mut() {
            *entry = entry.filter(|(from, _)| *from >= end);
        }
        self.settle();
    }

    fn expire(&mut self, now: Mono) {
        if self.floor().is_none() {
            return;
        }
        for entry in self.of.values_mut() {
            *entry = entry.filter(|(_, until)| now < *until);
        }
        self.settle();
    }

    fn settle(&mut self) {
        self.from = Numbers::default();
        self.of.values().flatten().for_each(|(from, _)| self.from.add(*from));
    }
}

impl WriterCore {
    /// Takes in a frame of the writer that this one stands in for; the caller sends it.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] if the frame holds nothing new.
    pub(in crate::pubsub) fn ingest(&mut self, now: Mono, frame: &DataFrame) -> Result<()> {
        if frame.header().end() <= self.sealed_next {
            return Err(
                ErrorKind::Malformed { what: "relayed frame", reason: "it was relayed before" }.into()
            );
        }
        self.passed = frame.header().end();
        self.remember(now, frame.clone(), frame.newest());
        Ok(())
    }

    /// A stand-in begins where its relay began to follow the writer, which has published up to `last`:
    /// who joins now wants what comes after that.
    pub(in crate::pubsub) fn begin_at(&mut self, first: u64, last: u64) {
        (self.sealed_next, self.passed) = (first, first);
        self.relayed_last = last;
    }

    /// What comes before `next` and was not taken in is lost: the subscribers are not to wait for it.
    pub(in crate::pubsub) fn skip_to(&mut self, now: Mono, next: u64) {
        if next > self.sealed_next {
            (self.sealed_next, self.passed) = (next, next);
            self.announce(now);
        }
    }

    /// What the relayed writer offers now.
    pub(in crate::pubsub) fn set_offered(&mut self, offered: Offered) {
        self.config.offered = offered;
    }

    /// The reliable subscribers that are registered behind this node. Those that are new are waited for,
    /// as long as for one that fell silent.
    pub(in crate::pubsub) fn set_awaited(&mut self, now: Mono, subscribers: &[EntityId]) {
        let from = self.acknowledged();
        let before = std::mem::take(&mut self.awaited.of);
        for id in subscribers {
            let new = (!self.readers.contains_key(id)).then_some((from, now + PEER_TIMEOUT));
            self.awaited.of.insert(*id, before.get(id).copied().unwrap_or(new));
        }
        self.awaited.settle();
        self.evict();
    }

    pub(super) fn expire_awaited(&mut self, now: Mono) {
        let before = self.awaited.floor();
        self.awaited.expire(now);
        if self.awaited.floor() != before {
            self.evict();
        }
    }

    /// How many subscribers there are, and how far all of those are that samples are kept for.
    pub(in crate::pubsub) fn standing(&self) -> (usize, u64) {
        (self.matched(), self.acknowledged())
    }

    /// Relays that fell silent are not waited for once another has confirmed as much as they had: their
    /// subscribers are behind that one now.
    pub(super) fn drop_superseded(&mut self, now: Mono) {
        let relays = || self.readers.iter().filter(|(_, proxy)| proxy.relay);
        let is_silent = |heard: Mono| now - heard > RELAY_TIMEOUT;
        let live = relays().filter(|(_, proxy)| proxy.compatible && !is_silent(proxy.last_heard));
        let Some(confirmed) = live.map(|(_, proxy)| proxy.next).max() else { return };
        let superseded: Vec<EntityId> = relays()
            .filter(|(_, proxy)| is_silent(proxy.last_heard) && proxy.next <= confirmed)
            .map(|(id, _)| *id)
            .collect();
        superseded.into_iter().for_each(|relay| self.drop_reader(relay, Departure::Left));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::message::{Encoding, SessionId};
    use crate::pubsub::control::{AckNack, Later};
    use crate::pubsub::writer::WriterConfig;
    use crate::qos::{Offered, Overflow, Requested};
    use crate::time::Timestamp;
    use crate::topic::Topic;
    use crate::transport::Locator;
    use crate::wire::{FrameBuilder, FramePool};

    const WALL: Timestamp = Timestamp::from_secs(1);

    fn entity(entity: u32) -> EntityId {
        EntityId { session: SessionId(1), entity }
    }

    fn at(seconds: u64) -> Mono {
        Mono::from_origin(Duration::from_secs(seconds))
    }

    fn locator(name: u32) -> Locator {
        Locator::new(format!("memory:{name}")).unwrap()
    }

    fn writer(offered: Offered) -> WriterCore {
        let config = WriterConfig {
            id: entity(1),
            epoch: 1,
            topic: Topic::new("t").unwrap(),
            offered,
            encoding: Encoding::Raw,
            locator: locator(0),
            max_payload: 1000,
            batch_bytes: 1000,
            batch_samples: 1,
            lead: bytes::Bytes::new(),
            pool: FramePool::default(),
            brokered: false,
        };
        WriterCore::new(at(0), config)
    }

    fn acknowledge(writer: &mut WriterCore, now: Mono, reader: u32, next: u64, stands_for: Option<u32>) {
        let acknack = AckNack {
            reader: entity(reader),
            writer: entity(1),
            epoch: 1,
            via_node: false,
            requested: Requested::reliable(),
            stands_for,
            next,
            missing: Vec::new(),
            replay_after: None,
            encoding: Later(None),
        };
        writer.on_acknack(now, &locator(reader), acknack);
    }

    /// A stand-in that began at 5 and has taken in 5 to 8.
    fn stand_in(awaited: &[u32], overflow: Overflow) -> WriterCore {
        let mut core = writer(Offered::reliable().keep_all().overflow(overflow));
        core.begin_at(5, 8);
        core.set_awaited(at(0), &awaited.iter().copied().map(entity).collect::<Vec<_>>());
        let mut frames = FrameBuilder::new(Encoding::Raw, entity(1), 1, 5);
        for _ in 5..=8 {
            frames.push(WALL, WALL, 100, |_| Ok(())).unwrap();
            core.ingest(at(0), &frames.take().unwrap()).unwrap();
        }
        core
    }

    #[test]
    fn registered_subscribers_are_waited_for_until_they_are_heard() {
        let mut core = stand_in(&[2, 3], Overflow::Wait);
        assert_eq!(core.standing(), (0, 5));
        acknowledge(&mut core, at(1), 2, 9, None);
        assert_eq!(core.standing(), (1, 5), "the other one may miss everything");
        acknowledge(&mut core, at(1), 3, 7, None);
        assert_eq!(core.standing(), (2, 7));
        acknowledge(&mut core, at(1), 3, 9, None);
        assert_eq!(core.standing(), (2, 9));
        core.set_awaited(at(2), &[2, 3, 4].map(entity));
        assert_eq!(core.standing(), (2, 9), "one that registers now may begin here");
    }

    #[test]
    fn one_that_never_comes_is_not_waited_for_longer_than_one_that_fell_silent() {
        let mut core = stand_in(&[2], Overflow::Wait);
        core.on_timeout(at(9));
        assert_eq!(core.standing(), (0, 5));
        core.on_timeout(at(10));
        assert_eq!(core.standing(), (0, 9));
        core.set_awaited(at(11), &[entity(2)]);
        assert_eq!(core.standing(), (0, 9), "it is waited for once");
        assert!(core.all_acknowledged());
    }

    #[test]
    fn one_that_is_withdrawn_is_not_waited_for() {
        let mut core = stand_in(&[2], Overflow::Wait);
        core.set_awaited(at(1), &[]);
        assert_eq!(core.standing(), (0, 9));
    }

    #[test]
    fn a_silent_relay_is_not_waited_for_once_another_has_confirmed_as_much() {
        let mut core = writer(Offered::reliable().keep_all());
        for _ in 1..=4 {
            core.push(WALL, WALL, |_| Ok(())).unwrap();
            core.seal(at(0)).unwrap();
        }
        acknowledge(&mut core, at(0), 8, 3, Some(1));
        acknowledge(&mut core, at(1), 9, 2, Some(1));
        core.on_timeout(at(3));
        assert_eq!(core.standing(), (2, 2), "the new one has not got as far");
        acknowledge(&mut core, at(3), 9, 4, Some(1));
        core.on_timeout(at(4));
        assert_eq!(core.standing(), (1, 4));
    }

    #[test]
    fn a_subscriber_is_never_superseded() {
        let mut core = writer(Offered::reliable().keep_all());
        core.push(WALL, WALL, |_| Ok(())).unwrap();
        core.seal(at(0)).unwrap();
        acknowledge(&mut core, at(0), 2, 1, None);
        acknowledge(&mut core, at(5), 9, 2, Some(1));
        core.on_timeout(at(6));
        assert_eq!(core.standing(), (2, 1));
    }
}
