//! Receivers that do not read, and calls that are given up.

use std::time::Duration;

use futures::FutureExt;
use tokio::time::{Instant, timeout};

use super::super::{Event, Outbound, Transport, TransportRx, TransportTx, TrySendError};
use super::member::{Member, Outcome, named, number, numbered, probe, require, topic, warm_up};
use super::{Failure, Harness, OpenOptions};
use crate::topic::Topic;

/// The size of the messages that fill buffers.
const SIZE: usize = 16 << 10;

/// More than any sane set of buffers holds: 128 MiB.
const ENOUGH: u64 = 8 << 10;

/// How long a queue must stay full, and a batch be stuck, to be called so.
const STUCK: Duration = Duration::from_millis(200);

/// A receiver that does not read: the queue fills up, `try_send` gives the message back, a cancelled `send_batch`
/// leaves the rest with the caller. When the receiver reads again, all that was accepted arrives in order, and complete
/// unless [`Harness::broker_drops`].
///
/// # Errors
/// A queue without bound, a wrong rest, or what was lost, doubled or out of order.
pub async fn back_pressure<H: Harness>(harness: &H) -> Result<(), Failure> {
    const CHECK: &str = "back_pressure";
    let check = async {
        let options = OpenOptions { queue: 64, ..harness.options() };
        let mut publisher = Member::open_with(harness, "pressure-a", options.clone()).await?;
        let mut subscriber = Member::open_with(harness, "pressure-b", options).await?;
        let topic = topic(harness, CHECK, "t")?;
        subscriber.join(&mut publisher).await?;
        subscriber.subscribe(&(&topic).into()).await?;
        warm_up(&publisher, &mut [&mut subscriber], &topic).await?;

        let mut flood = Flood { topic: topic.clone(), accepted: 0 };
        if !harness.broker_drops() {
            flood.fill(&publisher).await?;
            flood.until_stuck(&publisher).await?;
        }
        let mut rest = flood.cancelled_batch(&publisher, harness.broker_drops()).await?;

        let end = flood.accepted + rest.len() as u64;
        let complete = !harness.broker_drops();
        let (sent, heard) = futures::join!(
            publisher.send_all(&mut rest),
            drain(&mut subscriber, end, complete, harness.patience())
        );
        sent?;
        heard?;
        // The session goes on as if nothing had been.
        probe(&publisher, &mut [&mut subscriber], &topic).await?;
        publisher.send(Outbound::topic(topic, numbered(1, end, 16))).await?;
        loop {
            let (sender, number) = number(&subscriber.message().await?.1)?;
            if (sender, number) == (1, end) {
                return Ok(());
            }
            require(!complete, || format!("message {number} arrived late"))?;
        }
    };
    named(CHECK, check.await)
}

struct Flood {
    topic: Topic,
    /// The numbers below this one have been accepted, all of them.
    accepted: u64,
}

impl Flood {
    fn next(&self) -> Outbound {
        self.outbound(self.accepted)
    }

    fn outbound(&self, number: u64) -> Outbound {
        Outbound::topic(self.topic.clone(), numbered(0, number, SIZE))
    }

    /// Hands messages over without a pause until one is given back.
    async fn fill<T: Transport>(&mut self, publisher: &Member<T>) -> Outcome {
        while self.accepted < ENOUGH {
            match publisher.tx.try_send(self.next()) {
                Ok(()) => self.accepted += 1,
                Err(TrySendError::Full(back)) => {
                    return require(back == self.next(), || "Full gave another message back".to_owned());
                }
                Err(TrySendError::Failed(error)) => return Err(format!("try_send under pressure: {error}")),
            }
        }
        Err(format!("try_send took {ENOUGH} messages of {SIZE} bytes that nobody reads"))
    }

