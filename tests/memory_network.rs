//! What a `Network` does on request: delay, loss, reordering, cuts, kills; the same for the same seed.
// Helpers of tests fail by panicking, as tests do; the lint's exemption covers test functions alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use ringbus::transport::memory::{MemoryRx, MemoryTx, Network};
use ringbus::transport::{
    Event, Locator, MemoryTransport, OpenOptions, Origin, Outbound, Transport, TransportRx, TransportTx,
    TrySendError,
};
use ringbus::{ErrorKind, Topic};
use tokio::time::{Instant, timeout};

/// More than any delay of these tests; with paused time it costs nothing.
const LONG: Duration = Duration::from_secs(60);

struct Peer {
    tx: MemoryTx,
    rx: MemoryRx,
}

impl Peer {
    async fn open(network: &Network, name: &str) -> Self {
        Self::open_with(network, name, OpenOptions::default()).await
    }

    async fn open_with(network: &Network, name: &str, options: OpenOptions) -> Self {
        let (tx, rx) = MemoryTransport::new(network, name).open(options).await.unwrap();
        Self { tx, rx }
    }

    async fn subscribed(network: &Network, name: &str) -> Self {
        let peer = Self::open(network, name).await;
        peer.tx.subscribe(&"#".parse().unwrap()).await.unwrap();
        peer
    }

    fn publish(&self, number: u64) {
        self.tx.try_send(Outbound::topic(topic(), number.to_string())).unwrap();
    }

    fn direct(&self, name: &str, number: u64) {
        self.tx.try_send(Outbound::peer(locator(name), number.to_string())).unwrap();
    }

    /// Everything that comes until there has been nothing for a long time, with when it came.
    async fn all(&mut self) -> Vec<(Duration, Event)> {
        let start = Instant::now();
        let (mut all, mut events) = (Vec::new(), Vec::new());
        while timeout(LONG, self.rx.recv_batch(&mut events, 16)).await.is_ok() {
            all.extend(events.drain(..).map(|event| (start.elapsed(), event)));
        }
        all
    }

    async fn numbers(&mut self) -> Vec<u64> {
        let number = |(_, event): (_, Event)| match event {
            Event::Message { payload, .. } => Some(std::str::from_utf8(&payload).unwrap().parse().unwrap()),
            _ => None,
        };
        self.all().await.into_iter().filter_map(number).collect()
    }

    async fn signals(&mut self) -> Vec<Event> {
        let all = self.all().await.into_iter().map(|(_, event)| event);
        all.filter(|event| !matches!(event, Event::Message { .. } | Event::Interest(_))).collect()
    }
}

fn topic() -> Topic {
    "t".parse().unwrap()
}

fn locator(name: &str) -> Locator {
    Locator::new(format!("memory:{name}")).unwrap()
}

