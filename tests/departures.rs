//! A peer that dies is noticed as soon as the transport notices: within seconds, where its lease is
//! an hour, or ten seconds by default.

#![allow(clippy::unwrap_used, clippy::panic, reason = "that is how tests fail, their helpers included")]

mod support;

use std::time::Duration;

use ringbus::pubsub::{Departure, Events, MatchEvent};
use ringbus::qos::{Offered, Requested};
use ringbus::transport::MemoryTransport;
use ringbus::transport::memory::Network;
use ringbus::{EntityId, Publisher, Session};
use support::soon;

const HOUR: Duration = Duration::from_secs(3600);

async fn open(network: &Network, name: &str) -> Session<MemoryTransport> {
    Session::open(MemoryTransport::new(network, name)).await.unwrap()
}

/// Waits until a peer has departed; says how.
async fn departed(events: &Events, who: EntityId) -> Departure {
    loop {
        let event = soon("a departure", events.next()).await.unwrap();
        if let MatchEvent::Departed { peer, cause, .. } = event
            && peer == who
        {
            return cause;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn ownership_passes_on_at_once_whatever_the_lease() {
    let network = Network::new().with_detection(Some(Duration::from_millis(20)));
    let (a, b, c) = (open(&network, "a").await, open(&network, "b").await, open(&network, "c").await);
    let offered = |strength| Offered::reliable().exclusive(strength).lease(HOUR);
    let strong: Publisher<u64, _> = a.publisher("t").qos(offered(9)).build().await.unwrap();
    let weak: Publisher<u64, _> = b.publisher("t").qos(offered(1)).build().await.unwrap();
    let requested = Requested::reliable().exclusive();
    let mut subscriber = c.subscriber::<u64>("t").qos(requested).build().await.unwrap();
    soon("a match", strong.matched(1)).await.unwrap();
    soon("a match", weak.matched(1)).await.unwrap();
    weak.publish(&1).await.unwrap();
    soon("the weak one's", subscriber.recv()).await.unwrap().unwrap();
    strong.publish(&2).await.unwrap();
    soon("the strong one's", subscriber.recv()).await.unwrap().unwrap();

    let killed = tokio::time::Instant::now();
    network.kill("a");
    assert_eq!(departed(&subscriber.events(), strong.id()).await, Departure::ConnectionLost);
    weak.publish(&3).await.unwrap();
    let sample = soon("the weak one's", subscriber.recv()).await.unwrap().unwrap();
    assert_eq!((sample.value().unwrap(), sample.info().writer), (3, Some(weak.id())));
    assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
    assert_eq!(subscriber.publishers(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_publisher_hears_of_a_dead_subscriber_at_once() {
    let network = Network::new().with_detection(Some(Duration::from_millis(20)));
    let (a, b) = (open(&network, "a").await, open(&network, "b").await);
    let publisher: Publisher<u64, _> = a.publisher("t").qos(Offered::reliable()).build().await.unwrap();
    let subscriber = b.subscriber::<u64>("t").qos(Requested::reliable()).build().await.unwrap();
    soon("a match", publisher.matched(1)).await.unwrap();
    let killed = tokio::time::Instant::now();
    network.kill("b");
    assert_eq!(departed(&publisher.events(), subscriber.id()).await, Departure::ConnectionLost);
    assert_eq!(publisher.subscribers(), 0);
    assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
}

#[tokio::test(start_paused = true)]
async fn who_says_goodbye_has_left_though_the_transport_notices_first() {
    let network = Network::new().with_delay(Duration::from_millis(50)..=Duration::from_millis(50));
    let (a, b) = (open(&network, "a").await, open(&network, "b").await);
    let publisher: Publisher<u64, _> = a.publisher("t").qos(Offered::reliable()).build().await.unwrap();
    let subscriber = b.subscriber::<u64>("t").qos(Requested::reliable()).build().await.unwrap();
    soon("a match", publisher.matched(1)).await.unwrap();
    let id = publisher.id();
    a.close(Duration::from_secs(1)).await.unwrap();
    assert_eq!(departed(&subscriber.events(), id).await, Departure::Left);
}

/// Real processes, ended as by a crash: over ZeroMQ by the connection, over MQTT by the last will.
#[cfg(all(feature = "cli", feature = "zmq", feature = "mqtt"))]
mod processes {
    use std::net::TcpListener;
    use std::time::{Duration, Instant};

    use super::support::mosquitto::Mosquitto;
    use super::support::program::Program;

    /// A silent publisher would be given up after ten seconds.
    const AT_ONCE: Duration = Duration::from_secs(5);

    fn a_killed_publisher_is_told_at_once(mut subscriber: Program, publisher: &Program) {
        assert_eq!(subscriber.line(), "t\tvalue");
        let killed = Instant::now();
        publisher.signal("KILL");
        let line = subscriber.error_line(" is gone: ");
        let after = killed.elapsed();
        assert!(line.ends_with("is gone: the connection to it was lost"), "{line}");
        assert!(after < AT_ONCE, "told after {after:?}");
    }

    fn free_port() -> u16 {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }

    #[test]
    fn over_zmq() {
        let mut subscriber = Program::start(&["sub", "--listen", "127.0.0.1:0", "--events", "t"]);
        let line = subscriber.error_line("subscribed at zmq+tcp://");
        let address = line.rsplit_once("zmq+tcp://").unwrap().1;
        let publisher = Program::start(&["pub", "--keep", "--peer", address, "t", "value"]);
        a_killed_publisher_is_told_at_once(subscriber, &publisher);
    }

    /// The publisher calls itself by another name than the one that it is attached by.
    #[test]
    fn over_zmq_by_another_name() {
        let port = free_port();
        let listen = format!("127.0.0.1:{port}");
        let publisher =
            Program::start(&["pub", "--keep", "--transient-local", "--listen", &listen, "t", "value"]);
        let peer = format!("localhost:{port}");
        let subscriber = Program::start(&["sub", "--events", "--transient-local", "--peer", &peer, "t"]);
        a_killed_publisher_is_told_at_once(subscriber, &publisher);
    }

    #[test]
    fn over_mqtt() {
        let broker = Mosquitto::start();
        let broker_option = format!("--broker={}", broker.url());
        let mut subscriber = Program::start(&["sub", "--transport=mqtt", &broker_option, "--events", "t"]);
        subscriber.error_line("subscribed at");
        let publisher = Program::start(&["pub", "--transport=mqtt", &broker_option, "--keep", "t", "value"]);
        a_killed_publisher_is_told_at_once(subscriber, &publisher);
    }
}
