//! The network, the nodes and the clients, and the one clock that they share.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::clockwork::Clockwork;
use crate::dht::client_core::{Answer, ClientAction, ClientConfig, ClientCore, MatchEvent};
use crate::dht::core::{Action, Input, NodeConfig, NodeCore};
use crate::dht::member::{Member, NodeName};
use crate::dht::membership::MemberEvent;
use crate::dht::message::{Message, RequestId};
use crate::dht::record::Registration;
use crate::dht::relay::{RelayCommand, RelayPlan};
use crate::error::Result;
use crate::message::EntityId;
use crate::time::{Mono, earliest};
use crate::topic::Topic;
use crate::transport::Locator;

/// What the wall clocks say when the simulation begins.
const EPOCH: Duration = Duration::from_secs(1_800_000_000);

/// How the network treats messages.
#[derive(Debug, Clone)]
pub(super) struct Weather {
    pub(super) delay: std::ops::RangeInclusive<u64>,
    pub(super) loss: f64,
}

impl Weather {
    pub(super) const FAIR: Self = Self { delay: 1..=5, loss: 0.0 };
}

pub(super) struct SimNode {
    pub(super) core: NodeCore,
    pub(super) relays: BTreeMap<Topic, RelayPlan>,
    pub(super) ended: bool,
}

pub(super) struct SimClient {
    pub(super) core: ClientCore,
    /// What should be registered, by the client's own will.
    pub(super) wanted: BTreeMap<EntityId, Registration>,
    pub(super) completed: BTreeMap<RequestId, Result<Answer>>,
    pub(super) events: Vec<(Mono, EntityId, MatchEvent)>,
    /// The counterparts that the events add up to.
    pub(super) mirror: BTreeMap<EntityId, BTreeSet<(Topic, EntityId)>>,
}

