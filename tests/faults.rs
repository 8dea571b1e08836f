//! Reliable delivery over a memory network that loses, delays, reorders and partitions. Time is paused: seeds replay.
//!
//! A failing seed is printed; `RINGBUS_SEED=n cargo test --all-features --test faults` runs that one alone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "that is how tests fail, their helpers included"
)]

mod support;

use std::time::Duration;

use ringbus::pubsub::MatchEvent;
use ringbus::qos::{Offered, Requested};
use ringbus::transport::MemoryTransport;
use ringbus::transport::memory::Network;
use ringbus::{Session, Timestamp};
use support::{Reading, soon};

const SEEDS: u64 = 40;

fn seeds() -> Vec<u64> {
    match std::env::var("RINGBUS_SEED") {
        Ok(seed) => vec![seed.parse().expect("RINGBUS_SEED is a number")],
        Err(_) => (0..SEEDS).collect(),
    }
}

/// Runs a scenario once for each seed, each in a runtime of its own with time paused.
fn for_each_seed<F: Future<Output = ()>>(name: &str, scenario: impl Fn(Network) -> F) {
    for seed in seeds() {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            runtime.block_on(scenario(Network::seeded(seed)));
        }));
        if let Err(panic) = outcome {
            eprintln!("replay with: RINGBUS_SEED={seed} cargo test --all-features --test faults {name}");
            std::panic::resume_unwind(panic);
        }
    }
}

async fn open(network: &Network, name: &str) -> Session<MemoryTransport> {
    Session::open(MemoryTransport::new(network, name)).await.unwrap()
}

fn hostile(network: Network) -> Network {
    let delays = Duration::from_micros(100)..=Duration::from_millis(20);
    network.with_delay(delays).with_loss(0.2).with_reorder(0.2)
}

