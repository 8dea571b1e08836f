//! Who is on the ring, as far as a node knows: every id that it has heard of and that has not gone since.
//!
//! Only the nearest on either side matter, so it is no harm if a distant one is missing. Additions and removals may come
//! in any order and lead to the same neighbours: that is what makes concurrent joins and crashes converge.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use crate::dht::fullness::Fullness;
use crate::dht::key::Key;
use crate::dht::successor::event::Links;
use crate::quiet::afterwards;
use crate::time::Mono;

/// The most ids of each sort that are remembered.
const MAX_IDS: usize = 1 << 16;
/// How long a newcomer's announcement counts.
const JOINER: Duration = Duration::from_secs(10);
/// How long a departed node is remembered: what others say about it is not believed, and its id is no client's.
const GONE: Duration = Duration::from_secs(30);

/// How long a member of which others have spoken stays in a full table without having spoken.
const HEARSAY: Duration = Duration::from_secs(30);

/// How a member speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It knows the extensions.
    Speaks,
    /// It does not.
    Plain,
    /// It is too early to say.
    Unknown,
}

/// What a node of this library last said about itself.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    pub(super) at: Mono,
    pub(super) clock: u64,
    /// Its neighbours that are plain peers, of which only it may know.
    pub(super) plain: Links,
    pub(super) addresses: Vec<String>,
}

#[derive(Debug)]
pub(super) struct View {
    me: Key,
    /// Since when each is a member. This node is not among them.
    members: BTreeMap<Key, Mono>,
    heard: BTreeMap<Key, Heard>,
    gone: BTreeMap<Key, Mono>,
    joiners: BTreeMap<Key, Mono>,
    expected: BTreeMap<Key, Mono>,
    /// Who has spoken as a node, on the ring or not.
    nodes: BTreeMap<Key, Mono>,
    /// Plain members that others do not know of: who said so first, and since when it has been saying so.
    denied: BTreeMap<Key, (Key, Mono)>,
    full: Fullness,
}

impl View {
    pub(super) fn new(me: Key) -> Self {
        Self {
            me,
            members: BTreeMap::new(),
            heard: BTreeMap::new(),
            gone: BTreeMap::new(),
            joiners: BTreeMap::new(),
            expected: BTreeMap::new(),
            nodes: BTreeMap::new(),
            denied: BTreeMap::new(),
            full: Fullness::default(),
        }
    }

    /// The nearest member on either side.
    pub(super) fn links(&self) -> Links {
        let before = self.members.range(..self.me).next_back().or_else(|| self.members.last_key_value());
        Links { predecessor: before.map(|(id, _)| *id), successor: self.owner(self.me) }
    }

    /// The member that a key belongs to if this node does not own it.
    pub(super) fn owner(&self, key: Key) -> Option<Key> {
        self.members.range(key..).next().or_else(|| self.members.first_key_value()).map(|(id, _)| *id)
    }

    /// All members but this node.
    pub(super) fn members(&self) -> impl Iterator<Item = Key> {
        self.members.keys().copied()
    }

    pub(super) fn contains(&self, id: Key) -> bool {
        self.members.contains_key(&id)
    }

    /// How a member speaks; `quiet` is how long it may be silent before it counts as plain.
    pub(super) fn kind(&self, id: Key, now: Mono, quiet: Duration) -> Kind {
        match self.members.get(&id) {
            _ if self.heard.contains_key(&id) => Kind::Speaks,
            Some(since) if now.saturating_since(*since) < quiet => Kind::Unknown,
            _ => Kind::Plain,
        }
    }

    /// A node is on the ring, by first-hand evidence. `true` if that is news.
    pub(super) fn add(&mut self, now: Mono, id: Key) -> bool {
        if id == self.me || self.contains(id) {
            return false;
        }
        if self.members.len() >= MAX_IDS {
            self.forget_hearsay(now);
        }
        if self.members.len() >= MAX_IDS {
            self.say_full(now, "members");
            return false;
        }
        self.gone.remove(&id);
        self.members.insert(id, now);
        true
    }

    /// Somebody says that a node is on the ring: believed unless it has gone lately.
    pub(super) fn mention(&mut self, now: Mono, id: Key) -> bool {
        !self.gone.contains_key(&id) && self.add(now, id)
    }

    /// A node is not on the ring any more. Returns what it last said.
    pub(super) fn remove(&mut self, now: Mono, id: Key) -> Option<Heard> {
        let was_member = self.members.remove(&id).is_some();
        self.joiners.remove(&id);
        self.denied.remove(&id);
        if was_member {
            note(&mut self.gone, "departed nodes", id, now);
        }
        self.heard.remove(&id)
    }

    /// Whether a node went so lately that words of its former self may still be on their way.
    pub(super) fn is_barred(&self, id: Key, now: Mono, quiet: Duration) -> bool {
        self.gone.get(&id).is_some_and(|at| now.saturating_since(*at) < quiet)
    }

    /// Whether this is the id of a node, present or past.
    pub(super) fn knows(&self, id: Key) -> bool {
        self.contains(id) || self.gone.contains_key(&id) || self.nodes.contains_key(&id)
    }

