//! Messages that the transport keeps for those who subscribe later.

use bytes::Bytes;

use super::super::{Event, Outbound, Transport, TransportTx};
use super::member::{Member, Outcome, bounded, filter, named, numbered, require, topic};
use super::topics::in_order;
use super::{Failure, Harness};
use crate::error::ErrorKind;
use crate::topic::{Topic, TopicFilter};

/// Where [`Capabilities::retained`](super::super::Capabilities::retained) is claimed, each subscription to a topic brings what
/// was kept there, once and with its mark, also where the topic is subscribed to already. Elsewhere such a message is refused
/// as [`ErrorKind::Unsupported`].
///
/// # Errors
/// What was not brought, brought again, or taken.
pub async fn retained<H: Harness>(harness: &H) -> Result<(), Failure> {
    const CHECK: &str = "retained";
    let check = async {
        let topic = topic(harness, CHECK, "t")?;
        let Some(publisher) = keeps(harness, "kept-a", &[&topic]).await? else { return Ok(()) };
        let mut subscriber = Member::open(harness, "kept-b").await?;
        for mark in 1..=2 {
            brings(&mut subscriber, &(&topic).into(), mark, &[&topic]).await?;
        }
        nothing_more(&mut subscriber, &publisher, &topic).await?;
        forget(&publisher, &[&topic]).await
    };
    named(CHECK, check.await)
}

/// As [`retained`], by filters with wildcards, that overlap: each brings what matches it, and to no other.
///
/// # Errors
/// What was not brought, brought again, or taken.
pub async fn retained_wildcards<H: Harness>(harness: &H) -> Result<(), Failure> {
    const CHECK: &str = "retained_wildcards";
    let check = async {
        let (a, b) = (topic(harness, CHECK, "t/a")?, topic(harness, CHECK, "t/b")?);
        let Some(publisher) = keeps(harness, "kept-wild-a", &[&a, &b]).await? else { return Ok(()) };
        let mut subscriber = Member::open(harness, "kept-wild-b").await?;
        let all = filter(harness, CHECK, "t/#")?;
        brings(&mut subscriber, &all, 1, &[&a, &b]).await?;
        brings(&mut subscriber, &all, 2, &[&a, &b]).await?;
        brings(&mut subscriber, &(&a).into(), 3, &[&a]).await?;
        brings(&mut subscriber, &filter(harness, CHECK, "t/+")?, 4, &[&a, &b]).await?;
        nothing_more(&mut subscriber, &publisher, &a).await?;
        forget(&publisher, &[&a, &b]).await
    };
    named(CHECK, check.await)
}

/// What is kept on each topic.
fn kept() -> Bytes {
    numbered(1, 7, 32)
}

/// An endpoint that has had a message kept on each of the topics. `None` if it was refused, as is right.
async fn keeps<H: Harness>(
    harness: &H,
    name: &str,
    topics: &[&Topic],
) -> Outcome<Option<Member<H::Transport>>> {
    let publisher = Member::open(harness, name).await?;
    for topic in topics {
        let outbound = Outbound::topic((*topic).clone(), kept()).reliable().retained();
        if !publisher.tx.capabilities().retained {
            let is_unsupported = |kind: &ErrorKind| matches!(kind, ErrorKind::Unsupported { .. });
            let mut batch = vec![outbound];
            let sent = publisher.tx.send_batch(&mut batch);
            publisher.refused("to have a message kept", sent, is_unsupported).await?;
            return Ok(None);
        }
        publisher.send(outbound).await?;
    }
    acknowledged(&publisher, harness.patience()).await?;
    Ok(Some(publisher))
}

async fn acknowledged<T: Transport>(publisher: &Member<T>, patience: std::time::Duration) -> Outcome {
    let acknowledged = bounded(patience, "acknowledged", publisher.tx.acknowledged()).await?;
    acknowledged.map_err(|error| format!("acknowledged failed: {error}"))
}

/// Subscribes, and expects what was kept on these topics.
async fn brings<T: Transport>(
    subscriber: &mut Member<T>,
    filter: &TopicFilter,
    mark: u64,
    topics: &[&Topic],
) -> Outcome {
    let subscribed = subscriber.tx.subscribe_retained(filter, mark);
    subscriber.call("subscribe_retained", subscribed).await?;
    for topic in topics {
        let expected = Event::Retained { topic: (*topic).clone(), payload: kept(), mark: Some(mark) };
        let what = format!("what was kept on {topic}, for the subscription {mark} to {filter}");
        subscriber.signal(&what, |event| *event == expected).await?;
    }
    Ok(())
}

/// Expects no other kept message before one that is published now.
async fn nothing_more<T: Transport>(
    subscriber: &mut Member<T>,
    publisher: &Member<T>,
    topic: &Topic,
) -> Outcome {
    publisher.send(Outbound::topic(topic.clone(), numbered(0, 0, 16)).reliable()).await?;
    in_order(subscriber, 1).await?;
    let again = subscriber.heard(|event| matches!(event, Event::Retained { .. }));
    require(!again, || "a subscription has brought what was kept for others".to_owned())
}

/// Has nothing kept any more.
async fn forget<T: Transport>(publisher: &Member<T>, topics: &[&Topic]) -> Outcome {
    let empty = |topic: &&Topic| Outbound::topic((*topic).clone(), Bytes::new()).reliable().retained();
    publisher.send_all(&mut topics.iter().map(empty).collect()).await?;
    publisher.close().await.map(drop)
}
