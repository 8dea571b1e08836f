//! By way of a node, reliable and keep-all: whatever node is responsible, and however it goes, every sample
//! arrives once and in order.

#![allow(clippy::unwrap_used, clippy::panic, reason = "that is how tests fail, their helpers included")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ringbus::pubsub::Route;
use ringbus::qos::{Offered, Overflow, Requested, ResourceLimits};
use ringbus::transport::memory::Network;
use ringbus::transport::{Locator, MemoryTransport};
use ringbus::{DhtNode, Publisher, Session, Subscriber};
use support::soon;

const NODES: [&str; 4] = ["n1", "n2", "n3", "n4"];
const TOPIC: &str = "city/seattle";
/// 200 samples a second.
const INTERVAL: Duration = Duration::from_millis(5);

/// How a responsible node goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Leaves,
    Crashes,
}

struct Ring {
    network: Network,
    nodes: Vec<DhtNode<MemoryTransport>>,
}

impl Ring {
    async fn new(network: &Network) -> Self {
        let mut ring = Self { network: network.clone(), nodes: Vec::new() };
        for name in NODES {
            ring.add(name).await;
        }
        ring
    }

    async fn add(&mut self, name: &str) {
        let session = open(&self.network, name).await;
        let seeds = self.seeds();
        let node = DhtNode::builder(session).name(name).join(seeds).start().await.unwrap();
        self.nodes.push(node);
        for node in &self.nodes {
            soon("the ring", node.wait_for(self.nodes.len())).await.unwrap();
        }
    }

    fn seeds(&self) -> Vec<Locator> {
        self.nodes.iter().map(|node| node.me().locator).collect()
    }

    fn responsible(&self) -> String {
        self.nodes[0].responsible(TOPIC).unwrap().name.to_string()
    }

