//! What the ring has acknowledged is not lost, and what ends is told.

use std::time::Duration;

use rand::Rng;
use rand::seq::IndexedRandom;

use super::for_seeds;
use super::oracle::{agreement, placement};
use super::world::World;
use crate::dht::client_core::{Answer, ClientConfig, MatchEvent};
use crate::dht::core::{Input, NodeConfig};
use crate::dht::record::{Interest, Registration, Route};
use crate::error::ErrorKind;
use crate::message::{Encoding, EntityId, SessionId};
use crate::qos::{Offered, Requested};
use crate::transport::Locator;

fn offer(at: &Locator, session: u64, entity: u32, topic: &str, strength: i32) -> Registration {
    let qos = Box::new(Offered::reliable().exclusive(strength));
    registration(at, session, entity, Interest::Offer { topic: topic.parse().unwrap(), qos })
}

fn request(at: &Locator, session: u64, entity: u32, filter: &str) -> Registration {
    let (filter, qos) = (filter.parse().unwrap(), Box::new(Requested::reliable().exclusive()));
    registration(at, session, entity, Interest::Request { filter, qos, route: Route::Direct })
}

fn registration(at: &Locator, session: u64, entity: u32, interest: Interest) -> Registration {
    let id = EntityId { session: SessionId(session), entity };
    let (locator, encoding) = (at.clone(), Encoding::Postcard);
    Registration { id, locator, encoding, lease: Duration::from_secs(3600), interest }
}

/// A world in which nothing is renewed, so that nothing is healed by renewals, with acknowledged registrations.
fn silent(seed: u64, size: usize) -> (World, Vec<Locator>) {
    let never = ClientConfig { longest_renewal: Duration::from_secs(3600), ..ClientConfig::default() };
    let mut world = World::with(seed, NodeConfig::default(), never);
    let nodes = world.start_ring(size);
    let client = world.start_client("c", &["n0"]);
    for entity in 0..60 {
        let topic = format!("topic/{}", entity % 20);
        let registration = match entity % 3 {
            0 => offer(&client, 1, entity, &topic, 1),
            1 => request(&client, 1, entity, &topic),
            _ => request(&client, 1, entity, &format!("topic/{}/#", entity % 20)),
        };
        world.register(&client, registration);
    }
    world.run_for(Duration::from_secs(1));
    let client = &world.clients[&client];
    assert!(client.completed.len() >= 60);
    assert!(client.completed.values().all(|result| matches!(result, Ok(Answer::Registered(_)))));
    (world, nodes)
}

fn check_held(world: &World, seed: u64) {
    let names = agreement(world).unwrap();
    let wanted: Vec<&Registration> =
        world.clients.values().flat_map(|client| client.wanted.values()).collect();
    if let Err(why) = placement(world, &names, &wanted) {
        panic!("seed {seed}: {why}");
    }
}

#[test]
fn a_crash_of_a_minority_loses_nothing() {
    for_seeds("durability::a_crash_of_a_minority_loses_nothing", 10, |seed| {
        let size = 3 + usize::try_from(seed % 5).unwrap();
        let (mut world, mut nodes) = silent(seed, size);
        // One of three is a minority of every replica set; once the copies are complete again, the next may go.
        while nodes.len() > 1 {
            let victim = world.rng.random_range(0..nodes.len());
            world.crash(&nodes.remove(victim));
            world.run_for(Duration::from_secs(5));
            check_held(&world, seed);
        }
    });
}

