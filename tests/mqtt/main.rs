//! What the MQTT transport does beyond the contract: brokers that come and go, plain MQTT programs, strangers' garbage.
#![cfg(feature = "mqtt")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "that is how tests fail")]

mod credentials;
mod exactly_once;
mod filters;
mod foreign_handshake;
mod foreign_qos;
mod fragments;
#[path = "../support/mosquitto.rs"]
mod mosquitto;
mod names;
mod new_broker;
mod presence;
mod pressure;
mod proxy;
mod refusals;
mod refused;
mod retained;
mod session;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::time::Duration;

use mosquitto::Mosquitto;
use ringbus::transport::{
    Event, MqttTransport, OpenOptions, Origin, Outbound, Transport, TransportRx, TransportTx, TrySendError,
};
use ringbus::{ErrorKind, TopicFilter};
use rumqttc::{
    ConnAck, ConnectReturnCode, Packet, PubAck, Publish, QoS, SubAck, SubscribeFilter, SubscribeReasonCode,
    UnsubAck,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use session::*;

const PATIENCE: Duration = Duration::from_secs(60);
/// Long enough for something wrong to show, where nothing must happen.
const QUIET: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_broker_that_is_not_there_is_named_with_what_to_do() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let options = OpenOptions { connect_timeout: Duration::from_millis(300), ..OpenOptions::default() };
    let error = MqttTransport::new(format!("tcp://127.0.0.1:{port}")).open(options).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unreachable { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(&format!("mqtt://127.0.0.1:{port}")), "{text}");
    assert!(text.contains(&format!("mosquitto -p {port}")), "{text}");
}

#[tokio::test]
async fn a_broker_that_starts_late_is_waited_for() {
    let mut broker = Mosquitto::start();
    broker.stop();
    let opening = tokio::spawn(MqttTransport::new(broker.url()).open(OpenOptions::default()));
    sleep(Duration::from_millis(300)).await;
    broker.restart();
    opening.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_no_broker_is_said_to_be_none() {
    let options = OpenOptions { connect_timeout: Duration::from_millis(500), ..OpenOptions::default() };
    for answer in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"", b"\x90\x03\x00\x01\x00", b"SSH-2.0-x\r\n"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("mqtt://{}", listener.local_addr().unwrap());
        let stranger = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            socket.write_all(answer).unwrap();
            socket
        });
        let error = MqttTransport::new(url).open(options.clone()).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unreachable { .. }), "{answer:?}: {error}");
        assert!(error.to_string().contains("MQTT broker?"), "{answer:?}: {error}");
        stranger.join().unwrap();
    }
}

/// A broker that refuses every filter below `secret/`, and delivers the first message to an inbox alone. One that is `mild`
/// refuses none, and ends with the first ping.
async fn strict_broker(listener: &tokio::net::TcpListener, mild: bool) {
    let (mut socket, _) = listener.accept().await.unwrap();
    let (mut input, mut output) = (bytes::BytesMut::new(), bytes::BytesMut::new());
    let mut delivered = false;
    while socket.read_buf(&mut input).await.unwrap() > 0 {
        while let Ok(packet) = Packet::read(&mut input, 100_000) {
            let granted = |filter: &SubscribeFilter| match filter.path.starts_with("secret/") && !mild {
                true => SubscribeReasonCode::Failure,
                false => SubscribeReasonCode::Success(filter.qos),
            };
            let answer = match packet {
                Packet::Connect(_) => Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, false)),
                Packet::Subscribe(s) => {
                    Packet::SubAck(SubAck::new(s.pkid, s.filters.iter().map(granted).collect()))
                }
                Packet::Unsubscribe(unsubscribe) => Packet::UnsubAck(UnsubAck::new(unsubscribe.pkid)),
                Packet::Publish(publish) => {
                    let acknowledgement = Packet::PubAck(PubAck::new(publish.pkid));
                    if publish.topic.contains("/inbox/") && !std::mem::replace(&mut delivered, true) {
                        let back = Publish { qos: QoS::AtMostOnce, pkid: 0, ..publish };
                        Packet::Publish(back).write(&mut output, 100_000).unwrap();
                    }
                    acknowledgement
                }
                Packet::PingReq if !mild => Packet::PingResp,
                _ => return,
            };
            answer.write(&mut output, 100_000).unwrap();
        }
        socket.write_all_buf(&mut output).await.unwrap();
    }
}

