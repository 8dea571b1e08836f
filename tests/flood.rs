//! Memory under a flood that nobody reads: both sides, over ZeroMQ, stay under what their configuration allows. Both run in
//! this process, so that what it grows by is what the two hold together.
//!
//! Three seconds each; `RINGBUS_FLOOD_SECONDS=30 cargo test --test flood -- --nocapture` for as long as you like.

#![cfg(all(feature = "zmq", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "that is how tests fail, their helpers included")]
#![allow(clippy::print_stdout, reason = "what was measured is for whoever looks")]

mod support;

use std::time::{Duration, Instant};

use ringbus::pubsub::{PublisherStats, SubscriberStats};
use ringbus::qos::{History, Offered, Overflow, Requested, ResourceLimits};
use ringbus::transport::{OpenOptions, ZmqTransport};
use ringbus::{Encoding, ErrorKind, Publisher, Session, SessionOptions, Subscriber};
use support::soon;
use tokio::sync::Mutex;

/// Memory is measured of the process: one flood at a time, where a runner keeps tests in one process.
static ALONE: Mutex<()> = Mutex::const_new(());

/// The frame size at which a batch is full.
const FRAME: usize = 128 << 10;
/// Messages that wait in each of libzmq's four queues between the two sessions.
const QUEUE: usize = 64;
/// The bound of each history and each queue.
const LIMITS: ResourceLimits = ResourceLimits { max_samples: 1 << 20, max_bytes: 8 << 20 };
/// The size of each value.
const SIZE: usize = 1_000;
/// What a value takes besides, in a history or a queue, that has a frame of its own.
const ALONE_TAKES: usize = 320;
/// What the allocator and libzmq may add to what is asked of them, in all: rounding, threads' caches, fragments.
const SLACK: usize = 24 << 20;

struct Flood {
    publisher: Publisher<Vec<u8>, ZmqTransport>,
    subscriber: Subscriber<Vec<u8>, ZmqTransport>,
    before: usize,
}

impl Flood {
    async fn new(offered: Offered, requested: Requested) -> Self {
        support::log();
        let options = SessionOptions { transport: OpenOptions { queue: QUEUE, ..OpenOptions::default() } };
        let a = Session::open_with(ZmqTransport::ephemeral(), options.clone()).await.unwrap();
        let b = Session::open_with(ZmqTransport::ephemeral(), options).await.unwrap();
        a.attach(b.local()).await.unwrap();
        let subscriber = b.subscriber("flood").encoding(Encoding::Raw).qos(requested).build().await.unwrap();
        let publisher = a.publisher("flood").encoding(Encoding::Raw).qos(offered).build().await.unwrap();
        soon("a match", publisher.matched(1)).await.unwrap();
        Self { publisher, subscriber, before: resident() }
    }

    /// Publishes as fast as it goes, until the time is over and so many values were taken; returns how many there were, and
    /// by how much the process grew at most.
    async fn run(&self, minimum: u64) -> (u64, usize) {
        let seconds = std::env::var("RINGBUS_FLOOD_SECONDS").map_or(3.0, |text| text.parse().unwrap());
        let end = Instant::now() + Duration::from_secs_f64(seconds);
        let (mut offered, mut most) = (0, 0);
        let value = vec![7; SIZE];
        while Instant::now() < end || (offered < minimum && Instant::now() < end + support::PATIENCE) {
            for _ in 0..1_000 {
                match self.publisher.try_publish(&value) {
                    Ok(()) => {}
                    Err(error) if matches!(error.kind(), ErrorKind::Full { .. }) => break,
                    Err(error) => panic!("{error}"),
                }
                offered += 1;
            }
            tokio::task::yield_now().await;
            most = most.max(resident());
        }
        (offered, most.saturating_sub(self.before))
    }

    fn stats(&self) -> (PublisherStats, SubscriberStats) {
        (self.publisher.stats(), self.subscriber.stats())
    }
}

/// Resident memory of this process in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// What the two may hold: the publisher's history, the subscriber's queue and what it holds back behind gaps, each with a
/// frame above its bound, libzmq's queues, and the open batch.
fn bound(history: usize, queue: usize, held_back: usize) -> usize {
    let frames = history + queue + held_back + 3 * FRAME;
    frames + 4 * QUEUE * FRAME + FRAME + SLACK
}

async fn flood(name: &str, offered: Offered, requested: Requested) {
    let alone = ALONE.lock().await;
    let history = match (offered.reliability, offered.history) {
        (ringbus::qos::Reliability::Reliable, History::KeepAll) => LIMITS.max_bytes,
        _ => FRAME,
    };
    let queue = if requested.history == History::KeepAll { LIMITS.max_bytes } else { FRAME };
    let held_back =
        if requested.reliability == ringbus::qos::Reliability::Reliable { LIMITS.max_bytes } else { 0 };
    let bound = bound(history, queue, held_back);
    let waits = history == LIMITS.max_bytes && offered.overflow == Overflow::Wait;
    let flood = Flood::new(offered.resource_limits(LIMITS), requested.resource_limits(LIMITS)).await;
    // Nobody reads: a publisher that waits takes what both sides keep, others twice what all bounds together allow. On a link
    // that keeps up with the publisher each value is a frame.
    let minimum = if waits { 2 * LIMITS.max_bytes / (SIZE + ALONE_TAKES) } else { 2 * bound / SIZE };
    let (offered, grown) = flood.run(minimum as u64 * 9 / 10).await;
    let (sent, received) = flood.stats();
    let (grown_mib, bound_mib) = (grown as f64 / 1_048_576.0, bound as f64 / 1_048_576.0);
    println!(
        "{name}: {offered} values, grew by {grown_mib:.1} MiB of {bound_mib:.1}; {sent:?}; {received:?}"
    );
    assert!(offered >= minimum as u64 * 9 / 10, "only {offered}: that is no flood");
    assert!(grown <= bound, "{name}: grew by {grown} bytes, the bound is {bound}");
    drop(flood);
    drop(alone);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn best_effort_keep_last() {
    flood("best-effort keep-last", Offered::best_effort(), Requested::best_effort()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn best_effort_keep_all() {
    flood("best-effort keep-all", Offered::best_effort(), Requested::best_effort().keep_all()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn best_effort_drop_oldest() {
    let offered = Offered::best_effort().overflow(Overflow::DropOldest);
    let requested = Requested::best_effort().keep_all().overflow(Overflow::DropOldest);
    flood("best-effort drop-oldest", offered, requested).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reliable_keep_all() {
    // Both sides fill up, then nothing is taken any more.
    flood("reliable keep-all", Offered::reliable(), Requested::reliable()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reliable_drop_oldest() {
    let offered = Offered::reliable().overflow(Overflow::DropOldest);
    flood("reliable drop-oldest", offered, Requested::reliable()).await;
}
