//! What a publisher's user waits for, as far as it has come. It may be asked from within a `Serialize`, where the publisher's
//! lock may be this thread's own.

use std::sync::Arc;

use super::{Line, WriterEndpoint, closed};
use crate::error::{Error, ErrorKind, Result};
use crate::pubsub::hub::Hub;
use crate::pubsub::inside::Inside;
use crate::pubsub::publisher_stats::PublisherStats;
use crate::quiet::lock;
use crate::transport::TransportTx;

/// How far everything is that was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pubsub) enum Flushed {
    /// Some of it is still to be handed to the transport, or to be acknowledged by a matched reliable reader.
    NotYet,
    /// It was handed to the transport. It is reliable, and no reader tells what arrives: the broker alone can.
    ToBroker,
    /// All is there.
    Whole,
}

impl<Tx: TransportTx> WriterEndpoint<Tx> {
    /// What was counted; from within this publisher, what the last call from elsewhere was told.
    pub(in crate::pubsub) fn stats(&self) -> PublisherStats {
        let Some(_inside) = Inside::enter(self) else { return *lock(&self.stats_told) };
        let stats = lock(&self.state).core.stats();
        *lock(&self.stats_told) = stats;
        stats
    }

    /// Whether so many subscribers match.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`], [`ErrorKind::Denied`], [`ErrorKind::Reentrant`]: they will not, for now.
    pub(in crate::pubsub) fn has_matched(&self, subscribers: usize) -> Result<bool> {
        if *self.matched.borrow() >= subscribers {
            return Ok(true);
        }
        let Some(_inside) = Inside::enter(self) else { return Err(self.reentrant()) };
        if lock(&self.state).closed {
            return Err(closed());
        }
        self.tx.denied().map_or(Ok(false), Err)
    }

    /// Sends what has gathered as soon as the transport takes it, rather than when the link is idle, and says how far all is.
    /// `broker_has_it` if the broker has said so.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`], [`ErrorKind::Denied`], [`ErrorKind::Reentrant`]: it will not be, for now.
    /// [`ErrorKind::Refused`]: all else is.
    pub(in crate::pubsub) fn has_flushed(
        self: &Arc<Self>,
        hub: &Arc<Hub<Tx>>,
        broker_has_it: bool,
    ) -> Result<Flushed> {
        let Some(_inside) = Inside::enter(self.as_ref()) else { return Err(self.reentrant()) };
        let mut state = lock(&self.state);
        if !state.closed {
            state = self.send_open(hub, state, usize::MAX)?;
        }
        if state.closed {
            return Err(closed());
        }
        let line_is_free = state.line != Line::Full && state.core.has_nothing_to_send();
        let is_flushed = line_is_free && state.core.all_acknowledged();
        let is_unread = self.reliable && !state.core.has_reliable_reader();
        drop(state);
        if !is_flushed {
            return self.tx.denied().map_or(Ok(Flushed::NotYet), Err);
        }
        if is_unread && !broker_has_it {
            return Ok(Flushed::ToBroker);
        }
        self.take_refusal().map_or(Ok(Flushed::Whole), Err)
    }

    #[cold]
    pub(super) fn reentrant(&self) -> Error {
        ErrorKind::Reentrant { topic: self.topic.to_string() }.into()
    }
}
