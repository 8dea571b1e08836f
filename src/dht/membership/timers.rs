//! foca's timers in the order in which they are due.

use std::collections::BTreeMap;

use foca::{Timer, TimerToken};

use crate::dht::member::Member;
use crate::time::Mono;

/// Timers by due time, those of equal time in the order in which they were set.
#[derive(Debug, Default)]
pub(super) struct Timers {
    due: BTreeMap<(Mono, u64), Timer<Member>>,
    count: u64,
    token: Option<TimerToken>,
}

impl Timers {
    pub(super) fn insert(&mut self, at: Mono, timer: Timer<Member>) {
        if let Timer::ProbeRandomMember(token) = timer {
            self.token = Some(token);
        }
        self.count += 1;
        self.due.insert((at, self.count), timer);
    }

    pub(super) fn pop_due(&mut self, now: Mono) -> Option<Timer<Member>> {
        let first = self.due.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    pub(super) fn next(&self) -> Option<Mono> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// The token of foca's present probe cycle: timers that bear another one are ignored by foca.
    pub(super) fn token(&self) -> Option<TimerToken> {
        self.token
    }
}
