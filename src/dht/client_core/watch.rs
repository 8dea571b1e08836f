//! From the states that nodes push to the events that users read.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::dht::fullness::Fullness;
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
/// A list of which no part has come for so long is not waited for any more.
const INCOMPLETE: Duration = Duration::from_secs(10);

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
    /// When the last part came.
    heard: Mono,
}

/// All that is known of the matches of one registration.
#[derive(Debug, Default)]
pub(super) struct Watch {
    topics: BTreeMap<Topic, OnTopic>,
    incoming: BTreeMap<Topic, Incoming>,
    full: Fullness,
    /// How long a topic is kept that nobody confirms, once that is known.
    patience: Option<Duration>,
}

impl Watch {
    /// Takes a push; the events that it stands for. A push that is older than what is known stands for none.
    pub(super) fn handle(&mut self, now: Mono, matches: Matches) -> Vec<MatchEvent> {
        let mut events = self.make_room(now, &matches.topic);
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
            if self.full.is_to_be_said(now) {
                let limit = MAX_TOPICS;
                let topic = topic.clone();
                afterwards(move || {
                    tracing::warn!(%topic, limit, "too many topics of one registration: matches are missed");
                });
            }
        }
        if !fresh || !room {
            return events;
        }
        let new = |responsible| Incoming { responsible, revision, assembly: Assembly::default(), heard: now };
        let incoming = self.incoming.entry(topic.clone()).or_insert_with(|| new(responsible.clone()));
        if incoming.responsible != responsible || incoming.revision < revision {
            *incoming = new(responsible);
        } else if incoming.revision > revision {
            return events;
        }
        incoming.heard = now;
        let Some(lists) = incoming.assembly.insert(part, parts, entries) else { return events };
        let Some(Incoming { responsible, revision, .. }) = self.incoming.remove(&topic) else {
            return events;
        };
        let entries = lists.into_iter().flatten().map(|entry| (entry.peer, entry)).collect();
        events.extend(self.replace(topic, OnTopic { responsible, revision, owner, entries, confirmed: now }));
        events
    }

    /// Where there is no room for another topic, lists that do not go on give way, and topics that nobody confirms.
    fn make_room(&mut self, now: Mono, topic: &Topic) -> Vec<MatchEvent> {
        let is_full = self.topics.len() + self.incoming.len() >= MAX_TOPICS;
        if !is_full || self.topics.contains_key(topic) || !self.full.is_to_be_looked_through(now) {
            return Vec::new();
        }
        self.drop_incomplete(now);
        self.patience.map_or_else(Vec::new, |patience| self.drop_unconfirmed(now, patience))
    }

    fn drop_incomplete(&mut self, now: Mono) {
        self.incoming.retain(|_, incoming| now.saturating_since(incoming.heard) <= INCOMPLETE);
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
        self.patience = Some(patience);
        self.drop_incomplete(heard);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dht::member::NodeName;
    use crate::message::SessionId;
    use crate::transport::Locator;

    fn at(seconds: u64) -> Mono {
        Mono::from_origin(Duration::from_secs(seconds))
    }

    fn push(topic: &str, part: u16, parts: u16) -> Matches {
        let locator = Locator::new("memory:node").unwrap();
        Matches {
            registration: EntityId { session: SessionId(1), entity: 1 },
            topic: Topic::new(topic).unwrap(),
            responsible: Member { name: NodeName::new("node").unwrap(), locator, generation: 1 },
            revision: 1,
            part,
            parts,
            owner: None,
            entries: Vec::new(),
        }
    }

    fn knows(watch: &Watch, topic: &str) -> bool {
        watch.responsible(&Topic::new(topic).unwrap()).is_some()
    }

    #[test]
    fn lists_that_never_end_keep_no_topic_out() {
        let mut watch = Watch::default();
        for number in 0..MAX_TOPICS {
            watch.handle(at(0), push(&format!("stranger/{number}"), 0, 2));
        }
        watch.handle(at(1), push("honest", 0, 1));
        assert!(!knows(&watch, "honest"), "their second parts may still come");
        watch.handle(at(12), push("honest", 0, 1));
        assert!(knows(&watch, "honest") && watch.incoming.is_empty());
    }

    #[test]
    fn topics_that_nobody_confirms_keep_no_topic_out() {
        let mut watch = Watch::default();
        let patience = Duration::from_secs(30);
        for number in 0..MAX_TOPICS {
            watch.handle(at(0), push(&format!("stranger/{number}"), 0, 1));
        }
        assert!(watch.drop_unconfirmed(at(1), patience).is_empty());
        watch.handle(at(2), push("honest", 0, 1));
        assert!(!knows(&watch, "honest"));
        watch.handle(at(31), push("honest", 0, 1));
        assert!(knows(&watch, "honest") && watch.topics.len() == 1);
    }

    #[test]
    fn incomplete_lists_are_forgotten_with_time_though_there_is_room() {
        let mut watch = Watch::default();
        watch.handle(at(0), push("half", 0, 2));
        watch.drop_unconfirmed(at(11), Duration::from_secs(30));
        assert!(watch.incoming.is_empty());
    }
}
