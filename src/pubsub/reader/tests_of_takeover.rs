//! A publisher that comes back with what it had under way: what of it is history.

use std::time::Duration;

use super::*;
use crate::message::{Encoding, SessionId};
use crate::pubsub::control::Replay;
use crate::wire::FrameBuilder;

const STRONG: EntityId = EntityId { session: SessionId(9), entity: 1 };
const WEAK: EntityId = EntityId { session: SessionId(5), entity: 1 };
const READER: EntityId = EntityId { session: SessionId(1), entity: 1 };
const PERIOD: u64 = 50;
const LEASE: Duration = Duration::from_secs(2);
/// Of one that the transport loses before.
const LONG_LEASE: Duration = Duration::from_secs(60);
const HOUR: i64 = 3_600_000;

/// A publisher, all of whose samples are kept. Number `n` is published at `n` periods.
struct Writer {
    id: EntityId,
    /// How far its clock is ahead, in milliseconds.
    ahead: i64,
    lease: Duration,
    frames: Vec<DataFrame>,
}

impl Writer {
    fn new(id: EntityId, ahead: i64) -> Self {
        let mut builder = FrameBuilder::new(Encoding::Raw, id, 1, 1);
        let frames = (1..=400)
            .map(|number| {
                let source = Timestamp::from_nanos((number * PERIOD as i64 + ahead) * 1_000_000);
                builder.push(source, source, 100, |_| Ok(())).unwrap();
                builder.take().unwrap()
            })
            .collect();
        Self { id, ahead, lease: LEASE, frames }
    }

    fn heartbeat(&self, last: u64) -> Heartbeat {
        let strength = if self.id == STRONG { 10 } else { 5 };
        let offered = Offered::reliable().keep_all().transient_local().exclusive(strength);
        Heartbeat {
            writer: self.id,
            epoch: 1,
            locator: Locator::new(format!("memory:{}", self.id.session.0)).unwrap(),
            offered: offered.lease(self.lease),
            encoding: Encoding::Raw,
            first: 1,
            last,
            overflow: Later(None),
        }
    }

    /// What it answers when `last` was its last sample.
    fn replay(&self, after: Timestamp, last: u64) -> Replay {
        let is_newer = |number: &u64| self.frames[*number as usize - 1].newest() > after;
        let first = (1..=last).find(is_newer).unwrap_or(last + 1);
        Replay { reader: READER, writer: self.id, epoch: 1, after, first, last }
    }
}

struct Scene {
    reader: ReaderCore,
    topic: Topic,
    strong: Writer,
    weak: Writer,
    now: Mono,
    /// What was heard: from whom, and when it was published, in periods.
    heard: Vec<(EntityId, u64)>,
}

impl Scene {
    fn new(ahead: i64) -> Self {
        let requested = Requested::reliable().keep_all().transient_local().exclusive();
        Self {
            reader: ReaderCore::new(READER, true, requested),
            topic: Topic::new("t").unwrap(),
            strong: Writer::new(STRONG, ahead),
            weak: Writer::new(WEAK, 0),
            now: Mono::ZERO,
            heard: Vec::new(),
        }
    }

    fn writer(&self, id: EntityId) -> &Writer {
        if id == STRONG { &self.strong } else { &self.weak }
    }

    fn beat(&mut self, id: EntityId, last: u64) {
        let heartbeat = self.writer(id).heartbeat(last);
        self.reader.on_heartbeat(self.now, Timestamp::now(), Some(&self.topic), &heartbeat);
    }

    fn frame(&mut self, id: EntityId, number: u64) {
        let frame = self.writer(id).frames[number as usize - 1].clone();
        self.reader.on_data(self.now, Timestamp::now(), &frame);
        while let Some(sample) = self.reader.queue.pop_sample::<()>() {
            self.heard.push((sample.info().writer.unwrap(), sample.info().sequence));
        }
    }

    fn answer(&mut self, replay: &Replay) {
        self.reader.on_replay(self.now, Timestamp::now(), replay);
    }

    /// Whom it asks at a takeover, and what.
    fn question(&mut self) -> Option<(EntityId, Timestamp)> {
        std::iter::from_fn(|| self.reader.poll_action())
            .filter_map(|action| match action {
                ReaderAction::Tell { message: Message::AckNack(told), .. } => {
                    told.replay_after.map(|after| (told.writer, after))
                }
                _ => None,
            })
            .last()
    }

    /// The writer that is asked answers, and repeats what it has kept.
    fn settle(&mut self, last: u64) {
        if let Some((id, after)) = self.question() {
            let replay = self.writer(id).replay(after, last);
            self.answer(&replay);
            (replay.first..=last).for_each(|number| self.frame(id, number));
        }
    }

    /// Publishes these periods.
    fn publish(&mut self, writers: &[EntityId], periods: impl IntoIterator<Item = u64>) {
        for period in periods {
            self.now = Mono::from_origin(Duration::from_millis(period * PERIOD));
            if self.reader.poll_timeout().is_some_and(|at| at <= self.now) {
                self.reader.on_timeout(self.now);
            }
            for id in writers {
                if period % 10 == 1 {
                    self.beat(*id, period - 1);
                }
                self.frame(*id, period);
            }
            self.settle(period);
        }
    }

