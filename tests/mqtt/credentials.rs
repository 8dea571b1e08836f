//! User and password: given in the address, refused, revoked and granted again.

use std::time::Duration;

use ringbus::pubsub::MatchEvent;
use ringbus::qos::{History, Offered, Reliability, Requested};
use ringbus::transport::{Event, MqttTransport, OpenOptions, Outbound, Transport, TransportTx, TrySendError};
use ringbus::{ErrorKind, Session as Endpoint};
use tokio::time::{sleep, timeout};

use super::mosquitto::{Mosquitto, Passwords};
use super::{PATIENCE, Session, topic};

const SECRET: &str = "s3c/r@t";

fn is_denied(error: &ringbus::Error) -> bool {
    matches!(error.kind(), ErrorKind::Denied { .. })
}

/// The broker's address with the user `dev` and a password, percent-encoded.
fn url(broker: &Mosquitto, password: &str) -> String {
    let password = password.replace('/', "%2F").replace('@', "%40");
    broker.url().replace("mqtt://", &format!("mqtt://dev:{password}@"))
}

#[tokio::test]
async fn credentials_of_the_address_are_taken_and_never_shown() {
    let broker = Mosquitto::start_with(&Passwords::new("dev", SECRET).lines());
    let transport = MqttTransport::new(url(&broker, SECRET));
    assert!(!format!("{transport:?}").contains("s3c"), "{transport:?}");
    let (tx, rx) = transport.clone().open(OpenOptions::default()).await.unwrap();
    assert!(!format!("{tx:?} {rx:?}").contains("s3c"), "{tx:?}");

    let wrong = [
        MqttTransport::new(url(&broker, "s3cond")),
        MqttTransport::new(url(&broker, SECRET)).credentials("dev", "s3cond"),
        MqttTransport::new(broker.url()),
    ];
    for transport in wrong {
        let error = transport.open(OpenOptions::default()).await.unwrap_err();
        assert!(is_denied(&error), "{error}");
        let text = format!("{error} {error:?}");
        assert!(text.contains("CONNACK 5") && text.contains(&broker.url()), "{text}");
        assert!(!text.contains("s3c") && !text.contains("dev"), "{text}");
    }
}

#[tokio::test]
async fn a_revocation_is_told_once_and_what_waits_fails() {
    let passwords = Passwords::new("dev", SECRET);
    let broker = Mosquitto::start_with(&passwords.lines());
    let transport =
        MqttTransport::new(url(&broker, SECRET)).client_id("s").keep_alive(Duration::from_secs(1));
    let (tx, rx) = transport.open(OpenOptions::default()).await.unwrap();
    let mut session = Session { tx, rx, events: Default::default() };
    session.subscribe("t").await;
    passwords.set("dev", "another");
    broker.reload();
    assert!(matches!(session.next().await, Event::Disconnected { .. }));
    // What was accepted is kept; what waits for its acknowledgement is told.
    session.tx.send_batch(&mut vec![Outbound::topic(topic("t"), "kept").reliable()]).await.unwrap();
    let waits = session.tx.acknowledged();
    let error = timeout(PATIENCE, waits).await.unwrap().unwrap_err();
    assert!(is_denied(&error), "{error}");
    let Event::Denied { broker: name, reason } = session.next().await else { panic!("not told") };
    assert_eq!(error.kind(), &ErrorKind::Denied { broker: name.clone(), reason: reason.clone() });
    assert!(name == broker.url() && reason.contains("CONNACK 5"), "{name} {reason}");

    let message = || Outbound::topic(topic("t"), "refused").reliable();
    let refused = session.tx.try_send(message()).unwrap_err();
    assert!(matches!(&refused, TrySendError::Failed(error) if is_denied(error)), "{refused}");
    assert!(is_denied(&session.tx.send_batch(&mut vec![message()]).await.unwrap_err()));
    let filter = ringbus::TopicFilter::new("u").unwrap();
    assert!(is_denied(&session.tx.subscribe(&filter).await.unwrap_err()));
    // It is tried again, and again refused: nothing new to tell.
    sleep(Duration::from_secs(2)).await;
    passwords.set("dev", SECRET);
    broker.reload();
    assert!(matches!(session.next().await, Event::Reconnected { .. }));
    assert_eq!(session.message().await.1, "kept");
    session.subscribe("u").await;
    session.publish("u", "after").await;
    assert_eq!(session.message().await.1, "after");
    assert!(session.tx.denied().is_none());
}

