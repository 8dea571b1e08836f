//! How the flusher ends: whatever it held is given back.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Line, State, WriterEndpoint};
use crate::pubsub::hub::Hub;
use crate::session::lock;
use crate::transport::TransportTx;

/// The flusher's task. It may be cancelled anywhere: with the session, or with the runtime.
pub(super) struct Flusher<'a, Tx: TransportTx> {
    writer: &'a WriterEndpoint<Tx>,
    hub: &'a Hub<Tx>,
}

impl<'a, Tx: TransportTx> Flusher<'a, Tx> {
    pub(super) fn new(writer: &'a WriterEndpoint<Tx>, hub: &'a Hub<Tx>) -> Self {
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
pub(super) struct Queueing<'a>(&'a AtomicUsize);

impl<'a> Queueing<'a> {
    pub(super) fn begin(queueing: &'a AtomicUsize) -> Self {
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
    if std::mem::replace(&mut state.line, Line::Idle) != Line::Idle {
        hub.core.sending.send_modify(|sending| *sending -= 1);
    }
}
