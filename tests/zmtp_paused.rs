//! Programs on the native engine that are stopped and go on: none of them ends, and each hears again.
#![cfg(all(target_os = "linux", feature = "cli", feature = "zmq", feature = "zmtp"))]
#![allow(clippy::unwrap_used, clippy::panic)] // That is how tests fail, their helpers included.

mod support;

use std::time::{Duration, Instant};

use ringbus::transport::ZmqTransport;
use ringbus::transport::zmq::Engine;
use ringbus::{Encoding, Publisher, Session};
use support::PATIENCE;
use support::program::Program;

const SUBSCRIBERS: usize = 8;
/// The publisher gives a silent peer up after this.
const PEER_TIMEOUT: Duration = Duration::from_secs(3);
const ROUNDS: usize = 1;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscribers_that_were_stopped_go_on() {
    let transport = ZmqTransport::ephemeral().engine(Engine::Native).peer_timeout(PEER_TIMEOUT);
    let session = Session::open(transport).await.unwrap();
    let address = session.local().as_str().trim_start_matches("zmq+tcp://").to_owned();
    let publisher = session.publisher("w/x").encoding(Encoding::Raw).build();
    let publisher: Publisher<String, _> = publisher.await.unwrap();
    let arguments = ["sub", "--transport=zmq", "--engine=native", "--peer", &address, "w/#"];
    let mut subscribers: Vec<_> = (0..SUBSCRIBERS).map(|_| Program::start(&arguments)).collect();
    let filling = "x".repeat(1 << 10);
    for round in 0..ROUNDS {
        tokio::time::timeout(4 * PATIENCE, publisher.matched(SUBSCRIBERS)).await.unwrap().unwrap();
        subscribers.iter().for_each(|subscriber| subscriber.signal("STOP"));
        // Longer than they are waited for.
        for _ in 0..17 {
            drop(publisher.try_publish(&filling));
            tokio::time::sleep(PEER_TIMEOUT / 10).await;
        }
        subscribers.iter().for_each(|subscriber| subscriber.signal("CONT"));
        let word = format!("round {round}");
        for subscriber in &mut subscribers {
            // It may have been given up, and comes back by itself.
            let begun = Instant::now();
            while subscriber.line_within(Duration::from_millis(20)).is_none_or(|line| !line.contains(&word)) {
                assert!(begun.elapsed() < 4 * PATIENCE, "it does not hear again");
                drop(publisher.try_publish(&word));
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
    // One that had ended could not be asked to.
    for subscriber in subscribers {
        assert_eq!(subscriber.terminate().code, Some(0));
    }
}
