//! What was handed in while there was no connection.

use std::collections::VecDeque;

use super::queue::Message;

/// The most bytes that wait, in one message more or less.
const BYTES: usize = 1024 * 1024;

/// Messages that wait for the next connection, so that the [queue](super::queue), which is short for the sake of busy
/// connections, does not hold its senders up at once.
#[derive(Debug)]
pub(super) struct Backlog {
    messages: VecDeque<Message>,
    bytes: usize,
    limit: usize,
}

impl Backlog {
    /// For at most `limit` messages.
    pub(super) fn new(limit: usize) -> Self {
        Self { messages: VecDeque::new(), bytes: 0, limit }
    }

    /// Whether another message may wait.
    pub(super) fn has_room(&self) -> bool {
        self.messages.len() < self.limit && self.bytes < BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn push(&mut self, message: Message) {
        self.bytes += message.publish.payload.len();
        self.messages.push_back(message);
    }

    pub(super) fn pop(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.publish.payload.len();
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rumqttc::{Publish, QoS};

    use super::*;

    fn fill(backlog: &mut Backlog, size: usize) -> usize {
        while backlog.has_room() {
            let publish = Publish::from_bytes("t", QoS::AtMostOnce, Bytes::from(vec![0; size]));
            backlog.push(Message { publish, counted: None });
        }
        backlog.len()
    }

    #[test]
    fn is_bounded_in_messages_and_in_bytes_and_usable_again() {
        let mut backlog = Backlog::new(100);
        assert_eq!(fill(&mut backlog, 10), 100);
        while backlog.pop().is_some() {}
        assert_eq!(fill(&mut backlog, 64 * 1024), 16);
        backlog.pop();
        assert!(backlog.has_room());
    }
}
