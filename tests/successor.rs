//! The successor ring over every transport: pairs are put, got, kept when nodes leave, and its errors say what is wrong.

#![allow(clippy::unwrap_used, clippy::panic, reason = "that is how tests fail, their helpers included")]

#[macro_use]
mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use ringbus::dht::{Key, Successor, SuccessorConfig, SuccessorEvent};
use ringbus::transport::conformance::Harness;
use ringbus::transport::{
    Locator, MqttTransport, OpenOptions, Outbound, Transport, TransportRx, TransportTx,
};
use ringbus::{Dht, DhtNode, ErrorKind, Session, Topic};
use support::machine::on_this_machine;
use support::{Memory, open, soon};
use tokio::sync::broadcast::error::RecvError;

type Node<T> = DhtNode<T, Successor>;

/// A ring of nodes spread over the circle, each on a session of its own.
async fn ring<H: Harness>(harness: &H, size: u32) -> Vec<Node<H::Transport>> {
    ring_with(harness, size, SuccessorConfig::default()).await
}

async fn ring_with<H: Harness>(harness: &H, size: u32, config: SuccessorConfig) -> Vec<Node<H::Transport>> {
    let mut nodes: Vec<Node<_>> = Vec::new();
    for number in 0..size {
        let session = open(harness, &format!("node-{number}")).await;
        let id = Key::new(number * (u32::MAX / size) + 7);
        let builder = DhtNode::builder(session).successor().config(config.clone()).id(id).join(seeds(&nodes));
        nodes.push(soon("a node that serves", builder.start()).await.unwrap());
    }
    settle(&nodes).await;
    nodes
}

/// Where the nodes are reached; a newcomer needs no more than the first.
fn seeds<T: Transport>(nodes: &[Node<T>]) -> Vec<Locator> {
    nodes.first().map(|node| node.session().local().clone()).into_iter().collect()
}

async fn settle<T: Transport>(nodes: &[Node<T>]) {
    soon("a settled ring", try_join_all(nodes.iter().map(Node::settled))).await.unwrap();
}

async fn client<H: Harness>(
    harness: &H,
    name: &str,
    nodes: &[Node<H::Transport>],
) -> (Session<H::Transport>, Dht<H::Transport, Successor>) {
    let session = open(harness, name).await;
    // A flood waits for its turn, and a busy machine takes its time.
    let dht = session.successor_dht(seeds(nodes)).timeout(support::PATIENCE);
    (session, dht)
}

/// Fifty pairs all over the circle, the odd ones among them.
fn pairs() -> BTreeMap<Key, String> {
    let odd = [
        "",
        " ",
        "/",
        "//",
        "a/b c",
        "one\ntwo\n",
        " lead",
        "trail ",
        "None/7 x",
        "🦀 naïve 東京",
        "\t\u{0}",
    ];
    let values =
        odd.into_iter().map(str::to_owned).chain((odd.len()..50).map(|number| format!("value {number}")));
    values.zip(0u32..).map(|(value, number)| (Key::new(number.wrapping_mul(0x9e37_79b9)), value)).collect()
}

async fn put_all<T: Transport>(dht: &Dht<T, Successor>, pairs: &BTreeMap<Key, String>) -> Vec<Key> {
    soon("all puts", try_join_all(pairs.iter().map(|(key, value)| dht.put(*key, value)))).await.unwrap()
}

async fn check_all<T: Transport>(dht: &Dht<T, Successor>, pairs: &BTreeMap<Key, String>) {
    let found = soon("all gets", join_all(pairs.keys().map(|key| dht.get(*key)))).await;
    for ((key, value), found) in pairs.iter().zip(found) {
        assert_eq!(found.unwrap().as_ref(), Some(value), "key {key}");
    }
}