    /// Something that only nodes say.
    pub(super) fn note_node(&mut self, now: Mono, id: Key) {
        note(&mut self.nodes, "nodes", id, now);
    }

    /// A departed node is still handing over: it is not forgotten yet.
    pub(super) fn still_leaving(&mut self, now: Mono, id: Key) {
        if let Some(at) = self.gone.get_mut(&id) {
            *at = now;
        }
    }

    /// Takes note of what a node of this library says of itself. `true` if it had not been heard before.
    pub(super) fn hear(&mut self, id: Key, heard: Heard) -> bool {
        if id == self.me {
            return false;
        }
        if self.heard.len() >= MAX_IDS && !self.heard.contains_key(&id) {
            self.forget_hearsay(heard.at);
            if self.heard.len() >= MAX_IDS {
                self.say_full(heard.at, "heard nodes");
                return false;
            }
        }
        self.heard.insert(id, heard).is_none()
    }

    /// What a node last said of itself.
    pub(super) fn heard(&self, id: Key) -> Option<&Heard> {
        self.heard.get(&id)
    }

    /// Where a node is reached.
    pub(super) fn address(&self, id: Key) -> Option<(Key, &str)> {
        self.heard.get(&id)?.addresses.first().map(|address| (id, address.as_str()))
    }

    /// Where all that were heard are reached, once around the circle.
    pub(super) fn heard_after(&self, id: Key) -> impl Iterator<Item = (Key, &str)> {
        let after = self.heard.range((Bound::Excluded(id), Bound::Unbounded));
        after.chain(self.heard.range(..=id)).filter_map(|(id, _)| self.address(*id))
    }

    /// A member uses the extensions. `true` if it was taken for a plain peer until now.
    pub(super) fn reveals(&mut self, now: Mono, id: Key) -> bool {
        let news = self.contains(id) && !self.heard.contains_key(&id);
        if news {
            let heard = Heard { at: now, clock: 0, plain: Links::default(), addresses: Vec::new() };
            self.hear(id, heard);
        }
        news
    }

    /// A newcomer announces itself. One that has just gone is not believed yet: the word may be of its former life.
    pub(super) fn joins(&mut self, now: Mono, id: Key, quiet: Duration) {
        if id != self.me && !self.is_barred(id, now, quiet) {
            note(&mut self.joiners, "newcomers", id, now);
        }
    }

    /// A node that has gone still speaks: it may be back soon.
    pub(super) fn expect(&mut self, now: Mono, id: Key) {
        note(&mut self.expected, "expected nodes", id, now);
    }

    /// Whether anybody has announced itself, or is expected back, within so long.
    pub(super) fn is_sought(&self, now: Mono, within: Duration) -> bool {
        self.joiners.values().chain(self.expected.values()).any(|at| now.saturating_since(*at) < within)
    }

    /// Whether a node has announced itself lately.
    pub(super) fn joined_lately(&self, id: Key, now: Mono) -> bool {
        self.joiners.get(&id).is_some_and(|at| now.saturating_since(*at) < JOINER)
    }

    /// Members of this library that were silent for the lease.
    pub(super) fn silent(&self, now: Mono, lease: Duration) -> Vec<Key> {
        let silent = |(id, since): &(&Key, &Mono)| match self.heard.get(id) {
            Some(heard) => now.saturating_since(heard.at) >= lease,
            // It has spoken as a node of this library before it became a member: it is no plain peer.
            None => self.nodes.contains_key(id) && now.saturating_since(**since) >= lease,
        };
        self.members.iter().filter(silent).map(|(id, _)| *id).collect()
    }

    /// This node itself was not listening: nobody is blamed for silence.
    pub(super) fn forgive(&mut self, now: Mono) {
        self.heard.values_mut().for_each(|heard| heard.at = now);
    }

    /// A node denies that there is anybody between itself and its neighbours. Returns the plain members that have been
    /// denied for so long without a sign of life: nobody else would ever notice that they are gone.
    pub(super) fn denied(&mut self, now: Mono, by: Key, links: Links, patience: Duration) -> Vec<Key> {
        let hidden = |id: Key| {
            links.predecessor.is_some_and(|before| id.is_between(before, by))
                || links.successor.is_some_and(|after| id.is_between(by, after))
        };
        // Whoever said so and does not any more has only been late.
        self.denied.retain(|id, (denier, _)| *denier != by || hidden(*id));
        let plain = self.members.keys().filter(|id| !self.heard.contains_key(id) && hidden(**id));
        let mut overdue = Vec::new();
        for id in plain {
            let (_, since) = *self.denied.entry(*id).or_insert((by, now));
            if now.saturating_since(since) >= patience {
                overdue.push(*id);
            }
        }
        overdue
    }

    /// A member has said something.
    pub(super) fn shows_itself(&mut self, id: Key) {
        self.denied.remove(&id);
    }

