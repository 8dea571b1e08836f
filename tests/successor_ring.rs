//! The ancestor's demonstration over every transport, and a ring that keeps to its members.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "that is how tests fail")]

#[macro_use]
mod support;

use futures::future::{join, join_all};
use ringbus::dht::{Key, Successor};
use ringbus::transport::conformance::Harness;
use ringbus::{Dht, DhtNode, ErrorKind};
use support::open;
use support::successor::{Pairs, Ring, put_all, random_pairs, verify};

/// Two of them close to each other, and on both sides of zero.
const IDS: [u32; 8] = [1 << 30, (1 << 30) + 1, 1 << 31, (1 << 31) + (1 << 30), 0, 7, u32::MAX - 1, u32::MAX];

async fn eight_nodes_and_five_clients_at_once<H: Harness>(harness: H) {
    let mut ring = Ring::new(harness);
    ring.change(&IDS, &[]).await;
    ring.settled().await;
    let (clients, all) = five_clients(&ring).await;
    let work = clients.iter().map(|(client, pairs)| async move {
        put_all(client, pairs).await;
        verify(client, pairs).await;
    });
    join_all(work).await;
    ring.settled().await;
    ring.holds(&all).await;
}

/// Seven nodes join one while the clients put.
async fn clients_do_not_wait_for_the_ring<H: Harness>(harness: H) {
    let mut ring = Ring::new(harness);
    ring.join(IDS[0]).await;
    let (clients, all) = five_clients(&ring).await;
    let work = clients.iter().map(|(client, pairs)| async move {
        put_all(client, pairs).await;
        verify(client, pairs).await;
    });
    join(join_all(work), ring.change(&IDS[1..], &[])).await;
    ring.settled().await;
    join_all(clients.iter().map(|(client, _)| verify(client, &all))).await;
    ring.holds(&all).await;
}

type Client<H> = Dht<<H as Harness>::Transport, Successor>;

/// Each with a hundred pairs of its own; and all of these.
async fn five_clients<H: Harness>(ring: &Ring<H>) -> (Vec<(Client<H>, Pairs)>, Pairs) {
    let all = random_pairs(500);
    let mut pairs = all.clone().into_iter();
    let mut clients = Vec::new();
    for number in 0..5 {
        let own = pairs.by_ref().take(100).collect();
        clients.push((ring.client(&format!("client-{number}")).await, own));
    }
    (clients, all)
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
    clients_do_not_wait_for_the_ring,
    an_id_is_taken_once,
);
