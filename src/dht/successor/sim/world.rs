//! The medium, the nodes, the clients, and the one clock that they share.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::asker::Asker;
use super::clients::{Clients, RETRY};
use crate::dht::key::Key;
use crate::dht::sim::clockwork::Clockwork;
use crate::dht::successor::config::SuccessorConfig;
use crate::dht::successor::core::{Action, Input, SuccessorCore};
use crate::dht::successor::event::SuccessorEvent;
use crate::dht::successor::message::Message;
use crate::dht::successor::text::{ANSWERS, CLIENT_TOPICS, decode, detour_topics, encode, node_topics};
use crate::time::{Mono, Timestamp, earliest};

/// How the medium treats messages; each receiver's copy has its own fate.
#[derive(Debug, Clone)]
pub(super) struct Medium {
    /// Milliseconds.
    pub(super) delay: RangeInclusive<u64>,
    /// Also messages from one sender to one receiver.
    pub(super) reorders: bool,
    pub(super) loss: f64,
    /// Without a broker: so many milliseconds pass before a newcomer and each of the others hear each other. What is said
    /// until then reaches nobody.
    pub(super) meeting: Option<RangeInclusive<u64>>,
}

impl Medium {
    /// What transports do.
    pub(super) const FIFO: Self = Self { delay: 1..=20, reorders: false, loss: 0.0, meeting: None };
    /// Worse than they do.
    pub(super) const REORDERING: Self = Self { delay: 1..=100, reorders: true, loss: 0.0, meeting: None };
    /// Much worse.
    pub(super) const LOSSY: Self = Self { delay: 1..=100, reorders: true, loss: 0.02, meeting: None };
    /// What transports without a broker do.
    pub(super) const MEETING: Self = Self { meeting: Some(0..=300), ..Self::FIFO };
}

/// More messages than this are a storm: nodes that answer each other without end.
const STORM: u64 = 50_000;

/// A node's place among all that were ever started. A restarted node has a new one.
pub(super) type Place = usize;

/// What becomes of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Running,
    Leaving,
    Crashed,
    Ended { abandoned: usize },
}

pub(super) struct SimNode {
    pub(super) id: Key,
    pub(super) core: SuccessorCore,
    pub(super) fate: Fate,
    /// Its connection is down.
    pub(super) is_cut: bool,
    /// It was, once: a leaver to which that happens does not wait for its connection.
    pub(super) was_cut: bool,
    /// Its process is stopped; what has come for it meanwhile.
    pub(super) stopped: Option<BTreeMap<Party, VecDeque<Message>>>,
    pub(super) told: Vec<SuccessorEvent>,
    topics: BTreeSet<Cow<'static, str>>,
    due: Option<Mono>,
}

impl SimNode {
    pub(super) fn is_alive(&self) -> bool {
        matches!(self.fate, Fate::Running | Fate::Leaving)
    }
}

/// Who sends or receives, as a place in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Party {
    Clients,
    /// What speaks for those who cannot.
    Broker,
    Node(Place),
    /// One of the library's own clients.
    Asker(usize),
}

#[derive(Debug)]
enum Event {
    /// From, to.
    Deliver(Party, Party, Message),
    Publish(Message),
    Request(u64),
    Mend(Place),
    Continue(Place),
}

pub(super) struct World {
    pub(super) now: Mono,
    pub(super) rng: SmallRng,
    pub(super) nodes: Vec<SimNode>,
    pub(super) clients: Clients,
    pub(super) askers: Vec<Asker>,
    /// Nothing that the first says reaches the second.
    pub(super) broken: BTreeSet<(Party, Party)>,
    pub(super) config: SuccessorConfig,
    medium: Medium,
    queue: BTreeMap<Mono, Vec<Event>>,
    /// Events that change the ring when they come.
    scheduled: usize,
    /// When everybody has heard of the last of those.
    heard_by_all: Mono,
    /// When the last message between these two arrives, where the order is kept.
    latest: BTreeMap<(Party, Party), Mono>,
    /// From when on the second hears the first, where they had to meet.
    met: BTreeMap<(Party, Party), Mono>,
    published: u64,
    trace: bool,
}

impl World {
    pub(super) fn new(seed: u64, medium: Medium, config: SuccessorConfig) -> Self {
        let memory = Duration::from_millis(*medium.delay.end());
        Self {
            now: Mono::ZERO,
            rng: SmallRng::seed_from_u64(seed),
            nodes: Vec::new(),
            clients: Clients::new(memory, medium.reorders),
            askers: Vec::new(),
            broken: BTreeSet::new(),
            config,
            medium,
            queue: BTreeMap::new(),
            scheduled: 0,
            heard_by_all: Mono::ZERO,
            latest: BTreeMap::new(),
            met: BTreeMap::new(),
            published: 0,
            trace: std::env::var_os("RINGBUS_SEED").is_some(),
        }
    }