#[tokio::test]
async fn a_refused_subscription_is_a_typed_error_and_the_next_one_works() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    let broker = tokio::spawn(async move { strict_broker(&listener, false).await });
    let session = Session::open(&url, "s").await;
    session.subscribe("open/a").await;
    for _ in 0..2 {
        let error = session.tx.subscribe(&TopicFilter::new("secret/a").unwrap()).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Transport { operation: "subscribe", .. }), "{error}");
        assert!(error.to_string().contains("secret/a"), "{error}");
    }
    session.subscribe("open/#").await;
    // Neither the fence of this change nor the goodbye depends on a broker that delivers.
    session.unsubscribe("open/#").await;
    assert_eq!(session.close().await, 0);
    broker.await.unwrap();
}

#[tokio::test]
async fn a_subscription_that_is_refused_after_a_reconnect_is_told() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    let broker = tokio::spawn(async move {
        strict_broker(&listener, true).await;
        strict_broker(&listener, false).await;
    });
    let mut session = Session::open(&url, "s").await;
    session.subscribe("open/a").await;
    session.subscribe("secret/#").await;
    let told = session.until(|event| matches!(event, Event::SubscriptionRefused { .. })).await;
    let Event::SubscriptionRefused { filter, broker: at, reason } = told else { unreachable!() };
    assert_eq!((filter.as_str(), &at), ("secret/#", &url));
    assert!(reason.contains("access rules"), "{reason}");
    session.until(|event| matches!(event, Event::Reconnected { .. })).await;
    assert_eq!(session.close().await, 0);
    broker.await.unwrap();
}

#[tokio::test]
async fn plain_mqtt_programs_take_part() {
    let broker = Mosquitto::start();
    let mut session = Session::open(&broker.url(), "s").await;
    session.subscribe("weather/+").await;
    broker.publish(&["-t", "weather/98101", "-m", "rain", "-q", "1"]);
    assert_eq!(session.message().await, (Origin::Topic(topic("weather/98101")), "rain".into()));

    broker.publish(&["-t", "kept/one", "-m", "last", "-r"]);
    session.subscribe("kept/+").await;
    assert_eq!(session.message().await.1, "last");
    // A covered filter gets its retained messages, too.
    session.subscribe("kept/one").await;
    assert_eq!(session.message().await.1, "last");

    let mut reader = broker.subscribe(&["-t", "out/#", "-v", "-C", "1"]);
    let output = reader.stdout.take().unwrap();
    let publishing = async {
        loop {
            session.publish("out/a", "bare bytes").await;
            sleep(Duration::from_millis(50)).await;
        }
    };
    let line = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).unwrap();
        line
    });
    tokio::select! {
        line = line => assert_eq!(line.unwrap(), "out/a bare bytes\n"),
        () = publishing => unreachable!(),
    }
    reader.wait().unwrap();
}

#[tokio::test]
async fn a_broker_restart_loses_no_reliable_message() {
    let mut broker = Mosquitto::start();
    let mut receiver = Session::open(&broker.url(), "receiver").await;
    receiver.subscribe("t").await;
    let sender = Session::open(&broker.url(), "sender").await;
    let before = Session::open(&broker.url(), "watcher").await;
    const COUNT: usize = 3000;
    let tx = sender.tx.clone();
    let sending = tokio::spawn(async move {
        for n in 0..COUNT {
            let message = Outbound::topic(topic("t"), n.to_string()).reliable();
            tx.send_batch(&mut vec![message]).await.unwrap();
            if n % 100 == 0 {
                sleep(Duration::from_millis(10)).await;
            }
        }
    });
    let mut seen = BTreeSet::new();
    while seen.len() < 500 {
        seen.insert(receiver.message().await.1);
    }
    broker.stop();
    // Keeps reading what is on its way. The receiver must be back before the sender, or the broker has nobody to
    // deliver to: that loss is the receiver's, and known to it by the event.
    drop(before);
    broker.restart();
    let event = receiver.until(|event| {
        if let Event::Message { payload, .. } = event {
            assert!(!payload.is_empty());
        }
        matches!(event, Event::Reconnected { .. })
    });
    assert_eq!(event.await, Event::Reconnected { session_present: false });
    timeout(PATIENCE, sending).await.unwrap().unwrap();
    // Everything was acknowledged by the broker in the end.
    assert_eq!(sender.close().await, 0);
    let last = (COUNT - 1).to_string();
    while receiver.message().await.1 != last {}
}

