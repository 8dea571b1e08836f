//! A bounded table of peers. A full one makes room for a newcomer: first the silent give way, then those that came last.

use std::cmp::Reverse;
use std::time::Duration;

use ahash::HashMap;

use crate::message::EntityId;
use crate::time::Mono;

/// The most peers in one table: a bound on what strangers can make an endpoint remember.
pub(super) const MAX_PEERS: usize = 65_536;
/// Live peers speak once a second. One that was silent for longer than this gives way to a newcomer.
const SILENCE: Duration = Duration::from_secs(3);
/// So many are chosen in one go: a look at the whole table for each newcomer would be what a flood is after.
const CHOSEN: usize = 1024;
/// A table that stays full is told of once in this time.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// What the table has to know of a peer.
pub(super) trait Peer {
    /// When it was heard last.
    fn last_heard(&self) -> Mono;
    /// Since when it is known.
    fn since(&self) -> Mono;
}

/// The table.
#[derive(Debug)]
pub(super) struct Peers<P> {
    table: HashMap<EntityId, P>,
    /// Those that give way to the next newcomers, the first of them at the end, with when each was heard last when it was
    /// chosen.
    giving_way: Vec<(Mono, EntityId)>,
    told_full: Option<Mono>,
    /// How many entries were looked at while looking for one.
    #[cfg(test)]
    pub(super) visited: std::cell::Cell<u64>,
}

impl<P> Default for Peers<P> {
    fn default() -> Self {
        Self {
            table: HashMap::default(),
            giving_way: Vec::new(),
            told_full: None,
            #[cfg(test)]
            visited: std::cell::Cell::new(0),
        }
    }
}

impl<P: Peer> Peers<P> {
    pub(super) fn get(&self, id: &EntityId) -> Option<&P> {
        self.table.get(id)
    }

    pub(super) fn get_mut(&mut self, id: &EntityId) -> Option<&mut P> {
        self.table.get_mut(id)
    }

