//! The ring of event services: register, match, both ways of dissemination, and what happens when parts of it go.

#![allow(clippy::unwrap_used, clippy::panic, reason = "that is how tests fail, their helpers included")]

#[macro_use]
mod support;

use std::time::Duration;

use ringbus::dht::NodeEvent;
use ringbus::dht::membership::MemberEvent;
use ringbus::dht::message::Verdict;
use ringbus::pubsub::{Events, MatchEvent, Route};
use ringbus::qos::{Offered, Requested};
use ringbus::transport::conformance::Harness;
use ringbus::transport::{Locator, Transport};
use ringbus::{DhtNode, ErrorKind, Session, Subscriber, Timestamp, TopicFilter};
use support::machine::on_this_machine;
use support::{Reading, open, soon};

/// A ring of nodes named `10.0.0.N`, each on a session of its own.
struct Ring<T: Transport> {
    nodes: Vec<DhtNode<T>>,
}

impl<T: Transport> Ring<T> {
    async fn of<H: Harness<Transport = T>>(harness: &H, size: usize) -> Self {
        let mut nodes: Vec<DhtNode<T>> = Vec::new();
        for number in 1..=size {
            let session = open(harness, &format!("node-{number}")).await;
            let seeds: Vec<Locator> = nodes.first().map(|node| node.me().locator).into_iter().collect();
            let name = format!("10.0.0.{number}");
            nodes.push(DhtNode::builder(session).name(name).join(seeds).start().await.unwrap());
        }
        for node in &nodes {
            soon("the ring", node.wait_for(size)).await.unwrap();
        }
        Self { nodes }
    }

    fn seeds(&self) -> Vec<Locator> {
        self.nodes.iter().map(|node| node.me().locator).collect()
    }

    fn responsible(&self, topic: &str) -> String {
        self.nodes[0].responsible(topic).unwrap().name.to_string()
    }

    /// Takes the node out of the ring's list.
    fn take(&mut self, name: &str) -> DhtNode<T> {
        let at = self.nodes.iter().position(|node| node.me().name.as_str() == name).unwrap();
        self.nodes.remove(at)
    }
}

fn exclusive(strength: i32) -> Offered {
    Offered::reliable().transient_local().exclusive(strength).lease(Duration::from_secs(2))
}

fn requested() -> Requested {
    Requested::reliable().transient_local().exclusive()
}

fn hour(hour: u64) -> Timestamp {
    Timestamp::from_secs(hour as i64 * 3600)
}

async fn hours<T: Transport>(subscriber: &mut Subscriber<Reading, T>, count: usize) -> Vec<u64> {
    let mut hours = Vec::new();
    while hours.len() < count {
        let what = format!("reading {} of {count}", hours.len() + 1);
        hours.push(soon(&what, subscriber.recv()).await.unwrap().unwrap().value().unwrap().hour);
    }
    hours
}

async fn publisher_and_subscriber_find_each_other<H: Harness>(harness: H) {
    let ring = Ring::of(&harness, 4).await;
    let (a, b) = (open(&harness, "pub").await, open(&harness, "sub").await);
    // Each knows one node only, and not the same.
    let (publisher_ring, subscriber_ring) =
        (a.dht([ring.seeds().remove(0)]), b.dht([ring.seeds().remove(3)]));
    for route in [Route::Direct, Route::ViaNode] {
        for filter in ["weather/98101", "weather/+"] {
            let publisher = a
                .publisher::<Reading>("weather/98101")
                .qos(exclusive(1))
                .dht(&publisher_ring)
                .build()
                .await
                .unwrap();
            assert_eq!(publisher.responsible(), Some(ring.responsible("weather/98101")));
            let mut subscriber = b
                .subscriber::<Reading>(filter)
                .qos(requested())
                .route(route)
                .dht(&subscriber_ring)
                .build()
                .await
                .unwrap();
            soon("a match", publisher.matched(1)).await.unwrap();
            for at in 1..=100 {
                publisher.publish_at(&Reading::of(at), hour(at)).await.unwrap();
            }
            assert_eq!(
                hours(&mut subscriber, 100).await,
                (1..=100).collect::<Vec<_>>(),
                "{route:?} {filter}"
            );
            let sample_topic = subscriber.filter().matches(publisher.topic());
            assert!(sample_topic);
        }
    }
}

