//! The ancestor's demonstration over every transport, and a ring that keeps to its members.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "that is how tests fail")]

#[macro_use]
mod support;

use futures::future::{join, join_all};
use ringbus::dht::Key;
use ringbus::transport::conformance::Harness;
use ringbus::{DhtNode, ErrorKind};
use support::open;
use support::successor::{Pairs, Ring, put_all, random_pairs, verify};

/// Nodes and clients start together, no client waits for the ring.
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

over_every_transport!(eight_nodes_and_five_clients_at_once, an_id_is_taken_once,);
