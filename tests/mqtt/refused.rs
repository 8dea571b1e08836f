//! A broker that closes the connection over one message, or one subscription: that costs itself alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ringbus::pubsub::MatchEvent;
use ringbus::qos::{Offered, Requested};
use ringbus::transport::{Destination, Event, MqttTransport, OpenOptions, Outbound, Transport, TransportTx};
use ringbus::{Encoding, ErrorKind, Publisher, Subscriber, TopicFilter};
use rumqttc::Packet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use super::PATIENCE;
use super::mosquitto::Mosquitto;
use super::proxy::{Proxy, Seen, Verdict, Way};
use super::session::{Session as Link, peer, topic};

type Session = ringbus::Session<MqttTransport>;

/// A Mosquitto behind a wire that ends the connection over each message to a topic with a dot, as NATS does.
async fn dots_are_refused() -> (Mosquitto, Proxy) {
    let broker = Mosquitto::start();
    let proxy = Proxy::start(broker.port(), |seen| match &seen.packet {
        Packet::Publish(publish) if seen.way == Way::Up && publish.topic.contains('.') => Verdict::Cut,
        Packet::Subscribe(subscribe) if subscribe.filters.iter().any(|f| f.path.contains('.')) => {
            Verdict::Cut
        }
        _ => Verdict::Pass,
    })
    .await;
    (broker, proxy)
}

async fn open(url: &str, name: &str) -> Session {
    let transport = MqttTransport::new(url).client_id(name).keep_alive(Duration::from_secs(2));
    Session::open(transport).await.unwrap()
}

fn connections(proxy: &Proxy) -> usize {
    proxy.seen().iter().map(|seen| seen.connection).max().unwrap_or(0)
}

/// A reliable publisher, and its subscriber in a session that nothing happens to.
struct Healthy {
    publisher: Publisher<u64, MqttTransport>,
    subscriber: Subscriber<u64, MqttTransport>,
    next: u64,
}

impl Healthy {
    async fn start(session: &Session, broker: &Mosquitto) -> Self {
        let other = open(&broker.url(), "healthy").await;
        let requested = Requested::reliable().keep_all();
        let subscriber = other.subscriber("healthy/x").qos(requested).build().await.unwrap();
        let offered = Offered::reliable().keep_all();
        let publisher = session.publisher("healthy/x").qos(offered).build().await.unwrap();
        timeout(PATIENCE, publisher.matched(1)).await.expect("they match").unwrap();
        let mut healthy = Self { publisher, subscriber, next: 0 };
        healthy.goes_on(20).await;
        healthy
    }

    /// So many values arrive, in order.
    async fn goes_on(&mut self, count: u64) {
        let all = async {
            for n in self.next..self.next + count {
                self.publisher.publish(&n).await.unwrap();
            }
            for n in self.next..self.next + count {
                let sample = self.subscriber.recv().await.unwrap().unwrap();
                assert_eq!(sample.value().unwrap(), n);
            }
            self.publisher.flush().await.unwrap();
        };
        timeout(PATIENCE, all).await.expect("it goes on");
        self.next += count;
    }
}

async fn is_told(publisher: &Publisher<String, MqttTransport>, size: usize) {
    let events = publisher.events();
    let told = async {
        loop {
            if let MatchEvent::Refused { topic, size, broker, reason } = events.next().await.unwrap() {
                return (topic, size, broker, reason);
            }
        }
    };
    let (topic, told, broker, reason) = timeout(PATIENCE, told).await.expect("it is told");
    assert_eq!(&topic, publisher.topic());
    assert!(told >= size && broker.starts_with("mqtt://127.0.0.1:") && !reason.is_empty(), "{told} {reason}");
    assert!(publisher.stats().refused >= 1);
}

fn is_refused(error: &ringbus::Error, topic: &str) {
    let of_topic = |kind: &ErrorKind| matches!(kind, ErrorKind::Refused { topic: told, .. } if told == topic);
    assert!(of_topic(error.kind()), "{error}");
}

