//! Values over the broker's packet limit: they go in fragments, whether the limit was set or is found out.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ringbus::pubsub::MatchEvent;
use ringbus::qos::{Offered, Requested};
use ringbus::transport::{Event, MqttTransport, OpenOptions, Origin, Outbound, Transport, TransportTx};
use ringbus::{Encoding, ErrorKind, Publisher, Subscriber};
use rumqttc::{Packet, QoS};
use tokio::time::timeout;

use super::PATIENCE;
use super::mosquitto::Mosquitto;
use super::proxy::{Proxy, Seen, Verdict, Way, is_publish};
use super::session::{Session as Link, peer};

type Session = ringbus::Session<MqttTransport>;

/// The broker closes the connection over a larger packet.
const CLOSES: &str = "max_packet_size 10000";
/// The broker acknowledges a message with a larger payload, and drops it.
const DROPS: &str = "message_size_limit 10000";

async fn open(url: &str, limit: Option<usize>) -> Session {
    let transport = MqttTransport::new(url).keep_alive(Duration::from_secs(2));
    let transport = limit.into_iter().fold(transport, MqttTransport::max_packet);
    Session::open(transport).await.unwrap()
}

type Pair = (Publisher<String, MqttTransport>, Subscriber<String, MqttTransport>);

async fn pair(from: &Session, to: &Session, topic: &str, reliable: bool) -> Pair {
    let (requested, offered) = if reliable {
        (Requested::reliable().keep_all(), Offered::reliable().keep_all())
    } else {
        (Requested::best_effort(), Offered::best_effort())
    };
    let subscriber = to.subscriber(topic).qos(requested).build().await.unwrap();
    let publisher = from.publisher(topic).qos(offered).build().await.unwrap();
    timeout(PATIENCE, publisher.matched(1)).await.expect("they match").unwrap();
    (publisher, subscriber)
}

fn large(n: usize) -> String {
    format!("{n:05}{}", "x".repeat(200_000))
}

async fn next(subscriber: &mut Subscriber<String, MqttTransport>) -> String {
    let sample = timeout(2 * PATIENCE, subscriber.recv()).await.expect("it arrives").unwrap();
    sample.unwrap().value().unwrap()
}

/// Large values arrive in order and once, small ones between them; and nothing is refused.
async fn all_arrive(from: &Session, to: &Session) {
    const COUNT: usize = 10;
    let (bulk, mut bulk_reader) = pair(from, to, "bulk", true).await;
    let (small, mut small_reader) = pair(from, to, "small", true).await;
    let publishing = async {
        for n in 0..COUNT {
            bulk.publish(&large(n)).await.unwrap();
            small.publish(&n.to_string()).await.unwrap();
        }
        bulk.flush().await.unwrap();
        small.flush().await.unwrap();
    };
    let reading = async {
        for n in 0..COUNT {
            assert!(next(&mut bulk_reader).await == large(n), "value {n}");
        }
    };
    let others = async {
        for n in 0..COUNT {
            assert_eq!(next(&mut small_reader).await, n.to_string());
        }
    };
    timeout(2 * PATIENCE, async { tokio::join!(publishing, reading, others) }).await.expect("it ends");
    assert_eq!((bulk.stats().refused, small.stats().refused), (0, 0));
    assert_eq!((bulk_reader.stats().lost, small_reader.stats().lost), (0, 0));
    // Nothing comes twice.
    bulk.publish(&"last".into()).await.unwrap();
    assert_eq!(next(&mut bulk_reader).await, "last");
}

#[tokio::test]
async fn large_values_pass_a_broker_that_closes_over_them_where_the_limit_is_set() {
    let broker = Mosquitto::start_with(CLOSES);
    let proxy = Proxy::start(broker.port(), |_| Verdict::Pass).await;
    let (from, to) = (open(&proxy.url, Some(10_000)).await, open(&broker.url(), None).await);
    all_arrive(&from, &to).await;
    assert!(proxy.seen().iter().all(|seen| seen.connection == proxy.seen()[0].connection));
    // Best effort goes in fragments, too.
    let (publisher, mut subscriber) = pair(&from, &to, "often", false).await;
    publisher.publish(&large(7)).await.unwrap();
    assert!(next(&mut subscriber).await == large(7));
    assert_eq!(from.close(PATIENCE).await.unwrap().messages, 0);
}

#[tokio::test]
async fn a_limit_that_is_not_set_is_found_out_where_the_broker_closes() {
    let broker = Mosquitto::start_with(CLOSES);
    let (from, to) = (open(&broker.url(), None).await, open(&broker.url(), None).await);
    all_arrive(&from, &to).await;
    // Plain values have no fragments.
    let plain = from.publisher::<String>("plain").qos(Offered::reliable()).encoding(Encoding::Raw);
    let plain = plain.plain().build().await.unwrap();
    plain.publish(&"x".repeat(30_000)).await.unwrap();
    let error = timeout(PATIENCE, plain.flush()).await.expect("it ends").unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Refused { .. }), "{error}");
}

#[tokio::test]
async fn large_values_pass_a_broker_that_drops_them_where_the_limit_is_set() {
    let broker = Mosquitto::start_with(DROPS);
    let (from, to) = (open(&broker.url(), Some(10_000)).await, open(&broker.url(), None).await);
    all_arrive(&from, &to).await;
}

