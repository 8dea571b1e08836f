//! Nodes of the successor ring come, go and are killed while a table is read and written: no acknowledged row is lost.
#![cfg(all(feature = "mqtt", feature = "zmq"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "that is how tests fail")]

#[path = "../support/mod.rs"]
mod support;

mod process;
mod table;
mod traffic;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

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

/// A process is stopped while the pairs that it owns are rewritten, and goes on with old questions and old puts before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_was_stopped_answers_with_no_old_value() {
    const ID: u32 = 0x9000_0000;
    const READERS: usize = 4;
    if process::is_one().await {
        return;
    }
    let mut ring = Ring::of(Zmq, &[0x2000_0000, 0x6000_0000, 0xB000_0000]).await;
    let seeds: Vec<String> = ring.seeds().iter().map(ToString::to_string).collect();
    let seeds: Vec<&str> = seeds.iter().map(String::as_str).collect();
    let process = Process::start("a_process_that_was_stopped_answers_with_no_old_value", ID, &seeds);
    ring.joined(ID);
    ring.settled().await;
    // All are the process's.
    let keys: Vec<u32> = (0..64).map(|index| 0x7000_0000 + index * 0x0040_0000).collect();
    let pairs = |value: &str| keys.iter().map(|key| (*key, value.to_owned())).collect::<BTreeMap<_, _>>();
    let client = ring.client("writer").await;
    put_all(&client, &pairs("before")).await;
    assert!(ring.pairs().is_empty(), "the process has them");
    ring.settled().await;
    let mut readers = Vec::new();
    for key in &keys[..READERS] {
        let reader = ring.client(&format!("reader-{key}")).await;
        reader.get(*key).await.unwrap();
        readers.push(reader);
    }

    process.signal("STOP");
    ring.gone(ID);
    for value in ["early", "middle", "latest"] {
        put_all(&client, &pairs(value)).await;
        verify(&client, &pairs(value)).await;
    }
    ring.settled().await;
    process.signal("CONT");
    let until = tokio::time::Instant::now() + Duration::from_secs(4);
    let mut reading = Vec::new();
    for (number, reader) in readers.into_iter().enumerate() {
        let keys = keys.clone();
        reading.push(tokio::spawn(async move {
            let (mut count, mut stale) = (0, 0);
            // Answers name the key and not who asked: each reader has keys of its own.
            for key in keys.iter().skip(number).step_by(READERS).cycle() {
                if tokio::time::Instant::now() >= until {
                    break;
                }
                count += 1;
                stale += usize::from(reader.get(*key).await.unwrap().as_deref() != Some("latest"));
            }
            (count, stale)
        }));
    }
    let (mut count, mut stale) = (0, 0);
    for reader in reading {
        let (read, old) = reader.await.unwrap();
        (count, stale) = (count + read, stale + old);
    }
    println!("{count} gets after SIGCONT, {stale} of them stale");
    assert_eq!(stale, 0, "of {count} gets");
    ring.joined(ID);
    ring.settled().await;
    verify(&client, &pairs("latest")).await;
    assert!(ring.pairs().is_empty(), "they are the process's again");
}
