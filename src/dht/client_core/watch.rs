//! From the states that nodes push to the events that users read.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::dht::member::Member;
use crate::dht::message::{MatchEntry, Matches, Verdict};
use crate::dht::parts::Assembly;
use crate::message::EntityId;
use crate::qos::Mismatch;
use crate::quiet::afterwards;
use crate::time::Mono;
use crate::topic::Topic;

/// The most topics that are watched for one registration.
const MAX_TOPICS: usize = 65_536;

/// What happened to a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MatchEvent {
    /// A counterpart fits. Said again when its QoS, its address or its route has changed.
    Matched {
        /// On which topic.
        topic: Topic,
        /// The counterpart.
        peer: MatchEntry,
        /// The node that is responsible for the topic: samples that go through the ring go through it.
        responsible: Member,
    },
    /// A counterpart is there but does not fit.
    Mismatched {
        /// On which topic.
        topic: Topic,
        /// The counterpart.
        peer: MatchEntry,
        /// Every policy that stands against it.
        mismatch: Mismatch,
    },
    /// A counterpart is gone: it was withdrawn, or its lease has ended.
    Departed {
        /// On which topic.
        topic: Topic,
        /// The counterpart, as it was last.
        peer: MatchEntry,
    },
    /// Another exclusive publisher is heard now.
    Takeover {
        /// On which topic.
        topic: Topic,
        /// Who was heard.
        from: EntityId,
        /// Who is heard now.
        to: EntityId,
    },
    /// Another node is responsible for the topic now.
    Remapped {
        /// Which topic.
        topic: Topic,
        /// The node that was.
        from: Member,
        /// The node that is.
        to: Member,
    },
}

/// What is known of one topic.
#[derive(Debug)]
struct OnTopic {
    responsible: Member,
    revision: u64,
    owner: Option<EntityId>,
    entries: BTreeMap<EntityId, MatchEntry>,
    confirmed: Mono,
}

/// A list that is coming in.
#[derive(Debug)]
struct Incoming {
    responsible: Member,
    revision: u64,
    assembly: Assembly<Vec<MatchEntry>>,
}

/// All that is known of the matches of one registration.
#[derive(Debug, Default)]
pub(super) struct Watch {
    topics: BTreeMap<Topic, OnTopic>,
    incoming: BTreeMap<Topic, Incoming>,
    /// That there is no room for another topic is said once.
    said_full: bool,
}

impl Watch {
    /// Takes a push; the events that it stands for. A push that is older than what is known stands for none.
    pub(super) fn handle(&mut self, now: Mono, matches: Matches) -> Vec<MatchEvent> {
        let Matches { topic, responsible, revision, part, parts, owner, entries, .. } = matches;
        let known = self.topics.get(&topic);
        let fresh = known.is_none_or(|known| {
            known.responsible.name != responsible.name
                || (responsible.generation, revision) > (known.responsible.generation, known.revision)
        });
        let room = known.is_some() || self.topics.len() + self.incoming.len() < MAX_TOPICS;
        if !room {
            afterwards(move || {
                metrics::counter!("ringbus_client_full_total", "table" => "topics").increment(1);
            });
            if !std::mem::replace(&mut self.said_full, true) {
                let limit = MAX_TOPICS;
                let topic = topic.clone();
                afterwards(move || {
                    tracing::warn!(%topic, limit, "too many topics of one registration: matches are missed");
                });
            }
        }
        if !fresh || !room {
            return Vec::new();
        }
        let incoming = self.incoming.entry(topic.clone()).or_insert_with(|| Incoming {
            responsible: responsible.clone(),
            revision,
            assembly: Assembly::default(),
        });
        if incoming.responsible != responsible || incoming.revision < revision {
            *incoming = Incoming { responsible, revision, assembly: Assembly::default() };
        } else if incoming.revision > revision {
            return Vec::new();
        }
        let Some(lists) = incoming.assembly.insert(part, parts, entries) else { return Vec::new() };
        let Some(Incoming { responsible, revision, .. }) = self.incoming.remove(&topic) else {
            return Vec::new();
        };
        let entries = lists.into_iter().flatten().map(|entry| (entry.peer, entry)).collect();
        self.replace(topic, OnTopic { responsible, revision, owner, entries, confirmed: now })
    }

