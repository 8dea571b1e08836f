//! Who hears what is published to a topic.

use std::sync::{Arc, Mutex};

use ahash::HashMap;
use bytes::Bytes;

use super::outgoing::Outgoing;
use super::subscriptions::{Prefixes, Subscriptions, Wanted};
use crate::quiet::{MutexGuard, lock};
use crate::topic::Topic;
use crate::transport::filters::{Filters, Verdict};

/// So many topics are remembered with their audiences; a session that publishes to more decides anew.
const REMEMBERED: usize = 4096;

/// Who hears a topic.
#[derive(Debug, Default)]
pub(super) struct Audience {
    /// The session itself.
    pub(super) own: bool,
    /// All publications go there.
    pub(super) all: Vec<Arc<Outgoing>>,
    /// And there those that begin with one of the prefixes.
    pub(super) some: Vec<(Arc<Outgoing>, Prefixes)>,
}

impl Audience {
    /// Those who hear a publication.
    pub(super) fn of<'a>(&'a self, frame: &'a Bytes) -> impl Iterator<Item = &'a Arc<Outgoing>> {
        let wants = |prefixes: &[Box<[u8]>]| prefixes.iter().any(|prefix| frame.starts_with(prefix));
        let some =
            self.some.iter().filter(move |(_, prefixes)| wants(prefixes)).map(|(outgoing, _)| outgoing);
        self.all.iter().chain(some)
    }

    /// Whether nobody hears it.
    pub(super) fn is_empty(&self) -> bool {
        !self.own && self.all.is_empty() && self.some.is_empty()
    }
}

/// The subscriptions of the session itself and of all connections.
#[derive(Debug, Default)]
pub(super) struct Audiences {
    state: Mutex<State>,
    /// Taken behind the state.
    own: Mutex<Filters>,
}

#[derive(Debug, Default)]
struct State {
    subscribers: HashMap<u64, Subscriber>,
    decided: HashMap<Topic, Arc<Audience>>,
}

#[derive(Debug)]
struct Subscriber {
    outgoing: Arc<Outgoing>,
    subscriptions: Subscriptions,
}

impl Audiences {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// A subscriber has connected.
    pub(super) fn join(&self, number: u64, outgoing: Arc<Outgoing>) {
        let subscriber = Subscriber { outgoing, subscriptions: Subscriptions::default() };
        self.state().subscribers.insert(number, subscriber);
    }

    /// A subscriber's connection is over.
    pub(super) fn leave(&self, number: u64) {
        let mut state = self.state();
        state.subscribers.remove(&number);
        state.decided.clear();
    }

    /// A subscriber wants more. `None` if it wants too much.
    pub(super) fn subscribe(&self, number: u64, prefix: &[u8]) -> Option<()> {
        let mut state = self.state();
        state.subscribers.get_mut(&number)?.subscriptions.insert(prefix)?;
        state.decided.clear();
        Some(())
    }

    /// A subscriber wants less.
    pub(super) fn cancel(&self, number: u64, prefix: &[u8]) {
        let mut state = self.state();
        if let Some(subscriber) = state.subscribers.get_mut(&number) {
            subscriber.subscriptions.remove(prefix);
            state.decided.clear();
        }
    }

    /// The session's own filters, changed by `change`.
    pub(super) fn with_own<R>(&self, change: impl FnOnce(&mut Filters) -> R) -> R {
        let mut state = self.state();
        state.decided.clear();
        change(&mut lock(&self.own))
    }

    /// Whether the session itself wants a publication that has come.
    pub(super) fn judge(&self, topic: &[u8]) -> Verdict {
        lock(&self.own).judge(topic)
    }

    /// Who hears a topic now.
    pub(super) fn of(&self, topic: &Topic) -> Arc<Audience> {
        let mut state = self.state();
        if let Some(audience) = state.decided.get(topic) {
            return audience.clone();
        }
        let mut audience = Audience {
            own: matches!(self.judge(topic.as_str().as_bytes()), Verdict::Wanted(_)),
            ..Audience::default()
        };
        for Subscriber { outgoing, subscriptions } in state.subscribers.values() {
            match subscriptions.wants(topic) {
                Wanted::No => {}
                Wanted::Yes => audience.all.push(outgoing.clone()),
                Wanted::If(prefixes) => audience.some.push((outgoing.clone(), prefixes)),
            }
        }
        let audience = Arc::new(audience);
        if state.decided.len() >= REMEMBERED {
            state.decided.clear();
        }
        state.decided.insert(topic.clone(), audience.clone());
        audience
    }
}