#[tokio::test]
async fn publishers_fail_while_the_session_is_refused_and_go_on_after_it() {
    let passwords = Passwords::new("dev", SECRET);
    let broker = Mosquitto::start_with(&passwords.lines());
    let session = Endpoint::open(MqttTransport::new(url(&broker, SECRET))).await.unwrap();
    let offered =
        Offered { reliability: Reliability::Reliable, history: History::KeepAll, ..Offered::default() };
    let requested =
        Requested { reliability: Reliability::Reliable, history: History::KeepAll, ..Requested::default() };
    let framed = session.publisher::<u32>("framed").qos(offered.clone()).build().await.unwrap();
    let plain = session.publisher::<u32>("plain").qos(offered).plain().build().await.unwrap();
    let mut subscriber = session.subscriber::<u32>("framed").qos(requested).build().await.unwrap();
    timeout(PATIENCE, framed.matched(1)).await.unwrap().unwrap();
    passwords.set("dev", "another");
    broker.reload();

    // Each way of waiting ends.
    let mut published = Vec::new();
    let denied = timeout(PATIENCE, async {
        for value in 0.. {
            match framed.publish(&value).await {
                Ok(()) => published.push(value),
                Err(error) => return error,
            }
            if let Err(error) = framed.flush().await {
                return error;
            }
        }
        unreachable!()
    });
    assert!(is_denied(&denied.await.unwrap()));
    for error in [
        framed.publish(&1000).await.unwrap_err(),
        framed.try_publish(&1000).unwrap_err(),
        plain.publish(&1000).await.unwrap_err(),
        plain.try_publish(&1000).unwrap_err(),
        session.subscriber::<u32>("other").build().await.unwrap_err(),
    ] {
        assert!(is_denied(&error), "{error}");
    }

    passwords.set("dev", SECRET);
    broker.reload();
    let granted = timeout(PATIENCE, async {
        while let Err(error) = framed.publish(&2000).await {
            assert!(is_denied(&error), "{error}");
            sleep(Duration::from_millis(20)).await;
        }
    });
    granted.await.unwrap();
    published.push(2000);
    timeout(PATIENCE, framed.flush()).await.unwrap().unwrap();
    timeout(PATIENCE, plain.flush()).await.unwrap().unwrap();
    for expected in published {
        let sample = timeout(PATIENCE, subscriber.recv()).await.unwrap().unwrap().unwrap();
        assert_eq!(sample.value().unwrap(), expected);
    }
}

#[tokio::test]
async fn waiting_for_a_match_fails_and_waiting_for_samples_goes_on() {
    let passwords = Passwords::new("dev", SECRET);
    let broker = Mosquitto::start_with(&passwords.lines());
    let session = Endpoint::open(MqttTransport::new(url(&broker, SECRET))).await.unwrap();
    let publisher = session.publisher::<u32>("t").qos(Offered::reliable()).build().await.unwrap();
    let plain = session.publisher::<u32>("plain").plain().build().await.unwrap();
    let mut subscriber = session.subscriber::<u32>("t").qos(Requested::reliable()).build().await.unwrap();
    let alone = session.subscriber::<u32>("alone").build().await.unwrap();
    timeout(PATIENCE, publisher.matched(1)).await.unwrap().unwrap();
    timeout(PATIENCE, subscriber.matched(1)).await.unwrap().unwrap();
    let events = [publisher.events(), plain.events(), subscriber.events(), alone.events()];
    let received = async { subscriber.recv().await.unwrap().unwrap().value().unwrap() };
    let revoked_and_granted = async {
        let revoked = async {
            passwords.set("dev", "another");
            broker.reload();
        };
        // Who waits already is told, and so is who comes later.
        let waits = async { tokio::join!(publisher.matched(2), alone.matched(1), revoked) };
        let (publishers, subscribers, ()) = timeout(PATIENCE, waits).await.unwrap();
        let later = timeout(PATIENCE, async { (publisher.matched(2).await, alone.matched(1).await) });
        let later = later.await.unwrap();
        for outcome in [publishers, subscribers, later.0, later.1] {
            let error = outcome.unwrap_err();
            assert!(is_denied(&error), "{error}");
        }
        passwords.set("dev", SECRET);
        broker.reload();
        let granted = timeout(PATIENCE, async {
            while let Err(error) = publisher.publish(&7).await {
                assert!(is_denied(&error), "{error}");
                sleep(Duration::from_millis(20)).await;
            }
        });
        granted.await.unwrap();
    };
    let (value, ()) = timeout(4 * PATIENCE, async { tokio::join!(received, revoked_and_granted) })
        .await
        .expect("what waited for a sample gets it");
    assert_eq!(value, 7);
    for events in events {
        let told = std::iter::from_fn(|| events.try_next());
        let denied = told.filter(|event| {
            matches!(event, MatchEvent::Denied { broker, reason }
            if !broker.contains("dev") && reason.contains("CONNACK 5"))
        });
        assert_eq!(denied.count(), 1, "each is told once");
    }
}
