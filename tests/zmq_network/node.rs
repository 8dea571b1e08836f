//! A session as these tests use it.

#![allow(unreachable_pub, reason = "shared with the tests beside it")]

use std::time::{Duration, Instant};

use bytes::Bytes;
use ringbus::transport::zmq::{ZmqRx, ZmqTx};
use ringbus::transport::{
    Event, Locator, OpenOptions, Origin, Outbound, Transport, TransportRx, TransportTx, ZmqTransport,
};
use ringbus::{Topic, TopicFilter};

use super::PATIENCE;

/// A session, and the events that were taken while others were looked for.
pub struct Node {
    pub tx: ZmqTx,
    pub rx: ZmqRx,
    pub events: Vec<Event>,
}

impl Node {
    pub async fn open(transport: ZmqTransport) -> Self {
        Self::open_with(transport, OpenOptions::default()).await
    }

    pub async fn open_with(transport: ZmqTransport, options: OpenOptions) -> Self {
        let (tx, rx) = transport.open(options).await.unwrap();
        Self { tx, rx, events: Vec::new() }
    }

    pub fn local(&self) -> Locator {
        self.tx.local().clone()
    }

    pub fn endpoint(&self) -> String {
        self.tx.local().as_str().trim_start_matches("zmq+").to_owned()
    }

    /// Takes events until one is wanted; the others stay.
    pub async fn wait<R>(&mut self, what: &str, mut wanted: impl FnMut(&Event) -> Option<R>) -> R {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Some((at, found)) =
                self.events.iter().enumerate().find_map(|(at, e)| Some((at, wanted(e)?)))
            {
                self.events.remove(at);
                return found;
            }
            match tokio::time::timeout_at(deadline, self.rx.recv_batch(&mut self.events, 64)).await {
                Ok(received) => drop(received.unwrap()),
                Err(_) => panic!("no {what} in time; instead {:?}", self.events),
            }
        }
    }

    pub async fn up(&mut self, peer: &Locator) {
        self.wait("PeerUp", |event| (*event == Event::PeerUp(peer.clone())).then_some(())).await;
    }

    pub async fn down(&mut self, peer: &Locator) {
        self.wait("PeerDown", |event| (*event == Event::PeerDown(peer.clone())).then_some(())).await;
    }

    pub async fn message(&mut self) -> (Origin, Bytes) {
        self.wait("message", |event| match event {
            Event::Message { from, payload } => Some((from.clone(), payload.clone())),
            _ => None,
        })
        .await
    }

    pub async fn interest(&mut self, filter: &str) {
        let wanted = self::filter(filter);
        self.wait("Interest", |event| (*event == Event::Interest(wanted.clone())).then_some(())).await;
    }

    /// Whatever comes within a while.
    pub async fn linger(&mut self, pause: Duration) {
        let deadline = tokio::time::Instant::now() + pause;
        while let Ok(received) =
            tokio::time::timeout_at(deadline, self.rx.recv_batch(&mut self.events, 64)).await
        {
            received.unwrap();
        }
    }

    pub fn messages(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, Event::Message { .. })).count()
    }

    pub fn publish(&self, name: &str, payload: &'static str) {
        self.tx.try_send(Outbound::topic(topic(name), payload)).unwrap();
    }

    pub fn tell(&self, peer: &Locator, payload: &'static str) {
        self.tx.try_send(Outbound::peer(peer.clone(), payload)).unwrap();
    }

    pub async fn subscribe(&self, text: &str) {
        self.tx.subscribe(&filter(text)).await.unwrap();
    }

    pub async fn close(self) -> usize {
        self.tx.close(Duration::from_secs(5)).await.unwrap().messages
    }
}

pub fn topic(text: &str) -> Topic {
    Topic::new(text).unwrap()
}

pub fn filter(text: &str) -> TopicFilter {
    TopicFilter::new(text).unwrap()
}

/// A loopback address of this process alone, so that tests which run side by side in processes of their own cannot meet
/// at a port.
pub fn host() -> String {
    let [high, mid, low, _] = (std::process::id() << 8).to_be_bytes();
    format!("127.{}.{mid}.{low}", 64 + high % 63)
}

/// A port of [`host`] that is free, below the range from which the system takes free ports.
pub fn free_port() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(10_000);
    loop {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        if std::net::TcpListener::bind((host(), port)).is_ok() {
            return port;
        }
    }
}

/// Opens at an address that may take a moment to be free again.
pub async fn reopen(transport: &ZmqTransport) -> Node {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match transport.clone().open(OpenOptions::default()).await {
            Ok((tx, rx)) => return Node { tx, rx, events: Vec::new() },
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