    /// The strong one is heard for two seconds, then silent, and the weak one takes over for it. It
    /// is lost by its lease or by the transport.
    fn lose_the_strong_one(&mut self, by_lease: bool, until: u64) {
        self.strong.lease = if by_lease { LEASE } else { LONG_LEASE };
        self.publish(&[WEAK, STRONG], 1..=40);
        if !by_lease {
            let locator = self.strong.heartbeat(1).locator;
            self.reader.on_peer_down(self.now, &locator);
        }
        self.publish(&[WEAK], 41..=until);
        assert_eq!(self.heard.last(), Some(&(WEAK, until)), "{by_lease}");
    }

    /// The strong one is back, and publishes: all that was under way arrives. Before that the reader
    /// has heard a heartbeat of its past, or the first of what was under way.
    fn hear_the_strong_one_again(&mut self, beat: Option<u64>, until: u64, answered: u64) {
        match beat {
            Some(last) => self.beat(STRONG, last),
            None => self.frame(STRONG, 41),
        }
        let (id, after) = self.question().expect("a takeover");
        assert_eq!(id, STRONG);
        let replay = self.strong.replay(after, answered);
        self.answer(&replay);
        let next = self.reader.writer(STRONG).unwrap().next;
        (41.max(next)..=until).for_each(|number| self.frame(STRONG, number));
        self.publish(&[WEAK, STRONG], until + 1..=until + 40);
    }

    /// Everything came once and in order, whoever said it.
    fn assert_once(&self, what: &str) {
        let periods: Vec<u64> = self.heard.iter().map(|(_, period)| *period).collect();
        let wrong = periods.windows(2).position(|pair| pair[1] != pair[0] + 1);
        assert_eq!(wrong.map(|at| &self.heard[at..at + 2]), None, "{what}");
        assert_eq!(self.heard.last().map(|(writer, _)| *writer), Some(STRONG), "{what}");
        assert_eq!(self.reader.stats.lost, 0, "{what}");
    }
}

/// A link that was cut brings, when it is healed, what was under way: the first heartbeat, or the
/// first frame, is of the past. The writer's answer says how much it has published meanwhile.
#[test]
fn what_was_under_way_while_a_writer_was_cut_off_is_history() {
    for by_lease in [true, false] {
        for until in [100, 130, 200] {
            // One whose lease has ended is introduced by a heartbeat.
            let beats = [Some(41), if by_lease { Some(until - 1) } else { None }];
            for beat in beats {
                let mut scene = Scene::new(0);
                scene.lose_the_strong_one(by_lease, until);
                scene.hear_the_strong_one_again(beat, until, until);
                scene.assert_once(&format!("lease {by_lease}, until {until}, first {beat:?}"));
            }
        }
    }
}

/// A node announces how much a writer had published and has received nothing of it yet.
#[test]
fn what_a_node_announces_and_does_not_have_yet_is_history_too() {
    let mut scene = Scene::new(0);
    scene.lose_the_strong_one(true, 100);
    scene.hear_the_strong_one_again(Some(100), 100, 40);
    scene.assert_once("announced");
}

/// Where clocks disagree history is delivered rather than skipped.
#[test]
fn history_by_a_clock_that_disagrees_is_delivered() {
    for ahead in [HOUR, -HOUR] {
        let mut scene = Scene::new(ahead);
        scene.lose_the_strong_one(true, 130);
        scene.hear_the_strong_one_again(Some(41), 130, 130);
        assert_eq!(scene.strong.ahead, ahead);
        let of_strong: Vec<u64> =
            scene.heard.iter().filter(|(id, _)| *id == STRONG).map(|(_, period)| *period).collect();
        let began = of_strong[40..].first().copied().unwrap_or_default();
        assert!((41..=131).contains(&began), "{ahead}: {of_strong:?}");
        assert_eq!(of_strong[40..], (began..=170).collect::<Vec<_>>(), "{ahead}");
        assert_eq!(scene.reader.stats.lost, 0, "{ahead}");
    }
}

/// A clock that was set while its writer was away is not the clock that was known.
#[test]
fn a_clock_is_not_believed_for_longer_than_what_is_under_way_can_be() {
    let mut scene = Scene::new(0);
    scene.lose_the_strong_one(true, 100);
    let proxy_of = |scene: &mut Scene, period| {
        scene.now = Mono::from_origin(Duration::from_millis(period * PERIOD));
        scene.beat(STRONG, period);
        scene.reader.writer(STRONG).unwrap().clock.offset()
    };
    assert!(proxy_of(&mut scene, 101).is_some());
    let mut scene = Scene::new(0);
    scene.lose_the_strong_one(true, 100);
    assert!(proxy_of(&mut scene, 400).is_none(), "fifteen seconds later");
}
