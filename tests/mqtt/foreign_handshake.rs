//! The receiving side of QoS 2, against a broker that the test plays.

use bytes::BytesMut;
use ringbus::transport::{Event, OpenOptions, TransportTx};
use rumqttc::{
    ConnAck, ConnectReturnCode, Packet, PubAck, PubComp, PubRec, PubRel, Publish, QoS, SubAck,
    SubscribeReasonCode,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::session::*;
use super::{PATIENCE, QUIET};

/// The broker's side of a connection.
struct Broker {
    socket: TcpStream,
    input: BytesMut,
    /// The answers to what was said of QoS 2, in order.
    answers: Vec<Packet>,
    /// The session has tried its inbox.
    tried: bool,
}

impl Broker {
    /// Takes the next client and confirms its `count` SUBSCRIBEs.
    async fn accept(listener: &TcpListener, count: usize) -> Self {
        let (socket, _) = timeout(PATIENCE, listener.accept()).await.expect("a client").unwrap();
        let mut broker = Self { socket, input: BytesMut::new(), answers: Vec::new(), tried: false };
        for _ in 0..count {
            while !broker.serve().await {}
        }
        broker
    }

    /// Reads a packet and does what it asks for. `true` if it was a SUBSCRIBE.
    async fn serve(&mut self) -> bool {
        let answer = match self.next().await {
            Packet::Connect(_) => Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, false)),
            Packet::Subscribe(subscribe) => {
                let codes = subscribe.filters.iter().map(|filter| SubscribeReasonCode::Success(filter.qos));
                let answer = Packet::SubAck(SubAck::new(subscribe.pkid, codes.collect()));
                self.send(answer).await;
                return true;
            }
            Packet::Publish(publish) if publish.qos == QoS::AtLeastOnce => {
                let acknowledgement = Packet::PubAck(PubAck::new(publish.pkid));
                if publish.topic == "@ringbus/inbox/s" {
                    self.tried = true;
                    let back = Publish { qos: QoS::AtMostOnce, pkid: 0, ..publish };
                    self.send(Packet::Publish(back)).await;
                }
                acknowledgement
            }
            Packet::PingReq => Packet::PingResp,
            packet @ (Packet::PubRec(_) | Packet::PubRel(_) | Packet::PubComp(_)) => {
                self.answers.push(packet);
                return false;
            }
            other => panic!("{other:?}"),
        };
        self.send(answer).await;
        false
    }

    async fn next(&mut self) -> Packet {
        loop {
            if let Ok(packet) = Packet::read(&mut self.input, usize::MAX) {
                return packet;
            }
            let read = timeout(PATIENCE, self.socket.read_buf(&mut self.input)).await.expect("a packet");
            assert!(read.unwrap() > 0, "the session keeps its connection");
        }
    }

    async fn send(&mut self, packet: Packet) {
        let mut output = BytesMut::new();
        packet.write(&mut output, usize::MAX).unwrap();
        self.socket.write_all_buf(&mut output).await.unwrap();
    }

    async fn publish(&mut self, id: u16, dup: bool, payload: &str) {
        let mut publish = Publish::new("t", QoS::ExactlyOnce, payload);
        (publish.pkid, publish.dup) = (id, dup);
        self.send(Packet::Publish(publish)).await;
    }

    /// What the session has said of QoS 2 since the last time, when it is these many packets.
    async fn answers(&mut self, count: usize) -> Vec<Packet> {
        while self.answers.len() < count {
            self.serve().await;
        }
        std::mem::take(&mut self.answers)
    }
}

async fn start(options: OpenOptions) -> (TcpListener, Broker, Session) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    let accept = async {
        let mut broker = Broker::accept(&listener, 1).await;
        while !broker.tried {
            broker.serve().await;
        }
        broker
    };
    let (mut broker, session) = tokio::join!(accept, Session::open_with(&url, "s", options));
    let subscribed = async { while !broker.serve().await {} };
    tokio::join!(subscribed, session.subscribe("t"));
    (listener, broker, session)
}

fn received(id: u16) -> Packet {
    Packet::PubRec(PubRec::new(id))
}

fn completed(id: u16) -> Packet {
    Packet::PubComp(PubComp::new(id))
}

#[tokio::test]
async fn a_second_copy_of_a_message_with_qos_2_is_answered_and_not_handed_out() {
    let (listener, mut broker, mut session) = start(OpenOptions::default()).await;
    broker.publish(5, false, "one").await;
    broker.publish(5, true, "one").await;
    broker.publish(6, false, "two").await;
    broker.send(Packet::PubRel(PubRel::new(5))).await;
    // It is released: this is another one.
    broker.publish(5, false, "three").await;
    let expected = [received(5), received(5), received(6), completed(5), received(5)];
    assert_eq!(broker.answers(5).await, expected);
    for text in ["one", "two", "three"] {
        assert_eq!(session.message().await.1, text);
    }
    // What is unknown is answered all the same.
    broker.send(Packet::PubRel(PubRel::new(99))).await;
    broker.send(Packet::PubRec(PubRec::new(98))).await;
    broker.send(Packet::PubComp(PubComp::new(97))).await;
    assert_eq!(broker.answers(2).await, [completed(99), Packet::PubRel(PubRel::new(98))]);
    // A new connection has a clean session: the broker begins anew, and 6 is another message.
    drop(broker);
    let mut broker = Broker::accept(&listener, 1).await;
    broker.publish(6, false, "four").await;
    assert_eq!(broker.answers(1).await, [received(6)]);
    assert_eq!(session.message().await.1, "four");
}

#[tokio::test]
async fn an_oversize_message_with_qos_2_completes_its_handshake_and_is_counted_once() {
    let options = OpenOptions { max_payload: 10, ..OpenOptions::default() };
    let (_listener, mut broker, mut session) = start(options).await;
    let large = "x".repeat(1 << 20);
    broker.publish(7, false, &large).await;
    broker.publish(7, true, &large).await;
    broker.send(Packet::PubRel(PubRel::new(7))).await;
    broker.publish(8, false, "small").await;
    assert_eq!(broker.answers(4).await, [received(7), received(7), completed(7), received(8)]);
    assert_eq!(session.next().await, Event::Lagged(1));
    assert_eq!(session.message().await.1, "small");
}

#[tokio::test]
async fn a_broker_that_does_not_read_its_answers_is_left() {
    let (listener, mut broker, session) =
        start(OpenOptions { max_payload: 1000, ..OpenOptions::default() }).await;
    let release = [0x62, 2, 0, 1].repeat(16 * 1024);
    let flooding = async {
        for _ in 0..10_000 {
            if broker.socket.write_all(&release).await.is_err() {
                return;
            }
        }
        panic!("the session takes everything");
    };
    timeout(PATIENCE, flooding).await.expect("the session neither waits nor swells");
    // It comes back.
    Broker::accept(&listener, 1).await;
    timeout(QUIET, session.tx.close(QUIET)).await.ok();
}
