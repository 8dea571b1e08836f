//! The subscriptions in force, and the one change to them that is under way.

mod restoring;
mod suspect;

use rumqttc::{Packet, Publish, QoS, SubAck, Subscribe, SubscribeFilter, SubscribeReasonCode, Unsubscribe};
use tokio::sync::oneshot;

use self::restoring::Restoring;
use self::suspect::Suspect;
use super::connection::{Connection, ConnectionError};
use super::level::Level;
use super::overlap::Transition;
use super::sending::send_own;
use super::subscriptions::{Change, Subscriptions};
use super::tx::ChangeRequest;
use super::window::Window;
use crate::error::{Error, ErrorKind, Result};
use crate::topic::{Topic, TopicFilter};
use crate::transport::filters::{Filters, Verdict};

/// What is likely where a broker says no to a subscription.
const REFUSES: &str =
    "it may not allow such a filter, or so many (NATS: 63 in all), or its access rules exclude this client";

/// What users want, what the broker holds, and the way from the one to the other, a change at a time.
#[derive(Debug)]
pub(super) struct Subscribing {
    /// What users want.
    wanted: Filters,
    /// What the session itself needs, for as long as it lives.
    library: Vec<TopicFilter>,
    plan: Subscriptions,
    transition: Transition,
    current: Option<Current>,
    /// Sent to the session's own inbox to mark the end of a transition. The UNSUBACK does not: Mosquitto writes it
    /// ahead of messages that it has queued before.
    fence: Publish,
    /// Sent behind a SUBSCRIBE to mark the end of the retained messages that this brings.
    retained_fence: Publish,
    /// Whether a subscription was ever marked: before that, nobody asks which one brought a retained message.
    marks: bool,
    /// The last marked subscription of this connection: a broker that looks for what it keeps meanwhile may bring it behind
    /// the fence.
    last_marked: Option<(TopicFilter, u64)>,
    level: Level,
    /// What a new connection has yet to get.
    restoring: Restoring,
    /// Subscriptions that were in force and are no more, as users know them, and why, until they are told.
    refused: Vec<(TopicFilter, &'static str)>,
    /// The highest QoS that the present connection's broker grants; `None` while it has not said so.
    granted: Option<QoS>,
    /// How often it was found waiting for that.
    ticks: u8,
    /// A connection was lost right behind this subscription. It is tried again with nothing else under way.
    suspect: Option<Suspect>,
    /// The inbox is subscribed to with QoS 0, since the broker grants less than QoS 2; see [`Self::lower_inbox`].
    lowered: bool,
}

#[derive(Debug)]
struct Current {
    filter: TopicFilter,
    /// The same as the broker knows it.
    at_broker: TopicFilter,
    wanted: bool,
    /// What the retained messages that it brings are marked with.
    mark: Option<u64>,
    /// The retained messages that come now are those of its SUBSCRIBE: the fence behind that has not come back.
    brings: bool,
    /// Whoever asked; `None` once answered.
    reply: Option<oneshot::Sender<Result<()>>>,
    /// To be taken back when it is done: whoever asked has given up.
    abandoned: bool,
    /// How often it was found waiting for its fence alone.
    ticks: u8,
    /// How many connections were lost right behind it.
    strikes: u8,
    /// The filter was not wanted before, and the broker has never held it.
    fresh: bool,
    stage: Stage,
}

/// Which subscription has brought a retained message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Brought {
    /// The marked one.
    By(u64),
    /// One that was not marked, or a change of what the broker holds in the place of others: who wanted it has it.
    Again,
    /// It is not known, or all of them have, after a reconnect.
    Unknown,
}

#[derive(Debug)]
enum Stage {
    /// The SUBSCRIBE with this id is out; what is to be unsubscribed after it.
    Subscribe(u16, Vec<TopicFilter>),
    /// The UNSUBSCRIBE with this id is out, unless it was answered, and a fence behind it, unless it came back.
    Unsubscribe { id: Option<u16>, fenced: bool },
    /// All is done but for the fence behind the retained messages.
    Retained,
    /// The connection was lost on the way; the next one brings all subscriptions, this one among them.
    Restore,
}

