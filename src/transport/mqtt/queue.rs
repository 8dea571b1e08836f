//! The queue between the sending halves and the task of the connection, bounded in messages and in bytes.
//!
//! It is short on purpose. A publisher that finds it full lets its open batch grow, so the bound decides how soon a busy
//! link makes batches of what would else be one message a sample; and what waits here cannot be batched any more.

use std::sync::Arc;

use rumqttc::{Publish, QoS};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{Semaphore, TryAcquireError, mpsc};

use super::receipts::Receipts;
use crate::transport::under_way::{Counted, UnderWay};

/// The most bytes that wait, in one message more or less.
const BYTES: usize = 512 * 1024;

/// The most messages that wait while there is a connection.
const MESSAGES: usize = 16;

/// The sending end.
#[derive(Debug, Clone)]
pub(super) struct Sender {
    /// What is left of [`BYTES`]. Fair: who waits first is served first.
    room: Arc<Semaphore>,
    /// Bounded by `room`.
    messages: mpsc::UnboundedSender<Entry>,
    /// What a message takes at least of [`BYTES`].
    least: usize,
    under_way: Arc<UnderWay>,
    receipts: Arc<Receipts>,
}

/// The receiving end.
#[derive(Debug)]
pub(super) struct Receiver {
    room: Arc<Semaphore>,
    messages: mpsc::UnboundedReceiver<Entry>,
    receipts: Arc<Receipts>,
}

/// A message, and what makes it count as under way until it is written to the socket, if it does.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) publish: Publish,
    pub(super) counted: Option<Counted>,
}

#[derive(Debug)]
struct Entry {
    message: Message,
    weight: usize,
}

/// Room for one message of the size that was asked for.
#[derive(Debug)]
pub(super) struct Room<'a> {
    sender: &'a Sender,
    weight: usize,
}

/// Why there is no room.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoRoom {
    /// For now.
    Full,
    /// The other end is gone.
    Closed,
}

/// A queue for at most `limit` messages, and fewer if that is more than a busy link needs.
pub(super) fn new(limit: usize) -> (Sender, Receiver) {
    let room = Arc::new(Semaphore::new(BYTES));
    let (sender, receiver) = mpsc::unbounded_channel();
    let least = BYTES / limit.clamp(1, MESSAGES);
    let receipts = Arc::<Receipts>::default();
    let sender = Sender {
        room: room.clone(),
        messages: sender,
        least,
        under_way: Arc::default(),
        receipts: receipts.clone(),
    };
    (sender, Receiver { room, messages: receiver, receipts })
}

impl Sender {
    /// Room for a message of `size` bytes, if there is any now. A message larger than the queue waits for an empty one.
    pub(super) fn try_room(&self, size: usize) -> Result<Room<'_>, NoRoom> {
        let weight = self.weight(size);
        match self.room.try_acquire_many(weight as u32) {
            Ok(permit) => permit.forget(),
            Err(TryAcquireError::NoPermits) => return Err(NoRoom::Full),
            Err(TryAcquireError::Closed) => return Err(NoRoom::Closed),
        }
        Ok(Room { sender: self, weight })
    }

    /// Waits for room. `None` if the other end is gone. Cancel-safe.
    pub(super) async fn room(&self, size: usize) -> Option<Room<'_>> {
        let weight = self.weight(size);
        self.room.acquire_many(weight as u32).await.ok()?.forget();
        Some(Room { sender: self, weight })
    }

    /// The counted messages that were not written to a socket yet.
    pub(super) fn under_way(&self) -> &UnderWay {
        &self.under_way
    }

    /// The messages to be acknowledged that entered the queue, and how many were.
    pub(super) fn receipts(&self) -> &Receipts {
        &self.receipts
    }

    pub(super) fn is_closed(&self) -> bool {
        self.room.is_closed()
    }

    fn weight(&self, size: usize) -> usize {
        size.clamp(self.least, BYTES)
    }
}

impl Room<'_> {
    /// Takes the room with the message, and counts it as under way if asked to. `false`, and the message is gone, if the
    /// other end is.
    pub(super) fn send(mut self, publish: Publish, count: bool) -> bool {
        let counted = count.then(|| self.sender.under_way.count());
        let weight = std::mem::take(&mut self.weight);
        if publish.qos != QoS::AtMostOnce {
            self.sender.receipts.hand_over();
        }
        self.sender.messages.send(Entry { message: Message { publish, counted }, weight }).is_ok()
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.sender.room.add_permits(self.weight);
    }
}