pub(super) struct World {
    pub(super) now: Mono,
    pub(super) rng: SmallRng,
    pub(super) weather: Weather,
    pub(super) nodes: BTreeMap<Locator, SimNode>,
    pub(super) clients: BTreeMap<Locator, SimClient>,
    pub(super) member_events: Vec<(Mono, NodeName, MemberEvent)>,
    /// Which side of a cut a locator is on; messages between sides are lost.
    sides: BTreeMap<Locator, u32>,
    /// Ways on which all messages are lost: from, to.
    pub(super) broken: BTreeSet<(Locator, Locator)>,
    /// Nodes whose processes are stopped, and the messages that wait for them.
    stopped: BTreeMap<Locator, Vec<(Locator, Vec<u8>)>>,
    queue: BTreeMap<(Mono, u64), (Locator, Locator, Vec<u8>)>,
    pub(super) sent: u64,
    config: NodeConfig,
    client_config: ClientConfig,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self::with(seed, NodeConfig::default(), ClientConfig::default())
    }

    pub(super) fn with(seed: u64, config: NodeConfig, client_config: ClientConfig) -> Self {
        Self {
            now: Mono::ZERO,
            rng: SmallRng::seed_from_u64(seed),
            weather: Weather::FAIR,
            nodes: BTreeMap::new(),
            clients: BTreeMap::new(),
            member_events: Vec::new(),
            sides: BTreeMap::new(),
            broken: BTreeSet::new(),
            stopped: BTreeMap::new(),
            queue: BTreeMap::new(),
            sent: 0,
            config,
            client_config,
        }
    }

    /// Starts a node of this name that joins through these others. Started again, it is a new incarnation.
    pub(super) fn start_node(&mut self, name: &str, seeds: &[&str]) -> Locator {
        self.start_node_at(name, name, seeds)
    }

    pub(super) fn start_node_at(&mut self, name: &str, place: &str, seeds: &[&str]) -> Locator {
        self.start_node_late(name, place, seeds, Duration::ZERO)
    }

    /// Starts a node whose wall clock is behind by this much.
    pub(super) fn start_node_late(
        &mut self,
        name: &str,
        place: &str,
        seeds: &[&str],
        behind: Duration,
    ) -> Locator {
        let locator = node_at(place);
        let clock = (EPOCH + self.now.since_origin()).saturating_sub(behind);
        let generation = u64::try_from(clock.as_millis()).unwrap();
        let me = Member { name: NodeName::new(name).unwrap(), locator: locator.clone(), generation };
        let core = NodeCore::new(me, self.config.clone(), self.rng.random());
        self.nodes.insert(locator.clone(), SimNode { core, relays: BTreeMap::new(), ended: false });
        let seeds = seeds.iter().map(|seed| node_at(seed)).collect();
        self.input(&locator, Input::Join(seeds));
        locator
    }

    /// Starts a ring of `n0`, `n1`, … and lets it form.
    pub(super) fn start_ring(&mut self, size: usize) -> Vec<Locator> {
        let nodes = (0..size).map(|index| {
            let seeds: &[&str] = if index == 0 { &[] } else { &["n0"] };
            self.start_node(&format!("n{index}"), seeds)
        });
        let nodes = nodes.collect();
        self.run_for(Duration::from_secs(4));
        nodes
    }

    pub(super) fn start_client(&mut self, name: &str, seeds: &[&str]) -> Locator {
        let locator = Locator::new(format!("memory:client-{name}")).unwrap();
        let seeds = seeds.iter().map(|seed| node_at(seed)).collect();
        let client = SimClient {
            core: ClientCore::new(self.client_config.clone(), seeds),
            wanted: BTreeMap::new(),
            completed: BTreeMap::new(),
            events: Vec::new(),
            mirror: BTreeMap::new(),
        };
        self.clients.insert(locator.clone(), client);
        locator
    }

    /// The process is gone: what it held is lost, nobody is told.
    pub(super) fn crash(&mut self, locator: &Locator) {
        self.nodes.remove(locator);
        self.clients.remove(locator);
    }

    pub(super) fn input(&mut self, node: &Locator, input: Input) {
        let now = self.now;
        if let Some(node) = self.nodes.get_mut(node) {
            node.core.handle(now, input);
        }
        self.drain_node(node);
    }

    /// Does something with a client and takes over what it wants done.
    pub(super) fn client<R>(&mut self, at: &Locator, act: impl FnOnce(&mut ClientCore, Mono) -> R) -> R {
        let now = self.now;
        let client = self.clients.get_mut(at).expect("a running client");
        let result = act(&mut client.core, now);
        self.drain_client(at);
        result
    }

    pub(super) fn register(&mut self, at: &Locator, registration: Registration) -> RequestId {
        let client = self.clients.get_mut(at).expect("a running client");
        client.wanted.insert(registration.id, registration.clone());
        self.client(at, |core, now| core.register(now, registration))
    }

    pub(super) fn unregister(&mut self, at: &Locator, id: EntityId) -> RequestId {
        let client = self.clients.get_mut(at).expect("a running client");
        client.wanted.remove(&id);
        client.mirror.remove(&id);
        self.client(at, |core, now| core.unregister(now, id))
    }

    /// Puts these places on a side of their own.
    pub(super) fn cut(&mut self, places: &[Locator]) {
        self.sides = places.iter().map(|place| (place.clone(), 1)).collect();
    }

    pub(super) fn heal(&mut self) {
        self.sides.clear();
    }

    /// Stops a node's process; what is sent to it waits.
    pub(super) fn stop(&mut self, node: &Locator) {
        self.stopped.entry(node.clone()).or_default();
    }

    /// Lets a stopped process go on: its driver looks at its timers first, then reads what has come.
    pub(super) fn go_on(&mut self, node: &Locator) {
        let waiting = self.stopped.remove(node).unwrap_or_default();
        self.step_node(node);
        for (from, bytes) in waiting {
            self.deliver(from, node, &bytes);
        }
    }

    pub(super) fn run_for(&mut self, duration: Duration) {
        let until = self.now + duration;
        self.run_until(until, |_| false);
    }

    /// Runs until the condition holds, at most until `until`; whether it held.
    pub(super) fn run_until(&mut self, until: Mono, holds: impl Fn(&Self) -> bool) -> bool {
        self.run_till(until, holds)
    }

    fn deliver(&mut self, from: Locator, to: &Locator, bytes: &[u8]) {
        if let Some(waiting) = self.stopped.get_mut(to) {
            return waiting.push((from, bytes.to_vec()));
        }
        let message = Message::decode(bytes).expect("a message that decodes");
        if self.nodes.contains_key(to) {
            self.input(to, Input::Message { from, message });
        } else if self.clients.contains_key(to) {
            self.client(to, |core, now| core.handle(now, &from, message));
        }
    }

    fn send(&mut self, from: &Locator, to: Locator, message: &Message) {
        let bytes = message.encode().expect("a message that encodes");
        let side = |place: &Locator| self.sides.get(place).copied().unwrap_or(0);
        let broken = self.broken.contains(&(from.clone(), to.clone()));
        if broken || side(from) != side(&to) || self.rng.random_bool(self.weather.loss) {
            return;
        }
        let delay = Duration::from_micros(
            self.rng.random_range(self.weather.delay.start() * 1000..=self.weather.delay.end() * 1000),
        );
        self.sent += 1;
        self.queue.insert((self.now + delay, self.sent), (from.clone(), to, bytes));
    }

    fn step_node(&mut self, at: &Locator) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(at) else { return };
        if node.core.poll_timeout().is_some_and(|due| due <= now) {
            node.core.handle_timeout(now);
            let next = node.core.poll_timeout();
            assert!(next.is_none_or(|next| next > now), "{at} does not rest at {now:?}: {next:?}");
            self.drain_node(at);
        }
    }

    fn drain_node(&mut self, at: &Locator) {
        while let Some(node) = self.nodes.get_mut(at) {
            let Some(action) = node.core.poll_action() else { return };
            match action {
                Action::Send { to, message } => self.send(at, to, &message),
                Action::Relay(RelayCommand::Run(plan)) => {
                    node.relays.insert(plan.topic.clone(), plan);
                }
                Action::Relay(RelayCommand::Stop(topic) | RelayCommand::HandOver(topic)) => {
                    assert!(node.relays.remove(&topic).is_some(), "{at} stops what does not run");
                }
                Action::Member(event) => {
                    self.member_events.push((self.now, node.core.me().name.clone(), event));
                }
                Action::Remapped { .. } => {}
                Action::Ended => node.ended = true,
            }
        }
    }

    fn drain_client(&mut self, at: &Locator) {
        while let Some(client) = self.clients.get_mut(at) {
            let Some(action) = client.core.poll_action() else { return };
            match action {
                ClientAction::Send { to, message } => self.send(at, to, &message),
                ClientAction::Complete { request, result } => {
                    let earlier = client.completed.insert(request, result);
                    assert!(earlier.is_none(), "request {request} of {at} is completed twice");
                }
                ClientAction::Event { registration, event } => {
                    note(client, registration, &event);
                    client.events.push((self.now, registration, event));
                }
            }
        }
    }
}

