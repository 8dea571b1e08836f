//! Who hears whom, at brokers that do not bring retained messages, and under which names.

use std::time::Duration;

use bytes::Bytes;
use ringbus::transport::{
    Event, MqttTransport, OpenOptions, Origin, Outbound, Transport, TransportTx, TrySendError,
};
use ringbus::{ErrorKind, Session as Endpoint};
use rumqttc::Packet;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::PATIENCE;
use super::mosquitto::Mosquitto;
use super::proxy::{Proxy, Seen, Verdict, Way};
use super::session::*;

/// The first byte of an announcement to one session alone.
const ANNOUNCEMENT: u8 = 2;

/// A broker that keeps retained messages to itself where they were asked for by a wildcard, as RabbitMQ does.
async fn without_retained(broker: &Mosquitto) -> Proxy {
    let rule = |seen: &Seen| match &seen.packet {
        Packet::Publish(p) if seen.way == Way::Down && p.retain && p.topic.contains("/presence/") => {
            Verdict::Drop
        }
        _ => Verdict::Pass,
    };
    Proxy::start(broker.port(), rule).await
}

/// How many announcements to one session alone were sent.
fn answers(proxy: &Proxy) -> usize {
    let is_answer = |seen: &&Seen| {
        matches!(&seen.packet, Packet::Publish(p)
            if seen.way == Way::Up && p.payload.first() == Some(&ANNOUNCEMENT))
    };
    proxy.seen().iter().filter(is_answer).count()
}

async fn hears(session: &mut Session, event: Event) {
    session.until(|heard| *heard == event).await;
}

#[tokio::test]
async fn newcomers_hear_those_before_them_without_retained_messages() {
    let broker = Mosquitto::start();
    let proxy = without_retained(&broker).await;
    let mut first = Session::open(&proxy.url, "first").await;
    let mut second = Session::open(&proxy.url, "second").await;
    hears(&mut second, Event::PeerUp(peer("first"))).await;
    let mut third = Session::open(&proxy.url, "third").await;
    for name in ["second", "third"] {
        hears(&mut first, Event::PeerUp(peer(name))).await;
    }
    for _ in 0..2 {
        let first_or_second = [Event::PeerUp(peer("first")), Event::PeerUp(peer("second"))];
        third.until(|event| first_or_second.contains(event)).await;
    }
    drop(second);
    hears(&mut first, Event::PeerDown(peer("second"))).await;
    hears(&mut third, Event::PeerDown(peer("second"))).await;
    // One for each of those that were there, and none for an answer.
    assert_eq!(answers(&proxy), 1 + 2);
}

#[tokio::test]
async fn a_broker_that_brings_retained_messages_makes_answers_needless() {
    let broker = Mosquitto::start();
    let proxy = Proxy::start(broker.port(), |_| Verdict::Pass).await;
    let mut sessions = Vec::new();
    for n in 0..6 {
        let mut session = Session::open(&proxy.url, &format!("s{n}")).await;
        for _ in 0..n {
            session.until(|event| matches!(event, Event::PeerUp(_))).await;
        }
        sessions.push(session);
    }
    assert_eq!(sessions[5].messages_until_fence().await, Vec::<String>::new());
    // The first has never been brought one, so it answers those after it; no other does.
    assert!(answers(&proxy) <= 5, "{}", answers(&proxy));
}

#[tokio::test]
async fn an_inbox_that_brings_nothing_is_told_by_open() {
    let broker = Mosquitto::start();
    let lost = |seen: &Seen| match &seen.packet {
        Packet::Publish(p) if seen.way == Way::Down && p.topic.starts_with('@') => Verdict::Drop,
        _ => Verdict::Pass,
    };
    let proxy = Proxy::start(broker.port(), lost).await;
    let options = OpenOptions { connect_timeout: Duration::from_secs(2), ..OpenOptions::default() };
    let transport = MqttTransport::new(&proxy.url).client_id("s");
    let error = transport.clone().open(options.clone()).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Transport { operation: "connect", .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("@ringbus/inbox/s") && text.contains("reserved_level"), "{text}");
    // With the advice followed it works.
    transport.reserved_level("ringbus").open(options).await.unwrap();
}