async fn lookups_wait_for_nobody_who_leaves_answers_unread<H: Harness>(harness: H) {
    use futures::StreamExt;

    let ring = Ring::of(&harness, 1).await;
    let dht = open(&harness, "client").await.dht(ring.seeds());
    let filter = TopicFilter::new("city/a").unwrap();
    let mut unread = futures::stream::FuturesUnordered::new();
    for round in 0..20 {
        // All are asked, and all are answered, but only one of them is read before something else is asked.
        unread.extend((0..64).map(|_| dht.lookup(&filter, None)));
        soon("one of many lookups", StreamExt::next(&mut unread)).await.unwrap().unwrap();
        let others = futures::future::join_all((0..round).map(|_| dht.lookup(&filter, None)));
        soon("one more lookup", dht.lookup(&filter, None)).await.unwrap();
        soon("more lookups", others).await.into_iter().for_each(|offers| drop(offers.unwrap()));
        if round % 2 == 0 {
            unread.clear();
        }
    }
    while let Some(offers) = soon("the lookups that were left", StreamExt::next(&mut unread)).await {
        offers.unwrap();
    }
}

async fn lookups_answer_at_any_node<H: Harness>(harness: H) {
    let ring = Ring::of(&harness, 3).await;
    let a = open(&harness, "pub").await;
    let strong =
        a.publisher::<u64>("city/a").qos(exclusive(7)).dht(&a.dht(ring.seeds())).build().await.unwrap();
    let _weak =
        a.publisher::<u64>("city/b").qos(Offered::best_effort()).dht(&a.dht([])).build().await.unwrap();
    let client = open(&harness, "client").await;
    for seed in ring.seeds() {
        let dht = client.dht([seed]);
        let names: Vec<_> = dht.members().await.unwrap().iter().map(|node| node.name.to_string()).collect();
        assert_eq!(names, ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        let exact = dht.lookup(&TopicFilter::new("city/a").unwrap(), Some(&requested())).await.unwrap();
        let [offer] = &exact.found[..] else { panic!("{exact:?}") };
        assert_eq!((offer.id, offer.offered.strength), (strong.id(), 7));
        assert_eq!(offer.responsible.name.to_string(), ring.responsible("city/a"));
        assert_eq!(offer.verdict, Some(Verdict::Compatible));
        let all = dht.lookup(&TopicFilter::new("city/+").unwrap(), Some(&requested())).await.unwrap();
        assert_eq!((all.found.len(), all.unanswered.len()), (2, 0));
        let unfit = all.found.iter().find(|offer| offer.topic.as_str() == "city/b").unwrap();
        let Some(Verdict::Incompatible(mismatch)) = &unfit.verdict else { panic!("{unfit:?}") };
        assert_eq!(mismatch.0.len(), 3, "durability, ownership and reliability: {mismatch}");
    }
}

async fn a_mismatch_is_told_to_both_sides<H: Harness>(harness: H) {
    let ring = Ring::of(&harness, 3).await;
    let (a, b) = (open(&harness, "pub").await, open(&harness, "sub").await);
    let publisher = a
        .publisher::<u64>("picky")
        .qos(Offered::best_effort())
        .dht(&a.dht(ring.seeds()))
        .build()
        .await
        .unwrap();
    let subscriber =
        b.subscriber::<u64>("picky").qos(requested()).dht(&b.dht(ring.seeds())).build().await.unwrap();
    for events in [publisher.events(), subscriber.events()] {
        let event = soon("a mismatch", events.next()).await.unwrap();
        let MatchEvent::Mismatched { mismatch, .. } = event else { panic!("{event:?}") };
        assert_eq!(mismatch.0.len(), 3, "{mismatch}");
    }
}

/// Two publishers and the responsible node go; the subscriber has every hour once, in order.
async fn every_hour_survives_the_loss_of_a_publisher_and_a_node<H: Harness>(
    harness: H,
    route: Route,
    crash: bool,
) {
    let mut ring = Ring::of(&harness, 4).await;
    let (a, b, c) =
        (open(&harness, "strong").await, open(&harness, "weak").await, open(&harness, "sub").await);
    let mut subscriber = c
        .subscriber::<Reading>("city/+")
        .qos(requested())
        .route(route)
        .dht(&c.dht(ring.seeds()))
        .build()
        .await
        .unwrap();
    let build = |session: &Session<H::Transport>, strength| {
        session
            .publisher::<Reading>("city/seattle")
            .qos(exclusive(strength))
            .dht(&session.dht(ring.seeds()))
            .build()
    };
    let (strong, weak) = (build(&a, 10).await.unwrap(), build(&b, 5).await.unwrap());
    soon("a match", strong.matched(1)).await.unwrap();
    soon("a match", weak.matched(1)).await.unwrap();
    for at in 1..=100 {
        strong.publish_at(&Reading::of(at), hour(at)).await.unwrap();
        weak.publish_at(&Reading::of(at), hour(at)).await.unwrap();
    }
    assert_eq!(hours(&mut subscriber, 100).await, (1..=100).collect::<Vec<_>>());

    let responsible = ring.responsible("city/seattle");
    let node = ring.take(&responsible);
    let killed = std::time::Instant::now();
    if crash {
        node.session().close(Duration::ZERO).await.unwrap();
        drop(node);
    } else {
        node.leave().await.unwrap();
    }
    for at in 101..=200 {
        weak.publish_at(&Reading::of(at), hour(at)).await.unwrap();
        strong.publish_at(&Reading::of(at), hour(at)).await.unwrap();
    }
    assert_eq!(hours(&mut subscriber, 100).await, (101..=200).collect::<Vec<_>>());
    let elapsed = killed.elapsed();
    assert!(elapsed < on_this_machine(Duration::from_secs(5)), "flowing again after {elapsed:?}");
    let successor = async {
        while strong.responsible() == Some(responsible.clone()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon("a new responsible node", successor).await;
    assert_eq!(strong.responsible(), Some(ring.responsible("city/seattle")));

    drop(strong);
    for at in 201..=300 {
        weak.publish_at(&Reading::of(at), hour(at)).await.unwrap();
    }
    assert_eq!(hours(&mut subscriber, 100).await, (201..=300).collect::<Vec<_>>());
    let takeover = |event: &MatchEvent| matches!(event, MatchEvent::Takeover { to, .. } if *to == weak.id());
    wait_for(subscriber.events(), "a takeover", takeover).await;
    let remap =
        |event: &MatchEvent| matches!(event, MatchEvent::Remapped { from, .. } if *from == responsible);
    wait_for(weak.events(), "a remap", remap).await;
    assert_eq!(subscriber.stats().lost, 0);
}

async fn wait_for(events: Events, what: &str, wanted: impl Fn(&MatchEvent) -> bool) {
    while !wanted(&soon(what, events.next()).await.unwrap()) {}
}

async fn crash_direct<H: Harness>(harness: H) {
    every_hour_survives_the_loss_of_a_publisher_and_a_node(harness, Route::Direct, true).await;
}

async fn crash_via_node<H: Harness>(harness: H) {
    every_hour_survives_the_loss_of_a_publisher_and_a_node(harness, Route::ViaNode, true).await;
}

async fn leave_direct<H: Harness>(harness: H) {
    every_hour_survives_the_loss_of_a_publisher_and_a_node(harness, Route::Direct, false).await;
}

async fn leave_via_node<H: Harness>(harness: H) {
    every_hour_survives_the_loss_of_a_publisher_and_a_node(harness, Route::ViaNode, false).await;
}

async fn a_ring_that_is_not_there_is_a_typed_error<H: Harness>(harness: H) {
    let client = open(&harness, "client").await;
    let error = client.dht([]).members().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unreachable { .. }), "{error}");
    let foreign = Locator::new("carrier-pigeon:coop").unwrap();
    let error = client.dht([foreign]).members().await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::ForeignLocator { locator, .. } if locator == "carrier-pigeon:coop"),
        "{error}"
    );
    let node = DhtNode::builder(client.clone()).name("only").start().await.unwrap();
    let error = DhtNode::builder(client.clone()).name("second").start().await.map(drop).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::InvalidArgument { .. }), "{error}");
    // A node and a client share the session.
    let other = open(&harness, "other").await;
    let members = soon("members", other.dht([node.me().locator]).members()).await.unwrap();
    assert_eq!(members.len(), 1);
}

