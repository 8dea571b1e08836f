//! Small worlds in which one thing happens.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::oracle::{at_rest, check};
use super::world::{Fate, Medium, Place, World};
use crate::dht::key::Key;
use crate::dht::successor::config::SuccessorConfig;
use crate::dht::successor::event::{Links, SuccessorEvent};
use crate::dht::successor::message::{Heal, Message, Plain, Replica, ReplicaBody, Side, Stage};

const CLOCK_FAR_AHEAD: u64 = u64::MAX;

/// A ring of nodes with these ids, and so many pairs.
fn ring(ids: &[u32], pairs: u32) -> World {
    let config = SuccessorConfig { join_attempts: 4, ..quick() };
    let mut world = World::new(ids.len() as u64, Medium::FIFO, config);
    for id in ids {
        world.start(Key::new(*id));
        world.run_for(Duration::from_millis(300));
    }
    for index in 0..pairs {
        world.put(spread(index), &format!("value {index}"), true);
    }
    check(&mut world);
    world
}

fn quick() -> SuccessorConfig {
    SuccessorConfig { join_interval: Duration::from_millis(50), ..SuccessorConfig::default() }
}

/// Keys all over the circle.
fn spread(index: u32) -> Key {
    Key::new(index.wrapping_mul(0x9E37_79B9))
}

fn place_of(world: &World, id: u32) -> Place {
    world.alive().find(|(_, node)| node.id == Key::new(id)).unwrap().0
}

fn ids(world: &World) -> Vec<u32> {
    let mut ids: Vec<u32> = world.alive().map(|(_, node)| node.id.get()).collect();
    ids.sort_unstable();
    ids
}

const QUARTERS: [u32; 4] = [0x2000_0000, 0x6000_0000, 0xA000_0000, 0xE000_0000];

#[test]
fn a_quiet_join_moves_and_loses_nothing() {
    let mut world = ring(&QUARTERS, 60);
    world.start(Key::new(0x4000_0000));
    check(&mut world);
    assert_eq!(world.alive().count(), 5);
    let newcomer = place_of(&world, 0x4000_0000);
    let links = Links { predecessor: Some(Key::new(0x2000_0000)), successor: Some(Key::new(0x6000_0000)) };
    assert_eq!(world.nodes[newcomer].told.first(), Some(&SuccessorEvent::Serving(links)));
    assert!(world.nodes[newcomer].core.pairs().count() > 0);
}

#[test]
fn a_quiet_leave_moves_and_loses_nothing() {
    let mut world = ring(&QUARTERS, 60);
    let leaver = place_of(&world, QUARTERS[1]);
    world.leave(leaver);
    check(&mut world);
    assert_eq!(world.nodes[leaver].fate, Fate::Ended { abandoned: 0 });
    let told = |id| &world.nodes[place_of(&world, id)].told;
    for neighbour in [QUARTERS[0], QUARTERS[2]] {
        assert!(told(neighbour).contains(&SuccessorEvent::Left(Key::new(QUARTERS[1]))), "{neighbour}");
    }
}

#[test]
fn two_newcomers_in_one_arc_at_the_same_moment() {
    let mut world = ring(&QUARTERS, 60);
    for id in [0x3000_0000, 0x5000_0000] {
        world.start(Key::new(id));
    }
    check(&mut world);
    assert_eq!(world.alive().count(), 6);
}

#[test]
fn the_last_two_become_one_and_the_last_one_goes() {
    let mut world = ring(&QUARTERS[..2], 40);
    let [first, last] = [0, 1].map(|index| place_of(&world, QUARTERS[index]));
    world.leave(first);
    check(&mut world);
    assert_eq!(world.nodes[last].core.links(), Links::default());
    assert_eq!(world.nodes[last].core.pairs().count(), 40);
    world.leave(last);
    assert!(world.run_until(Duration::from_secs(11), |world| world.alive().count() == 0));
}

#[test]
fn a_node_without_pairs_leaves_alone_at_once() {
    let mut world = ring(&QUARTERS[..1], 0);
    world.leave(0);
    assert!(world.run_until(Duration::from_secs(1), |world| world.alive().count() == 0));
    assert_eq!(world.nodes[0].fate, Fate::Ended { abandoned: 0 });
}

