//! QoS 2, seen on the wire: who gets it, what each reconnect does to it, and what a flush waits for.

use std::io::{BufRead, BufReader};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ringbus::qos::{Offered, Requested};
use ringbus::transport::MqttTransport;
use ringbus::{Encoding, ErrorKind, Publisher};
use rumqttc::{Packet, QoS};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::mosquitto::Mosquitto;
use super::proxy::{Proxy, Seen, Verdict, Way, is_publish};
use super::{PATIENCE, QUIET};

type Session = ringbus::Session<MqttTransport>;
type Plain = Publisher<String, MqttTransport>;
/// Whether it is a packet that something happens to.
type Matches = fn(&Packet) -> bool;

const HANDSHAKE: [&str; 4] = ["1 Up PUBLISH 2", "1 Down PUBREC", "1 Up PUBREL", "1 Down PUBCOMP"];

async fn open(url: &str, name: &str) -> Session {
    Session::open(MqttTransport::new(url).client_id(name)).await.unwrap()
}

async fn plain(session: &Session, topic: &str, offered: Offered) -> Plain {
    session.publisher(topic).qos(offered).encoding(Encoding::Raw).plain().build().await.unwrap()
}

async fn flush(publisher: &Plain) {
    timeout(PATIENCE, publisher.flush()).await.expect("it is acknowledged").unwrap();
}

/// A `mosquitto_sub -q 2` whose subscription works.
struct Reader {
    child: Child,
    lines: mpsc::UnboundedReceiver<String>,
}

impl Reader {
    async fn start(broker: &Mosquitto) -> Self {
        // What is retained tells that the subscription works.
        broker.publish(&["-t", "ready", "-r", "-m", "ready"]);
        let mut child = broker.subscribe(&["-t", "ready", "-t", "out", "-q", "2"]);
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sink, lines) = mpsc::unbounded_channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sink.send(line)));
        let mut reader = Self { child, lines };
        assert_eq!(reader.next().await, "ready");
        reader
    }

    async fn next(&mut self) -> String {
        timeout(PATIENCE, self.lines.recv()).await.expect("a line").unwrap()
    }

    /// Everything that came, once nothing more can.
    async fn all(mut self, broker: &Mosquitto) -> Vec<String> {
        broker.publish(&["-t", "out", "-q", "2", "-m", "the end"]);
        let mut all = Vec::new();
        loop {
            match self.next().await {
                line if line == "the end" => break,
                line => all.push(line),
            }
        }
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        all
    }
}

#[tokio::test]
async fn the_reliability_of_a_publisher_decides_its_qos() {
    let broker = Mosquitto::start();
    let proxy = Proxy::start(broker.port(), |_| Verdict::Pass).await;
    let session = open(&proxy.url, "s").await;
    let framed = |topic, offered| session.publisher::<String>(topic).qos(offered);
    let once = plain(&session, "plain/reliable", Offered::reliable()).await;
    let lossy = plain(&session, "plain/best-effort", Offered::best_effort()).await;
    let twice =
        framed("plain/at-least-once", Offered::reliable()).plain().at_least_once().build().await.unwrap();
    let kept = framed("framed/reliable", Offered::reliable()).build().await.unwrap();
    let frames = framed("framed/best-effort", Offered::best_effort()).build().await.unwrap();
    for publisher in [&once, &lossy, &twice, &kept, &frames] {
        publisher.publish(&"x".to_owned()).await.unwrap();
        flush(publisher).await;
    }
    session.close(PATIENCE).await.unwrap();
    let qos = |topic: &str| {
        let of_topic = |seen: &Seen| match &seen.packet {
            Packet::Publish(p) if p.topic == topic && seen.way == Way::Up => Some(p.qos),
            _ => None,
        };
        let all: Vec<QoS> = proxy.seen().iter().filter_map(of_topic).collect();
        assert!(!all.is_empty() && all.iter().all(|qos| *qos == all[0]), "{topic}: {all:?}");
        all[0]
    };
    assert_eq!(qos("plain/reliable"), QoS::ExactlyOnce);
    assert_eq!(qos("plain/best-effort"), QoS::AtMostOnce);
    assert_eq!(qos("plain/at-least-once"), QoS::AtLeastOnce);
    assert_eq!(qos("framed/reliable"), QoS::AtLeastOnce);
    assert_eq!(qos("framed/best-effort"), QoS::AtMostOnce);
    assert_eq!(proxy.handshake("plain/reliable"), HANDSHAKE);
}

