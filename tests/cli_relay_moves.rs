//! By way of a node, reliable, keep-all and volatile, with real processes: whatever node is responsible, and however it
//! goes and comes back, every value arrives once and in order. `relay_moves.rs` is the same within one process.
#![cfg(all(feature = "cli", feature = "zmq", feature = "mqtt"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod support;

use std::thread::sleep;
use std::time::Duration;

use support::net::{Net, Node, addresses};
use support::program::Program;

const NODES: [&str; 4] = ["n1", "n2", "n3", "n4"];
const TOPIC: &str = "city/seattle";
/// Values for each move, two seconds of the publisher's rate: some before it, and the others while it goes on.
const VALUES: usize = 400;
const BEFORE: usize = 100;
/// What could still come after what was expected.
const MORE: Duration = Duration::from_millis(500);

/// How a responsible node goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Leaves,
    IsKilled,
}

/// A publisher and a subscriber behind the responsible node of a ring.
struct Scene {
    net: Net,
    ring: Vec<Node>,
    subscriber: Program,
    publisher: Program,
    published: usize,
}

impl Scene {
    fn new(net: Net) -> Self {
        let ring = net.ring(&NODES);
        let everybody = addresses(&ring);
        let subscriber = net.start(&[
            "sub",
            "--node",
            &everybody,
            "--route=node",
            "--keep-all",
            "--events",
            "--stats",
            TOPIC,
        ]);
        let publisher =
            net.start(&["pub", "--node", &everybody, "--keep-all", "--rate=200", "--timeout=60s", TOPIC]);
        let mut scene = Self { net, ring, subscriber, publisher, published: 0 };
        // Behind a node, a publisher's first match may be the node's own.
        scene.subscriber.error_line("matched with");
        scene
    }

    /// Publishes, and has the topic moved to this node in the midst of it; every value must come once and in order.
    fn while_values_pass(&mut self, to: &str, cause: impl FnOnce(&Net, &mut Vec<Node>)) {
        let values: Vec<String> =
            (self.published + 1..=self.published + VALUES).map(|value| value.to_string()).collect();
        self.published += VALUES;
        self.publisher.type_in(&(values.join("\n") + "\n"));
        let (before, after) = values.split_at(BEFORE);
        self.expect(before);
        cause(&self.net, &mut self.ring);
        self.subscriber.error_line(&format!("node {to} is responsible from now on"));
        self.expect(after);
    }

    fn expect(&mut self, values: &[String]) {
        for value in values {
            let line = self.subscriber.line();
            assert_eq!(line, format!("{TOPIC}\t{value}"), "{:?}", self.subscriber.error_lines());
        }
    }

    /// The responsible node goes, and comes back under its name: two moves.
    fn two_moves(&mut self, end: End) {
        let owner = responsible(&NODES);
        let others: Vec<&'static str> = NODES.into_iter().filter(|name| *name != owner).collect();
        let next = responsible(&others);
        self.while_values_pass(next, |_, ring| {
            let at = ring.iter().position(|node| node.name == owner).unwrap();
            let node = ring.remove(at);
            match end {
                End::Leaves => {
                    node.program.signal("INT");
                    let ended = node.program.ended();
                    assert_eq!(ended.code, Some(0), "{ended:?}");
                }
                End::IsKilled => node.program.signal("KILL"),
            }
        });
        self.while_values_pass(owner, |net, ring| {
            let node = net.node(owner, ring);
            ring.push(node);
        });
    }

    fn end(mut self) {
        self.publisher.end_of_input();
        let ended = self.publisher.ended();
        assert_eq!(ended.code, Some(0), "not everything was acknowledged: {ended:?}");
        sleep(MORE);
        let ended = self.subscriber.terminate();
        assert_eq!((ended.code, &ended.output[..]), (Some(0), &[][..]), "{ended:?}");
        let stats = ended.errors.iter().find(|line| line.contains("received ")).unwrap();
        assert!(stats.contains(&format!("received {}, ", self.published)), "{stats}");
        assert!(stats.contains(" lost 0,") && stats.ends_with(" skipped 0"), "{stats}");
    }
}

/// The responsible node, of a ring of these.
fn responsible<'a>(names: &[&'a str]) -> &'a str {
    let placed = Program::run(&["place", "--nodes", &names.join(","), "--replicas=1", TOPIC]).ok();
    let owner = placed[0].rsplit('\t').next().unwrap().to_owned();
    names.iter().find(|name| **name == owner).unwrap()
}

fn nodes_that_go_and_come_back_lose_nothing(net: Net) {
    let mut scene = Scene::new(net);
    for end in [End::Leaves, End::IsKilled, End::Leaves, End::IsKilled] {
        scene.two_moves(end);
    }
    scene.end();
}

#[test]
fn nodes_that_go_and_come_back_lose_nothing_over_zmq() {
    nodes_that_go_and_come_back_lose_nothing(Net::Zmq);
}

#[test]
fn nodes_that_go_and_come_back_lose_nothing_over_mqtt() {
    nodes_that_go_and_come_back_lose_nothing(Net::mqtt());
}
