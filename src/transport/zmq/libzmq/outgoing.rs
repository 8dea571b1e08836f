//! The sending half: libzmq is called in the caller's own task.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::address::Address;
use super::drops::closed;
use super::prefix;
use super::routes::Refused;
use super::socket::Turn;
use super::sockets::failed;
use super::state::Session;
use crate::error::{Error, ErrorKind, Result};
use crate::topic::{Topic, TopicFilter};
use crate::transport::{Capabilities, Locator, Outbound, TransportTx, TrySendError, Undelivered};

/// How much longer than its deadline `close` waits for libzmq to let go.
const CLOSE_GRACE: Duration = Duration::from_millis(500);

/// The sending half of a session over libzmq.
#[derive(Debug, Clone)]
pub(in crate::transport::zmq) struct LibzmqTx {
    session: Arc<Session>,
}

impl LibzmqTx {
    pub(super) fn new(session: Arc<Session>) -> Self {
        Self { session }
    }
}

impl TransportTx for LibzmqTx {
    fn capabilities(&self) -> &Capabilities {
        &self.session.capabilities
    }

    fn local(&self) -> &Locator {
        &self.session.local
    }

    fn try_send(&self, outbound: Outbound) -> Result<(), TrySendError> {
        match self.session.attempt(&outbound, Turn::Passing) {
            Ok(()) => Ok(()),
            Err(Refused::Full(_)) => Err(TrySendError::Full(outbound)),
            Err(Refused::Failed(error)) => Err(TrySendError::Failed(error)),
        }
    }

    async fn send_batch(&self, batch: &mut Vec<Outbound>) -> Result<()> {
        let mut rest = Rest { batch, sent: 0 };
        while rest.sent < rest.batch.len() {
            rest.sent += self.session.publish_run(&rest.batch[rest.sent..]);
            let Some(next) = rest.batch.get(rest.sent) else { break };
            let result = self.session.send_waiting(next).await;
            rest.sent += 1;
            result?;
        }
        Ok(())
    }

    fn lead(&self, topic: &Topic) -> Bytes {
        prefix::lead(topic)
    }

    fn backlog(&self) -> usize {
        self.session.under_way.messages()
    }

    async fn drained(&self, below: usize) {
        self.session.under_way.fall_below(below).await;
    }

    async fn subscribe(&self, filter: &TopicFilter) -> Result<()> {
        self.session.check_open()?;
        let mut filters = self.session.filters();
        if !filters.insert(filter) {
            return Ok(());
        }
        for prefix in prefix::prefixes(filter) {
            let set = self.session.sockets.subscriber.with(|socket| socket.set_subscribe(&prefix));
            if let Err(error) =
                set.ok_or_else(|| closed().into()).and_then(|set| set.map_err(failed("subscribing")))
            {
                filters.remove(filter);
                return Err(error);
            }
        }
        // Lets the own publisher look: the own subscription is in force when this returns.
        let _ = self.session.sockets.publisher.with(|socket| socket.get_events().is_ok());
        Ok(())
    }

    async fn unsubscribe(&self, filter: &TopicFilter) -> Result<()> {
        self.session.check_open()?;
        let mut filters = self.session.filters();
        if !filters.remove(filter) {
            return Ok(());
        }
        for prefix in prefix::prefixes(filter) {
            let set = self.session.sockets.subscriber.with(|socket| socket.set_unsubscribe(&prefix));
            set.ok_or_else(closed)?.map_err(failed("unsubscribing"))?;
        }
        Ok(())
    }

    async fn attach(&self, peer: &Locator) -> Result<()> {
        let address = Address::of_peer(peer)?;
        self.session.check_open()?;
        self.session.attach(peer, address)
    }

    async fn detach(&self, peer: &Locator) -> Result<()> {
        peer.expect_scheme(super::address::SCHEME)?;
        self.session.check_open()?;
        self.session.detach(peer);
        Ok(())
    }

    async fn close(&self, deadline: Duration) -> Result<Undelivered> {
        let session = &self.session;
        if !session.set_closed() {
            return Ok(Undelivered::default());
        }
        session.say_goodbye();
        session.collect_rest();
        let waiting: usize = session.peers().dealers().iter().map(|dealer| dealer.waiting()).sum();
        let remains = session.dismantle(deadline);
        session.set_ended();
        // Not on the runtime's blocking pool: a thread there would hold up the runtime's own end.
        let (done, end) = tokio::sync::oneshot::channel::<()>();
        let begun = Instant::now();
        let thread = std::thread::Builder::new().name("ringbus-zmq-close".into()).spawn(move || {
            drop(remains);
            drop(done);
        });
        if let Err(e) = thread {
            let reason = e.to_string();
            let kind = ErrorKind::Transport {
                transport: "zmq+tcp",
                operation: "starting a thread to close in",
                reason,
            };
            return Err(Error::with_source(kind, e));
        }
        let _ = tokio::time::timeout(deadline.saturating_add(CLOSE_GRACE), end).await;
        // libzmq is done before the deadline only if everything was written.
        let messages = if waiting > 0 && begun.elapsed() < deadline { 0 } else { waiting };
        Ok(Undelivered { messages })
    }
}

/// A batch of which some are sent: those leave the vector even if the call is cancelled.
struct Rest<'a> {
    batch: &'a mut Vec<Outbound>,
    sent: usize,
}

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        self.batch.drain(..self.sent);
    }
}
