//! Publishers and subscribers: batches, history, gaps and repairs, exclusive ownership, over any transport.
//!
//! A publisher's writer and a subscriber's reader are state machines (`writer`, `reader`) that an endpoint holds behind
//! a lock; the session's `hub` routes messages to them and runs their timers. A writer announces itself by
//! heartbeats *on its topic*: a reader that hears one is proven to receive the samples too, and answers to the writer's
//! session. `docs/wire.md` has the messages.

mod batch;
mod connection;
mod control;
mod discovery;
mod events;
mod history;
mod hub;
mod inside;
mod peers;
mod proxy;
mod publisher;
mod publisher_stats;
mod queue;
mod reader;
mod reader_endpoint;
mod refused;
mod relay;
mod subscriber;
mod via;
mod writer;
mod writer_endpoint;

pub use batch::{Batch, BatchIter, OwnedSamples, SampleRef};
pub use discovery::{Announcement, BoxFuture, Discovery, Offer, Request};
pub use events::{Departure, EVENT_QUEUE, Events, MatchEvent};
pub use publisher::{Publisher, PublisherBuilder};
pub use publisher_stats::PublisherStats;
pub use reader::SubscriberStats;
pub(crate) use relay::Relay;
pub use subscriber::{Subscriber, SubscriberBuilder};
pub use via::Route;

use serde::Serialize;

use crate::session::Session;
use crate::transport::Transport;

/// What a frame that is kept counts for besides its bytes, where bytes are bounded: about what managing it takes. Else
/// many frames of one small sample each would take several times the bound.
const FRAME_OVERHEAD: usize = 256;

impl<T: Transport> Session<T> {
    /// Begins to describe a publisher of values of type `M` on a topic.
    pub fn publisher<M: Serialize>(&self, topic: impl AsRef<str>) -> PublisherBuilder<M, T> {
        PublisherBuilder::new(self.clone(), topic.as_ref())
    }

    /// Begins to describe a subscriber to values of type `M` on every topic under a filter.
    pub fn subscriber<M>(&self, filter: impl AsRef<str>) -> SubscriberBuilder<M, T> {
        SubscriberBuilder::new(self.clone(), filter.as_ref())
    }
}