#[test]
fn a_crash_right_after_the_acknowledgement_loses_nothing() {
    for_seeds("durability::a_crash_right_after_the_acknowledgement_loses_nothing", 40, |seed| {
        let mut world = World::new(seed);
        world.weather = super::world::Weather { delay: 1..=40, loss: 0.05 };
        let size = world.rng.random_range(3..=6);
        let mut nodes = world.start_ring(size);
        let client = world.start_client("c", &["n0", "n1"]);
        let id = EntityId { session: SessionId(1), entity: 1 };
        let call = world.register(&client, offer(&client, 1, 1, "t", 1));
        let until = world.now + Duration::from_secs(20);
        assert!(world.run_until(until, |world| world.clients[&client].completed.contains_key(&call)));
        if world.clients[&client].completed[&call].is_err() {
            return;
        }
        // The client is gone as well: it cannot register again.
        let kept = world.clients.remove(&client).unwrap();
        let victim = world.rng.random_range(0..nodes.len());
        world.crash(&nodes.remove(victim));
        world.run_for(Duration::from_secs(10));
        let held = world.nodes.values().any(|node| node.core.records().any(|r| r.id() == id && r.is_live()));
        assert!(held, "seed {seed}: an acknowledged registration is lost");
        drop(kept);
    });
}

#[test]
fn leaving_one_after_another_loses_nothing() {
    for_seeds("durability::leaving_one_after_another_loses_nothing", 15, |seed| {
        let size = 2 + usize::try_from(seed % 5).unwrap();
        let (mut world, mut nodes) = silent(seed, size);
        while nodes.len() > 1 {
            let leaver = nodes.remove(world.rng.random_range(0..nodes.len()));
            world.input(&leaver, Input::Leave);
            let until = world.now + Duration::from_secs(1);
            assert!(world.run_until(until, |world| world.nodes[&leaver].ended), "it hands over and goes");
            world.run_for(Duration::from_millis(300));
            check_held(&world, seed);
        }
    });
}

#[test]
fn joining_one_after_another_moves_and_loses_nothing() {
    for_seeds("durability::joining_one_after_another_moves_and_loses_nothing", 8, |seed| {
        let (mut world, _) = silent(seed, 1);
        for index in 1..6 {
            world.start_node(&format!("n{index}"), &["n0"]);
            world.run_for(Duration::from_secs(3));
            check_held(&world, seed);
        }
        // The subscribers were told of the new owners, and of nothing else.
        for client in world.clients.values() {
            for (_, _, event) in &client.events {
                assert!(
                    matches!(event, MatchEvent::Matched { .. } | MatchEvent::Remapped { .. }),
                    "seed {seed}: {event:?}"
                );
            }
        }
    });
}

#[test]
fn the_end_of_a_lease_is_told() {
    for_seeds("durability::the_end_of_a_lease_is_told", 40, |seed| {
        let mut world = World::new(seed);
        let size = world.rng.random_range(1..=6);
        world.start_ring(size);
        let [strong, weak, reader] =
            ["strong", "weak", "reader"].map(|name| world.start_client(name, &["n0"]));
        let lease = Duration::from_secs(2);
        let with_lease = |registration: Registration| Registration { lease, ..registration };
        world.register(&strong, with_lease(offer(&strong, 1, 1, "t", 10)));
        world.register(&weak, with_lease(offer(&weak, 2, 1, "t", 5)));
        world.register(&reader, with_lease(request(&reader, 3, 1, "t")));
        world.register(&reader, with_lease(request(&reader, 3, 2, "+")));
        let phase = world.rng.random_range(1000..5000);
        world.run_for(Duration::from_millis(phase));
        world.crash(&strong);
        let crashed = world.now;
        world.run_for(lease + Duration::from_millis(100));
        let (from, to) =
            (EntityId { session: SessionId(1), entity: 1 }, EntityId { session: SessionId(2), entity: 1 });
        for entity in [1, 2] {
            let id = EntityId { session: SessionId(3), entity };
            let told: Vec<_> = world.clients[&reader]
                .events
                .iter()
                .filter(|(at, whose, _)| *at > crashed && *whose == id)
                .map(|(_, _, event)| event)
                .collect();
            assert!(
                matches!(
                    told[..],
                    [MatchEvent::Departed { peer, .. }, MatchEvent::Takeover { from: was, to: is, .. }]
                        if peer.peer == from && *was == from && *is == to
                ),
                "seed {seed}: {told:?}"
            );
        }
        let weak = &world.clients[&weak];
        let seen = weak.events.iter().any(|(at, _, event)| {
            *at > crashed && matches!(event, MatchEvent::Takeover { from: was, to: is, .. } if *was == from && *is == to)
        });
        assert!(seen, "seed {seed}: the publisher that takes over is told as well");
    });
}

