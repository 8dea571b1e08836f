//! What listens to the log and to the metrics never runs under a lock: sessions whose every word is
//! listened to, over memory and ZeroMQ.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::{Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

use crate::DhtNode;
use crate::pubsub::Route;
use crate::qos::{Offered, Overflow, Requested, ResourceLimits};
use crate::session::{Session, SessionOptions};
use crate::transport::memory::Network;
use crate::transport::{MemoryTransport, OpenOptions, Transport};

/// What was told or counted, and what of it under a lock.
#[derive(Default)]
struct Heard {
    all: Mutex<BTreeSet<String>>,
    under_a_lock: Mutex<BTreeSet<String>>,
}

fn note(set: &Mutex<BTreeSet<String>>, what: &str) {
    set.lock().unwrap_or_else(PoisonError::into_inner).insert(what.to_owned());
}

impl Heard {
    fn hear(&self, what: &str) {
        note(&self.all, what);
        if super::holds() {
            note(&self.under_a_lock, what);
        }
    }
}

struct Log(Arc<Heard>);

impl<S: tracing::Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let from = event.metadata();
        if from.target().starts_with("ringbus") {
            self.0.hear(&format!("{}:{}", from.file().unwrap_or("?"), from.line().unwrap_or(0)));
        }
    }
}

struct Counts(Arc<Heard>);

struct Counted(Arc<Heard>, String);

impl CounterFn for Counted {
    fn increment(&self, _: u64) {
        self.0.hear(&self.1);
    }

    fn absolute(&self, _: u64) {}
}

impl Recorder for Counts {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::new(Counted(self.0.clone(), key.name().to_owned())))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// Runs it on this thread, listens, and says what was heard.
fn listened(run: impl Future<Output = ()>) -> BTreeSet<String> {
    let heard = Arc::new(Heard::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let log = tracing_subscriber::registry().with(Log(heard.clone()));
    metrics::with_local_recorder(&Counts(heard.clone()), || {
        tracing::subscriber::with_default(log, || {
            runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), run).await }).unwrap();
            drop(runtime);
        });
    });
    let under_a_lock = heard.under_a_lock.lock().unwrap();
    assert!(under_a_lock.is_empty(), "told under a lock: {under_a_lock:?}");
    heard.all.lock().unwrap().clone()
}

/// A subscriber that holds its publisher up, payloads that are too large for one of the sessions,
/// and both rings with what is registered and stored there.
async fn talk<T: Transport>(endpoint: impl Fn(&str) -> T) {
    let (a, b) = (Session::open(endpoint("a")).await.unwrap(), Session::open(endpoint("b")).await.unwrap());
    let transport = OpenOptions { max_payload: 64 << 10, ..OpenOptions::default() };
    let options = SessionOptions { transport };
    let small = Session::open_with(endpoint("small"), options).await.unwrap();
    for session in [&b, &small] {
        session.attach(a.local()).await.unwrap();
    }
    let few = ResourceLimits { max_samples: 16, max_bytes: 1 << 20 };
    let requested = Requested::reliable().keep_all().resource_limits(few);
    let offered = Offered::reliable().keep_all().resource_limits(few).overflow(Overflow::Disconnect);
    let slow = b.subscriber::<u64>("slow").qos(requested).build().await.unwrap();
    let publisher = a.publisher::<u64>("slow").qos(offered).build().await.unwrap();
    publisher.matched(1).await.unwrap();
    while publisher.stats().disconnected == 0 {
        drop(publisher.try_publish(&1));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop((publisher, slow));

    let best_effort = small.subscriber::<Vec<u8>>("large").build().await.unwrap();
    let publisher = a.publisher::<Vec<u8>>("large").build().await.unwrap();
    publisher.matched(1).await.unwrap();
    for _ in 0..10 {
        publisher.publish(&vec![0; 100 << 10]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop((publisher, best_effort));

    let first = DhtNode::builder(a.clone()).name("10.0.0.1").start().await.unwrap();
    let seeds = [first.me().locator];
    let second = DhtNode::builder(b.clone()).name("10.0.0.2").join(seeds.clone()).start().await.unwrap();
    second.wait_for(2).await.unwrap();
    let (near, far) = (b.dht(seeds.clone()), small.dht(seeds));
    for route in [Route::Direct, Route::ViaNode] {
        let mut subscriber = b.subscriber::<u64>("x").route(route).dht(&near).build().await.unwrap();
        let publisher = small.publisher::<u64>("x").qos(Offered::reliable()).dht(&far).build().await.unwrap();
        publisher.matched(1).await.unwrap();
        publisher.publish(&7).await.unwrap();
        assert_eq!(subscriber.recv().await.unwrap().unwrap().value().unwrap(), 7);
    }
    second.leave().await.unwrap();

    let node = DhtNode::builder(a.clone()).successor().start().await.unwrap();
    node.leave().await.unwrap();
    for session in [small, b, a] {
        session.close(Duration::from_secs(1)).await.unwrap();
    }
}

#[test]
fn nothing_is_told_under_a_lock_over_memory() {
    let network = Network::new();
    let heard = listened(talk(|name| MemoryTransport::new(&network, name)));
    for counter in ["ringbus_slow_subscribers_total", "ringbus_transport_lost_total"] {
        assert!(heard.contains(counter), "{heard:?}");
    }
}

#[cfg(feature = "zmq")]
#[test]
fn nothing_is_told_under_a_lock_over_zmq() {
    let heard = listened(talk(|_| crate::transport::ZmqTransport::ephemeral()));
    for counter in ["ringbus_slow_subscribers_total", "ringbus_zmq_dropped_total"] {
        assert!(heard.contains(counter), "{heard:?}");
    }
}
