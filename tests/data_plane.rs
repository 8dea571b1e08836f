//! How samples are gathered, sent, shared and read: the promises of docs/data-plane.md.

#![allow(clippy::unwrap_used, clippy::panic, reason = "that is how tests fail, their helpers included")]

#[macro_use]
mod support;

use std::time::{Duration, Instant};

use bytes::Bytes;
use ringbus::pubsub::PublisherBuilder;
use ringbus::qos::{Offered, Requested};
use ringbus::transport::conformance::Harness;
use ringbus::transport::{OpenOptions, Transport};
use ringbus::{Encoding, ErrorKind, Publisher, Session, SessionOptions, Subscriber};
use support::{Reading, connect, open, pair, soon};

fn raw<T: Transport>(session: &Session<T>, topic: &str) -> PublisherBuilder<Bytes, T> {
    session.publisher::<Bytes>(topic).encoding(Encoding::Raw).qos(Offered::reliable().keep_all())
}

async fn subscriber<T: Transport>(session: &Session<T>, filter: &str) -> Subscriber<Bytes, T> {
    let requested = Requested::reliable().keep_all();
    session.subscriber::<Bytes>(filter).encoding(Encoding::Raw).qos(requested).build().await.unwrap()
}

async fn matched<T: Transport>(publisher: &Publisher<Bytes, T>) {
    soon("a match", publisher.matched(1)).await.unwrap();
}

async fn a_lone_sample_goes_alone_and_at_once<H: Harness>(harness: H) {
    let (a, b) = pair(&harness).await;
    let mut subscriber = subscriber(&b, "lone").await;
    let publisher = raw(&a, "lone").build().await.unwrap();
    matched(&publisher).await;
    let mut waits = Vec::new();
    for number in 1..=50 {
        tokio::time::sleep(Duration::from_millis(4)).await;
        let sent = Instant::now();
        publisher.publish(&Bytes::from_static(b"one")).await.unwrap();
        let batch = soon("the sample", subscriber.recv_batch()).await.unwrap().unwrap();
        waits.push(sent.elapsed());
        assert_eq!(batch.len(), 1);
        assert_eq!(batch.iter().next().unwrap().sequence(), number);
    }
    waits.sort();
    // What is held back always is; what the machine delays is not always.
    assert!(waits[0] < Duration::from_millis(4), "held back for {:?}", waits[0]);
}

async fn a_burst_is_gathered_into_bounded_frames<H: Harness>(harness: H) {
    const SAMPLES: u64 = 50_000;
    // A link that is full soon, however fast the other end reads.
    let options = SessionOptions { transport: OpenOptions { queue: 2, ..OpenOptions::default() } };
    let open = async |name| Session::open_with(harness.endpoint(name), options.clone()).await.unwrap();
    let (a, b) = (open("alpha").await, open("beta").await);
    connect(&a, &b).await;
    let mut subscriber = subscriber(&b, "burst").await;
    let publisher = raw(&a, "burst").batch_bytes(2000).batch_samples(50).build().await.unwrap();
    matched(&publisher).await;
    let payload = Bytes::from_static(&[7; 16]);
    let read = tokio::spawn(async move {
        let (mut next, mut frames, mut longest) = (1, 0, 0);
        while next <= SAMPLES {
            let batch = soon("a batch", subscriber.recv_batch()).await.unwrap().unwrap();
            for sample in &batch {
                assert_eq!((sample.sequence(), sample.payload()), (next, &[7; 16][..]));
                next += 1;
            }
            frames += 1;
            longest = longest.max(batch.len());
        }
        (frames, longest)
    });
    for _ in 0..SAMPLES {
        soon("room", publisher.publish(&payload)).await.unwrap();
    }
    soon("the flush", publisher.flush()).await.unwrap();
    let (frames, longest) = read.await.unwrap();
    assert!(longest <= 50, "a frame of {longest} samples");
    assert!(frames < SAMPLES, "nothing was gathered");
}

async fn a_large_sample_among_small_ones_keeps_its_place<H: Harness>(harness: H) {
    let (a, b) = pair(&harness).await;
    let mut subscriber = subscriber(&b, "mixed").await;
    let publisher = raw(&a, "mixed").build().await.unwrap();
    matched(&publisher).await;
    let sizes: Vec<usize> = (0..600).map(|i| if i % 97 == 5 { 200_000 } else { i % 40 }).collect();
    let expected = sizes.clone();
    let read = tokio::spawn(async move {
        for size in expected {
            let sample = soon("a sample", subscriber.recv()).await.unwrap().unwrap();
            assert_eq!(sample.payload().len(), size);
            assert!(sample.payload().iter().all(|byte| *byte == size as u8));
        }
    });
    for size in sizes {
        soon("room", publisher.publish(&Bytes::from(vec![size as u8; size]))).await.unwrap();
    }
    read.await.unwrap();
}

