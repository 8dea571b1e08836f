//! Socket types, and which of them talk to each other.

/// A ZMTP socket type, as the Socket-Type property of READY names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::transport) enum SocketType {
    /// Publishes; takes subscriptions in, and nothing else.
    Pub,
    /// Publishes; gives subscriptions to its user.
    Xpub,
    /// Subscribes.
    Sub,
    /// Subscribes by messages of its user.
    Xsub,
    /// Talks to each of its peers by routing id.
    Router,
    /// Talks to its peers in turn.
    Dealer,
    /// Asks, and waits for the answer.
    Req,
    /// Answers.
    Rep,
    /// Sends.
    Push,
    /// Receives.
    Pull,
    /// Talks to one peer.
    Pair,
}

use SocketType::{Dealer, Pair, Pub, Pull, Push, Rep, Req, Router, Sub, Xpub, Xsub};

const ALL: [SocketType; 11] = [Pub, Xpub, Sub, Xsub, Router, Dealer, Req, Rep, Push, Pull, Pair];

impl SocketType {
    /// Its name on the wire.
    pub(in crate::transport) const fn name(self) -> &'static str {
        match self {
            Pub => "PUB",
            Xpub => "XPUB",
            Sub => "SUB",
            Xsub => "XSUB",
            Router => "ROUTER",
            Dealer => "DEALER",
            Req => "REQ",
            Rep => "REP",
            Push => "PUSH",
            Pull => "PULL",
            Pair => "PAIR",
        }
    }

    /// The type of this name, if there is one.
    pub(in crate::transport) fn from_name(name: &[u8]) -> Option<Self> {
        ALL.into_iter().find(|socket_type| socket_type.name().as_bytes() == name)
    }

    /// Whether 23/ZMTP lets a socket of this type talk to one of that.
    pub(in crate::transport) const fn talks_to(self, peer: Self) -> bool {
        match self {
            Pub | Xpub => matches!(peer, Sub | Xsub),
            Sub | Xsub => matches!(peer, Pub | Xpub),
            Router => matches!(peer, Req | Dealer | Router),
            Dealer => matches!(peer, Rep | Dealer | Router),
            Req => matches!(peer, Rep | Router),
            Rep => matches!(peer, Req | Dealer),
            Push => matches!(peer, Pull),
            Pull => matches!(peer, Push),
            Pair => matches!(peer, Pair),
        }
    }
}

/// What one side comes as.
#[derive(Debug, Clone, Copy)]
pub(in crate::transport) enum Socket {
    /// Always this type.
    Fixed(SocketType),
    /// The type that the function gives for the peer's type, `None` to refuse it. For the side
    /// that is bound: it says nothing of itself before it has the peer's READY or INITIATE, so that one
    /// port serves several kinds of peers.
    Answer(fn(SocketType) -> Option<SocketType>),
}

impl Socket {
    /// What this side is towards a peer of that type; `None` if the two do not talk.
    pub(super) fn towards(self, peer: SocketType) -> Option<SocketType> {
        let ours = match self {
            Self::Fixed(ours) => ours,
            Self::Answer(answer) => answer(peer)?,
        };
        ours.talks_to(peer).then_some(ours)
    }

    /// What this side is before it knows its peer.
    pub(super) const fn fixed(self) -> Option<SocketType> {
        match self {
            Self::Fixed(ours) => Some(ours),
            Self::Answer(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_specification_and_lead_back() {
        for socket_type in ALL {
            assert_eq!(SocketType::from_name(socket_type.name().as_bytes()), Some(socket_type));
        }
        for unknown in [&b""[..], b"sub", b"SUBX", b"STREAM", b"\xff"] {
            assert_eq!(SocketType::from_name(unknown), None);
        }
    }

    #[test]
    fn a_type_talks_to_those_that_talk_to_it() {
        for ours in ALL {
            for theirs in ALL {
                assert_eq!(ours.talks_to(theirs), theirs.talks_to(ours), "{ours:?} and {theirs:?}");
            }
        }
    }

    #[test]
    fn a_listener_answers_each_peer_as_what_it_needs() {
        let one_port = Socket::Answer(|peer| match peer {
            Sub | Xsub => Some(Xpub),
            Dealer => Some(Router),
            _ => None,
        });
        assert_eq!(one_port.towards(Sub), Some(Xpub));
        assert_eq!(one_port.towards(Dealer), Some(Router));
        assert_eq!(one_port.towards(Req), None);
        let wrong = Socket::Answer(|_| Some(Pull));
        assert_eq!(wrong.towards(Sub), None, "what does not talk to the peer is refused, too");
        assert_eq!(Socket::Fixed(Xpub).towards(Dealer), None);
    }
}
