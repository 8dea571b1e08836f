//! A stretch of wire between a session and its broker that writes down what passes, holds it up and breaks.

#![allow(unreachable_pub, reason = "shared with the tests beside it")]

use std::future::Future;
use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use rumqttc::{Packet, QoS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

/// Which way a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Up,
    Down,
}

/// A packet that came by.
#[derive(Debug, Clone)]
pub struct Seen {
    /// On the how manieth connection, from 1 on.
    pub connection: usize,
    pub way: Way,
    pub packet: Packet,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    /// It waits until the proxy is [opened](Proxy::open), and those behind it do.
    Hold,
    /// It does not arrive, and those behind it do.
    Drop,
    /// It does not arrive, and the connection ends.
    Cut,
    /// It arrives, and the connection ends.
    CutBehind,
}

pub struct Proxy {
    pub url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    open: watch::Sender<bool>,
}

type Rule = dyn Fn(&Seen) -> Verdict + Send + Sync;

impl Proxy {
    /// In front of the broker at this port.
    pub async fn start(broker: u16, rule: impl Fn(&Seen) -> Verdict + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("mqtt://{}", listener.local_addr().unwrap());
        let (seen, open) = (Arc::new(Mutex::new(Vec::new())), watch::Sender::new(false));
        let rule: Arc<Rule> = Arc::new(rule);
        let (log, gate) = (seen.clone(), open.subscribe());
        tokio::spawn(async move {
            for connection in 1.. {
                let (client, _) = listener.accept().await.unwrap();
                let broker = TcpStream::connect(("127.0.0.1", broker)).await.unwrap();
                for socket in [&client, &broker] {
                    socket.set_nodelay(true).unwrap();
                }
                let ((from_client, to_client), (from_broker, to_broker)) =
                    (client.into_split(), broker.into_split());
                let cut = Arc::new(Semaphore::new(0));
                let wire = |way| Wire {
                    connection,
                    way,
                    rule: rule.clone(),
                    seen: log.clone(),
                    open: gate.clone(),
                    cut: cut.clone(),
                };
                tokio::spawn(wire(Way::Up).carry(from_client, to_broker));
                tokio::spawn(wire(Way::Down).carry(from_broker, to_client));
            }
        });
        Self { url, seen, open }
    }

    /// Lets go what is held, and what would be.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The handshakes of a topic's messages: what came by from the first PUBLISH to it on, a letter each for the way, then
    /// the packet, ordered by time. Other messages, pings and subscriptions are left out.
    pub fn handshake(&self, topic: &str) -> Vec<String> {
        let mut ids = Vec::new();
        let mut told = Vec::new();
        for Seen { connection, way, packet } in self.seen() {
            let (what, id) = match &packet {
                Packet::Publish(p) if p.topic == topic => {
                    ids.push((connection, p.pkid));
                    (format!("PUBLISH {}", p.qos as u8), p.pkid)
                }
                Packet::PubAck(p) => ("PUBACK".into(), p.pkid),
                Packet::PubRec(p) => ("PUBREC".into(), p.pkid),
                Packet::PubRel(p) => ("PUBREL".into(), p.pkid),
                Packet::PubComp(p) => ("PUBCOMP".into(), p.pkid),
                _ => continue,
            };
            if ids.contains(&(connection, id)) {
                told.push(format!("{connection} {way:?} {what}"));
            }
        }
        told
    }
}

/// Whether it is a message to this topic, with this QoS.
pub fn is_publish(packet: &Packet, topic: &str, qos: QoS) -> bool {
    matches!(packet, Packet::Publish(p) if p.topic == topic && p.qos == qos)
}

/// One direction of a connection.
struct Wire {
    connection: usize,
    way: Way,
    rule: Arc<Rule>,
    seen: Arc<Mutex<Vec<Seen>>>,
    open: watch::Receiver<bool>,
    /// Closed when the connection is to end, both ways.
    cut: Arc<Semaphore>,
}

impl Wire {
    async fn carry(self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
        while self.unless_cut(from.read_buf(&mut input)).await.is_some_and(|read| read.is_ok_and(|n| n > 0)) {
            while let Ok(packet) = Packet::read(&mut input, usize::MAX) {
                let seen = Seen { connection: self.connection, way: self.way, packet };
                let verdict = (self.rule)(&seen);
                if verdict == Verdict::Cut {
                    self.cut.close();
                    return;
                }
                if verdict == Verdict::Drop {
                    continue;
                }
                if verdict == Verdict::Hold {
                    let mut open = self.open.clone();
                    if self.unless_cut(open.wait_for(|open| *open)).await.is_none() {
                        return;
                    }
                }
                seen.packet.write(&mut output, usize::MAX).unwrap();
                self.seen.lock().unwrap().push(seen);
                let written = self.unless_cut(to.write_all_buf(&mut output)).await;
                if verdict == Verdict::CutBehind {
                    // What was written is read before the end.
                    to.shutdown().await.ok();
                    self.cut.close();
                }
                if written.is_none_or(|written| written.is_err()) {
                    return;
                }
            }
        }
        self.cut.close();
    }

    async fn unless_cut<F: Future>(&self, future: F) -> Option<F::Output> {
        tokio::select! {
            output = future => Some(output),
            _ = self.cut.acquire() => None,
        }
    }
}
