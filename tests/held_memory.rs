//! What a stranger can make a subscriber keep: small frames in large bundles, held back behind a gap.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "that is how tests fail, their helpers included")]
#![allow(clippy::print_stdout, reason = "what was measured is for whoever looks")]

mod support;

use std::time::Duration;

use ringbus::qos::{Offered, Requested};
use ringbus::transport::conformance::Harness;
use ringbus::transport::{OpenOptions, Outbound, Transport, TransportTx};
use ringbus::wire::{BundleBuilder, FrameBuilder, MAX_BUNDLE_LEN};
use ringbus::{Encoding, Timestamp};
use support::{Memory, pair, soon};

/// How many bundles, of nearly 64 KiB each.
const BUNDLES: u64 = 3_000;
/// What the subscriber may keep: 3,000 frames of 49 bytes count for less than a megabyte; the rest is the allocator's.
const MOST: usize = 32 << 20;

/// Resident memory of this process in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[tokio::test]
async fn small_frames_of_large_bundles_keep_little() {
    let harness = Memory::default();
    let (a, b) = pair(&harness).await;
    let mut subscriber = b.subscriber::<u64>("t").qos(Requested::reliable()).build().await.unwrap();
    let publisher = a.publisher::<u64>("t").qos(Offered::reliable()).build().await.unwrap();
    soon("a match", publisher.matched(1)).await.unwrap();
    let (stranger, _rx) = harness.endpoint("stranger").open(OpenOptions::default()).await.unwrap();
    let before = resident();
    let mut most = before;
    let at = Timestamp::now();
    for number in 0..BUNDLES {
        // One frame of the publisher's behind a gap, and another that nobody wants.
        let mut small = FrameBuilder::new(Encoding::Postcard, publisher.id(), 1, 10 + 2 * number);
        small
            .push(at, at, 100, |out| {
                out.push(7);
                Ok(())
            })
            .unwrap();
        let mut nobody = publisher.id();
        nobody.entity += 77;
        let mut large = FrameBuilder::new(Encoding::Postcard, nobody, 1, 1);
        large
            .push(at, at, 1 << 20, |out| {
                out.resize(out.len() + 60_000, 7);
                Ok(())
            })
            .unwrap();
        let mut bundle = BundleBuilder::default();
        for mut builder in [small, large] {
            assert!(bundle.push(builder.take().unwrap().bytes(), MAX_BUNDLE_LEN));
        }
        let mut message = vec![Outbound::peer(b.local().clone(), bundle.take().unwrap())];
        soon("sending", stranger.send_batch(&mut message)).await.unwrap();
        if number.is_multiple_of(16) {
            // The reader has its turn: what is on its way is not what is kept.
            tokio::time::sleep(Duration::from_millis(1)).await;
            most = most.max(resident());
        }
    }
    // What is next, behind all of these: when it is there, they have been looked at.
    let mut next = FrameBuilder::new(Encoding::Postcard, publisher.id(), 1, 1);
    next.push(at, at, 100, |out| {
        out.push(42);
        Ok(())
    })
    .unwrap();
    let mut message = vec![Outbound::peer(b.local().clone(), next.take().unwrap().bytes().clone())];
    soon("sending", stranger.send_batch(&mut message)).await.unwrap();
    assert_eq!(soon("a sample", subscriber.recv()).await.unwrap().unwrap().value().unwrap(), 42);
    most = most.max(resident());
    let grown = most.saturating_sub(before);
    println!("{grown} bytes for {BUNDLES} frames held back");
    assert!(grown < MOST, "{grown} bytes for {BUNDLES} frames held back");
}
