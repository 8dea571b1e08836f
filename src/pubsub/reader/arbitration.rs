//! Exclusive ownership: who is heard on each topic, and what a takeover replays.

use super::heard::{HeardBefore, Lately, Times};
use super::source_clock::Offset;
use super::{MAX_INSTANCES, ReaderAction, ReaderCore};
use crate::message::EntityId;
use crate::pubsub::control::Replay;
use crate::pubsub::events::MatchEvent;
use crate::pubsub::proxy::{Replaying, WriterProxy};
use crate::qos::ownership::{Candidate, Candidates};
use crate::qos::{Durability, Ownership};
use crate::quiet::afterwards;
use crate::time::{Mono, Timestamp};
use crate::topic::Topic;
use crate::wire::{DataFrame, Samples};

/// One topic under exclusive ownership.
#[derive(Debug, Default)]
pub(super) struct Instance {
    /// Who is heard; nobody while no live writer has published.
    owner: Option<EntityId>,
    /// Who was heard last.
    last_owner: Option<EntityId>,
    /// The live writers that have published.
    candidates: Candidates,
    /// The newest source timestamp of what was delivered last. One that was wrong is forgotten with the next.
    heard: Option<Timestamp>,
    /// What was said lately, and by which owner.
    lately: Lately,
    lately_of: Option<EntityId>,
    /// The times themselves, unless they are a clock's.
    times: Times,
    /// How often something was delivered.
    beat: u64,
    /// What is known of the clock of the owner that has gone.
    clock: Option<Offset>,
}

/// What was heard before a takeover.
#[derive(Debug, Clone)]
struct Heard {
    /// Up to which source time.
    after: Option<Timestamp>,
    /// And since which, lately.
    lately: Option<Timestamp>,
    /// What is known of the clock that these times are of.
    clock: Option<Offset>,
    /// The times themselves, unless they are a clock's.
    times: Times,
}

impl Instance {
    /// How often something was delivered.
    pub(super) fn beat(&self) -> u64 {
        self.beat
    }
}

impl ReaderCore {
    /// Whether the writer's samples are delivered: always, unless another one owns the instance.
    pub(super) fn is_heard(&self, topic: &Topic, writer: EntityId) -> bool {
        self.requested.ownership == Ownership::Shared
            || self.instances.get(topic).is_some_and(|instance| instance.owner == Some(writer))
    }

    /// How often something was delivered on the topic.
    pub(super) fn beat(&self, topic: &Topic) -> u64 {
        self.instances.get(topic).map_or(0, Instance::beat)
    }

    /// Whether a takeover of the topic waits for its history.
    pub(super) fn is_replaying(&self, topic: &Topic) -> bool {
        let owner = self.instances.get(topic).and_then(|instance| instance.owner);
        owner.and_then(|owner| self.writers.get(&owner)).is_some_and(|proxy| proxy.replaying.is_some())
    }

    /// A frame has come, under exclusive ownership. The first of a writer makes it a candidate, and is not history.
    pub(super) fn on_published(&mut self, now: Mono, frame: &DataFrame) {
        let (writer, last) = (frame.header().writer, frame.header().end() - 1);
        if self.writers.get(&writer).is_some_and(|proxy| proxy.last == 0) {
            self.stand(now, writer);
        }
        let Some(proxy) = self.writers.get_mut(&writer) else { return };
        if last > proxy.last {
            // What the writer published before it was chosen, or while it could not be heard, may
            // have been under way for long: its arrival says nothing about the writer's clock.
            let is_prompt = proxy.standing.is_some()
                && proxy.replaying.is_none()
                && proxy.heard_before.as_ref().is_none_or(|heard| last > heard.last);
            if let Some(source) = frame.samples().peek_source().filter(|_| is_prompt) {
                proxy.clock.observe(now, source);
            }
            proxy.advance(last, self.instances.get(&proxy.topic).map_or(0, Instance::beat));
        }
    }

