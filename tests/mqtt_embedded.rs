//! The broker inside the process: what sessions rely on, and its life.
#![cfg(all(feature = "mqtt", feature = "embedded-broker"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "that is how tests fail")]

use std::net::TcpStream;
use std::time::Duration;

use ringbus::transport::mqtt::{EmbeddedBroker, MqttRx, MqttTx};
use ringbus::transport::{
    Event, Guarantee, Locator, MqttTransport, OpenOptions, Outbound, Transport, TransportRx, TransportTx,
};
use ringbus::{ErrorKind, Topic, TopicFilter};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);

async fn open(broker: &EmbeddedBroker, name: &str) -> (MqttTx, MqttRx) {
    MqttTransport::new(broker.url()).client_id(name).open(OpenOptions::default()).await.unwrap()
}

fn filter(text: &str) -> TopicFilter {
    TopicFilter::new(text).unwrap()
}

async fn send(tx: &MqttTx, topic: &str, payload: &str) {
    let message = Outbound::topic(Topic::new(topic).unwrap(), payload.to_owned()).reliable();
    tx.send_batch(&mut vec![message]).await.unwrap();
}

async fn next(rx: &mut MqttRx) -> Event {
    let mut events = Vec::new();
    timeout(PATIENCE, rx.recv_batch(&mut events, 1)).await.expect("an event").unwrap();
    events.remove(0)
}

async fn text(rx: &mut MqttRx) -> String {
    loop {
        if let Event::Message { payload, .. } = next(rx).await {
            return String::from_utf8(payload.into()).unwrap();
        }
    }
}

#[tokio::test]
async fn last_wills_and_goodbyes_are_heard() {
    let broker = EmbeddedBroker::start("127.0.0.1:0").unwrap();
    let (_tx, mut rx) = open(&broker, "watcher").await;
    // Not under one name: rumqttd mixes up the wills of a client that comes back at once.
    for (name, clean) in [("a", false), ("b", true), ("c", false)] {
        let other = Locator::new(format!("mqtt:{name}")).unwrap();
        let halves = open(&broker, name).await;
        assert_eq!(next(&mut rx).await, Event::PeerUp(other.clone()));
        if clean {
            assert_eq!(halves.0.close(PATIENCE).await.unwrap().messages, 0);
        }
        drop(halves);
        assert_eq!(next(&mut rx).await, Event::PeerDown(other.clone()));
    }
}

#[tokio::test]
async fn presence_is_retained_for_those_who_come_later() {
    let broker = EmbeddedBroker::start("127.0.0.1:0").unwrap();
    let _early = open(&broker, "early").await;
    let (_tx, mut rx) = open(&broker, "late").await;
    assert_eq!(next(&mut rx).await, Event::PeerUp(Locator::new("mqtt:early").unwrap()));
}

#[tokio::test]
async fn changing_subscriptions_lose_and_repeat_nothing_on_a_topic() {
    let broker = EmbeddedBroker::start("127.0.0.1:0").unwrap();
    let (tx, mut rx) = open(&broker, "s").await;
    tx.subscribe(&filter("steady")).await.unwrap();
    for turn in 0..20 {
        tx.subscribe(&filter("flip")).await.unwrap();
        for n in 0..20 {
            send(&tx, "flip", &format!("{turn}.{n}")).await;
            send(&tx, "steady", &format!("{turn}.{n}")).await;
        }
        let mut flips = Vec::new();
        let mut steady = Vec::new();
        while flips.len() + steady.len() < 40 {
            let Event::Message { from, payload } = next(&mut rx).await else { continue };
            let heard = String::from_utf8(payload.into()).unwrap();
            if format!("{from:?}").contains("flip") { flips.push(heard) } else { steady.push(heard) }
        }
        let expected: Vec<String> = (0..20).map(|n| format!("{turn}.{n}")).collect();
        assert_eq!((&flips, &steady), (&expected, &expected));
        tx.unsubscribe(&filter("flip")).await.unwrap();
    }
}

/// rumqttd has a hundred packet ids for each session, and raises what it delivers to the subscription's QoS: with all three
/// guarantees each message comes by a handshake, whose id is another message's soon.
#[tokio::test]
async fn every_guarantee_is_kept_and_in_order() {
    const COUNT: usize = 1000;
    let broker = EmbeddedBroker::start("127.0.0.1:0").unwrap();
    let (tx, mut rx) = open(&broker, "s").await;
    tx.subscribe(&filter("t")).await.unwrap();
    for guarantee in [Guarantee::ExactlyOnce, Guarantee::AtLeastOnce, Guarantee::AtMostOnce] {
        let message =
            |n: usize| Outbound::topic(Topic::new("t").unwrap(), n.to_string()).guaranteed(guarantee);
        let sending = async {
            tx.send_batch(&mut (0..COUNT).map(message).collect()).await.unwrap();
            timeout(PATIENCE, tx.acknowledged()).await.expect("it is acknowledged").unwrap();
        };
        let receiving = async {
            for n in 0..COUNT {
                assert_eq!(text(&mut rx).await, n.to_string(), "{guarantee:?}");
            }
        };
        tokio::join!(sending, receiving);
    }
    assert_eq!(tx.close(PATIENCE).await.unwrap().messages, 0);
}

#[tokio::test]
async fn overlapping_filters_bring_each_message_once() {
    let broker = EmbeddedBroker::start("127.0.0.1:0").unwrap();
    let (tx, mut rx) = open(&broker, "s").await;
    for name in ["a/b", "a/+", "+/b", "#"] {
        tx.subscribe(&filter(name)).await.unwrap();
        for payload in ["same", "same", "end"] {
            send(&tx, "a/b", payload).await;
        }
        for payload in ["same", "same", "end"] {
            assert_eq!(text(&mut rx).await, payload, "with {name}");
        }
    }
}

#[tokio::test]
async fn stops_when_dropped_and_starts_again_at_its_address() {
    let broker = EmbeddedBroker::start("127.0.0.1:0").unwrap();
    let address = broker.address();
    assert_eq!(broker.url(), format!("mqtt://{address}"));
    let taken = EmbeddedBroker::start(&address.to_string()).unwrap_err();
    assert!(matches!(taken.kind(), ErrorKind::AddressInUse { .. }), "{taken}");
    let (_tx, mut rx) = open(&broker, "s").await;
    drop(broker);
    assert!(TcpStream::connect(address).is_err());
    let again = EmbeddedBroker::start(&address.to_string()).unwrap();
    assert!(matches!(next(&mut rx).await, Event::Disconnected { .. }));
    assert_eq!(next(&mut rx).await, Event::Reconnected { session_present: false });
    drop(again);
}

#[test]
fn listens_on_loopback_alone_unless_told_otherwise() {
    for address in ["0.0.0.0:0", "192.0.2.1:1883", "localhost", "127.0.0.1"] {
        let error = EmbeddedBroker::start(address).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::InvalidAddress { .. }), "{address}: {error}");
    }
    EmbeddedBroker::start_public("0.0.0.0:0").unwrap();
}