#[tokio::test]
async fn a_plain_value_comes_to_mosquitto_sub_by_one_handshake() {
    let broker = Mosquitto::start();
    let proxy = Proxy::start(broker.port(), |_| Verdict::Pass).await;
    let reader = Reader::start(&broker).await;
    let session = open(&proxy.url, "s").await;
    let publisher = plain(&session, "out", Offered::reliable()).await;
    publisher.publish(&"12.5".to_owned()).await.unwrap();
    flush(&publisher).await;
    // All of it, since the flush has waited.
    assert_eq!(proxy.handshake("out"), HANDSHAKE);
    assert_eq!(session.close(PATIENCE).await.unwrap().messages, 0);
    assert_eq!(reader.all(&broker).await, ["12.5"]);
}

#[tokio::test]
async fn a_mosquitto_with_its_own_limits_drops_none_of_a_thousand() {
    // Beyond so many unreleased messages it acknowledges, and drops.
    let broker = Mosquitto::start_with("max_inflight_messages 20");
    let reader = Reader::start(&broker).await;
    let session = open(&broker.url(), "s").await;
    let publisher = plain(&session, "out", Offered::reliable()).await;
    for n in 0..1000 {
        publisher.publish(&n.to_string()).await.unwrap();
    }
    flush(&publisher).await;
    let expected: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    assert!(reader.all(&broker).await == expected);
}

#[tokio::test]
async fn what_mosquitto_pub_sends_with_qos_2_comes_to_a_plain_subscriber_by_one_handshake() {
    let broker = Mosquitto::start();
    let proxy = Proxy::start(broker.port(), |_| Verdict::Pass).await;
    let session = open(&proxy.url, "s").await;
    let subscriber = session.subscriber::<String>("in").encoding(Encoding::Raw).plain();
    let mut subscriber = subscriber.qos(Requested::best_effort()).build().await.unwrap();
    for value in ["1", "2"] {
        broker.publish(&["-t", "in", "-q", "2", "-m", value]);
        let sample = timeout(PATIENCE, subscriber.recv()).await.unwrap().unwrap().unwrap();
        assert_eq!(sample.value().unwrap(), value);
    }
    // With fewer than 2 it comes as it was published.
    broker.publish(&["-t", "in", "-q", "1", "-m", "3"]);
    assert!(timeout(PATIENCE, subscriber.recv()).await.unwrap().unwrap().is_some());
    session.close(PATIENCE).await.unwrap();
    let down = ["1 Down PUBLISH 2", "1 Up PUBREC", "1 Down PUBREL", "1 Up PUBCOMP"];
    let expected = [&down[..], &down[..], &["1 Down PUBLISH 1", "1 Up PUBACK"]].concat();
    let mut handshake = proxy.handshake("in");
    // The end of one handshake may cross the beginning of the next.
    handshake.sort();
    let mut expected: Vec<_> = expected.into_iter().map(str::to_owned).collect();
    expected.sort();
    assert_eq!(handshake, expected);
    assert!(proxy.seen().iter().any(|seen| is_publish(&seen.packet, "in", QoS::ExactlyOnce)));
}

/// Publishes three values to a broker, through a proxy that breaks the first connection at one point of the second value's
/// handshake. Returns the packets of the topic.
async fn publish_over_a_break(broker: u16, verdict: Verdict, point: Matches) -> Vec<String> {
    let counted = AtomicUsize::new(0);
    let proxy = Proxy::start(broker, move |seen| {
        // Of the session's own messages: what a broker sends it with QoS 2 has handshakes, too.
        let way = if matches!(seen.packet, Packet::PubRel(_)) { Way::Up } else { Way::Down };
        let is_it = seen.connection == 1 && seen.way == way && point(&seen.packet);
        let second = is_it && counted.fetch_add(1, Ordering::SeqCst) == 1;
        if second { verdict } else { Verdict::Pass }
    })
    .await;
    let session = open(&proxy.url, "s").await;
    let publisher = plain(&session, "out", Offered::reliable()).await;
    for value in ["1", "2", "3"] {
        publisher.publish(&value.to_owned()).await.unwrap();
        // One handshake after the other, so that it is known which of them the break hits.
        flush(&publisher).await;
    }
    assert_eq!(session.close(PATIENCE).await.unwrap().messages, 0);
    proxy.handshake("out")
}