#[tokio::test]
async fn what_was_sent_without_a_broker_arrives_when_it_is_back() {
    let mut broker = Mosquitto::start();
    let mut session = Session::open(&broker.url(), "s").await;
    session.subscribe("t").await;
    broker.stop();
    for n in 0..10 {
        session.publish("t", n.to_string()).await;
    }
    sleep(Duration::from_millis(200)).await;
    broker.restart();
    let mut received = Vec::new();
    while received.len() < 10 {
        received.push(session.message().await.1);
    }
    assert_eq!(received, (0..10).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_subscription_made_without_a_broker_waits_for_it() {
    let mut broker = Mosquitto::start();
    let mut session = Session::open(&broker.url(), "s").await;
    broker.stop();
    sleep(QUIET).await;
    let tx = session.tx.clone();
    let subscribing = tokio::spawn(async move { tx.subscribe(&TopicFilter::new("t").unwrap()).await });
    sleep(QUIET).await;
    broker.restart();
    timeout(PATIENCE, subscribing).await.unwrap().unwrap().unwrap();
    session.publish("t", "heard").await;
    assert_eq!(session.message().await.1, "heard");
}

#[tokio::test]
async fn without_a_broker_the_queue_fills_and_close_counts() {
    let mut broker = Mosquitto::start();
    let options = OpenOptions { queue: 4, ..OpenOptions::default() };
    let session = Session::open_with(&broker.url(), "s", options).await;
    broker.stop();
    sleep(QUIET).await;
    let mut accepted = 0;
    let refused = loop {
        match session.tx.try_send(Outbound::topic(topic("t"), "x").reliable()) {
            Ok(()) => accepted += 1,
            Err(error) => break error,
        }
        assert!(accepted <= 100, "the queue is not bounded");
    };
    assert!(matches!(refused, TrySendError::Full(_)), "{refused}");
    let undelivered = session.tx.close(Duration::from_millis(100)).await.unwrap();
    assert_eq!(undelivered.messages, accepted);
}

#[tokio::test]
async fn peers_hear_of_a_clean_goodbye_a_crash_and_a_restart() {
    let broker = Mosquitto::start();
    let mut watcher = Session::open(&broker.url(), "watcher").await;
    let first = Session::open(&broker.url(), "other").await;
    assert_eq!(watcher.next().await, Event::PeerUp(peer("other")));
    assert_eq!(first.close().await, 0);
    assert_eq!(watcher.next().await, Event::PeerDown(peer("other")));

    let second = Session::open(&broker.url(), "other").await;
    assert_eq!(watcher.next().await, Event::PeerUp(peer("other")));
    // Dropped without a goodbye, as a killed process would be.
    drop(second);
    assert_eq!(watcher.next().await, Event::PeerDown(peer("other")));

    // A successor that takes the name over while the first is still there.
    let third = Session::open(&broker.url(), "other").await;
    assert_eq!(watcher.next().await, Event::PeerUp(peer("other")));
    broker.publish(&["-t", "@ringbus/presence/other", "-r", "-m", "another-nonce", "-q", "1"]);
    assert_eq!(watcher.next().await, Event::PeerDown(peer("other")));
    assert_eq!(watcher.next().await, Event::PeerUp(peer("other")));
    drop(third);
}

/// A session whose last will is its own.
async fn with_a_will(broker: &Mosquitto, name: &str, payload: &[u8]) -> Session {
    let transport = MqttTransport::new(broker.url()).client_id(name).last_will("fail", payload.to_vec());
    let (tx, rx) = transport.open(OpenOptions::default()).await.unwrap();
    assert!(!tx.capabilities().last_will);
    Session { tx, rx, events: Default::default() }
}

#[tokio::test]
async fn the_broker_publishes_a_last_will_of_the_programs_own() {
    let broker = Mosquitto::start();
    let mut watcher = Session::open(&broker.url(), "watcher").await;
    watcher.subscribe("fail").await;
    let mut mortal = with_a_will(&broker, "mortal", b"98101").await;
    // Nobody is told of it, and yet it is reached.
    watcher.tx.send_batch(&mut vec![Outbound::peer(peer("mortal"), "hello")]).await.unwrap();
    assert_eq!(mortal.message().await, (Origin::Peer(peer("watcher")), "hello".into()));
    drop(mortal);
    assert_eq!(watcher.message().await, (Origin::Topic(topic("fail")), "98101".into()));
    // Neither the will nor a presence is retained.
    watcher.subscribe("#").await;
    watcher.subscribe("@ringbus/presence/mortal").await;
    assert_eq!(watcher.messages_until_fence().await, Vec::<String>::new());
    assert!(watcher.events.is_empty(), "{:?}", watcher.events);
}

#[tokio::test]
async fn a_goodbye_takes_the_last_will_back() {
    let broker = Mosquitto::start();
    let mut watcher = Session::open(&broker.url(), "watcher").await;
    watcher.subscribe("fail").await;
    for _ in 0..3 {
        let session = with_a_will(&broker, "orderly", b"98101").await;
        session.publish("fail", "not the will").await;
        assert_eq!(session.close().await, 0);
        assert_eq!(watcher.message().await.1, "not the will");
    }
    sleep(QUIET).await;
    assert_eq!(watcher.messages_until_fence().await, Vec::<String>::new());
    assert!(watcher.events.is_empty(), "{:?}", watcher.events);
}

#[tokio::test]
async fn a_last_will_that_no_broker_takes_is_refused() {
    for wrong in ["", "fail/+", "a\u{1}b"] {
        let transport = MqttTransport::new("mqtt://127.0.0.1:1").last_will(wrong, "x");
        let error = transport.open(OpenOptions::default()).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::InvalidTopic { .. }), "{wrong:?}: {error}");
    }
    let transport = MqttTransport::new("mqtt://127.0.0.1:1").last_will("fail", vec![0; 65_536]);
    let error = transport.open(OpenOptions::default()).await.unwrap_err();
    let limit = ErrorKind::PayloadTooLarge { size: 65_536, limit: 65_535 };
    assert_eq!(error.kind(), &limit);
    // The longest one arrives whole.
    let broker = Mosquitto::start();
    let mut watcher = Session::open(&broker.url(), "watcher").await;
    watcher.subscribe("fail").await;
    drop(with_a_will(&broker, "verbose", &[b'x'; 65_535]).await);
    assert_eq!(watcher.message().await.1.len(), 65_535);
}

