//! Publishers and subscribers, the same program over every transport.

#![allow(clippy::unwrap_used, clippy::panic, reason = "that is how tests fail, their helpers included")]

#[macro_use]
mod support;

use std::time::Duration;

use futures::StreamExt;
use ringbus::pubsub::{Departure, MatchEvent};
use ringbus::qos::{Offered, Requested, ResourceLimits};
use ringbus::transport::conformance::Harness;
use ringbus::transport::{Outbound, TransportTx};
use ringbus::{ConnectionEvent, Encoding, ErrorKind, Timestamp, Topic};
use support::{Reading, connect, open, pair, soon};

async fn typed_values_arrive_once_and_in_order<H: Harness>(harness: H) {
    let (a, b) = pair(&harness).await;
    for encoding in [Encoding::Postcard, Encoding::Json] {
        let topic = format!("weather/{encoding}");
        let mut subscriber = b
            .subscriber::<Reading>("weather/+")
            .encoding(encoding)
            .qos(Requested::reliable())
            .build()
            .await
            .unwrap();
        let publisher =
            a.publisher::<Reading>(&topic).encoding(encoding).qos(Offered::reliable()).build().await.unwrap();
        soon("a match", publisher.matched(1)).await.unwrap();
        for hour in 1..=500 {
            publisher.publish(&Reading::of(hour)).await.unwrap();
        }
        for hour in 1..=500 {
            let sample = soon("a sample", subscriber.recv()).await.unwrap().unwrap();
            assert_eq!(sample.value().unwrap(), Reading::of(hour));
            assert_eq!(sample.topic().as_str(), topic);
            assert_eq!((sample.info().sequence, sample.info().writer), (hour, Some(publisher.id())));
        }
        soon("acknowledgements", publisher.flush()).await.unwrap();
        let stats = subscriber.stats();
        assert_eq!((stats.received, stats.lost, stats.duplicates), (500, 0, 0));
    }
}

async fn raw_bytes_and_borrowed_strings<H: Harness>(harness: H) {
    let (a, b) = pair(&harness).await;
    let mut subscriber = b
        .subscriber::<Vec<u8>>("raw")
        .encoding(Encoding::Raw)
        .qos(Requested::reliable())
        .build()
        .await
        .unwrap();
    let publisher =
        a.publisher::<&[u8]>("raw").encoding(Encoding::Raw).qos(Offered::reliable()).build().await.unwrap();
    soon("a match", publisher.matched(1)).await.unwrap();
    publisher.publish(&b"bare bytes".as_slice()).await.unwrap();
    let sample = soon("a sample", subscriber.recv()).await.unwrap().unwrap();
    assert_eq!(sample.payload().as_ref(), b"bare bytes");
    assert_eq!(sample.decode::<&[u8]>().unwrap(), b"bare bytes");
    assert_eq!(sample.decode::<&str>().unwrap(), "bare bytes");
}

async fn every_subscriber_gets_everything<H: Harness>(harness: H) {
    let a = open(&harness, "alpha").await;
    let mut subscribers = Vec::new();
    for name in ["beta", "gamma", "delta"] {
        let session = open(&harness, name).await;
        connect(&session, &a).await;
        for filter in ["fan/out", "fan/#"] {
            subscribers
                .push(session.subscriber::<u64>(filter).qos(Requested::reliable()).build().await.unwrap());
        }
    }
    // One more in the publisher's own session.
    subscribers.push(a.subscriber::<u64>("+/out").qos(Requested::reliable()).build().await.unwrap());
    let publisher = a.publisher::<u64>("fan/out").qos(Offered::reliable()).build().await.unwrap();
    soon("seven matches", publisher.matched(7)).await.unwrap();
    assert_eq!(publisher.subscribers(), 7);
    for value in 0..200 {
        publisher.publish(&value).await.unwrap();
    }
    for subscriber in &mut subscribers {
        let values: Vec<u64> = soon(
            "200 samples",
            subscriber.take(200).map(|sample| sample.unwrap().value().unwrap()).collect::<Vec<_>>(),
        )
        .await;
        assert_eq!(values, (0..200).collect::<Vec<_>>());
    }
}

