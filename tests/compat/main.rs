//! The last release beside this build: what either says, the other understands, and a ring is replaced node by node without
//! loss. `.ci/compat` builds the old program and runs this.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use support::PATIENCE;
use support::mosquitto::Mosquitto;
use support::program::{Ended, Program};

/// The program of the last release.
fn old() -> PathBuf {
    std::env::var_os("RINGBUS_OLD").expect("RINGBUS_OLD is not set: run .ci/compat, which builds it").into()
}

/// The program of this build.
fn new() -> PathBuf {
    env!("CARGO_BIN_EXE_ringbus").into()
}

/// The transport.
enum Net {
    Zmq,
    Mqtt(Mosquitto),
}

impl Net {
    fn mqtt() -> Self {
        Self::Mqtt(Mosquitto::start())
    }

    fn start(&self, build: &Path, arguments: &[&str]) -> Program {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(build).arg(arguments[0]);
        match self {
            Self::Zmq => command.arg("--transport=zmq"),
            Self::Mqtt(broker) => command.args(["--transport=mqtt", "--broker", &broker.url()]),
        };
        command.args(&arguments[1..]);
        Program::spawn(&format!("{} {}", build.display(), arguments.join(" ")), &mut command)
    }

    fn run(&self, build: &Path, arguments: &[&str]) -> Ended {
        self.start(build, arguments).ended()
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The values of a program that prints one a line, perhaps behind its topic.
fn values(lines: &[String]) -> Vec<&str> {
    lines.iter().map(|line| line.rsplit('\t').next().unwrap()).collect()
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

fn feed(publisher: &mut Program, count: usize) {
    publisher.type_in(&numbers(count).iter().map(|number| format!("{number}\n")).collect::<String>());
    publisher.end_of_input();
}

/// A publisher of one build and a subscriber of the other.
fn values_travel(net: &Net, publishing: &Path, subscribing: &Path) {
    const COUNT: usize = 2000;
    let listen = format!("127.0.0.1:{}", free_port());
    let count = COUNT.to_string();
    let mut arguments = vec!["sub", "--keep-all", "--count", &count, "--timeout=60s"];
    let mut towards = vec!["pub"];
    if matches!(net, Net::Zmq) {
        arguments.extend(["--listen", &listen]);
        towards.extend(["--peer", &listen]);
    }
    arguments.push("t/1");
    towards.push("t/1");
    let subscriber = net.start(subscribing, &arguments);
    let mut publisher = net.start(publishing, &towards);
    feed(&mut publisher, COUNT);
    let received = subscriber.ended();
    assert_eq!(received.code, Some(0), "{:?}", received.errors);
    assert_eq!(values(&received.output), numbers(COUNT));
    let published = publisher.ended();
    assert_eq!(published.code, Some(0), "{published:?}");
}

#[test]
fn values_travel_between_the_builds_over_zmq() {
    values_travel(&Net::Zmq, &old(), &new());
    values_travel(&Net::Zmq, &new(), &old());
}

#[test]
fn values_travel_between_the_builds_over_mqtt() {
    let net = Net::mqtt();
    values_travel(&net, &old(), &new());
    values_travel(&net, &new(), &old());
}

/// An old subscriber does not put fragments together. Both sides say so, and what fits into one packet goes on.
#[test]
fn frames_in_fragments_are_refused_to_an_old_subscriber_and_told() {
    let net = Net::Mqtt(Mosquitto::start_with("max_packet_size 10000"));
    let large = "x".repeat(50_000);
    let values = ["before", &large, "after"];
    let publish = ["pub", "--max-packet=10000", "--keep-all", "--stats", "--timeout=60s", "t/1"];
    let subscribe = ["sub", "--keep-all", "--count=3", "--timeout=60s", "t/1"];
    for build in [new(), old()] {
        let subscriber = net.start(&build, &subscribe);
        let mut publisher = net.start(&new(), &publish);
        publisher.type_in(&values.map(|value| format!("{value}\n")).concat());
        publisher.end_of_input();
        let published = publisher.ended();
        if build == new() {
            assert_eq!(published.code, Some(0), "{:?}", published.errors);
            assert_eq!(subscriber.ended().output, values.map(|value| format!("t/1\t{value}")));
            continue;
        }
        let why = "it goes in fragments, which an older release of ringbus does not put together";
        let told = published.errors.last().is_some_and(|line| line.contains(why));
        assert!(published.code == Some(1) && told, "{published:?}");
        let stats = published.errors.iter().find(|line| line.contains("refused by the broker"));
        assert!(stats.is_some_and(|stats| stats.contains("refused by the broker 1;")), "{stats:?}");
        let mut subscriber = subscriber;
        assert_eq!(subscriber.lines(2), ["t/1\tbefore", "t/1\tafter"]);
        subscriber.error_line("lost 1 samples of");
        subscriber.terminate();
    }
}

/// A node of a ring, and where others find it.
struct Node {
    address: String,
    name: &'static str,
    program: Program,
}

impl Node {
    fn start(
        net: &Net,
        build: &Path,
        name: &'static str,
        address: &str,
        others: &[String],
        kind: &[&str],
    ) -> Self {
        let mut arguments = vec!["node"];
        arguments.extend(kind);
        if matches!(net, Net::Zmq) {
            arguments.extend(["--listen", address]);
        }
        arguments.extend(others.iter().flat_map(|other| ["--join", other.as_str()]));
        let mut program = net.start(build, &arguments);
        let line = program.line();
        assert!(line.starts_with("started\t"), "{line}");
        Self { address: address.to_owned(), name, program }
    }
}

/// Where the three nodes of a ring are found.
fn addresses(net: &Net, names: [&str; 3]) -> Vec<String> {
    match net {
        Net::Zmq => (0..3).map(|_| format!("127.0.0.1:{}", free_port())).collect(),
        Net::Mqtt(_) => names.iter().map(|&name| name.to_owned()).collect(),
    }
}

/// Waits until a ring of event services has three members.
fn three_members(net: &Net, asking: &Path, node: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let ended = net.run(asking, &["members", "--node", node]);
        if ended.code == Some(0) && ended.output.len() == 3 {
            return;
        }
        assert!(Instant::now() < deadline, "not three members: {ended:?}");
        sleep(Duration::from_millis(100));
    }
}

/// Old nodes give way to new ones, one after the other, while values flow from either build to the other.
fn a_ring_is_replaced(net: &Net) {
    const COUNT: usize = 1000;
    let names = ["n1", "n2", "n3"];
    let at = addresses(net, names);
    let mut ring: Vec<Node> = Vec::new();
    for (name, address) in names.into_iter().zip(&at) {
        let known: Vec<String> = ring.iter().map(|node| node.address.clone()).collect();
        ring.push(Node::start(net, &old(), name, address, &known, &["--name", name]));
    }
    three_members(net, &new(), &at[0]);

    let count = COUNT.to_string();
    let everybody = at.join(",");
    let mut flows = Vec::new();
    for (publishing, subscribing, topic) in [(old(), new(), "a"), (new(), old(), "b")] {
        let subscriber = net.start(
            &subscribing,
            &[
                "sub",
                "--keep-all",
                "--count",
                &count,
                "--timeout=120s",
                "--events",
                "--node",
                &everybody,
                topic,
            ],
        );
        let mut publisher = net.start(&publishing, &["pub", "--interval=20ms", "--node", &everybody, topic]);
        feed(&mut publisher, COUNT);
        flows.push((subscriber, publisher));
    }
    for (subscriber, _) in &mut flows {
        subscriber.line();
    }
    for (number, address) in at.iter().enumerate() {
        let leaver = ring.remove(0);
        let name = leaver.name;
        assert_eq!(leaver.program.terminate().code, Some(0), "{name} leaves");
        let known: Vec<String> = ring.iter().map(|node| node.address.clone()).collect();
        ring.push(Node::start(net, &new(), name, address, &known, &["--name", name]));
        // Asked by either build in turn.
        let asking = if number % 2 == 0 { old() } else { new() };
        three_members(net, &asking, &ring[0].address);
    }
    for (subscriber, publisher) in flows {
        let received = subscriber.ended();
        assert_eq!(received.code, Some(0), "{:?}", received.errors);
        // The first was read above.
        assert_eq!(values(&received.output), numbers(COUNT)[1..]);
        assert_eq!(publisher.ended().code, Some(0));
    }
}

#[test]
fn a_ring_is_replaced_node_by_node_over_zmq() {
    a_ring_is_replaced(&Net::Zmq);
}

#[test]
fn a_ring_is_replaced_node_by_node_over_mqtt() {
    a_ring_is_replaced(&Net::mqtt());
}

/// The same of the ring of keys and values: what either build has put, either gets, whoever holds it.
fn a_store_is_replaced(net: &Net) {
    const ROWS: usize = 3376;
    const FILE: &str = "data/airports.csv";
    let ids = ["1000000000", "2000000000", "3000000000"];
    let at = match net {
        Net::Zmq => addresses(net, ids),
        // Over a broker nodes find each other.
        Net::Mqtt(_) => Vec::new(),
    };
    let start = |build: &Path, number: usize, known: &[String]| {
        let address = at.get(number).cloned().unwrap_or_default();
        Node::start(net, build, ids[number], &address, known, &["--protocol=successor", "--id", ids[number]])
    };
    let known_but = |gone: usize| -> Vec<String> {
        at.iter().enumerate().filter(|(number, _)| *number != gone).map(|(_, at)| at.clone()).collect()
    };
    let mut ring: Vec<Node> = Vec::new();
    for number in 0..3 {
        ring.push(start(&old(), number, &at[..number.min(at.len())]));
    }
    let everybody = at.join(",");
    let client = |build: &Path, arguments: &[&str]| {
        let mut all = arguments[..1].to_vec();
        if !everybody.is_empty() {
            all.extend(["--node", everybody.as_str()]);
        }
        all.extend(&arguments[1..]);
        let ended = net.run(build, &all);
        assert_eq!(ended.code, Some(0), "{arguments:?}: {:?}", ended.errors);
        ended.output
    };
    client(&old(), &["load", FILE, "--key", "iata"]);
    let text = std::fs::read_to_string(FILE).unwrap();
    let keys: Vec<&str> = text.lines().skip(1).map(|row| row.split(',').next().unwrap()).collect();
    let expected: Vec<String> =
        keys.iter().zip(text.lines().skip(1)).map(|(key, row)| format!("{key}\t{row}")).collect();
    assert_eq!(expected.len(), ROWS);
    let check = |build: &Path| {
        let found = client(build, &[&["get"], &keys[..]].concat());
        assert!(found == expected, "{} of {} rows are right", found.len(), expected.len());
    };
    check(&new());
    for (number, id) in ids.iter().enumerate() {
        let leaver = ring.remove(0);
        assert_eq!(leaver.program.terminate().code, Some(0), "{id} leaves");
        ring.push(start(&new(), number, &known_but(number)));
        let (one, other) = if number % 2 == 0 { (old(), new()) } else { (new(), old()) };
        let key = format!("step {number}");
        client(&one, &["put", &key, "done"]);
        assert_eq!(client(&other, &["get", &key]), ["done"]);
        check(&one);
        check(&other);
    }
}

#[test]
fn a_store_is_replaced_node_by_node_over_zmq() {
    a_store_is_replaced(&Net::Zmq);
}

#[test]
fn a_store_is_replaced_node_by_node_over_mqtt() {
    a_store_is_replaced(&Net::mqtt());
}