impl Receiver {
    /// The next message. `None` once closed, or without senders, and empty. Cancel-safe.
    pub(super) async fn recv(&mut self) -> Option<Message> {
        let entry = self.messages.recv().await?;
        Some(self.release(entry))
    }

    /// The next message, if there is one now.
    pub(super) fn try_recv(&mut self) -> Result<Message, TryRecvError> {
        let entry = self.messages.try_recv()?;
        Ok(self.release(entry))
    }

    /// See [`Sender::receipts`].
    pub(super) fn receipts(&self) -> &Receipts {
        &self.receipts
    }

    /// How many messages wait.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Takes no more messages; those that wait can still be received.
    pub(super) fn close(&mut self) {
        self.room.close();
        self.messages.close();
    }

    fn release(&self, entry: Entry) -> Message {
        self.room.add_permits(entry.weight);
        entry.message
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.close();
        self.receipts.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Publish {
        Publish::new("t", QoS::AtMostOnce, text)
    }

    /// How many messages of a size fit.
    fn fill(sender: &Sender, size: usize) -> usize {
        let mut count = 0;
        while let Ok(room) = sender.try_room(size) {
            assert!(room.send(message("m"), true));
            count += 1;
        }
        count
    }

    #[test]
    fn is_bounded_in_messages_and_in_bytes() {
        let (sender, _receiver) = new(1024);
        assert_eq!(fill(&sender, 10), MESSAGES);
        let (sender, _receiver) = new(3);
        assert_eq!(fill(&sender, 10), 3);
        let (sender, mut receiver) = new(1024);
        assert_eq!(fill(&sender, 64 * 1024 + 100), 7);
        assert_eq!(sender.under_way().messages(), 7);
        let first = receiver.try_recv().unwrap();
        assert_eq!(sender.under_way().messages(), 7, "not written yet");
        drop(first);
        assert_eq!(sender.under_way().messages(), 6);
    }

    #[test]
    fn a_message_larger_than_the_queue_goes_into_an_empty_one() {
        let (sender, mut receiver) = new(1024);
        assert_eq!(fill(&sender, 100 << 20), 1);
        assert!(matches!(sender.try_room(1), Err(NoRoom::Full)));
        receiver.try_recv().unwrap();
        assert_eq!(fill(&sender, 10), MESSAGES);
        receiver.try_recv().unwrap();
        assert!(matches!(sender.try_room(100 << 20), Err(NoRoom::Full)), "it is not empty");
    }

    #[tokio::test]
    async fn what_is_to_be_acknowledged_is_counted_before_it_can_be_taken() {
        let (sender, mut receiver) = new(8);
        assert!(sender.try_room(1).unwrap().send(message("m"), true));
        assert!(sender.receipts().all_acknowledged().await, "it has QoS 0");
        let reliable = Publish::new("t", QoS::ExactlyOnce, "m");
        assert!(sender.try_room(1).unwrap().send(reliable.clone(), true));
        receiver.receipts().acknowledge(1);
        assert!(sender.receipts().all_acknowledged().await);
        assert!(sender.try_room(1).unwrap().send(reliable, true));
        while receiver.try_recv().is_ok() {}
        drop(receiver);
        assert!(!sender.receipts().all_acknowledged().await);
    }

    #[test]
    fn room_that_is_not_used_is_given_back() {
        let (sender, _receiver) = new(1);
        drop(sender.try_room(10).unwrap());
        assert_eq!(fill(&sender, 10), 1);
    }

    #[tokio::test]
    async fn who_waits_is_woken_in_order_and_at_the_end() {
        let (sender, mut receiver) = new(1);
        assert_eq!(fill(&sender, 10), 1);
        let waiting = |text: &'static str| {
            let sender = sender.clone();
            tokio::spawn(async move { sender.room(10).await.map(|room| room.send(message(text), true)) })
        };
        let (first, second) = (waiting("first"), waiting("second"));
        tokio::task::yield_now().await;
        assert_eq!(receiver.recv().await.unwrap().publish.payload, "m");
        assert_eq!(first.await.unwrap(), Some(true));
        assert_eq!(receiver.len(), 1);
        receiver.close();
        assert_eq!(second.await.unwrap(), None);
        assert_eq!(receiver.recv().await.unwrap().publish.payload, "first");
        assert!(receiver.recv().await.is_none());
        assert!(matches!(sender.try_room(1), Err(NoRoom::Closed)));
    }
}
