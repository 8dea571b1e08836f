//! The two halves of a session on this engine.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::endpoint::Endpoint;
use super::routes::Refused;
use super::session::{Owner, Session};
use crate::error::Result;
use crate::topic::TopicFilter;
use crate::transport::zmq::address::SCHEME;
use crate::transport::zmq::ipc::is_ipc;
use crate::transport::{
    Capabilities, Event, Locator, MessageSink, Outbound, TransportRx, TransportTx, TrySendError, Undelivered,
};

/// How much longer than its deadline `close` waits for the tasks to end.
const CLOSE_GRACE: Duration = Duration::from_millis(500);

/// The sending half.
#[derive(Debug, Clone)]
pub(in crate::transport) struct NativeTx(pub(super) Arc<Owner>);

/// The receiving half.
#[derive(Debug)]
pub(in crate::transport) struct NativeRx(pub(super) Arc<Owner>);

impl NativeTx {
    fn session(&self) -> &Arc<Session> {
        &self.0.0
    }
}

impl TransportTx for NativeTx {
    fn capabilities(&self) -> &Capabilities {
        &self.session().capabilities
    }

    fn local(&self) -> &Locator {
        &self.session().local
    }

    fn try_send(&self, outbound: Outbound) -> Result<(), TrySendError> {
        match self.session().attempt(&outbound) {
            Ok(()) => Ok(()),
            Err(Refused::Full(_)) => Err(TrySendError::Full(outbound)),
            Err(Refused::Failed(error)) => Err(TrySendError::Failed(error)),
        }
    }

    async fn send_batch(&self, batch: &mut Vec<Outbound>) -> Result<()> {
        let mut rest = Rest { batch, sent: 0 };
        while let Some(next) = rest.batch.get(rest.sent) {
            let result = self.session().send_waiting(next).await;
            rest.sent += 1;
            result?;
        }
        Ok(())
    }

    fn backlog(&self) -> usize {
        self.session().under_way.messages()
    }

    async fn drained(&self, below: usize) {
        self.session().under_way.fall_below(below).await;
    }

    async fn subscribe(&self, filter: &TopicFilter) -> Result<()> {
        let session = self.session();
        session.check_open()?;
        if session.audiences.with_own(|filters| filters.insert(filter)) {
            session.wants.add(filter);
        }
        Ok(())
    }

    async fn unsubscribe(&self, filter: &TopicFilter) -> Result<()> {
        let session = self.session();
        session.check_open()?;
        if session.audiences.with_own(|filters| filters.remove(filter)) {
            session.wants.remove(filter);
        }
        Ok(())
    }

    async fn attach(&self, peer: &Locator) -> Result<()> {
        let address = Endpoint::of_peer(peer)?;
        self.session().check_open()?;
        self.session().attach(peer, &address)
    }

    async fn detach(&self, peer: &Locator) -> Result<()> {
        if !is_ipc(peer) {
            peer.expect_scheme(SCHEME)?;
        }
        self.session().check_open()?;
        self.session().detach(peer);
        Ok(())
    }

    async fn close(&self, deadline: Duration) -> Result<Undelivered> {
        let session = self.session();
        if !session.set_closed() {
            return Ok(Undelivered::default());
        }
        session.say_goodbye();
        let parting = session.part();
        drop(timeout(deadline, session.tasks.ended()).await);
        let messages = parting.iter().map(|outgoing| outgoing.close()).sum();
        session.shut();
        drop(timeout(CLOSE_GRACE, session.tasks.ended()).await);
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

impl TransportRx for NativeRx {
    async fn recv_batch(&mut self, events: &mut Vec<Event>, max: usize) -> Result<usize> {
        self.0.0.inbox.take(events, max).await
    }

    fn set_sink(&mut self, sink: Arc<dyn MessageSink>) {
        self.0.0.inbox.set_sink(sink);
    }
}
