//! More publishers than a subscriber has file descriptors for: each is heard, or it is said which is not, until there is room.
#![cfg(all(target_os = "linux", feature = "cli", feature = "zmq"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod support;

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use ringbus::qos::Offered;
use ringbus::transport::ZmqTransport;
use ringbus::{DhtNode, Publisher, Session};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::PATIENCE;
use support::program::Program;

const PUBLISHERS: usize = 30;

/// A publisher that has published one value, by its topic.
type Publishers = BTreeMap<String, (Session<ZmqTransport>, Publisher<String, ZmqTransport>)>;

/// A ring of one node, and the publishers; for them there is room.
async fn publishers() -> (DhtNode<ZmqTransport>, Publishers) {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let session = Session::open(ZmqTransport::ephemeral()).await.unwrap();
    let node = DhtNode::builder(session).name("n").start().await.unwrap();
    let mut publishers = Publishers::new();
    for number in 0..PUBLISHERS {
        let session = Session::open(ZmqTransport::ephemeral()).await.unwrap();
        let topic = format!("w/{number}");
        let dht = session.dht([node.session().local().clone()]);
        let offered = Offered::reliable().transient_local().keep_last(1);
        let publisher =
            session.publisher(&topic).encoding(ringbus::Encoding::Raw).qos(offered).dht(&dht).build();
        let publisher: Publisher<String, _> = publisher.await.unwrap();
        publisher.publish(&topic).await.unwrap();
        publishers.insert(topic, (session, publisher));
    }
    (node, publishers)
}

fn subscriber(node: &DhtNode<ZmqTransport>, limits: &str) -> Program {
    let address = node.session().local().as_str().trim_start_matches("zmq+tcp://").to_owned();
    let mut command = Command::new("prlimit");
    command.arg(format!("--nofile={limits}")).args(["setpriv", "--pdeathsig", "KILL", "--"]);
    command.arg(env!("CARGO_BIN_EXE_ringbus"));
    command.args(["sub", "--transport=zmq", "--node", &address, "--transient-local", "w/#"]);
    Program::spawn("sub", &mut command)
}

/// The topic of a line.
fn topic(line: &str) -> String {
    line.split('\t').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_raises_its_soft_limit() {
    let (node, mut left) = publishers().await;
    let mut subscriber = subscriber(&node, "256:4096");
    while !left.is_empty() {
        left.remove(&topic(&subscriber.line()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_be_reached_is_told_and_heard_when_there_is_room() {
    let (node, mut left) = publishers().await;
    let locators: BTreeMap<String, String> = left
        .iter()
        .map(|(topic, (session, _))| {
            let address = session.local().as_str().trim_start_matches("zmq+tcp://").to_owned();
            (address, topic.clone())
        })
        .collect();
    let mut subscriber = subscriber(&node, "256:256");
    // Each is heard or told of.
    let begun = Instant::now();
    let (mut heard, mut told) = (Vec::new(), Vec::new());
    while heard.len() + told.len() < PUBLISHERS {
        assert!(begun.elapsed() < PATIENCE, "{} heard, {} told", heard.len(), told.len());
        heard.extend(subscriber.line_within(Duration::from_millis(50)).map(|line| topic(&line)));
        for line in subscriber.error_lines() {
            let address =
                line.strip_prefix("ringbus: cannot reach ").and_then(|rest| rest.split(": ").next());
            let topic = address.and_then(|address| locators.get(address));
            if let Some(topic) = topic.filter(|topic| !told.contains(*topic)) {
                assert!(line.contains("file descriptors"), "{line}");
                told.push(topic.clone());
            }
        }
        told.retain(|topic| !heard.contains(topic));
    }
    println!("{} heard, {} told", heard.len(), told.len());
    assert!(!heard.is_empty() && !told.is_empty(), "{} heard, {} told", heard.len(), told.len());
    // Those that are heard make room for the others.
    loop {
        for topic in heard.drain(..) {
            if let Some((session, publisher)) = left.remove(&topic) {
                drop(publisher);
                session.close(Duration::from_secs(5)).await.unwrap();
            }
        }
        if left.is_empty() {
            break;
        }
        heard.push(topic(&subscriber.line()));
    }
}
