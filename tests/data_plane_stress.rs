//! Many publishers and subscribers at once, with sizes, pauses and ways to publish drawn at random.
//!
//! A failing seed is printed; `RINGBUS_SEED=n cargo test --all-features --test data_plane_stress` runs that one alone. What
//! is drawn replays, the timing of sockets does not.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "that is how tests fail, their helpers included"
)]

#[macro_use]
mod support;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use ringbus::qos::{Offered, Requested, ResourceLimits};
use ringbus::transport::conformance::Harness;
use ringbus::transport::{OpenOptions, Transport};
use ringbus::{Encoding, ErrorKind, Publisher, Session, SessionOptions, Subscriber};
use support::{connect, soon};

type Writer<T> = Publisher<Bytes, T>;
type Reader<T> = Subscriber<Bytes, T>;

const PUBLISHERS: usize = 8;
const SUBSCRIBERS: usize = 8;
const SAMPLES: usize = 300;
const LARGEST: usize = 100_000;

/// Runs a scenario for each seed.
async fn for_each_seed(name: &str, scenario: impl AsyncFn(u64)) {
    let seeds = match std::env::var("RINGBUS_SEED") {
        Ok(seed) => vec![seed.parse().expect("RINGBUS_SEED is a number")],
        Err(_) => vec![1, 2, 3, 4],
    };
    for seed in seeds {
        if let Err(panic) = AssertUnwindSafe(scenario(seed)).catch_unwind().await {
            eprintln!(
                "again with: RINGBUS_SEED={seed} cargo test --all-features --test data_plane_stress {name}"
            );
            std::panic::resume_unwind(panic);
        }
    }
}

fn draws(seed: u64, who: usize) -> SmallRng {
    SmallRng::seed_from_u64(seed << 16 | who as u64)
}

/// What a publisher's sample of a number holds: few are large, and any may be empty.
fn payload(seed: u64, publisher: usize, number: usize) -> Bytes {
    let mut draws = draws(seed ^ 0x5EED, number << 8 | publisher);
    let size = match draws.random_range(0..10) {
        0 => draws.random_range(0..=LARGEST),
        1..3 => draws.random_range(0..=4_000),
        _ => draws.random_range(0..=64),
    };
    let mut payload = vec![0; size];
    draws.fill(&mut payload[..]);
    payload.into()
}

async fn pause(draws: &mut SmallRng) {
    match draws.random_range(0..60) {
        0 => tokio::time::sleep(Duration::from_micros(draws.random_range(0..8_000))).await,
        1..6 => tokio::task::yield_now().await,
        _ => {}
    }
}

/// Publishes one way or the other.
async fn publish<T: Transport>(publisher: &Writer<T>, draws: &mut SmallRng, payload: &Bytes) {
    if draws.random_bool(0.5) {
        match publisher.try_publish(payload) {
            Ok(()) => return,
            Err(error) => assert!(matches!(error.kind(), ErrorKind::Full { .. }), "{error}"),
        }
    }
    soon("room", publisher.publish(payload)).await.unwrap();
}

/// Two sessions that know each other, every other time with queues so short that the link is full all the time.
async fn pair<H: Harness>(seed: u64, harness: &H) -> (Session<H::Transport>, Session<H::Transport>) {
    support::log();
    let queue = if seed.is_multiple_of(2) { OpenOptions::default().queue } else { 2 };
    let options = SessionOptions { transport: OpenOptions { queue, ..OpenOptions::default() } };
    let open = |name| Session::open_with(harness.endpoint(name), options.clone());
    let (a, b) = (open("alpha").await.unwrap(), open("beta").await.unwrap());
    connect(&a, &b).await;
    (a, b)
}