async fn late_joiners_get_the_last_samples<H: Harness>(harness: H) {
    let (a, b) = pair(&harness).await;
    let offered = Offered::reliable().transient_local().keep_last(3);
    let publisher = a.publisher::<u64>("late").qos(offered).build().await.unwrap();
    // What is still on its way to the broker when somebody joins, reaches him as it is published: all ten must have passed.
    let witness = open(&harness, "witness").await;
    witness.attach(a.local()).await.unwrap();
    let mut early = witness.subscriber::<u64>("late").qos(Requested::reliable()).build().await.unwrap();
    soon("a match", publisher.matched(1)).await.unwrap();
    for value in 1..=10 {
        publisher.publish(&value).await.unwrap();
    }
    for _ in 1..=10 {
        soon("a sample", early.recv()).await.unwrap().unwrap();
    }
    let requested = Requested::reliable().transient_local();
    let mut joiner = b.subscriber::<u64>("late").qos(requested).build().await.unwrap();
    let mut volatile = b.subscriber::<u64>("late").qos(Requested::reliable()).build().await.unwrap();
    soon("matches", publisher.matched(3)).await.unwrap();
    publisher.publish(&11).await.unwrap();
    for expected in [8, 9, 10, 11] {
        let sample = soon("history", joiner.recv()).await.unwrap().unwrap();
        assert_eq!(sample.value().unwrap(), expected);
    }
    let sample = soon("a sample", volatile.recv()).await.unwrap().unwrap();
    assert_eq!(sample.value().unwrap(), 11, "a volatile subscriber begins when it joins");
    assert_eq!(joiner.stats().lost + volatile.stats().lost, 0);
}

/// Neither side says anything of QoS, and the subscriber reads when all is published.
async fn a_thousand_published_at_once_are_a_thousand_received<H: Harness>(harness: H) {
    let (a, b) = pair(&harness).await;
    let mut subscriber = b.subscriber::<u64>("at/once").build().await.unwrap();
    let publisher = a.publisher::<u64>("at/once").build().await.unwrap();
    soon("a match", publisher.matched(1)).await.unwrap();
    for value in 0..1000 {
        publisher.publish(&value).await.unwrap();
    }
    soon("acknowledgements", publisher.flush()).await.unwrap();
    for expected in 0..1000 {
        let sample = subscriber.try_recv().unwrap().map(|sample| sample.value().unwrap());
        assert_eq!(sample, Some(expected), "{:?}", subscriber.stats());
    }
    let stats = subscriber.stats();
    assert_eq!((stats.received, stats.replaced, stats.lost), (1000, 0, 0));
}

async fn a_slow_subscriber_makes_keep_all_wait<H: Harness>(harness: H) {
    let (a, b) = pair(&harness).await;
    let limits = ResourceLimits { max_samples: 64, max_bytes: 1 << 20 };
    let mut subscriber =
        b.subscriber::<u64>("slow").qos(Requested::reliable().resource_limits(limits)).build().await.unwrap();
    let publisher =
        a.publisher::<u64>("slow").qos(Offered::reliable().resource_limits(limits)).build().await.unwrap();
    soon("a match", publisher.matched(1)).await.unwrap();
    // Nobody reads: the publisher must come to a stop, with what two sides' limits and one frame each can hold.
    let mut accepted = 0;
    while publisher.try_publish(&accepted).is_ok() {
        accepted += 1;
        tokio::time::sleep(Duration::from_micros(100)).await;
        assert!(accepted < 10_000, "nothing holds the publisher back");
    }
    let refusal = publisher.try_publish(&accepted).unwrap_err();
    assert!(matches!(refusal.kind(), ErrorKind::Full { .. }), "{refusal}");
    let writer = tokio::spawn(async move {
        for value in accepted..2_000 {
            publisher.publish(&value).await.unwrap();
        }
        publisher.flush().await.unwrap();
        publisher
    });
    for expected in 0..2_000 {
        let sample = soon("a sample", subscriber.recv()).await.unwrap().unwrap();
        assert_eq!(sample.value().unwrap(), expected);
    }
    soon("the publisher", writer).await.unwrap();
    assert_eq!(subscriber.stats().lost, 0);
}

