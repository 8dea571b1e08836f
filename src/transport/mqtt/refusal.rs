//! A broker that closes the connection over a message: the message is found, given up and told, and the rest goes on.

use std::time::Duration;

use rumqttc::Publish;
use tokio::time::Instant;

use super::connection::{Connection, ConnectionError};
use super::event_loop::EventLoop;
use super::inbox;
use super::suspicion::{Loss, Suspect, Suspicion};
use crate::error::ErrorKind;
use crate::topic::Topic;
use crate::transport::{Destination, Event};

/// A connection that is lost within this time of the last write is lost right behind that.
const RIGHT_BEHIND: Duration = Duration::from_secs(2);

/// A connection is watched for this long before a subscription is tried again that one was lost behind.
const WATCH: Duration = Duration::from_millis(100);

/// What is likely, as far as a closed connection tells.
const CLOSES: &str = "it closes the connection over this message: it may be over the broker's size limit, or its topic \
                      hold a character or more levels than the broker takes";

impl EventLoop {
    /// A connection was lost: what it may have been lost over.
    pub(super) fn examine(&mut self, link: &Connection, error: &ConnectionError) {
        let closed = matches!(error, ConnectionError::Ended | ConnectionError::Io(_));
        let after = link.since_written();
        let soon = closed && after < RIGHT_BEHIND;
        let behind = soon && self.subscribing.is_restored();
        if !self.subscribing.is_restored() {
            self.subscribing.lost_restoring(soon, after);
            self.tell_refused_filters();
        }
        let unproven = self.unproven.len();
        if behind && let Some(closing) = &mut self.closing {
            closing.lost += unproven;
        }
        self.unproven.lost(behind);
        let (in_flight, own) = (self.window.in_flight(), self.window.own_in_flight() > 0);
        // A subscription that was under way may be why.
        let change = usize::from(self.subscribing.lost(behind));
        let loss = Loss {
            behind,
            in_flight: in_flight + change + unproven,
            alone: self.window.alone(),
            newest: self.window.newest(),
            own,
            after,
        };
        if in_flight == 0 && change + unproven > 0 {
            // The messages are innocent, and nothing is known of the connection.
            return;
        }
        self.suspicion.lost(loss);
    }

    /// Whether it is being found out over what the broker closes connections.
    pub(super) fn searches(&self) -> bool {
        self.suspicion.stands() || self.subscribing.has_suspect() || self.subscribing.searches()
    }

    /// There is a connection again: gives up the message that was found, and says for how long to watch the connection.
    pub(super) fn judge(&mut self) {
        self.watch_until = None;
        match self.suspicion.verdict() {
            None => {}
            Some(Suspect::Message(serial)) if self.try_fragments(serial) => {}
            Some(Suspect::Message(serial)) => {
                self.packets.restore();
                if let Some(publish) = self.window.give_up(serial) {
                    self.refused(&publish, CLOSES, true);
                }
                // Those that are as good as it are not tried one by one.
                let refusals = self.refusals.clone();
                let known = |publish: &Publish| refusals.of(&publish.topic, publish.payload.len()).is_some();
                while let Some(publish) = self.window.give_up_if(known) {
                    self.refused(&publish, CLOSES, true);
                }
            }
            Some(Suspect::Own(topic)) => {
                tracing::warn!(
                    broker = %self.settings.broker,
                    %topic,
                    "the broker closes the connection over this session's own announcement: peers do not hear of it"
                );
                if self.settings.presence_topic.as_ref() == Some(&topic) {
                    self.settings.presence_topic = None;
                }
            }
        }
    }

    /// A frame that was found is tried in fragments, of half the size if it was in fragments before. `false` if it cannot
    /// be, or they are as small as they get.
    fn try_fragments(&mut self, serial: u64) -> bool {
        let Some((refused, whole)) = self.window.find(serial) else { return false };
        if !self.packets.try_less(refused, whole) {
            return false;
        }
        self.split_again();
        if !self.packets.is_smallest() {
            // That it is the size is likely: one more connection for each half of it, until the last one.
            self.suspicion.expect(serial);
        }
        true
    }

    /// The broker has taken a message while a limit was tried.
    pub(super) fn learn(&mut self, taken: &Publish) {
        let Some(limit) = self.packets.confirm(taken) else { return };
        self.suspicion = Suspicion::none();
        // It was asked with QoS 1 which message it is: that is known.
        self.unproven.refused(&taken.topic);
        tracing::warn!(
            broker = %self.settings.broker,
            limit,
            "the broker closes the connection over large messages: frames go in fragments of this many bytes, \
             plain messages over its limit are refused. Set the limit that it has (max_packet) to spare the search"
        );
    }

    /// Tells of subscriptions that were in force and that the broker does not make again.
    pub(super) fn tell_refused_filters(&mut self) {
        for (filter, reason) in self.subscribing.take_refused() {
            let broker = self.settings.broker.to_string();
            metrics::counter!("ringbus_mqtt_filters_refused_total").increment(1);
            tracing::warn!(%broker, %filter, reason, "a subscription that was in force is refused: given up");
            if self.closing.is_none() && self.has_stage_room() {
                let reason = reason.to_owned();
                self.staged.push_back(Event::SubscriptionRefused { filter, broker, reason });
            }
        }
    }

    /// The connection has its subscriptions: it is watched before a suspect goes out.
    pub(super) fn watch(&mut self) {
        let change = self.subscribing.has_suspect().then_some(WATCH);
        self.watch_until = self.suspicion.watch().max(change).map(|time| Instant::now() + time);
    }

    /// A connection gets its subscriptions, and the next one is a suspect: it is watched before that goes out.
    pub(super) fn watch_suspect(&mut self) {
        if let Some(time) = self.subscribing.watch().filter(|_| self.watch_until.is_none()) {
            self.watch_until = Some(Instant::now() + time);
        }
    }

    /// An attempt to connect failed: the broker was away, and what was lost was lost by that.
    pub(super) fn outage(&mut self) {
        self.suspicion.outage();
        self.subscribing.outage();
        self.refusals.outage(Instant::now());
    }

    /// Tells that a message is given up. Where others like it are `certain` to be, they are refused at once.
    pub(super) fn refused(&mut self, publish: &Publish, reason: &'static str, certain: bool) {
        let level = &self.settings.level;
        let (to, payload) = match inbox::addressee(level, &publish.topic) {
            Some(peer) => {
                let content = inbox::decode(&publish.payload).map(|(_, content)| content);
                let payload = content.unwrap_or_else(|| publish.payload.clone());
                (Destination::Peer(peer), payload)
            }
            None => match Topic::new(level.incoming(&publish.topic).as_deref().unwrap_or_default()) {
                Ok(topic) => (Destination::Topic(topic), publish.payload.clone()),
                Err(error) => return tracing::debug!(%error, "gave up a message to no topic"),
            },
        };
        let (size, broker) = (payload.len(), self.settings.broker.to_string());
        metrics::counter!("ringbus_mqtt_refused_total").increment(1);
        tracing::warn!(%broker, topic = %publish.topic, size, reason, "a message was given up");
        self.given_up += 1 + self.unproven.refused(&publish.topic);
        let (topic, text) = (publish.topic.clone(), reason.to_owned());
        let why = ErrorKind::Refused { topic, size, broker: broker.clone(), reason: text.clone() };
        self.refusals.note(Instant::now(), &publish.topic, publish.payload.len(), why, certain);
        // A reader that is far behind is told by what it has not read yet.
        if self.closing.is_none() && self.has_stage_room() {
            self.staged.push_back(Event::Refused { to, size, broker, reason: text, payload });
        }
    }
}
