//! The prefixes that this session subscribes to at every publisher.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use ahash::HashMap;
use bytes::Bytes;

use super::super::Subscription;
use super::item::Item;
use super::outgoing::{Outgoing, Pushed};
use crate::quiet::lock;
use crate::topic::TopicFilter;
use crate::transport::zmq::prefix::prefixes;

/// What is subscribed to, and where.
#[derive(Debug, Default)]
pub(super) struct Wants(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// How many filters need each prefix.
    needed: BTreeMap<Bytes, usize>,
    feeds: HashMap<u64, Arc<Outgoing>>,
}

impl Wants {
    /// A filter is wanted.
    pub(super) fn add(&self, filter: &TopicFilter) {
        let mut state = lock(&self.0);
        for prefix in prefixes(filter).into_iter().map(Bytes::from) {
            let needed = state.needed.entry(prefix.clone()).or_default();
            *needed += 1;
            if *needed == 1 {
                state.tell(&Subscription::Subscribe(prefix));
            }
        }
    }

    /// A filter that was [added](Self::add) is not wanted any more.
    pub(super) fn remove(&self, filter: &TopicFilter) {
        let mut state = lock(&self.0);
        for prefix in prefixes(filter).into_iter().map(Bytes::from) {
            let Some(needed) = state.needed.get_mut(&prefix) else { continue };
            *needed -= 1;
            if *needed == 0 {
                state.needed.remove(&prefix);
                state.tell(&Subscription::Cancel(prefix));
            }
        }
    }

    /// A publisher is connected to: what it has to be told first. It hears of all changes after that.
    pub(super) fn connect(&self, number: u64, feed: &Arc<Outgoing>) -> Vec<Item> {
        let mut state = lock(&self.0);
        state.feeds.insert(number, feed.clone());
        let all = state.needed.keys().cloned();
        all.map(|prefix| Item::Subscription(Subscription::Subscribe(prefix))).collect()
    }

    /// A publisher is lost.
    pub(super) fn disconnect(&self, number: u64) {
        lock(&self.0).feeds.remove(&number);
    }
}

impl State {
    fn tell(&mut self, subscription: &Subscription) {
        self.feeds.retain(|_, feed| {
            let told = feed.force(Item::Subscription(subscription.clone()));
            // One that does not read what it is told is told everything when it comes back.
            if told == Pushed::Full {
                feed.break_off();
            }
            told == Pushed::Taken
        });
    }
}