    /// Samples of the owner are delivered.
    pub(super) fn note_heard(&mut self, now: Mono, topic: &Topic, samples: &Samples) {
        if self.requested.ownership == Ownership::Exclusive
            && let Some(instance) = self.instances.get_mut(topic)
        {
            if instance.lately_of != instance.owner {
                (instance.lately, instance.lately_of) = (Lately::default(), instance.owner);
            }
            if let Some(from) = samples.peek_source() {
                instance.lately.note(now, from);
            }
            let is_a_clocks = || {
                let owner = instance.owner.and_then(|owner| self.writers.get(&owner));
                owner.is_some_and(|proxy| proxy.clock.offset().is_some())
            };
            match is_a_clocks() {
                true => instance.times = Times::default(),
                false => samples.borrowed().for_each(|sample| instance.times.note(sample.source)),
            }
            instance.heard = samples.newest().or(instance.heard);
            instance.beat += 1;
        }
    }

    /// The writer is gone: it was a candidate with this strength, and this is what was known of its clock.
    pub(super) fn disown(
        &mut self,
        topic: &Topic,
        writer: EntityId,
        standing: Option<i32>,
        clock: Option<Offset>,
    ) {
        let Some(instance) = self.instances.get_mut(topic) else { return };
        if let Some(strength) = standing {
            instance.candidates.leave(Candidate { strength, writer });
        }
        if instance.owner == Some(writer) {
            (instance.owner, instance.clock) = (None, clock);
        }
    }

    /// A writer has published, or offers another strength. Only writers that have published are candidates: a strong one
    /// that has nothing to say silences nobody.
    pub(super) fn stand(&mut self, now: Mono, writer: EntityId) {
        if self.requested.ownership == Ownership::Shared {
            return;
        }
        let there = |proxy: &&mut WriterProxy| proxy.compatible && proxy.connection.stands();
        let Some(proxy) = self.writers.get_mut(&writer).filter(there) else { return };
        let strength = proxy.offered.strength;
        let before = proxy.standing.replace(strength);
        if before == Some(strength) {
            return;
        }
        let topic = proxy.topic.clone();
        if self.instances.len() >= MAX_INSTANCES && !self.instances.contains_key(&topic) {
            self.instances.retain(|_, instance| !instance.candidates.is_empty());
        }
        let candidates = &mut self.instances.entry(topic.clone()).or_default().candidates;
        if let Some(strength) = before {
            candidates.leave(Candidate { strength, writer });
        }
        candidates.enter(Candidate { strength, writer });
        self.arbitrate(now, &topic);
    }

    /// The writer may be gone: it is no candidate until it is heard again.
    pub(super) fn stand_down(&mut self, now: Mono, writer: EntityId) {
        let Some(proxy) = self.writers.get_mut(&writer) else { return };
        let Some(strength) = proxy.standing.take() else { return };
        let topic = proxy.topic.clone();
        if let Some(instance) = self.instances.get_mut(&topic) {
            instance.candidates.leave(Candidate { strength, writer });
        }
        self.arbitrate(now, &topic);
    }

    /// Decides anew who is heard on a topic.
    pub(super) fn arbitrate(&mut self, now: Mono, topic: &Topic) {
        let Some(instance) = self.instances.get_mut(topic) else { return };
        let Some(to) = instance.candidates.owner() else { return };
        if instance.owner == Some(to) {
            return;
        }
        let (former, after) = (instance.owner.replace(to), instance.heard);
        let from = instance.last_owner.replace(to).filter(|from| *from != to);
        let (mut clock, lately) = (instance.clock.take(), instance.lately.from());
        let times = instance.times.clone();
        if let Some(from) = from {
            let event = MatchEvent::Takeover { topic: topic.clone(), from, to, after };
            self.actions.push_back(ReaderAction::Event(event));
        }
        if let Some(former) = former.and_then(|former| self.writers.get_mut(&former)) {
            former.replaying = None;
            former.pass_over(former.last + 1);
            clock = former.clock.offset();
        }
        self.begin(now, to, Heard { after, lately, clock, times });
    }

