//! Random schedules of faults: afterwards everything must be as if nothing had happened.

use std::time::Duration;

use rand::Rng;
use rand::seq::IndexedRandom;

use super::for_seeds;
use super::oracle::at_rest;
use super::world::{Weather, World, node_at};
use crate::dht::core::Input;
use crate::dht::record::{Interest, Registration, Route};
use crate::message::{Encoding, EntityId, SessionId};
use crate::qos::{Offered, Partition, Requested};
use crate::topic::{Topic, TopicFilter};
use crate::transport::Locator;

const TOPICS: [&str; 5] = ["a", "a/b", "weather/98101", "weather/94102", "x/y/z"];
const FILTERS: [&str; 4] = ["weather/+", "#", "a/#", "x/+/z"];
const LEASE: Duration = Duration::from_secs(6);

/// Long enough for a partition to heal, for lost pushes to be repeated with a renewal, and for a lease to end.
const REST: Duration = Duration::from_secs(60);

fn random_interest(world: &mut World) -> Interest {
    let rng = &mut world.rng;
    let partition = if rng.random_bool(0.15) { Partition(vec!["lab".into()]) } else { Partition::default() };
    if rng.random_bool(0.5) {
        let mut qos = if rng.random_bool(0.7) { Offered::reliable() } else { Offered::best_effort() };
        if rng.random_bool(0.5) {
            qos = qos.exclusive(rng.random_range(0..4));
        }
        qos.partition = partition;
        let topic = Topic::new(TOPICS.choose(rng).unwrap()).unwrap();
        Interest::Offer { topic, qos: Box::new(qos) }
    } else {
        let mut qos = if rng.random_bool(0.5) { Requested::reliable() } else { Requested::best_effort() };
        if rng.random_bool(0.5) {
            qos = qos.exclusive();
        }
        qos.partition = partition;
        let filter = if rng.random_bool(0.4) { FILTERS.choose(rng) } else { TOPICS.choose(rng) };
        let filter = TopicFilter::new(filter.unwrap()).unwrap();
        let route = if rng.random_bool(0.4) { Route::ViaNode } else { Route::Direct };
        Interest::Request { filter, qos: Box::new(qos), route }
    }
}

struct Schedule {
    world: World,
    nodes: usize,
    clients: u64,
    entities: u32,
}

impl Schedule {
    fn some_node(&mut self) -> Option<Locator> {
        let nodes: Vec<Locator> =
            self.world.nodes.iter().filter(|(_, node)| !node.ended).map(|(at, _)| at.clone()).collect();
        nodes.choose(&mut self.world.rng).cloned()
    }

    fn some_client(&mut self) -> Option<Locator> {
        let clients: Vec<Locator> = self.world.clients.keys().cloned().collect();
        clients.choose(&mut self.world.rng).cloned()
    }

    fn start_node(&mut self) {
        let seeds: Vec<String> =
            self.world.nodes.values().map(|node| node.core.me().name.to_string()).collect();
        let seeds: Vec<&str> = seeds.iter().map(String::as_str).collect();
        self.world.start_node(&format!("n{}", self.nodes), &seeds);
        self.nodes += 1;
    }

    fn start_client(&mut self) {
        self.clients += 1;
        let at = self.world.start_client(&self.clients.to_string(), &["n0", "n1", "n2"]);
        for _ in 0..self.world.rng.random_range(1..=3) {
            self.register(&at, SessionId(self.clients));
        }
    }

    fn register(&mut self, at: &Locator, session: SessionId) {
        self.entities += 1;
        let id = EntityId { session, entity: self.entities };
        let interest = random_interest(&mut self.world);
        let (locator, encoding) = (at.clone(), Encoding::Postcard);
        self.world.register(at, Registration { id, locator, encoding, lease: LEASE, interest });
    }