#[tokio::test]
async fn a_refused_value_costs_itself_alone_and_its_flush_says_so() {
    let (broker, proxy) = dots_are_refused().await;
    let session = open(&proxy.url, "s").await;
    let mut healthy = Healthy::start(&session, &broker).await;
    let plain = session.publisher::<String>("v1.2/x").qos(Offered::reliable()).encoding(Encoding::Raw);
    let bad = plain.plain().build().await.unwrap();
    for n in 0..5 {
        bad.publish(&format!("value {n}")).await.unwrap();
    }
    healthy.goes_on(100).await;
    let flushed = timeout(PATIENCE, bad.flush()).await.expect("it ends");
    is_refused(&flushed.unwrap_err(), "v1.2/x");
    is_told(&bad, 7).await;
    let before = connections(&proxy);
    assert!((4..=8).contains(&before), "{before} connections");
    // The next one is refused without asking the broker.
    let refused = timeout(PATIENCE, bad.publish(&"another".into())).await.unwrap();
    is_refused(&refused.unwrap_err(), "v1.2/x");
    healthy.goes_on(100).await;
    assert_eq!(connections(&proxy), before);
    assert_eq!(healthy.publisher.stats().refused, 0);
    assert_eq!(session.close(PATIENCE).await.unwrap().messages, 5);
}

#[tokio::test]
async fn best_effort_values_that_are_refused_do_not_take_the_session_with_them() {
    let (broker, proxy) = dots_are_refused().await;
    let session = open(&proxy.url, "s").await;
    let mut healthy = Healthy::start(&session, &broker).await;
    let plain = session.publisher::<String>("v1.2/x").qos(Offered::best_effort()).encoding(Encoding::Raw);
    let bad = plain.plain().build().await.unwrap();
    let started = Instant::now();
    while bad.publish(&"value".into()).await.is_ok() {
        assert!(started.elapsed() < PATIENCE, "it is never refused");
        healthy.goes_on(1).await;
        sleep(Duration::from_millis(20)).await;
    }
    is_told(&bad, 5).await;
    let before = connections(&proxy);
    assert!(before <= 8, "{before} connections");
    for _ in 0..5 {
        assert!(bad.publish(&"value".into()).await.is_err());
        healthy.goes_on(20).await;
    }
    assert_eq!(connections(&proxy), before);
}

#[tokio::test]
async fn a_framed_publisher_whose_announcement_is_refused_is_told() {
    let (broker, proxy) = dots_are_refused().await;
    let session = open(&proxy.url, "s").await;
    let mut healthy = Healthy::start(&session, &broker).await;
    for offered in [Offered::reliable(), Offered::best_effort()] {
        let name = format!("v1.{}/x", u8::from(offered == Offered::reliable()));
        let bad = session.publisher::<String>(&name).qos(offered).build().await.unwrap();
        is_told(&bad, 20).await;
        healthy.goes_on(50).await;
        is_refused(&bad.publish(&"value".into()).await.unwrap_err(), &name);
        healthy.goes_on(50).await;
    }
    let count = connections(&proxy);
    assert!(count <= 14, "{count} connections");
}

#[tokio::test]
async fn best_effort_values_at_the_end_of_a_session_are_counted_as_undelivered() {
    let (_broker, proxy) = dots_are_refused().await;
    let session = open(&proxy.url, "s").await;
    let plain = session.publisher::<String>("v1.2/x").qos(Offered::best_effort()).encoding(Encoding::Raw);
    let bad = plain.plain().build().await.unwrap();
    for _ in 0..3 {
        bad.publish(&"value".into()).await.unwrap();
    }
    drop(bad);
    assert_eq!(session.close(PATIENCE).await.unwrap().messages, 3);
}