async fn pairs_are_stored_by_their_owners_and_survive_leaves<H: Harness>(harness: H) {
    let mut nodes = ring(&harness, 3).await;
    let (_session, dht) = client(&harness, "client", &nodes).await;
    let pairs = pairs();
    let stored_by = put_all(&dht, &pairs).await;
    for (key, node) in pairs.keys().zip(stored_by) {
        let owner = nodes.iter().find(|node| node.links().arc(node.id()).contains(*key)).unwrap();
        assert_eq!(node, owner.id(), "key {key}");
    }
    check_all(&dht, &pairs).await;
    let mut held: Vec<_> = nodes.iter().flat_map(Node::pairs).collect();
    held.sort();
    assert_eq!(held, pairs.clone().into_iter().collect::<Vec<_>>());
    assert_eq!(soon("a missing key", dht.get(123_456)).await.unwrap(), None);

    // The one that everybody was introduced by stays: over ZeroMQ a client begins with it.
    let mut events = nodes[0].events();
    let gone = nodes.remove(1);
    let (id, session) = (gone.id(), gone.session().clone());
    soon("a leave", gone.leave()).await.unwrap();
    session.close(Duration::from_secs(5)).await.unwrap();
    let left = async { while events.recv().await.unwrap() != SuccessorEvent::Left(id) {} };
    soon("the news of it", left).await;
    settle(&nodes).await;
    check_all(&dht, &pairs).await;

    // A client that knows nothing yet finds them, too; and so does one on a node's own session.
    let (_session, newcomer) = client(&harness, "newcomer", &nodes).await;
    check_all(&newcomer, &pairs).await;
    let local = nodes[1].session().successor_dht([]);
    check_all(&local, &pairs).await;
    assert_eq!(soon("a put", local.put(7, "own")).await.unwrap(), nodes[0].id());
    assert_eq!(soon("a get", dht.get(7)).await.unwrap().as_deref(), Some("own"));
}

async fn clients_read_what_they_write_while_nodes_come_and_go<H: Harness>(harness: H) {
    let mut nodes = ring(&harness, 2).await;
    let mut clients = Vec::new();
    for name in ["a", "b", "c"] {
        clients.push(client(&harness, name, &nodes).await);
    }
    let writing = join_all(clients.iter().zip(0u32..).map(|((_, dht), client)| async move {
        for round in 0..40u32 {
            let (key, value) =
                (Key::new(round.wrapping_mul(0x9e37_79b9) + client), format!("{client} {round}"));
            soon("a put", dht.put(key, &value)).await.unwrap();
            assert_eq!(soon("a get", dht.get(key)).await.unwrap(), Some(value), "key {key}");
        }
    }));
    let coming_and_going = async {
        let session = open(&harness, "visitor").await;
        let builder =
            DhtNode::builder(session.clone()).successor().id(Key::new(0x4000_0000)).join(seeds(&nodes));
        let visitor = soon("a newcomer that serves", builder.start()).await.unwrap();
        soon("it is settled", visitor.settled()).await.unwrap();
        soon("its leave", visitor.leave()).await.unwrap();
        session.close(Duration::from_secs(5)).await.unwrap();
    };
    tokio::join!(writing, coming_and_going);
    settle(&nodes).await;
    for (client, (_, dht)) in (0u32..).zip(&clients) {
        let all =
            (0..40u32).map(|round| (round.wrapping_mul(0x9e37_79b9) + client, format!("{client} {round}")));
        check_all(dht, &all.map(|(key, value)| (Key::new(key), value)).collect()).await;
    }
    // The last one to go has nobody to hand over to.
    while let Some(node) = nodes.pop() {
        soon("a leave", node.leave()).await.unwrap();
    }
}

/// More than a client has on their way at a time, and more than the queues of a session hold.
async fn a_flood_of_puts_is_taken_in_turn<H: Harness>(harness: H) {
    let nodes = ring(&harness, 3).await;
    let (_session, dht) = client(&harness, "client", &nodes).await;
    let pairs: BTreeMap<Key, String> = (0..6000u32)
        .map(|number| (Key::new(number.wrapping_mul(0x9e37_79b9)), format!("value {number}")))
        .collect();
    put_all(&dht, &pairs).await;
    check_all(&dht, &pairs).await;
    settle(&nodes).await;
    assert_eq!(nodes.iter().map(|node| node.pairs().len()).sum::<usize>(), pairs.len());
}

