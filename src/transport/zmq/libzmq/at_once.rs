//! Messages are read where the reactor notices them, if they are few and nobody has to be asked first.
//!
//! The way by the receiving half costs a task: it is scheduled, looks at every socket and at its timers, hands a message
//! out, and looks at everything once more before whom the message is for has its turn.

use std::sync::{Arc, Weak};

use super::socket::Interest;
use super::state::Session;
use crate::transport::{Event, MessageSink};

/// So many messages at most: other descriptors wait meanwhile. Where there are more, batches are what counts.
const FEW: usize = 16;

/// Reads in the receiving half's stead.
pub(super) struct AtOnce {
    /// It owns the sockets, which lead here.
    session: Weak<Session>,
    sink: Arc<dyn MessageSink>,
}

impl AtOnce {
    pub(super) fn new(session: &Arc<Session>, sink: Arc<dyn MessageSink>) -> Self {
        Self { session: Arc::downgrade(session), sink }
    }

    /// Reads with a lasting interest. `false` if the receiving half is to be woken: there is more than was read, or it was not
    /// the time to read.
    pub(super) fn read(&self) -> bool {
        let Some(session) = self.session.upgrade() else { return false };
        // Whoever reads just now may have passed the socket by already.
        let Some(mut reading) = session.try_reading() else { return false };
        // Nothing overtakes what came before.
        if reading.owed || !session.events().is_empty() {
            return false;
        }
        let mut few = std::mem::take(&mut reading.spare);
        let more = reading.reader.read_all(&session, Interest::Lasting, &mut few, FEW);
        // They are handed over while nobody else can read what comes after them; behind one that is refused wait all others.
        let mut refused = false;
        for event in few.drain(..) {
            let left = match event {
                Event::Message { from, payload } if !refused => {
                    self.sink.take(&from, payload).map(|payload| Event::Message { from, payload })
                }
                event => Some(event),
            };
            if let Some(left) = left {
                refused = true;
                session.events().push_back(left);
            }
        }
        reading.spare = few;
        !more && !refused
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use bytes::Bytes;

    use crate::topic::Topic;
    use crate::transport::{
        MessageSink, OpenOptions, Origin, Outbound, Transport, TransportRx, TransportTx, ZmqTransport,
    };

    /// Takes what is to a topic, or to this session alone.
    #[derive(Default)]
    struct Counts {
        topic: AtomicUsize,
        peer: AtomicUsize,
    }

    impl MessageSink for Counts {
        fn take(&self, from: &Origin, _payload: Bytes) -> Option<Bytes> {
            let count = if matches!(from, Origin::Topic(_)) { &self.topic } else { &self.peer };
            count.fetch_add(1, Ordering::Relaxed);
            None
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn lone_messages_wake_no_receiver() {
        const LONE: usize = 50;
        let open = || ZmqTransport::ephemeral().open(OpenOptions::default());
        let ((near, mut near_rx), (far, mut far_rx)) = (open().await.unwrap(), open().await.unwrap());
        let counts = Arc::new(Counts::default());
        near_rx.set_sink(counts.clone());
        let topic = Topic::new("t").unwrap();
        near.subscribe(&(&topic).into()).await.unwrap();
        near.attach(far.local()).await.unwrap();
        let messages = Arc::new(AtomicUsize::new(0));
        let receiving = tokio::spawn({
            let messages = messages.clone();
            async move {
                let mut events = Vec::new();
                while near_rx.recv_batch(&mut events, 16).await.is_ok() {
                    let is_message = |event: &_| matches!(event, crate::transport::Event::Message { .. });
                    messages.fetch_add(events.drain(..).filter(is_message).count(), Ordering::Relaxed);
                }
            }
        });
        let answering =
            tokio::spawn(async move { while far_rx.recv_batch(&mut Vec::new(), 16).await.is_ok() {} });
        let arrived = || counts.topic.load(Ordering::Relaxed) + messages.load(Ordering::Relaxed);
        let all = async {
            // Until the subscription has arrived nobody hears a publication.
            while arrived() == 0 {
                drop(far.try_send(Outbound::topic(topic.clone(), "probe")));
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            for _ in 0..LONE {
                far.try_send(Outbound::topic(topic.clone(), "lone")).unwrap();
                far.try_send(Outbound::peer(near.local().clone(), "lone")).unwrap();
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), all).await.unwrap();
        let at_once = (counts.topic.load(Ordering::Relaxed), counts.peer.load(Ordering::Relaxed));
        // On a machine that is busy many find the receiver reading.
        assert!(at_once.0 > LONE / 10 && at_once.1 > LONE / 10, "{at_once:?} of {LONE}");
        far.close(Duration::ZERO).await.unwrap();
        near.close(Duration::ZERO).await.unwrap();
        receiving.await.unwrap();
        answering.await.unwrap();
    }
}
