//! The user's code runs inside of publishing, as `Serialize`, as what listens to the log or to the
//! metrics: it may publish itself. On the same publisher that is a typed error, on another it
//! works; it never waits. Nor does the library hold a lock while it logs or counts.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "that is how tests fail, their helpers included"
)]

mod support;

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, OnceLock, RwLock};
use std::time::Duration;

use futures::FutureExt;
use metrics::{Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use ringbus::qos::{Offered, Overflow, Requested, ResourceLimits};
use ringbus::transport::MemoryTransport;
use ringbus::transport::conformance::Harness;
use ringbus::transport::memory::Network;
use ringbus::{DhtNode, ErrorKind, Publisher, Result, Session};
use serde::{Serialize, Serializer};
use support::soon;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

type Within = dyn Fn() -> Option<Result<()>>;
type Texts = Publisher<String, MemoryTransport>;
type Voice = dyn Fn(&str) -> Result<()> + Send + Sync;

thread_local! {
    /// What a value does while it is serialised.
    static WITHIN: RefCell<Option<Box<Within>>> = const { RefCell::new(None) };
    static OUTCOMES: RefCell<Vec<Result<()>>> = const { RefCell::new(Vec::new()) };
}

/// A number whose `Serialize` does something else first.
struct Busy(u64);

impl Serialize for Busy {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let within = WITHIN.take();
        if let Some(within) = within {
            if let Some(outcome) = within() {
                OUTCOMES.with_borrow_mut(|outcomes| outcomes.push(outcome));
            }
            WITHIN.set(Some(within));
        }
        serializer.serialize_u64(self.0)
    }
}

async fn two() -> (Session<MemoryTransport>, Session<MemoryTransport>) {
    let network = Network::new();
    let open = |name: &'static str| Session::open(MemoryTransport::new(&network, name));
    (open("a").await.unwrap(), open("b").await.unwrap())
}

#[tokio::test]
async fn publishing_on_the_same_publisher_from_within_is_a_typed_error() {
    let (a, b) = two().await;
    let mut subscriber = b.subscriber::<u64>("t").qos(Requested::reliable()).build().await.unwrap();
    let publisher = a.publisher::<Busy>("t").qos(Offered::reliable()).build().await.unwrap();
    let publisher = Arc::new(publisher);
    soon("a match", publisher.matched(1)).await.unwrap();
    let inner = publisher.clone();
    WITHIN.set(Some(Box::new(move || Some(inner.try_publish(&Busy(1_000_000))))));
    // In a row, so that those behind the first go into a batch that is open.
    for value in 0..500 {
        publisher.publish(&Busy(value)).await.unwrap();
    }
    WITHIN.set(None);
    let outcomes = OUTCOMES.take();
    assert!(outcomes.len() >= 500, "{}", outcomes.len());
    for outcome in outcomes {
        let error = outcome.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Reentrant { topic } if topic == "t"), "{error}");
    }
    for expected in 0..500 {
        let sample = soon("a sample", subscriber.recv()).await.unwrap().unwrap();
        assert_eq!(sample.value().unwrap(), expected);
    }
}

