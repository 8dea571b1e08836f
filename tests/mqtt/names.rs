//! Two sessions of one name: who has it keeps it, and the newcomer ends and says why.

use std::time::Duration;

use ringbus::dht::NodeEvent;
use ringbus::dht::membership::MemberEvent;
use ringbus::transport::{Event, MqttTransport, Outbound, TransportRx, TransportTx, TrySendError};
use ringbus::{DhtNode, ErrorKind, Session as Endpoint};
use tokio::time::{sleep, timeout};

use super::PATIENCE;
use super::mosquitto::Mosquitto;
use super::session::*;

/// Longer than two sessions need to find out about each other: then it is clear which of them is older.
const OLDER: Duration = Duration::from_secs(3);

fn is_taken(error: &ringbus::Error) -> bool {
    matches!(error.kind(), ErrorKind::NameTaken { name, .. } if name == "name")
}

async fn older_and_newcomer(url: &str) {
    let mut watcher = Session::open(url, "watcher").await;
    let mut older = Session::open(url, "name").await;
    sleep(OLDER).await;
    let mut newcomer = Session::open(url, "name").await;
    let told = newcomer.until(|event| matches!(event, Event::NameTaken { .. })).await;
    assert!(matches!(told, Event::NameTaken { ends: true, .. }), "{told:?}");
    let end = timeout(PATIENCE, async {
        loop {
            if let Err(error) = newcomer.rx.recv_batch(&mut Vec::new(), 10).await {
                return error;
            }
        }
    });
    assert!(matches!(end.await.unwrap().kind(), ErrorKind::Closed { .. }));
    let refused = newcomer.tx.try_send(Outbound::topic(topic("t"), "x")).unwrap_err();
    assert!(matches!(&refused, TrySendError::Failed(error) if is_taken(error)), "{refused}");
    let filter = ringbus::TopicFilter::new("t").unwrap();
    assert!(is_taken(&newcomer.tx.subscribe(&filter).await.unwrap_err()));

    let told = older.until(|event| matches!(event, Event::NameTaken { .. })).await;
    assert!(matches!(told, Event::NameTaken { ends: false, .. }), "{told:?}");
    // It is back, and reached. What was sent while it was away is lost.
    let heard = timeout(PATIENCE, async {
        loop {
            watcher.tx.send_batch(&mut vec![Outbound::peer(peer("name"), "hello")]).await.unwrap();
            if let Ok(message) = timeout(Duration::from_millis(100), older.message()).await {
                return message.1;
            }
        }
    });
    assert_eq!(heard.await.unwrap(), "hello");
    assert!(!older.events.iter().any(|event| matches!(event, Event::NameTaken { .. })), "told once");
    // Nothing is left behind at the broker.
    older.close().await;
    watcher.subscribe("@ringbus/#").await;
    let left = watcher.messages_until_fence().await;
    assert!(!left.iter().any(|text| text.contains(' ')), "{left:?}");
}

#[tokio::test]
async fn at_mosquitto_the_older_session_keeps_the_name() {
    let broker = Mosquitto::start();
    // Lost connections are events, too: each wait for one ends, and all of them together have to.
    timeout(PATIENCE * 2, older_and_newcomer(&broker.url())).await.expect("they find out about each other");
}

#[cfg(feature = "embedded-broker")]
#[tokio::test]
async fn at_rumqttd_the_older_session_keeps_the_name() {
    let broker = ringbus::transport::mqtt::EmbeddedBroker::start("127.0.0.1:0").unwrap();
    timeout(PATIENCE * 2, older_and_newcomer(&broker.url())).await.expect("they find out about each other");
}

#[tokio::test]
async fn of_two_ring_nodes_of_one_name_the_newcomer_ends_with_the_reason() {
    let broker = Mosquitto::start();
    let open = || Endpoint::open(MqttTransport::new(broker.url()).client_id("name"));
    let older = DhtNode::builder(open().await.unwrap()).name("n1").start().await.unwrap();
    sleep(OLDER).await;
    let newcomer = DhtNode::builder(open().await.unwrap()).name("n1").start().await.unwrap();
    let mut events = newcomer.events();
    let error = timeout(PATIENCE, newcomer.wait_for(2)).await.unwrap().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NameTaken { .. }), "{error}");
    let told = timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
    assert!(matches!(told, NodeEvent::Member(MemberEvent::NameTaken { .. })), "{told:?}");
    assert!(timeout(Duration::from_millis(500), older.wait_for(2)).await.is_err(), "the older one goes on");
}

#[tokio::test]
async fn what_an_earlier_life_left_at_the_broker_is_no_other_session() {
    let broker = Mosquitto::start();
    // As after a power cut, of a broker that brings back what it had kept.
    broker.publish(&["-t", "@ringbus/presence/s", "-r", "-q", "1", "-m", "0123456789abcdef"]);
    broker.publish(&["-t", "@ringbus/name/s", "-r", "-q", "1", "-m", "0123456789abcdef 99999999"]);
    let mut session = Session::open(&broker.url(), "s").await;
    assert_eq!(session.messages_until_fence().await, Vec::<String>::new());
    assert!(session.events.is_empty(), "{:?}", session.events);
}
