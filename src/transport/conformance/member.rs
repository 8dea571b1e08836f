//! One endpoint as the checks use it: every wait bounded, messages and announcements kept apart.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout, timeout_at};

use super::super::{
    Event, Locator, Origin, Outbound, Transport, TransportRx, TransportTx, TrySendError, Undelivered,
};
use super::{Failure, Harness, OpenOptions};
use crate::error::{ErrorKind, Result as ApiResult};
use crate::topic::{Topic, TopicFilter};

/// What a check returns while it does not know its own name.
pub(super) type Outcome<T = ()> = Result<T, String>;

/// A payload that only finds out whether a route exists; [`Member::message`] passes over it.
const PROBE: &[u8] = b"?probe";

/// How often a route is probed, and how long silence must last to count as such.
const PROBE_INTERVAL: Duration = Duration::from_millis(20);
pub(super) const SILENCE: Duration = Duration::from_millis(300);

/// Events are taken in batches of this size, so that the bound of `recv_batch` is in play.
const BATCH: usize = 64;

pub(super) struct Member<T: Transport> {
    pub(super) name: String,
    pub(super) tx: T::Tx,
    /// A mutex for the sake of `Sync`, which receiving halves need not be; it is never locked.
    rx: Mutex<T::Rx>,
    root: String,
    patience: Duration,
    messages: VecDeque<(Origin, Bytes)>,
    signals: VecDeque<Event>,
}

impl<T: Transport> Member<T> {
    pub(super) async fn open<H: Harness<Transport = T>>(harness: &H, name: &str) -> Outcome<Self> {
        Self::open_with(harness, name, harness.options()).await
    }

    pub(super) async fn open_with<H: Harness<Transport = T>>(
        harness: &H,
        name: &str,
        options: OpenOptions,
    ) -> Outcome<Self> {
        let patience = harness.patience();
        let opened = bounded(patience, "open", harness.endpoint(name).open(options)).await?;
        let (tx, rx) = opened.map_err(|error| format!("open of endpoint {name:?} failed: {error}"))?;
        Ok(Self {
            name: name.to_owned(),
            tx,
            rx: Mutex::new(rx),
            root: format!("{}/", harness.root()),
            patience,
            messages: VecDeque::new(),
            signals: VecDeque::new(),
        })
    }

    /// Opens an endpoint again; the system may take a moment to free its address.
    pub(super) async fn reopen<H: Harness<Transport = T>>(harness: &H, name: &str) -> Outcome<Self> {
        let deadline = Instant::now() + harness.patience();
        loop {
            match Self::open(harness, name).await {
                Ok(member) => return Ok(member),
                Err(what) => require(Instant::now() < deadline, || what)?,
            }
            tokio::time::sleep(PROBE_INTERVAL).await;
        }
    }

