//! Nodes of this library and plain peers in one ring.

use std::collections::BTreeMap;
use std::time::Duration;

use ringbus::ErrorKind;

use crate::plain_client::PlainClient;
use crate::plain_peer::{PlainPeer, on_arc};
use crate::support::Mqtt;
use crate::support::successor::{Pairs, Ring, put_all, random_pairs, verify};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_peer_joins_serves_its_arc_and_leaves() {
    let mut mixed = Mixed::default();
    for id in [500_000_000, 1_500_000_000, 2_500_000_000, 3_500_000_000] {
        mixed.ring.join(id).await;
    }
    let (client, mut pairs) = (mixed.ring.client("client").await, random_pairs(300));
    put_all(&client, &pairs).await;
    let mut plain_client = PlainClient::connect(mixed.port(), "plain-client").await;

    let id = 2_000_000_000;
    mixed.join_plain(id).await;
    mixed.settled(&pairs).await;
    plain_client.verify(pairs.clone()).await;
    verify(&client, &pairs).await;
    // Each kind of client writes to each kind of node.
    for (key, owner) in [(1_999_999_990, id), (2_000_000_010, 2_500_000_000)] {
        assert_eq!(plain_client.put(key, "a plain client's").await, owner);
        pairs.insert(key, "a plain client's".into());
        assert_eq!(client.put(key + 1, "the library's").await.unwrap().get(), owner);
        pairs.insert(key + 1, "the library's".into());
    }
    mixed.settled(&pairs).await;
    // The library's own topics were there to be heard.
    for topic in ["heal", "replica/2500000000"] {
        assert!(mixed.peers[&id].state().log.iter().any(|(heard, _)| heard == topic), "{topic}");
    }
    // A plain peer is silent about what it has not.
    let missing = client.clone().timeout(Duration::from_millis(500)).get(1_999_999_998).await;
    assert!(matches!(missing.unwrap_err().kind(), ErrorKind::Timeout { .. }));

    mixed.leave_plain(id).await;
    mixed.settled(&pairs).await;
    plain_client.verify(pairs.clone()).await;
    verify(&client, &pairs).await;
    plain_client.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_join_a_ring_that_a_plain_peer_began() {
    let mut mixed = Mixed::default();
    mixed.join_plain(1_000_000_000).await;
    let (mut client, pairs) = (PlainClient::connect(mixed.port(), "client").await, random_pairs(100));
    for (key, value) in &pairs {
        assert_eq!(client.put(*key, value).await, 1_000_000_000);
    }
    for id in [3_000_000_000, 2_000_000_000, 0] {
        mixed.ring.join(id).await;
        mixed.settled(&pairs).await;
    }
    client.verify(pairs.clone()).await;
    mixed.leave_plain(1_000_000_000).await;
    mixed.settled(&pairs).await;
    client.verify(pairs).await;
    client.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_of_each_kind_come_and_go() {
    let mut mixed = Mixed::default();
    mixed.ring.join(100_000_000).await;
    mixed.join_plain(800_000_000).await;
    let (mut client, pairs) = (PlainClient::connect(mixed.port(), "client").await, random_pairs(300));
    for (key, value) in &pairs {
        client.put(*key, value).await;
    }
    mixed.settled(&pairs).await;
    // Between unlike and between like neighbours.
    mixed.ring.join(1_600_000_000).await;
    mixed.settled(&pairs).await;
    mixed.join_plain(1_000_000_000).await;
    mixed.settled(&pairs).await;
    mixed.join_plain(3_000_000_000).await;
    mixed.settled(&pairs).await;
    mixed.ring.join(2_000_000_000).await;
    mixed.settled(&pairs).await;
    client.verify(pairs.clone()).await;
    // From between unlike and like neighbours, down to two plain peers and to one.
    mixed.leave_plain(1_000_000_000).await;
    mixed.settled(&pairs).await;
    mixed.ring.leave(2_000_000_000).await;
    mixed.settled(&pairs).await;
    mixed.ring.leave(1_600_000_000).await;
    mixed.settled(&pairs).await;
    client.verify(pairs.clone()).await;
    mixed.ring.leave(100_000_000).await;
    mixed.settled(&pairs).await;
    mixed.leave_plain(800_000_000).await;
    mixed.settled(&pairs).await;
    // A node is alone with a plain peer, and then quite alone.
    mixed.ring.join(4_000_000_000).await;
    mixed.settled(&pairs).await;
    mixed.leave_plain(3_000_000_000).await;
    mixed.settled(&pairs).await;
    client.verify(pairs).await;
    client.close().await;
}

/// A ring of both.
struct Mixed {
    ring: Ring<Mqtt>,
    peers: BTreeMap<u32, PlainPeer>,
}

impl Default for Mixed {
    fn default() -> Self {
        Self { ring: Ring::new(Mqtt::default()), peers: BTreeMap::new() }
    }
}

impl Mixed {
    fn port(&self) -> u16 {
        self.ring.harness.0.port()
    }

    async fn join_plain(&mut self, id: u32) {
        self.peers.insert(id, PlainPeer::start(self.port(), id).await);
        self.ring.joined(id);
    }

    async fn leave_plain(&mut self, id: u32) {
        self.peers.remove(&id).unwrap().leave().await;
        self.ring.gone(id);
    }

    /// Waits until every member has the neighbours that it should have, and exactly those of the pairs that belong to it.
    async fn settled(&self, pairs: &Pairs) {
        let ids: Vec<u32> = self.ring.ids().into_iter().collect();
        let mut of_nodes = pairs.clone();
        for (id, peer) in &self.peers {
            let at = ids.binary_search(id).unwrap();
            let (before, after) = (ids[(at + ids.len() - 1) % ids.len()], ids[(at + 1) % ids.len()]);
            let neighbour = |other: u32| Some(other).filter(|other| other != id);
            let own = on_arc(pairs, before, *id);
            peer.until("its neighbours", |state| {
                (state.predecessor, state.successor) == (neighbour(before), neighbour(after))
            })
            .await;
            peer.until("its pairs", |state| state.pairs == own).await;
            of_nodes.retain(|key, _| !own.contains_key(key));
        }
        self.ring.settled().await;
        self.ring.holds(&of_nodes).await;
    }
}
