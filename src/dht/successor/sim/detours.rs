//! Ways that are cut between two nodes, or between a client and a node, while others reach both.

use std::time::Duration;

use super::asker::Asker;
use super::oracle::check;
use super::world::{Fate, Medium, Party, Place, World};
use crate::dht::key::Key;
use crate::dht::successor::client_core::{Answer, CallId};
use crate::dht::successor::config::SuccessorConfig;
use crate::dht::successor::core::{Action, Input, SuccessorCore};
use crate::dht::successor::event::SuccessorEvent;
use crate::dht::successor::message::{Message, Question, Reply};
use crate::error::ErrorKind;
use crate::time::{Mono, Timestamp};

const SECOND: Duration = Duration::from_secs(1);
const ASKER: Party = Party::Asker(0);

/// A ring without a broker, of nodes that are a fraction of the circle apart, and a client.
fn ring(seed: u64, size: u32) -> World {
    let config = SuccessorConfig {
        join_attempts: 4,
        join_interval: Duration::from_millis(100),
        ..SuccessorConfig::default()
    };
    let mut world = World::new(seed, Medium::MEETING, config);
    for number in 0..size {
        world.start(id(number, size));
        world.run_for(SECOND);
    }
    world.askers.push(Asker::new(seed));
    check(&mut world);
    world
}

/// Of the node that is started as this one of so many.
fn id(number: u32, size: u32) -> Key {
    Key::new((u32::MAX / size) * number + 1000)
}

/// Runs until the call is over: how long that took, and what came of it.
#[track_caller]
fn over(world: &mut World, call: CallId) -> (Duration, crate::Result<Answer>) {
    let began = world.now;
    let is_over = |world: &World| world.askers[0].over.contains_key(&call);
    assert!(world.run_until(SECOND * 12, is_over), "it lasts for ever");
    let (at, result) = world.askers[0].over.remove(&call).unwrap();
    (at.saturating_since(began), result)
}

fn put(world: &mut World, key: Key, value: &str) -> CallId {
    let call = world.askers[0].put(world.now, key, value);
    world.drain_asker(0);
    call
}

fn get(world: &mut World, key: Key) -> CallId {
    let call = world.askers[0].get(world.now, key);
    world.drain_asker(0);
    call
}

fn told(world: &World) -> Vec<(Key, SuccessorEvent)> {
    let told = |(_, node): (Place, &super::world::SimNode)| {
        let bad = |event: &&SuccessorEvent| {
            matches!(event, SuccessorEvent::Failed(_) | SuccessorEvent::Expelled | SuccessorEvent::IdTaken)
        };
        node.told.iter().filter(bad).map(|event| (node.id, event.clone())).collect::<Vec<_>>()
    };
    world.alive().flat_map(told).collect()
}

#[test]
fn a_client_that_cannot_reach_the_owner_asks_by_way_of_a_third() {
    let mut worst = Duration::ZERO;
    for seed in 0..12 {
        for ways in 0..3 {
            let size = 3 + (seed % 4) as u32;
            let mut world = ring(seed, size);
            let (key, owner) = (id(1, size), Party::Node(1));
            // Only what it says, only what it hears, or both.
            if ways != 1 {
                world.broken.insert((ASKER, owner));
            }
            if ways != 0 {
                world.broken.insert((owner, ASKER));
            }
            world.run_for(SECOND * 3);
            for round in 0..6 {
                let value = format!("value {round}");
                let call = put(&mut world, key, &value);
                let (took, result) = over(&mut world, call);
                assert_eq!(result.unwrap(), Answer::Stored(key), "seed {seed}, {ways}");
                worst = worst.max(took);
                let call = get(&mut world, key);
                let (took, result) = over(&mut world, call);
                assert_eq!(result.unwrap(), Answer::Found(Some(value.into())), "seed {seed}, {ways}");
                worst = worst.max(took);
                assert!(worst < SECOND * 4, "seed {seed}, {ways}: {worst:?}");
            }
            // Another key is as it was, and so is this one when the way is there again.
            world.broken.clear();
            world.run_for(SECOND * 2);
            for number in 0..size {
                let call = put(&mut world, id(number, size), "last");
                assert!(over(&mut world, call).1.is_ok(), "seed {seed}, {ways}");
                let call = get(&mut world, id(number, size));
                let found = Answer::Found(Some("last".into()));
                assert_eq!(over(&mut world, call).1.unwrap(), found, "seed {seed}, {ways}");
            }
            assert_eq!(told(&world), [], "seed {seed}, {ways}");
        }
    }
    println!("the worst call by way of a third: {worst:?}");
}

#[test]
fn an_owner_that_is_not_heard_is_passed_by_within_a_second() {
    let mut world = ring(1, 4);
    world.cut_between(ASKER, Party::Node(2));
    world.run_for(SECOND * 3);
    let call = put(&mut world, id(2, 4), "value");
    let (took, result) = over(&mut world, call);
    assert_eq!(result.unwrap(), Answer::Stored(id(2, 4)));
    assert!(took < SECOND, "{took:?}");
}