/// Adds an event to the mirror, checking that it makes sense after those before it.
fn note(client: &mut SimClient, registration: EntityId, event: &MatchEvent) {
    assert!(
        client.wanted.contains_key(&registration),
        "{event:?} for {registration}, which is not registered"
    );
    let mirror = client.mirror.entry(registration).or_default();
    match event {
        MatchEvent::Matched { topic, peer, .. } | MatchEvent::Mismatched { topic, peer, .. } => {
            mirror.insert((topic.clone(), peer.peer));
        }
        MatchEvent::Departed { topic, peer } => {
            assert!(mirror.remove(&(topic.clone(), peer.peer)), "{} departed without having come", peer.peer);
        }
        MatchEvent::Takeover { from, to, .. } => assert_ne!(from, to),
        MatchEvent::Remapped { from, to, .. } => assert_ne!(from.name, to.name),
    }
}

pub(super) fn node_at(place: &str) -> Locator {
    Locator::new(format!("memory:{place}")).unwrap()
}

impl Clockwork for World {
    const LOOK: Duration = Duration::from_millis(5);

    fn now(&mut self) -> &mut Mono {
        &mut self.now
    }

    fn next_event(&self) -> Option<Mono> {
        let queue = self.queue.first_key_value().map(|((at, _), _)| *at);
        let running = self.nodes.iter().filter(|(at, _)| !self.stopped.contains_key(*at));
        let nodes = running.filter_map(|(_, node)| node.core.poll_timeout()).min();
        let clients = self.clients.values().filter_map(|client| client.core.poll_timeout()).min();
        earliest(queue, earliest(nodes, clients))
    }

    fn step(&mut self) {
        let now = self.now;
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= now) {
            let (from, to, bytes) = entry.remove();
            self.deliver(from, &to, &bytes);
        }
        for at in self.nodes.keys().cloned().collect::<Vec<_>>() {
            if !self.stopped.contains_key(&at) {
                self.step_node(&at);
            }
        }
        for at in self.clients.keys().cloned().collect::<Vec<_>>() {
            let client = self.clients.get_mut(&at).unwrap();
            if client.core.poll_timeout().is_some_and(|due| due <= now) {
                client.core.handle_timeout(now);
                let next = client.core.poll_timeout();
                assert!(next.is_none_or(|next| next > now), "{at} does not rest at {now:?}: {next:?}");
                self.drain_client(&at);
            }
        }
    }
}
