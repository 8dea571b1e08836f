//! What is particular to a node's stand-in for a writer, and to the writer that is relayed.
//!
//! Reliable means reliable to the subscribers behind the relay: the stand-in says how far they are, its
//! relay acknowledges that much to the writer, and no more. Subscribers that are registered behind the
//! node and have not been heard yet are waited for: they may miss what the relay before this one did not
//! bring them.

use std::collections::BTreeMap;

use super::tally::Numbers;
use super::{HEARTBEAT_PERIOD, PEER_TIMEOUT, WriterCore};
use crate::error::{ErrorKind, Result};
use crate::message::EntityId;
use crate::pubsub::control::Replay;
use crate::pubsub::events::Departure;
use crate::qos::Offered;
use crate::time::{Mono, Timestamp};
use crate::transport::Locator;
use crate::wire::DataFrame;

/// A relay that answered no heartbeat for this long may have been followed by another one.
const RELAY_TIMEOUT: std::time::Duration = HEARTBEAT_PERIOD.saturating_mul(2);
/// The most readers whose questions wait for the writer's answer. Others are answered by what the
/// stand-in has.
const MAX_QUESTIONS: usize = 1024;

/// What readers at a takeover ask the writer: which sample is its last. A stand-in that has just got
/// its writer back may be far behind, and would call published later what is history.
#[derive(Debug, Default)]
pub(super) struct Questions {
    /// By reader: the source time that it has heard, as it asks for what comes after that.
    waiting: BTreeMap<EntityId, Timestamp>,
    /// The source times of these that the writer has not been asked about, each once.
    fresh: Vec<Timestamp>,
}

impl Questions {
    /// `false` if there is no room for it.
    fn ask(&mut self, reader: EntityId, after: Timestamp) -> bool {
        if self.waiting.len() >= MAX_QUESTIONS && !self.waiting.contains_key(&reader) {
            return false;
        }
        self.waiting.insert(reader, after);
        if !self.fresh.contains(&after) {
            if self.fresh.len() >= MAX_QUESTIONS {
                return false;
            }
            self.fresh.push(after);
        }
        true
    }

    /// The reader is gone.
    pub(super) fn forget(&mut self, reader: EntityId) {
        self.waiting.remove(&reader);
    }

