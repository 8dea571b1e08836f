//! Who sends what a publisher leaves behind: wherever it publishes from, and no longer than its session lives.

#![allow(clippy::unwrap_used, clippy::panic, reason = "that is how tests fail, their helpers included")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use ringbus::qos::{Offered, Requested, ResourceLimits};
use ringbus::transport::memory::Network;
use ringbus::transport::{MemoryTransport, OpenOptions, Transport, TransportTx};
use ringbus::{ErrorKind, Publisher, Session, SessionOptions, Subscriber};
use serde::{Serialize, Serializer};
use support::soon;

type Memory = Session<MemoryTransport>;

/// A session whose link is busy soon.
async fn narrow(network: &Network, name: &str) -> Memory {
    support::log();
    let options = SessionOptions { transport: OpenOptions { queue: 2, ..OpenOptions::default() } };
    Session::open_with(MemoryTransport::new(network, name), options).await.unwrap()
}

async fn publisher(session: &Memory, topic: &str) -> Publisher<u64, MemoryTransport> {
    session.publisher(topic).qos(Offered::reliable().keep_all()).build().await.unwrap()
}

async fn subscriber(session: &Memory, topic: &str) -> Subscriber<u64, MemoryTransport> {
    session.subscriber(topic).qos(Requested::reliable().keep_all()).build().await.unwrap()
}