#[tokio::test]
async fn a_peer_that_does_not_survive_a_broker_restart_is_given_up() {
    let mut broker = Mosquitto::start();
    let mut watcher = Session::open(&broker.url(), "watcher").await;
    let stays = Session::open(&broker.url(), "stays").await;
    let goes = Session::open(&broker.url(), "goes").await;
    for _ in 0..2 {
        assert!(matches!(watcher.next().await, Event::PeerUp(_)));
    }
    broker.stop();
    drop(goes);
    sleep(QUIET).await;
    broker.restart();
    assert!(matches!(watcher.next().await, Event::Disconnected { .. }));
    assert!(matches!(watcher.next().await, Event::Reconnected { .. }));
    assert_eq!(watcher.next().await, Event::PeerDown(peer("goes")));
    drop(stays);
    assert_eq!(watcher.next().await, Event::PeerDown(peer("stays")));
}

#[tokio::test]
async fn garbage_in_the_inbox_disturbs_nobody() {
    let broker = Mosquitto::start();
    let inbox = "@ringbus/inbox/s";
    // Well-formed, but it would come back with each connection.
    broker.publish(&["-t", inbox, "-m", "\u{1}\u{1}aretained", "-r"]);
    let mut session = Session::open(&broker.url(), "s").await;
    session.subscribe("t").await;
    for garbage in ["", "x", "\u{1}", "\u{1}\u{ff}abc", "\u{2}\u{1}a", "\u{1}\u{1}/payload"] {
        broker.publish(&["-t", inbox, "-m", garbage]);
    }
    broker.publish(&["-t", "@ringbus/presence/x y", "-m", "1", "-r"]);
    broker.publish(&["-t", "@ringbus/presence/long", "-m", &"n".repeat(1000), "-r"]);
    broker.publish(&["-t", &format!("t/{}", "x".repeat(2000)), "-m", "1"]);
    session.publish("t", "undisturbed").await;
    assert_eq!(session.message().await.1, "undisturbed");
    assert!(session.events.is_empty());
}

#[tokio::test]
async fn a_retained_message_over_the_limit_costs_no_connection() {
    let broker = Mosquitto::start();
    let big = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&big, vec![b'x'; 300_000]).unwrap();
    broker.publish(&["-t", "big", "-r", "-q", "1", "-f", big.path().to_str().unwrap()]);
    let options = OpenOptions { max_payload: 1000, ..OpenOptions::default() };
    let mut session = Session::open_with(&broker.url(), "s", options).await;
    session.subscribe("#").await;
    assert_eq!(session.next().await, Event::Lagged(1));
    for n in 0..50 {
        session.publish("small", n.to_string()).await;
    }
    assert_eq!(session.messages_until_fence().await.len(), 50);
}

/// A session with a short queue, and another that has sent it 2,000 messages which nobody has read.
async fn flooded(broker: &Mosquitto) -> (Session, Session) {
    let options = OpenOptions { queue: 4, ..OpenOptions::default() };
    let slow = Session::open_with(&broker.url(), "slow", options).await;
    slow.subscribe("t").await;
    let sender = Session::open(&broker.url(), "sender").await;
    for n in 0..2000 {
        sender.publish("t", n.to_string()).await;
    }
    (slow, sender)
}