    pub(super) fn rx(&mut self) -> &mut T::Rx {
        self.rx.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn local(&self) -> Locator {
        self.tx.local().clone()
    }

    /// Attaches to a peer and waits until each side has heard of the other.
    pub(super) async fn join(&mut self, peer: &mut Self) -> Outcome {
        self.call("attach", self.tx.attach(peer.tx.local())).await?;
        self.peer_up(&peer.local()).await?;
        peer.peer_up(&self.local()).await
    }

    pub(super) async fn peer_up(&mut self, peer: &Locator) -> Outcome {
        self.signal(&format!("PeerUp({peer})"), |event| matches!(event, Event::PeerUp(up) if up == peer))
            .await
    }

    pub(super) async fn peer_down(&mut self, peer: &Locator) -> Outcome {
        self.signal(
            &format!("PeerDown({peer})"),
            |event| matches!(event, Event::PeerDown(down) if down == peer),
        )
        .await
    }

    pub(super) async fn subscribe(&self, filter: &TopicFilter) -> Outcome {
        self.call("subscribe", self.tx.subscribe(filter)).await
    }

    pub(super) async fn unsubscribe(&self, filter: &TopicFilter) -> Outcome {
        self.call("unsubscribe", self.tx.unsubscribe(filter)).await
    }

    pub(super) async fn send(&self, outbound: Outbound) -> Outcome {
        self.send_all(&mut vec![outbound]).await
    }

    /// Sends all, waiting where the transport is busy.
    pub(super) async fn send_all(&self, batch: &mut Vec<Outbound>) -> Outcome {
        self.call("send_batch", self.tx.send_batch(batch)).await?;
        require(batch.is_empty(), || format!("send_batch returned Ok and left {} messages", batch.len()))
    }

    /// Takes the next message that is not a probe; whatever else comes is kept for [`signal`](Self::signal).
    pub(super) async fn message(&mut self) -> Outcome<(Origin, Bytes)> {
        let deadline = Instant::now() + self.patience;
        loop {
            while let Some((from, payload)) = self.messages.pop_front() {
                if payload != PROBE {
                    return Ok((from, payload));
                }
            }
            if !self.receive(deadline).await? {
                return Err(format!(
                    "{:?} received no message within {:?}; pending announcements: {:?}",
                    self.name,
                    self.patience,
                    self.signals.iter().take(8).collect::<Vec<_>>()
                ));
            }
        }
    }

    /// The next message, if one comes before there has been silence for a while.
    pub(super) async fn message_or_silence(&mut self) -> Outcome<Option<(Origin, Bytes)>> {
        let deadline = Instant::now() + SILENCE;
        while self.messages.iter().all(|(_, payload)| payload == PROBE) {
            if !self.receive(deadline).await? {
                return Ok(None);
            }
        }
        self.message().await.map(Some)
    }

    /// Waits for an announcement; other events are kept.
    pub(super) async fn signal(&mut self, what: &str, wanted: impl Fn(&Event) -> bool) -> Outcome {
        let deadline = Instant::now() + self.patience;
        loop {
            if let Some(at) = self.signals.iter().position(&wanted) {
                self.signals.remove(at);
                return Ok(());
            }
            if !self.receive(deadline).await? {
                return Err(format!("{:?} did not hear {what} within {:?}", self.name, self.patience));
            }
        }
    }

    /// Whether an announcement is at hand, without waiting for it.
    pub(super) fn heard(&self, wanted: impl Fn(&Event) -> bool) -> bool {
        self.signals.iter().any(wanted)
    }

    /// Receives until the transport says that it is closed; what came is kept.
    pub(super) async fn receive_to_the_end(&mut self) -> Outcome {
        let mut events = Vec::new();
        loop {
            match bounded(self.patience, "recv_batch", self.rx().recv_batch(&mut events, BATCH)).await? {
                Ok(_) => self.sort(std::mem::take(&mut events)),
                Err(error) if matches!(error.kind(), ErrorKind::Closed { .. }) => return Ok(()),
                Err(error) => return Err(format!("recv_batch of a closed endpoint failed with: {error}")),
            }
        }
    }

    /// A call that must succeed, in time.
    pub(super) async fn call<R>(&self, what: &str, call: impl Future<Output = ApiResult<R>>) -> Outcome<R> {
        let answer = bounded(self.patience, what, call).await?;
        answer.map_err(|error| format!("{what} of {:?} failed: {error}", self.name))
    }

    /// A call that must fail with the given kind of error, in time.
    pub(super) async fn refused<R>(
        &self,
        what: &str,
        call: impl Future<Output = ApiResult<R>>,
        expected: impl Fn(&ErrorKind) -> bool,
    ) -> Outcome {
        match bounded(self.patience, what, call).await? {
            Ok(_) => Err(format!("{what} succeeded and should have failed")),
            Err(error) => require(expected(error.kind()), || {
                format!("{what} failed with another kind of error: {:?}: {error}", error.kind())
            }),
        }
    }

    /// Hands a message over with `try_send` alone, again and again while the queue is full.
    pub(super) async fn try_until_taken(&self, mut outbound: Outbound) -> Outcome {
        let deadline = Instant::now() + self.patience;
        loop {
            match self.tx.try_send(outbound) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Failed(error)) => return Err(format!("try_send failed: {error}")),
                Err(TrySendError::Full(back)) => outbound = back,
            }
            require(Instant::now() < deadline, || "try_send stays Full".to_owned())?;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Receives one batch. `false` if nothing came before the deadline.
    async fn receive(&mut self, deadline: Instant) -> Outcome<bool> {
        let mut events = Vec::new();
        let Ok(answer) = timeout_at(deadline, self.rx().recv_batch(&mut events, BATCH)).await else {
            return Ok(false);
        };
        let count = answer.map_err(|error| format!("recv_batch of {:?} failed: {error}", self.name))?;
        require(count == events.len() && (1..=BATCH).contains(&count), || {
            format!("recv_batch with max {BATCH} appended {} events and returned {count}", events.len())
        })?;
        self.sort(events);
        Ok(true)
    }

    fn sort(&mut self, events: Vec<Event>) {
        for event in events {
            match event {
                // Others may use the same broker.
                Event::Message { from: Origin::Topic(topic), .. }
                    if !topic.as_str().starts_with(&self.root) => {}
                Event::Retained { topic, .. } if !topic.as_str().starts_with(&self.root) => {}
                Event::Message { from, payload } => self.messages.push_back((from, payload)),
                signal => self.signals.push_back(signal),
            }
        }
    }
}

/// Waits until what `publisher` sends to `topic` reaches all subscribers. Where the transport confirms subscriptions
/// there is nothing to wait for, and nothing is.
pub(super) async fn warm_up<T: Transport>(
    publisher: &Member<T>,
    subscribers: &mut [&mut Member<T>],
    topic: &Topic,
) -> Outcome {
    if publisher.tx.capabilities().confirmed_subscriptions {
        return Ok(());
    }
    probe(publisher, subscribers, topic).await
}

/// Publishes probes until each subscriber has received one.
pub(super) async fn probe<T: Transport>(
    publisher: &Member<T>,
    subscribers: &mut [&mut Member<T>],
    topic: &Topic,
) -> Outcome {
    for subscriber in subscribers {
        let deadline = Instant::now() + subscriber.patience;
        let arrived = |from: &Origin| matches!(from, Origin::Topic(heard) if heard == topic);
        while !subscriber.has_probe(arrived) {
            publisher.try_until_taken(Outbound::topic(topic.clone(), PROBE)).await?;
            subscriber.receive(Instant::now() + PROBE_INTERVAL).await?;
            require(Instant::now() < deadline, || {
                format!("nothing that {:?} sends to {topic} reaches {:?}", publisher.name, subscriber.name)
            })?;
        }
    }
    Ok(())
}

/// Sends directed probes until one has arrived.
pub(super) async fn probe_peer<T: Transport>(from: &Member<T>, to: &mut Member<T>) -> Outcome {
    let deadline = Instant::now() + to.patience;
    to.messages.retain(|(origin, payload)| payload != PROBE || !is_directed(origin));
    while !to.has_probe(is_directed) {
        from.try_until_taken(Outbound::peer(to.local(), PROBE)).await?;
        to.receive(Instant::now() + PROBE_INTERVAL).await?;
        require(Instant::now() < deadline, || {
            format!("nothing that {:?} sends to the peer {:?} arrives", from.name, to.name)
        })?;
    }
    Ok(())
}

impl<T: Transport> Member<T> {
    fn has_probe(&self, from: impl Fn(&Origin) -> bool) -> bool {
        self.messages.iter().any(|(origin, payload)| payload == PROBE && from(origin))
    }

