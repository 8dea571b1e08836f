//! Subscriptions: which messages they let through, and how they change.

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::super::{Origin, Outbound, Transport, TransportTx};
use super::member::{Member, Outcome, filter, named, number, numbered, probe, require, topic, warm_up};
use super::{Failure, Harness};
use crate::topic::{RESERVED_LEVEL, Topic, TopicFilter};

/// Sent last, to a topic that every subscriber of the check hears: what has not come before it does not come.
const FENCE: &str = "fence";

/// Filters let through exactly what MQTT's rules say: `+` is one level, `#` any number, none included, and neither
/// stands for a reserved first level.
///
/// # Errors
/// The filter, what it should have let through and what it did.
pub async fn wildcards<H: Harness>(harness: &H) -> Result<(), Failure> {
    const CHECK: &str = "wildcards";
    const FILTERS: &[&str] =
        &["a/+", "a/#", "a", "+/b", "+", "a/+/c", "+/+/c", "#", "a/b/c/#", "ab", "+/", "/+"];
    const TOPICS: &[&str] =
        &["a", "a/b", "a/b/c", "a/b/c/d", "b/b", "ab", "abc", "a/", "/b", "A/b", "b", "aa/b", "a/ä"];
    let check = async {
        let mut publisher = Member::open(harness, "wildcards-a").await?;
        let topics = TOPICS.iter().map(|name| topic(harness, CHECK, name)).collect::<Outcome<Vec<_>>>()?;
        let fence = topic(harness, CHECK, FENCE)?;
        for (n, suffix) in FILTERS.iter().enumerate() {
            let filter = filter(harness, CHECK, suffix)?;
            let mut subscriber = Member::open(harness, &format!("wildcards-b{n}")).await?;
            subscriber.join(&mut publisher).await?;
            subscriber.subscribe(&filter).await?;
            subscriber.subscribe(&(&fence).into()).await?;
            // The fence is subscribed last and thus proves the filter before it.
            warm_up(&publisher, &mut [&mut subscriber], &fence).await?;
            let expected = topics.iter().filter(|topic| filter.matches(topic)).cloned().collect();
            heard_exactly(&publisher, &mut subscriber, &topics, &fence, &expected)
                .await
                .map_err(|what| format!("filter {filter}: {what}"))?;
        }
        reserved_levels(harness, &mut publisher, &fence).await
    };
    named(CHECK, check.await)
}

/// Bare wildcards against reserved topics; they see other users of the network, whom the members ignore.
async fn reserved_levels<H: Harness>(
    harness: &H,
    publisher: &mut Member<H::Transport>,
    fence: &Topic,
) -> Outcome {
    let reserved =
        Topic::new(format!("{RESERVED_LEVEL}/{}/x", harness.root())).map_err(|error| error.to_string())?;
    for (n, wild) in ["#", "+/#", "+/+/x"].into_iter().enumerate() {
        let wild = TopicFilter::new(wild).map_err(|error| error.to_string())?;
        let mut subscriber = Member::open(harness, &format!("wildcards-r{n}")).await?;
        subscriber.see_all_roots();
        subscriber.join(publisher).await?;
        subscriber.subscribe(&wild).await?;
        subscriber.subscribe(&fence.into()).await?;
        warm_up(publisher, &mut [&mut subscriber], fence).await?;
        publisher.send(Outbound::topic(reserved.clone(), numbered(0, 7, 16))).await?;
        publisher.send(Outbound::topic(fence.clone(), numbered(0, 8, 16))).await?;
        loop {
            let (from, _) = subscriber.message().await?;
            require(from != Origin::Topic(reserved.clone()), || format!("{wild} let {reserved} through"))?;
            if from == Origin::Topic(fence.clone()) {
                break;
            }
        }
        let exact: TopicFilter = (&reserved).into();
        subscriber.subscribe(&exact).await?;
        probe(publisher, &mut [&mut subscriber], &reserved)
            .await
            .map_err(|what| format!("filter {exact}: {what}"))?;
    }
    Ok(())
}

