//! One name, one living node; and nodes whose clocks are wrong.

use std::time::Duration;

use rand::Rng;

use super::for_seeds;
use super::oracle::agreement;
use super::world::{World, node_at};
use crate::dht::core::Input;
use crate::dht::member::Member;
use crate::dht::membership::MemberEvent;
use crate::dht::message::{MembershipMessage, Message};
use crate::transport::Locator;

const HOUR: Duration = Duration::from_secs(3600);
const TEN_YEARS: Duration = Duration::from_secs(10 * 365 * 86_400);

fn renewals(world: &World) -> usize {
    world.member_events.iter().filter(|(_, _, event)| matches!(event, MemberEvent::Renewed(_))).count()
}

fn taken_from(world: &World, loser: &str) -> Vec<Locator> {
    let by = world.member_events.iter().filter_map(|(_, name, event)| match event {
        MemberEvent::NameTaken { by } if name.as_str() == loser => Some(by.locator.clone()),
        _ => None,
    });
    by.collect()
}

/// `n1` is killed and comes back with a clock that is behind: how long until it is on the ring, and how many messages that
/// has cost.
fn comeback(seed: u64, behind: Duration, place: &str) -> (Duration, u64) {
    let mut world = World::new(seed);
    let size = world.rng.random_range(2..=6);
    let nodes = world.start_ring(size);
    world.crash(&nodes[1]);
    // Before the ring has noticed, or long after.
    let pause = world.rng.random_range(0..8000);
    world.run_for(Duration::from_millis(pause));
    world.member_events.clear();
    let (back, sent) = (world.now, world.sent);
    world.start_node_late("n1", place, &["n0"], behind);
    // Not only counted by its name, which its former life had, too.
    let counted = |world: &World| {
        let placed = |member: &Member| member.name.as_str() != "n1" || member.locator == node_at(place);
        agreement(world).is_ok() && world.nodes.values().all(|node| node.core.view().members().all(placed))
    };
    let in_time = world.run_until(back + Duration::from_secs(2), counted);
    assert!(in_time, "seed {seed}: {:?}", agreement(&world));
    let took = world.now - back;
    world.run_for(Duration::from_secs(2) - took);
    let messages = world.sent - sent;
    world.run_for(Duration::from_secs(15));
    assert!(counted(&world), "seed {seed}: it does not stay on the ring");
    let renewed = renewals(&world);
    assert!(renewed <= 3, "seed {seed}: {renewed} renewals");
    assert!(world.nodes.values().all(|node| !node.ended), "seed {seed}");
    (took, messages / size as u64)
}

#[test]
fn a_node_with_a_clock_behind_is_on_the_ring_within_two_seconds() {
    let worst = std::cell::Cell::new((Duration::ZERO, 0));
    for_seeds("names::a_node_with_a_clock_behind_is_on_the_ring_within_two_seconds", 12, |seed| {
        for behind in [Duration::ZERO, Duration::from_secs(20), HOUR, TEN_YEARS] {
            for place in ["n1", "elsewhere"] {
                let (took, messages) = comeback(seed, behind, place);
                // Probes, their answers and gossip of two seconds are about this many.
                assert!(messages <= 120, "seed {seed}, {behind:?}, {place}: {messages} messages a node");
                worst.set((worst.get().0.max(took), worst.get().1.max(messages)));
            }
        }
    });
    println!("worst comeback, and messages a node in two seconds: {:?}", worst.get());
}

#[test]
fn of_two_nodes_with_one_name_the_elder_stays() {
    for_seeds("names::of_two_nodes_with_one_name_the_elder_stays", 40, |seed| {
        let mut world = World::new(seed);
        let size = world.rng.random_range(2..=6);
        let nodes = world.start_ring(size);
        world.member_events.clear();
        // Of the ring it knows another node, or only its namesake; and its clock is right, or behind.
        let seed_node = ["n0", "n1"][world.rng.random_range(0..2)];
        let behind = [Duration::ZERO, HOUR][world.rng.random_range(0..2)];
        let rival = world.start_node_late("n1", "elsewhere", &[seed_node], behind);
        world.run_for(Duration::from_secs(20));
        assert!(!world.nodes[&nodes[1]].ended, "seed {seed}: a typing error takes the first n1 down");
        assert!(world.nodes[&rival].ended, "seed {seed}: the second n1 lives on");
        assert_eq!(taken_from(&world, "n1"), [nodes[1].clone()], "with an event that names the first");
        let lost = |event: &MemberEvent| matches!(event, MemberEvent::Down(_) | MemberEvent::Renewed(_));
        let lost: Vec<_> = world.member_events.iter().filter(|(_, _, event)| lost(event)).collect();
        assert!(lost.is_empty(), "seed {seed}: {lost:?}");
        agreement(&world).unwrap();
    });
}

#[test]
fn two_rings_that_meet_keep_the_elder_of_two_namesakes() {
    for_seeds("names::two_rings_that_meet_keep_the_elder_of_two_namesakes", 40, |seed| {
        let mut world = World::new(seed);
        let behind = [Duration::ZERO, HOUR][world.rng.random_range(0..2)];
        world.start_node_late("twin", "elder", &[], behind);
        world.start_node("a", &["elder"]);
        let pause = world.rng.random_range(1500..6000);
        world.run_for(Duration::from_millis(pause));
        world.start_node_at("twin", "younger", &[]);
        world.start_node("b", &["younger"]);
        world.run_for(Duration::from_secs(3));
        world.input(&node_at("b"), Input::Join(vec![node_at("a")]));
        world.run_for(Duration::from_secs(20));
        assert!(!world.nodes[&node_at("elder")].ended, "seed {seed}");
        assert!(world.nodes[&node_at("younger")].ended, "seed {seed}");
        assert_eq!(taken_from(&world, "twin"), [node_at("elder")], "seed {seed}");
        agreement(&world).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        let renewed = renewals(&world);
        assert!(renewed <= 10, "seed {seed}: {renewed} renewals");
    });
}