async fn keep_last_replaces_what_is_unread<H: Harness>(harness: H) {
    let (a, b) = pair(&harness).await;
    let requested = Requested::reliable().keep_last(2);
    let mut subscriber = b.subscriber::<u64>("last").qos(requested).build().await.unwrap();
    let publisher = a.publisher::<u64>("last").qos(Offered::reliable()).build().await.unwrap();
    soon("a match", publisher.matched(1)).await.unwrap();
    for value in 1..=50 {
        publisher.publish(&value).await.unwrap();
    }
    soon("acknowledgements", publisher.flush()).await.unwrap();
    for expected in [49, 50] {
        assert_eq!(subscriber.try_recv().unwrap().unwrap().value().unwrap(), expected);
    }
    assert!(subscriber.try_recv().unwrap().is_none());
    let stats = subscriber.stats();
    assert_eq!((stats.received, stats.replaced), (50, 48));
}

async fn a_mismatch_is_told_to_both_sides<H: Harness>(harness: H) {
    let (a, b) = pair(&harness).await;
    let requested = Requested::reliable().transient_local().exclusive();
    let subscriber = b.subscriber::<u64>("picky").qos(requested).build().await.unwrap();
    let publisher = a.publisher::<u64>("picky").qos(Offered::best_effort()).build().await.unwrap();
    for events in [publisher.events(), subscriber.events()] {
        let event = soon("a mismatch", events.next()).await.unwrap();
        let MatchEvent::Mismatched { mismatch, .. } = event else { panic!("{event:?}") };
        let policies: Vec<_> = mismatch.0.iter().map(|one| one.policy.name()).collect();
        assert_eq!(policies, ["durability", "ownership", "reliability"]);
    }
    assert_eq!((publisher.subscribers(), subscriber.publishers()), (0, 0));
}

async fn departures_are_told<H: Harness>(harness: H) {
    let (a, b) = pair(&harness).await;
    let subscriber = b.subscriber::<u64>("leaving").build().await.unwrap();
    let publisher = a.publisher::<u64>("leaving").build().await.unwrap();
    soon("a match", publisher.matched(1)).await.unwrap();
    let publisher_id = publisher.id();
    let events = subscriber.events();
    assert!(
        matches!(soon("a match", events.next()).await, Some(MatchEvent::Matched { peer, .. }) if peer == publisher_id)
    );
    drop(publisher);
    let event = soon("a departure", events.next()).await.unwrap();
    assert!(
        matches!(event, MatchEvent::Departed { peer, cause: Departure::Left, .. } if peer == publisher_id),
        "{event:?}"
    );
    let publisher = a.publisher::<u64>("leaving").build().await.unwrap();
    soon("a match", publisher.matched(1)).await.unwrap();
    drop(subscriber);
    let events = publisher.events();
    assert!(matches!(soon("a match", events.next()).await, Some(MatchEvent::Matched { .. })));
    let event = soon("a departure", events.next()).await.unwrap();
    assert!(matches!(event, MatchEvent::Departed { cause: Departure::Left, .. }), "{event:?}");
    assert_eq!(publisher.subscribers(), 0);
}

