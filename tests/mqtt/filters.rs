//! Filters that overlap at one session, of which the broker is to know none twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ringbus::TopicFilter;
use ringbus::transport::{Origin, Outbound, TransportTx};
use tokio::time::sleep;

use super::mosquitto::Mosquitto;
use super::session::*;

#[tokio::test]
async fn overlapping_filters_bring_each_message_once() {
    let broker = Mosquitto::start_with("allow_duplicate_messages true");
    let mut session = Session::open(&broker.url(), "s").await;
    for filter in ["a/b", "a/+", "+/b", "a/#", "#"] {
        session.subscribe(filter).await;
        // Equal messages are messages.
        session.publish("a/b", "same").await;
        session.publish("a/b", "same").await;
        assert_eq!(session.messages_until_fence().await, ["same", "same"], "after {filter}");
    }
    for filter in ["#", "a/#", "a/b", "a/+"] {
        session.unsubscribe(filter).await;
        session.publish("a/b", "still").await;
        assert_eq!(session.messages_until_fence().await, ["still"], "without {filter}");
    }
    session.unsubscribe("+/b").await;
    session.publish("a/b", "unheard").await;
    assert_eq!(session.messages_until_fence().await, Vec::<String>::new());
}

#[tokio::test]
async fn changing_overlapping_filters_under_traffic_loses_and_repeats_nothing() {
    let broker = Mosquitto::start_with("allow_duplicate_messages true");
    let mut session = Session::open(&broker.url(), "s").await;
    session.subscribe("a/b").await;
    let sender = Session::open(&broker.url(), "sender").await;
    let tx = session.tx.clone();
    let changing = tokio::spawn(async move {
        for _ in 0..40 {
            for filter in ["a/+", "#", "+/b"] {
                tx.subscribe(&TopicFilter::new(filter).unwrap()).await.unwrap();
            }
            for filter in ["#", "a/+", "+/b"] {
                tx.unsubscribe(&TopicFilter::new(filter).unwrap()).await.unwrap();
            }
        }
    });
    let taken = Arc::new(AtomicUsize::new(0));
    let arrived = taken.clone();
    let sending = tokio::spawn(async move {
        let mut count = 0;
        while !changing.is_finished() {
            sender.publish("a/b", format!("{count}")).await;
            count += 1;
            tokio::task::yield_now().await;
            // What the broker holds for a receiver that is behind, its answers wait for as well. A message that is lost must not
            // end the traffic.
            for _ in 0..50 {
                if count <= arrived.load(Ordering::Relaxed) + 200 {
                    break;
                }
                sleep(Duration::from_millis(1)).await;
            }
        }
        assert_eq!(sender.close().await, 0);
        count
    });
    let mut received = Vec::new();
    let mut sending = Some(sending);
    let count = loop {
        tokio::select! {
            message = session.message() => {
                received.push(message.1);
                taken.store(received.len(), Ordering::Relaxed);
            }
            count = async { sending.as_mut().unwrap().await } => break count.unwrap(),
        }
    };
    received.extend(session.messages_until_fence().await);
    assert!(count > 100, "too little traffic: {count}");
    // The first difference, not thousands of lines.
    let expected = (0..count).map(|n| n.to_string());
    let difference = received.iter().zip(expected).enumerate().find(|(_, (got, wanted))| **got != *wanted);
    assert_eq!(difference, None, "of {count}");
    assert_eq!(received.len(), count);
}

#[tokio::test]
async fn a_wildcard_brings_the_librarys_own_topics_only_if_it_names_them() {
    let broker = Mosquitto::start();
    let mut session = Session::open(&broker.url(), "s").await;
    session.subscribe("#").await;
    session.subscribe("+/+/+").await;
    let other = Session::open(&broker.url(), "other").await;
    other.tx.send_batch(&mut vec![Outbound::peer(peer("s"), "directed")]).await.unwrap();
    assert_eq!(session.message().await, (Origin::Peer(peer("other")), "directed".into()));
    assert_eq!(session.messages_until_fence().await, Vec::<String>::new());
    session.subscribe("@ringbus/presence/other").await;
    assert_eq!(session.message().await.0, Origin::Topic(topic("@ringbus/presence/other")));
}
