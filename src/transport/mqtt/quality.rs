//! Which QoS the broker takes, and what becomes of messages that it never answers.

use rumqttc::QoS;
use tokio::time::Instant;

use super::event_loop::EventLoop;

const UNANSWERED: &str =
    "it has read the message and not acknowledged it for 15 seconds: it may have passed it on or not";

impl EventLoop {
    /// Whether messages may go out: the broker has said which QoS it takes, and the connection is not watched.
    pub(super) fn may_publish(&self) -> bool {
        self.subscribing.granted().is_some()
            && self.watch_until.is_none()
            && !self.subscribing.has_suspect()
            && (!self.searches() || self.subscribing.is_restored())
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
        self.lower_why = why;
    }

    /// A message is sent with a lower QoS than it asks for: said once, since nobody else need know.
    pub(super) fn note_lowered(&mut self) {
        if !std::mem::replace(&mut self.lowered, true) {
            tracing::warn!(
                broker = %self.settings.broker,
                highest = self.window.highest() as u8,
                why = self.lower_why,
                "the broker takes a lower QoS than was asked for: plain reliable messages are sent with \
                 that, and may come twice after a lost connection"
            );
        }
    }

    /// Gives up messages that the broker has read, as the answer to a later ping shows, and has not acknowledged for long.
    pub(super) fn give_up_unanswered(&mut self, now: Instant) {
        let Some(ping) = self.alive.read_long_ago(now) else { return };
        while let Some((publish, own)) = self.window.give_up_before(ping) {
            metrics::counter!("ringbus_mqtt_dropped_total", "cause" => "unanswered").increment(1);
            if !own {
                self.refused(&publish, UNANSWERED, false);
            }
            if publish.qos == QoS::ExactlyOnce {
                self.lower(QoS::AtLeastOnce, "it does not end its handshakes");
            }
        }
    }
}