/// Two publishers send the same hours; the stronger one stops half way.
async fn the_next_strongest_takes_over_without_a_hole<H: Harness>(harness: H) {
    let (a, b, c) =
        (open(&harness, "strong").await, open(&harness, "weak").await, open(&harness, "reader").await);
    connect(&c, &a).await;
    connect(&c, &b).await;
    let offered = |strength| Offered::reliable().transient_local().exclusive(strength);
    let strong = a.publisher::<Reading>("city").qos(offered(10)).build().await.unwrap();
    let weak = b.publisher::<Reading>("city").qos(offered(5)).build().await.unwrap();
    let requested = Requested::reliable().transient_local().exclusive();
    let mut subscriber = c.subscriber::<Reading>("city").qos(requested).build().await.unwrap();
    soon("a match", strong.matched(1)).await.unwrap();
    soon("a match", weak.matched(1)).await.unwrap();
    let hour = |hour: u64| Timestamp::from_secs(hour as i64 * 3600);
    // Until the strong one has said something, the weak one may be heard.
    strong.publish_at(&Reading::of(1), hour(1)).await.unwrap();
    let mut heard = vec![soon("the strong", subscriber.recv()).await.unwrap().unwrap()];
    // The weak one runs ahead of the strong one: what it said before the takeover must not be missing after it.
    for at in 1..=100 {
        if at > 1 {
            strong.publish_at(&Reading::of(at), hour(at)).await.unwrap();
        }
        weak.publish_at(&Reading::of(at * 2), hour(at * 2)).await.unwrap();
        weak.publish_at(&Reading::of(at * 2 + 1), hour(at * 2 + 1)).await.unwrap();
    }
    while heard.len() < 100 {
        heard.push(soon("the strong", subscriber.recv()).await.unwrap().unwrap());
    }
    let (strong_id, weak_id) = (strong.id(), weak.id());
    drop(strong);
    while heard.len() < 201 {
        heard.push(soon("the weak", subscriber.recv()).await.unwrap().unwrap());
    }
    let hours: Vec<u64> = heard.iter().map(|sample| sample.value().unwrap().hour).collect();
    assert_eq!(hours, (1..=201).collect::<Vec<_>>());
    let writers: Vec<_> = heard.iter().map(|sample| sample.info().writer.unwrap()).collect();
    assert_eq!(writers.iter().filter(|id| **id == weak_id).count(), 101);
    assert_eq!((heard[0].info().strength, heard[200].info().strength), (10, 5));
    let events = subscriber.events();
    let takeover = std::iter::from_fn(|| events.try_next())
        .filter(|event| matches!(event, MatchEvent::Takeover { from, .. } if *from == strong_id))
        .collect::<Vec<_>>();
    let [MatchEvent::Takeover { to, after, .. }] = &takeover[..] else { panic!("{takeover:?}") };
    assert_eq!((*to, *after), (weak_id, Some(hour(100))));
}

/// The next event that is not a match.
async fn mismatch(events: ringbus::pubsub::Events) -> MatchEvent {
    loop {
        match soon("a mismatch", events.next()).await.unwrap() {
            MatchEvent::Matched { .. } => {}
            event => return event,
        }
    }
}

async fn another_encoding_is_a_mismatch_on_both_sides<H: Harness>(harness: H) {
    let (a, b) = pair(&harness).await;
    let mut subscriber = b.subscriber::<u64>("mixed").build().await.unwrap();
    let json = a.publisher::<u64>("mixed").encoding(Encoding::Json).build().await.unwrap();
    let postcard = a.publisher::<u64>("mixed").build().await.unwrap();
    soon("a match", postcard.matched(1)).await.unwrap();
    let expected = |peer| MatchEvent::EncodingMismatch {
        topic: Topic::new("mixed").unwrap(),
        peer,
        offered: Encoding::Json,
        requested: Encoding::Postcard,
    };
    assert_eq!(mismatch(json.events()).await, expected(subscriber.id()));
    assert_eq!(mismatch(subscriber.events()).await, expected(json.id()));
    assert_eq!((json.subscribers(), subscriber.publishers()), (0, 1));
    assert!(tokio::time::timeout(Duration::from_millis(50), json.matched(1)).await.is_err());
    // Nobody waits for the one that cannot read it, and that one reads nothing of it.
    json.publish(&1).await.unwrap();
    soon("nothing", json.flush()).await.unwrap();
    postcard.publish(&2).await.unwrap();
    assert_eq!(soon("a sample", subscriber.recv()).await.unwrap().unwrap().value().unwrap(), 2);
    assert_eq!(subscriber.stats().received, 1);
}

async fn any_encoding_is_taken_and_told<H: Harness>(harness: H) {
    let (a, b) = pair(&harness).await;
    let mut subscriber = b.subscriber::<f64>("any").encoding(Encoding::Any).build().await.unwrap();
    for (encoding, payload) in [(Encoding::Json, &b"21.5"[..]), (Encoding::Postcard, &21.5_f64.to_le_bytes())]
    {
        let publisher = a.publisher::<f64>("any").encoding(encoding).build().await.unwrap();
        soon("a match", publisher.matched(1)).await.unwrap();
        publisher.publish(&21.5).await.unwrap();
        let sample = soon("a sample", subscriber.recv()).await.unwrap().unwrap();
        assert_eq!((sample.encoding(), sample.info().encoding), (encoding, encoding));
        assert_eq!((&sample.payload()[..], sample.value().unwrap()), (payload, 21.5));
        publisher.publish(&21.5).await.unwrap();
        let batch = soon("a batch", subscriber.recv_batch()).await.unwrap().unwrap();
        let sample = batch.iter().next().unwrap();
        assert_eq!((sample.encoding(), sample.info().encoding), (encoding, encoding));
        assert_eq!(sample.value().unwrap(), 21.5);
        // What is no value of the type is an error, not another value.
        assert!(sample.decode::<u8>().is_err());
    }
    let error = a.publisher::<f64>("any").encoding(Encoding::Any).build().await.map(drop).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::InvalidArgument { what: "encoding", .. }), "{error}");
}