/// How often a node has renewed itself since it is listened to.
fn renewals(events: &mut tokio::sync::broadcast::Receiver<NodeEvent>) -> usize {
    let renewed = |event: &NodeEvent| matches!(event, NodeEvent::Member(MemberEvent::Renewed(_)));
    std::iter::from_fn(|| events.try_recv().ok()).filter(renewed).count()
}

/// Ends a node as a crash does.
async fn crash<T: Transport>(node: DhtNode<T>) {
    let session = node.session().clone();
    drop(node);
    drop(session);
}

async fn a_node_comes_back_at_another_address_with_a_clock_behind<H: Harness>(harness: H) {
    let mut ring = Ring::of(&harness, 3).await;
    let (dead, seeds) = (ring.take("10.0.0.2"), ring.seeds());
    let born = dead.me().generation;
    crash(dead).await;
    // An hour, and a clock that begins anew; the second time the first life has been outdone already.
    for (place, generation) in [("hour", born - 3_600_000), ("anew", 1)] {
        let session = open(&harness, place).await;
        let builder = DhtNode::builder(session).name("10.0.0.2").generation(generation);
        let back = builder.join(seeds.clone()).start().await.unwrap();
        let mut events = back.events();
        let here = back.me().locator;
        for node in &ring.nodes {
            let counts = || node.members().iter().any(|member| member.locator == here);
            soon("the comeback", async {
                while !counts() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            })
            .await;
        }
        soon("the ring", back.wait_for(3)).await.unwrap();
        let renewed = renewals(&mut events);
        assert!(renewed <= 6, "{place}: {renewed} renewals");
        crash(back).await;
    }
}

