//! Messages to topics: order, fan-out, and who hears them.

use futures::future::try_join_all;

use super::super::{Event, Origin, Outbound, TransportTx};
use super::member::{Member, Outcome, filter, named, number, numbered, require, topic, warm_up};
use super::{Failure, Harness};

/// Messages handed over at once; the receiver has read them before the next ones go out, so that the link is unloaded.
const WINDOW: u64 = 256;

/// Several thousand messages of one publisher arrive all, once and in order, with and without acknowledgement.
///
/// # Errors
/// What was lost, doubled or out of order.
pub async fn ordering<H: Harness>(harness: &H) -> Result<(), Failure> {
    const CHECK: &str = "ordering";
    let check = async {
        let mut publisher = Member::open(harness, "ordering-a").await?;
        let mut subscriber = Member::open(harness, "ordering-b").await?;
        let topic = topic(harness, CHECK, "t")?;
        subscriber.join(&mut publisher).await?;
        subscriber.subscribe(&(&topic).into()).await?;
        warm_up(&publisher, &mut [&mut subscriber], &topic).await?;
        for reliable in [false, true] {
            for start in (0..16 * WINDOW).step_by(WINDOW as usize) {
                let outbound = |n| Outbound::topic(topic.clone(), numbered(0, n, 32)).reliable_if(reliable);
                let mut batch: Vec<_> = (start..start + WINDOW).map(outbound).collect();
                publisher.send_all(&mut batch).await?;
                for expected in start..start + WINDOW {
                    let (from, payload) = subscriber.message().await?;
                    let (_, number) = number(&payload)?;
                    require(number == expected, || {
                        format!("expected message {expected}, received {number}")
                    })?;
                    require(from == Origin::Topic(topic.clone()), || format!("its origin is {from:?}"))?;
                }
            }
        }
        Ok(())
    };
    named(CHECK, check.await)
}

/// Clones of a sending half in several tasks: the messages of each arrive all and in order.
///
/// # Errors
/// What was lost, doubled or out of order.
pub async fn concurrent_senders<H: Harness>(harness: &H) -> Result<(), Failure> {
    const CHECK: &str = "concurrent_senders";
    const SENDERS: u64 = 4;
    const EACH: u64 = 250;
    let check = async {
        let mut publisher = Member::open(harness, "concurrent-a").await?;
        let mut subscriber = Member::open(harness, "concurrent-b").await?;
        let topic = topic(harness, CHECK, "t")?;
        subscriber.join(&mut publisher).await?;
        subscriber.subscribe(&(&topic).into()).await?;
        warm_up(&publisher, &mut [&mut subscriber], &topic).await?;
        let tasks = (0..SENDERS).map(|sender| {
            let (tx, topic) = (publisher.tx.clone(), topic.clone());
            tokio::spawn(async move {
                for n in 0..EACH {
                    tx.send_batch(&mut vec![Outbound::topic(topic.clone(), numbered(sender, n, 16))]).await?;
                }
                Ok::<_, crate::Error>(())
            })
        });
        let tasks: Vec<_> = tasks.collect();
        let mut next = vec![0; SENDERS as usize];
        for _ in 0..SENDERS * EACH {
            let (sender, number) = number(&subscriber.message().await?.1)?;
            let expected = next.get_mut(sender as usize).ok_or_else(|| format!("unknown sender {sender}"))?;
            require(number == *expected, || {
                format!("expected message {expected} of sender {sender}, received {number}")
            })?;
            *expected += 1;
        }
        for sent in try_join_all(tasks).await.map_err(|error| error.to_string())? {
            sent.map_err(|error| format!("send_batch failed: {error}"))?;
        }
        Ok(())
    };
    named(CHECK, check.await)
}

/// One publisher, many subscribers: each hears everything, in order.
///
/// # Errors
/// Who missed what.
pub async fn fan_out<H: Harness>(harness: &H) -> Result<(), Failure> {
    const CHECK: &str = "fan_out";
    const SUBSCRIBERS: usize = 8;
    const MESSAGES: u64 = 200;
    let check = async {
        let mut publisher = Member::open(harness, "fan-out-a").await?;
        let topic = topic(harness, CHECK, "t")?;
        let mut subscribers = Vec::new();
        for n in 0..SUBSCRIBERS {
            let mut subscriber = Member::open(harness, &format!("fan-out-b{n}")).await?;
            subscriber.join(&mut publisher).await?;
            subscriber.subscribe(&(&topic).into()).await?;
            subscribers.push(subscriber);
        }
        warm_up(&publisher, &mut subscribers.iter_mut().collect::<Vec<_>>(), &topic).await?;
        let mut batch = (0..MESSAGES).map(|n| Outbound::topic(topic.clone(), numbered(0, n, 64))).collect();
        publisher.send_all(&mut batch).await?;
        for subscriber in &mut subscribers {
            in_order(subscriber, MESSAGES).await?;
        }
        Ok(())
    };
    named(CHECK, check.await)
}