#[tokio::test]
async fn a_message_to_one_peer_that_is_refused_is_told_by_the_transport() {
    let (broker, proxy) = dots_are_refused().await;
    let mut sender = Link::open(&proxy.url, "sender").await;
    let mut receiver = Link::open(&broker.url(), "receiver").await;
    let tx = sender.tx.clone();
    let send = |to: &str, text: &str| {
        let (tx, message) = (tx.clone(), Outbound::peer(peer(to), text.to_owned()));
        async move { tx.send_batch(&mut vec![message]).await }
    };
    send("dotted.name", "lost").await.unwrap();
    send("receiver", "arrives").await.unwrap();
    assert_eq!(receiver.message().await.1, "arrives");
    let refused = sender.until(|event| matches!(event, Event::Refused { .. })).await;
    let Event::Refused { to, size, payload, .. } = refused else { unreachable!() };
    assert_eq!((to, size, &payload[..]), (Destination::Peer(peer("dotted.name")), 4, &b"lost"[..]));
    is_refused(&send("dotted.name", "again").await.unwrap_err(), "@ringbus/inbox/dotted.name");
    send("receiver", "still").await.unwrap();
    assert_eq!(receiver.message().await.1, "still");
}

#[tokio::test]
async fn a_value_over_the_brokers_limit_costs_itself_alone() {
    let broker = Mosquitto::start_with("max_packet_size 10000");
    let session = open(&broker.url(), "s").await;
    let mut healthy = Healthy::start(&session, &broker).await;
    let plain = session.publisher::<String>("large").qos(Offered::reliable()).encoding(Encoding::Raw);
    let large = plain.plain().build().await.unwrap();
    large.publish(&"x".repeat(30_000)).await.unwrap();
    healthy.goes_on(100).await;
    let flushed = timeout(PATIENCE, large.flush()).await.expect("it ends");
    is_refused(&flushed.unwrap_err(), "large");
    is_told(&large, 30_000).await;
    // What is not larger still goes.
    large.publish(&"small".into()).await.unwrap();
    timeout(PATIENCE, large.flush()).await.expect("it ends").unwrap();
    is_refused(&large.publish(&"x".repeat(40_000)).await.unwrap_err(), "large");
    assert_eq!(session.close(PATIENCE).await.unwrap().messages, 1);
}

#[tokio::test]
async fn a_subscription_that_the_broker_closes_over_is_an_error_and_the_others_go_on() {
    let (broker, proxy) = dots_are_refused().await;
    let mut session = Link::open(&proxy.url, "s").await;
    session.subscribe("t").await;
    let bad = TopicFilter::new("v1.2/#").unwrap();
    let refused = timeout(PATIENCE, session.tx.subscribe(&bad)).await.expect("it ends").unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::Transport { operation: "subscribe", .. }), "{refused}");
    assert!(refused.to_string().contains("v1.2/#"), "{refused}");
    // Nor does one that nobody waits for any more come again.
    timeout(Duration::from_millis(1), session.tx.subscribe(&bad)).await.ok();
    session.subscribe("u").await;
    let before = connections(&proxy);
    assert!((4..=6).contains(&before), "{before} connections");
    for name in ["t", "u"] {
        session.publish(name, "heard").await;
        assert_eq!(session.message().await.1, "heard");
    }
    assert_eq!(connections(&proxy), before);
    drop(broker);
}