#[tokio::test]
async fn a_broker_that_changes_the_inboxs_name_is_told_by_open() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    let broker = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        greet_as(&mut socket, |topic| topic.replace('.', "/")).await;
        socket
    };
    let transport = MqttTransport::new(url).client_id("h1.example");
    let open = timeout(PATIENCE, transport.open(OpenOptions::default()));
    let (opened, _socket) = tokio::join!(open, broker);
    let text = opened.unwrap().unwrap_err().to_string();
    assert!(text.contains("@ringbus/inbox/h1/example") && text.contains("choose a name"), "{text}");
}

async fn at_level(broker: &Mosquitto, name: &str, level: &str) -> Session {
    let transport = MqttTransport::new(broker.url()).client_id(name).reserved_level(level);
    let (tx, rx) = transport.open(OpenOptions::default()).await.unwrap();
    Session { tx, rx, events: Default::default() }
}

#[tokio::test]
async fn sessions_with_one_reserved_level_hear_each_other_and_no_others() {
    let broker = Mosquitto::start();
    let mut default = Session::open(&broker.url(), "default").await;
    let mut one = at_level(&broker, "one", "ringbus").await;
    let mut other = at_level(&broker, "other", "ringbus").await;
    hears(&mut other, Event::PeerUp(peer("one"))).await;
    hears(&mut one, Event::PeerUp(peer("other"))).await;
    one.subscribe("#").await;
    one.subscribe("@ringbus/query").await;
    for (session, text) in [(&default, "theirs"), (&other, "ours")] {
        session.publish("@ringbus/query", text).await;
        session.publish("t", text).await;
    }
    other.tx.send_batch(&mut vec![Outbound::peer(peer("one"), "directed")]).await.unwrap();
    let mut heard = Vec::new();
    while heard.len() < 4 {
        heard.push(one.message().await);
    }
    let from = |name| Origin::Topic(topic(name));
    for expected in [
        (Origin::Peer(peer("other")), "directed".to_owned()),
        (from("@ringbus/query"), "ours".to_owned()),
        (from("t"), "ours".to_owned()),
        (from("t"), "theirs".to_owned()),
    ] {
        assert!(heard.contains(&expected), "{expected:?} is missing in {heard:?}");
    }
    assert_eq!(one.messages_until_fence().await, Vec::<String>::new());
    assert_eq!(default.messages_until_fence().await, Vec::<String>::new());
    let mut missed = default.events.iter().chain(&one.events);
    assert!(!missed.any(|event| matches!(event, Event::PeerUp(_))));

    // The level is the library's.
    let refused = one.tx.try_send(Outbound::topic(topic("ringbus/x"), Bytes::new())).unwrap_err();
    let is_invalid = |error: &ringbus::Error| matches!(error.kind(), ErrorKind::InvalidTopic { .. });
    assert!(matches!(&refused, TrySendError::Failed(error) if is_invalid(error)), "{refused}");
    let filter = ringbus::TopicFilter::new("ringbus/#").unwrap();
    let error = one.tx.subscribe(&filter).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::InvalidFilter { .. }), "{error}");
    let wrong = MqttTransport::new(broker.url()).reserved_level("a/b").open(OpenOptions::default()).await;
    assert!(matches!(wrong.unwrap_err().kind(), ErrorKind::InvalidArgument { .. }));
}

#[tokio::test]
async fn publishers_and_subscribers_match_at_another_level() {
    let broker = Mosquitto::start();
    let transport = || MqttTransport::new(broker.url()).reserved_level("ringbus");
    let one = Endpoint::open(transport()).await.unwrap();
    let other = Endpoint::open(transport()).await.unwrap();
    let publisher = one.publisher::<u32>("t").build().await.unwrap();
    // Subscribed later: it has to ask for announcements, by the library's own topic.
    let mut subscriber = other.subscriber::<u32>("t").build().await.unwrap();
    timeout(PATIENCE, publisher.matched(1)).await.unwrap().unwrap();
    publisher.publish(&7).await.unwrap();
    let sample = timeout(PATIENCE, subscriber.recv()).await.unwrap().unwrap().unwrap();
    assert_eq!(sample.value().unwrap(), 7);
}
