//! Nodes of the successor ring come, go and are killed while a table is read and written: no acknowledged row is lost.
#![cfg(all(feature = "mqtt", feature = "zmq"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "that is how tests fail")]

#[path = "../support/mod.rs"]
mod support;

mod process;
mod table;
mod traffic;

use std::sync::Arc;

use process::Process;
use support::successor::{Ring, SETTLING, put_all, random_pairs, verify};
use support::{Mqtt, Zmq};
use table::Table;
use traffic::Traffic;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_row_outlives_joins_leaves_and_kills() {
    if process::is_one().await {
        return;
    }
    let mut ring = Ring::new(Mqtt::default());
    // Longer than anybody waits here: only a last will can say that a node is dead.
    ring.config.lease = 10 * SETTLING;
    for id in [0x1000_0000, 0x4000_0000, 0x7000_0000, 0xA000_0000, 0xD000_0000] {
        ring.join(id).await;
    }
    let client = ring.client("client").await;
    let table = Arc::new(Table::of_airports());
    put_all(&client, &table.acknowledged()).await;

    let traffic = Traffic::start(&ring, &table, 0).await;
    ring.join(0x2000_0000).await;
    // Two into one arc at the same time.
    ring.change(&[0x5000_0000, 0x6000_0000], &[]).await;
    ring.leave(0x4000_0000).await;
    ring.change(&[0x3000_0000], &[0x2000_0000]).await;
    // Two next to each other.
    ring.change(&[], &[0x5000_0000, 0x6000_0000]).await;
    ring.change(&[0xFFFF_FFFF, 0], &[]).await;
    ring.leave(0xA000_0000).await;
    ring.leave(0).await;
    traffic.stop(20).await;
    ring.settled().await;
    let rows = table.acknowledged();
    verify(&client, &rows).await;
    ring.holds(&rows).await;

    let url = ring.harness.0.url();
    let mut processes = Vec::new();
    for id in [0x0800_0000, 0x8000_0000, 0x9000_0000] {
        processes.push(Process::start("every_acknowledged_row_outlives_joins_leaves_and_kills", id, &[&url]));
        ring.joined(id);
        ring.settled().await;
    }
    verify(&client, &rows).await;
    assert!(ring.pairs().len() < rows.len() * 9 / 10, "the processes have their share");
    for (process, round) in processes.into_iter().zip(1..) {
        let traffic = Traffic::start(&ring, &table, round).await;
        ring.gone(process.kill());
        ring.settled().await;
        traffic.stop(1).await;
        ring.settled().await;
        verify(&client, &table.acknowledged()).await;
    }
    ring.holds(&table.acknowledged()).await;
}

/// There nobody publishes a last will: the lease ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_pair_outlives_a_kill_without_a_broker() {
    if process::is_one().await {
        return;
    }
    let mut ring = Ring::of(Zmq, &[0x2000_0000, 0x6000_0000, 0xB000_0000]).await;
    let seeds: Vec<String> = ring.seeds().iter().map(ToString::to_string).collect();
    let seeds: Vec<&str> = seeds.iter().map(String::as_str).collect();
    let process =
        Process::start("every_acknowledged_pair_outlives_a_kill_without_a_broker", 0x9000_0000, &seeds);
    ring.joined(0x9000_0000);
    ring.settled().await;
    let (client, pairs) = (ring.client("client").await, random_pairs(300));
    put_all(&client, &pairs).await;
    assert!(ring.pairs().len() < pairs.len(), "the process has its share");
    ring.settled().await;
    ring.gone(process.kill());
    ring.settled().await;
    verify(&client, &pairs).await;
    ring.holds(&pairs).await;
}
