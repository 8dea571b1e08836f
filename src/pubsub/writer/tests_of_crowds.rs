//! Many readers of one writer: what each costs.

use proptest::prelude::*;

use super::*;
use crate::message::SessionId;
use crate::qos::{Requested, ResourceLimits};

const WALL: Timestamp = Timestamp::from_secs(1);
const READERS: u64 = 8_000;
const WRITER: EntityId = EntityId { session: SessionId(0), entity: 1 };

fn id(reader: u64) -> EntityId {
    EntityId { session: SessionId(reader), entity: 1 }
}

fn locator(reader: u64) -> Locator {
    Locator::new(format!("memory:{reader}")).unwrap()
}

fn at(millis: u64) -> Mono {
    Mono::from_origin(Duration::from_millis(millis))
}

fn writer(offered: Offered) -> WriterCore {
    let config = WriterConfig {
        id: WRITER,
        epoch: 1,
        topic: Topic::new("t").unwrap(),
        offered,
        encoding: Encoding::Raw,
        locator: locator(0),
        max_payload: 1000,
        batch_bytes: 1000,
        batch_samples: 1,
        lead: Bytes::new(),
        pool: FramePool::default(),
        brokered: false,
    };
    WriterCore::new(at(0), config)
}

fn publish(writer: &mut WriterCore, now: Mono) {
    writer.push(WALL, WALL, |_| Ok(())).unwrap();
    writer.seal(now).unwrap();
}

fn acknowledge(writer: &mut WriterCore, now: Mono, reader: u64, next: u64) {
    let acknack = AckNack {
        reader: id(reader),
        writer: WRITER,
        epoch: 1,
        via_node: false,
        requested: if reader % 7 == 6 { Requested::best_effort() } else { Requested::reliable() },
        stands_for: (reader % 5 == 4).then_some(3),
        next,
        missing: Vec::new(),
        replay_after: None,
        encoding: Later(None),
    };
    writer.on_acknack(now, &locator(reader), acknack);
    while writer.poll_action().is_some() {}
}

#[test]
fn an_acknowledgement_of_one_of_many_readers_looks_at_none_of_the_others() {
    let mut core = writer(Offered::reliable().keep_all());
    for round in 1..=3 {
        publish(&mut core, at(round));
        for reader in 0..READERS {
            acknowledge(&mut core, at(round), reader, round + 1);
        }
        assert!(core.all_acknowledged() && core.history.samples() == 0);
    }
    assert_eq!(core.matched() as u64, READERS + 2 * READERS / 5, "a relay stands for three");
    // Nor does the departure of one.
    publish(&mut core, at(4));
    for reader in 1..READERS {
        core.on_reader_bye(at(4), &locator(reader), id(reader));
    }
    core.let_leave(at(1_000));
    assert_eq!((core.matched(), core.history.samples()), (1, 1), "the last reader is waited for");
    core.on_reader_bye(at(1_000), &locator(0), id(0));
    core.let_leave(at(2_000));
    assert_eq!((core.matched(), core.history.samples()), (0, 0));
    assert_eq!(core.readers.visited.get(), 0);
}

#[test]
fn subscribers_that_were_waited_for_are_heard_without_a_look_at_the_others() {
    let mut core = writer(Offered::reliable().keep_all());
    core.begin_at(5, 8);
    core.set_awaited(at(0), &(0..READERS).map(id).collect::<Vec<_>>());
    for reader in 0..READERS {
        assert_eq!(core.standing().1, 5);
        acknowledge(&mut core, at(1), reader, 5);
    }
    assert_eq!(core.readers.visited.get(), 0);
}

/// What may happen to a reader.
#[derive(Debug, Clone)]
enum Step {
    Publish,
    Acknowledge(u64, u64),
    Bye(u64, u64),
    Lose(u64),
    Find(u64),
    Wait(u64),
    Refuse,
}

fn step() -> impl Strategy<Value = Step> {
    let reader = 0u64..12;
    prop_oneof![
        3 => Just(Step::Publish),
        6 => (reader.clone(), 0u64..4).prop_map(|(reader, behind)| Step::Acknowledge(reader, behind)),
        2 => (reader.clone(), 0u64..2).prop_map(|(reader, other)| Step::Bye(reader, reader + other)),
        1 => reader.clone().prop_map(Step::Lose),
        1 => reader.prop_map(Step::Find),
        2 => (100u64..4_000).prop_map(Step::Wait),
        2 => Just(Step::Refuse),
    ]
}

proptest! {
    /// What is kept up to date is what a look at every reader would find.
    #[test]
    fn the_tally_is_what_all_readers_are_together(
        steps in prop::collection::vec(step(), 1..80),
        lets_go: bool,
    ) {
        let overflow = if lets_go { Overflow::Disconnect } else { Overflow::Wait };
        let limits = ResourceLimits { max_samples: 4, max_bytes: 1 << 20 };
        let mut core = writer(Offered::reliable().keep_all().resource_limits(limits).overflow(overflow));
        let mut now = at(0);
        for step in steps {
            match step {
                Step::Publish => publish(&mut core, now),
                Step::Acknowledge(reader, behind) => {
                    let next = core.sealed_next.saturating_sub(behind).max(1);
                    acknowledge(&mut core, now, reader, next);
                }
                Step::Bye(reader, from) => core.on_reader_bye(now, &locator(from), id(reader)),
                Step::Lose(reader) => core.on_peer_down(now, &locator(reader)),
                Step::Find(reader) => core.on_peer_up(&locator(reader)),
                Step::Wait(millis) => {
                    now = now + Duration::from_millis(millis);
                    core.on_timeout(now);
                }
                Step::Refuse => _ = core.make_room(now),
            }
            let waited_for = core.readers.values().filter(|proxy| proxy.is_waited_for());
            prop_assert_eq!(core.tally.waits_at(), waited_for.map(|proxy| proxy.next).min());
            let subscribers: usize = core.readers.values().map(|proxy| proxy.subscribers).sum();
            prop_assert_eq!(core.matched(), subscribers);
            prop_assert!(core.poll_timeout() <= now + HEARTBEAT_PERIOD);
        }
    }
}
