//! System A on its hosts: three servers, two publishers of one zipcode, two subscribers.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::hosts::Hosts;
use crate::machine::on_this_machine;
use crate::program::{Line, Program};

pub(crate) const SERVERS: [u8; 3] = [1, 2, 3];
pub(crate) const STRONG: u8 = 11;
pub(crate) const WEAK: u8 = 12;
/// Subscribed to the one zipcode, directly.
pub(crate) const EXACT: u8 = 21;
/// Subscribed to all, through the responsible node.
pub(crate) const WILDCARD: u8 = 22;
/// A host on which nothing runs yet.
pub(crate) const LATE: u8 = 23;

/// Nothing that is not measured may take longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A few of the publishers' periods.
const JITTER: Duration = Duration::from_millis(300);

/// All of it, running. Programs are dropped, and so killed, before their hosts.
pub(crate) struct Weather {
    pub(crate) servers: Vec<(u8, Program)>,
    pub(crate) strong: Program,
    pub(crate) weak: Program,
    pub(crate) exact: Program,
    pub(crate) wildcard: Program,
    /// The name of the responsible server, as the publishers were told.
    pub(crate) responsible: String,
    pub(crate) hosts: Hosts,
}

/// A reading that a subscriber printed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Heard {
    pub(crate) at: Instant,
    pub(crate) topic: String,
    pub(crate) strength: i32,
    pub(crate) number: u64,
    /// When it was made, since the epoch.
    pub(crate) made: Duration,
}

impl Weather {
    /// Starts everything and waits until both subscribers hear the stronger publisher.
    pub(crate) fn start() -> Self {
        let hosts = Hosts::new(&[1, 2, 3, STRONG, WEAK, EXACT, WILDCARD, LATE]);
        let all: Vec<String> = SERVERS.iter().map(|&server| Hosts::address(server)).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let serve = |&server: &u8| {
            let own = Hosts::address(server);
            let others = all.iter().filter(|&&other| other != own);
            let arguments: Vec<&str> = std::iter::once(&own.as_str()).chain(others).copied().collect();
            (server, Program::start(&hosts, server, "dht_server", &arguments))
        };
        let servers: Vec<(u8, Program)> = SERVERS.iter().map(serve).collect();
        let complete = format!("members: {}", all.join(" "));
        for (_, server) in &servers {
            server.wait_for("the ring", PATIENCE, |line| (line.text == complete).then_some(()));
        }
        let subscribe = |number, filter, route| {
            let arguments = ["--details", "--route", route, filter, all[0], all[1], all[2]];
            Program::start(&hosts, number, "subscriber", &arguments)
        };
        let (exact, wildcard) = (subscribe(EXACT, "98101", "direct"), subscribe(WILDCARD, "+", "node"));
        let publish = |number, strength| {
            let arguments = ["--period", "50ms", "--keep-all", strength, "98101", all[2], all[1], all[0]];
            Program::start(&hosts, number, "publisher", &arguments)
        };
        let (weak, strong) = (publish(WEAK, "5"), publish(STRONG, "10"));
        let registered = |publisher: &Program| {
            publisher.wait_for("its registration", PATIENCE, |line| {
                line.text.split_once("responsible node ").map(|(_, name)| name.to_owned())
            })
        };
        let responsible = registered(&strong);
        assert_eq!(registered(&weak), responsible);
        let weather = Self { servers, strong, weak, exact, wildcard, responsible, hosts };
        for subscriber in weather.subscribers() {
            hear(subscriber, "the stronger publisher", PATIENCE, |heard| heard.strength == 10);
        }
        weather
    }

    pub(crate) fn subscribers(&self) -> [&Program; 2] {
        [&self.exact, &self.wildcard]
    }

    /// Takes the responsible server out.
    pub(crate) fn take_responsible(&mut self) -> Program {
        let is_responsible = |(number, _): &(u8, Program)| Hosts::address(*number) == self.responsible;
        let at = self.servers.iter().position(is_responsible).unwrap();
        self.servers.remove(at).1
    }
}

/// Waits for a reading.
pub(crate) fn hear(
    subscriber: &Program,
    what: &str,
    patience: Duration,
    wanted: impl Fn(&Heard) -> bool,
) -> Heard {
    subscriber.wait_for(what, patience, |line| Heard::of(line).filter(&wanted))
}

/// All readings so far.
pub(crate) fn heard(subscriber: &Program) -> Vec<Heard> {
    subscriber.lines().iter().filter_map(Heard::of).collect()
}

/// The time since the epoch, by the clock that the hosts share.
pub(crate) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

impl Heard {
    /// None for the lines about events.
    fn of(line: &Line) -> Option<Self> {
        let columns: Vec<&str> = line.text.split('\t').collect();
        let [topic, _temperature, _humidity, strength, _history, _latency, _writer, number, made] =
            columns[..]
        else {
            return None;
        };
        Some(Self {
            at: line.at,
            topic: topic.to_owned(),
            strength: strength.parse().unwrap(),
            number: number.parse().unwrap(),
            made: Duration::from_nanos(made.parse().unwrap()),
        })
    }
}

/// Every reading came once and in order; where one publisher takes over from another, no more than jitter is between the
/// times of their readings.
pub(crate) fn assert_gapless(subscriber: &Program) {
    for pair in heard(subscriber).windows(2) {
        let [before, after] = pair else { continue };
        let goes_on = if before.strength == after.strength {
            after.number == before.number + 1
        } else {
            after.made >= before.made && after.made - before.made < on_this_machine(JITTER)
        };
        assert!(goes_on, "{before:?} and then {after:?}\n{}", subscriber.tail());
    }
}
