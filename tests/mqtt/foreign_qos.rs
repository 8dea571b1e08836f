//! Brokers that take less than QoS 2: what they grant decides, and no message waits for an answer that never comes.

use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use ringbus::qos::Offered;
use ringbus::transport::MqttTransport;
use ringbus::{Encoding, Publisher};
use rumqttc::{
    ConnAck, ConnectReturnCode, Packet, PubAck, PubComp, PubRec, Publish, QoS, SubAck, SubscribeReasonCode,
    UnsubAck,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::PATIENCE;
use super::mosquitto::Mosquitto;
use super::proxy::{Proxy, Verdict};

type Session = ringbus::Session<MqttTransport>;

/// What a broker does with a PUBLISH of QoS 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Two {
    Handshake,
    PubAck,
    Close,
    Nothing,
    /// PUBREC, and no PUBCOMP.
    Half,
}

/// A filter, and the QoS that it was asked for with; `None` at its end.
type Subscribed = (String, Option<QoS>);

/// A broker that delivers nothing but what a session sends to an inbox: its own.
#[derive(Clone)]
struct Foreign {
    grants: QoS,
    two: Two,
    /// Topic, QoS and payload of what it was sent.
    published: Arc<Mutex<Vec<(String, QoS, String)>>>,
    /// What it was asked to subscribe to, with which QoS, or to unsubscribe from.
    subscribed: Arc<Mutex<Vec<Subscribed>>>,
}

impl Foreign {
    async fn start(grants: QoS, two: Two) -> (String, Self) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("mqtt://{}", listener.local_addr().unwrap());
        let broker = Self { grants, two, published: Arc::default(), subscribed: Arc::default() };
        let serving = broker.clone();
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                tokio::spawn(serving.clone().serve(socket));
            }
        });
        (url, broker)
    }

    async fn serve(self, mut socket: TcpStream) {
        let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
        while socket.read_buf(&mut input).await.is_ok_and(|count| count > 0) {
            while let Ok(packet) = Packet::read(&mut input, usize::MAX) {
                if let Packet::Publish(publish) = &packet
                    && publish.topic.starts_with("@ringbus/inbox/")
                {
                    let back = Publish { qos: QoS::AtMostOnce, pkid: 0, ..publish.clone() };
                    Packet::Publish(back).write(&mut output, usize::MAX).unwrap();
                }
                match self.answer(packet) {
                    Err(()) => return,
                    Ok(answer) => answer.map(|packet| packet.write(&mut output, usize::MAX).unwrap()),
                };
            }
            socket.write_all_buf(&mut output).await.ok();
        }
    }

    fn answer(&self, packet: Packet) -> Result<Option<Packet>, ()> {
        let lower = |qos: QoS| if qos > self.grants { self.grants } else { qos };
        Ok(Some(match packet {
            Packet::Connect(_) => Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, false)),
            Packet::Subscribe(subscribe) => {
                let asked = subscribe.filters.iter().map(|filter| (filter.path.clone(), Some(filter.qos)));
                self.subscribed.lock().unwrap().extend(asked);
                let codes = subscribe.filters.iter().map(|f| SubscribeReasonCode::Success(lower(f.qos)));
                Packet::SubAck(SubAck::new(subscribe.pkid, codes.collect()))
            }
            Packet::Unsubscribe(unsubscribe) => {
                let topics = unsubscribe.topics.into_iter().map(|topic| (topic, None));
                self.subscribed.lock().unwrap().extend(topics);
                Packet::UnsubAck(UnsubAck::new(unsubscribe.pkid))
            }
            Packet::PingReq => Packet::PingResp,
            Packet::PubRel(release) if self.two != Two::Half => Packet::PubComp(PubComp::new(release.pkid)),
            Packet::Publish(publish) => {
                let text = String::from_utf8_lossy(&publish.payload).into_owned();
                self.published.lock().unwrap().push((publish.topic, publish.qos, text));
                match (publish.qos, self.two) {
                    (QoS::AtMostOnce, _) | (QoS::ExactlyOnce, Two::Nothing) => return Ok(None),
                    (QoS::ExactlyOnce, Two::Close) => return Err(()),
                    (QoS::ExactlyOnce, Two::Handshake | Two::Half) => {
                        Packet::PubRec(PubRec::new(publish.pkid))
                    }
                    _ => Packet::PubAck(PubAck::new(publish.pkid)),
                }
            }
            Packet::Disconnect => return Err(()),
            _ => return Ok(None),
        }))
    }

    /// What was published to a topic: each value, with its QoS.
    fn of(&self, topic: &str) -> Vec<(QoS, String)> {
        let published = self.published.lock().unwrap();
        let of_topic = published.iter().filter(|(to, ..)| to == topic);
        of_topic.map(|(_, qos, text)| (*qos, text.clone())).collect()
    }
}

