//! Publishing and receiving a sample allocates nothing in the steady state; a frame does: counted by the allocator.
#![allow(unsafe_code, reason = "an allocator is unsafe to implement; this one passes everything on")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "that is how tests fail and what they say, their helpers included"
)]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ringbus::qos::{Offered, Requested};
use ringbus::transport::conformance::Harness;
use ringbus::transport::memory::Network;
use ringbus::transport::{Event, MemoryTransport, OpenOptions, Transport, TransportRx, TransportTx};
use ringbus::{Encoding, ErrorKind, Publisher, Session, SessionOptions, Subscriber};
use serde::{Deserialize, Serialize};
use support::{connect, soon};

/// Allocations of the whole process: tests take turns.
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

thread_local! {
    static OF_THREAD: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

impl Counting {
    fn count() {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // A thread that ends may allocate after its own values are gone.
        let _ = OF_THREAD.try_with(|count| count.set(count.get() + 1));
    }
}

// SAFETY: every request goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count();
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::count();
        // SAFETY: the caller's promise; the pointer came from the same allocator.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise; the pointer came from the same allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const WARM_UP: usize = 100_000;
const SAMPLES: usize = 200_000;

/// What a frame may cost, both sides together. Sending: the shared ownership of its buffer, libzmq's hold on it, and at times
/// the buffer, where its memory must grow or has not come back yet. Receiving: the shared ownership of libzmq's message, and
/// what the reader's timers and acknowledgements take. Measured: about five over ZMQ, four over memory.
const PER_FRAME: usize = 7;
/// What goes on besides, at its own pace: heartbeats, acknowledgements, the runtime.
const BESIDES: usize = 2_000;

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Weather {
    station: u32,
    hour: u64,
    celsius: f64,
    humidity: f32,
    gusts: (f32, f32),
    valid: bool,
}

const WEATHER: Weather =
    Weather { station: 98_101, hour: 7, celsius: 13.5, humidity: 0.8, gusts: (1.5, 9.0), valid: true };

/// How the other side reads.
#[derive(Clone, Copy, PartialEq)]
enum Read {
    Batches,
    Samples,
}

/// What a flood cost.
struct Cost {
    allocations: usize,
    frames: usize,
    /// Calls that published at once without sending, as far as one can tell, and allocated.
    calls: usize,
}

impl Cost {
    fn assert_frames_only(&self, what: &str) {
        let Self { allocations, frames, calls } = *self;
        eprintln!(
            "{what}: {SAMPLES} samples, {frames} frames, {allocations} allocations, {calls} calls with any"
        );
        let bound = frames * PER_FRAME + BESIDES;
        assert!(allocations <= bound, "{what}: {allocations} allocations for {frames} frames");
        // How many samples a frame holds is a matter of which side is faster: of structs in a test build five to thirty.
        assert!(
            allocations < SAMPLES,
            "{what}: {allocations} allocations, and one for each sample would be {SAMPLES}"
        );
        assert!(
            calls <= frames * 4 + 100,
            "{what}: {calls} calls of publish allocated, with {frames} frames"
        );
    }
}

/// Publishes on one side and reads on the other; counts once that has gone on for a while.
async fn flood<M, T: Transport>(
    publisher: Publisher<M, T>,
    mut subscriber: Subscriber<M, T>,
    value: M,
    fits: impl Fn(&[u8]) -> bool + Send + 'static,
    read: Read,
) -> Cost
where
    M: Serialize + Send + Sync + 'static,
{
    soon("a match", publisher.matched(1)).await.unwrap();
    let reading = tokio::spawn(async move {
        let (mut seen, mut frames, mut counted, mut end) = (0, 0, None, 0);
        while seen < WARM_UP + SAMPLES {
            if counted.is_none() && seen >= WARM_UP {
                counted = Some((ALLOCATIONS.load(Ordering::Relaxed), frames, seen));
            }
            if read == Read::Samples {
                let sample = soon("a sample", subscriber.recv()).await.unwrap().unwrap();
                seen += 1;
                // Neighbours in a frame are neighbours in memory.
                let at = sample.payload().as_ptr() as usize;
                frames += usize::from(!(end..end + 16).contains(&at));
                end = at + sample.payload().len();
                assert!(fits(sample.payload()));
                continue;
            }
            let batch = soon("a batch", subscriber.recv_batch()).await.unwrap().unwrap();
            seen += batch.len();
            frames += 1;
            for sample in &batch {
                assert!(fits(sample.payload()));
            }
        }
        let end = ALLOCATIONS.load(Ordering::Relaxed);
        let (allocations, first_frames, from) = counted.unwrap();
        let part = |count: usize| count * SAMPLES / (seen - from);
        (part(end - allocations), part(frames - first_frames))
    });
    let mut calls = 0;
    for number in 0..WARM_UP + SAMPLES {
        let before = OF_THREAD.with(Cell::get);
        let published = publisher.try_publish(&value);
        let allocated = OF_THREAD.with(Cell::get) - before;
        match published {
            Ok(()) => calls += usize::from(allocated > 0 && number >= WARM_UP),
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::Full { .. }), "{error}");
                soon("room", publisher.publish(&value)).await.unwrap();
            }
        }
        tokio::task::coop::consume_budget().await;
    }
    let (allocations, frames) = reading.await.unwrap();
    Cost { allocations, frames, calls }
}