async fn garbage_from_a_stranger_disturbs_nobody<H: Harness>(harness: H) {
    let (a, b) = pair(&harness).await;
    let mut subscriber = b.subscriber::<u64>("calm/#").qos(Requested::reliable()).build().await.unwrap();
    let publisher = a.publisher::<u64>("calm/sea").qos(Offered::reliable()).build().await.unwrap();
    soon("a match", publisher.matched(1)).await.unwrap();
    let (stranger, _rx) =
        ringbus::transport::Transport::open(harness.endpoint("stranger"), Default::default()).await.unwrap();
    stranger.attach(b.local()).await.unwrap();
    let garbage: [&[u8]; 6] = [
        b"",
        b"not a frame",
        b"\xB5\x52",
        b"\xB5\x52\x01\x00\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
        b"\xB5\x52\x01\x01\x00\x05\x00\x00\x00\x00\xFF\xFF\xFF\xFF",
        b"\xB5\x52\x09\x00whatever",
    ];
    let topic = Topic::new("calm/sea").unwrap();
    let mut junk: Vec<Outbound> =
        garbage.iter().map(|junk| Outbound::topic(topic.clone(), junk.to_vec())).collect();
    junk.extend(garbage.iter().map(|junk| Outbound::peer(b.local().clone(), junk.to_vec())));
    soon("sending junk", stranger.send_batch(&mut junk)).await.unwrap();
    for value in 0..100 {
        publisher.publish(&value).await.unwrap();
    }
    for value in 0..100 {
        assert_eq!(soon("a sample", subscriber.recv()).await.unwrap().unwrap().value().unwrap(), value);
    }
}