    /// Something happens. Returns what, for the trace of a failing seed.
    fn fault(&mut self) -> String {
        match self.world.rng.random_range(0..10) {
            0 | 1 => self.crash_and_perhaps_restart(),
            2 if self.world.nodes.len() > 2 => {
                let Some(at) = self.some_node() else { return "nothing".into() };
                self.world.input(&at, Input::Leave);
                format!("{at} leaves")
            }
            3 if self.world.nodes.len() < 8 => {
                self.start_node();
                "a node joins".into()
            }
            4 => {
                let cut: Vec<Locator> =
                    self.world.nodes.keys().chain(self.world.clients.keys()).cloned().collect();
                let cut: Vec<Locator> = cut.into_iter().filter(|_| self.world.rng.random_bool(0.4)).collect();
                self.world.cut(&cut);
                format!("{cut:?} are cut off")
            }
            5 => {
                self.world.heal();
                "the network heals".into()
            }
            6 => {
                let Some(at) = self.some_client() else { return "nothing".into() };
                self.world.crash(&at);
                format!("{at} crashes")
            }
            7 => {
                let Some(at) = self.some_client() else { return "nothing".into() };
                let ids: Vec<EntityId> = self.world.clients[&at].wanted.keys().copied().collect();
                let Some(id) = ids.choose(&mut self.world.rng).copied() else { return "nothing".into() };
                self.world.unregister(&at, id);
                format!("{id} is withdrawn")
            }
            8 => {
                let Some(at) = self.some_client() else { return "nothing".into() };
                let Some(mut registration) = self.world.clients[&at].wanted.values().next().cloned() else {
                    return "nothing".into();
                };
                if let Interest::Offer { qos, .. } = &mut registration.interest {
                    qos.strength = self.world.rng.random_range(0..8);
                }
                self.world.register(&at, registration);
                format!("{at} changes its QoS")
            }
            _ => {
                self.start_client();
                "a client comes".into()
            }
        }
    }

    fn crash_and_perhaps_restart(&mut self) -> String {
        if self.world.nodes.len() < 2 {
            return "nothing".into();
        }
        let Some(at) = self.some_node() else { return "nothing".into() };
        let name = self.world.nodes[&at].core.me().name.to_string();
        self.world.crash(&at);
        if self.world.rng.random_bool(0.4) {
            let pause = self.world.rng.random_range(0..4000);
            self.world.run_for(Duration::from_millis(pause));
            self.world.start_node(&name, &["n0", "n1", "n2", "n3"]);
            return format!("{name} crashes and restarts after {pause} ms");
        }
        format!("{name} crashes")
    }
}

fn run(seed: u64) {
    let mut world = World::new(seed);
    let loss = if world.rng.random_bool(0.5) { 0.0 } else { world.rng.random_range(0.0..0.1) };
    world.weather = Weather { delay: 1..=world.rng.random_range(2..30), loss };
    let size = world.rng.random_range(1..=6);
    let mut schedule = Schedule { world, nodes: size, clients: 0, entities: 0 };
    for index in 0..size {
        schedule.world.start_node(&format!("n{index}"), &["n0", "n1", "n2"]);
    }
    for _ in 0..schedule.world.rng.random_range(2..=5) {
        schedule.start_client();
    }
    let mut trace = Vec::new();
    for _ in 0..schedule.world.rng.random_range(3..10) {
        let pause = schedule.world.rng.random_range(0..3000);
        schedule.world.run_for(Duration::from_millis(pause));
        let what = schedule.fault();
        trace.push(format!("{:?}: {what}", schedule.world.now.since_origin()));
    }
    let Schedule { mut world, .. } = schedule;
    world.heal();
    world.weather = Weather::FAIR;
    // Clients whose first registration failed for good, because the whole ring was away, try again as programs do;
    // nodes that know nobody are told where the others are.
    let seeds: Vec<Locator> = (0..20).map(|index| node_at(&format!("n{index}"))).collect();
    for at in world.nodes.keys().cloned().collect::<Vec<_>>() {
        world.input(&at, Input::Join(seeds.clone()));
    }
    if world.nodes.get(&seeds[0]).is_none_or(|node| node.ended) {
        world.start_node("n0", &["n1", "n2", "n3", "n4", "n5", "n6", "n7"]);
    }
    world.run_for(Duration::from_secs(6));
    for at in world.clients.keys().cloned().collect::<Vec<_>>() {
        for registration in world.clients[&at].wanted.values().cloned().collect::<Vec<_>>() {
            world.register(&at, registration);
        }
    }
    let until = world.now + REST;
    world.run_for(Duration::from_secs(2));
    let mut last = at_rest(&world);
    while last.is_err() && world.now < until {
        world.run_for(Duration::from_millis(500));
        last = at_rest(&world);
    }
    if let Err(why) = last {
        panic!("seed {seed}: {why}\n{}", trace.join("\n"));
    }
    // And it stays so.
    world.run_for(LEASE * 2);
    if let Err(why) = at_rest(&world) {
        panic!("seed {seed}, later: {why}\n{}", trace.join("\n"));
    }
}

#[test]
fn random_faults_leave_no_trace() {
    for_seeds("faults::random_faults_leave_no_trace", 100, run);
}