impl Subscribing {
    /// Nothing wanted yet but the session's own filters. `fence` is a message to the session itself.
    pub(super) fn new(library: Vec<TopicFilter>, fence: Publish, level: Level) -> Self {
        let mut plan = Subscriptions::default();
        for filter in &library {
            plan.add(filter);
        }
        Self {
            wanted: Filters::default(),
            library,
            plan,
            transition: Transition::default(),
            current: None,
            retained_fence: Publish {
                payload: [&fence.payload[..], b"retained"].concat().into(),
                ..fence.clone()
            },
            fence,
            marks: false,
            last_marked: None,
            level,
            restoring: Restoring::new(),
            refused: Vec::new(),
            granted: None,
            ticks: 0,
            suspect: None,
            lowered: false,
        }
    }

    /// The highest QoS that the broker grants, once it has confirmed a subscription that asked for QoS 2. What is published
    /// waits for it: nothing else tells a publisher, and a broker may close the connection over more.
    pub(super) fn granted(&self) -> Option<QoS> {
        self.granted
    }

    /// Whether a user asked for this topic.
    pub(super) fn judge(&mut self, topic: &str) -> Verdict {
        self.wanted.judge(topic.as_bytes())
    }

    /// Which subscription has brought a retained message on this topic.
    pub(super) fn brought_by(&self, topic: &Topic) -> Brought {
        match &self.current {
            Some(current) if current.brings => match current.mark {
                Some(mark) if current.filter.matches(topic) => Brought::By(mark),
                _ => Brought::Again,
            },
            _ => match &self.last_marked {
                Some((filter, mark)) if filter.matches(topic) => Brought::By(*mark),
                _ => Brought::Unknown,
            },
        }
    }

    /// Whether this message was handed out already; see [`Transition`].
    pub(super) fn is_second_copy(&mut self, publish: &Publish) -> bool {
        self.transition.is_second_copy(publish)
    }

    /// Whether a change can be begun: none is under way, and the connection has its subscriptions.
    pub(super) fn is_idle(&self) -> bool {
        self.current.is_none() && self.suspect.is_none() && self.is_restored()
    }

    /// Whether the connection has its subscriptions.
    pub(super) fn is_restored(&self) -> bool {
        self.restoring.is_done() && self.granted.is_some()
    }

    /// The subscriptions that were in force and are no more, since the last call.
    pub(super) fn take_refused(&mut self) -> Vec<(TopicFilter, &'static str)> {
        std::mem::take(&mut self.refused)
    }

    /// Begins a change. Only while [idle](Self::is_idle).
    pub(super) fn begin(
        &mut self,
        request: ChangeRequest,
        link: &mut Connection,
        window: &mut Window,
    ) -> Result<(), ConnectionError> {
        let ChangeRequest { filter, wanted, mark, reply } = request;
        // Nobody waits for the subscription. Nobody waits for the end of one either, but it is still wanted.
        if wanted && reply.is_closed() {
            return Ok(());
        }
        self.marks |= mark.is_some();
        self.start(filter, wanted, mark, Some(reply), link, window)
    }

    /// Nothing is known of a new connection.
    fn begin_anew(&mut self) {
        self.transition.end();
        self.restoring.begin();
        self.last_marked = None;
        (self.granted, self.ticks, self.lowered) = (None, 0, false);
        if let Some(current) = &mut self.current {
            current.stage = Stage::Restore;
            current.brings = false;
        }
    }

    /// Takes a SUBACK. `Some` when it was the last that a new connection waited for: with an error if one of the
    /// session's own filters was refused.
    pub(super) fn suback(
        &mut self,
        ack: &SubAck,
        link: &mut Connection,
        window: &mut Window,
    ) -> Result<Option<Result<()>>, ConnectionError> {
        if let Some(filters) = self.restoring.under_way.remove(&ack.pkid) {
            self.note_grants(&filters, ack);
            self.lower_inbox(&filters, link, window)?;
            self.restore_more(&filters, link, window)?;
            return self.restored(&filters, ack, link, window);
        }
        let Some(mut current) = self.current.take() else { return Ok(None) };
        let unsubscribe = match &mut current.stage {
            Stage::Subscribe(id, unsubscribe) if *id == ack.pkid => std::mem::take(unsubscribe),
            _ => {
                self.current = Some(current);
                return Ok(None);
            }
        };
        if current.brings {
            // Not with the SUBSCRIBE: a broker may look for what it keeps while it takes what follows (aedes does).
            send_own(self.retained_fence.clone(), link, window)?;
        }
        if current.wanted {
            if refusals(ack).next().is_some() {
                self.refuse(current);
                return Ok(None);
            }
            current.answer();
        } else if refusals(ack).next().is_some() {
            tracing::warn!(filter = %current.filter, "the broker refused what is left of an overlapping subscription");
        }
        if unsubscribe.is_empty() {
            self.complete_behind_retained(current, link, window)?;
        } else {
            current.stage = self.leave(&unsubscribe, link, window)?;
            self.current = Some(current);
        }
        Ok(None)
    }