async fn a_second_node_of_a_name_is_refused_and_the_first_lives_on<H: Harness>(harness: H) {
    let ring = Ring::of(&harness, 2).await;
    let first = &ring.nodes[1];
    // What begins within a quarter of a second counts as begun together.
    tokio::time::sleep(Duration::from_millis(400)).await;
    // Through its namesake, which it cannot know to be one, and through another node; born later, and earlier.
    for (place, seed, generation) in [("a", 1, None), ("b", 0, None), ("c", 0, Some(1))] {
        let session = open(&harness, place).await;
        let mut builder = DhtNode::builder(session).name("10.0.0.2").join([ring.seeds()[seed].clone()]);
        if let Some(generation) = generation {
            builder = builder.generation(generation);
        }
        let second = builder.start().await.unwrap();
        let error = soon("its end", second.wait_for(99)).await.unwrap_err();
        let at = first.me().locator.to_string();
        assert!(
            matches!(error.kind(), ErrorKind::NameTaken { name, by } if name == "10.0.0.2" && *by == at),
            "{place}: {error}"
        );
    }
    let client = open(&harness, "client").await.dht(ring.seeds());
    let members = soon("members", client.members()).await.unwrap();
    assert_eq!(members.len(), 2, "{members:?}");
    soon("the first", first.wait_for(2)).await.unwrap();
}

over_every_transport!(
    publisher_and_subscriber_find_each_other,
    lookups_answer_at_any_node,
    lookups_wait_for_nobody_who_leaves_answers_unread,
    a_mismatch_is_told_to_both_sides,
    crash_direct,
    crash_via_node,
    leave_direct,
    leave_via_node,
    a_ring_that_is_not_there_is_a_typed_error,
    a_node_comes_back_at_another_address_with_a_clock_behind,
    a_second_node_of_a_name_is_refused_and_the_first_lives_on,
);