/// What `mosquitto_sub` gets of it through Mosquitto, and the packets.
async fn broken_at(verdict: Verdict, point: Matches) -> (Vec<String>, Vec<String>) {
    let broker = Mosquitto::start();
    let reader = Reader::start(&broker).await;
    let handshake = publish_over_a_break(broker.port(), verdict, point).await;
    (reader.all(&broker).await, handshake)
}

/// The second connection's handshakes.
fn again(handshake: &[String]) -> Vec<&str> {
    handshake.iter().filter_map(|packet| packet.strip_prefix("2 ")).collect()
}

const AGAIN: [&str; 8] = [
    "Up PUBLISH 2",
    "Down PUBREC",
    "Up PUBREL",
    "Down PUBCOMP",
    "Up PUBLISH 2",
    "Down PUBREC",
    "Up PUBREL",
    "Down PUBCOMP",
];

#[tokio::test]
async fn a_connection_lost_before_pubrec_brings_nothing_twice() {
    let (values, handshake) = broken_at(Verdict::Cut, |packet| matches!(packet, Packet::PubRec(_))).await;
    assert_eq!(values, ["1", "2", "3"]);
    assert_eq!(handshake[..5], [&HANDSHAKE[..], &["1 Up PUBLISH 2"]].concat()[..]);
    assert_eq!(again(&handshake), AGAIN);
}

#[tokio::test]
async fn a_connection_lost_after_pubrec_brings_nothing_twice() {
    let (values, handshake) = broken_at(Verdict::Cut, |packet| matches!(packet, Packet::PubRel(_))).await;
    assert_eq!(values, ["1", "2", "3"]);
    assert_eq!(handshake[..6], [&HANDSHAKE[..], &HANDSHAKE[..2]].concat()[..]);
    assert_eq!(again(&handshake), AGAIN);
}

#[tokio::test]
async fn a_connection_lost_before_pubcomp_loses_nothing_and_may_bring_a_value_twice() {
    let (values, handshake) = broken_at(Verdict::Cut, |packet| matches!(packet, Packet::PubComp(_))).await;
    assert_eq!(values, ["1", "2", "2", "3"]);
    assert_eq!(handshake[..7], [&HANDSHAKE[..], &HANDSHAKE[..3]].concat()[..]);
    assert_eq!(again(&handshake), AGAIN);
}

#[tokio::test]
async fn a_connection_lost_after_pubcomp_brings_nothing_twice() {
    let (values, handshake) =
        broken_at(Verdict::CutBehind, |packet| matches!(packet, Packet::PubComp(_))).await;
    assert_eq!(values, ["1", "2", "3"]);
    assert_eq!(again(&handshake), AGAIN[..4]);
}

#[cfg(feature = "embedded-broker")]
#[tokio::test]
async fn the_embedded_broker_does_the_same_with_each_lost_connection() {
    let breaks: [(Matches, &[&str]); 3] = [
        (|packet| matches!(packet, Packet::PubRec(_)), &["1", "2", "3"]),
        (|packet| matches!(packet, Packet::PubRel(_)), &["1", "2", "3"]),
        (|packet| matches!(packet, Packet::PubComp(_)), &["1", "2", "2", "3"]),
    ];
    for (point, expected) in breaks {
        let broker = ringbus::transport::mqtt::EmbeddedBroker::start("127.0.0.1:0").unwrap();
        let reader = open(&broker.url(), "reader").await;
        let subscriber = reader.subscriber::<String>("out").encoding(Encoding::Raw).plain();
        let mut subscriber = subscriber.qos(Requested::reliable()).build().await.unwrap();
        publish_over_a_break(broker.address().port(), Verdict::Cut, point).await;
        for value in expected {
            let sample = timeout(PATIENCE, subscriber.recv()).await.unwrap().unwrap().unwrap();
            assert_eq!(sample.value().unwrap(), *value);
        }
        assert!(timeout(QUIET, subscriber.recv()).await.is_err(), "nothing is left");
    }
}

