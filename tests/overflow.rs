//! What gives way where more is published than is read, and that a slow subscriber never starves a fast one in silence:
//! the same program over every transport, a session for each subscriber.

#![allow(clippy::unwrap_used, clippy::panic, reason = "that is how tests fail, their helpers included")]

#[macro_use]
mod support;

use std::time::Duration;

use ringbus::pubsub::{Departure, MatchEvent, PublisherStats, SubscriberStats};
use ringbus::qos::{Offered, Overflow, Requested, ResourceLimits};
use ringbus::transport::conformance::Harness;
use ringbus::transport::memory::Network;
use ringbus::transport::{MemoryTransport, OpenOptions, Transport};
use ringbus::{ErrorKind, Publisher, Session, SessionOptions, Subscriber};
use support::{connect, open, soon};

/// What a subscriber that does not read keeps.
const FEW: ResourceLimits = ResourceLimits { max_samples: 64, max_bytes: 1 << 20 };
/// What a publisher keeps.
const SOME: ResourceLimits = ResourceLimits { max_samples: 1_000, max_bytes: 1 << 20 };
/// Many times what all of them keep.
const MANY: u64 = 20_000;

/// A publisher, a subscriber that nobody reads, and one that is read, each in a session of its own.
struct Trio<T: Transport> {
    publisher: Publisher<u64, T>,
    silent: Subscriber<u64, T>,
    fast: Subscriber<u64, T>,
}

impl<T: Transport> Trio<T> {
    async fn new<H: Harness<Transport = T>>(
        harness: &H,
        offered: Offered,
        silent: Requested,
        fast: Requested,
    ) -> Self {
        let a = open(harness, "alpha").await;
        let (b, c) = (open(harness, "beta").await, open(harness, "gamma").await);
        connect(&b, &a).await;
        connect(&c, &a).await;
        let silent = b.subscriber("flow").qos(silent).build().await.unwrap();
        let fast = c.subscriber("flow").qos(fast).build().await.unwrap();
        let publisher = a.publisher("flow").qos(offered).build().await.unwrap();
        soon("matches", publisher.matched(2)).await.unwrap();
        Self { publisher, silent, fast }
    }
}

