//! A relay's stand-ins, and which of the publishers they stand for is heard. Each change and the question for the owner
//! cost a logarithm of their number.

use ahash::HashMap;

use crate::message::EntityId;
use crate::qos::ownership::{Candidate, Candidates};
use crate::qos::{Offered, Ownership};

/// What a publisher offers that decides whether it is heard: its strength, if it is exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim(Option<i32>);

impl Claim {
    pub(super) fn of(offered: &Offered) -> Self {
        Self((offered.ownership == Ownership::Exclusive).then_some(offered.strength))
    }
}

#[derive(Debug)]
struct Entry<S> {
    stand_in: S,
    claim: Claim,
    has_published: bool,
    /// The strength with which it is among the candidates.
    standing: Option<i32>,
}

/// The stand-ins by their writers.
#[derive(Debug)]
pub(super) struct StandIns<S> {
    of: HashMap<EntityId, Entry<S>>,
    /// The exclusive ones whose publishers are there and have published.
    candidates: Candidates,
    /// How many entries were looked at while looking for one.
    #[cfg(test)]
    visited: std::cell::Cell<usize>,
}

impl<S> Default for StandIns<S> {
    fn default() -> Self {
        Self {
            of: HashMap::default(),
            candidates: Candidates::default(),
            #[cfg(test)]
            visited: std::cell::Cell::new(0),
        }
    }
}

impl<S> StandIns<S> {
    pub(super) fn get(&self, writer: &EntityId) -> Option<&S> {
        self.of.get(writer).map(|entry| &entry.stand_in)
    }

    pub(super) fn get_mut(&mut self, writer: &EntityId) -> Option<&mut S> {
        self.of.get_mut(writer).map(|entry| &mut entry.stand_in)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &S> {
        #[cfg(test)]
        self.visited.set(self.visited.get() + self.of.len());
        self.of.values().map(|entry| &entry.stand_in)
    }

    /// Adds one whose publisher has not published yet, in the place of an earlier one.
    pub(super) fn insert(&mut self, writer: EntityId, stand_in: S, claim: Claim) {
        self.remove(writer);
        self.of.insert(writer, Entry { stand_in, claim, has_published: false, standing: None });
    }

    pub(super) fn remove(&mut self, writer: EntityId) -> Option<S> {
        self.is_silent(writer);
        self.of.remove(&writer).map(|entry| entry.stand_in)
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = S> {
        self.candidates = Candidates::default();
        self.of.drain().map(|(_, entry)| entry.stand_in)
    }

    /// The publisher's offer has changed, maybe.
    pub(super) fn set_claim(&mut self, writer: EntityId, claim: Claim) {
        self.change(writer, |entry| entry.claim = claim);
    }

    /// The publisher is there and has published.
    pub(super) fn has_published(&mut self, writer: EntityId) {
        self.change(writer, |entry| entry.has_published = true);
    }

    /// The publisher is gone, or has come back and not published yet.
    pub(super) fn is_silent(&mut self, writer: EntityId) {
        self.change(writer, |entry| entry.has_published = false);
    }

    /// Who is heard, if the publishers are exclusive.
    pub(super) fn owner(&self) -> Option<EntityId> {
        self.candidates.owner()
    }

    fn change(&mut self, writer: EntityId, change: impl FnOnce(&mut Entry<S>)) {
        let Some(entry) = self.of.get_mut(&writer) else { return };
        change(entry);
        let standing = entry.claim.0.filter(|_| entry.has_published);
        let before = std::mem::replace(&mut entry.standing, standing);
        if before != standing {
            let candidate = |strength| Candidate { strength, writer };
            before.into_iter().for_each(|strength| self.candidates.leave(candidate(strength)));
            standing.into_iter().for_each(|strength| self.candidates.enter(candidate(strength)));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::SessionId;

    fn id(writer: u64) -> EntityId {
        EntityId { session: SessionId(writer), entity: 1 }
    }

    fn exclusive(strength: i32) -> Claim {
        Claim::of(&Offered::reliable().exclusive(strength))
    }

    #[test]
    fn thousands_of_publishers_come_speak_and_go_without_a_look_at_the_others() {
        const WRITERS: u64 = 8_000;
        let mut stand_ins = StandIns::default();
        for writer in 0..WRITERS {
            stand_ins.insert(id(writer), (), exclusive(writer as i32 / 100));
            assert_eq!(stand_ins.owner(), writer.checked_sub(1).map(id), "it has published nothing");
            stand_ins.has_published(id(writer));
            assert_eq!(stand_ins.owner(), Some(id(writer)));
        }
        for writer in (1..WRITERS).rev() {
            stand_ins.is_silent(id(writer));
            assert_eq!(stand_ins.owner(), Some(id(writer - 1)));
            stand_ins.remove(id(writer));
        }
        assert_eq!(stand_ins.visited.get(), 0);
        stand_ins.drain().for_each(drop);
        assert_eq!(stand_ins.owner(), None);
    }

    #[test]
    fn shared_publishers_are_all_heard() {
        let mut stand_ins = StandIns::default();
        stand_ins.insert(id(1), (), Claim::of(&Offered::reliable()));
        stand_ins.has_published(id(1));
        assert_eq!(stand_ins.owner(), None);
    }

    proptest! {
        #[test]
        fn the_owner_is_whom_a_look_at_all_would_find(
            steps in prop::collection::vec((0u8..5, 0u64..6, -2i32..3), 1..60),
        ) {
            let mut stand_ins = StandIns::default();
            for (step, writer, strength) in steps {
                match step {
                    0 => stand_ins.insert(id(writer), (), exclusive(strength)),
                    1 => drop(stand_ins.remove(id(writer))),
                    2 => stand_ins.set_claim(id(writer), exclusive(strength)),
                    3 => stand_ins.has_published(id(writer)),
                    _ => stand_ins.is_silent(id(writer)),
                }
                let there = stand_ins.of.iter().filter(|(_, entry)| entry.has_published);
                let strongest = there.filter_map(|(id, entry)| Some((entry.claim.0?, *id))).max();
                prop_assert_eq!(stand_ins.owner(), strongest.map(|(_, id)| id));
            }
        }
    }
}