    /// Takes an UNSUBACK.
    pub(super) fn unsuback(
        &mut self,
        ack: u16,
        link: &mut Connection,
        window: &mut Window,
    ) -> Result<(), ConnectionError> {
        if let Some(Current { stage: Stage::Unsubscribe { id, .. }, .. }) = &mut self.current
            && *id == Some(ack)
        {
            *id = None;
        }
        self.settle(link, window)
    }

    /// Whether this is a fence of this session, wherever the broker has delivered it.
    pub(super) fn is_fence(&self, publish: &Publish) -> bool {
        publish.payload == self.fence.payload
    }

    /// Sends a fence.
    pub(super) fn send_fence(
        &self,
        link: &mut Connection,
        window: &mut Window,
    ) -> Result<(), ConnectionError> {
        send_own(self.fence.clone(), link, window)
    }

    /// Takes a message from the session's own inbox, if it is a fence.
    pub(super) fn fence(
        &mut self,
        publish: &Publish,
        link: &mut Connection,
        window: &mut Window,
    ) -> Result<bool, ConnectionError> {
        if publish.payload == self.retained_fence.payload {
            self.retained_end(link, window)?;
            return Ok(true);
        }
        if !self.is_fence(publish) {
            return Ok(false);
        }
        if let Some(Current { stage: Stage::Unsubscribe { fenced, .. }, .. }) = &mut self.current {
            *fenced = true;
        }
        self.settle(link, window)?;
        Ok(true)
    }

    /// Half a keep-alive has passed in which everything that came was read. A fence that is not back after two of them
    /// was dropped by the broker.
    pub(super) fn tick(&mut self, link: &mut Connection, window: &mut Window) -> Result<(), ConnectionError> {
        self.ticks = self.ticks.saturating_add(1);
        if self.ticks > 2 && self.granted.is_none() {
            // It answers pings and no SUBSCRIBE: nothing is held against it.
            self.granted = Some(QoS::ExactlyOnce);
        }
        let Some(current) = &mut self.current else { return Ok(()) };
        match &mut current.stage {
            Stage::Unsubscribe { id: None, fenced } => {
                current.ticks += 1;
                *fenced |= current.ticks > 2;
            }
            Stage::Retained => {
                current.ticks += 1;
                if current.ticks > 2 {
                    return self.retained_end(link, window);
                }
            }
            _ => {}
        }
        self.settle(link, window)
    }

    /// Sends the end of subscriptions, and a fence behind it.
    fn leave(
        &self,
        filters: &[TopicFilter],
        link: &mut Connection,
        window: &mut Window,
    ) -> Result<Stage, ConnectionError> {
        let id = window.next_id();
        let topics = filters.iter().map(TopicFilter::to_string).collect();
        link.send(&Packet::Unsubscribe(Unsubscribe { pkid: id, topics }))?;
        // Without an overlap there is no transition to end.
        let fenced = !self.transition.is_under_way();
        if !fenced {
            self.send_fence(link, window)?;
        }
        Ok(Stage::Unsubscribe { id: Some(id), fenced })
    }

    /// Ends the change under way if nothing more is to come of it.
    fn settle(&mut self, link: &mut Connection, window: &mut Window) -> Result<(), ConnectionError> {
        let Some(mut current) = self.current.take() else { return Ok(()) };
        if let Stage::Unsubscribe { id: None, fenced } = current.stage {
            if fenced {
                return self.complete_behind_retained(current, link, window);
            }
            current.answer();
        }
        self.current = Some(current);
        Ok(())
    }