    /// Forgets what is at hand, so that what comes later is not mistaken for it.
    pub(super) fn forget(&mut self) {
        self.messages.clear();
        self.signals.clear();
    }

    /// Takes messages outside the suite's root, too.
    pub(super) fn see_all_roots(&mut self) {
        self.root.clear();
    }

    /// Closes with a generous deadline.
    pub(super) async fn close(&self) -> Outcome<Undelivered> {
        self.call("close", self.tx.close(self.patience / 2)).await
    }
}

fn is_directed(origin: &Origin) -> bool {
    matches!(origin, Origin::Peer(_))
}

pub(super) fn require(holds: bool, otherwise: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(otherwise()) }
}

pub(super) async fn bounded<F: Future>(patience: Duration, what: &str, future: F) -> Outcome<F::Output> {
    timeout(patience, future).await.map_err(|_| format!("{what} did not return within {patience:?}"))
}

/// Gives a failure the name of its check.
pub(super) fn named(check: &'static str, outcome: Outcome) -> Result<(), Failure> {
    outcome.map_err(|what| Failure { check, what })
}

/// The topic or filter `suffix` below the root and the name of the check.
pub(super) fn topic<H: Harness>(harness: &H, check: &str, suffix: &str) -> Outcome<Topic> {
    Topic::new(format!("{}/{check}/{suffix}", harness.root())).map_err(|error| error.to_string())
}

pub(super) fn filter<H: Harness>(harness: &H, check: &str, suffix: &str) -> Outcome<TopicFilter> {
    TopicFilter::new(format!("{}/{check}/{suffix}", harness.root())).map_err(|error| error.to_string())
}

/// A payload of at least 16 bytes that carries a sender and a number.
pub(super) fn numbered(sender: u64, number: u64, size: usize) -> Bytes {
    let mut payload = Vec::with_capacity(size.max(16));
    payload.extend_from_slice(&sender.to_le_bytes());
    payload.extend_from_slice(&number.to_le_bytes());
    payload.resize(size.max(16), number as u8);
    payload.into()
}

/// Sender and number of a [`numbered`] payload, after a look at every byte of it.
pub(super) fn number(payload: &[u8]) -> Outcome<(u64, u64)> {
    let (head, fill) = payload
        .split_at_checked(16)
        .ok_or_else(|| format!("a payload of {} bytes, never sent", payload.len()))?;
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |word, &byte| (word << 8) | u64::from(byte));
    let (sender, number) = (word(&head[..8]), word(&head[8..]));
    require(fill.iter().all(|&byte| byte == number as u8), || format!("payload {number} arrived changed"))?;
    Ok((sender, number))
}