#[test]
fn a_crash_of_each_of_four_in_turn_loses_nothing() {
    for victim in QUARTERS {
        let mut world = ring(&QUARTERS, 100);
        let place = place_of(&world, victim);
        world.crash(place, None);
        check(&mut world);
        assert_eq!(world.alive().count(), 3, "{victim}");
    }
}

#[test]
fn one_crash_after_another_down_to_the_last_loses_nothing() {
    let mut world = ring(&QUARTERS, 100);
    for victim in &QUARTERS[1..] {
        let place = place_of(&world, *victim);
        world.crash(place, Some(Duration::from_millis(100)));
        check(&mut world);
    }
    assert_eq!(ids(&world), QUARTERS[..1]);
    assert_eq!(world.nodes[0].core.pairs().count(), 100);
}

#[test]
fn eight_that_start_at_the_same_moment_become_one_ring() {
    for (seed, medium) in [Medium::FIFO, Medium::REORDERING].into_iter().cycle().take(20).enumerate() {
        // The defaults: here nobody may begin alone because it asked too short a time.
        let mut world = World::new(seed as u64, medium, SuccessorConfig::default());
        for index in 1..=8 {
            world.start(spread(index));
        }
        check(&mut world);
        assert_eq!(world.alive().count(), 8);
    }
}

#[test]
fn a_node_that_crashed_is_back_at_once_with_its_id() {
    for told_after in [None, Some(Duration::ZERO), Some(Duration::from_millis(500))] {
        let mut world = ring(&QUARTERS, 100);
        let place = place_of(&world, QUARTERS[2]);
        world.crash(place, told_after);
        let again = world.start(Key::new(QUARTERS[2]));
        check(&mut world);
        assert_eq!(world.nodes[again].fate, Fate::Running, "told after {told_after:?}");
        assert_eq!(world.alive().count(), 4);
    }
}

#[test]
fn a_false_alarm_loses_nothing() {
    let mut world = ring(&QUARTERS, 100);
    let place = place_of(&world, QUARTERS[2]);
    world.tell_failure(place, Some(Duration::ZERO));
    world.run_for(Duration::from_millis(100));
    check(&mut world);
    assert!(world.nodes[place].told.contains(&SuccessorEvent::Expelled));
    assert_eq!(world.alive().count(), 4);
}

#[test]
fn a_node_that_was_cut_off_comes_back() {
    let mut world = ring(&QUARTERS, 60);
    let place = place_of(&world, QUARTERS[2]);
    world.cut(place, Duration::from_secs(5), None);
    world.run_for(Duration::from_secs(4));
    // While it is away, its pairs get new values.
    for index in 0..60 {
        world.put(spread(index), &format!("new value {index}"), true);
    }
    check(&mut world);
    assert_eq!(world.alive().count(), 4);
}

#[test]
fn an_id_that_is_taken_is_refused() {
    let mut world = ring(&QUARTERS, 60);
    let second = world.start(Key::new(QUARTERS[1]));
    let ended = |world: &World| matches!(world.nodes[second].fate, Fate::Ended { .. });
    assert!(world.run_until(Duration::from_secs(10), ended), "{:?}", at_rest(&world));
    assert!(world.nodes[second].told.contains(&SuccessorEvent::IdTaken));
    check(&mut world);
    assert_eq!(ids(&world), QUARTERS);
}

