//! What a node keeps of its answers is what it would answer anew, whatever happens to the ring and to what is registered.

use std::time::Duration;

use rand::Rng;

use super::for_seeds;
use super::world::World;
use crate::dht::core::{Action, Input, NodeCore};
use crate::dht::message::lookups::append_reply;
use crate::dht::message::{Message, Request, RequestBody};
use crate::dht::record::{Interest, Registration};
use crate::message::{Encoding, EntityId, SessionId};
use crate::qos::Offered;
use crate::time::Mono;
use crate::topic::TopicFilter;
use crate::transport::Locator;

const TOPICS: u32 = 6;

fn offer(at: &Locator, entity: u32, strength: i32, lease: Duration) -> Registration {
    let qos = Box::new(Offered::reliable().exclusive(strength));
    let interest = Interest::Offer { topic: topic(entity % TOPICS).parse().unwrap(), qos };
    let id = EntityId { session: SessionId(1), entity };
    Registration { id, locator: at.clone(), encoding: Encoding::Postcard, lease, interest }
}

fn topic(number: u32) -> String {
    format!("topic/{number}")
}

/// The answer that the node would send if it kept none; `None` if it passes the lookup on.
fn answered_anew(core: &mut NodeCore, now: Mono, topic: &str, client: &Locator) -> Option<Message> {
    let filter = TopicFilter::new(topic).unwrap();
    let message = Message::Request(Request { id: 7, body: RequestBody::Lookup { filter, requested: None } });
    core.handle(now, Input::Message { from: client.clone(), message });
    let actions: Vec<_> = std::iter::from_fn(|| core.poll_action()).collect();
    match actions.as_slice() {
        [Action::Send { to, message }] if to == client => Some(message.clone()),
        _ => None,
    }
}

/// Compares, at every node and for every topic; how many answers were kept.
fn check(world: &mut World, client: &Locator, seed: u64) -> usize {
    let (now, mut kept) = (world.now, 0);
    for (place, node) in &mut world.nodes {
        for topic in (0..=TOPICS).map(topic) {
            let Some(answer) = node.core.kept_answer(now, &topic) else { continue };
            let mut sent = Vec::new();
            append_reply(7, &answer, &mut sent).unwrap();
            let anew = answered_anew(&mut node.core, now, &topic, client);
            assert_eq!(Some(Message::decode(&sent).unwrap()), anew, "seed {seed}: {topic} at {place}");
            kept += 1;
        }
    }
    kept
}

#[test]
fn what_is_kept_is_what_would_be_answered() {
    for_seeds("lookups::what_is_kept_is_what_would_be_answered", 20, |seed| {
        let mut world = World::new(seed);
        let mut nodes = world.start_ring(3);
        let client = world.start_client("c", &["n0", "n1", "n2"]);
        let (mut kept, mut started) = (0, nodes.len());
        for _ in 0..60 {
            let entity = world.rng.random_range(0..3 * TOPICS);
            match world.rng.random_range(0..10) {
                0 if nodes.len() > 2 => {
                    let gone = nodes.remove(world.rng.random_range(0..nodes.len()));
                    world.crash(&gone);
                }
                1 if nodes.len() > 2 => {
                    let leaver = nodes.remove(world.rng.random_range(0..nodes.len()));
                    world.input(&leaver, Input::Leave);
                }
                2 if nodes.len() < 5 => {
                    let seeds: Vec<String> =
                        (0..started).rev().take(5).map(|index| format!("n{index}")).collect();
                    let seeds: Vec<&str> = seeds.iter().map(String::as_str).collect();
                    nodes.push(world.start_node(&format!("n{started}"), &seeds));
                    started += 1;
                }
                3 | 4 => drop(world.unregister(&client, EntityId { session: SessionId(1), entity })),
                _ => {
                    let (strength, lease) = (world.rng.random_range(0..4), world.rng.random_range(1..30));
                    let offer = offer(&client, entity, strength, Duration::from_secs(lease));
                    world.register(&client, offer);
                }
            }
            let pause = world.rng.random_range(1..800);
            for _ in 0..4 {
                world.run_for(Duration::from_millis(pause / 4 + 1));
                kept += check(&mut world, &client, seed);
            }
        }
        assert!(kept > 100, "seed {seed}: {kept} answers were kept");
    });
}
