//! How publishers and subscribers are introduced to each other by something outside of the session: a registry.

use std::future::Future;
use std::pin::Pin;

use super::events::Events;
use super::via::Route;
use crate::error::Result;
use crate::message::{Encoding, EntityId};
use crate::qos::{Offered, Requested};
use crate::topic::{Topic, TopicFilter};

/// A future without a name, as trait objects need it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Announces publishers and subscribers, finds their counterparts, and connects the session to them.
///
/// The ring's client implements it; see `session.dht(..)`.
pub trait Discovery: Send + Sync + 'static {
    /// Announces a publisher, and keeps doing so until the announcement is dropped.
    fn offer(&self, offer: Offer) -> BoxFuture<'_, Result<Box<dyn Announcement>>>;

    /// Announces a subscriber, and keeps doing so until the announcement is dropped.
    fn request(&self, request: Request) -> BoxFuture<'_, Result<Box<dyn Announcement>>>;
}

/// A standing announcement. Dropping it withdraws it.
pub trait Announcement: Send + Sync {
    /// The ring node that is responsible for it now, by name.
    fn responsible(&self) -> Option<String>;
}

/// What there is to announce of a publisher.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Which publisher.
    pub id: EntityId,
    /// Its topic.
    pub topic: Topic,
    /// What it offers.
    pub qos: Offered,
    /// How its samples are encoded.
    pub encoding: Encoding,
    /// Where to tell it what happens.
    pub events: Events,
}

/// What there is to announce of a subscriber.
#[derive(Debug, Clone)]
pub struct Request {
    /// Which subscriber.
    pub id: EntityId,
    /// Its filter.
    pub filter: TopicFilter,
    /// What it requests.
    pub qos: Requested,
    /// How its samples are to travel.
    pub route: Route,
    /// Where to tell it what happens.
    pub events: Events,
    /// How its samples are encoded.
    pub encoding: Encoding,
}