#[test]
fn messages_of_strangers_change_nothing() {
    let mut world = ring(&QUARTERS, 60);
    let told: Vec<usize> = world.nodes.iter().map(|node| node.told.len()).collect();
    let (stranger, other) = (Key::new(0x4000_0000), Key::new(0x4100_0000));
    let [first, second, ..] = QUARTERS.map(Key::new);
    let replica = |body| Replica { from: stranger, tag: 7, key: spread(1), body };
    let messages = [
        Message::HasStarted,
        Message::AckJoin { from: first, to: stranger, side: Side::Successor },
        Message::AckJoin { from: stranger, to: other, side: Side::Successor },
        Message::AckJoin { from: stranger, to: other, side: Side::Predecessor },
        Message::AckPut { client: "nobody".into(), node: stranger },
        Message::ResGet { key: spread(1), value: "value 1".into() },
        Message::ErrGet(stranger),
        Message::Leave { id: stranger, successor: Some(second), predecessor: Some(first) },
        Message::Leave { id: stranger, successor: Some(first), predecessor: Some(second) },
        Message::Leave { id: stranger, successor: None, predecessor: None },
        Message::AckLeave { leaver: stranger, acker: first },
        Message::AckLeave { leaver: first, acker: stranger },
        Message::AckLeave { leaver: first, acker: second },
        Message::Fail(stranger),
        Message::Heal(Heal {
            plain: Plain::default(),
            id: stranger,
            predecessor: Some(first),
            successor: Some(second),
            stage: Stage::Joining,
            clock: CLOCK_FAR_AHEAD,
            addresses: vec!["nonsense".into()],
            takes_detours: true,
        }),
        Message::Replica { to: None, replica: replica(ReplicaBody::Lack) },
        Message::Replica { to: Some(first), replica: replica(ReplicaBody::Lack) },
        Message::Replica {
            to: Some(first),
            replica: replica(ReplicaBody::Have { version: u64::MAX, digest: 1 }),
        },
    ];
    for message in messages {
        world.publish_after(Duration::ZERO, message);
        world.run_for(Duration::from_millis(50));
    }
    // Longer than the lease of whoever may have been believed.
    world.run_for(world.config.lease + Duration::from_secs(1));
    check(&mut world);
    assert_eq!(ids(&world), QUARTERS);
    for (node, told) in world.nodes.iter().zip(told) {
        assert_eq!(node.told.len(), told, "{} tells {:?}", node.id, &node.told[told..]);
    }
    // And the ring still takes puts.
    for index in 0..60 {
        world.put(spread(index), &format!("new value {index}"), true);
    }
    check(&mut world);
}

/// The broker is away for longer than the lease, and the nodes find it again one after the other.
#[test]
fn a_broker_that_was_away_loses_nothing_and_denies_nothing() {
    let mut world = ring(&QUARTERS, 60);
    for place in 0..QUARTERS.len() {
        world.cut(place, Duration::from_millis(5000 + 300 * place as u64), None);
    }
    world.run_for(Duration::from_millis(5050));
    for index in 0..60 {
        world.get(spread(index));
    }
    world.run_for(Duration::from_secs(5));
    for index in 0..60 {
        let found = &world.clients.books[&spread(index)].found;
        assert_eq!(*found, Some(Some(format!("value {index}").into())), "key {}", spread(index));
    }
    check(&mut world);
}

/// Nobody hears its goodbye: it must not say that all went well.
#[test]
fn a_leaver_that_is_cut_off_says_how_many_pairs_it_abandons() {
    let mut world = ring(&QUARTERS, 60);
    let place = place_of(&world, QUARTERS[1]);
    let pairs = world.nodes[place].core.pairs().count();
    assert!(pairs > 0);
    world.cut(place, Duration::from_secs(60), None);
    world.leave(place);
    world.run_for(Duration::from_millis(2500));
    assert_eq!(
        world.nodes[place].fate,
        Fate::Ended { abandoned: pairs },
        "nobody hears it: it does not wait"
    );
}

#[test]
fn a_leaver_whose_connection_is_lost_half_way_does_not_wait_for_it() {
    let mut world = ring(&QUARTERS, 2000);
    let place = place_of(&world, QUARTERS[1]);
    world.leave(place);
    world.run_for(Duration::from_millis(60));
    assert_eq!(world.nodes[place].fate, Fate::Leaving);
    world.cut(place, Duration::from_secs(60), None);
    world.run_for(Duration::from_millis(2500));
    assert!(
        matches!(world.nodes[place].fate, Fate::Ended { abandoned: 1.. }),
        "{:?}",
        world.nodes[place].fate
    );
}

