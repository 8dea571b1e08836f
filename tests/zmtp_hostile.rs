//! Strangers at the port of the native engine: what they send costs what is bounded, and others nothing.
#![cfg(all(target_os = "linux", feature = "zmtp"))]
#![allow(clippy::unwrap_used, clippy::panic)] // That is how tests fail, their helpers included.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ringbus::transport::zmq::{Engine, ZmqRx, ZmqTx};
use ringbus::transport::{
    Event, OpenOptions, Outbound, Transport, TransportRx, TransportTx, TrySendError, ZmqTransport,
};
use ringbus::{Topic, TopicFilter};

const PATIENCE: Duration = Duration::from_secs(60);

/// A session, and whether it still works.
struct Node {
    tx: ZmqTx,
    rx: ZmqRx,
}

impl Node {
    async fn open(options: OpenOptions) -> Self {
        // A stranger that is stuck stays so for the whole test.
        let transport = ZmqTransport::ephemeral().engine(Engine::Native).peer_timeout(2 * PATIENCE);
        let (tx, rx) = transport.open(options).await.unwrap();
        Self { tx, rx }
    }

    fn address(&self) -> String {
        self.tx.local().as_str().trim_start_matches("zmq+tcp://").to_owned()
    }

    /// Receives until this payload comes.
    async fn hear(&mut self, wanted: &str) {
        let mut events = Vec::new();
        let heard = |event: &Event| matches!(event, Event::Message { payload, .. } if payload == wanted);
        tokio::time::timeout(PATIENCE, async {
            while !events.iter().any(heard) {
                events.clear();
                self.rx.recv_batch(&mut events, 64).await.unwrap();
            }
        })
        .await
        .unwrap_or_else(|_| panic!("{wanted} did not come"));
    }

    /// A newcomer gets in, publishes and is heard; and is answered.
    async fn still_serves(&mut self, round: usize) {
        let mut friend = Self::open(OpenOptions::default()).await;
        let topic = Topic::new("friends").unwrap();
        self.tx.subscribe(&TopicFilter::from(&topic)).await.unwrap();
        self.tx.attach(friend.tx.local()).await.unwrap();
        let begun = Instant::now();
        let word = format!("round {round}");
        loop {
            friend.tx.try_send(Outbound::topic(topic.clone(), word.clone())).unwrap();
            if tokio::time::timeout(Duration::from_millis(20), self.hear(&word)).await.is_ok() {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "a newcomer is not heard");
        }
        self.tx.try_send(Outbound::peer(friend.tx.local().clone(), word.clone())).unwrap();
        friend.hear(&word).await;
        self.tx.detach(friend.tx.local()).await.unwrap();
    }
}

/// How much memory this process has, in bytes.
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

/// Numbers without a pattern, the same in each run.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 8) as usize
    }

    fn below(&mut self, bound: usize) -> usize {
        self.next() % bound
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most)).map(|_| self.next() as u8).collect()
    }
}

/// The greeting of ZMTP 3.1 with NULL, and a READY.
fn greeting(socket_type: &str, identity: &str) -> Vec<u8> {
    let mut bytes = b"\xff\0\0\0\0\0\0\0\0\x7f\x03\x01NULL".to_vec();
    bytes.resize(64, 0);
    let mut ready = b"\x05READY".to_vec();
    for (name, value) in [("Socket-Type", socket_type), ("Identity", identity)] {
        ready.push(name.len() as u8);
        ready.extend(name.as_bytes());
        ready.extend((value.len() as u32).to_be_bytes());
        ready.extend(value.as_bytes());
    }
    bytes.extend([4, ready.len() as u8]);
    bytes.extend(ready);
    bytes
}

fn frame(flags: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![flags | 2];
    bytes.extend((body.len() as u64).to_be_bytes());
    bytes.extend(body);
    bytes
}

/// What peers send in order: to be cut and changed.
fn ordinary(chance: &mut Chance) -> Vec<u8> {
    let body = chance.bytes(200);
    match chance.below(8) {
        0 => frame(4, &[b"\x09SUBSCRIBE", &body[..]].concat()),
        1 => frame(4, &[b"\x06CANCEL", &body[..]].concat()),
        2 => frame(4, b"\x04PING\0\0context"),
        3 => frame(0, &[b"\x01", &body[..]].concat()),
        4 => frame(0, &[b"d", &body[..]].concat()),
        5 => [frame(1, b"D"), frame(0, &body)].concat(),
        6 => frame(0, b"c\x01\x00\x15zmq+tcp://127.0.0.1:9\x09\x07"),
        _ => frame(0, &[b"c\x01", &body[..]].concat()),
    }
}

fn changed(chance: &mut Chance, mut bytes: Vec<u8>) -> Vec<u8> {
    for _ in 0..chance.below(4) {
        let at = chance.below(bytes.len());
        bytes[at] = chance.next() as u8;
    }
    if chance.below(10) == 0 {
        let end = chance.below(bytes.len());
        bytes.truncate(end);
    }
    bytes
}

