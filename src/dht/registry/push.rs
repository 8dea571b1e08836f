//! Telling clients their matches: who has to be told after a change, and the telling itself.

use std::collections::BTreeSet;

use super::matching::{self, MatchList};
use super::{Change, Output, Registry};
use crate::dht::message::{Matches, Message};
use crate::dht::parts;
use crate::dht::record::{Interest, Record};
use crate::dht::ring_view::RingView;
use crate::message::EntityId;
use crate::qos::Ownership;
use crate::topic::Topic;

impl Registry {
    /// Notes whom a changed record concerns. For a change of content it is called with the record before the change
    /// and with the one after it, so that the counterparts of both are told.
    pub(super) fn tell(&mut self, view: &RingView, record: &Record, change: Change) {
        let id = record.id();
        match &record.registration.interest {
            Interest::Offer { topic, qos } => {
                if !self.owns(view, topic) {
                    return;
                }
                self.untold.insert((topic.clone(), id));
                if change == Change::Content {
                    let mut concerned: Vec<EntityId> = self.table.requests(topic).map(Record::id).collect();
                    if qos.ownership == Ownership::Exclusive {
                        concerned.extend(self.table.offers(topic).map(Record::id));
                    }
                    self.untold.extend(concerned.into_iter().map(|id| (topic.clone(), id)));
                }
            }
            Interest::Request { filter, .. } => {
                let topics: Vec<Topic> = match filter.as_topic() {
                    Some(topic) => vec![topic],
                    None => self.table.topics().filter(|topic| filter.matches(topic)).cloned().collect(),
                };
                for topic in topics {
                    if !self.owns(view, &topic) {
                        continue;
                    }
                    if change == Change::Content {
                        let offers = self.table.offers(&topic).map(Record::id);
                        self.untold.extend(offers.map(|id| (topic.clone(), id)));
                    }
                    self.untold.insert((topic, id));
                }
            }
        }
    }

    /// Notes that all who offer or request a topic have to be told: it has come to this node.
    pub(super) fn tell_everyone(&mut self, topic: &Topic) {
        let everyone = self.table.offers(topic).chain(self.table.requests(topic)).map(Record::id);
        self.untold.extend(everyone.map(|id| (topic.clone(), id)));
    }

    /// Tells whoever has to be told, and adjusts the relays of the topics concerned.
    pub(super) fn tell_matches(&mut self, view: &RingView) {
        let mut topics = BTreeSet::new();
        for (topic, id) in std::mem::take(&mut self.untold) {
            if !self.owns(view, &topic) {
                continue;
            }
            if let Some(record) = self.table.live(id) {
                let list = matching::list(&self.table, &topic, record);
                let to = record.registration.locator.clone();
                self.push_list(to, id, &topic, list);
            }
            topics.insert(topic);
        }
        for topic in topics {
            let (offers, requests) = (self.table.offers(&topic), self.table.requests(&topic));
            let command = self.relays.update(&topic, offers, requests);
            self.outputs.extend(command.map(Output::Relay));
        }
    }

    fn push_list(
        &mut self,
        to: crate::transport::Locator,
        registration: EntityId,
        topic: &Topic,
        list: MatchList,
    ) {
        self.revision += 1;
        let lists = parts::split(list.entries);
        let count = parts::count(&lists);
        for (part, entries) in (0..count).zip(lists) {
            let matches = Matches {
                registration,
                topic: topic.clone(),
                responsible: self.me.clone(),
                revision: self.revision,
                part,
                parts: count,
                owner: list.owner,
                entries,
            };
            self.outputs
                .push_back(Output::Send { to: to.clone(), message: Message::Matches(Box::new(matches)) });
        }
    }

    fn owns(&self, view: &RingView, topic: &Topic) -> bool {
        view.is_owner(&self.me.name, topic.as_str())
    }
}