async fn plain_messages_of_other_programs<H: Harness>(harness: H) {
    let (a, b) = pair(&harness).await;
    let mut framed = b.subscriber::<String>("plain").encoding(Encoding::Raw).build().await.unwrap();
    let mut plain = b.subscriber::<String>("plain").encoding(Encoding::Raw).plain().build().await.unwrap();
    // Subscriptions settle when a framed publisher is matched by both.
    let probe = a.publisher::<String>("plain").encoding(Encoding::Raw).build().await.unwrap();
    soon("matches", probe.matched(2)).await.unwrap();
    let bare = a.publisher::<String>("plain").encoding(Encoding::Raw).plain().build().await.unwrap();
    bare.publish(&"hello".to_owned()).await.unwrap();
    let sample = soon("a plain sample", plain.recv()).await.unwrap().unwrap();
    assert_eq!((sample.value().unwrap().as_str(), sample.info().writer), ("hello", None));
    let counted = async {
        while framed.stats().undecodable == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    soon("the count", counted).await;
    assert!(framed.try_recv().unwrap().is_none());
    assert_eq!(framed.stats().undecodable, 1);
    // It is told of, and not with each message.
    for _ in 0..10 {
        bare.publish(&"again".to_owned()).await.unwrap();
    }
    for n in 0..10 {
        soon(&format!("plain sample {n}"), plain.recv()).await.unwrap().unwrap();
    }
    // It is given each message after or before the other.
    let counted = async {
        while framed.stats().undecodable < 11 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    soon("the count", counted).await;
    let (events, topic) = (framed.events(), Topic::new("plain").unwrap());
    let told: Vec<_> = std::iter::from_fn(|| events.try_next())
        .filter(|event| matches!(event, MatchEvent::Unframed { .. }))
        .collect();
    assert_eq!(told, [MatchEvent::Unframed { topic }]);
}

async fn connections_are_told<H: Harness>(harness: H) {
    let a = open(&harness, "alpha").await;
    let mut connections = a.connection_events();
    let b = open(&harness, "beta").await;
    connect(&a, &b).await;
    let other = b.local().clone();
    let up = ConnectionEvent::PeerUp(other.clone());
    while soon("the peer", connections.next()).await != Some(up.clone()) {}
    b.close(Duration::from_secs(2)).await.unwrap();
    let down = ConnectionEvent::PeerDown(other);
    while soon("its end", connections.next()).await != Some(down.clone()) {}
    a.close(Duration::from_secs(2)).await.unwrap();
    while soon("the end", connections.next()).await.is_some() {}
    assert_eq!(soon("the end", a.connection_events().next()).await, None);
}

/// A session lives in the runtime in which it was opened; what is used elsewhere must not seem to work when that is gone.
async fn what_lived_in_a_runtime_that_has_ended_is_closed<H: Harness + Send + 'static>(harness: H) {
    let (_harness, session, framed, plain, mut subscriber) = tokio::task::spawn_blocking(move || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (session, framed, plain, subscriber) = runtime.block_on(async {
            let session = open(&harness, "alpha").await;
            let framed = session.publisher::<u64>("end").build().await.unwrap();
            let plain =
                session.publisher::<u64>("end").encoding(Encoding::Json).plain().build().await.unwrap();
            let subscriber = session.subscriber::<u64>("end").build().await.unwrap();
            soon("a match", framed.matched(1)).await.unwrap();
            (session, framed, plain, subscriber)
        });
        runtime.shutdown_timeout(support::PATIENCE);
        (harness, session, framed, plain, subscriber)
    })
    .await
    .unwrap();
    let closed = |outcome: ringbus::Result<()>| {
        let error = outcome.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Closed { .. }), "{error}");
    };
    for publisher in [&framed, &plain] {
        closed(publisher.publish(&1).await);
        closed(publisher.try_publish(&1));
        closed(soon("the end", publisher.flush()).await);
    }
    closed(soon("the end", framed.matched(2)).await);
    closed(soon("the end", subscriber.matched(2)).await);
    assert!(soon("the end", subscriber.recv()).await.unwrap().is_none());
    closed(session.subscriber::<u64>("more").build().await.map(drop));
    closed(session.publisher::<u64>("more").build().await.map(drop));
    closed(session.attach(session.local()).await);
}