/// All of a sender's messages arrive, whatever happens to its connections, and none is refused.
async fn all_arrive(url: &str, broker_url: &str, trouble: impl Future<Output = ()>) {
    const COUNT: usize = 4000;
    let receiver = Link::open(broker_url, "receiver").await;
    receiver.subscribe("t").await;
    let mut sender = Link::open(url, "sender").await;
    let tx = sender.tx.clone();
    let sending = tokio::spawn(async move {
        for n in 0..COUNT {
            let message = Outbound::topic(topic("t"), n.to_string()).reliable();
            tx.send_batch(&mut vec![message]).await.unwrap();
            if n % 10 == 0 {
                sleep(Duration::from_millis(5)).await;
            }
        }
        tx.acknowledged().await.unwrap();
    });
    trouble.await;
    timeout(3 * PATIENCE, sending).await.expect("all is acknowledged").unwrap();
    sender.messages_until_fence().await;
    let refused = sender.events.iter().find(|event| matches!(event, Event::Refused { .. }));
    assert!(refused.is_none(), "{refused:?}");
    assert_eq!(sender.close().await, 0);
}

#[tokio::test]
async fn five_restarts_of_the_broker_under_traffic_are_no_refusal() {
    let mut broker = Mosquitto::start();
    let url = broker.url();
    all_arrive(&url, &url, async {
        for _ in 0..5 {
            sleep(Duration::from_millis(200)).await;
            broker.restart();
        }
    })
    .await;
}

#[tokio::test]
async fn a_link_that_breaks_at_any_message_is_no_refusal() {
    let broker = Mosquitto::start();
    let (sent, cuts) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let seen_cuts = cuts.clone();
    let proxy = Proxy::start(broker.port(), move |seen: &Seen| match &seen.packet {
        Packet::Publish(publish) if publish.topic == "t" && seen.way == Way::Up => {
            if sent.fetch_add(1, Ordering::Relaxed) % 97 == 96 {
                seen_cuts.fetch_add(1, Ordering::Relaxed);
                return Verdict::Cut;
            }
            Verdict::Pass
        }
        _ => Verdict::Pass,
    })
    .await;
    all_arrive(&proxy.url, &broker.url(), async {}).await;
    assert!(cuts.load(Ordering::Relaxed) > 20);
}

/// A wire on which all that comes back is 40 ms late, and that breaks each connection after a tenth of a second, as long as
/// `broken` lasts.
async fn late_and_broken(broker: u16, broken: Duration) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    let (until, count) = (Instant::now() + broken, Arc::new(AtomicUsize::new(0)));
    let counted = count.clone();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::Relaxed);
            let broker = TcpStream::connect(("127.0.0.1", broker)).await.unwrap();
            let lasts = if Instant::now() < until { Duration::from_millis(100) } else { 10 * PATIENCE };
            tokio::spawn(timeout(lasts, async move {
                let ((mut from_client, mut to_client), (mut from_broker, mut to_broker)) =
                    (client.into_split(), broker.into_split());
                let up = async { tokio::io::copy(&mut from_client, &mut to_broker).await.ok() };
                let down = async {
                    let mut bytes = [0; 4096];
                    while let Ok(count @ 1..) = from_broker.read(&mut bytes).await {
                        sleep(Duration::from_millis(40)).await;
                        to_client.write_all(&bytes[..count]).await.ok();
                    }
                };
                tokio::join!(up, down)
            }));
        }
    });
    (url, count)
}

#[tokio::test]
async fn a_link_that_breaks_by_the_clock_while_acknowledgements_are_late_is_no_refusal() {
    let broker = Mosquitto::start();
    let (url, connections) = late_and_broken(broker.port(), Duration::from_secs(4)).await;
    // The session's first connection has to stand for long enough to be open.
    let mut session = loop {
        let transport = MqttTransport::new(&url).client_id("s");
        if let Ok((tx, rx)) = transport.open(OpenOptions::default()).await {
            break Link { tx, rx, events: Default::default() };
        }
    };
    for n in 0..3 {
        session.publish("t", n.to_string()).await;
    }
    timeout(PATIENCE, session.tx.acknowledged()).await.expect("it comes through in the end").unwrap();
    assert!(connections.load(Ordering::Relaxed) > 8);
    session.messages_until_fence().await;
    assert!(session.events.iter().all(|event| !matches!(event, Event::Refused { .. })));
    assert_eq!(session.close().await, 0);
}