#[test]
fn of_namesakes_that_start_together_one_stays() {
    for_seeds("names::of_namesakes_that_start_together_one_stays", 60, |seed| {
        let mut world = World::new(seed);
        world.start_ring(2);
        let apart = world.rng.random_range(0..3000);
        world.start_node_at("twin", "first", &["n0"]);
        world.run_for(Duration::from_millis(apart));
        world.start_node_at("twin", "second", &["n1"]);
        world.run_for(Duration::from_secs(30));
        let living = [node_at("first"), node_at("second")].map(|at| !world.nodes[&at].ended);
        assert_eq!(living.iter().filter(|lives| **lives).count(), 1, "seed {seed}: {living:?}");
        agreement(&world).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    });
}

#[test]
fn a_node_that_was_replaced_while_it_stood_still_gives_way() {
    for_seeds("names::a_node_that_was_replaced_while_it_stood_still_gives_way", 30, |seed| {
        let mut world = World::new(seed);
        let size = world.rng.random_range(2..=5);
        let nodes = world.start_ring(size);
        world.stop(&nodes[1]);
        world.run_for(Duration::from_secs(10));
        let heir = world.start_node_at("n1", "elsewhere", &["n0"]);
        world.run_for(Duration::from_secs(20));
        world.go_on(&nodes[1]);
        world.run_for(Duration::from_secs(20));
        assert!(!world.nodes[&heir].ended, "seed {seed}: the heir is on the ring");
        assert!(world.nodes[&nodes[1]].ended, "seed {seed}");
        agreement(&world).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    });
}

/// What a stranger, a captured packet or a node of another transport may say of a namesake.
fn hearsay(member: &Member) -> Vec<MembershipMessage> {
    vec![
        MembershipMessage::Join(member.clone()),
        MembershipMessage::Welcome(member.clone()),
        MembershipMessage::NameTaken(member.clone()),
        MembershipMessage::NameQuery { from: member.clone(), nonce: 7 },
        MembershipMessage::NameHeld { by: member.clone(), held: TEN_YEARS, nonce: 7 },
        MembershipMessage::Leaving(member.clone()),
    ]
}

#[test]
fn hearsay_ends_nobody() {
    for_seeds("names::hearsay_ends_nobody", 20, |seed| {
        for place in ["memory:nobody", "mqtt:n1", "zmq+tcp://127.0.0.1:9"] {
            let mut world = World::new(seed);
            let size = world.rng.random_range(1..=4);
            let nodes = world.start_ring(size);
            let victim = nodes[size - 1].clone();
            world.member_events.clear();
            let me = world.nodes[&victim].core.me().clone();
            let locator = Locator::new(place).unwrap();
            let sent = world.sent;
            for _ in 0..200 {
                let generation = me.generation + world.rng.random_range(0..1 << 41);
                let namesake = Member { locator: locator.clone(), generation, ..me.clone() };
                for said in hearsay(&namesake) {
                    let message = Message::Membership(said);
                    world.input(&victim, Input::Message { from: node_at("stranger"), message });
                }
                world.run_for(Duration::from_millis(100));
            }
            assert!(world.nodes.values().all(|node| !node.ended), "seed {seed}, {place}");
            let renewed = renewals(&world);
            assert!(renewed <= 4, "seed {seed}, {place}: {renewed} renewals in 20 s");
            let messages = (world.sent - sent) / size as u64;
            assert!(messages <= 1500, "seed {seed}, {place}: {messages} messages a node in 20 s");
            world.run_for(Duration::from_secs(5));
            agreement(&world).unwrap_or_else(|why| panic!("seed {seed}, {place}: {why}"));
        }
    });
}

#[test]
fn no_word_about_its_own_address_makes_a_node_renew_itself_without_an_end() {
    let mut world = World::new(1);
    let nodes = world.start_ring(3);
    world.member_events.clear();
    for _ in 0..10_000 {
        let mut earlier = world.nodes[&nodes[0]].core.me().clone();
        earlier.generation += 1;
        let message = Message::Membership(MembershipMessage::NameTaken(earlier));
        world.input(&nodes[0], Input::Message { from: node_at("stranger"), message });
        world.run_for(Duration::from_millis(1));
    }
    let renewed = renewals(&world);
    assert!((1..=60).contains(&renewed), "{renewed} renewals in 10 s");
    world.run_for(Duration::from_secs(3));
    agreement(&world).unwrap();
}

#[test]
fn a_generation_that_nobody_has_is_not_believed() {
    let mut world = World::new(1);
    let nodes = world.start_ring(2);
    let mut absurd = world.nodes[&nodes[0]].core.me().clone();
    absurd.generation = u64::MAX;
    for said in hearsay(&absurd) {
        let message = Message::Membership(said);
        world.input(&nodes[0], Input::Message { from: node_at("stranger"), message });
    }
    world.run_for(Duration::from_secs(2));
    assert!(world.nodes[&nodes[0]].core.me().generation < 1 << 60);
    agreement(&world).unwrap();
}
