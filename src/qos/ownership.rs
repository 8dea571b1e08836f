//! Exclusive ownership: which of several writers of an instance is heard.

use std::collections::BTreeSet;

use crate::message::EntityId;

/// A live writer that has published to the instance. The greater one is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Candidate {
    /// The strength that it offers.
    pub(crate) strength: i32,
    /// Which writer.
    pub(crate) writer: EntityId,
}

/// The candidates of one instance, in order: a change and the question for the owner cost a logarithm of their number.
#[derive(Debug, Default)]
pub(crate) struct Candidates(BTreeSet<Candidate>);

impl Candidates {
    /// The writer is alive and has published.
    pub(crate) fn enter(&mut self, candidate: Candidate) {
        self.0.insert(candidate);
    }

    /// The writer is gone, or offers another strength.
    pub(crate) fn leave(&mut self, candidate: Candidate) {
        self.0.remove(&candidate);
    }

    /// The writer that is heard: the strongest; of equals the one with the greater id, so that every reader decides
    /// alike.
    pub(crate) fn owner(&self) -> Option<EntityId> {
        self.0.last().map(|candidate| candidate.writer)
    }

    /// Whether there is no candidate.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::SessionId;

    fn candidate(session: u64, strength: i32) -> Candidate {
        Candidate { writer: EntityId { session: SessionId(session), entity: 0 }, strength }
    }

    /// The owner among candidates in any order.
    fn owner(candidates: impl IntoIterator<Item = Candidate>) -> Option<EntityId> {
        candidates.into_iter().max().map(|candidate| candidate.writer)
    }

    #[test]
    fn the_strongest_is_heard_and_the_greater_id_breaks_ties() {
        let owner = |candidates: [Candidate; 2]| {
            let mut kept = Candidates::default();
            candidates.into_iter().for_each(|candidate| kept.enter(candidate));
            kept.owner()
        };
        assert_eq!(owner([candidate(9, 1), candidate(1, 5)]), Some(candidate(1, 5).writer));
        assert_eq!(owner([candidate(9, 5), candidate(1, 5)]), Some(candidate(9, 5).writer));
        assert_eq!(owner([candidate(1, -3), candidate(2, -4)]), Some(candidate(1, -3).writer));
    }

    #[test]
    fn candidates_that_come_and_go_give_the_same_answer() {
        let mut candidates = Candidates::default();
        assert!(candidates.is_empty() && candidates.owner().is_none());
        let all = [candidate(9, 1), candidate(1, 5), candidate(2, 5), candidate(3, -4)];
        all.into_iter().for_each(|candidate| candidates.enter(candidate));
        candidates.enter(all[2]);
        let mut left = all.to_vec();
        for gone in [all[2], all[0], all[1], all[3]] {
            assert_eq!(candidates.owner(), owner(left.iter().copied()));
            candidates.leave(gone);
            left.retain(|candidate| *candidate != gone);
        }
        assert!(candidates.is_empty());
    }
}