/// Half of the publishers and subscribers in the one session, half in the other; every subscriber reads all.
async fn crowd<T: Transport>(seed: u64, a: &Session<T>, b: &Session<T>) -> (Vec<Writer<T>>, Vec<Reader<T>>) {
    let side = |who| if who % 2 == 0 { a } else { b };
    let (mut publishers, mut subscribers) = (Vec::new(), Vec::new());
    let mut draws = draws(seed, 0xBEE);
    for who in 0..SUBSCRIBERS {
        // Some have so little room that they must refuse frames and ask for them later.
        let limits = if who % 4 == 3 {
            ResourceLimits { max_samples: draws.random_range(20..400), max_bytes: 1 << 20 }
        } else {
            ResourceLimits::default()
        };
        let requested = Requested::reliable().keep_all().resource_limits(limits);
        let subscriber = side(who).subscriber("crowd/+").encoding(Encoding::Raw).qos(requested);
        subscribers.push(subscriber.build().await.unwrap());
    }
    for who in 0..PUBLISHERS {
        let offered = Offered::reliable().keep_all();
        let publisher = side(who).publisher(format!("crowd/{who}")).encoding(Encoding::Raw).qos(offered);
        let publisher = publisher.batch_bytes(draws.random_range(1..=100_000)).build().await.unwrap();
        soon("matches", publisher.matched(SUBSCRIBERS)).await.unwrap();
        publishers.push(publisher);
    }
    (publishers, subscribers)
}

/// What a subscriber has seen of each publisher: how many samples without a gap, and the number of the last one.
#[derive(Default)]
struct Seen(HashMap<usize, (usize, usize)>);

impl Seen {
    /// A sample comes after those before it, and is the one that was published under its number.
    fn take(&mut self, seed: u64, topic: &str, sequence: u64, content: &[u8]) {
        let publisher = topic.strip_prefix("crowd/").unwrap().parse().unwrap();
        let (unbroken, last) = self.0.entry(publisher).or_default();
        let number = usize::try_from(sequence).unwrap();
        assert!(number > *last, "sample {number} of publisher {publisher} after {last}");
        assert!(*payload(seed, publisher, number) == *content, "sample {number} of publisher {publisher}");
        *unbroken += usize::from(number == *unbroken + 1);
        *last = number;
    }

    fn unbroken(&self, publisher: usize) -> usize {
        self.0.get(&publisher).map_or(0, |(unbroken, _)| *unbroken)
    }

    fn has_all(&self) -> bool {
        (0..PUBLISHERS).all(|publisher| self.unbroken(publisher) == SAMPLES)
    }
}

/// Reads one way or the other; `false` if nothing is at hand or the session has ended.
async fn read<T: Transport>(
    subscriber: &mut Reader<T>,
    seen: &mut Seen,
    seed: u64,
    batch: bool,
    wait: bool,
) -> bool {
    if batch {
        let batch = match wait {
            true => soon("a batch", subscriber.recv_batch()).await.unwrap(),
            false => subscriber.try_recv_batch().unwrap(),
        };
        let Some(batch) = batch else { return false };
        for sample in &batch {
            seen.take(seed, sample.topic().as_str(), sample.sequence(), sample.payload());
        }
    } else {
        let sample = match wait {
            true => soon("a sample", subscriber.recv()).await.unwrap(),
            false => subscriber.try_recv().unwrap(),
        };
        let Some(sample) = sample else { return false };
        seen.take(seed, sample.info().topic.as_str(), sample.info().sequence, sample.payload());
    }
    true
}

