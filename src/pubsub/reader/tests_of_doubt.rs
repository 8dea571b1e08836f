//! A writer and a reader between which somebody forges: what is true wins.

use std::time::Duration;

use super::*;
use crate::message::{Encoding, SessionId};
use crate::pubsub::writer::{WriterAction, WriterConfig, WriterCore};
use crate::wire::{FrameBuilder, FramePool};

const WRITER: EntityId = EntityId { session: SessionId(1), entity: 1 };
const READER: EntityId = EntityId { session: SessionId(2), entity: 1 };
const STEP: Duration = Duration::from_millis(10);
const FAR: u64 = 1 << 40;

/// A real writer and a real reader, with nothing lost between them.
struct Pair {
    writer: WriterCore,
    reader: ReaderCore,
    now: Mono,
    topic: Topic,
    locator: Locator,
    published: u64,
    /// What came, in order.
    numbers: Vec<u64>,
    /// What the writer's user was told.
    told: Vec<MatchEvent>,
}

impl Pair {
    fn new(offered: Offered, requested: Requested) -> Self {
        let (topic, locator) = (Topic::new("t").unwrap(), Locator::new("memory:a").unwrap());
        let config = WriterConfig {
            id: WRITER,
            epoch: 5,
            topic: topic.clone(),
            offered,
            encoding: Encoding::Raw,
            locator: locator.clone(),
            max_payload: 1 << 20,
            batch_bytes: 1 << 17,
            batch_samples: 1000,
            brokered: false,
            lead: bytes::Bytes::new(),
            pool: FramePool::default(),
        };
        let now = Mono::ZERO;
        let (writer, reader) = (WriterCore::new(now, config), ReaderCore::new(READER, false, requested));
        Self { writer, reader, now, topic, locator, published: 0, numbers: Vec::new(), told: Vec::new() }
    }

    /// Delivers what both have to say until they have nothing more.
    fn settle(&mut self) {
        loop {
            let mut idle = true;
            while let Some(action) = self.writer.poll_action() {
                idle = false;
                match action {
                    WriterAction::Announce(message) => self.hear(true, message),
                    WriterAction::Tell { message, .. } => self.hear(false, message),
                    WriterAction::Repair { frame, .. } => {
                        self.reader.on_data(self.now, Timestamp::from_secs(1), &frame);
                    }
                    WriterAction::Event(event) => self.told.push(event),
                    WriterAction::GiveUp { .. } => {}
                }
            }
            while let Some(action) = self.reader.poll_action() {
                idle = false;
                if let ReaderAction::Tell { message: Message::AckNack(acknack), .. } = action {
                    self.writer.on_acknack(self.now, &self.locator, acknack);
                }
            }
            if idle {
                break;
            }
        }
        while let Some(sample) = self.reader.queue.pop_sample::<()>() {
            self.numbers.push(sample.info().sequence);
        }
    }

    fn hear(&mut self, on_topic: bool, message: Message) {
        let (now, wall) = (self.now, Timestamp::from_secs(1));
        match message {
            Message::Heartbeat(heartbeat) => {
                self.reader.on_heartbeat(now, wall, on_topic.then_some(&self.topic), &heartbeat);
            }
            Message::WriterBye { writer, epoch, last } => self.reader.on_bye(now, wall, writer, epoch, last),
            Message::Replay(replay) => self.reader.on_replay(now, wall, &replay),
            _ => panic!("no message of a writer"),
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now = self.now + STEP;
            if self.writer.poll_timeout() <= self.now {
                self.writer.on_timeout(self.now);
            }
            if self.reader.poll_timeout().is_some_and(|at| at <= self.now) {
                self.reader.on_timeout(self.now);
            }
            self.settle();
        }
    }

    fn publish(&mut self, samples: u64) {
        for _ in 0..samples {
            let at = Timestamp::from_secs(1);
            self.writer
                .push(at, at, |out| {
                    out.push(7);
                    Ok(())
                })
                .unwrap();
            let sealed = self.writer.seal(self.now).unwrap();
            self.reader.on_data(self.now, at, &sealed.frame);
            self.published += 1;
            self.run(STEP);
        }
    }