async fn bad_input_is_a_typed_error<H: Harness>(harness: H) {
    let a = open(&harness, "alpha").await;
    let kind = |error: ringbus::Error| error.kind().clone();
    for topic in ["", "a/+", "a/#", "@ringbus/query", "$SYS/x", "nul\0"] {
        let error = a.publisher::<u64>(topic).build().await.map(drop).unwrap_err();
        assert!(
            matches!(kind(error), ErrorKind::InvalidTopic { topic: named, .. } if named == topic),
            "{topic}"
        );
    }
    for (filter, why) in [
        ("$SYS/#", "topics of the broker"),
        ("$share/group/a", "shared subscriptions are not supported"),
        ("@ringbus/x", "reserved for the library"),
    ] {
        let error = a.subscriber::<u64>(filter).build().await.map(drop).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
    for filter in ["", "a/#/b", "a+", "@ringbus/#"] {
        let error = a.subscriber::<u64>(filter).build().await.map(drop).unwrap_err();
        assert!(
            matches!(kind(error), ErrorKind::InvalidFilter { filter: named, .. } if named == filter),
            "{filter}"
        );
    }
    let late = Offered { lifespan: Duration::from_secs(1).into(), ..Offered::default() };
    let error = a.publisher::<u64>("a").qos(late).build().await.map(drop).unwrap_err();
    assert!(matches!(kind(error), ErrorKind::UnsupportedPolicy { policy: "lifespan", .. }));
    let publisher = a.publisher::<Vec<u8>>("big").encoding(Encoding::Raw).build().await.unwrap();
    let limit = a.capabilities().max_payload;
    let error = publisher.publish(&vec![7; limit]).await.unwrap_err();
    assert!(matches!(kind(error), ErrorKind::PayloadTooLarge { size, .. } if size == limit));
    publisher.publish(&vec![7; 10]).await.unwrap();
    let plain = a.publisher::<u64>("plain").encoding(Encoding::Json).plain().build().await.unwrap();
    let error = plain.publish_at(&7, Timestamp::from_secs(1)).await.unwrap_err();
    assert!(matches!(kind(error), ErrorKind::InvalidArgument { what: "source timestamp", .. }));
    assert_eq!(plain.stats().published, 0);
    let error = a.publisher::<u64>("number").encoding(Encoding::Raw).build().await.unwrap().publish(&7).await;
    assert!(matches!(kind(error.unwrap_err()), ErrorKind::Encode { encoding: "raw", .. }));
}

async fn closing_a_session_ends_everything_of_it<H: Harness>(harness: H) {
    let (a, b) = pair(&harness).await;
    let mut subscriber = b.subscriber::<u64>("end").qos(Requested::reliable()).build().await.unwrap();
    let publisher = a.publisher::<u64>("end").qos(Offered::reliable()).build().await.unwrap();
    soon("a match", publisher.matched(1)).await.unwrap();
    publisher.publish(&1).await.unwrap();
    publisher.flush().await.unwrap();
    b.close(Duration::from_secs(2)).await.unwrap();
    assert_eq!(soon("the rest", subscriber.recv()).await.unwrap().unwrap().value().unwrap(), 1);
    assert!(soon("the end", subscriber.recv()).await.unwrap().is_none());
    a.close(Duration::from_secs(2)).await.unwrap();
    assert!(matches!(publisher.publish(&2).await.unwrap_err().kind(), ErrorKind::Closed { .. }));
    assert!(matches!(publisher.flush().await.unwrap_err().kind(), ErrorKind::Closed { .. }));
    assert!(a.publisher::<u64>("end").build().await.is_err());
}

over_every_transport!(
    typed_values_arrive_once_and_in_order,
    raw_bytes_and_borrowed_strings,
    every_subscriber_gets_everything,
    late_joiners_get_the_last_samples,
    a_thousand_published_at_once_are_a_thousand_received,
    a_slow_subscriber_makes_keep_all_wait,
    keep_last_replaces_what_is_unread,
    a_mismatch_is_told_to_both_sides,
    departures_are_told,
    the_next_strongest_takes_over_without_a_hole,
    another_encoding_is_a_mismatch_on_both_sides,
    any_encoding_is_taken_and_told,
    garbage_from_a_stranger_disturbs_nobody,
    plain_messages_of_other_programs,
    connections_are_told,
    what_lived_in_a_runtime_that_has_ended_is_closed,
    bad_input_is_a_typed_error,
    closing_a_session_ends_everything_of_it,
);

/// A publisher and a subscriber of a version that is still to come, as this side hears them.
#[tokio::test]
async fn peers_of_another_version_are_told_to_both_sides_once() {
    use ringbus::transport::{MemoryTransport, OpenOptions, memory::Network};
    let network = Network::new();
    let session = ringbus::Session::open(MemoryTransport::new(&network, "here")).await.unwrap();
    let publisher = session.publisher::<u64>("t").build().await.unwrap();
    let subscriber = session.subscriber::<u64>("t").build().await.unwrap();
    soon("the own match", publisher.matched(1)).await.unwrap();
    let other = MemoryTransport::new(&network, "later");
    let (tx, _rx) = ringbus::transport::Transport::open(other, OpenOptions::default()).await.unwrap();
    for topic in ["t", "@ringbus/query", "t", "@ringbus/query"] {
        let frame = bytes::Bytes::from_static(&[0xb5, 0x52, 2, 1, 1, 0, 0, 0, 0]);
        tx.send_batch(&mut vec![Outbound::topic(ringbus::Topic::new(topic).unwrap(), frame)]).await.unwrap();
    }
    for (events, at) in [(publisher.events(), "@ringbus/query"), (subscriber.events(), "t")] {
        let told = async {
            loop {
                if let MatchEvent::OtherVersion { topic, theirs, ours } = events.next().await.unwrap() {
                    return (topic.to_string(), theirs, ours);
                }
            }
        };
        assert_eq!(soon("the news", told).await, (at.to_owned(), 2, 1));
        tokio::time::sleep(Duration::from_millis(100)).await;
        let again = std::iter::from_fn(|| events.try_next());
        assert_eq!(again.filter(|event| matches!(event, MatchEvent::OtherVersion { .. })).count(), 0);
    }
}