async fn garbage_changes_nothing<H: Harness>(harness: H) {
    let nodes = ring(&harness, 3).await;
    let (_session, dht) = client(&harness, "client", &nodes).await;
    let pairs = pairs();
    put_all(&dht, &pairs).await;
    let links: Vec<_> = nodes.iter().map(Node::links).collect();

    let (tx, mut rx) = harness.endpoint("stranger").open(OpenOptions::default()).await.unwrap();
    let reading = tokio::spawn(async move { while rx.recv_batch(&mut Vec::new(), 100).await.is_ok() {} });
    for node in &nodes {
        tx.attach(node.session().local()).await.unwrap();
    }
    let topics = [
        "join",
        "ack-join",
        "put",
        "ack-put",
        "get",
        "res-get",
        "leave",
        "ack-leave",
        "fail",
        "heal",
        "replica/7",
    ];
    let garbage = [
        "",
        "x",
        "/",
        "-1",
        "4294967296",
        "1/2",
        "1/1/1",
        "None",
        "7/x/y",
        "c/4294967296 v",
        "c/x v",
        "\u{0}",
    ];
    let huge = bytes::Bytes::from(vec![b'7'; 10 << 20]);
    // Until it is heard: over ZeroMQ nobody may be connected yet.
    for round in 0.. {
        for topic in topics.map(|topic| Topic::new(topic).unwrap()) {
            let texts = garbage
                .map(bytes::Bytes::from)
                .into_iter()
                .chain([bytes::Bytes::from_static(b"\xff\xfe/1 \xc3")]);
            let mut batch: Vec<_> =
                texts.map(|text| Outbound::topic(topic.clone(), text).reliable()).collect();
            if round == 0 && topic.as_str() == "put" {
                batch.push(Outbound::topic(topic, huge.clone()).reliable());
            }
            soon("garbage is sent", tx.send_batch(&mut batch)).await.unwrap();
        }
        // The last word makes sense.
        let put = Outbound::topic(Topic::new("put").unwrap(), "stranger/4000000000 heard").reliable();
        soon("a put", tx.send_batch(&mut vec![put])).await.unwrap();
        if soon("a get", dht.get(4_000_000_000)).await.unwrap().is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    check_all(&dht, &pairs).await;
    assert_eq!(nodes.iter().map(Node::links).collect::<Vec<_>>(), links);
    reading.abort();
}

over_every_transport!(
    a_session_that_closes_hands_over,
    garbage_changes_nothing,
    a_flood_of_puts_is_taken_in_turn,
    pairs_are_stored_by_their_owners_and_survive_leaves,
    clients_read_what_they_write_while_nodes_come_and_go,
);

#[tokio::test]
async fn an_id_that_is_taken_is_refused_and_nothing_stays() {
    let harness = Memory::default();
    let first = ring(&harness, 1).await.remove(0);
    let session = open(&harness, "second").await;
    let start = |id| DhtNode::builder(session.clone()).successor().id(id).start();
    let error = soon("a refusal", start(first.id())).await.map(drop).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::InvalidArgument { what: "node id", .. }), "{error}");
    assert!(error.to_string().contains(&first.id().to_string()), "{error}");
    // The session is free for another try.
    let second = soon("a node", start(Key::new(1 << 31))).await.unwrap();
    soon("both", try_join_all([first.settled(), second.settled()])).await.unwrap();
    assert_eq!(second.links().successor, Some(first.id()));
}

#[tokio::test]
async fn a_dropped_start_leaves_no_half_a_node() {
    let harness = Memory::default();
    let session = open(&harness, "only").await;
    let start = |id| DhtNode::builder(session.clone()).successor().id(Key::new(id)).start();
    // It takes a second to be sure that one is alone.
    tokio::time::timeout(Duration::from_millis(200), start(1)).await.unwrap_err();
    let node = soon("a node", start(2)).await.unwrap();
    soon("it is settled", node.settled()).await.unwrap();
    assert_eq!((node.links().successor, node.links().predecessor), (None, None));
}

