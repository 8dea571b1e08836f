//! The plain programs among themselves: what the tests with ringbus compare with.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::mosquitto::Mosquitto;
use crate::plain_client::PlainClient;
use crate::plain_peer::{PlainPeer, on_arc};

fn pairs(count: u32) -> BTreeMap<u32, String> {
    // Spread over the circle; values as they come.
    (0..count).map(|n| (n.wrapping_mul(0x9E37_79B9), format!("value {n}/of {count}\nπ"))).collect()
}

#[tokio::test]
async fn plain_peers_are_a_ring_that_keeps_its_pairs() {
    let broker = Mosquitto::start();
    let port = broker.port();
    let first = PlainPeer::start(port, 1_000_000_000).await;
    assert_eq!(first.neighbours(), (None, None));
    let second = PlainPeer::start(port, 3_000_000_000).await;
    first.until("two", |state| state.predecessor == Some(3_000_000_000)).await;
    assert_eq!(first.neighbours(), (Some(second.id()), Some(second.id())));
    assert_eq!(second.neighbours(), (Some(first.id()), Some(first.id())));

    let mut client = PlainClient::connect(port, "me").await;
    let pairs = pairs(50);
    for (key, value) in &pairs {
        let owner = if *key > first.id() && *key <= second.id() { second.id() } else { first.id() };
        assert_eq!(client.put(*key, value).await, owner);
    }
    // A join in the arc over zero.
    let third = PlainPeer::start(port, 4_000_000_000).await;
    let of_third = on_arc(&pairs, second.id(), third.id());
    third.until("its pairs", |state| state.pairs == of_third).await;
    assert_eq!(third.neighbours(), (Some(second.id()), Some(first.id())));
    assert_eq!(first.neighbours(), (Some(third.id()), Some(second.id())));
    assert_eq!(second.neighbours(), (Some(first.id()), Some(third.id())));
    assert_eq!(first.pairs(), on_arc(&pairs, third.id(), first.id()));
    assert_eq!(second.pairs(), on_arc(&pairs, first.id(), second.id()));
    client.verify(pairs.clone()).await;
    let missing = client.get_within(12_345, Duration::from_millis(200)).await;
    assert_eq!(missing, None, "peers are silent about a key they have not");

    first.leave().await;
    let of_second = on_arc(&pairs, third.id(), second.id());
    second.until("the leaver's pairs", |state| state.pairs == of_second).await;
    client.verify(pairs.clone()).await;
    second.leave().await;
    third.until("every pair", |state| state.pairs == pairs).await;
    assert_eq!(third.neighbours(), (None, None));
    client.verify(pairs).await;
    third.leave().await;
    client.close().await;
}
