//! Which topics a node passes samples on for: those that it owns, that someone offers and that a subscriber wants
//! through the responsible node.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::message::{Encoding, EntityId};
use crate::qos::{Offered, Ownership, Reliability};
use crate::topic::{RESERVED_LEVEL, Topic};
use crate::transport::Locator;

use super::record::{Interest, Record, Route};

/// What the shell has to do about the samples of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RelayCommand {
    /// Run one subscriber and one publisher for the topic; if they run already, the plan has changed.
    Run(RelayPlan),
    /// Stop them: no subscriber wants the topic by way of a node any more.
    Stop(Topic),
    /// Stop them without a goodbye: another node goes on where this one ends.
    HandOver(Topic),
}

/// How the samples of a topic are to be passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayPlan {
    /// The topic.
    pub topic: Topic,
    /// Its publishers, sorted by identity.
    pub offers: Vec<RelaySource>,
    /// The subscribers that want its samples by way of this node, reliably: sorted by identity.
    pub subscribers: Vec<EntityId>,
    /// What the relay offers in turn: the strongest publisher's offer.
    pub offered: Offered,
    /// How the strongest publisher's samples are encoded.
    pub encoding: Encoding,
}

impl RelayPlan {
    /// Whether the relay arbitrates: only the strongest live publisher is passed on.
    pub fn is_exclusive(&self) -> bool {
        self.offered.ownership == Ownership::Exclusive
    }
}

/// One publisher that a relay listens to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelaySource {
    /// The publisher.
    pub id: EntityId,
    /// Its session.
    pub locator: Locator,
    /// Its strength.
    pub strength: i32,
}

/// The topic on which the responsible node passes on the samples of `topic`.
///
/// # Errors
/// [`InvalidTopic`](crate::ErrorKind::InvalidTopic) if the longer name is beyond a topic's bounds.
pub fn via_topic(topic: &Topic) -> Result<Topic> {
    Topic::new(format!("{RESERVED_LEVEL}/via/{topic}"))
}

/// The plans in force.
#[derive(Debug, Default)]
pub(super) struct Relays(BTreeMap<Topic, RelayPlan>);

impl Relays {
    /// What the present offers and requests of a topic change; `None` if nothing.
    pub(super) fn update<'a>(
        &mut self,
        topic: &Topic,
        offers: impl Iterator<Item = &'a Record>,
        requests: impl Iterator<Item = &'a Record>,
    ) -> Option<RelayCommand> {
        let Some(subscribers) = reliable_subscribers(requests) else {
            return self.0.remove(topic).map(|plan| RelayCommand::Stop(plan.topic));
        };
        match plan(topic, offers, subscribers) {
            Some(plan) if self.0.get(topic) == Some(&plan) => None,
            Some(plan) => {
                self.0.insert(topic.clone(), plan.clone());
                Some(RelayCommand::Run(plan))
            }
            // A publisher that is alive registers again, here or elsewhere.
            None => self.hand_over(topic),
        }
    }

    /// The topic is no longer this node's.
    pub(super) fn hand_over(&mut self, topic: &Topic) -> Option<RelayCommand> {
        self.0.remove(topic).map(|plan| RelayCommand::HandOver(plan.topic))
    }

    /// The topics that are passed on.
    pub(super) fn topics(&self) -> Vec<Topic> {
        self.0.keys().cloned().collect()
    }
}

/// The subscribers that samples are kept for; `None` if there is none at all by way of a node.
fn reliable_subscribers<'a>(requests: impl Iterator<Item = &'a Record>) -> Option<Vec<EntityId>> {
    let (mut wanted, mut subscribers) = (false, Vec::new());
    for record in requests {
        let Interest::Request { route: Route::ViaNode, qos, .. } = &record.registration.interest else {
            continue;
        };
        wanted = true;
        if qos.reliability == Reliability::Reliable {
            subscribers.push(record.id());
        }
    }
    subscribers.sort_unstable();
    wanted.then_some(subscribers)
}

fn plan<'a>(
    topic: &Topic,
    offers: impl Iterator<Item = &'a Record>,
    subscribers: Vec<EntityId>,
) -> Option<RelayPlan> {
    let mut strongest: Option<((i32, EntityId), &Record, &Offered)> = None;
    let mut sources = Vec::new();
    for record in offers {
        let Interest::Offer { qos, .. } = &record.registration.interest else { continue };
        let key = (qos.strength, record.id());
        if strongest.is_none_or(|(other, ..)| key > other) {
            strongest = Some((key, record, qos));
        }
        let locator = record.registration.locator.clone();
        sources.push(RelaySource { id: record.id(), locator, strength: qos.strength });
    }
    let (_, record, offered) = strongest?;
    let encoding = record.registration.encoding;
    Some(RelayPlan { topic: topic.clone(), offers: sources, subscribers, offered: offered.clone(), encoding })
}
