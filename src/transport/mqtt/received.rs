//! The messages with QoS 2 that were received, and not yet released by the broker.

use std::collections::HashSet;

/// Their packet ids: what tells a second copy from a new message. Two bytes each, and there are 65,535 at most.
///
/// They are the connection's: with the next one, whose session is clean, the broker begins anew.
#[derive(Debug, Default)]
pub(super) struct Received(HashSet<u16>);

impl Received {
    /// Remembers a message. `false` if it is a second copy.
    pub(super) fn insert(&mut self, id: u16) -> bool {
        self.0.insert(id)
    }

    /// Takes a PUBREL: the next message with this id is another one. Unknown ids are ignored.
    pub(super) fn release(&mut self, id: u16) {
        self.0.remove(&id);
    }

    /// There is a new connection.
    pub(super) fn clear(&mut self) {
        self.0 = HashSet::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_one_until_its_release_or_the_next_connection() {
        let mut received = Received::default();
        assert!(received.insert(7));
        assert!(!received.insert(7));
        assert!(received.insert(8));
        received.release(9);
        received.release(7);
        assert!(received.insert(7));
        received.clear();
        assert!(received.insert(7) && received.insert(8));
    }

    #[test]
    fn a_broker_that_never_releases_fills_no_more_than_the_id_space() {
        let mut received = Received::default();
        for round in 0..2 {
            for id in 1..=u16::MAX {
                assert_eq!(received.insert(id), round == 0);
            }
        }
        assert_eq!(received.0.len(), usize::from(u16::MAX));
    }
}