/// A run with every fault switched on: who heard what, and when.
async fn trace(seed: u64) -> Vec<Vec<(Duration, Event)>> {
    let network = Network::seeded(seed)
        .with_delay(Duration::from_millis(1)..=Duration::from_millis(50))
        .with_loss(0.2)
        .with_reorder(0.2)
        .with_detection(Some(Duration::from_millis(30)));
    let sender = Peer::open(&network, "sender").await;
    let mut receivers = Vec::new();
    for name in ["x", "y", "z"] {
        receivers.push(Peer::subscribed(&network, name).await);
    }
    for n in 0..100 {
        sender.publish(n);
        sender.direct("y", n + 1000);
        tokio::time::sleep(Duration::from_millis(1)).await;
        if n == 50 {
            network.cut("sender", "z");
        }
    }
    network.kill("sender");
    futures::future::join_all(receivers.iter_mut().map(Peer::all)).await
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_trace() {
    let first = trace(7).await;
    assert!(first.iter().all(|events| events.len() > 30), "{first:?}");
    for _ in 0..3 {
        assert_eq!(trace(7).await, first);
    }
    assert_ne!(trace(8).await, first);
}

#[tokio::test(start_paused = true)]
async fn messages_take_as_long_as_asked_and_stay_in_order() {
    let network = Network::seeded(3);
    network.set_delay(Duration::from_millis(20)..=Duration::from_millis(40));
    let sender = Peer::open(&network, "a").await;
    let mut receiver = Peer::subscribed(&network, "b").await;
    (0..200).for_each(|n| sender.publish(n));
    let all = receiver.all().await;
    let arrivals: Vec<_> =
        all.iter().filter(|(_, event)| matches!(event, Event::Message { .. })).map(|(at, _)| *at).collect();
    assert_eq!(arrivals.len(), 200);
    assert!(
        arrivals[0] >= Duration::from_millis(20) && *arrivals.last().unwrap() <= Duration::from_millis(41)
    );
    (200..400).for_each(|n| sender.publish(n));
    assert_eq!(receiver.numbers().await, (200..400).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn loss_is_as_probable_as_asked() {
    let network = Network::seeded(1).with_loss(0.25);
    let sender = Peer::open(&network, "a").await;
    let mut receiver =
        Peer::open_with(&network, "b", OpenOptions { queue: 10_000, ..Default::default() }).await;
    (0..10_000).for_each(|n| sender.direct("b", n));
    let arrived = receiver.numbers().await;
    assert!((7_200..7_800).contains(&arrived.len()), "{} of 10,000 arrived", arrived.len());
    assert!(arrived.is_sorted());

    network.set_loss(f64::INFINITY);
    (0..100).for_each(|n| sender.direct("b", n));
    assert!(receiver.numbers().await.is_empty());
    network.set_loss(f64::NAN);
    sender.direct("b", 1);
    assert_eq!(receiver.numbers().await, [1]);
}

#[tokio::test(start_paused = true)]
async fn reordering_changes_the_order_and_nothing_else() {
    let network = Network::seeded(5).with_reorder(0.1);
    let sender = Peer::open(&network, "a").await;
    let mut receiver = Peer::open(&network, "b").await;
    (0..500).for_each(|n| sender.direct("b", n));
    let mut arrived = receiver.numbers().await;
    assert!(!arrived.is_sorted());
    arrived.sort_unstable();
    assert_eq!(arrived, (0..500).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_partition_cuts_both_directions_until_it_heals() {
    let network = Network::new();
    let mut peers = Vec::new();
    for name in ["a", "b", "c"] {
        peers.push(Peer::subscribed(&network, name).await);
    }
    for peer in &mut peers {
        peer.all().await;
    }
    network.partition(&["a"], &["b", "c"]);
    peers[0].publish(0);
    peers[1].publish(1);
    peers[1].direct("a", 2);
    peers[0].direct("c", 3);
    assert_eq!(peers[0].numbers().await, [0]);
    assert_eq!(peers[1].numbers().await, [1]);
    assert_eq!(peers[2].numbers().await, [1]);

    network.heal();
    assert_eq!(peers[0].signals().await, [Event::PeerUp(locator("b")), Event::PeerUp(locator("c"))]);
    assert_eq!(peers[1].signals().await, [Event::PeerUp(locator("a"))]);
    peers[0].publish(4);
    for peer in &mut peers {
        assert_eq!(peer.numbers().await, [4]);
    }
}

#[tokio::test(start_paused = true)]
async fn one_direction_can_be_cut() {
    let network = Network::new();
    let (mut a, mut b) = (Peer::open(&network, "a").await, Peer::open(&network, "b").await);
    network.cut("a", "b");
    a.direct("b", 1);
    b.direct("a", 2);
    assert_eq!(a.numbers().await, [2]);
    assert!(b.numbers().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_dead_are_announced_after_the_detection_time_or_never() {
    let network = Network::new();
    let mut watcher = Peer::open(&network, "watcher").await;
    for (name, detection) in [("silent", None), ("noticed", Some(Duration::from_secs(3)))] {
        network.set_detection(detection);
        let mut victim = Peer::open(&network, name).await;
        victim.direct("watcher", 1);
        watcher.all().await;
        watcher.direct(name, 2);

        assert!(network.kill(name));
        assert!(!network.kill(name));
        watcher.direct(name, 3);
        let mut events = Vec::new();
        let closed = victim.rx.recv_batch(&mut events, 16).await.unwrap_err();
        assert!(
            matches!(closed.kind(), ErrorKind::Closed { .. }) && events.is_empty(),
            "{closed} {events:?}"
        );
        let Err(TrySendError::Failed(error)) = victim.tx.try_send(Outbound::topic(topic(), "x")) else {
            panic!("the dead may not send")
        };
        assert!(matches!(error.kind(), ErrorKind::Closed { .. }), "{error}");

        let heard = watcher.all().await;
        match detection {
            None => assert!(heard.is_empty(), "{heard:?}"),
            Some(after) => {
                assert_eq!(heard.len(), 1);
                assert_eq!(heard[0].1, Event::PeerDown(locator(name)));
                assert!(heard[0].0 >= after && heard[0].0 < after + Duration::from_millis(10), "{heard:?}");
            }
        }
        // The name is free, and the halves of the dead have no power over its new owner.
        let mut heir = Peer::open(&network, name).await;
        drop(victim);
        watcher.direct(name, 4);
        assert_eq!(heir.numbers().await, [4]);
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_returns_before_the_detection_is_not_declared_dead() {
    let network = Network::new().with_detection(Some(Duration::from_secs(3)));
    let mut watcher = Peer::open(&network, "watcher").await;
    let _first = Peer::open(&network, "victim").await;
    network.kill("victim");
    let _second = Peer::open(&network, "victim").await;
    assert_eq!(watcher.signals().await, [Event::PeerUp(locator("victim")), Event::PeerUp(locator("victim"))]);
}

#[tokio::test(start_paused = true)]
async fn only_those_who_send_to_a_full_receiver_wait() {
    let network = Network::new();
    let sender = Peer::open(&network, "sender").await;
    let mut idle = Peer::open_with(&network, "idle", OpenOptions { queue: 3, ..Default::default() }).await;
    let mut busy = Peer::open(&network, "busy").await;
    for peer in [&idle, &busy] {
        peer.tx.subscribe(&"t".parse().unwrap()).await.unwrap();
    }
    (0..3).for_each(|n| sender.publish(n));
    let back = sender.tx.try_send(Outbound::topic(topic(), "3")).unwrap_err();
    assert!(matches!(back, TrySendError::Full(message) if message.payload == "3"));
    assert_eq!(busy.numbers().await, [0, 1, 2], "all or nothing");
    sender.direct("busy", 9);
    assert_eq!(busy.numbers().await, [9]);

    // Waiting ends when the receiver reads, is cut off, or dies.
    let batch = || vec![Outbound::topic(topic(), "4"), Outbound::topic(topic(), "5")];
    let (sent, numbers) = tokio::join!(async { sender.tx.send_batch(&mut batch()).await }, idle.numbers());
    sent.unwrap();
    assert_eq!(numbers, [0, 1, 2, 4, 5]);
    (0..3).for_each(|n| sender.direct("idle", n));
    let mut rest = batch();
    assert!(timeout(LONG, sender.tx.send_batch(&mut rest)).await.is_err());
    assert_eq!(rest, batch());
    let releases: [fn(&Network); 2] =
        [|network| network.cut("sender", "idle"), |network| assert!(network.kill("idle"))];
    for release in releases {
        let mut rest = batch();
        let (sent, ()) = tokio::join!(sender.tx.send_batch(&mut rest), async {
            tokio::time::sleep(LONG).await;
            release(&network);
        });
        sent.unwrap();
        network.heal();
    }
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_waits_hears_that_it_was_closed() {
    let network = Network::new();
    let sender = Peer::open(&network, "sender").await;
    let _idle = Peer::open_with(&network, "idle", OpenOptions { queue: 1, ..Default::default() }).await;
    sender.direct("idle", 0);
    let mut batch = vec![Outbound::peer(locator("idle"), "1")];
    let (sent, closed) = tokio::join!(sender.tx.send_batch(&mut batch), sender.tx.close(LONG));
    closed.unwrap();
    assert!(matches!(sent.unwrap_err().kind(), ErrorKind::Closed { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_receiver_dropped_alone_stops_nobody() {
    let network = Network::new();
    let sender = Peer::open(&network, "sender").await;
    let Peer { tx: half, rx } =
        Peer::open_with(&network, "half", OpenOptions { queue: 1, ..Default::default() }).await;
    drop(rx);
    (0..10).for_each(|n| sender.direct("half", n));
    let mut sender = sender;
    half.try_send(Outbound::peer(locator("sender"), "7")).unwrap();
    assert_eq!(sender.numbers().await, [7]);
}

#[tokio::test(start_paused = true)]
async fn what_had_arrived_before_close_is_still_handed_out() {
    let network = Network::new();
    let sender = Peer::open(&network, "sender").await;
    let mut receiver = Peer::open(&network, "receiver").await;
    sender.direct("receiver", 1);
    receiver.tx.close(LONG).await.unwrap();
    sender.direct("receiver", 2);
    let mut events = Vec::new();
    while receiver.rx.recv_batch(&mut events, 1).await.is_ok() {}
    let from = Origin::Peer(locator("sender"));
    assert_eq!(events, [Event::PeerUp(locator("sender")), Event::Message { from, payload: "1".into() }]);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_network_swallows_and_comes_back() {
    let network = Network::new();
    let (a, mut b) = (Peer::open(&network, "a").await, Peer::subscribed(&network, "b").await);
    b.all().await;
    network.stop();
    a.publish(1);
    let error = MemoryTransport::new(&network, "c").open(OpenOptions::default()).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unreachable { .. }), "{error}");
    network.start();
    network.start();
    a.publish(2);
    let heard: Vec<_> = b.all().await.into_iter().map(|(_, event)| event).collect();
    let from = Origin::Topic(topic());
    assert_eq!(
        heard,
        [
            Event::Reconnected { session_present: true },
            Event::PeerUp(locator("a")),
            Event::Message { from, payload: "2".into() }
        ]
    );
}
