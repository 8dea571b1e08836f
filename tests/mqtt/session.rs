//! A session as these tests use it.

#![allow(unreachable_pub, reason = "shared with the tests beside it")]

use std::time::Duration;

use bytes::BytesMut;
use ringbus::transport::mqtt::{MqttRx, MqttTx};
use ringbus::transport::{
    Event, Locator, MqttTransport, OpenOptions, Origin, Outbound, Transport, TransportRx, TransportTx,
};
use ringbus::{Topic, TopicFilter};
use rumqttc::{ConnAck, ConnectReturnCode, Packet, PubAck, Publish, QoS, SubAck, SubscribeReasonCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PATIENCE;

pub struct Session {
    pub tx: MqttTx,
    pub rx: MqttRx,
    pub events: std::collections::VecDeque<Event>,
}

impl Session {
    pub async fn open(url: &str, name: &str) -> Self {
        Self::open_with(url, name, OpenOptions::default()).await
    }

    pub async fn open_with(url: &str, name: &str, options: OpenOptions) -> Self {
        let transport = MqttTransport::new(url).client_id(name).keep_alive(Duration::from_secs(1));
        let (tx, rx) = transport.open(options).await.unwrap();
        Self { tx, rx, events: Default::default() }
    }

    pub async fn subscribe(&self, filter: &str) {
        self.tx.subscribe(&TopicFilter::new(filter).unwrap()).await.unwrap();
    }

    pub async fn unsubscribe(&self, filter: &str) {
        self.tx.unsubscribe(&TopicFilter::new(filter).unwrap()).await.unwrap();
    }

    pub async fn publish(&self, name: &str, payload: impl Into<bytes::Bytes>) {
        let message = Outbound::topic(topic(name), payload).reliable();
        self.tx.send_batch(&mut vec![message]).await.unwrap();
    }

    pub async fn next(&mut self) -> Event {
        while self.events.is_empty() {
            let mut batch = Vec::new();
            timeout(PATIENCE, self.rx.recv_batch(&mut batch, 100)).await.expect("an event").unwrap();
            self.events.extend(batch);
        }
        self.events.pop_front().unwrap()
    }

    pub async fn until(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        loop {
            let event = self.next().await;
            if wanted(&event) {
                return event;
            }
        }
    }

    pub async fn message(&mut self) -> (Origin, String) {
        let is_message = |event: &Event| matches!(event, Event::Message { .. } | Event::Retained { .. });
        match self.until(is_message).await {
            Event::Retained { topic, payload, .. } => {
                (Origin::Topic(topic), String::from_utf8_lossy(&payload).into_owned())
            }
            Event::Message { from, payload } => (from, String::from_utf8_lossy(&payload).into_owned()),
            _ => unreachable!(),
        }
    }

    /// All messages up to the one that says so, which this session sends itself behind them.
    pub async fn messages_until_fence(&mut self) -> Vec<String> {
        let fence = format!("fence-{}", rand::random::<u64>());
        let own = self.tx.local().clone();
        self.tx.send_batch(&mut vec![Outbound::peer(own, fence.clone())]).await.unwrap();
        let mut messages = Vec::new();
        loop {
            let (_, text) = self.message().await;
            if text == fence {
                return messages;
            }
            messages.push(text);
        }
    }

    pub async fn close(self) -> usize {
        self.tx.close(Duration::from_secs(5)).await.unwrap().messages
    }
}

/// What a broker that the test plays answers until a session is open: the greeting, its subscriptions, and the message with
/// which it tries its inbox, which comes back under the topic that `rename` makes of it.
pub async fn greet_as(socket: &mut TcpStream, rename: impl Fn(String) -> String) {
    let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
    let mut tried = false;
    while !tried {
        assert!(socket.read_buf(&mut input).await.unwrap() > 0, "the session keeps its connection");
        while let Ok(packet) = Packet::read(&mut input, usize::MAX) {
            let answer = match packet {
                Packet::Connect(_) => Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, false)),
                Packet::Subscribe(subscribe) => {
                    let granted =
                        subscribe.filters.iter().map(|filter| SubscribeReasonCode::Success(filter.qos));
                    Packet::SubAck(SubAck::new(subscribe.pkid, granted.collect()))
                }
                Packet::Publish(publish) => {
                    Packet::PubAck(PubAck::new(publish.pkid)).write(&mut output, usize::MAX).unwrap();
                    if !publish.topic.contains("/inbox/") {
                        continue;
                    }
                    tried = true;
                    Packet::Publish(Publish {
                        topic: rename(publish.topic),
                        qos: QoS::AtMostOnce,
                        pkid: 0,
                        ..publish
                    })
                }
                _ => continue,
            };
            answer.write(&mut output, usize::MAX).unwrap();
        }
        socket.write_all_buf(&mut output).await.unwrap();
    }
}

/// As [`greet_as`], by a broker that leaves topics as they are.
pub async fn greet(socket: &mut TcpStream) {
    greet_as(socket, |topic| topic).await;
}

pub fn topic(name: &str) -> Topic {
    Topic::new(name).unwrap()
}

pub fn peer(name: &str) -> Locator {
    Locator::new(format!("mqtt:{name}")).unwrap()
}