async fn every_sample_arrives_once_and_in_order<H: Harness>(harness: H) {
    for_each_seed("every_sample", async |seed| {
        let (a, b) = pair(seed, &harness).await;
        let (publishers, subscribers) = crowd(seed, &a, &b).await;
        let mut tasks = Vec::new();
        for (who, mut subscriber) in subscribers.into_iter().enumerate() {
            tasks.push(tokio::spawn(async move {
                let (mut seen, mut draws) = (Seen::default(), draws(seed, 100 + who));
                while !seen.has_all() {
                    let batch = draws.random_bool(0.5);
                    assert!(read(&mut subscriber, &mut seen, seed, batch, true).await);
                    pause(&mut draws).await;
                }
                // Nothing comes twice either.
                while read(&mut subscriber, &mut seen, seed, true, false).await {}
            }));
        }
        for (who, publisher) in publishers.into_iter().enumerate() {
            tasks.push(tokio::spawn(async move {
                let mut draws = draws(seed, who);
                for number in 1..=SAMPLES {
                    publish(&publisher, &mut draws, &payload(seed, who, number)).await;
                    pause(&mut draws).await;
                    if draws.random_range(0..100) == 0 {
                        soon("the flush", publisher.flush()).await.unwrap();
                    }
                }
                soon("the last flush", publisher.flush()).await.unwrap();
            }));
        }
        for task in tasks {
            task.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        }
        for session in [a, b] {
            soon("the end", session.close(Duration::from_secs(5))).await.unwrap();
        }
    })
    .await;
}

async fn nothing_that_a_flush_confirmed_is_missing<H: Harness>(harness: H) {
    for_each_seed("nothing_that", async |seed| {
        let (a, b) = pair(seed, &harness).await;
        let (publishers, subscribers) = crowd(seed, &a, &b).await;
        let (done, over) = tokio::sync::watch::channel(false);
        let mut writing = Vec::new();
        for (who, publisher) in publishers.into_iter().enumerate() {
            writing.push(tokio::spawn(async move {
                let mut draws = draws(seed, who);
                let (mut published, mut confirmed) = (0, 0);
                while published < SAMPLES {
                    match publisher.try_publish(&payload(seed, who, published + 1)) {
                        Ok(()) => published += 1,
                        Err(error) => {
                            assert!(matches!(error.kind(), ErrorKind::Full { .. }), "{error}");
                            tokio::time::sleep(Duration::from_millis(1)).await;
                        }
                    }
                    pause(&mut draws).await;
                    if draws.random_range(0..60) == 0 {
                        // Given up at times.
                        let patience = Duration::from_micros(draws.random_range(0..200_000));
                        if let Ok(flushed) = tokio::time::timeout(patience, publisher.flush()).await {
                            flushed.unwrap();
                            confirmed = published;
                        }
                    }
                }
                // Whoever reads slowly holds this up: one publisher waits for that.
                let deadline = match who {
                    0 => support::PATIENCE,
                    _ => Duration::from_millis(draws.random_range(0..2_000)),
                };
                match soon("the close", publisher.close(deadline)).await {
                    Ok(()) => confirmed = published,
                    Err(error) => assert!(matches!(error.kind(), ErrorKind::Timeout { .. }), "{error}"),
                }
                confirmed
            }));
        }
        let mut reading = Vec::new();
        for (who, mut subscriber) in subscribers.into_iter().enumerate() {
            let mut over = over.clone();
            reading.push(tokio::spawn(async move {
                let (mut seen, mut draws) = (Seen::default(), draws(seed, 100 + who));
                loop {
                    let batch = draws.random_bool(0.5);
                    tokio::select! {
                        biased;
                        _ = over.wait_for(|over| *over) => break,
                        _ = read(&mut subscriber, &mut seen, seed, batch, true) => {}
                    }
                    pause(&mut draws).await;
                }
                // What was confirmed is at hand. What was not may be lost with its publisher.
                while read(&mut subscriber, &mut seen, seed, true, false).await {}
                seen
            }));
        }
        let mut confirmed = Vec::new();
        for task in writing {
            let count = task.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            confirmed.push(count);
        }
        done.send_replace(true);
        for task in reading {
            let seen = task.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            for (publisher, confirmed) in confirmed.iter().enumerate() {
                let count = seen.unbroken(publisher);
                assert!(count >= *confirmed, "{count} of {confirmed} confirmed of publisher {publisher}");
            }
        }
        assert_eq!(confirmed[0], SAMPLES);
        for session in [a, b] {
            soon("the end", session.close(Duration::from_secs(5))).await.unwrap();
        }
    })
    .await;
}

over_every_transport!(every_sample_arrives_once_and_in_order, nothing_that_a_flush_confirmed_is_missing);