    /// Starts a node; its wall clock is up to five seconds off.
    pub(super) fn start(&mut self, id: Key) -> Place {
        self.start_off(id, Duration::ZERO)
    }

    /// Starts a node whose wall clock is behind by so much, give or take five seconds.
    pub(super) fn start_off(&mut self, id: Key, behind: Duration) -> Place {
        let wall = 1_700_000_000_000 + self.now.since_origin().as_millis() as i64 - behind.as_millis() as i64
            + self.rng.random_range(-5000..=5000);
        let wall = Timestamp::from_nanos(wall * 1_000_000);
        let address = self.medium.meeting.as_ref().map(|_| format!("tcp://{id}"));
        let detours = address.is_some().then(|| detour_topics(id)).into_iter().flatten();
        let (topics, told) = (node_topics(id).chain(detours).collect(), Vec::new());
        let core = SuccessorCore::new(self.now, id, self.config.clone(), wall, address);
        let node = SimNode {
            id,
            core,
            fate: Fate::Running,
            is_cut: false,
            was_cut: false,
            stopped: None,
            told,
            topics,
            due: None,
        };
        self.nodes.push(node);
        let place = self.nodes.len() - 1;
        self.log(|| format!("node {id} starts at place {place}"));
        self.meet(place);
        self.drain(place);
        place
    }

    /// A newcomer gets to know all others, each in its own time.
    fn meet(&mut self, newcomer: Place) {
        let Some(times) = self.medium.meeting.clone() else { return };
        for other in (0..newcomer).map(Party::Node).chain([Party::Clients]) {
            for way in [(Party::Node(newcomer), other), (other, Party::Node(newcomer))] {
                let after = Duration::from_millis(self.rng.random_range(times.clone()));
                self.met.insert(way, self.now + after);
            }
        }
    }

    pub(super) fn leave(&mut self, place: Place) {
        self.log_of(place, "is told to leave");
        self.nodes[place].fate = Fate::Leaving;
        self.nodes[place].core.handle(self.now, Input::Leave);
        self.drain(place);
    }

    /// The process is gone, and what it held. A broker says so, if `told_after` says when.
    pub(super) fn crash(&mut self, place: Place, told_after: Option<Duration>) {
        self.log_of(place, "crashes");
        self.nodes[place].fate = Fate::Crashed;
        self.nodes[place].due = None;
        self.tell_failure(place, told_after);
    }

    /// A broker, or whoever, takes a node for dead.
    pub(super) fn tell_failure(&mut self, place: Place, after: Option<Duration>) {
        if let Some(after) = after {
            self.publish_after(after, Message::Fail(self.nodes[place].id));
        }
    }

    /// A node's connection is lost for a while; then it is told that it is back.
    pub(super) fn cut(&mut self, place: Place, lasts: Duration, told_after: Option<Duration>) {
        self.log_of(place, "is cut off");
        self.nodes[place].is_cut = true;
        self.nodes[place].was_cut = true;
        self.at(self.now + lasts, Event::Mend(place));
        self.scheduled += 1;
        self.tell_failure(place, told_after);
    }

    /// A node's process is stopped for a while; what is said meanwhile waits for it.
    pub(super) fn stop(&mut self, place: Place, lasts: Duration) {
        self.log_of(place, "is stopped");
        self.nodes[place].stopped = Some(BTreeMap::new());
        self.nodes[place].due = None;
        self.at(self.now + lasts, Event::Continue(place));
        self.scheduled += 1;
    }

    /// Someone who is neither node nor client publishes this.
    pub(super) fn publish_after(&mut self, after: Duration, message: Message) {
        self.scheduled += 1;
        self.at(self.now + after, Event::Publish(message));
    }

    pub(super) fn put(&mut self, key: Key, value: &str, patient: bool) {
        let request = self.clients.put(key, value, patient);
        self.request(request, true);
    }

    pub(super) fn get(&mut self, key: Key) {
        let request = self.clients.get(self.now, key);
        self.request(request, true);
    }

    /// The nodes whose process runs.
    pub(super) fn alive(&self) -> impl Iterator<Item = (Place, &SimNode)> {
        self.nodes.iter().enumerate().filter(|(_, node)| node.is_alive())
    }