    /// There is no room. Members of which others have spoken, and which have not spoken themselves for long, give way, and so
    /// do nodes that were heard, are no members, and are silent. The neighbours stay; those that speak are given up by their
    /// silence as always.
    fn forget_hearsay(&mut self, now: Mono) {
        if !self.full.is_to_be_looked_through(now) {
            return;
        }
        let links = self.links();
        let (heard, nodes) = (&self.heard, &self.nodes);
        let is_old = |at: &Mono| now.saturating_since(*at) >= HEARSAY;
        self.members.retain(|id, since| {
            let has_links = [links.predecessor, links.successor].contains(&Some(*id));
            let shown = nodes.get(id).map_or(*since, |at| (*at).max(*since));
            has_links || heard.contains_key(id) || !is_old(&shown)
        });
        let members = &self.members;
        self.denied.retain(|id, _| members.contains_key(id));
        self.heard.retain(|id, heard| members.contains_key(id) || !is_old(&heard.at));
    }

    fn say_full(&mut self, now: Mono, what: &'static str) {
        if self.full.is_to_be_said(now) {
            let limit = MAX_IDS;
            afterwards(move || {
                tracing::warn!(limit, what, "a table of ids is full: newcomers are not noted");
            });
        }
        full(what);
    }

    /// Forgets what is too old to matter.
    pub(super) fn purge(&mut self, now: Mono, lease: Duration) {
        self.gone.retain(|_, at| now.saturating_since(*at) < GONE);
        self.nodes.retain(|_, at| now.saturating_since(*at) < GONE);
        self.expected.retain(|_, at| now.saturating_since(*at) < JOINER);
        self.joiners.retain(|_, at| now.saturating_since(*at) < JOINER);
        let members = &self.members;
        self.heard.retain(|id, heard| members.contains_key(id) || now.saturating_since(heard.at) < lease);
    }
}

/// Notes when an id was heard last. Where there is no room the older half gives way: the ids of a stranger's flood do, and
/// those of nodes are heard again.
fn note(table: &mut BTreeMap<Key, Mono>, what: &'static str, id: Key, now: Mono) {
    if table.len() >= MAX_IDS && !table.contains_key(&id) {
        full(what);
        let mut times: Vec<Mono> = table.values().copied().collect();
        let (_, middle, _) = times.select_nth_unstable(MAX_IDS / 2);
        let middle = *middle;
        table.retain(|_, at| *at > middle);
    }
    table.insert(id, now);
}

/// There are more ids than are remembered.
fn full(what: &'static str) {
    afterwards(move || metrics::counter!("ringbus_successor_full_total", "table" => what).increment(1));
    afterwards(move || tracing::debug!(limit = MAX_IDS, what, "a table of ids is full"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Mono {
        Mono::from_origin(Duration::from_millis(millis))
    }

    #[test]
    fn a_flood_of_ids_keeps_nobody_out() {
        let mut view = View::new(Key::new(7));
        for id in 0..4 * MAX_IDS as u32 {
            view.joins(at(u64::from(id) / 100), Key::new(1000 + id), Duration::from_secs(1));
            assert!(view.joiners.len() <= MAX_IDS);
        }
        let now = at(4 * MAX_IDS as u64 / 100);
        view.joins(now, Key::new(5), Duration::from_secs(1));
        assert!(view.joined_lately(Key::new(5), now), "an honest newcomer is noted");
        // All at the same moment: nobody is older than the others.
        for id in 0..2 * MAX_IDS as u32 {
            view.note_node(now, Key::new(id));
            assert!(view.nodes.len() <= MAX_IDS);
        }
        assert!(view.knows(Key::new(2 * MAX_IDS as u32 - 1)));
    }

    fn speaks(at: Mono) -> Heard {
        Heard { at, clock: 0, plain: Links::default(), addresses: Vec::new() }
    }

    #[test]
    fn members_by_hearsay_give_way_to_nodes_and_neighbours_stay() {
        let mut view = View::new(Key::new(0));
        let (before, after) = (Key::new(u32::MAX), Key::new(1));
        view.mention(at(0), before);
        view.mention(at(0), after);
        // A node that speaks, and one that has.
        view.add(at(0), Key::new(2));
        view.hear(Key::new(2), speaks(at(29_000)));
        for id in 1_000.. {
            if view.members.len() == MAX_IDS {
                break;
            }
            view.mention(at(0), Key::new(id));
        }
        assert!(!view.add(at(20_000), Key::new(3)), "they may be plain peers, and be heard of soon");
        assert!(view.add(at(30_000), Key::new(3)), "a node is not kept out by what was said long ago");
        assert_eq!(view.links(), Links { predecessor: Some(before), successor: Some(after) });
        assert!([2, 3].iter().all(|id| view.contains(Key::new(*id))));
        assert_eq!(view.members.len(), 4);
    }

    #[test]
    fn nodes_that_were_heard_and_are_no_members_give_way() {
        let mut view = View::new(Key::new(0));
        for id in 1_000..1_000 + MAX_IDS as u32 {
            view.hear(Key::new(id), speaks(at(0)));
        }
        assert!(!view.hear(Key::new(5), speaks(at(1_000))));
        assert!(view.hear(Key::new(5), speaks(at(30_000))));
        assert_eq!(view.heard.len(), 1);
    }
}
