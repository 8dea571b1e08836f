//! Random schedules of joins, leaves and faults under puts and gets.
//!
//! At most one fault at a time: the next one waits until the ring has repaired the last. Joins and leaves do not wait.

use std::time::Duration;

use rand::Rng;
use rand::seq::IndexedRandom;

use super::oracle::{at_rest, check, rest};
use super::world::{Fate, Medium, Place, World};
use crate::dht::key::Key;
use crate::dht::sim::for_seeds_in;
use crate::dht::successor::config::SuccessorConfig;

const MAX_NODES: usize = 6;
const MAX_FAULTS: u32 = 2;

/// A test for each line, so that they run side by side.
macro_rules! schedules {
    ($($test:ident: $medium:ident, $faults:literal, $seeds:expr;)*) => {$(
        #[test]
        fn $test() {
            let test = concat!("dht::successor::sim::random::", stringify!($test));
            for_seeds_in(test, $seeds, |seed| {
                Schedule::new(seed, Medium::$medium, $faults).run();
            });
        }
    )*};
}

schedules! {
    in_order_a: FIFO, true, 0..750;
    in_order_b: FIFO, true, 750..1_500;
    in_order_c: FIFO, true, 1_500..2_250;
    in_order_d: FIFO, true, 2_250..3_000;
    in_order_e: FIFO, true, 3_000..3_750;
    in_order_f: FIFO, true, 3_750..4_500;
    reordered_a: REORDERING, true, 10_000..10_500;
    reordered_b: REORDERING, true, 10_500..11_000;
    reordered_c: REORDERING, true, 11_000..11_500;
    reordered_d: REORDERING, true, 11_500..12_000;
    reordered_e: REORDERING, true, 12_000..12_500;
    reordered_f: REORDERING, true, 12_500..13_000;
    reordered_g: REORDERING, true, 13_000..13_500;
    reordered_h: REORDERING, true, 13_500..14_000;
    reordered_i: REORDERING, true, 14_000..14_500;
    lossy_a: LOSSY, true, 20_000..20_500;
    lossy_b: LOSSY, true, 20_500..21_000;
    lossy_c: LOSSY, true, 21_000..21_500;
    without_faults_in_order: FIFO, false, 30_000..31_000;
    without_faults_reordered: REORDERING, false, 40_000..40_500;
    meeting_a: MEETING, true, 50_000..50_500;
    meeting_b: MEETING, true, 50_500..51_000;
    without_faults_meeting_a: MEETING, false, 60_000..61_000;
    without_faults_meeting_b: MEETING, false, 61_000..62_000;
}

struct Schedule {
    world: World,
    keys: Vec<Key>,
    /// Whether a broker tells of crashes.
    broker: bool,
    faults_left: u32,
    /// Whom the last fault hit, until the ring has repaired it. Nobody's heir: others may not count on it yet.
    victim: Option<Place>,
    /// Whether each pair is held twice: not if fewer than two nodes were left to hold it, until the ring rests again.
    is_redundant: bool,
    puts: u32,
    /// Whether a get after an acknowledged put must find something while nodes join and leave.
    must_find: bool,
}

impl Schedule {
    fn new(seed: u64, medium: Medium, faults: bool) -> Self {
        // Four announcements are the longest round trip that is in order, ten are that of the others.
        let join_attempts = if medium.reorders || medium.meeting.is_some() { 10 } else { 4 };
        let join_interval = Duration::from_millis(50);
        let config = SuccessorConfig { join_interval, join_attempts, ..SuccessorConfig::default() };
        let must_find = !faults && !medium.reorders;
        let mut world = World::new(seed, medium, config);
        let pairs = world.rng.random_range(20..=24);
        let keys = (0..pairs).map(|_| Key::new(world.rng.random())).collect();
        let broker = world.rng.random_bool(0.5);
        let faults_left = if faults { world.rng.random_range(1..=MAX_FAULTS) } else { 0 };
        let (victim, is_redundant, puts) = (None, false, 0);
        Self { world, keys, broker, faults_left, victim, is_redundant, puts, must_find }
    }

    fn run(mut self) {
        for _ in 0..self.world.rng.random_range(1..=4) {
            self.start();
            self.pause(60);
        }
        self.some_are_places();
        if self.world.rng.random_bool(0.7) {
            rest(&mut self.world);
        }
        for index in 0..self.keys.len() {
            self.put(self.keys[index]);
        }
        for _ in 0..self.world.rng.random_range(15..=35) {
            self.step();
        }
        while self.faults_left > 0 && self.world.alive().count() > 1 && self.world.rng.random_bool(0.7) {
            self.fault();
        }
        // A key that nobody writes.
        let unwritten = Key::new(self.world.rng.random());
        self.get(unwritten);
        check(&mut self.world);
        if self.world.rng.random_bool(0.2) {
            self.go_home();
        }
        if self.must_find {
            let clients = &self.world.clients;
            assert_eq!(clients.missed, 0, "of {} gets after their put", clients.missed + clients.found);
        }
    }

    /// Some keys are nodes' ids, or right before or after them.
    fn some_are_places(&mut self) {
        let ids: Vec<Key> = self.world.nodes.iter().map(|node| node.id).collect();
        for (index, id) in ids.into_iter().enumerate() {
            self.keys[index] =
                Key::new(id.get().wrapping_add(self.world.rng.random_range(0..3)).wrapping_sub(1));
        }
        self.keys.sort_unstable();
        self.keys.dedup();
    }

