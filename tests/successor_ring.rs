//! The successor ring as programs use it, over every transport.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "that is how tests fail")]

#[macro_use]
mod support;

use std::time::{Duration, Instant};

use futures::future::{join, join_all};
use ringbus::dht::Key;
use ringbus::transport::conformance::Harness;
use ringbus::{DhtNode, ErrorKind};
use support::open;
use support::successor::{Pairs, Ring, put_all, random_pairs, verify};

/// The ancestor's demonstration: nodes and clients start together, no client waits for the ring.
async fn eight_nodes_and_five_clients_at_once<H: Harness>(harness: H) {
    let mut ring = Ring::new(harness);
    // Two of them close to each other, and on both sides of zero.
    let ids = [1 << 30, (1 << 30) + 1, 1 << 31, (1 << 31) + (1 << 30), 0, 7, u32::MAX - 1, u32::MAX];
    ring.join(ids[0]).await;
    let all: Vec<(u32, String)> = random_pairs(500).into_iter().collect();
    let each: Vec<Pairs> = all.chunks(100).map(|pairs| pairs.iter().cloned().collect()).collect();
    let all: Pairs = all.into_iter().collect();
    let mut clients = Vec::new();
    for number in 0..each.len() {
        clients.push(ring.client(&format!("client-{number}")).await);
    }
    let work = clients.iter().zip(&each).map(|(client, pairs)| async move {
        put_all(client, pairs).await;
        verify(client, pairs).await;
    });
    join(join_all(work), ring.change(&ids[1..], &[])).await;
    ring.settled().await;
    join_all(clients.iter().map(|client| verify(client, &all))).await;
    ring.holds(&all).await;
}

async fn nodes_leave_down_to_the_last<H: Harness>(harness: H) {
    let mut ring = Ring::of(harness, &[10, 2_000_000_000, 4_000_000_000]).await;
    let (client, pairs) = (ring.client("client").await, random_pairs(60));
    put_all(&client, &pairs).await;
    for id in [2_000_000_000, 10] {
        ring.leave(id).await;
        ring.settled().await;
        verify(&client, &pairs).await;
        ring.holds(&pairs).await;
    }
    // Nobody is left to take the pairs: they go with it.
    ring.leave(4_000_000_000).await;
}

async fn values_are_any_text_and_a_missing_key_is_an_answer<H: Harness>(harness: H) {
    let ring = Ring::of(harness, &[1_000_000_000, 3_000_000_000]).await;
    let client = ring.client("client").await;
    let long = "0123456789abcdef".repeat(1 << 12);
    for (key, value) in
        ["", " ", "/", "a/b c/d", "two\nlines\n", "None", "π🦀\u{0}\u{feff}", &long].iter().enumerate()
    {
        let key = Key::new(key as u32 * 500_000_000);
        let owner =
            if (1_000_000_001..=3_000_000_000).contains(&key.get()) { 3_000_000_000 } else { 1_000_000_000 };
        assert_eq!(client.put(key, value).await.unwrap(), Key::new(owner), "{key}");
        assert_eq!(client.get(key).await.unwrap().as_deref(), Some(*value), "{key}");
    }
    for key in [1, 2_222_222_222, u32::MAX] {
        let asked = Instant::now();
        assert_eq!(client.get(key).await.unwrap(), None);
        assert!(asked.elapsed() < Duration::from_secs(5), "an answer, not a timeout: {:?}", asked.elapsed());
    }
}

async fn an_id_is_taken_once<H: Harness>(harness: H) {
    let ring = Ring::of(harness, &[5, 6]).await;
    let (client, pairs) = (ring.client("client").await, random_pairs(20));
    put_all(&client, &pairs).await;
    let session = open(&ring.harness, "second-5").await;
    let error =
        DhtNode::builder(session).successor().id(Key::new(5)).join(ring.seeds()).start().await.map(drop);
    let error = error.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::InvalidArgument { .. }), "{error}");
    ring.settled().await;
    verify(&client, &pairs).await;
}

over_every_transport!(
    eight_nodes_and_five_clients_at_once,
    nodes_leave_down_to_the_last,
    values_are_any_text_and_a_missing_key_is_an_answer,
    an_id_is_taken_once,
);