/// A message that several filters of one session match is handed out once, also while they come and go.
///
/// # Errors
/// What was doubled or missing.
pub async fn overlapping_filters<H: Harness>(harness: &H) -> Result<(), Failure> {
    const CHECK: &str = "overlapping_filters";
    let check = async {
        let mut publisher = Member::open(harness, "overlap-a").await?;
        let mut subscriber = Member::open(harness, "overlap-b").await?;
        subscriber.join(&mut publisher).await?;
        let (a, b) = (topic(harness, CHECK, "t/a")?, topic(harness, CHECK, "t/b")?);
        let fence = topic(harness, CHECK, FENCE)?;
        let (one_level, all) = (filter(harness, CHECK, "t/+")?, filter(harness, CHECK, "t/#")?);
        let exact: TopicFilter = (&a).into();
        for filter in [&exact, &one_level, &all, &all, &exact, &(&fence).into()] {
            subscriber.subscribe(filter).await?;
        }
        warm_up(&publisher, &mut [&mut subscriber], &fence).await?;
        let topics = [a.clone(), b.clone()];
        let both: BTreeSet<_> = topics.iter().cloned().collect();
        heard_exactly(&publisher, &mut subscriber, &topics, &fence, &both).await?;

        // "A filter counts once, however often it is subscribed": so one call takes it back.
        subscriber.unsubscribe(&all).await?;
        subscriber.unsubscribe(&filter(harness, CHECK, "never/subscribed")?).await?;
        heard_exactly(&publisher, &mut subscriber, &topics, &fence, &both).await?;
        subscriber.unsubscribe(&one_level).await?;
        let only_a = [a].into();
        settles(harness, &publisher, &mut subscriber, &topics, &fence, &only_a).await?;
        subscriber.unsubscribe(&exact).await?;
        let none = BTreeSet::new();
        settles(harness, &publisher, &mut subscriber, &topics, &fence, &none).await
    };
    named(CHECK, check.await)
}

/// One subscription comes and goes while messages flow on another, which loses nothing by it.
///
/// # Errors
/// What the steady subscription missed, or that a change never took effect.
pub async fn changes_under_traffic<H: Harness>(harness: &H) -> Result<(), Failure> {
    const CHECK: &str = "changes_under_traffic";
    let check = async {
        let mut publisher = Member::open(harness, "changes-a").await?;
        let mut subscriber = Member::open(harness, "changes-b").await?;
        subscriber.join(&mut publisher).await?;
        let (steady, flip) = (topic(harness, CHECK, "steady")?, topic(harness, CHECK, "flip")?);
        let flipping: TopicFilter = (&flip).into();
        subscriber.subscribe(&(&steady).into()).await?;
        warm_up(&publisher, &mut [&mut subscriber], &steady).await?;
        let confirmed = publisher.tx.capabilities().confirmed_subscriptions;
        let mut next = 0;
        for turn in 0..20 {
            let wanted = turn % 2 == 0;
            // The call and a burst at the same time: the change falls somewhere into it.
            let change = async {
                if wanted {
                    subscriber.subscribe(&flipping).await
                } else {
                    subscriber.unsubscribe(&flipping).await
                }
            };
            let burst = burst(&publisher, &steady, &flip, next);
            let (changed, sent) = futures::join!(change, burst);
            changed?;
            next = sent?;
            burst_heard(&mut subscriber, &steady, next).await?;
            let deadline = Instant::now() + harness.patience();
            let mut rounds = 0;
            loop {
                next = self::burst(&publisher, &steady, &flip, next).await?;
                let flips = burst_heard(&mut subscriber, &steady, next).await?;
                rounds += 1;
                if flips == if wanted { BURST } else { 0 } {
                    break;
                }
                let late = (confirmed && wanted && rounds == 1) || Instant::now() > deadline;
                require(!late, || {
                    format!("turn {turn}: {flips} of {BURST} messages on the topic, subscribed: {wanted}")
                })?;
            }
        }
        Ok(())
    };
    named(CHECK, check.await)
}

const BURST: u64 = 20;

/// A message to `flip` before each one to `steady`. Returns the next number.
async fn burst<T: Transport>(publisher: &Member<T>, steady: &Topic, flip: &Topic, next: u64) -> Outcome<u64> {
    let pair = |n| [flip, steady].map(|topic| Outbound::topic(topic.clone(), numbered(0, n, 16)));
    publisher.send_all(&mut (next..next + BURST).flat_map(pair).collect()).await?;
    Ok(next + BURST)
}

/// Receives a whole burst; the last one ends at `next`. Returns how many flips were among it.
async fn burst_heard<T: Transport>(subscriber: &mut Member<T>, steady: &Topic, next: u64) -> Outcome<u64> {
    let mut flips = 0;
    let mut expected = next - BURST;
    while expected < next {
        let (from, payload) = subscriber.message().await?;
        let (_, number) = number(&payload)?;
        if from == Origin::Topic(steady.clone()) {
            require(number == expected, || {
                format!("steady: expected message {expected}, received {number}")
            })?;
            expected += 1;
        } else {
            flips += 1;
        }
    }
    Ok(flips)
}

