//! The library's counters, for tests.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

static COUNTS: LazyLock<Counts> = LazyLock::new(|| {
    let counts = Counts::default();
    metrics::set_global_recorder(counts.clone()).expect("the only recorder");
    counts
});

/// Counts from now on; the process's counters, whatever their labels, by name.
pub(crate) fn install() {
    LazyLock::force(&COUNTS);
}

/// The sum over all labels.
pub(crate) fn count(name: &str) -> u64 {
    let counters = COUNTS.0.lock().unwrap();
    counters.get(name).map_or(0, |counter| counter.load(Ordering::Relaxed))
}

#[derive(Clone, Default)]
struct Counts(Arc<Mutex<HashMap<String, Arc<AtomicU64>>>>);

impl Recorder for Counts {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.0.lock().unwrap().entry(key.name().to_string()).or_default().clone())
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