    /// A heartbeat in the writer's name.
    fn forge(&mut self, change: impl Fn(&mut Heartbeat)) {
        let mut heartbeat = Heartbeat {
            writer: WRITER,
            epoch: 5,
            locator: self.locator.clone(),
            offered: self.writer.config().offered.clone(),
            encoding: Encoding::Raw,
            first: 1,
            last: self.published,
            overflow: crate::pubsub::control::Later(None),
        };
        change(&mut heartbeat);
        let message = Message::Heartbeat(heartbeat);
        assert!(message.is_sound(), "the hub would drop it");
        self.hear(true, message);
        self.settle();
    }

    /// Everything came, once, in order, nothing counts as lost, and the writer knows.
    fn assert_whole(&mut self) {
        self.run(Duration::from_secs(5));
        assert_eq!(self.numbers, (1..=self.published).collect::<Vec<_>>());
        assert_eq!(self.reader.stats.lost, 0);
        assert!(self.writer.all_acknowledged());
    }
}

fn matched() -> Pair {
    let mut pair = Pair::new(Offered::reliable(), Requested::reliable());
    pair.run(STEP);
    pair.publish(10);
    pair
}

#[test]
fn a_forged_heartbeat_does_not_make_a_reader_deaf_nor_acknowledges_anything() {
    for (first, last) in [(FAR, FAR), (FAR + 1, FAR), (1, FAR), (5, FAR)] {
        let mut pair = matched();
        pair.forge(|heartbeat| (heartbeat.first, heartbeat.last) = (first, last));
        pair.publish(1);
        let deaf = pair.numbers.len() < 11;
        assert!(!deaf || !pair.writer.all_acknowledged(), "{first} {last}");
        pair.publish(100);
        pair.assert_whole();
    }
}

#[test]
fn a_history_that_is_forged_at_the_first_contact_is_taken_back() {
    for requested in [Requested::reliable(), Requested::reliable().transient_local()] {
        let mut pair = Pair::new(Offered::reliable().transient_local(), requested);
        pair.forge(|heartbeat| (heartbeat.first, heartbeat.last) = (FAR, FAR));
        pair.run(Duration::from_secs(3));
        pair.publish(20);
        pair.assert_whole();
    }
}

#[test]
fn a_forged_epoch_is_taken_back() {
    let mut pair = matched();
    pair.forge(|heartbeat| heartbeat.epoch = u32::MAX);
    pair.publish(300);
    pair.assert_whole();
}

#[test]
fn a_forged_goodbye_costs_nothing() {
    for last in [10, FAR] {
        let mut pair = matched();
        pair.hear(true, Message::WriterBye { writer: WRITER, epoch: 5, last });
        pair.settle();
        assert!(!pair.reader.knows(WRITER));
        pair.publish(200);
        pair.assert_whole();
    }
}

/// A sample is lost on its way.
fn lose_one(pair: &mut Pair) {
    let at = Timestamp::from_secs(1);
    pair.writer.push(at, at, |_| Ok(())).unwrap();
    drop(pair.writer.seal(pair.now));
    pair.published += 1;
}

/// `matched` and `departed`, in order.
fn told(pair: &Pair) -> Vec<&'static str> {
    let name = |event: &MatchEvent| match event {
        MatchEvent::Matched { .. } => "matched",
        MatchEvent::Departed { cause: Departure::Left, .. } => "departed",
        other => panic!("{other:?}"),
    };
    pair.told.iter().map(name).collect()
}

#[test]
fn a_readers_goodbye_that_it_did_not_say_costs_nothing() {
    for offered in [Offered::reliable(), Offered::reliable().keep_all()] {
        let mut pair = Pair::new(offered, Requested::reliable());
        pair.run(STEP);
        pair.publish(10);
        for round in 0..3 {
            lose_one(&mut pair);
            let from = pair.locator.clone();
            pair.writer.on_reader_bye(pair.now, &from, READER);
            assert_eq!(pair.writer.matched(), 0, "it may be true");
            assert!(!pair.writer.all_acknowledged(), "and it may not");
            lose_one(&mut pair);
            pair.run(Duration::from_millis(200));
            assert_eq!((pair.writer.matched(), told(&pair).len()), (1, 3 + 2 * round));
            pair.publish(20);
        }
        pair.assert_whole();
        assert_eq!(told(&pair)[..3], ["matched", "departed", "matched"]);
    }
}