/// Mutated and truncated bytes, raw and behind a good greeting: none ends, blocks or grows the session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_bytes_harm_nobody() {
    let mut node = Node::open(OpenOptions { max_payload: 1 << 20, ..OpenOptions::default() }).await;
    node.still_serves(0).await;
    let before = memory();
    for round in 1..=4 {
        let address = node.address();
        let strangers = tokio::task::spawn_blocking(move || {
            let mut chance = Chance(0x9e37_79b9_7f4a_7c15 ^ round as u64);
            for number in 0..150 {
                let mut stranger = TcpStream::connect(&address).unwrap();
                stranger.set_nonblocking(false).unwrap();
                let mut bytes = match number % 3 {
                    0 => chance.bytes(300),
                    1 => greeting("SUB", ""),
                    _ => greeting("DEALER", "zmq+tcp://127.0.0.1:9"),
                };
                if number % 5 == 0 && !bytes.is_empty() {
                    bytes = changed(&mut chance, bytes);
                }
                for _ in 0..100 {
                    let ordinary = ordinary(&mut chance);
                    bytes.extend(changed(&mut chance, ordinary));
                }
                // The session may have had enough before the end.
                drop(stranger.write_all(&bytes));
            }
        });
        // What the strangers' subscriptions report is to be taken, as a session does.
        let reading = async {
            let mut events = Vec::new();
            while !strangers.is_finished() {
                let some = node.rx.recv_batch(&mut events, 64);
                drop(tokio::time::timeout(Duration::from_millis(10), some).await);
                events.clear();
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.unwrap();
        strangers.await.unwrap();
        node.still_serves(round).await;
    }
    let grown = memory().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more");
}

/// A length that a peer states is not believed, and a connection that says nothing keeps nobody out and ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_only_announced_costs_nothing() {
    let mut node = Node::open(OpenOptions::default()).await;
    node.still_serves(0).await;
    let before = memory();
    let announcing: Vec<_> = (0..60)
        .map(|number| {
            let mut stranger = TcpStream::connect(node.address()).unwrap();
            let name = format!("zmq+tcp://127.0.0.1:{}", 1000 + number);
            stranger.write_all(&greeting("DEALER", &name)).unwrap();
            // 16 MiB, of which a little comes.
            stranger.write_all(&[2, 0, 0, 0, 0, 1, 0, 0, 0]).unwrap();
            stranger.write_all(&[b'd'; 1000]).unwrap();
            stranger
        })
        .collect();
    // More than may be greeting at once: the oldest give way.
    let mut silent: Vec<_> = (0..400).map(|_| TcpStream::connect(node.address()).unwrap()).collect();
    node.still_serves(1).await;
    let grown = memory().saturating_sub(before);
    assert!(grown < 128 << 20, "{grown} bytes for {} that announce 16 MiB each", announcing.len());
    let ended = tokio::task::spawn_blocking(move || {
        for stranger in &mut silent {
            stranger.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut greeting = Vec::new();
            // A reset is an end, too.
            drop(stranger.read_to_end(&mut greeting));
        }
    });
    tokio::time::timeout(PATIENCE, ended).await.unwrap().unwrap();
    node.still_serves(2).await;
}

/// A subscriber that does not read holds up what it has subscribed to, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_connection_never_delays_the_others() {
    let publisher = Node::open(OpenOptions { queue: 16, ..OpenOptions::default() }).await;
    let mut healthy = Node::open(OpenOptions::default()).await;
    let (held, free) = (Topic::new("held").unwrap(), Topic::new("free").unwrap());
    healthy.tx.subscribe(&TopicFilter::from(&free)).await.unwrap();
    healthy.tx.attach(publisher.tx.local()).await.unwrap();
    let mut stuck = TcpStream::connect(publisher.address()).unwrap();
    stuck.write_all(&greeting("SUB", "")).unwrap();
    stuck.write_all(&frame(4, b"\x09SUBSCRIBEheld\0")).unwrap();
    let large = Bytes::from(vec![7; 256 << 10]);
    let begun = Instant::now();
    while publisher.tx.try_send(Outbound::topic(held.clone(), large.clone())).is_ok() {
        assert!(begun.elapsed() < PATIENCE, "it is never full");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // Until its subscription has come.
    while tokio::time::timeout(Duration::from_millis(20), healthy.hear("begin")).await.is_err() {
        publisher.tx.try_send(Outbound::topic(free.clone(), "begin")).unwrap();
        assert!(begun.elapsed() < PATIENCE, "the healthy one hears nothing");
    }
    for number in 0..500 {
        let word = number.to_string();
        let refused = publisher.tx.try_send(Outbound::topic(held.clone(), large.clone()));
        assert!(matches!(refused, Err(TrySendError::Full(_))), "{refused:?}");
        publisher.tx.try_send(Outbound::topic(free.clone(), word.clone())).unwrap();
        publisher.tx.try_send(Outbound::peer(healthy.tx.local().clone(), format!("to you {word}"))).unwrap();
        if number % 4 == 3 {
            healthy.hear(&word).await;
        }
    }
    publisher.tx.try_send(Outbound::peer(healthy.tx.local().clone(), "the last")).unwrap();
    healthy.hear("the last").await;
    drop(stuck);
}
