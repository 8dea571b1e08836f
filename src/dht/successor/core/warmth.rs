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
    /// Others have taken this node for dead, and may have accepted puts in its place. Until when to wait for those.
    doubt: Option<Mono>,
    last_doubt: Option<Mono>,
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
            self.doubt = Some(now + patience);
        }
        again
    }

    pub(super) fn may_doubt(&self, now: Mono, pause: Duration) -> bool {
        self.last_doubt.is_none_or(|last| now.saturating_since(last) >= pause)
    }

    /// Something has been handed over.
    pub(super) fn progress(&mut self, now: Mono) {
        self.newcomer.iter_mut().chain(self.leavers.values_mut()).for_each(|last| *last = now);
    }

    /// Gives up waiting where nothing has come for too long: `patience` for the successor, `quiet` for the others.
    pub(super) fn expire(&mut self, now: Mono, patience: Duration, quiet: Duration) {
        self.newcomer = self.newcomer.filter(|last| now.saturating_since(*last) < patience);
        self.leavers.retain(|_, last| now.saturating_since(*last) < quiet);
        self.doubt = self.doubt.filter(|until| now < *until);
    }
}