#[tokio::test]
async fn a_plain_flush_waits_for_the_last_acknowledgement_of_the_broker() {
    let broker = Mosquitto::start();
    let held: [(bool, Matches); 3] = [
        (false, |packet| matches!(packet, Packet::PubRec(_))),
        (false, |packet| matches!(packet, Packet::PubComp(_))),
        (true, |packet| matches!(packet, Packet::PubAck(p) if p.pkid > 3)),
    ];
    for (turn, (at_least_once, held)) in held.into_iter().enumerate() {
        let rule = move |seen: &Seen| match seen.way == Way::Down && held(&seen.packet) {
            true => Verdict::Hold,
            false => Verdict::Pass,
        };
        let proxy = Proxy::start(broker.port(), rule).await;
        let session = open(&proxy.url, &format!("s{turn}")).await;
        let builder = session.publisher::<String>("out").encoding(Encoding::Raw).plain();
        let builder = if at_least_once { builder.at_least_once() } else { builder };
        let publisher = builder.qos(Offered::reliable()).build().await.unwrap();
        flush(&publisher).await;
        // Past the ids of the session's own packets.
        for _ in 0..4 {
            publisher.publish(&"x".to_owned()).await.unwrap();
        }
        assert!(timeout(QUIET, publisher.flush()).await.is_err(), "turn {turn}: nothing was acknowledged");
        // Cancelled, it waits again; another publisher's flush is about the session's messages, too.
        let other = plain(&session, "other", Offered::reliable()).await;
        assert!(timeout(QUIET, other.flush()).await.is_err(), "turn {turn}");
        let lossy = plain(&session, "lossy", Offered::best_effort()).await;
        lossy.publish(&"x".to_owned()).await.unwrap();
        flush(&lossy).await;
        let error = other.close(QUIET).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Timeout { .. }), "{error}");
        proxy.open();
        timeout(PATIENCE, publisher.close(PATIENCE)).await.unwrap().unwrap();
        assert_eq!(session.close(PATIENCE).await.unwrap().messages, 0);
    }
}

#[tokio::test]
async fn what_waits_for_its_pubcomp_counts_as_undelivered_and_ends_a_flush() {
    let broker = Mosquitto::start();
    let rule = |seen: &Seen| match (&seen.packet, seen.way) {
        (Packet::PubComp(_), Way::Down) => Verdict::Hold,
        _ => Verdict::Pass,
    };
    let proxy = Proxy::start(broker.port(), rule).await;
    let session = open(&proxy.url, "s").await;
    let publisher = plain(&session, "out", Offered::reliable()).await;
    for _ in 0..3 {
        publisher.publish(&"x".to_owned()).await.unwrap();
    }
    let closing = async {
        tokio::time::sleep(QUIET).await;
        session.close(QUIET).await.unwrap().messages
    };
    let (flushed, undelivered) =
        timeout(PATIENCE, async { tokio::join!(publisher.flush(), closing) }).await.unwrap();
    assert!(matches!(flushed.unwrap_err().kind(), ErrorKind::Closed { .. }));
    assert_eq!(undelivered, 3);
}

#[tokio::test]
async fn a_framed_flush_waits_for_the_readers_and_not_for_the_broker_alone() {
    let broker = Mosquitto::start();
    let armed = Arc::new(AtomicBool::new(false));
    let rule = {
        let armed = armed.clone();
        // What the subscriber says to the publisher.
        move |seen: &Seen| match &seen.packet {
            Packet::Publish(p)
                if seen.way == Way::Up
                    && p.topic == "@ringbus/inbox/publisher"
                    && armed.load(Ordering::SeqCst) =>
            {
                Verdict::Hold
            }
            _ => Verdict::Pass,
        }
    };
    let proxy = Proxy::start(broker.port(), rule).await;
    let (one, other) = (open(&broker.url(), "publisher").await, open(&proxy.url, "subscriber").await);
    let publisher = one.publisher::<String>("t").qos(Offered::reliable()).build().await.unwrap();
    let mut subscriber = other.subscriber::<String>("t").qos(Requested::reliable()).build().await.unwrap();
    timeout(PATIENCE, publisher.matched(1)).await.unwrap().unwrap();
    publisher.publish(&"first".to_owned()).await.unwrap();
    flush(&publisher).await;
    armed.store(true, Ordering::SeqCst);
    publisher.publish(&"second".to_owned()).await.unwrap();
    for value in ["first", "second"] {
        let sample = timeout(PATIENCE, subscriber.recv()).await.unwrap().unwrap().unwrap();
        assert_eq!(sample.value().unwrap(), value);
    }
    assert!(timeout(QUIET, publisher.flush()).await.is_err(), "the reader's acknowledgement is held");
    proxy.open();
    flush(&publisher).await;
}