async fn expect(subscriber: &mut Subscriber<u64, MemoryTransport>, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let sample = soon("a sample", subscriber.recv()).await.unwrap().unwrap();
        assert_eq!(sample.value().unwrap(), number);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thread_without_a_runtime_publishes_and_drops() {
    let network = Network::new();
    let (a, b) = (narrow(&network, "a").await, narrow(&network, "b").await);
    let mut subscriber = subscriber(&b, "thread").await;
    let publisher = publisher(&a, "thread").await;
    soon("a match", publisher.matched(1)).await.unwrap();
    let thread = std::thread::spawn(move || {
        for number in 0..20_000 {
            while let Err(error) = publisher.try_publish(&number) {
                assert!(matches!(error.kind(), ErrorKind::Full { .. }), "{error}");
                std::thread::yield_now();
            }
        }
    });
    expect(&mut subscriber, 0..20_000).await;
    tokio::task::spawn_blocking(|| thread.join().unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_outlives_the_runtime_it_published_on_first() {
    let network = Network::new();
    let (a, b) = (narrow(&network, "a").await, narrow(&network, "b").await);
    let mut subscriber = subscriber(&b, "runtimes").await;
    let publisher = Arc::new(publisher(&a, "runtimes").await);
    soon("a match", publisher.matched(1)).await.unwrap();
    for first in (0..3).map(|round| round * 5_000) {
        let other = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let publisher = publisher.clone();
        let publishing = std::thread::spawn(move || {
            let numbers = first..first + 5_000;
            other.block_on(async {
                for number in numbers {
                    publisher.publish(&number).await.unwrap();
                }
            });
            // Whatever runs there ends here.
            drop(other);
        });
        expect(&mut subscriber, first..first + 5_000).await;
        tokio::task::spawn_blocking(|| publishing.join().unwrap()).await.unwrap();
    }
    soon("the flush", publisher.flush()).await.unwrap();
    soon("the end", a.close(Duration::from_secs(5))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_gone_when_dropped_although_the_link_takes_nothing() {
    let network = Network::new();
    let options = OpenOptions { queue: 2, ..OpenOptions::default() };
    let (deaf, unread) = MemoryTransport::new(&network, "deaf").open(options).await.unwrap();
    deaf.subscribe(&"stuck".parse().unwrap()).await.unwrap();
    let a = narrow(&network, "a").await;
    let publisher = a.publisher::<u64>("stuck").build().await.unwrap();
    for number in 0..1_000 {
        publisher.publish(&number).await.unwrap();
    }
    drop((publisher, a));
    // The name is free once nothing of the session is left.
    let again = async {
        loop {
            match Session::open(MemoryTransport::new(&network, "a")).await {
                Ok(session) => break session,
                Err(error) => assert!(matches!(error.kind(), ErrorKind::AddressInUse { .. }), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    drop(soon("the name", again).await);
    drop::<(_, _)>((deaf, unread));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_one_topic_is_stuck_on_carries_the_others() {
    let network = Network::new();
    let options = OpenOptions { queue: 2, ..OpenOptions::default() };
    let (deaf, unread) = MemoryTransport::new(&network, "deaf").open(options).await.unwrap();
    deaf.subscribe(&"stuck".parse().unwrap()).await.unwrap();
    let (a, b) = (narrow(&network, "a").await, narrow(&network, "b").await);
    let mut subscriber = subscriber(&b, "free").await;
    let (stuck, free) = (publisher(&a, "stuck").await, publisher(&a, "free").await);
    soon("a match", free.matched(1)).await.unwrap();
    while stuck.try_publish(&7).is_ok() {}
    let publishing = tokio::spawn(async move {
        for number in 0..20_000 {
            free.publish(&number).await.unwrap();
        }
        free
    });
    expect(&mut subscriber, 0..20_000).await;
    soon("the flush", publishing.await.unwrap().flush()).await.unwrap();
    drop((deaf, unread, stuck));
}

/// Panics half way through being serialised, if told to.
struct Bomb(bool);

impl Serialize for Bomb {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeTuple;
        let mut tuple = serializer.serialize_tuple(2)?;
        tuple.serialize_element(&1_u64)?;
        assert!(!self.0, "told to");
        tuple.serialize_element(&2_u64)?;
        tuple.end()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_panics_spoils_no_other() {
    let network = Network::new();
    let (a, b) = (narrow(&network, "a").await, narrow(&network, "b").await);
    let reliable = Requested::reliable().keep_all();
    let mut subscriber = b.subscriber::<(u64, u64)>("bomb").qos(reliable).build().await.unwrap();
    let publisher =
        Arc::new(a.publisher::<Bomb>("bomb").qos(Offered::reliable().keep_all()).build().await.unwrap());
    soon("a match", publisher.matched(1)).await.unwrap();
    for round in 0..2_000 {
        if round % 10 == 9 {
            let publisher = publisher.clone();
            let bomb = tokio::spawn(async move { publisher.publish(&Bomb(true)).await });
            assert!(bomb.await.unwrap_err().is_panic());
        } else {
            publisher.publish(&Bomb(false)).await.unwrap();
        }
    }
    for sequence in 1..=1_800 {
        let sample = soon("a sample", subscriber.recv()).await.unwrap().unwrap();
        assert_eq!((sample.info().sequence, sample.value().unwrap()), (sequence, (1, 2)));
    }
    assert_eq!(subscriber.stats().undecodable, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_acknowledged_stays_within_the_history_also_in_the_open_batch() {
    let network = Network::new();
    let (a, b) = (narrow(&network, "a").await, narrow(&network, "b").await);
    let limits = ResourceLimits { max_samples: 10, max_bytes: 1 << 20 };
    let offered = Offered::reliable().keep_all().resource_limits(limits);
    let mut subscriber = subscriber(&b, "bound").await;
    let publisher = a.publisher::<u64>("bound").qos(offered).build().await.unwrap();
    soon("a match", publisher.matched(1)).await.unwrap();
    let publishing = tokio::spawn(async move {
        for number in 0..2_000 {
            publisher.publish(&number).await.unwrap();
        }
        publisher
    });
    let mut seen = 0;
    while seen < 2_000 {
        let batch = soon("a batch", subscriber.recv_batch()).await.unwrap().unwrap();
        assert!(batch.len() <= limits.max_samples, "{} samples without room for them", batch.len());
        seen += batch.len();
    }
    drop(publishing.await.unwrap());
}