async fn what_is_left_of_a_burst_goes_without_being_asked<H: Harness>(harness: H) {
    let (a, b) = pair(&harness).await;
    let mut subscriber = subscriber(&b, "rest").await;
    let publisher = raw(&a, "rest").build().await.unwrap();
    matched(&publisher).await;
    for round in 0..50_u64 {
        for _ in 0..100 {
            soon("room", publisher.publish(&Bytes::from_static(b"abc"))).await.unwrap();
        }
        // Neither flush nor another sample pushes them out.
        let mut seen = 0;
        while seen < 100 {
            let batch = soon("the rest", subscriber.recv_batch()).await.unwrap().unwrap();
            seen += batch.len();
        }
        assert_eq!(subscriber.stats().received, (round + 1) * 100);
    }
}

async fn publishers_of_a_session_have_their_turns<H: Harness>(harness: H) {
    let (a, b) = pair(&harness).await;
    let mut subscriber = subscriber(&b, "turn/+").await;
    let mut tasks = Vec::new();
    for name in 0..4 {
        let publisher = raw(&a, &format!("turn/{name}")).build().await.unwrap();
        matched(&publisher).await;
        tasks.push(tokio::spawn(async move {
            let payload = Bytes::from_static(&[1; 100]);
            loop {
                publisher.publish(&payload).await.unwrap();
                tokio::task::coop::consume_budget().await;
            }
        }));
    }
    let mut seen = [0_u64; 4];
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        let batch = soon("a batch", subscriber.recv_batch()).await.unwrap().unwrap();
        let name: usize = batch.topic().as_str().strip_prefix("turn/").unwrap().parse().unwrap();
        seen[name] += batch.len() as u64;
    }
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    let (least, most) = (seen.iter().min().unwrap(), seen.iter().max().unwrap());
    assert!(*least > 0 && most / least < 20, "{seen:?}");
}

async fn batches_borrow_and_convert<H: Harness>(harness: H) {
    let (a, b) = pair(&harness).await;
    let topic = "text/a";
    let reliable = Requested::reliable().keep_all();
    let mut texts = b.subscriber::<&str>("text/+").qos(reliable.clone()).build().await.unwrap();
    let mut again = b.subscriber::<String>("text/+").qos(reliable.clone()).build().await.unwrap();
    let mut wrong =
        b.subscriber::<Reading>("text/+").encoding(Encoding::Json).qos(reliable).build().await.unwrap();
    let publisher = a.publisher::<&str>(topic).qos(Offered::reliable().keep_all()).build().await.unwrap();
    soon("matches", publisher.matched(2)).await.unwrap();
    for text in ["alpha", "beta", "gamma"] {
        publisher.publish(&text).await.unwrap();
    }
    let mut heard = Vec::new();
    while heard.len() < 3 {
        let batch = soon("a batch", texts.recv_batch()).await.unwrap().unwrap();
        assert_eq!((batch.topic().as_str(), batch.writer()), (topic, Some(publisher.id())));
        assert!(!batch.is_empty());
        assert_eq!(batch.iter().len(), batch.len());
        for sample in &batch {
            assert_eq!(sample.info().sequence, sample.sequence());
            assert_eq!(sample.info().source_timestamp, sample.source_timestamp());
            assert_eq!(sample.encoding(), Encoding::Postcard);
            heard.push(sample.value().unwrap().to_owned());
        }
    }
    assert_eq!(heard, ["alpha", "beta", "gamma"]);
    // One by one first, then the rest of the frame as a batch, then as samples of their own.
    let first = soon("a sample", again.recv()).await.unwrap().unwrap();
    assert_eq!(first.value().unwrap(), "alpha");
    let mut rest = Vec::new();
    while rest.len() < 2 {
        let batch = soon("the rest", again.recv_batch()).await.unwrap().unwrap();
        rest.extend(batch.into_iter().map(|sample| sample.value().unwrap()));
    }
    assert_eq!(rest, ["beta", "gamma"]);
    assert!(again.try_recv_batch().unwrap().is_none());
    assert!(wrong.try_recv_batch().unwrap().is_none(), "it expects another encoding: nothing flows");
    assert_eq!((wrong.publishers(), wrong.stats().received), (0, 0));
}

async fn a_batch_of_no_size_is_refused<H: Harness>(harness: H) {
    let a = open(&harness, "alpha").await;
    for (bytes, samples, wrong) in [
        (0, 1, "batch_bytes"),
        (1 << 30, 1, "batch_bytes"),
        (1, 0, "batch_samples"),
        (1, 70_000, "batch_samples"),
    ] {
        let error = raw(&a, "size").batch_bytes(bytes).batch_samples(samples).build().await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::InvalidArgument { what, .. } if *what == wrong), "{error}");
    }
}

over_every_transport!(
    a_lone_sample_goes_alone_and_at_once,
    a_burst_is_gathered_into_bounded_frames,
    a_large_sample_among_small_ones_keeps_its_place,
    what_is_left_of_a_burst_goes_without_being_asked,
    publishers_of_a_session_have_their_turns,
    batches_borrow_and_convert,
    a_batch_of_no_size_is_refused,
);
