//! How a client behaves, what it wants done, and what it answers.

use std::time::Duration;

use super::MatchEvent;
use crate::dht::member::Member;
use crate::dht::message::{Message, Offers, RequestId, Stored};
use crate::error::Result;
use crate::message::EntityId;
use crate::transport::Locator;

/// How a client behaves.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// How long one node's answer is waited for before the next is asked.
    pub attempt: Duration,
    /// How long a request may take in all.
    pub deadline: Duration,
    /// The longest pause between two renewals, however long the lease is.
    pub longest_renewal: Duration,
}

impl Default for ClientConfig {
    /// 500 ms for each node, five seconds in all, a renewal at least every 20 seconds.
    fn default() -> Self {
        Self {
            attempt: Duration::from_millis(500),
            deadline: Duration::from_secs(5),
            longest_renewal: Duration::from_secs(20),
        }
    }
}

/// What a client wants done.
#[derive(Debug)]
pub enum ClientAction {
    /// Send a message.
    Send {
        /// Where to.
        to: Locator,
        /// What.
        message: Message,
    },
    /// A request has been answered, or has failed.
    Complete {
        /// Its number.
        request: RequestId,
        /// The answer.
        result: Result<Answer>,
    },
    /// Something happened to a registration.
    Event {
        /// Which.
        registration: EntityId,
        /// What.
        event: MatchEvent,
    },
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The registration is held by a majority of its replica set, and will be kept alive.
    Registered(Box<Stored>),
    /// The registration is withdrawn.
    Unregistered,
    /// What a lookup found; `found` is not limited to one part here.
    Offers(Offers),
    /// The members of the ring, sorted by name.
    Members(Vec<Member>),
}