async fn plain(url: &str) -> (Session, Publisher<String, MqttTransport>) {
    let transport = MqttTransport::new(url).keep_alive(std::time::Duration::from_secs(1));
    let session = Session::open(transport).await.unwrap();
    let offered = Offered::reliable();
    let publisher = session.publisher("t").qos(offered).encoding(Encoding::Raw).plain().build().await;
    (session, publisher.unwrap())
}

const COUNT: usize = 100;

async fn publish_all(publisher: &Publisher<String, MqttTransport>) {
    for n in 0..COUNT {
        timeout(PATIENCE, publisher.publish(&n.to_string())).await.expect("it is taken").unwrap();
    }
}

#[tokio::test]
async fn what_a_broker_grants_is_what_is_published_with() {
    // RabbitMQ and mosca, NATS, a broker with QoS 0 alone, and one with all.
    for (grants, two, used) in [
        (QoS::AtLeastOnce, Two::PubAck, QoS::AtLeastOnce),
        (QoS::AtLeastOnce, Two::Nothing, QoS::AtLeastOnce),
        (QoS::AtLeastOnce, Two::Close, QoS::AtLeastOnce),
        (QoS::AtMostOnce, Two::Close, QoS::AtMostOnce),
        (QoS::ExactlyOnce, Two::Handshake, QoS::ExactlyOnce),
    ] {
        let (url, broker) = Foreign::start(grants, two).await;
        let (session, publisher) = plain(&url).await;
        publish_all(&publisher).await;
        timeout(PATIENCE, publisher.flush()).await.expect("it ends").unwrap();
        let undelivered = session.close(PATIENCE).await.unwrap();
        assert_eq!(undelivered.messages, 0, "{grants:?} {two:?}");
        let expected: Vec<_> = (0..COUNT).map(|n| (used, n.to_string())).collect();
        assert_eq!(broker.of("t"), expected, "{grants:?} {two:?}");
    }
}

#[tokio::test]
async fn an_inbox_does_not_wait_behind_samples_where_qos_1_has_one_queue() {
    for (grants, asked) in [
        (QoS::ExactlyOnce, vec![Some(QoS::ExactlyOnce)]),
        (QoS::AtLeastOnce, vec![Some(QoS::ExactlyOnce), None, Some(QoS::AtMostOnce)]),
    ] {
        let (url, broker) = Foreign::start(grants, Two::PubAck).await;
        let (session, publisher) = plain(&url).await;
        publish_all(&publisher).await;
        session.close(PATIENCE).await.unwrap();
        let subscribed = broker.subscribed.lock().unwrap();
        let inbox = subscribed.iter().filter(|(filter, _)| filter.contains("/inbox/"));
        assert_eq!(inbox.map(|(_, qos)| *qos).collect::<Vec<_>>(), asked);
    }
}

#[tokio::test]
async fn a_puback_ends_a_message_with_qos_2() {
    // It grants what it does not do.
    let (url, broker) = Foreign::start(QoS::ExactlyOnce, Two::PubAck).await;
    let (session, publisher) = plain(&url).await;
    publish_all(&publisher).await;
    timeout(PATIENCE, publisher.flush()).await.expect("it ends").unwrap();
    assert_eq!(session.close(PATIENCE).await.unwrap().messages, 0);
    let values: Vec<_> = broker.of("t").into_iter().map(|(_, text)| text).collect();
    assert_eq!(values, (0..COUNT).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(broker.of("t")[COUNT - 1].0, QoS::AtLeastOnce, "it has learnt it");
}

async fn never_ends(two: Two) {
    let (url, broker) = Foreign::start(QoS::ExactlyOnce, two).await;
    let (session, publisher) = plain(&url).await;
    let all = async {
        for n in 0..COUNT {
            publisher.publish(&n.to_string()).await.unwrap();
        }
        // Of those that were given up it may tell.
        publisher.flush().await.ok();
    };
    timeout(2 * PATIENCE, all).await.expect("it ends");
    let last = broker.of("t").pop().unwrap();
    assert_eq!(last, (QoS::AtLeastOnce, (COUNT - 1).to_string()));
    session.close(PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_message_that_is_never_answered_is_given_up_and_the_rest_goes_on() {
    never_ends(Two::Nothing).await;
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_given_up_and_the_rest_goes_on() {
    never_ends(Two::Half).await;
}

#[tokio::test]
async fn mosquitto_with_qos_1_at_most_takes_what_plain_publishers_send() {
    let broker = Mosquitto::start_with("max_qos 1");
    let proxy = Proxy::start(broker.port(), |_| Verdict::Pass).await;
    let (session, publisher) = plain(&proxy.url).await;
    publish_all(&publisher).await;
    timeout(PATIENCE, publisher.flush()).await.expect("it ends").unwrap();
    assert_eq!(session.close(PATIENCE).await.unwrap().messages, 0);
    assert!(proxy.seen().iter().all(|seen| seen.connection == 1), "the connection stays");
}
