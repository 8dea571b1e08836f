//! Sessions whose process stood still for longer than every lease and deadline, and goes on: what their peers have said meanwhile
//! lies in their sockets, and counts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "that is how tests fail")]
#![allow(clippy::print_stdout, reason = "a process of this test says on its output what the test asks of it")]

#[cfg(all(target_os = "linux", feature = "zmq"))]
#[path = "standstill/process.rs"]
mod process;
mod support;

use std::time::Duration;

use ringbus::dht::Key;
use ringbus::pubsub::{Events, MatchEvent};
use ringbus::qos::{Offered, Requested};
use ringbus::transport::{MemoryTransport, memory::Network};
use ringbus::{DhtNode, Session};
use support::soon;
use tokio::runtime::{Builder, Runtime};

/// Longer than any lease and deadline here.
const STANDSTILL: Duration = Duration::from_secs(30);
/// Runtimes here run only while they are told to: so long is enough for what is under way between two of them.
const TURN: Duration = Duration::from_millis(150);

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Lets a runtime run for a while.
fn run(runtime: &Runtime) {
    runtime.block_on(async { tokio::time::sleep(TURN).await });
}

/// The runtime's time jumps, as it does for a process that is stopped and goes on. Nothing of what has come is read before.
async fn stand_still() {
    tokio::time::pause();
    tokio::time::advance(STANDSTILL).await;
    tokio::time::resume();
}

fn departures(events: &Events) -> Vec<MatchEvent> {
    let all = std::iter::from_fn(|| events.try_next());
    all.filter(|event| matches!(event, MatchEvent::Departed { .. })).collect()
}

#[test]
fn a_call_whose_answer_lies_in_the_socket_succeeds() {
    let (ours, theirs, network) = (runtime(), runtime(), Network::new());
    let node = theirs.block_on(async {
        let session = Session::open(MemoryTransport::new(&network, "node")).await.unwrap();
        DhtNode::builder(session).name("n").start().await.unwrap()
    });
    let (_session, dht) = ours.block_on(async {
        let session = Session::open(MemoryTransport::new(&network, "client")).await.unwrap();
        let dht = session.dht([node.me().locator]);
        (session, dht)
    });
    // More than the driver hands out before it looks at its timers.
    let calls = ours.block_on(async {
        let calls: Vec<_> = (0..64)
            .map(|_| {
                let dht = dht.clone();
                tokio::spawn(async move { dht.members().await })
            })
            .collect();
        tokio::time::sleep(TURN).await;
        calls
    });
    assert!(calls.iter().all(|call| !call.is_finished()), "the node has not had its turn");
    // Enough for all answers on a busy machine, too.
    (0..10).for_each(|_| run(&theirs));
    ours.block_on(async {
        stand_still().await;
        for call in calls {
            let members = soon("an answer", call).await.unwrap().unwrap();
            assert_eq!(members.len(), 1);
        }
    });
}

#[test]
fn a_call_that_was_not_answered_is_asked_again_instead_of_given_up() {
    let (ours, theirs, network) = (runtime(), runtime(), Network::new());
    let node = theirs.block_on(async {
        let session = Session::open(MemoryTransport::new(&network, "node")).await.unwrap();
        DhtNode::builder(session).successor().id(Key::new(7)).start().await.unwrap()
    });
    // Neither the ring's answer nor another attempt is to be had while both stand still.
    let (call, _session) = ours.block_on(async {
        let session = Session::open(MemoryTransport::new(&network, "client")).await.unwrap();
        let dht = session.successor_dht([]).timeout(Duration::from_secs(20));
        let call = tokio::spawn(async move { dht.put(7, "seven").await });
        tokio::time::sleep(TURN).await;
        stand_still().await;
        tokio::time::sleep(TURN * 4).await;
        (call, session)
    });
    assert!(!call.is_finished(), "{:?}", ours.block_on(call));
    let done = std::thread::spawn(move || {
        theirs.block_on(async { tokio::time::sleep(Duration::from_secs(3)).await });
        drop(node);
    });
    let stored = ours.block_on(async { soon("an answer", call).await }).unwrap();
    assert_eq!(stored.unwrap(), Key::new(7));
    done.join().unwrap();
}

#[test]
fn peers_that_have_spoken_meanwhile_are_not_taken_for_dead() {
    let (ours, theirs, network) = (runtime(), runtime(), Network::new());
    let open = |name: &'static str| Session::open(MemoryTransport::new(&network, name));
    let lease = Duration::from_secs(5);
    let (publisher, _heard) = theirs.block_on(async {
        let session = open("theirs").await.unwrap();
        let publisher =
            session.publisher::<u64>("to").qos(Offered::reliable().lease(lease)).build().await.unwrap();
        let heard = session.subscriber::<u64>("from").qos(Requested::reliable()).build().await.unwrap();
        (publisher, heard)
    });
    let subscriber = async {
        let session = open("ours").await.unwrap();
        let subscriber = session.subscriber::<u64>("to").qos(Requested::reliable()).build().await.unwrap();
        let publisher = session.publisher::<u64>("from").qos(Offered::reliable()).build().await.unwrap();
        (subscriber, publisher)
    };
    let (mut subscriber, sender) = ours.block_on(subscriber);
    while subscriber.publishers() == 0 || sender.subscribers() == 0 || publisher.subscribers() == 0 {
        run(&ours);
        run(&theirs);
    }
    let (readers, writers) = (subscriber.events(), sender.events());
    // Heartbeats and acknowledgements that nobody reads yet.
    theirs.block_on(async {
        publisher.publish(&1).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2500)).await;
    });
    ours.block_on(async {
        stand_still().await;
        let sample = soon("a sample", subscriber.recv()).await.unwrap().unwrap();
        assert_eq!(sample.value().unwrap(), 1);
        // The timers have been looked at by then.
        tokio::time::sleep(Duration::from_millis(1500)).await;
    });
    assert_eq!(departures(&readers), []);
    assert_eq!(departures(&writers), []);
    assert_eq!((subscriber.publishers(), sender.subscribers()), (1, 1));
}