#[test]
fn a_goodbye_of_another_session_is_not_even_told() {
    let mut pair = matched();
    let stranger = Locator::new("memory:stranger").unwrap();
    for _ in 0..10 {
        lose_one(&mut pair);
        pair.writer.on_reader_bye(pair.now, &stranger, READER);
        assert_eq!(pair.writer.matched(), 1);
        pair.publish(5);
    }
    pair.assert_whole();
    assert_eq!(told(&pair), ["matched"]);
}

#[test]
fn a_reader_that_has_left_is_not_waited_for_longer_than_half_a_second() {
    for from in ["memory:a", "memory:stranger"] {
        let mut pair = matched();
        lose_one(&mut pair);
        let from = Locator::new(from).unwrap();
        pair.writer.on_reader_bye(pair.now, &from, READER);
        pair.writer.on_reader_bye(pair.now, &from, READER);
        for _ in 0..60 {
            pair.now = pair.now + STEP;
            pair.writer.on_timeout(pair.now);
            while let Some(action) = pair.writer.poll_action() {
                pair.told.extend(match action {
                    WriterAction::Event(event) => Some(event),
                    _ => None,
                });
            }
        }
        assert!(pair.writer.all_acknowledged());
        assert_eq!((pair.writer.matched(), told(&pair)), (0, vec!["matched", "departed"]));
    }
}

#[test]
fn forged_samples_far_ahead_are_taken_back() {
    let mut builder = FrameBuilder::new(Encoding::Raw, WRITER, 5, FAR);
    let at = Timestamp::from_secs(1);
    builder.push(at, at, 100, |_| Ok(())).unwrap();
    let forged = builder.take().unwrap();
    let mut pair = matched();
    pair.reader.on_data(pair.now, at, &forged);
    pair.publish(300);
    pair.assert_whole();
    // One that repairs nothing takes the forged one for what it is given, and then hears the writer again.
    let mut pair = Pair::new(Offered::best_effort(), Requested::best_effort().keep_all());
    pair.run(STEP);
    pair.publish(10);
    pair.reader.on_data(pair.now, at, &forged);
    pair.publish(300);
    pair.run(Duration::from_secs(5));
    pair.publish(50);
    assert_eq!((pair.numbers[10], pair.numbers.last()), (FAR, Some(&360)));
    let came = pair.numbers.len() as u64 - 1;
    assert_eq!(came + pair.reader.stats.lost, 360, "what it missed meanwhile is lost, and no more");
}

#[test]
fn a_forged_acknowledgement_does_not_let_go_of_what_is_missing() {
    for next in [11, FAR] {
        let mut pair = matched();
        // The eleventh.
        lose_one(&mut pair);
        let acknack = AckNack {
            reader: READER,
            writer: WRITER,
            epoch: 5,
            via_node: false,
            stands_for: None,
            next,
            missing: vec![],
            replay_after: None,
            encoding: Later(None),
            requested: Requested::reliable(),
        };
        pair.writer.on_acknack(pair.now, &pair.locator.clone(), acknack);
        assert!(!pair.writer.all_acknowledged(), "{next}");
        pair.publish(10);
        pair.assert_whole();
    }
}

#[test]
fn an_acknowledgement_of_less_counts_when_it_is_repeated() {
    let mut pair = Pair::new(Offered::reliable().transient_local(), Requested::reliable());
    pair.run(STEP);
    pair.publish(10);
    let acknack = |next| AckNack {
        reader: READER,
        writer: WRITER,
        epoch: 5,
        via_node: false,
        stands_for: None,
        next,
        missing: vec![],
        replay_after: None,
        encoding: Later(None),
        requested: Requested::reliable(),
    };
    let (now, from) = (pair.now, pair.locator.clone());
    pair.writer.on_acknack(now, &from, acknack(4));
    assert!(pair.writer.all_acknowledged(), "it may have been overtaken");
    pair.writer.on_acknack(now, &from, acknack(4));
    assert!(!pair.writer.all_acknowledged());
    pair.writer.on_acknack(now, &from, acknack(11));
    assert!(pair.writer.all_acknowledged());
}

#[test]
fn heartbeats_that_were_overtaken_change_nothing() {
    let mut pair = matched();
    for _ in 0..20 {
        // Two of the past, one after the other; then a true one.
        pair.forge(|heartbeat| heartbeat.last -= 5);
        pair.forge(|heartbeat| heartbeat.last -= 3);
        pair.publish(10);
    }
    pair.assert_whole();
    assert_eq!(pair.reader.stats.duplicates, 0);
}