#[tokio::test]
async fn publishing_on_another_publisher_from_within_works() {
    let (a, b) = two().await;
    let mut outer = b.subscriber::<u64>("outer").qos(Requested::reliable()).build().await.unwrap();
    let mut inner = b.subscriber::<String>("inner").qos(Requested::reliable()).build().await.unwrap();
    let publisher = a.publisher::<Busy>("outer").qos(Offered::reliable()).build().await.unwrap();
    let texts: Texts = a.publisher("inner").qos(Offered::reliable()).build().await.unwrap();
    soon("a match", publisher.matched(1)).await.unwrap();
    soon("a match", texts.matched(1)).await.unwrap();
    WITHIN.set(Some(Box::new(move || Some(texts.try_publish(&"within".to_owned())))));
    for value in 0..100 {
        publisher.publish(&Busy(value)).await.unwrap();
    }
    let outcomes = OUTCOMES.take();
    assert!(outcomes.len() >= 100 && outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    for expected in 0..100 {
        let sample = soon("an outer sample", outer.recv()).await.unwrap().unwrap();
        assert_eq!(sample.value().unwrap(), expected);
        let sample = soon("an inner sample", inner.recv()).await.unwrap().unwrap();
        assert_eq!(sample.value().unwrap(), "within");
    }
    WITHIN.set(None);
}

/// Threads stand in a circle. Each publishes on its own publisher a value whose `Serialize` waits until every thread is
/// within one, and then publishes on its neighbour's. Returns what that gave, by neighbour.
fn publish_in_a_circle(
    publishers: &[Arc<Publisher<Busy, MemoryTransport>>],
    round: u64,
) -> Vec<(usize, Result<()>)> {
    let all_within = Arc::new(Barrier::new(publishers.len()));
    let (done, outcomes) = std::sync::mpsc::channel();
    for (at, own) in publishers.iter().enumerate() {
        let neighbour = (at + 1) % publishers.len();
        let (own, next) = (own.clone(), publishers[neighbour].clone());
        let (all_within, done) = (all_within.clone(), done.clone());
        std::thread::spawn(move || {
            let first = Cell::new(true);
            WITHIN.set(Some(Box::new(move || {
                first.replace(false).then(|| {
                    all_within.wait();
                    next.try_publish(&Busy(1_000_000 + round))
                })
            })));
            own.try_publish(&Busy(round)).unwrap();
            WITHIN.set(None);
            OUTCOMES.take().into_iter().for_each(|outcome| done.send((neighbour, outcome)).unwrap());
        });
    }
    drop(done);
    let outcome = |_| {
        outcomes.recv_timeout(Duration::from_secs(100)).expect("they publish, and do not wait for each other")
    };
    publishers.iter().map(outcome).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn threads_that_publish_crosswise_do_not_wait_for_each_other() {
    const ROUNDS: u64 = 100;
    for threads in 2..=4 {
        let (a, b) = two().await;
        let (mut publishers, mut subscribers) = (Vec::new(), Vec::new());
        for topic in (0..threads).map(|thread| format!("t/{thread}")) {
            let publisher = a.publisher::<Busy>(&topic).qos(Offered::reliable().keep_all());
            publishers.push(Arc::new(publisher.build().await.unwrap()));
            let subscriber = b.subscriber::<u64>(&topic).qos(Requested::reliable().keep_all());
            subscribers.push(subscriber.build().await.unwrap());
        }
        for publisher in &publishers {
            soon("a match", publisher.matched(1)).await.unwrap();
        }
        let mut expected = vec![ROUNDS; threads];
        for round in 0..ROUNDS {
            let outcomes = publish_in_a_circle(&publishers, round);
            let refused: Vec<_> = outcomes.iter().filter_map(|(_, outcome)| outcome.as_ref().err()).collect();
            let is_reentrant = |error: &&ringbus::Error| matches!(error.kind(), ErrorKind::Reentrant { .. });
            // One goes without, and so all the others go on.
            assert!(refused.len() == 1 && refused.iter().all(is_reentrant), "round {round}: {outcomes:?}");
            let taken = outcomes.iter().filter(|(_, outcome)| outcome.is_ok());
            taken.for_each(|(neighbour, _)| expected[*neighbour] += 1);
        }
        // What was taken comes.
        for (subscriber, expected) in subscribers.iter_mut().zip(expected) {
            let mut outer = 0;
            for _ in 0..expected {
                let value = soon("a sample", subscriber.recv()).await.unwrap().unwrap().value().unwrap();
                if value < ROUNDS {
                    assert_eq!(value, outer);
                    outer += 1;
                }
            }
            assert_eq!(outer, ROUNDS);
        }
    }
}

#[tokio::test]
async fn waiting_for_the_same_publisher_from_within_is_a_typed_error_too() {
    let (a, b) = two().await;
    let mut subscriber = b.subscriber::<u64>("t").qos(Requested::reliable()).build().await.unwrap();
    let publisher = a.publisher::<Busy>("t").qos(Offered::reliable()).build().await.unwrap();
    let publisher = Arc::new(publisher);
    soon("a match", publisher.matched(1)).await.unwrap();
    publisher.publish(&Busy(0)).await.unwrap();
    assert_eq!(publisher.stats().published, 1);
    let inner = publisher.clone();
    WITHIN.set(Some(Box::new(move || {
        assert_eq!(inner.stats().published, 1, "as it was told last");
        let waits = [inner.flush().now_or_never(), inner.matched(2).now_or_never()];
        for outcome in waits {
            let kind = outcome.expect("it waits").unwrap_err();
            assert!(matches!(kind.kind(), ErrorKind::Reentrant { .. }), "{kind}");
        }
        inner.matched(1).now_or_never()
    })));
    publisher.publish(&Busy(1)).await.unwrap();
    WITHIN.set(None);
    let outcomes = OUTCOMES.take();
    assert!(!outcomes.is_empty() && outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(publisher.stats().published, 2);
    for expected in 0..2 {
        let sample = soon("a sample", subscriber.recv()).await.unwrap().unwrap();
        assert_eq!(sample.value().unwrap(), expected);
    }
}

#[tokio::test]
async fn a_panic_within_leaves_the_publisher_usable() {
    let (a, b) = two().await;
    let mut subscriber = b.subscriber::<u64>("t").qos(Requested::reliable()).build().await.unwrap();
    let publisher = a.publisher::<Busy>("t").qos(Offered::reliable()).build().await.unwrap();
    soon("a match", publisher.matched(1)).await.unwrap();
    for value in 0..10 {
        publisher.publish(&Busy(value)).await.unwrap();
        WITHIN.set(Some(Box::new(|| panic!("a value that cannot be serialised"))));
        let publishing = std::panic::AssertUnwindSafe(|| publisher.try_publish(&Busy(77)));
        assert!(std::panic::catch_unwind(publishing).is_err());
        WITHIN.set(None);
    }
    for expected in 0..10 {
        let sample = soon("a sample", subscriber.recv()).await.unwrap().unwrap();
        assert_eq!(sample.value().unwrap(), expected);
    }
}

/// Publishes whatever it hears of, by a publisher that may itself be what it hears of.
#[derive(Default)]
struct Loud {
    voice: RwLock<Option<Arc<Voice>>>,
    heard: AtomicU64,
    said: AtomicU64,
    refused: AtomicU64,
}

thread_local! {
    static PUBLISHING: Cell<bool> = const { Cell::new(false) };
}

impl Loud {
    fn hear(&self, text: &str) {
        self.heard.fetch_add(1, Ordering::Relaxed);
        // What its own publishing logs is nobody's news.
        if PUBLISHING.replace(true) {
            return;
        }
        let voice = self.voice.read().unwrap().clone();
        if let Some(voice) = voice {
            let outcome = if voice(text).is_ok() { &self.said } else { &self.refused };
            outcome.fetch_add(1, Ordering::Relaxed);
        }
        PUBLISHING.set(false);
    }
}

/// Of the tests that listen, one at a time: the log and the metrics are the process's.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// What listens to the log and to the metrics of this process.
fn loud() -> Arc<Loud> {
    static LOUD: OnceLock<Arc<Loud>> = OnceLock::new();
    let install = || {
        let loud = Arc::new(Loud::default());
        let counting = Counting(loud.clone());
        metrics::set_global_recorder(counting).unwrap_or_else(|_| panic!("a recorder is set"));
        let log = tracing_subscriber::registry().with(Listening(loud.clone()));
        tracing::subscriber::set_global_default(log).unwrap();
        loud
    };
    LOUD.get_or_init(install).clone()
}

impl Loud {
    /// Publishes from now on. Says how much was heard before.
    fn speak(&self, voice: impl Fn(&str) -> Result<()> + Send + Sync + 'static) -> u64 {
        *self.voice.write().unwrap() = Some(Arc::new(voice));
        self.heard.load(Ordering::Relaxed)
    }

    fn fall_silent(&self) {
        *self.voice.write().unwrap() = None;
    }
}

struct Listening(Arc<Loud>);

impl<S: tracing::Subscriber> Layer<S> for Listening {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        self.0.hear(event.metadata().target());
    }
}

struct Counting(Arc<Loud>);

impl CounterFn for Loud {
    fn increment(&self, _: u64) {
        self.hear("counter");
    }

    fn absolute(&self, _: u64) {}
}

impl Recorder for Counting {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        self.0.hear("a counter is registered");
        Counter::from_arc(self.0.clone())
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// The log at its most talkative and the metrics go out by the publisher that a subscriber holds
/// up, so that the library speaks of it while it is at work on it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_listens_to_the_log_and_the_metrics_may_publish() {
    let _turn = TURN.lock().await;
    let loud = loud();
    let (a, b) = two().await;
    let few = ResourceLimits { max_samples: 16, max_bytes: 1 << 20 };
    let requested = Requested::reliable().keep_all().resource_limits(few);
    let silent = b.subscriber::<String>("log").qos(requested).build().await.unwrap();
    let offered = Offered::reliable().keep_all().resource_limits(few).overflow(Overflow::Disconnect);
    let publisher: Arc<Texts> = Arc::new(a.publisher("log").qos(offered).build().await.unwrap());
    soon("a match", publisher.matched(1)).await.unwrap();
    let voice = publisher.clone();
    let heard_before = loud.speak(move |text| voice.try_publish(&text.to_owned()));
    for number in 0..200 {
        soon("room", publisher.publish(&format!("line {number}"))).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(publisher.stats().disconnected > 0, "{:?}", publisher.stats());
    let (heard, refused) = (loud.heard.load(Ordering::Relaxed), loud.refused.load(Ordering::Relaxed));
    assert!(heard > heard_before + 10 && refused > 0, "heard {heard}, refused {refused}");
    loud.fall_silent();
    drop((silent, publisher));
    soon("the end", a.close(Duration::from_secs(1))).await.unwrap();
}

/// What is logged and counted goes out by a publisher of a session that does everything else as
/// well: it waits for none of it.
async fn what_a_busy_session_says_may_be_published_by_it<H: Harness>(harness: H) {
    let _turn = TURN.lock().await;
    let loud = loud();
    let (a, b) = support::pair(&harness).await;
    let few = ResourceLimits { max_samples: 16, max_bytes: 1 << 20 };
    let wanted = Requested::reliable().keep_all().resource_limits(few);
    let offered = Offered::reliable().keep_all().resource_limits(few).overflow(Overflow::Disconnect);
    let mut log = b.subscriber::<String>("log").build().await.unwrap();
    let texts = a.publisher::<String>("log").build().await.unwrap();
    soon("a match", texts.matched(1)).await.unwrap();
    loud.speak(move |text| texts.try_publish(&text.to_owned()));
    let said_before = loud.said.load(Ordering::Relaxed);

    let ring = DhtNode::builder(a.clone()).name("10.0.0.1").start().await.unwrap();
    let (near, far) = (a.dht([ring.me().locator]), b.dht([ring.me().locator]));
    for number in 0..4 {
        let topic = format!("held/{number}");
        let slow = b.subscriber::<u64>(topic.as_str()).qos(wanted.clone()).dht(&far).build();
        let slow = soon("a registration", slow).await.unwrap();
        let publisher = a.publisher::<u64>(&topic).qos(offered.clone()).dht(&near).build();
        let publisher = soon("a registration", publisher).await.unwrap();
        soon("a match", publisher.matched(1)).await.unwrap();
        for value in 0..100 {
            soon("room", publisher.publish(&value)).await.unwrap();
        }
        assert!(publisher.stats().disconnected > 0, "{:?}", publisher.stats());
        drop((slow, publisher));
    }
    soon("a log line", log.recv()).await.unwrap().unwrap();
    soon("the end of the node", ring.leave()).await.unwrap();
    assert!(loud.said.load(Ordering::Relaxed) > said_before + 100);
    loud.fall_silent();
    soon("the end", a.close(Duration::from_secs(1))).await.unwrap();
    soon("the end", b.close(Duration::from_secs(1))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_busy_session_says_may_be_published_by_it_over_a_lossy_memory() {
    let network = Network::new().with_loss(0.02);
    what_a_busy_session_says_may_be_published_by_it(support::Memory(network)).await;
}

#[cfg(feature = "zmq")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_busy_session_says_may_be_published_by_it_over_zmq() {
    what_a_busy_session_says_may_be_published_by_it(support::Zmq).await;
}
