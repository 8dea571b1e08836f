//! Who else is at the broker: retained announcements, cleared by the last will.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::address;
use super::level::Level;
use crate::transport::Event;

/// What announcements have below the library's level.
const PREFIX: &str = "presence/";

/// How many peers are remembered; announcements beyond are dropped.
const MAX_PEERS: usize = 1 << 16;

/// The longest announcement that is believed, in bytes.
const MAX_NONCE_LEN: usize = 64;

/// The filter that all announcements fall under.
pub(super) fn filter(level: &Level) -> String {
    topic(level, "+")
}

/// The topic of a session's own announcement.
pub(super) fn topic(level: &Level, client_id: &str) -> String {
    level.topic(&format!("{PREFIX}{client_id}"))
}

/// The client id that an announcement's topic is about; `None` for other topics.
pub(super) fn subject<'a>(level: &Level, topic: &'a str) -> Option<&'a str> {
    level.below(topic)?.strip_prefix(PREFIX)
}

/// The peers known from their announcements.
#[derive(Debug)]
pub(super) struct Presence {
    own: String,
    nonce: Bytes,
    /// What stood in the place of this session's announcement before that: of an earlier life of its own, which a broker that
    /// lost its power brings back.
    former: Option<Bytes>,
    /// A connection was lost: what stands there now was written after this session's announcement.
    was_lost: bool,
    peers: BTreeMap<String, Peer>,
}

#[derive(Debug)]
struct Peer {
    /// Tells a restarted session from the one before it.
    nonce: Bytes,
    /// Whether it has announced itself since the connection was last restored.
    confirmed: bool,
}

/// An announcement that cannot be used, and why, as a metric's label.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Its name or its content is none that this library gives.
    Malformed,
    /// Another session has announced itself under our client id since we did.
    NameTaken,
    /// Too many peers.
    Full,
}

impl Presence {
    /// Knows nobody yet. `nonce` is this session's own.
    pub(super) fn new(own: String, nonce: Bytes) -> Self {
        Self { own, nonce, former: None, was_lost: false, peers: BTreeMap::new() }
    }

    /// Takes an announcement (or, if it is empty, the end of one).
    pub(super) fn announced(
        &mut self,
        name: &str,
        nonce: &Bytes,
        events: &mut impl Extend<Event>,
    ) -> Result<(), Refused> {
        let Ok(locator) = address::locator(name) else { return Err(Refused::Malformed) };
        if nonce.len() > MAX_NONCE_LEN {
            return Err(Refused::Malformed);
        }
        if name == self.own {
            let is_known = nonce.is_empty() || *nonce == self.nonce || self.former.as_ref() == Some(nonce);
            if is_known || self.was_lost {
                return if is_known { Ok(()) } else { Err(Refused::NameTaken) };
            }
            self.former = Some(Bytes::copy_from_slice(nonce));
            return Ok(());
        }
        if nonce.is_empty() {
            events.extend(self.peers.remove(name).map(|_| Event::PeerDown(locator)));
            return Ok(());
        }
        let full = self.peers.len() >= MAX_PEERS;
        match self.peers.get_mut(name) {
            Some(peer) => {
                peer.confirmed = true;
                if peer.nonce != *nonce {
                    // A copy of its own: the announcement shares the memory of the packets around it.
                    peer.nonce = Bytes::copy_from_slice(nonce);
                    events.extend([Event::PeerDown(locator.clone()), Event::PeerUp(locator)]);
                }
            }
            None if full => return Err(Refused::Full),
            None => {
                let peer = Peer { nonce: Bytes::copy_from_slice(nonce), confirmed: true };
                self.peers.insert(name.to_owned(), peer);
                events.extend([Event::PeerUp(locator)]);
            }
        }
        Ok(())
    }

    /// The connection was lost: ends of announcements may have been missed.
    pub(super) fn doubt_all(&mut self) {
        self.was_lost = true;
        self.peers.values_mut().for_each(|peer| peer.confirmed = false);
    }

    /// Gives up those that have not announced themselves since [`doubt_all`](Self::doubt_all).
    pub(super) fn drop_doubted(&mut self, events: &mut impl Extend<Event>) {
        let gone: Vec<String> =
            self.peers.iter().filter(|(_, peer)| !peer.confirmed).map(|(name, _)| name.clone()).collect();
        for name in gone {
            self.peers.remove(&name);
            events.extend(address::locator(&name).ok().map(Event::PeerDown));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Locator;

    fn peer(name: &str) -> Locator {
        address::locator(name).unwrap()
    }

    fn after(presence: &mut Presence, name: &str, nonce: &'static str) -> Vec<Event> {
        let mut events = Vec::new();
        presence.announced(name, &Bytes::from_static(nonce.as_bytes()), &mut events).unwrap();
        events
    }

    #[test]
    fn follows_a_peers_life() {
        let mut presence = Presence::new("me".into(), "0".into());
        assert_eq!(after(&mut presence, "a", "1"), [Event::PeerUp(peer("a"))]);
        assert_eq!(after(&mut presence, "a", "1"), []);
        assert_eq!(after(&mut presence, "a", "2"), [Event::PeerDown(peer("a")), Event::PeerUp(peer("a"))]);
        assert_eq!(after(&mut presence, "a", ""), [Event::PeerDown(peer("a"))]);
        assert_eq!(after(&mut presence, "a", ""), []);
    }

    #[test]
    fn its_own_announcement_is_no_peer_and_a_strangers_under_its_name_is_noticed() {
        let mut presence = Presence::new("me".into(), "0".into());
        assert_eq!(after(&mut presence, "me", "0"), []);
        assert_eq!(after(&mut presence, "me", ""), []);
        // Of an earlier life, which may come back with the broker.
        assert_eq!(presence.announced("me", &"9".into(), &mut Vec::new()), Ok(()));
        presence.doubt_all();
        assert_eq!(presence.announced("me", &"9".into(), &mut Vec::new()), Ok(()));
        assert_eq!(presence.announced("me", &"8".into(), &mut Vec::new()), Err(Refused::NameTaken));
    }

    #[test]
    fn who_does_not_come_back_after_a_lost_connection_is_gone() {
        let mut presence = Presence::new("me".into(), "0".into());
        after(&mut presence, "a", "1");
        after(&mut presence, "b", "1");
        presence.doubt_all();
        assert_eq!(after(&mut presence, "b", "1"), []);
        let mut events = Vec::new();
        presence.drop_doubted(&mut events);
        assert_eq!(events, [Event::PeerDown(peer("a"))]);
    }

    #[test]
    fn garbage_is_refused() {
        let mut presence = Presence::new("me".into(), "0".into());
        let long = Bytes::from(vec![b'x'; MAX_NONCE_LEN + 1]);
        assert_eq!(presence.announced("a", &long, &mut Vec::new()), Err(Refused::Malformed));
        assert_eq!(presence.announced("ä", &"1".into(), &mut Vec::new()), Err(Refused::Malformed));
    }
}