#[test]
fn the_error_names_the_owner_that_cannot_be_reached_and_who_said_so() {
    for seed in 0..6 {
        let mut world = ring(seed, 3);
        // It is on the ring by way of the last one, which the client does not reach.
        world.cut_between(Party::Node(0), Party::Node(1));
        world.cut_between(ASKER, Party::Node(1));
        world.cut_between(ASKER, Party::Node(2));
        world.run_for(SECOND * 5);
        let call = put(&mut world, id(1, 3), "value");
        let error = over(&mut world, call).1.unwrap_err();
        let ErrorKind::Unreachable { address, reason } = error.kind() else { panic!("seed {seed}: {error}") };
        let (owner, by) = (id(1, 3), id(0, 3));
        assert_eq!(*address, format!("node {owner}"));
        let said = format!("the node {owner}, which is responsible, does not answer node {by} there");
        assert!(reason.contains(&said), "seed {seed}: {reason}");
        assert_eq!(told(&world), [], "seed {seed}");
    }
}

#[test]
fn nodes_that_cannot_reach_each_other_stay_neighbours_by_way_of_a_third() {
    for seed in 0..10 {
        for both in [false, true] {
            let size = 3 + (seed % 3) as u32;
            let mut world = ring(seed, size);
            let (one, other) = (Party::Node(0), Party::Node(1));
            world.broken.insert((one, other));
            if both {
                world.broken.insert((other, one));
            }
            for round in 0..10u32 {
                for index in 0..10u32 {
                    let key = Key::new(index.wrapping_mul(0x1999_9999).wrapping_add(round));
                    world.put(key, &format!("value {round}"), true);
                }
                world.run_for(SECOND);
            }
            check(&mut world);
            assert_eq!(told(&world), [], "seed {seed}, both ways {both}");
            assert_eq!(world.alive().filter(|(_, node)| node.fate == Fate::Running).count(), size as usize);
            // A crash is seen as before, and loses nothing, where there is another third.
            if size > 3 {
                world.crash(2, None);
                check(&mut world);
            }
        }
    }
}

#[test]
fn a_newcomer_that_cannot_reach_its_neighbour_joins_by_way_of_a_third() {
    for seed in 0..10 {
        let size = 3;
        let mut world = ring(seed, size);
        for index in 0..40u32 {
            world.put(Key::new(index.wrapping_mul(0x0666_6666)), "value", true);
        }
        check(&mut world);
        // Between the first two; the second is what it takes its pairs from.
        let newcomer = Party::Node(world.nodes.len());
        let neighbour = Party::Node(usize::from(seed % 2 == 0));
        world.cut_between(newcomer, neighbour);
        let place = world.start(Key::new(id(1, size).get() / 2));
        check(&mut world);
        assert!(world.nodes[place].core.is_serving(), "seed {seed}");
        assert!(world.nodes[place].core.pairs().count() > 0, "seed {seed}");
        assert_eq!(told(&world), [], "seed {seed}");
    }
}

/// What a node publishes.
fn said(core: &mut SuccessorCore) -> Vec<Message> {
    let all = std::iter::from_fn(|| core.poll_action());
    all.filter_map(|action| match action {
        Action::Publish(message) if !matches!(message, Message::Heal(_)) => Some(message),
        _ => None,
    })
    .collect()
}

#[test]
fn late_copies_of_what_was_put_by_a_detour_undo_nothing() {
    let (mut now, me) = (Mono::ZERO, Key::new(1000));
    let config = SuccessorConfig { join_attempts: 1, ..SuccessorConfig::default() };
    let wall = Timestamp::from_secs(1_700_000_000);
    let mut core = SuccessorCore::new(now, me, config, wall, Some("tcp://me".into()));
    while !core.is_serving() {
        now = now + Duration::from_millis(20);
        core.handle_timeout(now);
        for message in said(&mut core) {
            core.handle(now, Input::Message(message));
        }
    }
    said(&mut core);
    let key = Key::new(7);
    let ask = |token: &str, value: &str| {
        let question = Question::Put { key, value: value.into() };
        Message::Ask { at: me, by: None, token: token.into(), question }
    };
    let direct = |token: &str, value: &str| Message::Put { client: token.into(), key, value: value.into() };
    let mut says = |message: Message| {
        core.handle(now, Input::Message(message));
        let said = said(&mut core);
        (said, core.pairs().map(|(_, value)| value.to_owned()).collect::<Vec<_>>())
    };
    let stored = |token: &str| {
        let token: std::sync::Arc<str> = token.into();
        let answer = Message::Answer { at: None, token: token.clone(), key, reply: Reply::Stored(me) };
        vec![answer, Message::AckPut { client: token, node: me }]
    };
    assert_eq!(says(ask("a-1", "one")), (stored("a-1"), vec!["one".into()]));
    assert_eq!(says(ask("a-2", "two")), (stored("a-2"), vec!["two".into()]));
    // Copies of either, on either way.
    assert_eq!(says(ask("a-1", "one")), (stored("a-1"), vec!["two".into()]));
    let ack = |token: &str| vec![Message::AckPut { client: token.into(), node: me }];
    assert_eq!(says(direct("a-1", "one")), (ack("a-1"), vec!["two".into()]));
    // Another client, and what comes later, count; a copy undoes neither.
    assert_eq!(says(direct("b-1", "three")), (ack("b-1"), vec!["three".into()]));
    assert_eq!(says(direct("a-2", "two")).1, ["three"]);
    assert_eq!(says(direct("a-3", "four")), (ack("a-3"), vec!["four".into()]));
}
