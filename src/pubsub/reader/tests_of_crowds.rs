//! Many writers of one reader: what each costs, and who gives way.

use std::time::Duration;

use super::*;
use crate::message::{Encoding, SessionId};

const READER: EntityId = EntityId { session: SessionId(0), entity: 1 };

fn heartbeat(writer: u64, last: u64) -> Heartbeat {
    Heartbeat {
        writer: EntityId { session: SessionId(writer), entity: 1 },
        epoch: 1,
        locator: Locator::new("memory:writer").unwrap(),
        offered: Offered::reliable().exclusive((writer % 100) as i32),
        encoding: Encoding::Raw,
        first: last + 1,
        last,
        overflow: crate::pubsub::control::Later(None),
    }
}

/// What the reader wants to have told, and how many events there were of a kind.
fn events(reader: &mut ReaderCore, which: impl Fn(&MatchEvent) -> bool) -> usize {
    let actions = std::iter::from_fn(|| reader.poll_action());
    actions.filter(|action| matches!(action, ReaderAction::Event(event) if which(event))).count()
}

#[test]
fn a_heartbeat_of_one_of_many_exclusive_writers_looks_at_none_of_the_others() {
    const WRITERS: u64 = 8_000;
    let wall = Timestamp::from_secs(1);
    let mut reader = ReaderCore::new(READER, false, Requested::reliable().exclusive());
    let topic = Topic::new("t").unwrap();
    for round in 0..3u64 {
        let now = Mono::from_origin(Duration::from_secs(round));
        for writer in 1..=WRITERS {
            reader.on_heartbeat(now, wall, Some(&topic), &heartbeat(writer, round));
            events(&mut reader, |_| false);
        }
    }
    assert_eq!((reader.writers.visited.get(), reader.matched()), (0, WRITERS as usize));
    let strongest = WRITERS - WRITERS % 100 - 1;
    let owner = EntityId { session: SessionId(strongest), entity: 1 };
    assert!(
        reader.is_heard(&topic, owner),
        "99 is the greatest strength, {strongest} the greatest id with it"
    );
    // Nor does the departure of one.
    let gone = Mono::from_origin(Duration::from_secs(3));
    for writer in (1..=WRITERS).rev() {
        reader.on_bye(gone, wall, heartbeat(writer, 2).writer, 1, 2);
        events(&mut reader, |_| false);
    }
    assert_eq!((reader.writers.visited.get(), reader.matched()), (0, 0));
}

#[test]
fn strangers_that_fill_the_table_keep_nobody_out() {
    let wall = Timestamp::from_secs(1);
    let mut reader = ReaderCore::new(READER, false, Requested::reliable().exclusive());
    let topic = Topic::new("t").unwrap();
    let endless = |writer: u64| {
        let mut heartbeat = heartbeat(writer, 0);
        heartbeat.offered = heartbeat.offered.lease(Duration::MAX);
        heartbeat
    };
    let early = heartbeat(1, 0);
    let mut said = 0;
    let mut at = Duration::ZERO;
    for stranger in 0..MAX_PEERS as u64 + 10_000 {
        at = Duration::from_micros(stranger * 125);
        let now = Mono::from_origin(at);
        if stranger % 8_000 == 0 {
            reader.on_heartbeat(now, wall, Some(&topic), &early);
        }
        reader.on_heartbeat(now, wall, Some(&topic), &endless(1_000_000 + stranger));
        said += events(&mut reader, |event| matches!(event, MatchEvent::Crowded { .. }));
    }
    assert_eq!((reader.writers.len(), said), (MAX_PEERS, 1));
    assert!(reader.knows(early.writer), "it speaks once a second");
    let late = heartbeat(2, 0);
    reader.on_heartbeat(Mono::from_origin(at), wall, Some(&topic), &late);
    assert_eq!(events(&mut reader, |event| matches!(event, MatchEvent::Matched { .. })), 1);
    // The flood goes on for a second.
    for stranger in 100_000..108_000 {
        reader.on_heartbeat(Mono::from_origin(at), wall, Some(&topic), &endless(1_000_000 + stranger));
    }
    assert!(reader.knows(early.writer) && reader.knows(late.writer));
    // And what stated an endless lease is gone at last.
    reader.on_timeout(Mono::from_origin(at + Duration::from_secs(601)));
    assert_eq!(reader.writers.len(), 0);
}

#[test]
fn a_lease_of_nothing_does_not_keep_the_timer_busy() {
    let mut reader = ReaderCore::new(READER, false, Requested::reliable().exclusive());
    let mut hasty = heartbeat(1, 0);
    hasty.offered = hasty.offered.lease(Duration::from_nanos(1));
    reader.on_heartbeat(Mono::ZERO, Timestamp::from_secs(1), Some(&Topic::new("t").unwrap()), &hasty);
    assert!(reader.poll_timeout().unwrap() > Mono::from_origin(Duration::from_millis(15)));
}
