//! Exclusive ownership: which of several writers of an instance is heard.

use crate::message::EntityId;

/// A live writer that has published to the instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Who.
    pub(crate) writer: EntityId,
    /// The strength that it offers.
    pub(crate) strength: i32,
}

/// The writer that is heard: the strongest; of equals the one with the greater id, so that every reader decides alike.
pub(crate) fn owner(candidates: impl IntoIterator<Item = Candidate>) -> Option<EntityId> {
    candidates.into_iter().max_by_key(|candidate| (candidate.strength, candidate.writer)).map(|c| c.writer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::SessionId;

    fn candidate(session: u64, strength: i32) -> Candidate {
        Candidate { writer: EntityId { session: SessionId(session), entity: 0 }, strength }
    }

    #[test]
    fn the_strongest_is_heard_and_the_greater_id_breaks_ties() {
        assert_eq!(owner([]), None);
        assert_eq!(owner([candidate(9, 1), candidate(1, 5)]), Some(candidate(1, 5).writer));
        assert_eq!(owner([candidate(9, 5), candidate(1, 5)]), Some(candidate(9, 5).writer));
        assert_eq!(owner([candidate(1, -3), candidate(2, -4)]), Some(candidate(1, -3).writer));
    }
}