    /// The ring names the responsible node of a topic, perhaps before that node has pushed anything.
    pub(super) fn set_responsible(
        &mut self,
        now: Mono,
        topic: &Topic,
        responsible: &Member,
    ) -> Option<MatchEvent> {
        let known = self.topics.entry(topic.clone()).or_insert_with(|| OnTopic {
            responsible: responsible.clone(),
            revision: 0,
            owner: None,
            entries: BTreeMap::new(),
            confirmed: now,
        });
        if known.responsible.name == responsible.name {
            return None;
        }
        let from = std::mem::replace(&mut known.responsible, responsible.clone());
        known.revision = 0;
        Some(MatchEvent::Remapped { topic: topic.clone(), from, to: responsible.clone() })
    }

    /// Drops topics that nobody has confirmed for `patience` although the ring was heard at `heard`: the push that
    /// would have emptied them was lost.
    pub(super) fn drop_unconfirmed(&mut self, heard: Mono, patience: Duration) -> Vec<MatchEvent> {
        let stale = |on_topic: &OnTopic| heard.saturating_since(on_topic.confirmed) > patience;
        let topics: Vec<Topic> =
            self.topics.iter().filter(|(_, known)| stale(known)).map(|(topic, _)| topic.clone()).collect();
        let mut events = Vec::new();
        for topic in topics {
            if let Some(known) = self.topics.remove(&topic) {
                let departed = known.entries.into_values();
                events.extend(departed.map(|peer| MatchEvent::Departed { topic: topic.clone(), peer }));
            }
        }
        events
    }

    /// The present matches, by topic.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&Topic, &MatchEntry)> {
        self.topics.iter().flat_map(|(topic, known)| known.entries.values().map(move |entry| (topic, entry)))
    }

    /// The responsible node of a topic, if it is known.
    pub(super) fn responsible(&self, topic: &Topic) -> Option<&Member> {
        self.topics.get(topic).map(|known| &known.responsible)
    }

    fn replace(&mut self, topic: Topic, new: OnTopic) -> Vec<MatchEvent> {
        let old = self.topics.remove(&topic);
        let events = changes(&topic, old.as_ref(), &new);
        // A topic without entries is kept: it knows the responsible node, and which pushes are old.
        self.topics.insert(topic, new);
        events
    }
}

fn changes(topic: &Topic, old: Option<&OnTopic>, new: &OnTopic) -> Vec<MatchEvent> {
    let mut events = Vec::new();
    if let Some(old) = old {
        if old.responsible.name != new.responsible.name {
            let (from, to) = (old.responsible.clone(), new.responsible.clone());
            events.push(MatchEvent::Remapped { topic: topic.clone(), from, to });
        }
        let gone = old.entries.values().filter(|entry| !new.entries.contains_key(&entry.peer));
        events.extend(gone.map(|peer| MatchEvent::Departed { topic: topic.clone(), peer: peer.clone() }));
    }
    for peer in new.entries.values() {
        if old.and_then(|old| old.entries.get(&peer.peer)) == Some(peer) {
            continue;
        }
        let (topic, peer) = (topic.clone(), peer.clone());
        events.push(match &peer.verdict {
            Verdict::Compatible => MatchEvent::Matched { topic, peer, responsible: new.responsible.clone() },
            Verdict::Incompatible(mismatch) => {
                let mismatch = mismatch.clone();
                MatchEvent::Mismatched { topic, peer, mismatch }
            }
        });
    }
    if let (Some(from), Some(to)) = (old.and_then(|old| old.owner), new.owner)
        && from != to
    {
        events.push(MatchEvent::Takeover { topic: topic.clone(), from, to });
    }
    events
}