#[tokio::test]
async fn the_repair_of_what_the_broker_drops_ends_and_is_told() {
    let broker = Mosquitto::start_with(DROPS);
    let (from, to) = (open(&broker.url(), None).await, open(&broker.url(), None).await);
    let (publisher, mut subscriber) = pair(&from, &to, "bulk", true).await;
    publisher.publish(&large(0)).await.unwrap();
    let events = publisher.events();
    let told = async {
        loop {
            if let MatchEvent::Refused { size, .. } = events.next().await.unwrap() {
                return size;
            }
        }
    };
    let size = timeout(2 * PATIENCE, told).await.expect("it is told");
    assert!(size > 200_000 && publisher.stats().refused == 1, "{size} {:?}", publisher.stats());
    publisher.publish(&"small".into()).await.unwrap();
    assert_eq!(next(&mut subscriber).await, "small");
    assert_eq!(subscriber.stats().lost, 1);
}

/// A fragment, as it travels to a topic.
fn is_fragment(seen: &Seen) -> bool {
    let Packet::Publish(publish) = &seen.packet else { return false };
    seen.way == Way::Up && publish.payload.starts_with(&[0xB5, 0x52, 1, 3])
}

#[tokio::test]
async fn batches_of_small_samples_need_no_fragments() {
    let broker = Mosquitto::start_with(CLOSES);
    let proxy = Proxy::start(broker.port(), |_| Verdict::Pass).await;
    let (from, to) = (open(&proxy.url, Some(10_000)).await, open(&broker.url(), None).await);
    let requested = Requested::reliable().keep_all();
    let mut subscriber = to.subscriber::<(u64, u64)>("fast").qos(requested).build().await.unwrap();
    let publisher =
        from.publisher::<(u64, u64)>("fast").qos(Offered::reliable().keep_all()).build().await.unwrap();
    timeout(PATIENCE, publisher.matched(1)).await.expect("they match").unwrap();
    const COUNT: u64 = 100_000;
    let publishing = async {
        for n in 0..COUNT {
            publisher.publish(&(n, n)).await.unwrap();
        }
        publisher.flush().await.unwrap();
    };
    let reading = async {
        for n in 0..COUNT {
            assert_eq!(subscriber.recv().await.unwrap().unwrap().value().unwrap(), (n, n));
        }
    };
    timeout(2 * PATIENCE, async { tokio::join!(publishing, reading) }).await.expect("it ends");
    let seen = proxy.seen();
    let sizes = seen.iter().filter_map(|seen| match &seen.packet {
        Packet::Publish(publish) if seen.way == Way::Up => Some(publish.payload.len()),
        _ => None,
    });
    let largest = sizes.max().unwrap();
    assert!((5000..10_000).contains(&largest), "batches grow, below the limit: {largest}");
    assert_eq!(seen.iter().filter(|seen| is_fragment(seen)).count(), 0);
}

#[tokio::test]
async fn a_connection_that_breaks_amid_fragments_costs_no_value() {
    let broker = Mosquitto::start_with(CLOSES);
    let fragments = AtomicUsize::new(0);
    let proxy = Proxy::start(broker.port(), move |seen| {
        let cut = is_fragment(seen) && fragments.fetch_add(1, Ordering::Relaxed) % 97 == 50;
        if cut { Verdict::Cut } else { Verdict::Pass }
    })
    .await;
    let (from, to) = (open(&proxy.url, Some(10_000)).await, open(&broker.url(), None).await);
    all_arrive(&from, &to).await;
    let connections = proxy.seen().iter().map(|seen| seen.connection).max().unwrap();
    assert!(connections >= 3, "{connections} connections");
    assert!(proxy.seen().iter().any(|seen| is_publish(&seen.packet, "bulk", QoS::AtLeastOnce)));
}

#[tokio::test]
async fn the_smallest_limit_works_and_one_byte_less_is_refused() {
    let broker = Mosquitto::start_with("max_packet_size 2048");
    let refused = MqttTransport::new(broker.url()).max_packet(2047).open(OpenOptions::default()).await;
    let error = refused.expect_err("it is refused");
    let of_limit =
        |kind: &ErrorKind| matches!(kind, ErrorKind::InvalidArgument { value, .. } if value == "2047");
    assert!(of_limit(error.kind()), "{error}");
    let (from, to) = (open(&broker.url(), Some(2048)).await, open(&broker.url(), Some(2048)).await);
    all_arrive(&from, &to).await;
}

#[tokio::test]
async fn what_goes_to_one_peer_goes_in_fragments_and_a_plain_message_over_the_limit_is_refused() {
    let broker = Mosquitto::start_with(CLOSES);
    let transport = MqttTransport::new(broker.url()).client_id("sender").max_packet(10_000);
    let (tx, _rx) = transport.open(OpenOptions::default()).await.unwrap();
    let mut receiver = Link::open(&broker.url(), "receiver").await;
    let frame = [&[0xB5, 0x52, 1, 0][..], &[7; 50_000]].concat();
    tx.send_batch(&mut vec![Outbound::peer(peer("receiver"), frame.clone())]).await.unwrap();
    let came = receiver.until(|event| matches!(event, Event::Message { .. })).await;
    let Event::Message { from, payload } = came else { unreachable!() };
    assert!(from == Origin::Peer(peer("sender")) && payload == frame, "{from:?} {}", payload.len());
    let plain = Outbound::peer(peer("receiver"), vec![7; 50_000]);
    let error = tx.send_batch(&mut vec![plain]).await.unwrap_err();
    let refused = |kind: &ErrorKind| matches!(kind, ErrorKind::PayloadTooLarge { size: 50_000, limit } if (9_900..10_000).contains(limit));
    assert!(refused(error.kind()), "{error}");
}
