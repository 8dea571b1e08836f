//! Values that the broker keeps, for the plain subscribers of one session: each gets them once, and knows them.

use std::collections::BTreeSet;

use ringbus::transport::memory::Network;
use ringbus::transport::{MemoryTransport, MqttTransport};
use ringbus::{Encoding, ErrorKind, Publisher, Session, Subscriber};
use tokio::time::timeout;

use super::PATIENCE;
use super::mosquitto::Mosquitto;

type Values = Subscriber<String, MqttTransport>;

async fn open(broker: &Mosquitto) -> Session<MqttTransport> {
    Session::open(MqttTransport::new(broker.url())).await.unwrap()
}

async fn plain(session: &Session<MqttTransport>, filter: &str) -> Values {
    session.subscriber(filter).encoding(Encoding::Raw).plain().build().await.unwrap()
}

async fn keeper(session: &Session<MqttTransport>, topic: &str) -> Publisher<String, MqttTransport> {
    session.publisher(topic).encoding(Encoding::Raw).plain().retain().build().await.unwrap()
}

/// What a subscriber gets up to a value that says so: topic, value, and whether it was kept.
async fn until_fence(subscriber: &mut Values) -> Vec<(String, String, bool)> {
    let mut all = Vec::new();
    loop {
        let sample = timeout(PATIENCE, subscriber.recv()).await.unwrap().unwrap().unwrap();
        let value = sample.value().unwrap();
        if value == "fence" {
            return all;
        }
        all.push((sample.topic().to_string(), value, sample.info().retained));
    }
}

fn kept(topics: &[&str]) -> BTreeSet<(String, String, bool)> {
    topics.iter().map(|topic| ((*topic).to_owned(), format!("{topic} kept"), true)).collect()
}

#[tokio::test]
async fn each_plain_subscriber_of_a_session_gets_what_was_kept_once() {
    let broker = Mosquitto::start();
    let source = open(&broker).await;
    for topic in ["r/a", "r/b"] {
        let publisher = keeper(&source, topic).await;
        publisher.publish(&format!("{topic} kept")).await.unwrap();
        timeout(PATIENCE, publisher.flush()).await.unwrap().unwrap();
    }
    let session = open(&broker).await;
    // The same filter twice, one that is covered, one that crosses, and one with frames, which asks for none.
    let mut subscribers = [
        (plain(&session, "r/#").await, kept(&["r/a", "r/b"])),
        (plain(&session, "r/#").await, kept(&["r/a", "r/b"])),
        (plain(&session, "r/a").await, kept(&["r/a"])),
        (plain(&session, "+/a").await, kept(&["r/a"])),
    ];
    let _framed = session.subscriber::<String>("r/+").build().await.unwrap();
    // One that comes and goes changes what the broker is subscribed to.
    drop(plain(&session, "+/+").await);
    let mut last = plain(&session, "r/b").await;
    source
        .publisher("r/a")
        .encoding(Encoding::Raw)
        .plain()
        .build()
        .await
        .unwrap()
        .publish(&"fence".to_owned())
        .await
        .unwrap();
    for (subscriber, expected) in &mut subscribers {
        let heard = until_fence(subscriber).await;
        assert_eq!(heard.len(), expected.len(), "{}: {heard:?}", subscriber.filter());
        assert_eq!(heard.into_iter().collect::<BTreeSet<_>>(), *expected, "{}", subscriber.filter());
    }
    source
        .publisher("r/b")
        .encoding(Encoding::Raw)
        .plain()
        .build()
        .await
        .unwrap()
        .publish(&"fence".to_owned())
        .await
        .unwrap();
    assert_eq!(until_fence(&mut last).await.into_iter().collect::<BTreeSet<_>>(), kept(&["r/b"]));
}

#[tokio::test]
async fn what_is_kept_is_new_to_those_who_are_there_and_ends_with_an_empty_value() {
    let broker = Mosquitto::start();
    let session = open(&broker).await;
    let mut there = plain(&session, "t").await;
    let publisher = keeper(&session, "t").await;
    for value in ["one", "two", "fence"] {
        publisher.publish(&value.to_owned()).await.unwrap();
    }
    let new = |value: &str| ("t".to_owned(), value.to_owned(), false);
    assert_eq!(until_fence(&mut there).await, [new("one"), new("two")]);
    let mut late = plain(&session, "t").await;
    let sample = timeout(PATIENCE, late.recv()).await.unwrap().unwrap().unwrap();
    assert!(sample.info().retained && sample.value().unwrap() == "fence");
    publisher.publish(&String::new()).await.unwrap();
    timeout(PATIENCE, publisher.flush()).await.unwrap().unwrap();
    let mut later = plain(&session, "t").await;
    publisher.publish(&"fence".to_owned()).await.unwrap();
    assert_eq!(until_fence(&mut later).await, []);
    assert_eq!(until_fence(&mut there).await, [new("")]);
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused_with_its_reason() {
    let memory = Session::open(MemoryTransport::new(&Network::new(), "a")).await.unwrap();
    let error = memory.publisher::<u32>("t").plain().retain().build().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unsupported { transport: "memory", .. }), "{error}");
    let broker = Mosquitto::start();
    let error = open(&broker).await.publisher::<u32>("t").retain().build().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::InvalidArgument { .. }), "{error}");
    assert!(error.to_string().contains(".plain()"), "{error}");
}