/// A thousand filters on one session all work, also after the link or the publisher was gone for a while.
///
/// # Errors
/// Which filters let nothing through.
pub async fn thousand_filters<H: Harness>(harness: &H) -> Result<(), Failure> {
    const CHECK: &str = "thousand_filters";
    const FILTERS: u64 = 1000;
    let check = async {
        let mut publisher = Member::open(harness, "thousand-a").await?;
        let mut subscriber = Member::open(harness, "thousand-b").await?;
        subscriber.join(&mut publisher).await?;
        for n in 0..FILTERS {
            let suffix = if n % 2 == 0 { format!("{n}/t") } else { format!("{n}/+") };
            subscriber.subscribe(&filter(harness, CHECK, &suffix)?).await?;
        }
        let topics: Vec<_> =
            (0..FILTERS).map(|n| topic(harness, CHECK, &format!("{n}/t"))).collect::<Outcome<_>>()?;
        let last = &topics[topics.len() - 1];
        warm_up(&publisher, &mut [&mut subscriber], last).await?;
        for (chunk, topics) in topics.chunks(100).enumerate() {
            let number = |n: usize| (chunk * 100 + n) as u64;
            let outbound = topics
                .iter()
                .enumerate()
                .map(|(n, topic)| Outbound::topic(topic.clone(), numbered(0, number(n), 16)));
            publisher.send_all(&mut outbound.collect()).await?;
            for (n, topic) in topics.iter().enumerate() {
                let (from, payload) = subscriber.message().await?;
                let heard = self::number(&payload)?.1;
                require(from == Origin::Topic(topic.clone()) && heard == number(n), || {
                    format!("expected {} on {topic}, received {heard} from {from:?}", number(n))
                })?;
            }
        }
        publisher = interruption(harness, publisher, &mut subscriber).await?;
        let missing = settle_thousand(harness, &publisher, &mut subscriber, &topics).await?;
        require(missing.is_empty(), || {
            format!(
                "after the reconnect {} filters are dead, among them {:?}",
                missing.len(),
                missing.first()
            )
        })
    };
    named(CHECK, check.await)
}

/// Interrupts the link if that can be done, else stops and starts the publisher.
async fn interruption<H: Harness>(
    harness: &H,
    mut publisher: Member<H::Transport>,
    subscriber: &mut Member<H::Transport>,
) -> Outcome<Member<H::Transport>> {
    if harness.interrupt().await {
        harness.restore().await;
        return Ok(publisher);
    }
    let name = publisher.name.clone();
    publisher.close().await?;
    subscriber.peer_down(&publisher.local()).await?;
    drop(publisher);
    publisher = Member::reopen(harness, &name).await?;
    subscriber.peer_up(&publisher.local()).await?;
    Ok(publisher)
}

/// Publishes to all topics that were not heard yet, until all are or patience ends. Returns those not heard.
async fn settle_thousand<H: Harness>(
    harness: &H,
    publisher: &Member<H::Transport>,
    subscriber: &mut Member<H::Transport>,
    topics: &[Topic],
) -> Outcome<BTreeSet<Topic>> {
    let mut missing: BTreeSet<_> = topics.iter().cloned().collect();
    let deadline = Instant::now() + harness.patience();
    while !missing.is_empty() && Instant::now() < deadline {
        for chunk in missing.iter().cloned().collect::<Vec<_>>().chunks(100) {
            for topic in chunk {
                publisher.try_until_taken(Outbound::topic(topic.clone(), numbered(0, 0, 16))).await?;
            }
            while chunk.iter().any(|topic| missing.contains(topic)) {
                let Some((Origin::Topic(heard), _)) = subscriber.message_or_silence().await? else { break };
                missing.remove(&heard);
            }
        }
    }
    Ok(missing)
}

/// Publishes once to each topic, then to the fence, and compares what came before the fence.
async fn heard_exactly<T: Transport>(
    publisher: &Member<T>,
    subscriber: &mut Member<T>,
    topics: &[Topic],
    fence: &Topic,
    expected: &BTreeSet<Topic>,
) -> Outcome {
    let outbound =
        topics.iter().chain([fence]).map(|topic| Outbound::topic(topic.clone(), numbered(0, 0, 16)));
    publisher.send_all(&mut outbound.collect()).await?;
    let mut heard = Vec::new();
    loop {
        match subscriber.message().await?.0 {
            Origin::Topic(topic) if topic == *fence => {
                heard.push(topic);
                break;
            }
            Origin::Topic(topic) => heard.push(topic),
            Origin::Peer(peer) => return Err(format!("a directed message of {peer} that nobody sent")),
        }
    }
    // A filter that covers the fence does not double it.
    let order: Vec<_> =
        topics.iter().filter(|&topic| expected.contains(topic)).chain([fence]).cloned().collect();
    require(heard == order, || format!("expected {order:?}, received {heard:?}"))
}

/// [`heard_exactly`], tried until it holds: unsubscribing may take a while to arrive at the sender.
async fn settles<H: Harness>(
    harness: &H,
    publisher: &Member<H::Transport>,
    subscriber: &mut Member<H::Transport>,
    topics: &[Topic],
    fence: &Topic,
    expected: &BTreeSet<Topic>,
) -> Outcome {
    let deadline = Instant::now() + harness.patience();
    loop {
        match heard_exactly(publisher, subscriber, topics, fence, expected).await {
            Ok(()) => return Ok(()),
            Err(what) if Instant::now() > deadline => return Err(what),
            Err(_) => {}
        }
    }
}