    /// Begins to hear a writer. What the writer has kept since another one was heard last is replayed, so that the takeover
    /// leaves no hole. A volatile writer keeps nothing: it is heard from its next sample on.
    fn begin(&mut self, now: Mono, writer: EntityId, heard: Heard) {
        let wants_history = self.requested.durability >= Durability::TransientLocal;
        let repairs = self.repairs(writer);
        let Some(beat) = self.writers.get(&writer).map(|proxy| self.beat(&proxy.topic)) else { return };
        let Some(proxy) = self.writers.get_mut(&writer) else { return };
        proxy.heard_before = None;
        if !repairs || !proxy.keeps_history() {
            return;
        }
        let own = proxy.clock.offset();
        let apart = heard.clock.and_then(|clock| own?.apart_from(clock));
        // Times of no clock are the publishers' word, and those of clocks that agree are as good.
        let comparable = heard.clock.is_none() || own.is_some() && apart.is_none();
        let by_its_clock =
            |at: Timestamp| Timestamp::from_nanos(at.as_nanos().saturating_add(apart.unwrap_or(0)));
        // A writer of which nothing was passed over, and before which nothing was heard, is already followed from the
        // right place.
        let from_the_start = || (proxy.passed_over && wants_history).then_some(Timestamp::MIN);
        let Some(after) = heard.after.map(by_its_clock).or_else(from_the_start) else { return };
        proxy.replaying = Some(Replaying {
            after,
            lately: heard.lately.map(by_its_clock),
            border: proxy.known_last(),
            covered: proxy.covered_at(beat),
            clocks_disagree: apart.is_some(),
            comparable,
            times: heard.times,
        });
        proxy.nack_now(now);
        self.acknowledge(now, writer, true);
    }

    /// The new owner says where the samples begin that are not known from its predecessor, and which was its last.
    pub(in crate::pubsub) fn on_replay(&mut self, now: Mono, wall: Timestamp, replay: &Replay) {
        let Some(beat) = self.writers.get(&replay.writer).map(|proxy| self.beat(&proxy.topic)) else {
            return;
        };
        let Some(proxy) = self.writers.get_mut(&replay.writer) else { return };
        if proxy.epoch != replay.epoch || replay.first == 0 {
            return;
        }
        let Some(takeover) = proxy.replaying.take_if(|takeover| takeover.after == replay.after) else {
            return;
        };
        // Time alone tells apart what the writer had published when it learnt that it was chosen; of a
        // clock that cannot be compared only what was known of here.
        let border = if takeover.comparable { replay.last.max(takeover.border) } else { takeover.border };
        let mut first = replay.first.min(border + 1);
        if !proxy.passed_over {
            first = first.max(proxy.next);
        }
        // What was passed over as long as the predecessor was heard is not skipped: that is what ownership means.
        let unheard = if proxy.passed_over { takeover.covered + 1 } else { proxy.next };
        let skipped = first.saturating_sub(unheard);
        let twice = if takeover.clocks_disagree { unheard.saturating_sub(first) } else { 0 };
        let Replaying { after: to, lately, times, .. } = takeover;
        // A node may not have as much yet as its word of the writer has told.
        let last = replay.last.max(border);
        proxy.heard_before = Some(HeardBefore { border, last, lately, to, times });
        proxy.passed_over = false;
        proxy.next = first;
        proxy.advance(replay.last, beat);
        proxy.settled();
        let topic = proxy.topic.clone();
        self.stats.duplicates += twice;
        self.count_skipped(&topic, replay.writer, skipped);
        // What was published while the answer was under way is held already.
        self.drain_held(now, wall, replay.writer);
        self.follow(now, replay.writer);
        self.acknowledge_if_due(now, replay.writer);
    }

    /// Samples of a new owner are not delivered, since they were heard from its predecessor or are no longer kept.
    pub(super) fn count_skipped(&mut self, topic: &Topic, peer: EntityId, samples: u64) {
        if samples > 0 {
            self.stats.skipped += samples;
            afterwards(move || metrics::counter!("ringbus_samples_skipped_total").increment(samples));
            let event = MatchEvent::Skipped { topic: topic.clone(), peer, samples };
            self.actions.push_back(ReaderAction::Event(event));
        }
    }
}