#[test]
fn a_killed_owner_is_replaced_within_its_time() {
    let worst = std::cell::Cell::new(Duration::ZERO);
    for_seeds("durability::a_killed_owner_is_replaced_within_its_time", 40, |seed| {
        let mut world = World::new(seed);
        let size = world.rng.random_range(2..=8);
        world.start_ring(size);
        let [writer, reader] = ["writer", "reader"].map(|name| world.start_client(name, &["n0", "n1"]));
        world.register(&writer, offer(&writer, 1, 1, "weather/98101", 1));
        world.register(&reader, request(&reader, 2, 1, "weather/98101"));
        world.run_for(Duration::from_secs(2));
        let topic = "weather/98101".parse().unwrap();
        let id = EntityId { session: SessionId(2), entity: 1 };
        let owner = world.clients[&reader].core.responsible(id, &topic).unwrap().locator.clone();
        world.crash(&owner);
        let crashed = world.now;
        let moved = |world: &World| {
            [&writer, &reader].iter().all(|at| {
                let events = &world.clients[*at].events;
                events
                    .iter()
                    .any(|(at, _, event)| *at > crashed && matches!(event, MatchEvent::Remapped { .. }))
            })
        };
        assert!(
            world.run_until(crashed + Duration::from_secs(4), moved),
            "seed {seed}: not within four seconds"
        );
        worst.set(worst.get().max(world.now - crashed));
        let departed = world.clients.values().flat_map(|client| &client.events);
        assert!(!departed.clone().any(|(_, _, event)| matches!(event, MatchEvent::Departed { .. })));
    });
    println!("worst time until both sides know the next owner of a killed one's topic: {:?}", worst.get());
}

#[test]
fn lookups_answer_at_any_node_and_name_who_did_not() {
    for_seeds("durability::lookups_answer_at_any_node_and_name_who_did_not", 7, |seed| {
        let mut world = World::new(seed);
        let size = world.rng.random_range(2..=7);
        let nodes = world.start_ring(size);
        let client = world.start_client("c", &["n0"]);
        for entity in 0..200 {
            world.register(&client, offer(&client, 1, entity, &format!("topic/{entity}"), 1));
        }
        world.run_for(Duration::from_secs(1));
        let places: Vec<String> = (0..size).map(|index| format!("n{index}")).collect();
        for place in &places {
            let asker = world.start_client(&format!("at-{place}"), &[place]);
            let exact = world.client(&asker, |core, now| {
                core.lookup(now, "topic/7".parse().unwrap(), Some(Requested::reliable()))
            });
            let all = world.client(&asker, |core, now| core.lookup(now, "topic/+".parse().unwrap(), None));
            let members = world.client(&asker, |core, now| core.members(now));
            world.run_for(Duration::from_millis(200));
            let completed = &world.clients[&asker].completed;
            let Ok(Answer::Offers(offers)) = &completed[&exact] else { panic!("{completed:?}") };
            let mismatch = offers.found[0].verdict.as_ref().unwrap();
            assert!(offers.found.len() == 1 && !mismatch.is_compatible(), "exclusive does not fit shared");
            let Ok(Answer::Offers(offers)) = &completed[&all] else { panic!("{completed:?}") };
            assert_eq!((offers.found.len(), &offers.unanswered[..]), (200, &[][..]), "seed {seed}");
            let Ok(Answer::Members(members)) = &completed[&members] else { panic!("{completed:?}") };
            assert_eq!(members.len(), size);
        }
        let victim = nodes.choose(&mut world.rng).unwrap().clone();
        let asked = nodes.iter().find(|node| **node != victim).unwrap();
        let name = world.nodes[&victim].core.me().name.clone();
        let place = asked.as_str().trim_start_matches("memory:").to_owned();
        world.crash(&victim);
        let asker = world.start_client("last", &[&place]);
        let all = world.client(&asker, |core, now| core.lookup(now, "#".parse().unwrap(), None));
        world.run_for(Duration::from_millis(450));
        let Ok(Answer::Offers(offers)) = &world.clients[&asker].completed[&all] else { panic!("no answer") };
        assert_eq!(offers.unanswered, [name], "seed {seed}");
    });
}

