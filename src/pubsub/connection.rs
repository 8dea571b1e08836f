//! Whether the connection to a peer stands, as the transport tells it.
//!
//! A lost connection is a hint: the peer may have died, be back in a moment, or have said goodbye
//! by another way. A peer that was lost and is not heard again counts no more, but all that is
//! known of it is kept until its lease ends: it goes on at its number when it comes back.

use std::time::Duration;

use crate::time::Mono;

/// A goodbye or a new connection within this time makes a lost connection none of the user's
/// affairs.
const PATIENCE: Duration = Duration::from_millis(250);
/// What a peer had sent before its connection was lost may be read for so long behind that news,
/// and is no sign of life.
const STRAGGLERS: Duration = Duration::from_secs(1);

/// The connection to one peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Connection {
    lost: Option<Lost>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lost {
    at: Mono,
    /// The transport reaches the address again.
    restored: bool,
    /// The peer counts no more.
    given_up: bool,
}

impl Connection {
    /// Whether the peer counts as being there.
    pub(super) fn stands(&self) -> bool {
        self.lost.is_none_or(|lost| !lost.given_up)
    }

    /// When it was lost.
    pub(super) fn lost_at(&self) -> Option<Mono> {
        self.lost.map(|lost| lost.at)
    }

    /// It is lost.
    pub(super) fn lose(&mut self, now: Mono) {
        let given_up = !self.stands();
        self.lost = Some(Lost { at: now, restored: false, given_up });
    }

    /// The transport reaches the address again, where a new process may be: the peer is there when
    /// it is heard.
    pub(super) fn restore(&mut self) {
        if let Some(lost) = &mut self.lost {
            lost.restored = true;
        }
    }

    /// The peer was heard, from another address than the one that was lost if it has `moved`.
    /// `true` if it counts again that had been given up.
    pub(super) fn heard(&mut self, now: Mono, moved: bool) -> bool {
        match self.lost {
            Some(lost) if moved || lost.restored || now >= lost.at + STRAGGLERS => {
                self.lost = None;
                lost.given_up
            }
            _ => false,
        }
    }

    /// When [`give_up`](Self::give_up) is due.
    pub(super) fn due(&self) -> Option<Mono> {
        self.lost.filter(|lost| !lost.given_up).map(|lost| lost.at + PATIENCE)
    }

    /// Gives the peer up if it was lost and not heard again in time; `true` if that is news.
    pub(super) fn give_up(&mut self, now: Mono) -> bool {
        match &mut self.lost {
            Some(lost) if !lost.given_up && now >= lost.at + PATIENCE => {
                lost.given_up = true;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Mono {
        Mono::from_origin(Duration::from_millis(millis))
    }

    #[test]
    fn a_lost_peer_counts_until_patience_ends_and_stragglers_bring_it_not_back() {
        let mut connection = Connection::default();
        assert!(connection.stands() && !connection.heard(at(1), false) && !connection.give_up(at(1)));
        connection.lose(at(10));
        assert_eq!(connection.due(), Some(at(260)));
        assert!(!connection.heard(at(100), false) && !connection.give_up(at(259)) && connection.stands());
        assert!(connection.give_up(at(260)) && !connection.give_up(at(261)) && !connection.stands());
        assert_eq!(connection.due(), None);
        assert!(!connection.heard(at(1_009), false) && !connection.stands());
        assert!(connection.heard(at(1_010), false) && connection.stands());
        assert!(!connection.heard(at(1_011), false), "no news");
    }

    #[test]
    fn a_peer_whose_connection_is_restored_is_back_when_it_is_heard() {
        let mut connection = Connection::default();
        connection.lose(at(10));
        connection.restore();
        assert!(!connection.heard(at(20), false) && connection.lost_at().is_none(), "before patience ended");
        connection.lose(at(100));
        connection.restore();
        assert!(connection.give_up(at(350)), "an address that answers is no peer that does");
        connection.lose(at(351));
        assert!(!connection.heard(at(352), false), "lost once more");
        connection.restore();
        assert!(connection.heard(at(353), false));
        connection.lose(at(400));
        assert!(connection.give_up(at(650)) && connection.heard(at(651), true), "it speaks from elsewhere");
    }
}
