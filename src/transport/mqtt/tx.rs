//! The sending half.

use std::sync::Arc;
use std::time::Duration;

use rumqttc::{Publish, QoS};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::denial::Denial;
use super::level::Level;
use super::packets::Packets;
use super::queue::{self, NoRoom};
use super::refusals::Refusals;
use super::{address, inbox};
use crate::error::{Error, ErrorKind, Result};
use crate::topic::{Topic, TopicFilter};
use crate::transport::{
    Capabilities, Destination, Guarantee, Locator, Outbound, TransportTx, TrySendError, Undelivered,
};

/// How many subscription changes may wait for the broker.
pub(super) const CHANGES: usize = 64;

/// How long a subscription may wait for the broker, reconnecting included.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(10);

/// The sending half of an MQTT session.
#[derive(Debug, Clone)]
pub struct MqttTx {
    shared: Arc<Shared>,
    messages: queue::Sender,
    changes: mpsc::Sender<ChangeRequest>,
    closes: mpsc::Sender<CloseRequest>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) client_id: String,
    pub(super) locator: Locator,
    pub(super) capabilities: Capabilities,
    pub(super) denial: Denial,
    pub(super) level: Level,
    pub(super) refusals: Refusals,
    pub(super) packets: Packets,
    pub(super) broker: String,
}

/// A subscription to make or to take back.
#[derive(Debug)]
pub(super) struct ChangeRequest {
    pub(super) filter: TopicFilter,
    pub(super) wanted: bool,
    /// What the retained messages that it brings are marked with.
    pub(super) mark: Option<u64>,
    pub(super) reply: oneshot::Sender<Result<()>>,
}

/// A wish to close.
#[derive(Debug)]
pub(super) struct CloseRequest {
    pub(super) deadline: Instant,
    pub(super) reply: oneshot::Sender<Undelivered>,
}

impl MqttTx {
    pub(super) fn new(
        shared: Shared,
        messages: queue::Sender,
        changes: mpsc::Sender<ChangeRequest>,
        closes: mpsc::Sender<CloseRequest>,
    ) -> Self {
        Self { shared: Arc::new(shared), messages, changes, closes }
    }

    /// Why the session takes nothing any more.
    fn closed(&self) -> Error {
        self.shared.denial.why().unwrap_or_else(closed)
    }

    /// Checks everything that the broker would punish by closing the connection, and builds the PUBLISH.
    fn publish(&self, outbound: &Outbound) -> Result<Publish> {
        let limit = self.shared.capabilities.max_payload;
        let size = outbound.payload.len();
        if size > limit {
            return Err(ErrorKind::PayloadTooLarge { size, limit }.into());
        }
        let qos = match outbound.guarantee {
            Guarantee::AtMostOnce => QoS::AtMostOnce,
            Guarantee::AtLeastOnce => QoS::AtLeastOnce,
            Guarantee::ExactlyOnce => QoS::ExactlyOnce,
        };
        let mut publish = match &outbound.to {
            Destination::Topic(topic) => {
                check_topic(topic)?;
                let name = self
                    .shared
                    .level
                    .outgoing(topic.as_str())
                    .map_err(|reason| ErrorKind::InvalidTopic { topic: topic.to_string(), reason })?;
                Publish::from_bytes(name, qos, outbound.payload.clone())
            }
            Destination::Peer(peer) => {
                let to = inbox::topic(&self.shared.level, address::client_id(peer)?);
                Publish::from_bytes(to, qos, inbox::encode(&self.shared.client_id, &outbound.payload))
            }
        };
        publish.retain = outbound.retain;
        if let Some(limit) = self.shared.packets.refuses(&publish) {
            return Err(ErrorKind::PayloadTooLarge { size, limit }.into());
        }
        match self.shared.refusals.of(&publish.topic, publish.payload.len()) {
            Some(why) => Err(why.into()),
            None => Ok(publish),
        }
    }

    /// Waits for room in the queue, unless the broker refuses the session. Cancel-safe.
    async fn room(&self, size: usize) -> Result<queue::Room<'_>> {
        self.shared.denial.check()?;
        tokio::select! {
            biased;
            room = self.messages.room(size) => room.ok_or_else(|| self.closed()),
            error = self.shared.denial.denied() => Err(error),
        }
    }

    fn check_filter(&self, filter: &TopicFilter) -> Result<()> {
        let reason = if filter.as_str().starts_with("$share/") {
            Err("shared subscriptions are not supported: leave '$share/GROUP/' out")
        } else {
            self.shared.level.outgoing(filter.as_str()).and_then(|name| check_characters(&name))
        };
        reason
            .map_err(|reason| ErrorKind::InvalidFilter { filter: filter.to_string(), reason })
            .map_err(Into::into)
    }

    async fn change(&self, filter: &TopicFilter, wanted: bool, mark: Option<u64>) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        let request = ChangeRequest { filter: filter.clone(), wanted, mark, reply };
        let answered = timeout(SUBSCRIBE_TIMEOUT, async {
            self.changes.send(request).await.map_err(|_| self.closed())?;
            answer.await.map_err(|_| self.closed())?
        });
        let answered = async {
            tokio::select! {
                biased;
                answered = answered => answered,
                // The request stays: a subscription that nobody waits for is not made, an end of one is carried out.
                error = self.shared.denial.denied() => Ok(Err(error)),
            }
        };
        answered.await.unwrap_or_else(|_| {
            let verb = if wanted { "subscribing to" } else { "unsubscribing from" };
            Err(ErrorKind::Timeout { what: format!("{verb} {filter}"), after: SUBSCRIBE_TIMEOUT }.into())
        })
    }
}