    /// Goes on until the queue stays full for a while: buffers below it move on for some time.
    async fn until_stuck<T: Transport>(&mut self, publisher: &Member<T>) -> Outcome {
        let mut moved = Instant::now();
        while moved.elapsed() < STUCK {
            let before = self.accepted;
            self.fill(publisher).await?;
            if self.accepted > before {
                moved = Instant::now();
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// Gives up on a batch and returns what is left of it. Unless the broker drops, something must be left.
    async fn cancelled_batch<T: Transport>(
        &mut self,
        publisher: &Member<T>,
        may_finish: bool,
    ) -> Outcome<Vec<Outbound>> {
        loop {
            let whole: Vec<_> = (self.accepted..self.accepted + 500).map(|n| self.outbound(n)).collect();
            let mut batch = whole.clone();
            let outcome = timeout(STUCK, publisher.tx.send_batch(&mut batch)).await;
            if let Ok(Err(error)) = outcome {
                return Err(format!("send_batch under pressure: {error}"));
            }
            let gone = whole.len().saturating_sub(batch.len());
            require(whole.get(gone..) == Some(&batch[..]), || {
                "a cancelled send_batch left something else than the end of its batch".to_owned()
            })?;
            self.accepted += gone as u64;
            match outcome {
                Err(_cancelled) if batch.is_empty() => {
                    return Err("a send_batch that had sent everything did not return".to_owned());
                }
                Err(_cancelled) => return Ok(batch),
                Ok(_) if may_finish => return Ok(batch),
                Ok(_) => {
                    require(self.accepted < ENOUGH, || "send_batch never waits for the receiver".to_owned())?;
                }
            }
        }
    }
}

/// Receives the numbers below `end`, in order; if they need not be complete, until there is silence.
async fn drain<T: Transport>(
    subscriber: &mut Member<T>,
    end: u64,
    complete: bool,
    patience: Duration,
) -> Outcome {
    let mut expected = 0;
    let deadline = Instant::now() + patience * 3;
    while expected < end {
        let message = if complete {
            Some(subscriber.message().await.map_err(|what| format!("after {expected} of {end}: {what}"))?)
        } else {
            subscriber.message_or_silence().await?
        };
        let Some((_, payload)) = message else { break };
        let (_, number) = number(&payload)?;
        let right = if complete { number == expected } else { number >= expected };
        require(right, || format!("expected message {expected}, received {number}"))?;
        require(Instant::now() < deadline, || {
            format!("the backlog is not through yet, at {number} of {end}")
        })?;
        expected = number + 1;
    }
    require(!complete || !subscriber.heard(|event| matches!(event, Event::Lagged(_))), || {
        "the receiver lagged, although senders can be made to wait".to_owned()
    })
}

/// A receive that is given up again and again loses nothing.
///
/// # Errors
/// What was lost, doubled or out of order.
pub async fn cancelled_receive<H: Harness>(harness: &H) -> Result<(), Failure> {
    const CHECK: &str = "cancelled_receive";
    const MESSAGES: u64 = 500;
    let check = async {
        let mut publisher = Member::open(harness, "cancel-a").await?;
        let mut subscriber = Member::open(harness, "cancel-b").await?;
        let topic = topic(harness, CHECK, "t")?;
        subscriber.join(&mut publisher).await?;
        subscriber.subscribe(&(&topic).into()).await?;
        warm_up(&publisher, &mut [&mut subscriber], &topic).await?;
        subscriber.forget();
        let sender = tokio::spawn({
            let (tx, topic) = (publisher.tx.clone(), topic.clone());
            async move {
                for n in 0..MESSAGES {
                    tx.send_batch(&mut vec![Outbound::topic(topic.clone(), numbered(0, n, 16))]).await?;
                    tokio::task::yield_now().await;
                }
                Ok::<_, crate::Error>(())
            }
        });
        let deadline = Instant::now() + harness.patience();
        let (mut expected, mut attempts) = (0, 0);
        let mut events = Vec::new();
        while expected < MESSAGES {
            require(Instant::now() < deadline, || format!("only {expected} of {MESSAGES} messages arrived"))?;
            // Mostly polled once and dropped, as a `select!` does; sometimes given a moment.
            attempts += 1;
            let receive = subscriber.rx().recv_batch(&mut events, 3);
            let received = match attempts % 8 {
                0 => timeout(Duration::from_millis(1), receive).await.ok(),
                _ => receive.now_or_never(),
            };
            if let Some(Err(error)) = received {
                return Err(format!("recv_batch failed: {error}"));
            }
            for event in events.drain(..) {
                let Event::Message { payload, .. } = event else { continue };
                if payload.len() < 16 {
                    continue;
                }
                let (_, number) = number(&payload)?;
                require(number == expected, || format!("expected message {expected}, received {number}"))?;
                expected += 1;
            }
            tokio::task::yield_now().await;
        }
        let sent = sender.await.map_err(|error| error.to_string())?;
        sent.map_err(|error| format!("send_batch failed: {error}"))
    };
    named(CHECK, check.await)
}
