//! Failure detection, names, partitions.

use std::time::Duration;

use rand::Rng;

use super::for_seeds;
use super::oracle::agreement;
use super::world::{Weather, World};
use crate::dht::core::Input;
use crate::dht::membership::MemberEvent;

/// How long the survivors take to agree that a crashed node is gone.
fn detection(seed: u64, hint: bool) -> Duration {
    let mut world = World::new(seed);
    world.weather = Weather { delay: 1..=10, loss: 0.0 };
    let size = world.rng.random_range(2..=10);
    let nodes = world.start_ring(size);
    agreement(&world).unwrap();
    let phase = world.rng.random_range(0..1000);
    world.run_for(Duration::from_millis(phase));
    let victim = nodes[world.rng.random_range(0..size)].clone();
    world.crash(&victim);
    let crashed = world.now;
    if hint {
        for at in world.nodes.keys().cloned().collect::<Vec<_>>() {
            world.input(&at, Input::PeerDown(victim.clone()));
        }
    }
    assert!(
        world.run_until(crashed + Duration::from_secs(10), |world| agreement(world).is_ok()),
        "not noticed"
    );
    world.now - crashed
}

#[test]
fn a_crash_is_noticed_within_three_seconds() {
    let worst = std::cell::Cell::new(Duration::ZERO);
    for_seeds("membership::a_crash_is_noticed_within_three_seconds", 80, |seed| {
        let took = detection(seed, false);
        assert!(took < Duration::from_secs(3), "seed {seed}: {took:?}");
        worst.set(worst.get().max(took));
    });
    println!("worst detection of a crash, rings of 2 to 10: {:?}", worst.get());
}

#[test]
fn a_hint_of_the_transport_makes_it_faster() {
    let worst = std::cell::Cell::new(Duration::ZERO);
    for_seeds("membership::a_hint_of_the_transport_makes_it_faster", 50, |seed| {
        let took = detection(seed, true);
        assert!(took < Duration::from_millis(1200), "seed {seed}: {took:?}");
        worst.set(worst.get().max(took));
    });
    println!("worst detection of a crash with a hint: {:?}", worst.get());
}

#[test]
fn a_wrong_hint_kills_nobody() {
    for_seeds("membership::a_wrong_hint_kills_nobody", 30, |seed| {
        let mut world = World::new(seed);
        let size = world.rng.random_range(2..=8);
        let nodes = world.start_ring(size);
        world.member_events.clear();
        for at in &nodes[1..] {
            world.input(at, Input::PeerDown(nodes[0].clone()));
        }
        world.run_for(Duration::from_secs(5));
        agreement(&world).unwrap();
        assert_eq!(world.member_events, [], "seed {seed}");
    });
}

#[test]
fn a_departure_is_heard_at_once() {
    for_seeds("membership::a_departure_is_heard_at_once", 30, |seed| {
        let mut world = World::new(seed);
        let size = world.rng.random_range(2..=8);
        let nodes = world.start_ring(size);
        world.member_events.clear();
        world.input(&nodes[1], Input::Leave);
        world.run_for(Duration::from_millis(50));
        agreement(&world).unwrap();
        assert_eq!(world.member_events.len(), size - 1);
        assert!(world.member_events.iter().all(|(_, _, event)| matches!(event, MemberEvent::Left(_))));
        world.run_for(Duration::from_secs(5));
        agreement(&world).unwrap();
    });
}

#[test]
fn a_restarted_node_replaces_its_earlier_life() {
    for_seeds("membership::a_restarted_node_replaces_its_earlier_life", 30, |seed| {
        let mut world = World::new(seed);
        let size = world.rng.random_range(2..=6);
        let nodes = world.start_ring(size);
        world.crash(&nodes[1]);
        let pause = world.rng.random_range(0..5000);
        world.run_for(Duration::from_millis(pause));
        let again = world.start_node("n1", &["n0"]);
        let generation = world.nodes[&again].core.me().generation;
        world.run_for(Duration::from_secs(5));
        agreement(&world).unwrap();
        for node in world.nodes.values() {
            let known = node.core.view().members().find(|member| member.name.as_str() == "n1").unwrap();
            assert!(known.generation >= generation);
        }
    });
}

#[test]
fn a_healed_partition_is_one_ring_again() {
    let worst = std::cell::Cell::new(Duration::ZERO);
    for_seeds("membership::a_healed_partition_is_one_ring_again", 40, |seed| {
        let mut world = World::new(seed);
        let size = world.rng.random_range(2..=8);
        let nodes = world.start_ring(size);
        let split = world.rng.random_range(1..size);
        world.cut(&nodes[..split]);
        let length = world.rng.random_range(500..20_000);
        world.run_for(Duration::from_millis(length));
        world.heal();
        let healed = world.now;
        assert!(
            world.run_until(healed + Duration::from_secs(15), |world| agreement(world).is_ok()),
            "seed {seed}: {:?}",
            agreement(&world)
        );
        let took = world.now - healed;
        world.run_for(Duration::from_secs(5));
        agreement(&world).unwrap();
        worst.set(worst.get().max(took));
    });
    println!("worst time for a healed partition to be one ring: {:?}", worst.get());
}

#[test]
fn a_ring_forms_although_seeds_are_down() {
    let mut world = World::new(1);
    let everyone = ["n0", "n1", "n2", "gone"];
    for name in &everyone[..3] {
        world.start_node(name, &everyone);
        world.run_for(Duration::from_millis(700));
    }
    world.run_for(Duration::from_secs(3));
    agreement(&world).unwrap();
}
