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

    /// The present probe is answered: its turn ends at `at`, unless it ends before.
    pub(super) fn hasten_probe(&mut self, at: Mono) {
        let is_late = |key: &&(Mono, u64), timer: &Timer<Member>| {
            key.0 > at && matches!(timer, Timer::SendIndirectProbe { .. } | Timer::ProbeRandomMember(_))
        };
        // In their order: foca wants to be asked about the indirect probe before the turn ends.
        let late: Vec<_> =
            self.due.iter().filter(|(key, timer)| is_late(key, timer)).map(|(key, _)| *key).collect();
        for key in late {
            if let Some(timer) = self.due.remove(&key) {
                self.insert(at, timer);
            }
        }
    }

    /// The token of foca's present probe cycle: timers that bear another one are ignored by foca.
    pub(super) fn token(&self) -> Option<TimerToken> {
        self.token
    }
}