/// Publishes 0..MANY, now and then with a pause, as a program does that has other things to do, too.
async fn publish_many<T: Transport>(publisher: &Publisher<u64, T>) {
    for value in 0..MANY {
        publisher.publish(&value).await.unwrap();
        if value % 200 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Reads until `last` has come; the values must ascend.
async fn read_through<T: Transport>(subscriber: &mut Subscriber<u64, T>, last: u64) -> Vec<u64> {
    let mut values = Vec::new();
    while values.last() != Some(&last) {
        let sample = soon("a sample", subscriber.recv()).await.unwrap().unwrap();
        let value = sample.value().unwrap();
        assert!(values.last().is_none_or(|before| *before < value), "{value} after {:?}", values.last());
        values.push(value);
    }
    values
}

/// What is unread.
fn drain<T: Transport>(subscriber: &mut Subscriber<u64, T>) -> Vec<u64> {
    let mut values = Vec::new();
    while let Some(sample) = subscriber.try_recv().unwrap() {
        values.push(sample.value().unwrap());
    }
    values
}

/// Waits until the counts of a subscriber that nobody reads say what they should.
async fn counted<T: Transport>(subscriber: &Subscriber<u64, T>, holds: impl Fn(&SubscriberStats) -> bool) {
    let counted = async {
        while !holds(&subscriber.stats()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let counted = tokio::time::timeout(support::PATIENCE, counted).await;
    assert!(counted.is_ok(), "{:?}", subscriber.stats());
}

async fn event<T: Transport>(
    publisher: &Publisher<u64, T>,
    wanted: impl Fn(&MatchEvent) -> bool,
) -> MatchEvent {
    let events = publisher.events();
    soon("an event", async {
        loop {
            let event = events.next().await.unwrap();
            if wanted(&event) {
                return event;
            }
        }
    })
    .await
}

/// The policy of the subscriber that nobody reads; the publisher would wait.
async fn a_subscriber_that_drops<H: Harness>(harness: H, overflow: Overflow, reliable: bool) {
    let (offered, requested) = match reliable {
        true => (Offered::reliable().resource_limits(SOME), Requested::reliable()),
        false => (Offered::best_effort(), Requested::best_effort().keep_all()),
    };
    let slow = requested.clone().resource_limits(FEW).overflow(overflow);
    let mut trio = Trio::new(&harness, offered, slow, requested).await;
    let (publisher, fast) = (&trio.publisher, &mut trio.fast);
    let (_, values) = tokio::join!(publish_many(publisher), read_through(fast, MANY - 1));
    assert_eq!(values.len() as u64, MANY, "the fast one has everything: {:?}", trio.fast.stats());
    assert_eq!(trio.publisher.stats().published, MANY);
    assert_eq!(trio.publisher.stats().history_full + trio.publisher.stats().link_busy, 0);
    if overflow == Overflow::Disconnect {
        let id = trio.silent.id();
        if reliable {
            let gone = |event: &MatchEvent| matches!(event, MatchEvent::Departed { peer, .. } if *peer == id);
            event(&trio.publisher, gone).await;
        }
        let kept = read_failing(&mut trio.silent).await;
        assert_eq!(kept, (0..kept.len() as u64).collect::<Vec<_>>());
        assert_eq!(trio.silent.stats().received, kept.len() as u64);
        return;
    }
    counted(&trio.silent, |stats| stats.received + stats.queue_full + stats.lost == MANY).await;
    let (stats, kept) = (trio.silent.stats(), drain(&mut trio.silent));
    assert_eq!(stats.lost, 0, "{stats:?}");
    assert_eq!(stats.received - stats.gave_way, kept.len() as u64, "{stats:?}");
    match overflow {
        Overflow::DropOldest => {
            assert_eq!((stats.queue_full, kept.len()), (0, FEW.max_samples), "{stats:?}");
            assert_eq!(kept, (MANY - FEW.max_samples as u64..MANY).collect::<Vec<_>>(), "the newest");
        }
        _ => {
            assert_eq!(stats.gave_way, 0);
            assert_eq!(kept, (0..kept.len() as u64).collect::<Vec<_>>(), "the oldest");
        }
    }
}

/// Reads what was received, the one error and the end.
async fn read_failing<T: Transport>(subscriber: &mut Subscriber<u64, T>) -> Vec<u64> {
    let mut values = Vec::new();
    loop {
        match soon("a sample", subscriber.recv()).await {
            Ok(sample) => values.push(sample.unwrap().value().unwrap()),
            Err(error) => {
                let ErrorKind::TooSlow { missed, limits, .. } = error.kind() else { panic!("{error}") };
                assert_eq!((*missed, *limits), (subscriber.stats().queue_full, FEW));
                assert!(*missed > 0 && values.len() >= FEW.max_samples);
                assert!(
                    soon("the end", subscriber.recv()).await.unwrap().is_none(),
                    "the error is told once"
                );
                return values;
            }
        }
    }
}

async fn a_slow_subscriber_drops_its_oldest<H: Harness>(harness: H) {
    a_subscriber_that_drops(harness, Overflow::DropOldest, true).await;
}

async fn a_slow_subscriber_drops_its_oldest_best_effort<H: Harness>(harness: H) {
    a_subscriber_that_drops(harness, Overflow::DropOldest, false).await;
}

async fn a_slow_subscriber_drops_the_newest<H: Harness>(harness: H) {
    a_subscriber_that_drops(harness, Overflow::DropNewest, true).await;
}

async fn a_slow_subscriber_drops_the_newest_best_effort<H: Harness>(harness: H) {
    a_subscriber_that_drops(harness, Overflow::DropNewest, false).await;
}

async fn a_slow_subscriber_leaves<H: Harness>(harness: H) {
    a_subscriber_that_drops(harness, Overflow::Disconnect, true).await;
}

async fn a_slow_subscriber_leaves_best_effort<H: Harness>(harness: H) {
    a_subscriber_that_drops(harness, Overflow::Disconnect, false).await;
}

async fn a_best_effort_subscriber_holds_nobody_up<H: Harness>(harness: H) {
    a_subscriber_that_drops(harness, Overflow::Wait, false).await;
}

async fn a_publisher_that_waits_says_for_whom<H: Harness>(harness: H) {
    let offered = Offered::reliable().resource_limits(SOME);
    let slow = Requested::reliable().resource_limits(FEW);
    let mut trio = Trio::new(&harness, offered, slow, Requested::reliable()).await;
    let (publisher, fast, silent) = (&trio.publisher, &mut trio.fast, trio.silent);
    let id = silent.id();
    let let_go = async {
        let slow = event(publisher, |event| matches!(event, MatchEvent::Slow { .. })).await;
        let MatchEvent::Slow { peer, behind, .. } = slow else { panic!("{slow:?}") };
        assert_eq!(peer, id, "the one that nobody reads");
        assert!(behind > 0 && publisher.stats().published < MANY);
        drop(silent);
    };
    let (_, values, ()) = tokio::join!(publish_many(publisher), read_through(fast, MANY - 1), let_go);
    assert_eq!(values.len() as u64, MANY);
    let stats = trio.publisher.stats();
    assert!(stats.held_up >= Duration::from_secs(1), "{stats:?}");
    assert_eq!((stats.history_full, stats.link_busy, stats.disconnected), (0, 0, 0));
}

async fn a_publisher_drops_its_oldest<H: Harness>(harness: H) {
    let offered = Offered::reliable().resource_limits(SOME).overflow(Overflow::DropOldest);
    let slow = Requested::reliable().resource_limits(FEW);
    let mut trio = Trio::new(&harness, offered, slow, Requested::reliable()).await;
    let (publisher, fast) = (&trio.publisher, &mut trio.fast);
    let (_, values) = tokio::join!(publish_many(publisher), read_through(fast, MANY - 1));
    assert_eq!(values.len() as u64, MANY, "the fast one has everything: {:?}", trio.fast.stats());
    let stats = trio.publisher.stats();
    assert!(stats.history_full >= MANY - 2 * SOME.max_samples as u64, "{stats:?}");
    assert_eq!((stats.published, stats.link_busy, stats.held_up), (MANY, 0, Duration::ZERO), "{stats:?}");
    // The slow one goes on with what is kept, and knows what it lost.
    let values = read_through(&mut trio.silent, MANY - 1).await;
    let stats = trio.silent.stats();
    assert_eq!((stats.received, stats.received + stats.lost), (values.len() as u64, MANY), "{stats:?}");
    assert!(stats.lost > 0);
}

async fn a_publisher_drops_the_newest<H: Harness>(harness: H) {
    let offered = Offered::reliable().resource_limits(SOME).overflow(Overflow::DropNewest);
    let slow = Requested::reliable().resource_limits(FEW);
    let mut trio = Trio::new(&harness, offered, slow, Requested::reliable()).await;
    publish_many(&trio.publisher).await;
    let stats = trio.publisher.stats();
    assert!(stats.history_full > 0 && stats.published + stats.history_full == MANY, "{stats:?}");
    let refusal = trio.publisher.try_publish(&MANY).unwrap_err();
    assert!(matches!(refusal.kind(), ErrorKind::Full { .. }), "{refusal}");
    // What was taken arrives at both: nothing of it is lost.
    for subscriber in [&mut trio.fast, &mut trio.silent] {
        for _ in 0..stats.published {
            soon("a sample", subscriber.recv()).await.unwrap().unwrap();
        }
        assert_eq!((subscriber.stats().received, subscriber.stats().lost), (stats.published, 0));
    }
    assert_eq!(trio.publisher.stats().history_full, stats.history_full, "what is told is not counted");
}

async fn a_publisher_lets_the_slow_go<H: Harness>(harness: H) {
    let offered = Offered::reliable().resource_limits(SOME).overflow(Overflow::Disconnect);
    let slow = Requested::reliable().resource_limits(FEW);
    let mut trio = Trio::new(&harness, offered, slow, Requested::reliable()).await;
    let (publisher, fast) = (&trio.publisher, &mut trio.fast);
    let (_, values) = tokio::join!(publish_many(publisher), read_through(fast, MANY - 1));
    assert_eq!(values.len() as u64, MANY, "the fast one has everything: {:?}", trio.fast.stats());
    let id = trio.silent.id();
    let gone = event(&trio.publisher, |event| matches!(event, MatchEvent::Departed { .. })).await;
    let MatchEvent::Departed { peer, cause: Departure::TooSlow, .. } = gone else { panic!("{gone:?}") };
    assert_eq!(peer, id, "the one that nobody reads");
    let stats = trio.publisher.stats();
    assert_eq!(
        (stats.disconnected, trio.publisher.subscribers(), stats.history_full),
        (1, 1, 0),
        "{stats:?}"
    );
    // It comes back when it reads again.
    let back = async {
        let back = |event: &MatchEvent| matches!(event, MatchEvent::Matched { peer, .. } if *peer == id);
        event(&trio.publisher, back).await;
        trio.publisher.publish(&MANY).await.unwrap();
    };
    let ((), values) = tokio::join!(back, read_through(&mut trio.silent, MANY));
    let stats = trio.silent.stats();
    assert_eq!((stats.received, stats.received + stats.lost), (values.len() as u64, MANY + 1), "{stats:?}");
    assert!(stats.lost > 0);
    assert_eq!(trio.publisher.subscribers(), 2);
}

async fn subscribers_of_one_session_do_not_block_each_other<H: Harness>(harness: H) {
    let (a, b) = (open(&harness, "alpha").await, open(&harness, "beta").await);
    connect(&b, &a).await;
    let offered = Offered::reliable().resource_limits(SOME).overflow(Overflow::DropOldest);
    let publisher = a.publisher::<u64>("flow").qos(offered).build().await.unwrap();
    let slow = [
        Requested::reliable(),
        Requested::best_effort().keep_all(),
        Requested::reliable().overflow(Overflow::DropNewest),
        Requested::reliable().overflow(Overflow::Disconnect),
    ];
    let mut silent = Vec::new();
    for requested in slow {
        let subscriber =
            b.subscriber::<u64>("flow").qos(requested.resource_limits(FEW)).build().await.unwrap();
        silent.push(subscriber);
    }
    let mut fast = b.subscriber::<u64>("flow").qos(Requested::reliable()).build().await.unwrap();
    soon("matches", publisher.matched(5)).await.unwrap();
    let (_, values) = tokio::join!(publish_many(&publisher), read_through(&mut fast, MANY - 1));
    assert_eq!(values.len() as u64, MANY, "{:?}", fast.stats());
    for subscriber in &silent {
        let stats = subscriber.stats();
        assert!(stats.received >= 64 && stats.received < MANY, "it was heard, and not read: {stats:?}");
    }
}

over_every_transport!(
    a_slow_subscriber_drops_its_oldest,
    a_slow_subscriber_drops_its_oldest_best_effort,
    a_slow_subscriber_drops_the_newest,
    a_slow_subscriber_drops_the_newest_best_effort,
    a_slow_subscriber_leaves,
    a_slow_subscriber_leaves_best_effort,
    a_best_effort_subscriber_holds_nobody_up,
    a_publisher_that_waits_says_for_whom,
    a_publisher_drops_its_oldest,
    a_publisher_drops_the_newest,
    a_publisher_lets_the_slow_go,
    subscribers_of_one_session_do_not_block_each_other,
);

/// What a link or a subscriber of moderate pace does to a publisher that never pauses is not slowness.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_steady_subscriber_is_not_let_go() {
    let harness = support::Memory::default();
    let (a, b) = (open(&harness, "alpha").await, open(&harness, "beta").await);
    let few = ResourceLimits { max_samples: 100, ..FEW };
    let offered = Offered::reliable().resource_limits(few).overflow(Overflow::Disconnect);
    let publisher = a.publisher::<u64>("flow").qos(offered).build().await.unwrap();
    let mut steady =
        b.subscriber::<u64>("flow").qos(Requested::reliable().resource_limits(FEW)).build().await.unwrap();
    soon("a match", publisher.matched(1)).await.unwrap();
    let flood = async {
        for value in 0.. {
            publisher.publish(&value).await.unwrap();
        }
    };
    let read = async {
        for expected in 0..1_000 {
            let sample = soon("a sample", steady.recv()).await.unwrap().unwrap();
            assert_eq!(sample.value().unwrap(), expected);
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    };
    tokio::select! {
        () = flood => {}
        () = read => {}
    }
    // One event may be waiting: that the two matched.
    while let Some(event) = publisher.events().try_next() {
        assert!(matches!(event, MatchEvent::Matched { .. }), "{event:?}");
    }
    let stats = publisher.stats();
    assert_eq!((stats.disconnected, steady.stats().lost), (0, 0));
    assert!(stats.held_up >= Duration::from_secs(2), "{stats:?}");
}

/// Two sessions over a link that takes a message every 20 ms.
async fn slow_link() -> (Network, Session<MemoryTransport>, Session<MemoryTransport>) {
    let network = Network::new();
    let mut sessions = Vec::new();
    for name in ["a", "b"] {
        let options = SessionOptions { transport: OpenOptions { queue: 1, ..OpenOptions::default() } };
        let session = Session::open_with(MemoryTransport::new(&network, name), options).await.unwrap();
        sessions.push(session);
    }
    let (b, a) = (sessions.pop().unwrap(), sessions.pop().unwrap());
    (network, a, b)
}

/// How much is published: several frames more than wait anywhere, a second's work for the link.
const FLOOD: u64 = 300_000;

/// Publishes without a pause, then one more value over a link that is fast again. What was published, lost and dropped.
async fn over_a_slow_link(offered: Offered, requested: Requested) -> (PublisherStats, SubscriberStats) {
    let (network, a, b) = slow_link().await;
    let roomy = ResourceLimits { max_samples: 1 << 20, max_bytes: 64 << 20 };
    let mut subscriber =
        b.subscriber::<u64>("flow").qos(requested.resource_limits(roomy)).build().await.unwrap();
    let publisher = a.publisher::<u64>("flow").qos(offered).build().await.unwrap();
    soon("a match", publisher.matched(1)).await.unwrap();
    network.set_delay(Duration::from_millis(20)..=Duration::from_millis(20));
    for value in 0..FLOOD {
        publisher.publish(&value).await.unwrap();
    }
    network.set_delay(Duration::ZERO..=Duration::ZERO);
    soon("the link", publisher.flush()).await.unwrap();
    publisher.publish(&FLOOD).await.unwrap();
    let values = read_through(&mut subscriber, FLOOD).await;
    let (sent, received) = (publisher.stats(), subscriber.stats());
    assert!(sent.link_busy > 0, "{sent:?}");
    assert_eq!(received.received, values.len() as u64);
    assert_eq!(received.received + received.lost, sent.published, "{sent:?} {received:?}");
    (sent, received)
}

#[tokio::test(flavor = "current_thread")]
async fn a_busy_link_drops_the_newest_of_best_effort() {
    let offered = Offered::best_effort().overflow(Overflow::DropNewest);
    let (sent, received) = over_a_slow_link(offered, Requested::best_effort().keep_all()).await;
    assert_eq!((sent.published + sent.link_busy, received.lost), (FLOOD + 1, 0));
}

#[tokio::test(flavor = "current_thread")]
async fn a_busy_link_drops_the_oldest_of_best_effort() {
    let offered = Offered::best_effort().overflow(Overflow::DropOldest);
    let (sent, received) = over_a_slow_link(offered, Requested::best_effort().keep_all()).await;
    assert_eq!((sent.published, sent.link_busy), (FLOOD + 1, received.lost));
}

#[tokio::test(flavor = "current_thread")]
async fn a_busy_link_drops_the_oldest_of_a_reliable_history() {
    let limits = ResourceLimits { max_samples: 20_000, max_bytes: 1 << 20 };
    let offered = Offered::reliable().resource_limits(limits).overflow(Overflow::DropOldest);
    let (sent, received) = over_a_slow_link(offered, Requested::reliable()).await;
    assert_eq!(sent.published, FLOOD + 1);
    assert!(
        received.lost >= sent.link_busy && received.lost <= sent.link_busy + sent.history_full,
        "{sent:?}"
    );
}

#[tokio::test(flavor = "current_thread")]
async fn a_busy_link_drops_the_oldest_of_a_keep_last_history() {
    let offered = Offered::reliable().keep_last(10_000).overflow(Overflow::DropOldest);
    let (sent, received) = over_a_slow_link(offered, Requested::reliable()).await;
    assert_eq!((sent.published, sent.link_busy), (FLOOD + 1, received.lost));
}
