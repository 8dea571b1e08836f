//! Which QoS the broker takes, and what becomes of messages that it never answers.

use rumqttc::{Publish, QoS};
use tokio::time::Instant;

use super::event_loop::EventLoop;

impl EventLoop {
    /// Whether messages may go out: the broker has said which QoS it takes.
    pub(super) fn may_publish(&self) -> bool {
        self.subscribing.granted().is_some()
    }

    /// The broker may have said which QoS it grants.
    pub(super) fn note_grant(&mut self) {
        if let Some(granted) = self.subscribing.granted().filter(|granted| *granted < self.window.highest()) {
            self.lower(granted, "it grants no more to a subscription");
        }
    }

    /// Sends with this QoS at most for as long as the connection lasts.
    pub(super) fn lower(&mut self, highest: QoS, why: &'static str) {
        if !self.window.grant(highest) {
            return;
        }
        metrics::counter!("ringbus_mqtt_qos_lowered_total").increment(1);
        if !std::mem::replace(&mut self.lowered, true) {
            tracing::warn!(
                broker = %self.settings.broker,
                highest = highest as u8,
                why,
                "the broker takes a lower QoS than was asked for: plain reliable messages are sent with \
                 that, and may come twice after a lost connection"
            );
        }
    }

    /// Gives up messages that the broker has read, as the answer to a later ping shows, and has not acknowledged for long.
    pub(super) fn give_up_unanswered(&mut self, now: Instant) {
        let Some(ping) = self.alive.read_long_ago(now) else { return };
        while let Some((publish, number)) = self.window.give_up_before(ping) {
            self.unanswered(&publish, number);
            if publish.qos == QoS::ExactlyOnce {
                self.lower(QoS::AtLeastOnce, "it does not end its handshakes");
            }
        }
    }

    fn unanswered(&mut self, publish: &Publish, _number: Option<u64>) {
        metrics::counter!("ringbus_mqtt_dropped_total", "cause" => "unanswered").increment(1);
        tracing::warn!(
            broker = %self.settings.broker,
            topic = %publish.topic,
            size = publish.payload.len(),
            qos = publish.qos as u8,
            "the broker has not acknowledged a message: given up"
        );
    }
}