impl TransportTx for MqttTx {
    fn capabilities(&self) -> &Capabilities {
        &self.shared.capabilities
    }

    fn local(&self) -> &Locator {
        &self.shared.locator
    }

    fn try_send(&self, outbound: Outbound) -> Result<(), TrySendError> {
        self.shared.denial.check()?;
        let room = match self.messages.try_room(outbound.payload.len()) {
            Ok(room) => room,
            Err(NoRoom::Full) => return Err(TrySendError::Full(outbound)),
            Err(NoRoom::Closed) => return Err(self.closed().into()),
        };
        let (publish, count) = (self.publish(&outbound)?, is_publication(&outbound));
        if room.send(publish, count) { Ok(()) } else { Err(self.closed().into()) }
    }

    async fn send_batch(&self, batch: &mut Vec<Outbound>) -> Result<()> {
        while let Some(first) = batch.first() {
            let reserved = self.room(first.payload.len()).await;
            // No await below this line: what is taken out of the vector is accepted.
            let mut room = match reserved {
                Ok(room) => Some(room),
                Err(error) => {
                    batch.remove(0);
                    return Err(error);
                }
            };
            let mut taken = 0;
            let mut failure = None;
            while let Some(outbound) = batch.get(taken) {
                let size = outbound.payload.len();
                let Some(room) = room.take().or_else(|| self.messages.try_room(size).ok()) else { break };
                taken += 1;
                failure = match self.publish(outbound) {
                    Ok(publish) => (!room.send(publish, is_publication(outbound))).then(|| self.closed()),
                    Err(error) => Some(error),
                };
                if failure.is_some() {
                    break;
                }
            }
            batch.drain(..taken);
            if let Some(error) = failure {
                return Err(error);
            }
        }
        Ok(())
    }

    fn backlog(&self) -> usize {
        self.messages.under_way().messages()
    }

    async fn drained(&self, below: usize) {
        self.messages.under_way().fall_below(below).await;
    }

    async fn acknowledged(&self) -> Result<()> {
        tokio::select! {
            biased;
            all = self.messages.receipts().all_acknowledged() => if all { Ok(()) } else { Err(self.closed()) },
            error = self.shared.denial.denied() => Err(error),
        }
    }

    fn denied(&self) -> Option<Error> {
        self.shared.denial.why()
    }

    fn broker(&self) -> Option<&str> {
        Some(&self.shared.broker)
    }

    fn one_piece(&self, topic: &Topic) -> usize {
        self.shared.packets.one_piece(topic.as_str())
    }

    fn one_piece_to(&self, peer: &Locator) -> usize {
        let name = address::client_id(peer).unwrap_or_default();
        self.shared.packets.one_piece_to(name, &self.shared.client_id)
    }

    fn take_refusal(&self, topic: &Topic) -> Option<Error> {
        let name = self.shared.level.outgoing(topic.as_str()).ok()?;
        self.shared.refusals.take(&name).map(Error::from)
    }

    async fn subscribe(&self, filter: &TopicFilter) -> Result<()> {
        self.check_filter(filter)?;
        self.change(filter, true, None).await
    }

    async fn subscribe_retained(&self, filter: &TopicFilter, mark: u64) -> Result<()> {
        self.check_filter(filter)?;
        self.change(filter, true, Some(mark)).await
    }

    async fn unsubscribe(&self, filter: &TopicFilter) -> Result<()> {
        self.change(filter, false, None).await
    }

    async fn attach(&self, peer: &Locator) -> Result<()> {
        address::client_id(peer)?;
        if self.messages.is_closed() { Err(self.closed()) } else { Ok(()) }
    }

    async fn detach(&self, peer: &Locator) -> Result<()> {
        peer.expect_scheme(address::SCHEME)?;
        if self.messages.is_closed() { Err(self.closed()) } else { Ok(()) }
    }

    async fn close(&self, deadline: Duration) -> Result<Undelivered> {
        let (reply, answer) = oneshot::channel();
        let now = Instant::now();
        // A deadline beyond the clock's range is none.
        let deadline = now.checked_add(deadline).unwrap_or(now + Duration::from_secs(86_400 * 365));
        if self.closes.send(CloseRequest { deadline, reply }).await.is_err() {
            return Ok(Undelivered::default());
        }
        Ok(answer.await.unwrap_or_default())
    }
}

fn is_publication(outbound: &Outbound) -> bool {
    matches!(outbound.to, Destination::Topic(_))
}

fn closed() -> Error {
    ErrorKind::Closed { what: "the MQTT transport" }.into()
}

/// Whether brokers take the topic.
pub(super) fn check_topic(topic: &Topic) -> Result<()> {
    let invalid = |reason| ErrorKind::InvalidTopic { topic: topic.to_string(), reason }.into();
    check_characters(topic.as_str()).map_err(invalid)
}

/// Brokers close the connection over these (MQTT 3.1.1, 1.5.3), and a message that is repeated would do it again.
fn check_characters(name: &str) -> Result<(), &'static str> {
    let refused = |c: char| {
        let code = u32::from(c);
        c.is_control() || (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE
    };
    if name.chars().any(refused) {
        return Err("MQTT brokers refuse control characters and Unicode non-characters");
    }
    Ok(())
}
