//! The records that a node holds, by identity, by topic, and by the time at which they end.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::leases;
use crate::dht::member::{Member, NodeName};
use crate::dht::record::{Interest, Rank, Record};
use crate::dht::schedule::Schedule;
use crate::message::EntityId;
use crate::time::Mono;
use crate::topic::Topic;

/// What is known of another node's copy.
#[derive(Debug, Clone, Copy)]
pub(super) struct RemoteCopy {
    pub(super) rank: Rank,
    /// Whether that node counts itself to the replica set; otherwise it passes the record on and drops it.
    pub(super) kept: bool,
}

/// A record and what is known of its copies.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) record: Record,
    /// The other nodes that have it, as they said last.
    pub(super) copies: BTreeMap<NodeName, RemoteCopy>,
    /// The replica set, the responsible node first, in the present view of the ring.
    pub(super) replicas: Vec<Member>,
}

impl Held {
    /// Whether a node is responsible for the record.
    pub(super) fn is_owned_by(&self, node: &NodeName) -> bool {
        self.replicas.first().is_some_and(|owner| owner.name == *node)
    }

    /// Whether a node is in the replica set.
    pub(super) fn belongs_to(&self, node: &NodeName) -> bool {
        self.replicas.iter().any(|replica| replica.name == *node)
    }
}

/// The offers and exact requests of one topic.
#[derive(Debug, Default)]
pub(super) struct OnTopic {
    pub(super) offers: BTreeSet<EntityId>,
    pub(super) requests: BTreeSet<EntityId>,
    /// What is answered to a lookup that judges nothing, as it is sent. Gone as soon as it may be another.
    answer: Option<Bytes>,
}

/// All records of a node. Only live ones are found by topic.
#[derive(Debug, Default)]
pub(super) struct Table {
    records: BTreeMap<EntityId, Held>,
    topics: BTreeMap<Topic, OnTopic>,
    wildcards: BTreeSet<EntityId>,
    ends: Schedule<EntityId>,
    /// From when on each record may give way to another one.
    silent: Schedule<EntityId>,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn ids(&self) -> Vec<EntityId> {
        self.records.keys().copied().collect()
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values().map(|held| &held.record)
    }

    pub(super) fn get(&self, id: EntityId) -> Option<&Held> {
        self.records.get(&id)
    }

    /// The record, if it takes part in matching.
    pub(super) fn live(&self, id: EntityId) -> Option<&Record> {
        self.records.get(&id).map(|held| &held.record).filter(|record| record.is_live())
    }

    pub(super) fn get_mut(&mut self, id: EntityId) -> Option<&mut Held> {
        self.records.get_mut(&id)
    }

    /// Stores a record in the place of the one of the same identity; what is known of copies stays.
    pub(super) fn store(&mut self, now: Mono, record: Record, replicas: Vec<Member>, until: Mono) {
        let id = record.id();
        let copies = self.remove(id).map(|held| held.copies).unwrap_or_default();
        if record.is_live() {
            match &record.registration.interest {
                Interest::Offer { topic, .. } => {
                    let on_topic = self.topics.entry(topic.clone()).or_default();
                    on_topic.offers.insert(id);
                    on_topic.answer = None;
                }
                Interest::Request { filter, .. } => match filter.as_topic() {
                    Some(topic) => {
                        self.topics.entry(topic).or_default().requests.insert(id);
                    }
                    None => {
                        self.wildcards.insert(id);
                    }
                },
            }
        }
        let patience = if record.is_live() { leases::SILENCE } else { leases::REMEMBER_END_IF_FULL };
        self.silent.set(id, now + patience);
        self.ends.set(id, until);
        self.records.insert(id, Held { record, copies, replicas });
    }

    /// The record ends at another time.
    pub(super) fn set_end(&mut self, id: EntityId, until: Mono) {
        self.ends.set(id, until);
    }

    pub(super) fn remove(&mut self, id: EntityId) -> Option<Held> {
        let held = self.records.remove(&id)?;
        self.ends.clear(id);
        self.silent.clear(id);
        self.wildcards.remove(&id);
        if let Some(topic) = held.record.registration.interest.topic()
            && let Some(on_topic) = self.topics.get_mut(&topic)
        {
            on_topic.offers.remove(&id);
            on_topic.answer = None;
            on_topic.requests.remove(&id);
            if on_topic.offers.is_empty() && on_topic.requests.is_empty() {
                self.topics.remove(&topic);
            }
        }
        Some(held)
    }

    /// The record that has been silent for longest, if that is long enough to give way to another one.
    pub(super) fn dispensable(&self, now: Mono) -> Option<EntityId> {
        self.silent.first_due(now)
    }

    /// The first record whose time has come.
    pub(super) fn due(&self, now: Mono) -> Option<EntityId> {
        self.ends.first_due(now)
    }

    pub(super) fn next_end(&self) -> Option<Mono> {
        self.ends.next()
    }

    /// The topics that live offers or exact requests name.
    pub(super) fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.topics.keys()
    }

    /// The answer that is kept for a topic; if there is none, what `make` says is kept from now on.
    pub(super) fn answer(
        &mut self,
        topic: &str,
        make: impl FnOnce(&Self, &Topic) -> Option<Bytes>,
    ) -> Option<Bytes> {
        let (topic, on_topic) = self.topics.get_key_value(topic)?;
        if let Some(answer) = &on_topic.answer {
            return Some(answer.clone());
        }
        let topic = topic.clone();
        let answer = make(self, &topic)?;
        self.topics.get_mut(&topic)?.answer = Some(answer.clone());
        Some(answer)
    }

    /// Answers say who is responsible: that may have changed.
    pub(super) fn forget_answers(&mut self) {
        self.topics.values_mut().for_each(|on_topic| on_topic.answer = None);
    }

    /// The live offers of a topic.
    pub(super) fn offers(&self, topic: &Topic) -> impl Iterator<Item = &Record> {
        let ids = self.topics.get(topic).into_iter().flat_map(|on_topic| &on_topic.offers);
        ids.filter_map(|id| self.live(*id))
    }

    /// The live requests that a topic falls under, exact ones and those with wildcards.
    pub(super) fn requests(&self, topic: &Topic) -> impl Iterator<Item = &Record> {
        let exact = self.topics.get(topic).into_iter().flat_map(|on_topic| &on_topic.requests);
        let exact = exact.filter_map(|id| self.live(*id));
        let falls_under = move |record: &&Record| match &record.registration.interest {
            Interest::Request { filter, .. } => filter.matches(topic),
            Interest::Offer { .. } => false,
        };
        let wild = self.wildcards.iter().filter_map(|id| self.live(*id)).filter(falls_under);
        exact.chain(wild)
    }
}