async fn floods<H: Harness>(harness: &H, options: OpenOptions) {
    let _turn = TURN.lock().await;
    let open = |name| {
        let options = SessionOptions { transport: options.clone() };
        Session::open_with(harness.endpoint(name), options)
    };
    let (a, b) = (open("alpha").await.unwrap(), open("beta").await.unwrap());
    connect(&a, &b).await;
    let (offered, requested) = (Offered::reliable().keep_all(), Requested::reliable().keep_all());

    let raw = |topic| {
        let subscriber = b.subscriber::<Bytes>(topic).encoding(Encoding::Raw).qos(requested.clone());
        (a.publisher::<Bytes>(topic).encoding(Encoding::Raw).qos(offered.clone()), subscriber)
    };
    let payload = Bytes::from_static(&[7; 16]);
    let seven = |payload: &[u8]| payload == [7; 16];
    let (publisher, subscriber) = raw("raw/frames");
    let (subscriber, publisher) = (subscriber.build().await.unwrap(), publisher.build().await.unwrap());
    flood(publisher, subscriber, payload.clone(), seven, Read::Batches)
        .await
        .assert_frames_only("bytes by frames");

    let (publisher, subscriber) = raw("raw/samples");
    let (subscriber, publisher) = (subscriber.build().await.unwrap(), publisher.build().await.unwrap());
    flood(publisher, subscriber, payload, seven, Read::Samples).await.assert_frames_only("bytes one by one");

    let weather = |payload: &[u8]| Encoding::Postcard.decode::<Weather>(payload).unwrap() == WEATHER;
    let subscriber = b.subscriber::<Weather>("typed").qos(requested.clone()).build().await.unwrap();
    let publisher = a.publisher::<Weather>("typed").qos(offered.clone()).build().await.unwrap();
    flood(publisher, subscriber, WEATHER, weather, Read::Batches)
        .await
        .assert_frames_only("a struct by frames");
}

#[test]
fn the_counters_count() {
    let before = (ALLOCATIONS.load(Ordering::Relaxed), OF_THREAD.with(Cell::get));
    drop(black_box(vec![0; 100]));
    assert_eq!(OF_THREAD.with(Cell::get) - before.1, 1);
    assert!(ALLOCATIONS.load(Ordering::Relaxed) > before.0);
}

#[cfg(feature = "zmq")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn samples_allocate_nothing_over_zmq() {
    floods(&support::Zmq, OpenOptions::default()).await;
}

/// A network inside the process is busy only when a queue is full: a short one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn samples_allocate_nothing_over_memory() {
    floods(&support::Memory::default(), OpenOptions { queue: 4, ..OpenOptions::default() }).await;
}

/// Here nothing is sent while it is counted, so that nothing at all may be allocated.
#[tokio::test]
async fn a_sample_in_an_open_batch_allocates_nothing() {
    let _turn = TURN.lock().await;
    let network = Network::new();
    let options = OpenOptions { queue: 1, ..OpenOptions::default() };
    let (tx, mut rx) = MemoryTransport::new(&network, "peer").open(options).await.unwrap();
    tx.subscribe(&"open".parse().unwrap()).await.unwrap();
    let session = Session::open(MemoryTransport::new(&network, "a")).await.unwrap();
    let publisher = session.publisher::<Weather>("open").build().await.unwrap();
    let mut events = Vec::new();
    // Frames of full size go out and come back, so that their memory is at hand.
    let mut read = 0;
    while read < 100 {
        while publisher.try_publish(&WEATHER).is_ok() {}
        rx.recv_batch(&mut events, 16).await.unwrap();
        let large = |event: &Event| matches!(event, Event::Message { payload, .. } if payload.len() > 32_768);
        read += events.drain(..).filter(large).count();
        tokio::task::yield_now().await;
    }
    // The link is busy, and a new batch has begun.
    while publisher.try_publish(&WEATHER).is_ok() {}
    rx.recv_batch(&mut events, 16).await.unwrap();
    events.clear();
    // An announcement may have taken the place that was made: one more is read for it.
    let room = async {
        while tokio::time::timeout(Duration::from_secs(1), publisher.publish(&WEATHER)).await.is_err() {
            rx.recv_batch(&mut events, 16).await.unwrap();
        }
    };
    soon("room", room).await;
    let before = OF_THREAD.with(Cell::get);
    let published = publisher.stats().published;
    for _ in 0..1_000 {
        publisher.publish(&WEATHER).await.unwrap();
    }
    let after = OF_THREAD.with(Cell::get);
    assert_eq!(publisher.stats().published - published, 1_000);
    assert_eq!(after - before, 0, "allocations for a thousand samples");
}