    /// Takes the readers out that wait for the answer.
    fn answered(&mut self, is_answer: impl Fn(Timestamp) -> bool) -> BTreeMap<EntityId, Timestamp> {
        let (answered, waiting) =
            std::mem::take(&mut self.waiting).into_iter().partition(|(_, after)| is_answer(*after));
        self.waiting = waiting;
        answered
    }
}

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

    /// A reader that takes over from another writer asks where its replay begins.
    pub(super) fn on_question(&mut self, from: &Locator, reader: EntityId, after: Timestamp) {
        if !self.stands_in() || !self.questions.ask(reader, after) {
            self.tell_replay(from, reader, after, 0);
        }
    }

    /// The source times after which its readers want a replay, to ask the writer about: each once,
    /// until a reader asks again.
    pub(in crate::pubsub) fn take_questions(&mut self) -> Vec<Timestamp> {
        std::mem::take(&mut self.questions.fresh)
    }

    /// The relayed writer has answered.
    pub(in crate::pubsub) fn on_replay(&mut self, replay: &Replay) {
        if replay.epoch == self.config.epoch {
            self.answer(|after| after == replay.after, replay.last);
        }
    }

    /// The relayed writer is gone: what its readers ask is answered by what this stand-in has.
    pub(in crate::pubsub) fn answer_alone(&mut self) {
        self.questions.fresh.clear();
        self.answer(|_| true, 0);
    }

    fn answer(&mut self, is_answer: impl Fn(Timestamp) -> bool, last: u64) {
        for (id, after) in self.questions.answered(is_answer) {
            let Some(to) = self.readers.get(&id).map(|reader| reader.locator.clone()) else { continue };
            self.tell_replay(&to, id, after, last);
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
    use crate::pubsub::control::{AckNack, Later, Message};
    use crate::pubsub::writer::{WriterAction, WriterConfig};
    use crate::qos::{Offered, Overflow, Requested};
    use crate::topic::Topic;
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
        WriterCore::new(at(0), config(offered, 1))
    }

    fn config(offered: Offered, batch_samples: usize) -> WriterConfig {
        WriterConfig {
            id: entity(1),
            epoch: 1,
            topic: Topic::new("t").unwrap(),
            offered,
            encoding: Encoding::Raw,
            locator: locator(0),
            max_payload: 1000,
            batch_bytes: 1000,
            batch_samples,
            lead: bytes::Bytes::new(),
            pool: FramePool::default(),
            brokered: false,
        }
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
        let offered = Offered::reliable().keep_all().overflow(overflow);
        let mut core = WriterCore::new(at(0), config(offered, 0));
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

    /// A reader at a takeover asks for what comes after a source time.
    fn ask(core: &mut WriterCore, reader: u32, after: i64) {
        let acknack = AckNack {
            reader: entity(reader),
            writer: entity(1),
            epoch: 1,
            via_node: true,
            requested: Requested::reliable(),
            stands_for: None,
            next: 5,
            missing: Vec::new(),
            replay_after: Some(Timestamp::from_secs(after)),
            encoding: Later(None),
        };
        core.on_acknack(at(1), &locator(reader), acknack);
    }

    /// The answers that go out: to which reader, where its replay begins, and the writer's last sample.
    fn answers(core: &mut WriterCore) -> Vec<(u32, u64, u64)> {
        std::iter::from_fn(|| core.poll_action())
            .filter_map(|action| match action {
                WriterAction::Tell { to, message: Message::Replay(replay) } => {
                    assert_eq!(to, locator(replay.reader.entity));
                    Some((replay.reader.entity, replay.first, replay.last))
                }
                _ => None,
            })
            .collect()
    }

    fn replay(after: i64, epoch: u32, last: u64) -> Replay {
        let after = Timestamp::from_secs(after);
        Replay { reader: entity(8), writer: entity(1), epoch, after, first: last + 1, last }
    }

    /// A node that has just got its writer back has less than the writer has published.
    #[test]
    fn what_is_asked_at_a_takeover_is_answered_by_the_writers_word() {
        let mut core = stand_in(&[2], Overflow::Wait);
        ask(&mut core, 2, 0);
        ask(&mut core, 3, 0);
        ask(&mut core, 4, 7);
        assert_eq!(answers(&mut core), []);
        assert_eq!(core.take_questions(), [0, 7].map(Timestamp::from_secs), "each once");
        assert_eq!(core.take_questions(), []);
        core.on_replay(&replay(0, 2, 300));
        core.on_replay(&replay(5, 1, 300));
        assert_eq!(answers(&mut core), [], "of another epoch, and to another question");
        core.on_replay(&replay(0, 1, 300));
        assert_eq!(answers(&mut core), [(2, 5, 300), (3, 5, 300)]);
        core.on_replay(&replay(7, 1, 3));
        assert_eq!(answers(&mut core), [(4, 9, 8)], "it has more itself, and nothing after that time");
        ask(&mut core, 2, 0);
        assert_eq!(core.take_questions().len(), 1, "it asks again");
    }

    #[test]
    fn questions_to_a_writer_that_is_gone_are_answered_by_what_there_is() {
        let mut core = stand_in(&[2], Overflow::Wait);
        ask(&mut core, 2, 0);
        core.answer_alone();
        assert_eq!((answers(&mut core), core.take_questions()), (vec![(2, 5, 8)], vec![]));
        core.answer_alone();
        assert_eq!(answers(&mut core), [], "once");
        ask(&mut core, 2, 0);
        core.on_reader_bye(at(1), &locator(2), entity(2));
        core.on_timeout(at(3));
        core.answer_alone();
        assert_eq!(answers(&mut core), [], "the reader is gone, too");
    }

    #[test]
    fn questions_are_bounded_and_a_writer_answers_for_itself() {
        let mut core = stand_in(&[2], Overflow::Wait);
        let most = MAX_QUESTIONS as u32;
        for reader in 0..most {
            ask(&mut core, 100 + reader, i64::from(reader));
        }
        assert_eq!(answers(&mut core), []);
        ask(&mut core, 99, 0);
        ask(&mut core, 100, -1);
        assert_eq!(answers(&mut core), [(99, 5, 8), (100, 5, 8)]);
        assert_eq!(core.take_questions().len(), MAX_QUESTIONS);
        let mut core = writer(Offered::reliable().keep_all());
        ask(&mut core, 2, 0);
        assert_eq!((answers(&mut core), core.take_questions()), (vec![(2, 1, 0)], vec![]));
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