/// A message reaches the sender's own matching subscription, once, and others too.
///
/// # Errors
/// Who missed it or had it twice.
pub async fn own_messages<H: Harness>(harness: &H) -> Result<(), Failure> {
    const CHECK: &str = "own_messages";
    let check = async {
        let mut one = Member::open(harness, "own-a").await?;
        let mut other = Member::open(harness, "own-b").await?;
        let topic = topic(harness, CHECK, "t")?;
        other.join(&mut one).await?;
        one.subscribe(&(&topic).into()).await?;
        other.subscribe(&(&topic).into()).await?;
        warm_up(&one, &mut [&mut other], &topic).await?;
        for n in 0..10 {
            one.send(Outbound::topic(topic.clone(), numbered(0, n, 16))).await?;
        }
        in_order(&mut one, 10).await?;
        in_order(&mut other, 10).await?;
        let more = one.message_or_silence().await?;
        require(more.is_none(), || format!("the sender heard its own message twice: {more:?}"))
    };
    named(CHECK, check.await)
}

/// Messages to topics that nobody subscribes vanish without an error, and without harm to what follows.
///
/// # Errors
/// What failed, or what arrived.
pub async fn unheard_topics<H: Harness>(harness: &H) -> Result<(), Failure> {
    const CHECK: &str = "unheard_topics";
    let check = async {
        let alone = Member::open(harness, "unheard-alone").await?;
        let (heard, unheard) = (topic(harness, CHECK, "heard")?, topic(harness, CHECK, "unheard")?);
        for n in 0..3000 {
            alone.send(Outbound::topic(unheard.clone(), numbered(1, n, 16))).await?;
        }
        let mut publisher = Member::open(harness, "unheard-a").await?;
        let mut subscriber = Member::open(harness, "unheard-b").await?;
        subscriber.join(&mut publisher).await?;
        subscriber.subscribe(&(&heard).into()).await?;
        warm_up(&publisher, &mut [&mut subscriber], &heard).await?;
        for n in 0..100 {
            publisher.send(Outbound::topic(unheard.clone(), numbered(1, n, 16))).await?;
            publisher.send(Outbound::topic(heard.clone(), numbered(0, n, 16))).await?;
        }
        in_order(&mut subscriber, 100).await
    };
    named(CHECK, check.await)
}

/// Where [`Capabilities::interest`](super::super::Capabilities::interest) is claimed, a subscription is reported to
/// the peers, those that come later included.
///
/// # Errors
/// What was not reported.
pub async fn interest<H: Harness>(harness: &H) -> Result<(), Failure> {
    const CHECK: &str = "interest";
    let check = async {
        let mut publisher = Member::open(harness, "interest-a").await?;
        if !publisher.tx.capabilities().interest {
            return Ok(());
        }
        let mut subscriber = Member::open(harness, "interest-b").await?;
        let (topic, filter) = (topic(harness, CHECK, "t/1")?, filter(harness, CHECK, "t/+")?);
        let covers = |event: &Event| matches!(event, Event::Interest(filter) if filter.matches(&topic));
        subscriber.join(&mut publisher).await?;
        subscriber.subscribe(&filter).await?;
        publisher.signal("the interest of a peer", covers).await?;
        // The announcement is a promise: no probing here.
        publisher.send(Outbound::topic(topic.clone(), numbered(0, 0, 16))).await?;
        in_order(&mut subscriber, 1).await?;

        let mut late = Member::open(harness, "interest-late").await?;
        subscriber.join(&mut late).await?;
        late.signal("the interest of a peer that was there before", covers).await?;
        late.send(Outbound::topic(topic.clone(), numbered(0, 0, 16))).await?;
        in_order(&mut subscriber, 1).await
    };
    named(CHECK, check.await)
}

/// Expects the numbers from 0 up, all of them, in order.
pub(super) async fn in_order<T: super::Transport>(subscriber: &mut Member<T>, count: u64) -> Outcome {
    for expected in 0..count {
        let (_, number) = number(&subscriber.message().await?.1)?;
        require(number == expected, || {
            format!("{:?} expected message {expected}, received {number}", subscriber.name)
        })?;
    }
    Ok(())
}
