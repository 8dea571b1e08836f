//! The two halves of a session, on whichever engine.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

#[cfg(feature = "zmq")]
use super::libzmq::{LibzmqRx, LibzmqTx};
use crate::error::Result;
use crate::topic::{Topic, TopicFilter};
#[cfg(feature = "zmtp")]
use crate::transport::zmtp::engine::{NativeRx, NativeTx};
use crate::transport::{
    Capabilities, Event, Locator, MessageSink, Outbound, TransportRx, TransportTx, TrySendError, Undelivered,
};

/// The sending half of a ZeroMQ session.
#[derive(Debug, Clone)]
pub struct ZmqTx(pub(super) Tx);

/// The receiving half of a ZeroMQ session.
#[derive(Debug)]
pub struct ZmqRx(pub(super) Rx);

#[derive(Debug, Clone)]
pub(super) enum Tx {
    #[cfg(feature = "zmq")]
    Libzmq(LibzmqTx),
    #[cfg(feature = "zmtp")]
    Native(NativeTx),
}

#[derive(Debug)]
pub(super) enum Rx {
    #[cfg(feature = "zmq")]
    Libzmq(LibzmqRx),
    #[cfg(feature = "zmtp")]
    Native(NativeRx),
}

/// Calls the engine's half.
macro_rules! on_engine {
    ($half:ident, $value:expr, $inner:ident => $call:expr) => {
        match $value {
            #[cfg(feature = "zmq")]
            $half::Libzmq($inner) => $call,
            #[cfg(feature = "zmtp")]
            $half::Native($inner) => $call,
        }
    };
}

impl TransportTx for ZmqTx {
    fn capabilities(&self) -> &Capabilities {
        on_engine!(Tx, &self.0, tx => tx.capabilities())
    }

    fn local(&self) -> &Locator {
        on_engine!(Tx, &self.0, tx => tx.local())
    }

    fn try_send(&self, outbound: Outbound) -> Result<(), TrySendError> {
        on_engine!(Tx, &self.0, tx => tx.try_send(outbound))
    }

    async fn send_batch(&self, batch: &mut Vec<Outbound>) -> Result<()> {
        on_engine!(Tx, &self.0, tx => tx.send_batch(batch).await)
    }

    fn lead(&self, topic: &Topic) -> Bytes {
        super::prefix::lead(topic)
    }

    fn backlog(&self) -> usize {
        on_engine!(Tx, &self.0, tx => tx.backlog())
    }

    async fn drained(&self, below: usize) {
        on_engine!(Tx, &self.0, tx => tx.drained(below).await);
    }

    async fn subscribe(&self, filter: &TopicFilter) -> Result<()> {
        on_engine!(Tx, &self.0, tx => tx.subscribe(filter).await)
    }

    async fn unsubscribe(&self, filter: &TopicFilter) -> Result<()> {
        on_engine!(Tx, &self.0, tx => tx.unsubscribe(filter).await)
    }

    async fn attach(&self, peer: &Locator) -> Result<()> {
        on_engine!(Tx, &self.0, tx => tx.attach(peer).await)
    }

    async fn detach(&self, peer: &Locator) -> Result<()> {
        on_engine!(Tx, &self.0, tx => tx.detach(peer).await)
    }

    async fn close(&self, deadline: Duration) -> Result<Undelivered> {
        on_engine!(Tx, &self.0, tx => tx.close(deadline).await)
    }
}

impl TransportRx for ZmqRx {
    async fn recv_batch(&mut self, events: &mut Vec<Event>, max: usize) -> Result<usize> {
        on_engine!(Rx, &mut self.0, rx => rx.recv_batch(events, max).await)
    }

    fn set_sink(&mut self, sink: Arc<dyn MessageSink>) {
        on_engine!(Rx, &mut self.0, rx => rx.set_sink(sink));
    }
}
