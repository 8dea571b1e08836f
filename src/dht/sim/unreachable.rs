//! Ways between two nodes that are cut, in one direction or both, while others reach both.

use std::cell::Cell;
use std::time::Duration;

use rand::Rng;

use super::for_seeds;
use super::world::World;
use crate::dht::client_core::Answer;
use crate::dht::record::{Interest, Registration};
use crate::error::ErrorKind;
use crate::message::{Encoding, EntityId, SessionId};
use crate::qos::Offered;
use crate::topic::TopicFilter;
use crate::transport::Locator;

/// A topic that this node is responsible for.
fn topic_of(world: &World, node: &Locator) -> String {
    let owned = |topic: &String| {
        let view = world.nodes[node].core.view();
        view.owner(topic).is_some_and(|owner| owner.locator == *node)
    };
    (0..).map(|number| format!("topic/{number}")).find(owned).unwrap()
}

fn offer(at: &Locator, topic: &str) -> Registration {
    let interest = Interest::Offer { topic: topic.parse().unwrap(), qos: Box::new(Offered::reliable()) };
    let (id, lease) = (EntityId { session: SessionId(1), entity: 1 }, Duration::from_secs(10));
    Registration { id, locator: at.clone(), encoding: Encoding::Postcard, lease, interest }
}

fn cut(world: &mut World, from: &Locator, to: &Locator) {
    world.broken.insert((from.clone(), to.clone()));
}

#[test]
fn a_node_that_cannot_reach_the_responsible_one_asks_by_way_of_a_third() {
    let worst = Cell::new(Duration::ZERO);
    for_seeds(
        "unreachable::a_node_that_cannot_reach_the_responsible_one_asks_by_way_of_a_third",
        30,
        |seed| {
            for both_ways in [false, true] {
                let mut world = World::new(seed);
                let size = world.rng.random_range(3..=6);
                let nodes = world.start_ring(size);
                let (entry, owner) = (nodes[0].clone(), nodes[1].clone());
                let topic = topic_of(&world, &owner);
                cut(&mut world, &entry, &owner);
                if both_ways {
                    cut(&mut world, &owner, &entry);
                }
                world.run_for(Duration::from_secs(3));
                // It knows this node only.
                let client = world.start_client("c", &["n0"]);
                let began = world.now;
                let call = world.register(&client, offer(&client, &topic));
                let answered = |world: &World| world.clients[&client].completed.contains_key(&call);
                assert!(world.run_until(began + Duration::from_secs(6), answered));
                let result = &world.clients[&client].completed[&call];
                assert!(matches!(result, Ok(Answer::Registered(_))), "seed {seed}, {both_ways}: {result:?}");
                let took = world.now - began;
                assert!(took < Duration::from_millis(1200), "seed {seed}, {both_ways}: {took:?}");
                worst.set(worst.get().max(took));
                let filter = TopicFilter::new(&topic).unwrap();
                let call = world.client(&client, |core, now| core.lookup(now, filter, None));
                world.run_for(Duration::from_secs(2));
                let Some(Ok(Answer::Offers(offers))) = world.clients[&client].completed.get(&call) else {
                    panic!("seed {seed}: {:?}", world.clients[&client].completed.get(&call))
                };
                assert_eq!(offers.found.len(), 1, "seed {seed}");
            }
        },
    );
    println!("worst registration by way of a third: {:?}", worst.get());
}

#[test]
fn the_error_names_the_node_that_cannot_be_reached() {
    for_seeds("unreachable::the_error_names_the_node_that_cannot_be_reached", 20, |seed| {
        let mut world = World::new(seed);
        let size = world.rng.random_range(3..=5);
        let nodes = world.start_ring(size);
        let owner = nodes[1].clone();
        let topic = topic_of(&world, &owner);
        // The members still count it: what it says arrives, and it is suspected and objects. Requests do not reach it.
        let client = world.start_client("c", &["n0"]);
        for node in nodes.iter().chain([&client]).filter(|node| **node != owner) {
            cut(&mut world, node, &owner);
        }
        let call = world.register(&client, offer(&client, &topic));
        let until = world.now + Duration::from_millis(900);
        world.run_until(until, |_| false);
        let failed = world.client(&client, |core, now| {
            core.handle_timeout(now + Duration::from_secs(5));
            std::iter::from_fn(|| core.poll_action()).find_map(|action| match action {
                crate::dht::client_core::ClientAction::Complete { request, result } if request == call => {
                    Some(result)
                }
                _ => None,
            })
        });
        let error = failed.expect("it is over").unwrap_err();
        let ErrorKind::Unreachable { address, reason } = error.kind() else { panic!("seed {seed}: {error}") };
        assert_eq!(address, owner.as_str(), "seed {seed}: {reason}");
        assert!(
            reason.contains("the node n1, which is responsible, does not answer n"),
            "seed {seed}: {reason}"
        );
    });
}
