//! The window against a broker of the model: acknowledgements in any order, connections that end at any point.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;

/// What is on its way between the two on one connection.
#[derive(Debug, Clone)]
enum Packet {
    Publish(Publish),
    PubRel(u16),
    PubAck(u16),
    PubRec(u16),
    PubComp(u16),
}

/// What happens next.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// A user hands a message in: with QoS 2, or 1.
    Push { exactly_once: bool },
    /// The next of the client's packets comes to the broker.
    ToBroker,
    /// One of the broker's packets comes to the client.
    ToClient { pick: usize },
    /// The connection ends, and what is on it is lost.
    Reconnect,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<bool>().prop_map(|exactly_once| Step::Push { exactly_once }),
        8 => Just(Step::ToBroker),
        8 => any::<usize>().prop_map(|pick| Step::ToClient { pick }),
        1 => Just(Step::Reconnect),
    ]
}

/// The two, and what was seen.
struct World {
    window: Window,
    up: VecDeque<Packet>,
    down: Vec<Packet>,
    /// Of the connection: what the broker has and has not been asked to release.
    held: BTreeMap<u16, Publish>,
    pushed: u64,
    /// How often the broker has passed each message on.
    passed_on: BTreeMap<u64, usize>,
    /// How often a connection ended of which the client knows only that it had released the message.
    open: BTreeMap<u64, usize>,
    /// The numbers that went out as PUBLISH on this connection.
    published: Vec<u64>,
}

fn number(publish: &Publish) -> u64 {
    std::str::from_utf8(&publish.payload).unwrap().parse().unwrap()
}

impl World {
    fn new() -> Self {
        Self {
            window: Window::new(24),
            up: VecDeque::new(),
            down: Vec::new(),
            held: BTreeMap::new(),
            pushed: 0,
            passed_on: BTreeMap::new(),
            open: BTreeMap::new(),
            published: Vec::new(),
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Push { exactly_once } => self.push(exactly_once),
            Step::ToBroker => self.deliver_up(),
            Step::ToClient { pick } if !self.down.is_empty() => self.deliver_down(pick % self.down.len()),
            Step::ToClient { .. } => {}
            Step::Reconnect => self.reconnect(),
        }
        self.check();
    }

    fn push(&mut self, exactly_once: bool) {
        if !self.window.has_room() || self.window.has_repetitions() {
            return;
        }
        self.pushed += 1;
        let qos = if exactly_once { QoS::ExactlyOnce } else { QoS::AtLeastOnce };
        let publish = self.window.push(Publish::new("t", qos, self.pushed.to_string()), true).clone();
        self.out(publish);
    }

    fn out(&mut self, publish: Publish) {
        self.published.push(number(&publish));
        self.up.push_back(Packet::Publish(publish));
    }

    fn deliver_up(&mut self) {
        match self.up.pop_front() {
            Some(Packet::Publish(publish)) if publish.qos == QoS::ExactlyOnce => {
                self.down.push(Packet::PubRec(publish.pkid));
                assert!(self.held.insert(publish.pkid, publish).is_none(), "the id was taken");
            }
            Some(Packet::Publish(publish)) => {
                self.down.push(Packet::PubAck(publish.pkid));
                self.pass_on(&publish);
            }
            Some(Packet::PubRel(id)) => {
                self.down.push(Packet::PubComp(id));
                if let Some(publish) = self.held.remove(&id) {
                    self.pass_on(&publish);
                }
            }
            _ => {}
        }
    }

    fn pass_on(&mut self, publish: &Publish) {
        *self.passed_on.entry(number(publish)).or_default() += 1;
    }

    fn deliver_down(&mut self, at: usize) {
        match self.down.remove(at) {
            Packet::PubAck(id) => drop(self.window.acknowledge(id)),
            Packet::PubRec(id) => {
                self.window.release(id);
                self.up.push_back(Packet::PubRel(id));
            }
            Packet::PubComp(id) => self.window.complete(id),
            Packet::Publish(_) | Packet::PubRel(_) => unreachable!("the broker sends none"),
        }
    }

    fn reconnect(&mut self) {
        for entry in &self.window.entries {
            if entry.released || entry.publish.qos == QoS::AtLeastOnce {
                *self.open.entry(number(&entry.publish)).or_default() += 1;
            }
        }
        self.up.clear();
        self.down.clear();
        self.held.clear();
        self.published.clear();
        self.window.rewind();
        while let Some(publish) = self.window.next_repetition() {
            let publish = publish.clone();
            self.out(publish);
        }
    }

    fn check(&self) {
        let kept: Vec<u64> = self.window.entries.iter().map(|entry| number(&entry.publish)).collect();
        assert!(kept.is_sorted_by(|a, b| a < b), "out of order: {kept:?}");
        assert!(self.published.is_sorted_by(|a, b| a < b), "sent out of order: {:?}", self.published);
        let two = self.window.entries.iter().filter(|entry| entry.publish.qos == QoS::ExactlyOnce).count();
        assert!(two == self.window.exactly_once && two <= EXACTLY_ONCE);
        assert_eq!(self.window.undelivered(), kept.len());
        assert!(self.window.entries.iter().all(|entry| self.window.taken[usize::from(entry.publish.pkid)]));
        assert_eq!(self.window.acknowledged(), kept.first().map_or(self.pushed, |first| first - 1));
        // What the client has let go of, the broker has passed on.
        for n in (1..=self.pushed).filter(|n| kept.binary_search(n).is_err()) {
            assert!(self.passed_on.contains_key(&n), "message {n} was lost");
        }
    }

    /// Lets everything come to its end.
    fn settle(&mut self) {
        while !self.up.is_empty() || !self.down.is_empty() {
            self.take(Step::ToBroker);
            self.take(Step::ToClient { pick: 0 });
        }
        assert!(self.window.is_empty(), "{:?}", self.window.entries);
        assert!(!self.window.taken.contains(&true), "an id stays taken");
    }
}

proptest! {
    #[test]
    fn nothing_is_lost_and_twice_comes_only_what_a_reconnect_left_open(
        steps in prop::collection::vec(step(), 0..400),
    ) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
        }
        world.settle();
        for n in 1..=world.pushed {
            let times = world.passed_on.get(&n).copied().unwrap_or_default();
            let open = world.open.get(&n).copied().unwrap_or_default();
            prop_assert!((1..=1 + open).contains(&times), "message {} came {} times, open {}", n, times, open);
        }
    }

    #[test]
    fn a_reconnect_before_any_release_brings_nothing_twice(count in 1usize..=EXACTLY_ONCE, received in 0usize..=EXACTLY_ONCE) {
        let mut world = World::new();
        for _ in 0..count {
            world.take(Step::Push { exactly_once: true });
        }
        for _ in 0..received.min(count) {
            world.take(Step::ToBroker);
        }
        world.take(Step::Reconnect);
        world.settle();
        prop_assert!(world.passed_on.values().all(|times| *times == 1));
        prop_assert_eq!(world.passed_on.len(), count);
    }
}
