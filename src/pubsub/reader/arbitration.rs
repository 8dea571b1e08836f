//! Exclusive ownership: who is heard on each topic, and what a takeover replays.

use super::{MAX_WRITERS, ReaderAction, ReaderCore};
use crate::message::EntityId;
use crate::pubsub::events::MatchEvent;
use crate::qos::ownership::{Candidate, owner};
use crate::qos::{Durability, Ownership};
use crate::time::{Mono, Timestamp};
use crate::topic::Topic;

/// One topic under exclusive ownership.
#[derive(Debug, Default)]
pub(super) struct Instance {
    /// Who is heard; nobody while no live writer has published.
    owner: Option<EntityId>,
    /// Who was heard last.
    last_owner: Option<EntityId>,
    /// The newest source timestamp that was delivered.
    pub(super) heard: Option<Timestamp>,
}

impl ReaderCore {
    /// Whether the writer's samples are delivered: always, unless another one owns the instance.
    pub(super) fn is_heard(&self, topic: &Topic, writer: EntityId) -> bool {
        self.requested.ownership == Ownership::Shared
            || self.instances.get(topic).is_some_and(|instance| instance.owner == Some(writer))
    }

    /// The writer is gone.
    pub(super) fn disown(&mut self, topic: &Topic, writer: EntityId) {
        if let Some(instance) = self.instances.get_mut(topic)
            && instance.owner == Some(writer)
        {
            instance.owner = None;
        }
    }

    pub(super) fn arbitrate(&mut self, now: Mono, writer: EntityId) {
        if self.requested.ownership == Ownership::Exclusive
            && let Some(topic) = self.writers.get(&writer).map(|proxy| proxy.topic.clone())
        {
            self.arbitrate_topic(now, &topic);
        }
    }

    /// Decides anew who is heard on a topic. Only writers that have published are candidates: a strong one that has
    /// nothing to say silences nobody.
    pub(super) fn arbitrate_topic(&mut self, now: Mono, topic: &Topic) {
        if self.requested.ownership == Ownership::Shared {
            return;
        }
        let live = self.writers.iter().filter(|(_, proxy)| {
            proxy.compatible && proxy.connection.stands() && proxy.last > 0 && proxy.topic == *topic
        });
        let to = owner(live.map(|(id, proxy)| Candidate { writer: *id, strength: proxy.offered.strength }));
        let Some(to) = to else { return };
        if self.instances.len() >= MAX_WRITERS && !self.instances.contains_key(topic) {
            self.instances.retain(|_, instance| instance.owner.is_some());
        }
        let instance = self.instances.entry(topic.clone()).or_default();
        if instance.owner == Some(to) {
            return;
        }
        let (former, after) = (instance.owner.replace(to), instance.heard);
        let from = instance.last_owner.replace(to).filter(|from| *from != to);
        if let Some(from) = from {
            let event = MatchEvent::Takeover { topic: topic.clone(), from, to, after };
            self.actions.push_back(ReaderAction::Event(event));
        }
        if let Some(former) = former.and_then(|former| self.writers.get_mut(&former)) {
            former.replaying = None;
            former.pass_over(former.last + 1);
        }
        self.begin(now, to, after);
    }

    /// Begins to hear a writer. Samples up to `after` were heard from another one; what the writer has kept since is
    /// replayed, so that the takeover leaves no hole.
    fn begin(&mut self, now: Mono, writer: EntityId, after: Option<Timestamp>) {
        let wants_history = self.requested.durability >= Durability::TransientLocal;
        let repairs = self.repairs(writer);
        let Some(proxy) = self.writers.get_mut(&writer) else { return };
        proxy.skip_until = after;
        // A writer of which nothing was passed over, and before which nothing was heard, is already followed from the
        // right place.
        let replay_after = after.or((proxy.passed_over && wants_history).then_some(Timestamp::MIN));
        if repairs && proxy.keeps_history() && replay_after.is_some() {
            proxy.replaying = replay_after;
            proxy.nack_now(now);
            self.acknowledge(now, writer, true);
        }
    }
}