    pub(super) fn contains_key(&self, id: &EntityId) -> bool {
        self.table.contains_key(id)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Adds a peer. A full table has to [make room](Self::gives_way) before.
    pub(super) fn insert(&mut self, id: EntityId, peer: P) {
        self.table.insert(id, peer);
    }

    pub(super) fn remove(&mut self, id: &EntityId) -> Option<P> {
        self.table.remove(id)
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = (EntityId, P)> {
        self.giving_way.clear();
        self.table.drain()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&EntityId, &P)> {
        self.note_visits();
        self.table.iter()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &P> {
        self.iter().map(|(_, peer)| peer)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&EntityId, &mut P)> {
        self.note_visits();
        self.table.iter_mut()
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut P> {
        self.iter_mut().map(|(_, peer)| peer)
    }

    /// Who has to go before another peer comes; nobody while there is room.
    pub(super) fn gives_way(&mut self, now: Mono) -> Option<EntityId> {
        if self.table.len() < MAX_PEERS {
            return None;
        }
        loop {
            if self.giving_way.is_empty() {
                self.choose(now);
            }
            let (heard, id) = self.giving_way.pop()?;
            if self.table.get(&id).is_some_and(|peer| peer.last_heard() == heard) {
                return Some(id);
            }
        }
    }

    /// Whether it is time to say that the table is full.
    pub(super) fn is_full_unsaid(&mut self, now: Mono) -> bool {
        let due = self.told_full.is_none_or(|told| now.saturating_since(told) >= TOLD_EVERY);
        if due {
            self.told_full = Some(now);
        }
        due
    }

    /// Chooses who gives way: those that were silent for longest; among peers that all speak, those that came last, so
    /// that a flood of strangers displaces strangers.
    fn choose(&mut self, now: Mono) {
        let rank = |peer: &P| {
            let heard = peer.last_heard();
            let silent = now.saturating_since(heard) > SILENCE;
            if silent {
                (false, heard, Reverse(Mono::ZERO))
            } else {
                (true, Mono::ZERO, Reverse(peer.since()))
            }
        };
        let mut all: Vec<_> = self.iter().map(|(id, peer)| (rank(peer), peer.last_heard(), *id)).collect();
        if all.len() > CHOSEN {
            all.select_nth_unstable(CHOSEN);
            all.truncate(CHOSEN);
        }
        all.sort_unstable_by(|one, other| other.cmp(one));
        self.giving_way = all.into_iter().map(|(_, heard, id)| (heard, id)).collect();
    }

    fn note_visits(&self) {
        #[cfg(test)]
        self.visited.set(self.visited.get() + self.table.len() as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::SessionId;

    #[derive(Debug)]
    struct Known {
        heard: Mono,
        since: Mono,
    }

    impl Peer for Known {
        fn last_heard(&self) -> Mono {
            self.heard
        }

        fn since(&self) -> Mono {
            self.since
        }
    }

    fn id(number: u64) -> EntityId {
        EntityId { session: SessionId(number), entity: 1 }
    }

    fn at(millis: u64) -> Mono {
        Mono::from_origin(Duration::from_millis(millis))
    }

    /// As an endpoint does it.
    fn come(peers: &mut Peers<Known>, now: Mono, number: u64) -> Option<EntityId> {
        let gone = peers.gives_way(now);
        gone.map(|gone| peers.remove(&gone));
        peers.insert(id(number), Known { heard: now, since: now });
        assert!(peers.len() <= MAX_PEERS);
        gone
    }

    #[test]
    fn the_longest_silent_give_way_and_those_that_speak_stay() {
        let mut peers = Peers::default();
        for number in 0..MAX_PEERS as u64 {
            assert_eq!(come(&mut peers, at(number / 100), number), None);
        }
        let now = at(10_000);
        let speaks = |number: u64| number.is_multiple_of(2);
        for (id, peer) in peers.iter_mut().filter(|(id, _)| speaks(id.session.0)) {
            peer.heard = at(9_000 + id.session.0 % 10);
        }
        for stranger in 0..MAX_PEERS as u64 / 2 {
            let gone = come(&mut peers, now, 1_000_000 + stranger).unwrap();
            // A hundred of them were heard at the same time.
            assert!(gone.session.0.abs_diff(2 * stranger + 1) < 200, "{gone} at {stranger}");
            assert!(!speaks(gone.session.0));
        }
    }

    #[test]
    fn one_that_was_heard_since_it_was_chosen_stays() {
        let mut peers = Peers::default();
        (0..MAX_PEERS as u64).for_each(|number| {
            come(&mut peers, at(number), number);
        });
        let now = at(200_000);
        assert_eq!(come(&mut peers, now, 1_000_000), Some(id(0)));
        peers.get_mut(&id(1)).unwrap().heard = now;
        assert_eq!(come(&mut peers, now, 1_000_001), Some(id(2)));
    }

    #[test]
    fn where_all_speak_the_latest_give_way_and_newcomers_still_come_in() {
        let mut peers = Peers::default();
        (0..MAX_PEERS as u64).for_each(|number| {
            come(&mut peers, at(number / 65), number);
        });
        let now = at(1_100);
        for stranger in 0..5_000 {
            let gone = come(&mut peers, now, 1_000_000 + stranger).unwrap();
            assert!(gone.session.0 > MAX_PEERS as u64 / 2, "{gone} was there before the flood");
        }
    }

    #[test]
    fn a_flood_costs_a_bounded_look_for_each_newcomer() {
        let mut peers = Peers::default();
        (0..MAX_PEERS as u64).for_each(|number| {
            come(&mut peers, at(0), number);
        });
        peers.visited.set(0);
        let strangers = 20_000;
        (0..strangers).for_each(|stranger| {
            come(&mut peers, at(60_000), 1_000_000 + stranger);
        });
        let each = peers.visited.get() / strangers;
        assert!(each <= 2 * (MAX_PEERS / CHOSEN) as u64, "{each} entries for each newcomer");
    }

    #[test]
    fn a_full_table_is_said_once_a_minute() {
        let mut peers = Peers::<Known>::default();
        let said = [0, 1_000, 59_000, 60_000, 61_000].map(|millis| peers.is_full_unsaid(at(millis)));
        assert_eq!(said, [true, false, false, true, false]);
    }
}