    /// The responsible node goes; returns its name when the others have seen it.
    async fn end(&mut self, end: End) -> String {
        let name = self.responsible();
        let at = self.nodes.iter().position(|node| node.me().name.as_str() == name).unwrap();
        let node = self.nodes.remove(at);
        if end == End::Leaves {
            let session = node.session().clone();
            node.leave().await.unwrap();
            session.close(Duration::from_secs(1)).await.unwrap();
        } else {
            self.network.kill(&name);
            drop(node);
        }
        while self.nodes.iter().any(|node| node.members().len() > self.nodes.len()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        name
    }
}

async fn open(network: &Network, name: &str) -> Session<MemoryTransport> {
    Session::open(MemoryTransport::new(network, name)).await.unwrap()
}

async fn by_way_of_a_node(
    session: &Session<MemoryTransport>,
    seeds: Vec<Locator>,
) -> Subscriber<u64, MemoryTransport> {
    let subscriber = session.subscriber(TOPIC).qos(Requested::reliable().keep_all()).route(Route::ViaNode);
    subscriber.dht(&session.dht(seeds)).build().await.unwrap()
}

/// Publishes until told to stop; returns how many.
async fn publish(publisher: Publisher<u64, MemoryTransport>, stop: Arc<AtomicBool>) -> u64 {
    let mut value = 0;
    while !stop.load(Ordering::Relaxed) {
        publisher.publish(&value).await.unwrap();
        value += 1;
        tokio::time::sleep(INTERVAL).await;
    }
    soon("acknowledgements", publisher.flush()).await.unwrap();
    value
}

/// What a subscriber gets until its session is closed, and what it counted as lost.
async fn read_all(mut subscriber: Subscriber<u64, MemoryTransport>) -> (Vec<u64>, u64) {
    let mut values = Vec::new();
    while let Some(sample) = subscriber.recv().await.unwrap() {
        values.push(sample.value().unwrap());
    }
    (values, subscriber.stats().lost)
}

/// The first value that is not the one after the one before it.
fn hole(values: &[u64]) -> Option<(u64, u64)> {
    (0..).zip(values.iter().copied()).find(|(expected, value)| expected != value)
}

/// Ten times the responsible node goes and comes back: the topic moves twenty times.
async fn twenty_moves(network: Network, end: End) {
    let mut ring = Ring::new(&network).await;
    let (a, b, c) = (open(&network, "a").await, open(&network, "b").await, open(&network, "c").await);
    let first = by_way_of_a_node(&b, ring.seeds()).await;
    let second = by_way_of_a_node(&c, ring.seeds()).await;
    let offered = Offered::reliable().keep_all();
    let publisher = a.publisher::<u64>(TOPIC).qos(offered).dht(&a.dht(ring.seeds())).build().await.unwrap();
    soon("matches", publisher.matched(2)).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let publishing = tokio::spawn(publish(publisher, stop.clone()));
    let reading = [first, second].map(|subscriber| tokio::spawn(read_all(subscriber)));
    for _ in 0..10 {
        let name = ring.end(end).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        ring.add(&name).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    stop.store(true, Ordering::Relaxed);
    let published = publishing.await.unwrap();
    assert!(published > 2_000, "{published}");
    a.close(Duration::from_secs(1)).await.unwrap();
    for (session, reading) in [b, c].into_iter().zip(reading) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        session.close(Duration::from_secs(1)).await.unwrap();
        let (received, lost) = reading.await.unwrap();
        assert_eq!((received.len() as u64, lost), (published, 0), "first hole: {:?}", hole(&received));
        assert_eq!(hole(&received), None);
    }
}

#[tokio::test(start_paused = true)]
async fn nodes_that_leave_and_come_lose_nothing() {
    twenty_moves(Network::new(), End::Leaves).await;
}

#[tokio::test(start_paused = true)]
async fn nodes_that_crash_and_come_back_lose_nothing() {
    twenty_moves(Network::new(), End::Crashes).await;
}

#[tokio::test(start_paused = true)]
async fn nodes_that_crash_in_a_network_with_delays_and_loss_lose_nothing() {
    let delays = Duration::from_micros(100)..=Duration::from_millis(10);
    let network = Network::seeded(7).with_delay(delays).with_loss(0.02);
    twenty_moves(network.with_detection(Some(Duration::from_millis(50))), End::Crashes).await;
}

/// A subscriber behind a node that dies, or stops reading, holds nobody up for good.
async fn a_subscriber_that_stops(stop: impl FnOnce(&Network, &mut Vec<Subscriber<u64, MemoryTransport>>)) {
    const FEW: ResourceLimits = ResourceLimits { max_samples: 200, max_bytes: 1 << 20 };
    let network = Network::new();
    let mut ring = Ring::new(&network).await;
    let (a, b, c) = (open(&network, "a").await, open(&network, "b").await, open(&network, "c").await);
    let reading = by_way_of_a_node(&b, ring.seeds()).await;
    let few = Requested::reliable().keep_all().resource_limits(FEW);
    let stopped = c.subscriber::<u64>(TOPIC).qos(few).route(Route::ViaNode).dht(&c.dht(ring.seeds()));
    let mut stopped = vec![stopped.build().await.unwrap()];
    let offered = Offered::reliable().keep_all().resource_limits(FEW).overflow(Overflow::Disconnect);
    let publisher = a.publisher::<u64>(TOPIC).qos(offered).dht(&a.dht(ring.seeds())).build().await.unwrap();
    soon("matches", publisher.matched(2)).await.unwrap();
    let reading = tokio::spawn(read_all(reading));
    stop(&network, &mut stopped);
    for value in 0..5_000 {
        soon("room", publisher.publish(&value)).await.unwrap();
        if value == 2_500 {
            // The next relay does not wait for it either.
            ring.end(End::Leaves).await;
        }
    }
    soon("acknowledgements", publisher.flush()).await.unwrap();
    a.close(Duration::from_secs(1)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    b.close(Duration::from_secs(1)).await.unwrap();
    let (received, lost) = reading.await.unwrap();
    assert_eq!((received.len(), lost, hole(&received)), (5_000, 0, None));
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_dies_behind_a_node_holds_nobody_up_for_good() {
    a_subscriber_that_stops(|network, _| assert!(network.kill("c"))).await;
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_reads_nothing_behind_a_node_is_let_go_alone() {
    a_subscriber_that_stops(|_, _| {}).await;
}