/// Its machine has no battery for its clock.
#[test]
fn a_node_whose_clock_is_days_off_is_a_node_all_the_same() {
    let mut world = ring(&QUARTERS, 60);
    world.start_off(Key::new(0x4000_0000), Duration::from_secs(3 * 86_400));
    world.run_for(Duration::from_secs(5));
    for index in 0..60 {
        world.put(spread(index), &format!("new value {index}"), true);
    }
    check(&mut world);
}

/// Two programs are started with one id at the same moment: at most one of them stays.
#[test]
fn of_two_newcomers_with_one_id_one_is_refused() {
    let mut world = ring(&QUARTERS, 60);
    for _ in 0..2 {
        world.start(Key::new(0x4000_0000));
        world.run_for(Duration::from_millis(7));
    }
    world.run_for(Duration::from_secs(10));
    let twins = world.alive().filter(|(_, node)| node.id == Key::new(0x4000_0000)).count();
    assert_eq!(twins, 1);
    check(&mut world);
}

/// Nobody answers it, but nobody has heard it either.
#[test]
fn a_newcomer_that_is_cut_off_does_not_start_a_ring_of_its_own() {
    let mut world = ring(&QUARTERS, 60);
    let place = world.start(Key::new(0x4000_0000));
    world.cut(place, Duration::from_secs(5), None);
    world.run_for(Duration::from_secs(4));
    assert!(!world.nodes[place].core.is_serving());
    check(&mut world);
    assert_eq!(world.alive().count(), 5);
}

/// One node is stopped while all its pairs are rewritten, then goes on; each get from then on finds the new value, or waits.
fn stopped(seed: u64, lasts: Duration, medium: Medium) {
    let config = SuccessorConfig { join_attempts: 4, ..quick() };
    let mut world = World::new(seed, medium, config);
    for id in QUARTERS {
        world.start(Key::new(id));
        world.run_for(Duration::from_millis(300));
    }
    let keys: Vec<Key> = (0..30).map(spread).collect();
    for key in &keys {
        world.put(*key, "before", true);
    }
    check(&mut world);
    world.clients.books.values_mut().for_each(|book| book.found = None);
    let victim = place_of(&world, QUARTERS[seed as usize % 4]);
    world.stop(victim, lasts);
    // Each key is put again and again while the node stands still, each time when the put before was acknowledged; and asked
    // for, so that old questions wait for it, too. The last puts are over before it goes on.
    let resumes = world.now + lasts;
    let (until, mut answered) = (resumes + Duration::from_secs(6), 0);
    // What a get may find: what was there when it began, and what was put since.
    let mut fresh: BTreeMap<Key, Vec<Option<Arc<str>>>> = BTreeMap::new();
    for round in 0.. {
        if world.now >= until {
            break;
        }
        for key in &keys {
            let pause = Duration::from_millis(300);
            if world.now + pause < resumes && round % 4 == 0 && world.clients.may_put(world.now, *key) {
                let value = format!("round {round}");
                world.put(*key, &value, true);
                fresh.entry(*key).or_default().push(Some(value.into()));
            }
            if let Some(found) = world.clients.books.get_mut(key).and_then(|book| book.found.take()) {
                answered += 1;
                let fresh = &fresh[key];
                assert!(fresh.contains(&found), "seed {seed}, {lasts:?}: {key} has {found:?}, not {fresh:?}");
            }
            if world.clients.may_get(*key) {
                fresh.insert(*key, world.clients.books[key].allowed.clone());
                world.get(*key);
            }
        }
        world.run_for(Duration::from_millis(50));
    }
    assert!(answered > 1000, "seed {seed}: {answered} answers");
    check(&mut world);
}

#[test]
fn a_node_that_was_stopped_answers_with_no_old_value() {
    for seed in 0..3 {
        // Shorter than the others are patient; until they are not any more; for long.
        for lasts in [1_000, 2_400, 2_900, 3_100, 4_500, 12_000] {
            for medium in [Medium::FIFO, Medium::MEETING] {
                stopped(seed, Duration::from_millis(lasts), medium);
            }
        }
    }
}