    /// The nodes that serve and mean to stay, and can be reached.
    pub(super) fn steady(&self) -> impl Iterator<Item = (Place, &SimNode)> {
        let reached = |node: &SimNode| node.fate == Fate::Running && !node.is_cut && node.stopped.is_none();
        self.alive().filter(move |(_, node)| reached(node) && node.core.is_serving())
    }

    /// Whether nothing is to happen any more but what nodes and clients do by themselves.
    pub(super) fn is_unscheduled(&self) -> bool {
        self.scheduled == 0 && self.now > self.heard_by_all
    }

    /// How long a message is on its way at most.
    pub(super) fn longest_delay(&self) -> Duration {
        Duration::from_millis(*self.medium.delay.end())
    }

    pub(super) fn run_for(&mut self, duration: Duration) {
        self.run_until(duration, |_| false);
    }

    /// Runs until the condition holds, at most for so long; whether it held.
    pub(super) fn run_until(&mut self, at_most: Duration, holds: impl Fn(&Self) -> bool) -> bool {
        self.run_till(self.now + at_most, holds)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Deliver(from, Party::Node(place), message) => {
                let node = &mut self.nodes[place];
                if let Some(waiting) = &mut node.stopped {
                    waiting.entry(from).or_default().push_back(message);
                } else if node.is_alive() && !node.is_cut {
                    node.core.handle(self.now, Input::Message(message));
                    self.drain(place);
                }
            }
            Event::Deliver(_, Party::Asker(number), message) => {
                self.askers[number].hear(self.now, &message);
                self.drain_asker(number);
            }
            // What is put by the library's own clients is not in these clients' books.
            Event::Deliver(_, _, Message::ResGet { key, .. })
                if !self.askers.is_empty() && !self.clients.books.contains_key(&key) => {}
            Event::Deliver(_, _, message) => self.clients.hear(&message),
            Event::Publish(message) => {
                self.has_happened();
                self.publish(Party::Broker, &message);
            }
            Event::Continue(place) => {
                self.has_happened();
                self.log_of(place, "goes on");
                let mut waiting = self.nodes[place].stopped.take().unwrap_or_default();
                // A driver looks at its timers first; but what it has begun to hand out comes before that.
                if self.nodes[place].is_alive() && self.rng.random_bool(0.5) {
                    self.nodes[place].core.handle_timeout(self.now);
                    self.drain(place);
                }
                // The order between senders is nobody's to keep.
                while self.nodes[place].is_alive() && !waiting.is_empty() {
                    let senders: Vec<Party> = waiting.keys().copied().collect();
                    let sender = senders[self.rng.random_range(0..senders.len())];
                    match waiting.get_mut(&sender).and_then(VecDeque::pop_front) {
                        Some(message) => {
                            self.nodes[place].core.handle(self.now, Input::Message(message));
                            self.drain(place);
                        }
                        None => drop(waiting.remove(&sender)),
                    }
                }
                self.drain(place);
            }
            Event::Request(number) => self.request(number, false),
            Event::Mend(place) => {
                self.has_happened();
                self.log_of(place, "is connected again");
                self.nodes[place].is_cut = false;
                self.nodes[place].core.handle(self.now, Input::Reconnected);
                self.drain(place);
            }
        }
    }

    fn has_happened(&mut self) {
        self.scheduled -= 1;
        self.heard_by_all = self.now + self.longest_delay();
    }

    fn request(&mut self, number: u64, first: bool) {
        if let Some(message) = self.clients.due(self.now, number, first) {
            self.publish(Party::Clients, &message);
            self.at(self.now + RETRY, Event::Request(number));
        }
    }

    fn at(&mut self, at: Mono, event: Event) {
        self.queue.entry(at).or_default().push(event);
    }

    fn publish(&mut self, from: Party, message: &Message) {
        self.published += 1;
        assert!(self.published < STORM, "a storm of messages at {:?}; among them {message:?}", self.now);
        let (topic, text) = encode(message);
        let read = decode(&topic, text.as_bytes(), self.config.max_value).expect("a message that decodes");
        assert_eq!(*message, read, "it reads as it was written");
        self.log(|| format!("{} {topic} {text:?}", self.name(from)));
        if CLIENT_TOPICS.contains(&&*topic) && topic != "heal" {
            self.send(from, Party::Clients, &read);
        }
        for number in 0..self.askers.len() {
            if CLIENT_TOPICS.contains(&&*topic) || topic == ANSWERS {
                self.send(from, Party::Asker(number), &read);
            }
        }
        for place in 0..self.nodes.len() {
            let node = &self.nodes[place];
            if node.is_alive() && !node.is_cut && node.topics.contains(&topic) {
                self.send(from, Party::Node(place), &read);
            }
        }
    }

    fn send(&mut self, from: Party, to: Party, message: &Message) {
        if self.met.get(&(from, to)).is_some_and(|met| self.now < *met) {
            self.log(|| format!("    {} does not hear it yet", self.name(to)));
            return;
        }
        if self.broken.contains(&(from, to)) {
            self.log(|| format!("    cannot reach {}", self.name(to)));
            return;
        }
        if self.medium.loss > 0.0 && self.rng.random_bool(self.medium.loss) {
            self.log(|| format!("    lost on its way to {}", self.name(to)));
            return;
        }
        let delay = Duration::from_millis(self.rng.random_range(self.medium.delay.clone()));
        let mut at = self.now + delay;
        if !self.medium.reorders {
            let latest = self.latest.entry((from, to)).or_default();
            at = at.max(*latest);
            *latest = at;
        }
        if self.trace && to != from {
            println!("      at {:>9.3} to {}", at.since_origin().as_secs_f64(), self.name(to));
        }
        self.at(at, Event::Deliver(from, to, message.clone()));
    }

    /// Takes over what a node wants done.
    fn drain(&mut self, place: Place) {
        while let Some(action) = self.nodes[place].core.poll_action() {
            assert!(self.nodes[place].is_alive(), "{action:?} follows the end of {}", self.nodes[place].id);
            match action {
                Action::Publish(message) => {
                    if !self.nodes[place].is_cut {
                        self.publish(Party::Node(place), &message);
                    }
                }
                // Here everybody is connected.
                Action::Meet(_) => {}
                Action::Tell(event) => {
                    self.log_of(place, &format!("tells {event:?}"));
                    self.nodes[place].told.push(event);
                }
                Action::Ended { abandoned } => {
                    self.log_of(place, &format!("ends, {abandoned} abandoned"));
                    self.nodes[place].fate = Fate::Ended { abandoned };
                }
            }
        }
        let node = &mut self.nodes[place];
        node.due = if node.is_alive() { node.core.poll_timeout() } else { None };
    }

    /// Takes over what a client wants done.
    pub(super) fn drain_asker(&mut self, number: usize) {
        while let Some(message) = self.askers[number].next_message() {
            self.publish(Party::Asker(number), &message);
        }
    }

    /// Cuts the way between two, in both directions.
    pub(super) fn cut_between(&mut self, one: Party, other: Party) {
        self.broken.extend([(one, other), (other, one)]);
    }

    fn name(&self, party: Party) -> String {
        match party {
            Party::Asker(number) => format!("asker {number}"),
            Party::Clients => "clients".into(),
            Party::Broker => "broker".into(),
            Party::Node(place) => format!("{} (place {place})", self.nodes[place].id),
        }
    }

    fn log_of(&self, place: Place, what: &str) {
        self.log(|| format!("{} {what}", self.name(Party::Node(place))));
    }

    pub(super) fn log(&self, line: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>9.3} {}", self.now.since_origin().as_secs_f64(), line());
        }
    }
}

impl Clockwork for World {
    const LOOK: Duration = Duration::from_millis(20);

    fn now(&mut self) -> &mut Mono {
        &mut self.now
    }

    fn next_event(&self) -> Option<Mono> {
        let due = self.nodes.iter().filter_map(|node| node.due).min();
        let due = earliest(due, self.askers.iter().filter_map(Asker::due).min());
        earliest(self.queue.first_key_value().map(|(at, _)| *at), due)
    }

    fn step(&mut self) {
        let now = self.now;
        while let Some(batch) = self.queue.first_entry().filter(|batch| *batch.key() <= now) {
            for event in batch.remove() {
                self.happen(event);
            }
        }
        for number in 0..self.askers.len() {
            if self.askers[number].due().is_some_and(|due| due <= now) {
                self.askers[number].handle_timeout(now);
                self.drain_asker(number);
            }
        }
        for place in 0..self.nodes.len() {
            let node = &mut self.nodes[place];
            if node.due.is_some_and(|due| due <= now) {
                node.core.handle_timeout(now);
                self.drain(place);
                let next = self.nodes[place].due;
                assert!(next.is_none_or(|next| next > now), "{place} does not rest at {now:?}: {next:?}");
            }
        }
    }
}
