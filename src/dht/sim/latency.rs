//! Transports that are slow, or become slow, or quick again: probes follow.

use std::time::Duration;

use rand::Rng;

use super::for_seeds;
use super::oracle::agreement;
use super::world::{Weather, World};
use crate::dht::membership::MemberEvent;

/// Messages are a second under way, or up to a second, or somewhere between.
fn slow(world: &mut World) -> Weather {
    let delay = match world.rng.random_range(0..4) {
        0 => 1000..=1000,
        1 => 0..=1000,
        2 => 900..=1000,
        _ => {
            let delay = world.rng.random_range(50..=1000);
            delay..=delay
        }
    };
    Weather { delay, loss: 0.0 }
}

/// Nobody was taken for dead since the events were last cleared.
fn nobody_was_given_up(world: &World, seed: u64) {
    agreement(world).unwrap();
    assert_eq!(world.member_events, [], "seed {seed}, messages under way {:?} ms", world.weather.delay);
}

#[test]
fn a_transport_that_becomes_slow_kills_nobody() {
    for_seeds("latency::a_transport_that_becomes_slow_kills_nobody", 60, |seed| {
        let mut world = World::new(seed);
        let size = world.rng.random_range(2..=8);
        world.start_ring(size);
        agreement(&world).unwrap();
        world.member_events.clear();
        // As under a load that comes and goes.
        for _ in 0..3 {
            world.weather = slow(&mut world);
            let length = world.rng.random_range(1..=60);
            world.run_for(Duration::from_secs(length));
            world.weather = Weather::FAIR;
            let length = world.rng.random_range(1..=20);
            world.run_for(Duration::from_secs(length));
        }
        nobody_was_given_up(&world, seed);
    });
}

#[test]
fn a_ring_over_a_slow_transport_forms_and_stays() {
    for_seeds("latency::a_ring_over_a_slow_transport_forms_and_stays", 60, |seed| {
        let mut world = World::new(seed);
        world.weather = slow(&mut world);
        let size = world.rng.random_range(2..=8);
        world.start_ring(size);
        let formed = world.now + Duration::from_secs(20);
        assert!(world.run_until(formed, |world| agreement(world).is_ok()), "seed {seed}");
        let is_up = |event: &MemberEvent| matches!(event, MemberEvent::Up(_));
        assert!(world.member_events.iter().all(|(_, _, event)| is_up(event)), "{:?}", world.member_events);
        world.member_events.clear();
        world.run_for(Duration::from_secs(120));
        nobody_was_given_up(&world, seed);
    });
}

#[test]
fn a_crash_is_noticed_over_a_slow_transport_too() {
    let worst = std::cell::Cell::new(Duration::ZERO);
    for_seeds("latency::a_crash_is_noticed_over_a_slow_transport_too", 40, |seed| {
        let mut world = World::new(seed);
        let size = world.rng.random_range(2..=8);
        let nodes = world.start_ring(size);
        world.weather = slow(&mut world);
        world.run_for(Duration::from_secs(60));
        world.member_events.clear();
        let crashed = world.now;
        let victim = world.rng.random_range(0..size);
        world.crash(&nodes[victim]);
        assert!(world.run_until(crashed + Duration::from_secs(60), |world| agreement(world).is_ok()));
        worst.set(worst.get().max(world.now - crashed));
        world.member_events.clear();
        world.run_for(Duration::from_secs(60));
        nobody_was_given_up(&world, seed);
    });
    println!("worst detection of a crash, messages up to a second under way: {:?}", worst.get());
}

#[test]
fn a_crash_is_noticed_quickly_again_when_the_transport_is_quick_again() {
    let worst = std::cell::Cell::new(Duration::ZERO);
    for_seeds("latency::a_crash_is_noticed_quickly_again_when_the_transport_is_quick_again", 40, |seed| {
        let mut world = World::new(seed);
        let size = world.rng.random_range(2..=8);
        let nodes = world.start_ring(size);
        world.weather = slow(&mut world);
        world.run_for(Duration::from_secs(60));
        world.weather = Weather::FAIR;
        world.run_for(Duration::from_secs(120));
        let crashed = world.now;
        let victim = world.rng.random_range(0..size);
        world.crash(&nodes[victim]);
        let noticed = world.run_until(crashed + Duration::from_secs(3), |world| agreement(world).is_ok());
        assert!(noticed, "seed {seed}: {:?}", agreement(&world));
        worst.set(worst.get().max(world.now - crashed));
    });
    println!("worst detection of a crash, two minutes after the transport was slow: {:?}", worst.get());
}
