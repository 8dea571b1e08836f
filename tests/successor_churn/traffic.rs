//! Readers and writers that run while the ring changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ringbus::Dht;
use ringbus::dht::Successor;
use ringbus::transport::Transport;
use ringbus::transport::conformance::Harness;
use tokio::task::JoinHandle;

use crate::support::successor::Ring;
use crate::table::Table;

/// As many readers as writers. Answers name the key and not who asked: each reader has its own rows to read, so that it
/// does not take an earlier answer to another reader for its own.
const PAIRS: usize = 4;
/// Of so many rows the first of each pair is written: some rows often, others never.
const STRIDE: usize = PAIRS * 8;

/// Running traffic.
pub(crate) struct Traffic {
    stopped: Arc<AtomicBool>,
    writers: Vec<JoinHandle<usize>>,
    readers: Vec<JoinHandle<usize>>,
}

impl Traffic {
    /// `round` tells its sessions from those of an earlier one.
    pub(crate) async fn start<H: Harness>(ring: &Ring<H>, table: &Arc<Table>, round: usize) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let (mut writers, mut readers) = (Vec::new(), Vec::new());
        for number in 0..PAIRS {
            let dht = ring.client(&format!("writer-{number}-{round}")).await;
            writers.push(tokio::spawn(write(dht, table.clone(), number, stopped.clone())));
            let dht = ring.client(&format!("reader-{number}-{round}")).await;
            readers.push(tokio::spawn(read(dht, table.clone(), number, stopped.clone())));
        }
        Self { stopped, writers, readers }
    }

    /// Lets what has begun end. Fails if a reader or a writer did, or has done less than this.
    pub(crate) async fn stop(self, at_least: usize) {
        self.stopped.store(true, Ordering::SeqCst);
        for (what, tasks) in [("writes", self.writers), ("reads", self.readers)] {
            for task in tasks {
                let count = task.await.unwrap();
                assert!(count >= at_least, "only {count} {what}");
            }
        }
    }
}

/// Writes new versions of the rows that are its own.
async fn write<T: Transport>(
    dht: Dht<T, Successor>,
    table: Arc<Table>,
    number: usize,
    stopped: Arc<AtomicBool>,
) -> usize {
    let mut count = 0;
    let own = table.rows().iter().skip(number).step_by(STRIDE);
    for row in own.cycle() {
        if stopped.load(Ordering::SeqCst) {
            break;
        }
        let version = row.issue();
        let put = dht.put(row.key, &row.value(version)).await;
        put.unwrap_or_else(|error| panic!("put {}, version {version}: {error}", row.key));
        row.acknowledge(version);
        count += 1;
    }
    count
}

/// A value that is read is one that was written, not before the last one acknowledged when the read began.
async fn read<T: Transport>(
    dht: Dht<T, Successor>,
    table: Arc<Table>,
    number: usize,
    stopped: Arc<AtomicBool>,
) -> usize {
    let mut count = 0;
    while !stopped.load(Ordering::SeqCst) {
        let stride = rand::random_range(0..table.rows().len() / STRIDE);
        // Every other time one that is being written.
        let among = if count % 2 == 0 { 0 } else { rand::random_range(1..8) };
        let row = &table.rows()[stride * STRIDE + among * PAIRS + number];
        let oldest = row.acknowledged();
        let found = dht.get(row.key).await;
        let value = found.unwrap_or_else(|error| panic!("get {}: {error}", row.key));
        let version = value.as_deref().and_then(|value| row.version(value));
        let newest = row.issued();
        assert!(
            version.is_some_and(|version| oldest <= version && version <= newest),
            "{}: {value:?} is none of the versions {oldest} to {newest}",
            row.key
        );
        count += 1;
    }
    count
}