#[test]
fn reliable_samples_arrive_once_and_in_order_through_loss_and_reordering() {
    for_each_seed("reliable_samples", |network| async move {
        let network = hostile(network);
        let (a, b) = (open(&network, "a").await, open(&network, "b").await);
        let mut subscriber = b.subscriber::<u64>("x/+").qos(Requested::reliable()).build().await.unwrap();
        let publisher = a.publisher::<u64>("x/y").qos(Offered::reliable()).build().await.unwrap();
        soon("a match", publisher.matched(1)).await.unwrap();
        for value in 0..300 {
            publisher.publish(&value).await.unwrap();
            if value % 50 == 0 {
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
        }
        for expected in 0..300 {
            let sample = soon("a sample", subscriber.recv()).await.unwrap().unwrap();
            assert_eq!(sample.value().unwrap(), expected);
        }
        soon("acknowledgements", publisher.flush()).await.unwrap();
        let stats = subscriber.stats();
        assert_eq!((stats.received, stats.lost), (300, 0));
    });
}

#[test]
fn best_effort_losses_are_counted_to_the_last_one() {
    for_each_seed("best_effort", |network| async move {
        let network = network.with_delay(Duration::from_millis(1)..=Duration::from_millis(2)).with_loss(0.2);
        let (a, b) = (open(&network, "a").await, open(&network, "b").await);
        let requested = Requested::best_effort().keep_all();
        let mut subscriber = b.subscriber::<u64>("x").qos(requested).build().await.unwrap();
        let publisher = a.publisher::<u64>("x").qos(Offered::best_effort()).build().await.unwrap();
        soon("a match", publisher.matched(1)).await.unwrap();
        for value in 0..200 {
            publisher.publish(&value).await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        network.set_loss(0.0);
        publisher.publish(&200).await.unwrap();
        let mut last = None;
        while last != Some(200) {
            let value = soon("a sample", subscriber.recv()).await.unwrap().unwrap().value().unwrap();
            assert!(last.is_none_or(|last| value > last), "{value} after {last:?}");
            last = Some(value);
        }
        let stats = subscriber.stats();
        assert!(stats.lost > 0, "a fifth is lost");
        assert_eq!(stats.received + stats.lost, 201);
    });
}

#[test]
fn a_partition_heals_without_a_gap_or_a_duplicate() {
    for_each_seed("a_partition", |network| async move {
        let (a, b) = (open(&network, "a").await, open(&network, "b").await);
        // The lease is shorter than the cut: the writer is given up and comes back.
        let offered = Offered::reliable().lease(Duration::from_secs(1)).transient_local();
        let mut subscriber = b.subscriber::<u64>("x").qos(Requested::reliable()).build().await.unwrap();
        let publisher = a.publisher::<u64>("x").qos(offered).build().await.unwrap();
        soon("a match", publisher.matched(1)).await.unwrap();
        for value in 0..50 {
            publisher.publish(&value).await.unwrap();
        }
        for expected in 0..50 {
            assert_eq!(subscriber.recv().await.unwrap().unwrap().value().unwrap(), expected);
        }
        network.partition(&["a"], &["b"]);
        for value in 50..100 {
            publisher.publish(&value).await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(subscriber.publishers(), 0, "the lease has ended");
        network.heal();
        for value in 100..150 {
            publisher.publish(&value).await.unwrap();
        }
        for expected in 50..150 {
            let sample = soon("a sample", subscriber.recv()).await.unwrap().unwrap();
            assert_eq!(sample.value().unwrap(), expected);
        }
        assert_eq!((subscriber.stats().received, subscriber.stats().lost), (150, 0));
    });
}

#[test]
fn a_killed_owner_is_replaced_within_its_lease_without_a_hole() {
    for_each_seed("a_killed_owner", |network| async move {
        let network =
            network.with_delay(Duration::from_micros(100)..=Duration::from_millis(3)).with_loss(0.05);
        let (a, b, c) = (open(&network, "a").await, open(&network, "b").await, open(&network, "c").await);
        let lease = Duration::from_secs(1);
        let offered = |strength| Offered::reliable().transient_local().exclusive(strength).lease(lease);
        let strong = a.publisher::<Reading>("city").qos(offered(10)).build().await.unwrap();
        let weak = b.publisher::<Reading>("city").qos(offered(5)).build().await.unwrap();
        let requested = Requested::reliable().transient_local().exclusive();
        let mut subscriber = c.subscriber::<Reading>("+").qos(requested).build().await.unwrap();
        soon("a match", strong.matched(1)).await.unwrap();
        soon("a match", weak.matched(1)).await.unwrap();
        let (strong_id, weak_id) = (strong.id(), weak.id());
        let send = |hours: std::ops::Range<u64>, publisher| async move {
            let publisher: &ringbus::Publisher<Reading, MemoryTransport> = publisher;
            for hour in hours {
                publisher
                    .publish_at(&Reading::of(hour), Timestamp::from_secs(hour as i64 * 3600))
                    .await
                    .unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::join!(send(0..200, &strong), send(0..250, &weak));
        network.kill("a");
        let killed = tokio::time::Instant::now();
        send(250..300, &weak).await;
        let mut hours = Vec::new();
        let mut handed_over = None;
        while hours.len() < 300 {
            let sample = soon("a sample", subscriber.recv()).await.unwrap().unwrap();
            if sample.info().writer == Some(weak_id) && handed_over.is_none() && !hours.is_empty() {
                handed_over = Some(killed.elapsed());
            }
            hours.push(sample.value().unwrap().hour);
        }
        assert_eq!(hours, (0..300).collect::<Vec<_>>());
        assert!(handed_over.unwrap() < lease + Duration::from_secs(1), "{handed_over:?}");
        let events = subscriber.events();
        let takeover =
            |event: &MatchEvent| matches!(event, MatchEvent::Takeover { from, .. } if *from == strong_id);
        assert!(std::iter::from_fn(|| events.try_next()).any(|event| takeover(&event)));
        drop((strong, weak));
    });
}