#[test]
fn a_client_without_a_ring_says_where_it_looked() {
    let mut world = World::new(1);
    let client = world.start_client("c", &["nowhere", "gone"]);
    let call = world.register(&client, offer(&client, 1, 1, "t", 1));
    world.run_for(Duration::from_secs(6));
    let error = world.clients[&client].completed[&call].as_ref().unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Unreachable { address, .. } if address == "memory:nowhere, memory:gone"),
        "{error}"
    );
}

#[test]
fn what_is_not_renewed_gives_way_where_there_is_no_room() {
    let config = NodeConfig { max_registrations: 100, ..NodeConfig::default() };
    let mut world = World::with(1, config, ClientConfig::default());
    world.start_ring(3);
    // A stranger registers what nobody renews, with leases of an hour, until nothing more is taken.
    let stranger = world.start_client("stranger", &["n0"]);
    let calls: Vec<_> =
        (0..120).map(|entity| world.register(&stranger, offer(&stranger, 9, entity, "t", 1))).collect();
    world.run_for(Duration::from_secs(2));
    let refused = |call| world.clients[&stranger].completed.get(call).is_none_or(Result::is_err);
    assert!(calls.iter().any(refused), "the table is full");
    world.crash(&stranger);
    // One that is renewed stays whatever comes.
    let steady = world.start_client("steady", &["n0"]);
    world.run_for(Duration::from_secs(61));
    let mine: Vec<_> =
        (0..50).map(|entity| world.register(&steady, offer(&steady, 1, entity, "t", 1))).collect();
    world.run_for(Duration::from_secs(70));
    let other = world.start_client("other", &["n1"]);
    let theirs: Vec<_> =
        (0..40).map(|entity| world.register(&other, offer(&other, 2, entity, "t", 1))).collect();
    world.run_for(Duration::from_secs(6));
    for (at, calls) in [(&steady, mine), (&other, theirs)] {
        for call in calls {
            let result = &world.clients[at].completed[&call];
            assert!(matches!(result, Ok(Answer::Registered(_))), "{at}: {result:?}");
        }
    }
    let asked = world.client(&other, |core, now| core.lookup(now, "t".parse().unwrap(), None));
    world.run_for(Duration::from_secs(1));
    let Ok(Answer::Offers(offers)) = &world.clients[&other].completed[&asked] else { panic!("no answer") };
    let of = |session| offers.found.iter().filter(|offer| offer.id.session == SessionId(session)).count();
    assert_eq!((of(1), of(2)), (50, 40), "those that live are found");
}

#[test]
fn a_full_node_refuses_with_its_limit() {
    let config = NodeConfig { max_registrations: 3, ..NodeConfig::default() };
    let mut world = World::with(1, config, ClientConfig::default());
    world.start_ring(1);
    let client = world.start_client("c", &["n0"]);
    let calls: Vec<_> =
        (0..5).map(|entity| world.register(&client, offer(&client, 1, entity, "t", 1))).collect();
    world.run_for(Duration::from_secs(1));
    let completed = &world.clients[&client].completed;
    let refused = calls.iter().filter(|call| {
        completed[*call].as_ref().is_err_and(|error| matches!(error.kind(), ErrorKind::Full { limit: 3, .. }))
    });
    assert_eq!(refused.count(), 2);
}