#[tokio::test(start_paused = true)]
async fn a_client_without_a_ring_says_what_it_tried() {
    let harness = Memory::default();
    let session = open(&harness, "client").await;
    let dht =
        session.successor_dht([]).timeout(Duration::from_secs(3)).retry_after(Duration::from_millis(400));
    let started = tokio::time::Instant::now();
    let (put, get) = tokio::join!(dht.put(98101, "x"), dht.get(98101));
    assert_eq!(started.elapsed().as_secs(), 3);
    let errors = [("putting", 2, put.map(drop).unwrap_err()), ("getting", 1, get.map(drop).unwrap_err())];
    for (verb, count, error) in errors {
        let why = format!("{count} unanswered, none ever answered: is a node running there?");
        let what = format!("{verb} key 98101, tried 9 times ({why}),");
        assert_eq!(error.kind(), &ErrorKind::Timeout { what, after: Duration::from_secs(3) });
    }
    let error = dht.put(1, &"x".repeat((1 << 20) + 1)).await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::PayloadTooLarge { size: (1 << 20) + 1, limit: 1 << 20 });
}

#[tokio::test]
async fn those_who_wait_learn_that_the_session_was_closed() {
    let harness = Memory::default();
    let session = open(&harness, "both").await;
    let node = soon("a node", DhtNode::builder(session.clone()).successor().start()).await.unwrap();
    let stranger = open(&harness, "client").await;
    let dht = stranger.successor_dht([]);
    soon("a put", dht.put(7, "x")).await.unwrap();
    session.close(Duration::from_secs(1)).await.unwrap();
    let error = soon("the node's end", node.settled()).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Closed { .. }), "{error}");
    // It has left already, the last one with its pairs.
    soon("the node's end", node.leave()).await.unwrap();
    // Nobody answers any more.
    let (waiting, _) = soon("the answer to a waiting call", async {
        tokio::join!(dht.get(7), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            stranger.close(Duration::from_secs(1)).await.unwrap();
        })
    })
    .await;
    assert!(matches!(waiting.unwrap_err().kind(), ErrorKind::Closed { .. }));
    let error = dht.get(7).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Closed { .. }), "{error}");
    let late = DhtNode::builder(session).successor().start().await.map(drop).unwrap_err();
    assert!(matches!(late.kind(), ErrorKind::Closed { .. }), "{late}");
}

#[tokio::test]
async fn seeds_and_times_that_cannot_work_are_refused() {
    let harness = Memory::default();
    let session = open(&harness, "a").await;
    let foreign = Locator::new("zmq+tcp://127.0.0.1:1").unwrap();
    let error = session.successor_dht([foreign.clone()]).get(7).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::ForeignLocator { .. }), "{error}");
    let builder = || DhtNode::builder(session.clone()).successor();
    let error = builder().join([foreign]).start().await.map(drop).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::ForeignLocator { .. }), "{error}");
    let sound = SuccessorConfig::default;
    for config in [
        SuccessorConfig { announce: Duration::ZERO, ..sound() },
        SuccessorConfig { lease: Duration::from_secs(1), ..sound() },
        SuccessorConfig { window: 0, ..sound() },
    ] {
        let error = builder().config(config).start().await.map(drop).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::InvalidArgument { .. }), "{error}");
    }
}

#[tokio::test]
async fn whoever_listens_to_a_node_learns_of_its_end() {
    let nodes = ring(&Memory::default(), 1).await;
    let mut events = nodes[0].events();
    nodes[0].session().close(Duration::from_secs(1)).await.unwrap();
    let closed = async { while events.recv().await != Err(RecvError::Closed) {} };
    soon("the news of it", closed).await;
    assert_eq!(nodes[0].events().recv().await, Err(RecvError::Closed));
}