    fn start(
        &mut self,
        filter: TopicFilter,
        wanted: bool,
        mark: Option<u64>,
        reply: Option<oneshot::Sender<Result<()>>>,
        link: &mut Connection,
        window: &mut Window,
    ) -> Result<(), ConnectionError> {
        let changes = self.set(&filter, wanted);
        // It was looked at before it came here.
        let at_broker =
            self.level.outgoing(filter.as_str()).ok().and_then(|name| TopicFilter::new(name).ok());
        let at_broker = at_broker.unwrap_or_else(|| filter.clone());
        self.restoring.forget(&at_broker);
        let change = match (changes, wanted) {
            // To subscribe again to what is held is how its retained messages come again.
            (false, true) if mark.is_some() => self.plan.add(&at_broker),
            (false, _) => Change::default(),
            (true, true) => self.plan.add(&at_broker),
            (true, false) => self.unplan(&at_broker),
        };
        let mut current = Current {
            filter,
            at_broker,
            wanted,
            mark,
            brings: false,
            reply,
            abandoned: false,
            ticks: 0,
            strikes: 0,
            fresh: changes && wanted,
            stage: Stage::Restore,
        };
        let Change { subscribe: new, unsubscribe: old, overlaps } = change;
        current.stage = if !new.is_empty() {
            self.transition.begin(overlaps, new.clone());
            let id = self.subscribe(&new, link, window)?;
            current.brings = self.marks;
            Stage::Subscribe(id, old)
        } else if !old.is_empty() {
            self.leave(&old, link, window)?
        } else {
            return self.complete(current, link, window);
        };
        self.current = Some(current);
        Ok(())
    }

    /// [Completes](Self::complete) the change, when the retained messages that it brings have come.
    fn complete_behind_retained(
        &mut self,
        mut current: Current,
        link: &mut Connection,
        window: &mut Window,
    ) -> Result<(), ConnectionError> {
        if !current.brings {
            return self.complete(current, link, window);
        }
        current.answer();
        (current.stage, current.ticks) = (Stage::Retained, 0);
        self.current = Some(current);
        Ok(())
    }

    /// The fence behind the retained messages has come back.
    fn retained_end(&mut self, link: &mut Connection, window: &mut Window) -> Result<(), ConnectionError> {
        let Some(mut current) = self.current.take() else { return Ok(()) };
        if current.brings {
            self.last_marked = current.mark.map(|mark| (current.filter.clone(), mark));
        }
        current.brings = false;
        if matches!(current.stage, Stage::Retained) {
            return self.complete(current, link, window);
        }
        self.current = Some(current);
        Ok(())
    }

    fn complete(
        &mut self,
        mut current: Current,
        link: &mut Connection,
        window: &mut Window,
    ) -> Result<(), ConnectionError> {
        self.transition.end();
        current.answer();
        if current.abandoned {
            return self.start(current.filter, false, None, None, link, window);
        }
        Ok(())
    }

    /// Learns from the grants of filters that asked for QoS 2. Where all of them were refused, nothing is known, and nothing
    /// is held against the broker.
    fn note_grants(&mut self, filters: &[TopicFilter], ack: &SubAck) {
        let granted = filters.iter().zip(&ack.return_codes).filter_map(|(filter, code)| match code {
            SubscribeReasonCode::Success(granted) if self.qos(filter) == QoS::ExactlyOnce => Some(*granted),
            _ => None,
        });
        let lowest = granted.fold(None, |lowest, granted| match lowest {
            Some(lowest) if lowest < granted => Some(lowest),
            _ => Some(granted),
        });
        let known = self.granted.unwrap_or(QoS::ExactlyOnce);
        self.granted = Some(lowest.filter(|lowest| *lowest < known).unwrap_or(known));
    }

    /// Subscribes to the inbox with QoS 0 at a broker that grants less than QoS 2, RabbitMQ and NATS for instance.
    ///
    /// Such a broker puts what it delivers with QoS 1 into one queue for the session, out of which a few messages are under
    /// way at a time (ten at RabbitMQ). Behind samples that wait there, what nodes and peers say to each other would
    /// be late by seconds. Sessions are clean, so QoS 1 keeps nothing for an inbox that QoS 0 loses.
    fn lower_inbox(
        &mut self,
        filters: &[TopicFilter],
        link: &mut Connection,
        window: &mut Window,
    ) -> Result<(), ConnectionError> {
        let inbox = filters.iter().find(|filter| filter.as_str() == self.fence.topic);
        let Some(inbox) = inbox.filter(|_| !self.lowered && self.granted < Some(QoS::ExactlyOnce)) else {
            return Ok(());
        };
        self.lowered = true;
        // RabbitMQ would deliver by both subscriptions.
        let (pkid, topics) = (window.next_id(), vec![inbox.to_string()]);
        link.send(&Packet::Unsubscribe(Unsubscribe { pkid, topics }))?;
        let id = self.subscribe(std::slice::from_ref(inbox), link, window)?;
        self.restoring.under_way.insert(id, vec![inbox.clone()]);
        Ok(())
    }

