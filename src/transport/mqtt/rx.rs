//! The receiving half.

use tokio::sync::mpsc;

use crate::error::{ErrorKind, Result};
use crate::transport::{Event, TransportRx};

/// The receiving half of an MQTT session.
///
/// While it is not read and its queue is full, nothing more is taken from the broker; the connection is kept alive all
/// the same. What the broker does then is its own affair: Mosquitto drops beyond `max_queued_messages`.
#[derive(Debug)]
pub struct MqttRx {
    events: mpsc::Receiver<Event>,
}

impl MqttRx {
    pub(super) fn new(events: mpsc::Receiver<Event>) -> Self {
        Self { events }
    }
}

impl TransportRx for MqttRx {
    async fn recv_batch(&mut self, events: &mut Vec<Event>, max: usize) -> Result<usize> {
        if max == 0 {
            return Ok(0);
        }
        match self.events.recv_many(events, max).await {
            0 => Err(ErrorKind::Closed { what: "the MQTT transport" }.into()),
            count => Ok(count),
        }
    }
}
