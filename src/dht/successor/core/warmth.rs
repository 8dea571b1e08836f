//! Whether a node may already say that a key has no value, or must first wait for what others still hold.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::dht::key::Key;
use crate::time::Mono;

/// What a node is waiting for. While it waits for anything, gets of keys that it is not sure of are held.
#[derive(Debug, Default)]
pub(super) struct Warmth {
    /// It has just joined: its successor hands over. When the last pair came.
    newcomer: Option<Mono>,
    /// Predecessors that have left and hand over. When the last pair came.
    leavers: BTreeMap<Key, Mono>,
    /// Others have taken this node for dead, and may have accepted puts in its place.
    doubt: Option<Doubt>,
    last_doubt: Option<Mono>,
    /// This node stood still, and what it reads now may be from before.
    resumed: Option<Resumed>,
}

/// Waiting for what others may have accepted.
#[derive(Debug)]
struct Doubt {
    until: Mono,
    /// However much is handed over, it ends then.
    at_most: Mono,
    /// After the last sign of a handover it goes on for this long.
    patience: Duration,
}

/// This node stood still for so long that others may have given it up.
#[derive(Debug)]
pub(super) struct Resumed {
    /// Until then it reads what was said while it stood still.
    pub(super) until: Mono,
    /// Which node was its successor, and the least that the clock of that one shows since.
    pub(super) successor: Option<(Key, u64)>,
    /// The program has been told that the others gave this node up.
    pub(super) told: bool,
}

impl Warmth {
    pub(super) fn newcomer(now: Mono) -> Self {
        Self { newcomer: Some(now), ..Self::default() }
    }

    pub(super) fn is_warm(&self) -> bool {
        self.newcomer.is_none() && self.leavers.is_empty() && self.doubt.is_none()
    }

    pub(super) fn is_newcomer(&self) -> bool {
        self.newcomer.is_some()
    }

    /// The newcomer has everything that is its own.
    pub(super) fn complete(&mut self) {
        self.newcomer = None;
        self.doubt = None;
        self.resumed = None;
    }

    /// Nobody is there who could hand anything over; but whoever took this node for dead may come back.
    pub(super) fn alone(&mut self) {
        self.newcomer = None;
    }

    pub(super) fn await_leaver(&mut self, now: Mono, leaver: Key) {
        self.leavers.insert(leaver, now);
    }

    pub(super) fn leaver_gone(&mut self, leaver: Key) {
        self.leavers.remove(&leaver);
    }

    /// Begins to doubt, at most once in `pause`. `false` if it does not.
    pub(super) fn doubt(&mut self, now: Mono, patience: Duration, pause: Duration) -> bool {
        let again = self.may_doubt(now, pause);
        if again {
            self.last_doubt = Some(now);
            self.doubt = Some(Doubt { until: now + patience, at_most: now + patience * 5, patience });
        }
        again
    }

    /// The node stood still, and [doubts](Self::doubt).
    pub(super) fn resume(&mut self, resumed: Resumed) {
        self.resumed = Some(resumed);
    }

    /// While the node doubts because it stood still.
    pub(super) fn resumed(&mut self) -> Option<&mut Resumed> {
        self.resumed.as_mut()
    }

    /// Whether what is heard may have been said while this node stood still.
    pub(super) fn reads_the_past(&self, now: Mono) -> bool {
        self.resumed.as_ref().is_some_and(|resumed| now < resumed.until)
    }

    /// Whether this word of the successor, with its clock, may have been said while this node stood still.
    pub(super) fn is_past(&self, now: Mono, successor: Key, clock: u64) -> bool {
        let before =
            |resumed: &Resumed| resumed.successor.is_some_and(|(id, at)| id == successor && clock < at);
        self.reads_the_past(now) || self.resumed.as_ref().is_some_and(before)
    }

    pub(super) fn may_doubt(&self, now: Mono, pause: Duration) -> bool {
        self.last_doubt.is_none_or(|last| now.saturating_since(last) >= pause)
    }

    /// Something has been handed over.
    pub(super) fn progress(&mut self, now: Mono) {
        self.newcomer.iter_mut().chain(self.leavers.values_mut()).for_each(|last| *last = now);
        if let Some(Doubt { until, at_most, patience }) = &mut self.doubt {
            *until = (*until).max(now + *patience / 2).min(*at_most);
        }
    }

    /// Gives up waiting where nothing has come for too long: `patience` for the successor, `quiet` for the others.
    pub(super) fn expire(&mut self, now: Mono, patience: Duration, quiet: Duration) {
        self.newcomer = self.newcomer.filter(|last| now.saturating_since(*last) < patience);
        self.leavers.retain(|_, last| now.saturating_since(*last) < quiet);
        if self.doubt.as_ref().is_some_and(|doubt| doubt.until <= now) {
            (self.doubt, self.resumed) = (None, None);
        }
    }
}
