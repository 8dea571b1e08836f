//! What a review found broken once: floods, extreme leases, closing under load, relays that join late or blink.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "that is how tests fail, their helpers included")]

mod support;

use std::time::Duration;

use ringbus::pubsub::Route;
use ringbus::qos::{Offered, Requested};
use ringbus::transport::{MemoryTransport, memory::Network};
use ringbus::{DhtNode, Session};
use support::soon;

async fn two() -> (Session<MemoryTransport>, Session<MemoryTransport>) {
    let n = Network::new();
    (
        Session::open(MemoryTransport::new(&n, "a")).await.unwrap(),
        Session::open(MemoryTransport::new(&n, "b")).await.unwrap(),
    )
}

async fn flows(offered: Offered) {
    let (a, b) = two().await;
    let mut s = b.subscriber::<u64>("t").qos(Requested::reliable()).build().await.unwrap();
    let p = a.publisher::<u64>("t").qos(offered).build().await.unwrap();
    soon("a match", p.matched(1)).await.unwrap();
    for i in 0..5u64 {
        p.publish(&i).await.unwrap();
        soon("a sample", s.recv()).await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tiny_lease() {
    flows(Offered::reliable().lease(Duration::from_nanos(2))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn huge_lease() {
    flows(Offered::reliable().lease(Duration::MAX)).await;
}

async fn flood(offered: Offered, requested: Requested) {
    let (a, b) = two().await;
    let mut s = b.subscriber::<u64>("t").qos(requested).build().await.unwrap();
    let p = a.publisher::<u64>("t").qos(offered).build().await.unwrap();
    p.matched(1).await.unwrap();
    let reader = tokio::spawn(async move {
        let mut n = 0u64;
        while let Ok(Ok(Some(_))) = tokio::time::timeout(Duration::from_secs(2), s.recv()).await {
            n += 1;
        }
        (n, s.stats())
    });
    let end = std::time::Instant::now() + Duration::from_secs(2);
    let mut i = 0u64;
    while std::time::Instant::now() < end {
        for _ in 0..200 {
            p.publish(&i).await.unwrap();
            i += 1;
        }
    }
    drop(p.flush().await);
    let (n, stats) = reader.await.unwrap();
    assert_eq!((stats.lost, stats.duplicates), (0, 0), "sent {i}, read {n}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flood_best_effort() {
    flood(Offered::best_effort(), Requested::best_effort().keep_all()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flood_keep_last() {
    flood(Offered::reliable(), Requested::reliable().keep_all()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriber_matched_ends_with_the_session() {
    let (_a, b) = two().await;
    let s = b.subscriber::<u64>("t").build().await.unwrap();
    let (m, _) = tokio::join!(soon("the end", s.matched(1)), b.close(Duration::from_secs(1)));
    assert!(m.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn close_flushes_the_open_batch() {
    let (a, b) = two().await;
    let mut s = b.subscriber::<u64>("t").qos(Requested::reliable().keep_all()).build().await.unwrap();
    let p = a.publisher::<u64>("t").qos(Offered::reliable().keep_all()).build().await.unwrap();
    p.matched(1).await.unwrap();
    let reader = tokio::spawn(async move {
        let mut n = 0u64;
        while n < 60_000 && soon("a sample", s.recv()).await.unwrap().is_some() {
            n += 1;
        }
        n
    });
    for i in 0..60_000u64 {
        p.publish(&i).await.unwrap();
    }
    a.close(Duration::from_secs(10)).await.unwrap();
    let n = reader.await.unwrap();
    assert_eq!(n, 60_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joining_a_relay_late_is_no_loss() {
    let n = Network::new();
    let open = |name: &'static str| Session::open(MemoryTransport::new(&n, name));
    let (node, a, b) = (open("node").await.unwrap(), open("a").await.unwrap(), open("b").await.unwrap());
    let seed = node.local().clone();
    let _node = DhtNode::builder(node).name("n").start().await.unwrap();
    let p =
        a.publisher::<u64>("t").qos(Offered::reliable()).dht(&a.dht([seed.clone()])).build().await.unwrap();
    for i in 0..100u64 {
        p.publish(&i).await.unwrap();
    }
    let mut s = b
        .subscriber::<u64>("t")
        .qos(Requested::reliable().keep_all())
        .route(Route::ViaNode)
        .dht(&b.dht([seed]))
        .build()
        .await
        .unwrap();
    soon("a match", p.matched(1)).await.unwrap();
    for i in 100..110u64 {
        p.publish(&i).await.unwrap();
    }
    for i in 100..110u64 {
        let sample = soon("a sample", s.recv()).await.unwrap().unwrap();
        assert_eq!(sample.value().unwrap(), i);
    }
    assert_eq!(s.stats().lost, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_blinks_goes_on_through_the_relay() {
    let n = Network::new();
    let open = |name: &'static str| Session::open(MemoryTransport::new(&n, name));
    let (node, a, b) = (open("node").await.unwrap(), open("a").await.unwrap(), open("b").await.unwrap());
    let seed = node.local().clone();
    let _node = DhtNode::builder(node).name("n").start().await.unwrap();
    let offered = Offered::reliable().keep_all().lease(Duration::from_millis(600));
    let p = a.publisher::<u64>("t").qos(offered).dht(&a.dht([seed.clone()])).build().await.unwrap();
    let mut s = b
        .subscriber::<u64>("t")
        .qos(Requested::reliable().keep_all())
        .route(Route::ViaNode)
        .dht(&b.dht([seed]))
        .build()
        .await
        .unwrap();
    soon("a match", p.matched(1)).await.unwrap();
    for round in 0..2u64 {
        for i in 0..10u64 {
            p.publish(&(round * 10 + i)).await.unwrap();
        }
        for i in 0..10u64 {
            let sample = soon("a sample", s.recv()).await.unwrap().unwrap();
            assert_eq!(sample.value().unwrap(), round * 10 + i);
        }
        if round == 0 {
            n.cut("a", "node");
            tokio::time::sleep(Duration::from_millis(1200)).await;
            n.heal();
            tokio::time::sleep(Duration::from_millis(3000)).await;
        }
    }
    // A relay that begins anew may repeat what its subscribers have not all acknowledged to it: those
    // drop it by number, so that nothing comes twice.
    assert!(tokio::time::timeout(Duration::from_millis(200), s.recv()).await.is_err());
    assert_eq!((s.stats().lost, s.stats().received), (0, 20));
}
