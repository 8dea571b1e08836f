//! Messages that a sink may take before they are received.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout};

use super::super::{MessageSink, Origin, Outbound, TransportRx};
use super::member::{Member, Outcome, named, number, numbered, probe_peer, require, topic, warm_up};
use super::{Failure, Harness};

/// So many messages at a time, to the topic and to the peer: lone ones, and more than are offered in one go.
const ROUNDS: [u64; 12] = [1, 1, 1, 2, 40, 1, 1, 300, 1, 5, 20, 1];
/// How long is received before the sink's share is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// A receiver with a sink that refuses every third message: what the sink takes and what is received after all are all
/// messages, once and in order, those to a topic and those to one peer.
///
/// # Errors
/// What was lost, doubled or out of order.
pub async fn sink<H: Harness>(harness: &H) -> Result<(), Failure> {
    const CHECK: &str = "sink";
    let check = async {
        let mut publisher = Member::open(harness, "sink-a").await?;
        let mut subscriber = Member::open(harness, "sink-b").await?;
        let heard = Arc::new(Heard::default());
        subscriber.rx().set_sink(heard.clone());
        let topic = topic(harness, CHECK, "t")?;
        subscriber.join(&mut publisher).await?;
        subscriber.subscribe(&(&topic).into()).await?;
        warm_up(&publisher, &mut [&mut subscriber], &topic).await?;
        probe_peer(&publisher, &mut subscriber).await?;
        let peer = subscriber.local();
        let mut sent = 0;
        for count in ROUNDS.into_iter().cycle().take(4 * ROUNDS.len()) {
            for number in sent..sent + count {
                let outbound = [
                    Outbound::topic(topic.clone(), numbered(0, number, 32)).reliable(),
                    Outbound::peer(peer.clone(), numbered(1, number, 32)),
                ];
                publisher.send_all(&mut outbound.into()).await?;
            }
            sent += count;
            let deadline = Instant::now() + harness.patience();
            while heard.least() < sent {
                require(Instant::now() < deadline, || {
                    format!("of {sent} messages {} arrived, by the sink and otherwise", heard.least())
                })?;
                if let Ok(message) = timeout(LOOK, subscriber.message()).await {
                    heard.note(&message?.1)?;
                }
                heard.check()?;
            }
        }
        Ok(())
    };
    named(CHECK, check.await)
}

/// What has arrived, by either way.
#[derive(Default)]
struct Heard(Mutex<Log>);

#[derive(Default)]
struct Log {
    /// The next number of each sender.
    next: [u64; 2],
    /// The first thing that was wrong.
    wrong: Option<String>,
}

impl Heard {
    fn log<R>(&self, look: impl FnOnce(&mut Log) -> R) -> R {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn least(&self) -> u64 {
        self.log(|log| log.next[0].min(log.next[1]))
    }

    fn note(&self, payload: &[u8]) -> Outcome {
        let (sender, number) = number(payload)?;
        self.log(|log| {
            let next = log.next.get_mut(sender as usize).ok_or_else(|| format!("a sender {sender}"))?;
            require(*next == number, || format!("expected message {next} of {sender}, heard {number}"))?;
            *next += 1;
            Ok(())
        })
    }

    fn check(&self) -> Outcome {
        self.log(|log| log.wrong.take().map_or(Ok(()), Err))
    }
}

impl MessageSink for Heard {
    fn take(&self, _from: &Origin, payload: Bytes) -> Option<Bytes> {
        // Probes are to be received.
        let Ok((_, number)) = number(&payload) else { return Some(payload) };
        if number % 3 == 2 {
            return Some(payload);
        }
        if let Err(wrong) = self.note(&payload) {
            self.log(|log| log.wrong.get_or_insert(wrong).truncate(1 << 10));
        }
        None
    }
}