#[cfg(feature = "mqtt")]
#[tokio::test]
async fn a_last_will_tells_the_ring_of_a_crash() {
    let harness = support::Mqtt::default();
    // By its silence it would not be noticed while the test lasts.
    let patient = SuccessorConfig { lease: Duration::from_secs(600), ..SuccessorConfig::default() };
    let nodes = ring_with(&harness, 2, patient).await;
    let id = Key::new(0x4000_0000);
    let transport = harness.endpoint("mortal").last_will("fail", id.to_string());
    let session = soon("a session", Session::open(transport)).await.unwrap();
    let mortal = soon("a node", DhtNode::builder(session).successor().id(id).start()).await.unwrap();
    let (_session, dht) = client(&harness, "client", &nodes).await;
    let pairs = pairs();
    put_all(&dht, &pairs).await;
    let mut events = nodes[0].events();
    assert!(!mortal.pairs().is_empty());
    drop(mortal);
    let failed = async { while events.recv().await.unwrap() != SuccessorEvent::Failed(id) {} };
    soon("the news of it", failed).await;
    settle(&nodes).await;
    check_all(&dht, &pairs).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_restarts_makes_no_node_deny_a_pair() {
    let mut broker = support::mosquitto::Mosquitto::start();
    let connect = |id: Key| {
        let transport = MqttTransport::new(broker.url()).last_will("fail", id.to_string());
        async move { soon("a session", Session::open(transport)).await.unwrap() }
    };
    let mut nodes = Vec::new();
    for number in 0..3 {
        let id = Key::new(number * 0x5000_0000 + 7);
        let node = DhtNode::builder(connect(id).await).successor().id(id).start();
        nodes.push(soon("a node that serves", node).await.unwrap());
    }
    let session = soon("a session", Session::open(MqttTransport::new(broker.url()))).await.unwrap();
    let dht = session.successor_dht([]).timeout(Duration::from_secs(40));
    let pairs = pairs();
    put_all(&dht, &pairs).await;
    settle(&nodes).await;
    // Shorter than the lease, and longer.
    for away in [1, 5] {
        // On its way out it tells the last wills of all to all.
        broker.terminate();
        tokio::time::sleep(Duration::from_secs(away)).await;
        broker.restart();
        for (key, value) in &pairs {
            let got = soon("an answer", dht.get(*key)).await.unwrap();
            assert_eq!(got.as_ref(), Some(value), "{key} after {away} s");
        }
        settle(&nodes).await;
        check_all(&dht, &pairs).await;
    }
}

async fn a_session_that_closes_hands_over<H: Harness>(harness: H) {
    let mut nodes = ring(&harness, 3).await;
    let (_session, dht) = client(&harness, "client", &nodes[1..]).await;
    let pairs = pairs();
    put_all(&dht, &pairs).await;
    let leaver = nodes.remove(0);
    assert!(!leaver.pairs().is_empty());
    let undelivered = soon("the close", leaver.session().close(Duration::from_secs(5))).await.unwrap();
    assert_eq!(undelivered.messages, 0);
    settle(&nodes).await;
    let kept: usize = nodes.iter().map(|node| node.pairs().len()).sum();
    assert_eq!(kept, pairs.len());
    check_all(&dht, &pairs).await;
}

/// Without a broker a client has to find the key's owner first.
#[cfg(feature = "zmq")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_request_of_a_client_is_not_slow() {
    let harness = support::Zmq;
    let nodes = ring(&harness, 3).await;
    let seed = seeds(&nodes).remove(0);
    let mut times = Vec::new();
    for index in 0..30_u32 {
        let session = open(&harness, &format!("first-{index}")).await;
        let dht = session.successor_dht([seed.clone()]);
        let began = std::time::Instant::now();
        // Each owner in turn.
        soon("an answer", dht.get(index.wrapping_mul(0x9E37_79B9))).await.unwrap();
        times.push(began.elapsed());
        session.close(Duration::from_secs(1)).await.unwrap();
    }
    times.sort_unstable();
    println!("first requests: median {:?}, longest {:?}", times[15], times[29]);
    // Half of an announcement's interval: those who waited for one took 490 ms, two thirds of all.
    assert!(times[15] < on_this_machine(Duration::from_millis(250)), "{times:?}");
}
