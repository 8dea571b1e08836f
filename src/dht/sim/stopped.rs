//! Nodes whose processes are stopped for a while, and go on with what has come for them meanwhile.

use std::time::Duration;

use rand::Rng;

use super::for_seeds;
use super::oracle::{agreement, at_rest};
use super::world::World;
use crate::dht::client_core::{Answer, MatchEvent};
use crate::dht::record::{Interest, Registration, Route};
use crate::message::{Encoding, EntityId, SessionId};
use crate::qos::{Offered, Requested};
use crate::topic::TopicFilter;
use crate::transport::Locator;

const LEASE: Duration = Duration::from_secs(2);

fn registration(at: &Locator, session: u64, entity: u32, offers: bool) -> Registration {
    let topic = format!("topic/{}", entity % 10);
    let interest = if offers {
        Interest::Offer { topic: topic.parse().unwrap(), qos: Box::new(Offered::reliable()) }
    } else {
        let qos = Box::new(Requested::reliable());
        Interest::Request { filter: topic.parse().unwrap(), qos, route: Route::Direct }
    };
    let id = EntityId { session: SessionId(session), entity };
    Registration { id, locator: at.clone(), encoding: Encoding::Postcard, lease: LEASE, interest }
}

fn departures(world: &World, at: &Locator) -> usize {
    let departed = |event: &MatchEvent| matches!(event, MatchEvent::Departed { .. });
    world.clients[at].events.iter().filter(|(_, _, event)| departed(event)).count()
}

#[test]
fn no_lease_ends_because_the_node_that_counts_it_stood_still() {
    for_seeds("stopped::no_lease_ends_because_the_node_that_counts_it_stood_still", 20, |seed| {
        let mut world = World::new(seed);
        let size = world.rng.random_range(1..=4);
        let nodes = world.start_ring(size);
        let (a, b) = (world.start_client("a", &["n0"]), world.start_client("b", &["n0"]));
        for entity in 0..20 {
            world.register(&a, registration(&a, 1, entity, true));
            world.register(&b, registration(&b, 2, entity, false));
        }
        world.run_for(Duration::from_secs(3));
        // Long enough for the leases to end, if nobody were heard; in a ring of one nobody takes the node for dead.
        let lasts = if size == 1 { 10_000 } else { world.rng.random_range(500..1200) };
        for _ in 0..5 {
            let victim = nodes[world.rng.random_range(0..size)].clone();
            world.stop(&victim);
            world.run_for(Duration::from_millis(lasts));
            world.go_on(&victim);
            world.run_for(Duration::from_secs(5));
        }
        assert_eq!(departures(&world, &b), 0, "seed {seed}: nobody has departed");
        // A renewal may be on its way to the copies at any moment: some moment of a lease is between two of them.
        let mut last = at_rest(&world);
        for _ in 0..100 {
            if last.is_ok() {
                return;
            }
            world.run_for(LEASE / 100);
            last = at_rest(&world);
        }
        last.unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    });
}

#[test]
fn a_node_that_was_given_up_meanwhile_answers_with_no_old_offers() {
    for_seeds("stopped::a_node_that_was_given_up_meanwhile_answers_with_no_old_offers", 20, |seed| {
        let mut world = World::new(seed);
        let size = world.rng.random_range(2..=4);
        let nodes = world.start_ring(size);
        let (old, asker) = (world.start_client("old", &["n0"]), world.start_client("asker", &["n0"]));
        for entity in 0..20 {
            world.register(&old, registration(&old, 1, entity, true));
        }
        world.run_for(Duration::from_secs(3));
        let victim = nodes[size - 1].clone();
        world.stop(&victim);
        world.run_for(Duration::from_secs(6));
        // All of the old ones are withdrawn, and there are new ones, before the node goes on.
        for entity in 0..20 {
            world.unregister(&old, EntityId { session: SessionId(1), entity });
            world.register(&old, registration(&old, 7, entity, true));
        }
        world.run_for(Duration::from_secs(2));
        world.go_on(&victim);
        let last = format!("n{}", size - 1);
        let late = world.start_client("late", &[&last]);
        for at in [&asker, &late] {
            for entity in 0..10 {
                let filter = TopicFilter::new(format!("topic/{entity}")).unwrap();
                let asked = world.client(at, |core, now| core.lookup(now, filter, None));
                let until = world.now + Duration::from_secs(5);
                assert!(world.run_until(until, |world| world.clients[at].completed.contains_key(&asked)));
                let Ok(Answer::Offers(offers)) = &world.clients[at].completed[&asked] else {
                    panic!("seed {seed}: {:?}", world.clients[at].completed[&asked])
                };
                let sessions: Vec<u64> = offers.found.iter().map(|offer| offer.id.session.0).collect();
                assert_eq!(sessions, [7, 7], "seed {seed}: topic/{entity} at {at}");
            }
        }
        world.run_for(Duration::from_secs(10));
        agreement(&world).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    });
}