#[tokio::test]
async fn a_slow_reader_keeps_its_connection() {
    let broker = Mosquitto::start();
    let (mut slow, _sender) = flooded(&broker).await;
    // Much longer than the keep-alive of a second.
    sleep(Duration::from_secs(4)).await;
    for n in 0..2000 {
        match slow.until(|event| !matches!(event, Event::PeerUp(_))).await {
            Event::Message { payload, .. } => assert_eq!(payload, n.to_string()),
            other => panic!("{other:?} instead of message {n}"),
        }
    }
}

#[tokio::test]
async fn closing_does_not_wait_for_a_reader() {
    let broker = Mosquitto::start();
    let (mut slow, sender) = flooded(&broker).await;
    assert_eq!(sender.close().await, 0);
    slow.publish("elsewhere", "last words").await;
    let undelivered = timeout(PATIENCE, slow.tx.close(PATIENCE * 2)).await.expect("no waiting").unwrap();
    assert_eq!(undelivered.messages, 0);
    // What was received before is handed out, in order, and then it is over.
    let mut next = 0;
    loop {
        let mut batch = Vec::new();
        match slow.rx.recv_batch(&mut batch, 10).await {
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::Closed { .. }), "{error}");
                break;
            }
            Ok(_) => slow.events.extend(batch),
        }
        for event in slow.events.drain(..) {
            if let Event::Message { payload, .. } = event {
                assert_eq!(payload, next.to_string());
                next += 1;
            }
        }
    }
    assert!(next >= 4, "only {next} were handed out");
}

#[tokio::test]
async fn a_broker_that_falls_silent_is_left() {
    // Accepts, greets and confirms, and then reads without a word.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    let stranger = tokio::spawn(async move {
        for first in [true, false] {
            let (mut socket, _) = listener.accept().await.unwrap();
            if first {
                greet(&mut socket).await;
            } else {
                socket.write_all(b"\x20\x02\x00\x00").await.unwrap();
            }
            let mut sink = [0; 1024];
            while socket.read(&mut sink).await.is_ok_and(|count| count > 0) {}
        }
    });
    let session = Session::open(&url, "s").await;
    // It comes back a second time only because the first connection was given up.
    timeout(PATIENCE, async {
        tokio::join!(stranger, async {
            sleep(Duration::from_secs(3)).await;
            drop(session);
        })
    })
    .await
    .unwrap()
    .0
    .unwrap();
}

#[tokio::test]
async fn a_length_that_swallows_all_that_follows_is_no_life() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    let stranger = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        greet(&mut socket).await;
        // It begins a PUBLISH of 2 MiB: what follows are good packets, but for that.
        socket.write_all(b"\x30\x80\x80\x80\x01").await.unwrap();
        let (mut from_session, mut to_session) = socket.into_split();
        let pings = async {
            while to_session.write_all(b"\xd0\x00").await.is_ok() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let mut sink = [0; 1024];
        let reading = async { while from_session.read(&mut sink).await.is_ok_and(|count| count > 0) {} };
        tokio::join!(pings, reading);
        listener.accept().await.unwrap();
    });
    let session = Session::open(&url, "s").await;
    timeout(PATIENCE, stranger).await.expect("the session leaves it").unwrap();
    drop(session);
}

#[tokio::test]
async fn what_a_broker_would_punish_is_refused_before() {
    let broker = Mosquitto::start();
    let mut session = Session::open(&broker.url(), "s").await;
    let error = session.tx.try_send(Outbound::topic(topic("a\u{1}b"), "x")).unwrap_err();
    assert!(
        matches!(&error, TrySendError::Failed(error) if matches!(error.kind(), ErrorKind::InvalidTopic { .. }))
    );
    for filter in ["a\u{7f}b", "$share/group/t"] {
        let error = session.tx.subscribe(&TopicFilter::new(filter).unwrap()).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::InvalidFilter { .. }), "{error}");
    }
    session.subscribe("t").await;
    session.publish("t", "fine").await;
    assert_eq!(session.message().await.1, "fine");
}

#[tokio::test]
async fn wrong_names_and_times_are_refused() {
    for transport in [
        MqttTransport::new("mqtt://127.0.0.1:1").client_id("a/b"),
        MqttTransport::new("mqtt://127.0.0.1:1").keep_alive(Duration::ZERO),
        MqttTransport::new("mqtt://127.0.0.1:1").keep_alive(Duration::from_secs(1 << 20)),
    ] {
        let error = transport.open(OpenOptions::default()).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::InvalidArgument { .. }), "{error}");
    }
}
