//! The flusher: the task that waits for the link in a publisher's stead, and what it gives back however it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{Line, State, WriterEndpoint};
use crate::error::Result;
use crate::pubsub::hub::Hub;
use crate::pubsub::inside::Inside;
use crate::quiet::lock;
use crate::transport::{Outbound, TransportTx};

/// So long a publisher that waits for room lets no other pass. A link that works has room sooner.
const TURN: Duration = Duration::from_millis(50);
/// A link that takes nothing for so long is spoken of.
const LINK_PATIENCE: Duration = Duration::from_secs(2);
/// So long a batch waits for frames that do not leave, as when one of several subscribers has stopped reading: the others are not
/// to wait for it. Links that work are faster than this.
const STUCK: Duration = Duration::from_millis(5);

impl<Tx: TransportTx> WriterEndpoint<Tx> {
    /// Looks after the link as long as there is one. However that ends, nobody is left waiting.
    pub(super) async fn flush_while_open(self: Arc<Self>, hub: Arc<Hub<Tx>>) {
        let _ends = Flusher::new(&self, &hub);
        tokio::select! {
            () = self.clone().flush_on(hub.clone()) => {}
            () = hub.core.stopped() => {}
        }
    }

    /// Waits for the link in the publisher's stead, and sends what has gathered meanwhile. It lives as long as the writer: one that comes
    /// and goes would cost an allocation each time.
    async fn flush_on(self: Arc<Self>, hub: Arc<Hub<Tx>>) {
        let mut batch = Vec::new();
        loop {
            let line = {
                let mut state = lock(&self.state);
                if state.silent {
                    state.refused = None;
                    self.set_line(&hub, &mut state, Line::Idle);
                }
                if state.line == Line::Idle && state.closed {
                    return;
                }
                batch.extend(state.refused.take());
                state.line
            };
            match line {
                Line::Idle => self.work.notified().await,
                Line::Busy => {
                    tokio::select! {
                        // Too late is no error: the batch goes all the same.
                        _ = tokio::time::timeout(STUCK, self.tx.drained(1)) => self.gathered(&hub),
                        // The transport has refused a frame meanwhile.
                        () = self.work.notified() => continue,
                    }
                }
                Line::Full => {
                    if let Err(error) = self.send_in_turn(&hub, &mut batch).await {
                        tracing::debug!(topic = %self.topic, %error, "could not send");
                    }
                    batch.clear();
                    self.has_room(&hub);
                }
            }
            self.progress.notify_waiters();
        }
    }

    /// Sends when it is this publisher's turn. A turn ends: what holds this topic up need not hold up the others.
    async fn send_in_turn(&self, hub: &Hub<Tx>, batch: &mut Vec<Outbound>) -> Result<()> {
        let queueing = Queueing::begin(&hub.queueing);
        let turn = hub.turn.lock().await;
        let Ok(sent) = tokio::time::timeout(TURN, self.tx.send_batch(batch)).await else {
            drop((turn, queueing));
            return self.send_patiently(batch).await;
        };
        sent
    }

    /// Sends, however long it takes. That it takes long is not kept quiet: a transport does not say who holds it up.
    async fn send_patiently(&self, batch: &mut Vec<Outbound>) -> Result<()> {
        let mut sending = std::pin::pin!(self.tx.send_batch(batch));
        match tokio::time::timeout(LINK_PATIENCE, &mut sending).await {
            Ok(sent) => sent,
            Err(_) => {
                tracing::warn!(topic = %self.topic, "the link has taken nothing for {LINK_PATIENCE:?}: does a peer not receive?");
                metrics::counter!("ringbus_links_stuck_total").increment(1);
                sending.await
            }
        }
    }

    /// All that was sent has left: the open batch is next.
    fn gathered(self: &Arc<Self>, hub: &Arc<Hub<Tx>>) {
        let _inside = Inside::enter(self.as_ref());
        let mut state = lock(&self.state);
        state.core.forget_time();
        if state.line != Line::Busy {
            return;
        }
        if state.core.has_nothing_to_send() {
            return self.set_line(hub, &mut state, Line::Idle);
        }
        // Whatever others have sent in between: each of a session's publishers has its turn.
        if let Err(error) = self.send_open(hub, state, usize::MAX) {
            tracing::debug!(topic = %self.topic, %error, "could not send");
        }
    }

    /// The transport has taken what it had refused.
    fn has_room(self: &Arc<Self>, hub: &Arc<Hub<Tx>>) {
        let _inside = Inside::enter(self.as_ref());
        let mut state = lock(&self.state);
        if let Some(message) = state.behind.take() {
            hub.announce(&self.topic, &message, self.reliable);
        }
        self.set_line(hub, &mut state, Line::Busy);
        // What gathered meanwhile goes now: the link is known to have room.
        match self.send_all(hub, state) {
            Ok(mut state) if state.line == Line::Busy && state.closed && !state.silent => {
                state.core.leave();
                self.set_line(hub, &mut state, Line::Idle);
                drop(self.run_actions(hub, state));
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(topic = %self.topic, %error, "could not send"),
        }
    }
}

/// The flusher's task. It may be cancelled anywhere: with the session, or with the runtime.
struct Flusher<'a, Tx: TransportTx> {
    writer: &'a WriterEndpoint<Tx>,
    hub: &'a Hub<Tx>,
}

impl<'a, Tx: TransportTx> Flusher<'a, Tx> {
    fn new(writer: &'a WriterEndpoint<Tx>, hub: &'a Hub<Tx>) -> Self {
        Self { writer, hub }
    }
}

impl<Tx: TransportTx> Drop for Flusher<'_, Tx> {
    fn drop(&mut self) {
        give_up(self.hub, &mut lock(&self.writer.state));
        self.writer.end();
    }
}

/// Counts a publisher among those that wait for room.
struct Queueing<'a>(&'a AtomicUsize);

impl<'a> Queueing<'a> {
    fn begin(queueing: &'a AtomicUsize) -> Self {
        queueing.fetch_add(1, Ordering::AcqRel);
        Self(queueing)
    }
}

impl Drop for Queueing<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Nobody looks after the link any more: what was not sent is lost, and nothing is taken.
pub(super) fn give_up<Tx: TransportTx>(hub: &Hub<Tx>, state: &mut State) {
    (state.closed, state.silent, state.refused) = (true, true, None);
    state.core.take_leave();
    if std::mem::replace(&mut state.line, Line::Idle) != Line::Idle {
        hub.core.sending.send_modify(|sending| *sending -= 1);
    }
}