    fn restored(
        &mut self,
        filters: &[TopicFilter],
        ack: &SubAck,
        link: &mut Connection,
        window: &mut Window,
    ) -> Result<Option<Result<()>>, ConnectionError> {
        let mut own = Ok(());
        for refused in refusals(ack).filter_map(|at| filters.get(at)) {
            let asked = |current: &mut Current| current.wanted && current.at_broker == *refused;
            if self.library.contains(refused) {
                tracing::warn!(filter = %refused, "the broker refuses what the session itself needs");
                own = Err(refusal(refused));
            } else if let Some(current) = self.current.take_if(asked) {
                self.refuse(current);
            } else if let Some(filter) = self.as_users_know(refused) {
                self.refused.push((filter, REFUSES));
            }
        }
        if !self.restoring.is_done() && own.is_ok() {
            return Ok(None);
        }
        if let Some(current) = self.current.take() {
            self.complete(current, link, window)?;
        }
        Ok(Some(own))
    }

    /// Undoes what a refused subscription has changed here; the broker holds what it held.
    fn refuse(&mut self, mut current: Current) {
        self.transition.end();
        self.set(&current.filter, false);
        self.unplan(&current.at_broker);
        if let Some(reply) = current.reply.take() {
            // Whoever has given up does not need the answer.
            reply.send(Err(refusal(&current.filter))).ok();
        }
    }

    fn subscribe(
        &self,
        filters: &[TopicFilter],
        link: &mut Connection,
        window: &mut Window,
    ) -> Result<u16, ConnectionError> {
        let mut packet = Subscribe::new_many(
            filters.iter().map(|filter| SubscribeFilter::new(filter.to_string(), self.qos(filter))),
        );
        packet.pkid = window.next_id();
        let id = packet.pkid;
        link.send(&Packet::Subscribe(packet))?;
        Ok(id)
    }

    /// The most that the broker may deliver with: it lowers what was published with more. On its own topics the library
    /// publishes nothing with QoS 2, and what others may publish there is not worth a handshake. The session's inbox is asked
    /// for with QoS 2 all the same: the grant tells what the broker takes. Then it may be [lowered](Self::lower_inbox).
    fn qos(&self, filter: &TopicFilter) -> QoS {
        let is_inbox = filter.as_str() == self.fence.topic;
        let is_own = filter.is_reserved() || self.level.holds(filter.as_str());
        match is_inbox {
            true if self.lowered => QoS::AtMostOnce,
            false if is_own => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        }
    }

    fn unplan(&mut self, filter: &TopicFilter) -> Change {
        if self.library.contains(filter) { Change::default() } else { self.plan.remove(filter) }
    }

    /// Notes what users want. `false` if that was so already.
    fn set(&mut self, filter: &TopicFilter, wanted: bool) -> bool {
        if wanted { self.wanted.insert(filter) } else { self.wanted.remove(filter) }
    }
}

impl Current {
    fn answer(&mut self) {
        if let Some(reply) = self.reply.take() {
            self.abandoned = reply.send(Ok(())).is_err() && self.wanted;
        }
    }
}

/// Which of a SUBSCRIBE's filters were refused, by position.
fn refusals(ack: &SubAck) -> impl Iterator<Item = usize> {
    let refused = |code: &SubscribeReasonCode| *code == SubscribeReasonCode::Failure;
    ack.return_codes.iter().enumerate().filter(move |(_, code)| refused(code)).map(|(at, _)| at)
}

fn refusal(filter: &TopicFilter) -> Error {
    ErrorKind::Transport {
        transport: "mqtt",
        operation: "subscribe",
        reason: format!("the broker refused {filter}: {REFUSES}"),
    }
    .into()
}