    fn step(&mut self) {
        let key = *self.keys.choose(&mut self.world.rng).unwrap();
        match self.world.rng.random_range(0..100) {
            0..40 => self.put(key),
            40..70 => self.get(key),
            70..80 => (0..self.world.rng.random_range(1..=3)).for_each(|_| self.start()),
            80..90 => (0..self.world.rng.random_range(1..=3)).for_each(|_| self.leave()),
            90..93 => self.fault(),
            93 => self.pause(2000),
            _ => self.pause(200),
        }
        if self.world.rng.random_bool(0.5) {
            self.pause(40);
        }
    }

    fn pause(&mut self, at_most: u64) {
        let pause = self.world.rng.random_range(0..=at_most);
        self.world.run_for(Duration::from_millis(pause));
    }

    fn put(&mut self, key: Key) {
        if self.world.clients.may_put(self.world.now, key) {
            self.puts += 1;
            // Values may hold anything.
            let odd = ["", "/", " ", "\n", "None/1 x", "\u{1F300}"][self.puts as usize % 6];
            let patient = self.world.rng.random_bool(0.95);
            self.world.put(key, &format!("{odd}{}", self.puts), patient);
        }
    }

    fn get(&mut self, key: Key) {
        if self.world.clients.may_get(key) {
            self.world.get(key);
        }
    }

    /// Starts a node: anywhere, or right beside another.
    fn start(&mut self) {
        if self.world.alive().count() == MAX_NODES {
            return;
        }
        let ids: Vec<Key> = self.world.alive().map(|(_, node)| node.id).collect();
        let rng = &mut self.world.rng;
        let id = match ids.choose(rng) {
            Some(id) if rng.random_bool(0.3) => {
                id.get().wrapping_add(rng.random_range(0..1000)).wrapping_sub(500)
            }
            _ => rng.random(),
        };
        let id = Key::new(id);
        if !ids.contains(&id) {
            self.world.start(id);
        }
    }

    /// One leaves, if another one can be its heir.
    fn leave(&mut self) {
        let mut candidates: Vec<Place> = self
            .world
            .alive()
            .filter(|(_, n)| n.fate == Fate::Running && !n.is_cut && n.stopped.is_none())
            .map(|(p, _)| p)
            .collect();
        candidates.retain(|place| self.has_other(*place));
        if let Some(place) = candidates.choose(&mut self.world.rng) {
            self.world.leave(*place);
        }
        self.note_redundancy();
    }

    /// Whether another node stays that everybody counts on.
    fn has_other(&self, place: Place) -> bool {
        self.world.steady().any(|(other, _)| other != place && Some(other) != self.victim)
    }

    /// What two nodes hold is safe, what one holds is not: until the ring rests again.
    fn note_redundancy(&mut self) {
        if self.world.steady().filter(|(place, _)| Some(*place) != self.victim).count() < 2 {
            self.is_redundant = false;
        }
    }

    /// Waits, if that is necessary, until a fault is allowed to happen.
    fn await_repair(&mut self) {
        let rests = at_rest(&self.world).is_ok();
        if !rests && (self.victim.is_some() || !self.is_redundant) {
            rest(&mut self.world);
        }
        if at_rest(&self.world).is_ok() {
            self.victim = None;
            self.is_redundant = self.world.alive().count() > 1;
        }
    }

    /// One node crashes, is taken for dead, is stopped or cut off; perhaps while others come and go.
    fn fault(&mut self) {
        if self.faults_left == 0 {
            return;
        }
        self.await_repair();
        if self.world.rng.random_bool(0.5) {
            if self.world.rng.random_bool(0.6) {
                self.start();
            } else {
                self.leave();
            }
            self.pause(300);
        }
        let alive = self.world.alive().filter(|(_, node)| !node.is_cut && node.stopped.is_none());
        let mut candidates: Vec<Place> = alive.map(|(place, _)| place).collect();
        candidates.retain(|place| {
            // Who does not serve yet is missed by nobody.
            let is_spare = self.is_redundant || !self.world.nodes[*place].core.is_serving();
            is_spare && self.has_other(*place)
        });
        let Some(victim) = candidates.choose(&mut self.world.rng).copied() else { return };
        self.faults_left -= 1;
        self.victim = Some(victim);
        let told_after = Duration::from_millis(self.world.rng.random_range(0..=1500));
        let broker = self.broker.then_some(told_after);
        match self.world.rng.random_range(0..12) {
            0..6 => {
                let id = self.world.nodes[victim].id;
                self.world.crash(victim, broker);
                if self.world.rng.random_bool(0.2) {
                    self.pause(100);
                    self.world.start(id);
                }
            }
            6..8 => self.world.tell_failure(victim, Some(told_after)),
            8..10 => {
                let lasts = Duration::from_millis(self.world.rng.random_range(500..8000));
                self.world.stop(victim, lasts);
            }
            _ => {
                let lasts =
                    self.world.config.lease + Duration::from_millis(self.world.rng.random_range(0..2000));
                self.world.cut(victim, lasts, broker);
            }
        }
        self.note_redundancy();
    }

    /// All but one leave, then that one too.
    fn go_home(&mut self) {
        while self.world.alive().filter(|(_, node)| node.fate == Fate::Running).count() > 1 {
            self.leave();
            self.pause(100);
        }
        check(&mut self.world);
        let last = self.world.alive().next().map(|(place, _)| place);
        self.world.leave(last.unwrap());
        let patience = self.world.config.leave_timeout + Duration::from_secs(1);
        assert!(self.world.run_until(patience, |world| world.alive().count() == 0), "the last one stays");
    }
}
