//! A session whose process stood still: what has come for it is read before its timers are looked at.

use std::time::Duration;

use crate::time::Mono;

/// A driver that looks at its timers later than this after its alarm stood still: its process was stopped, its machine slept,
/// or the processor was not to be had.
const LATE: Duration = Duration::from_secs(1);
/// Nothing has come for so long: what waited in the sockets has been read. The threads that bring it stood still, too.
const QUIET: Duration = Duration::from_millis(200);
/// A transport that always has something keeps the timers waiting no longer than this.
const MOST: Duration = Duration::from_secs(1);

/// Whether a driver catches up.
///
/// Leases and calls whose time ended while the session stood still say nothing of the peers: what these have sent meanwhile
/// waits in the sockets. So the timers rest until that is read. The session's services are given the time at which they
/// take a message, so that what a peer has sent counts as heard then.
#[derive(Debug, Default)]
pub(super) struct Standstill(Option<CatchingUp>);

#[derive(Debug)]
struct CatchingUp {
    /// When something was due that was not done.
    since: Mono,
    /// Without further messages it ends then.
    quiet: Mono,
    /// It ends then, whatever comes.
    ends: Mono,
}

/// What a driver is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Look at the timers.
    Timers,
    /// Tell the services for how long the session has done nothing that was due, then look at the timers.
    CaughtUp(Duration),
    /// Read, at least until then.
    Read(Mono),
}

impl Standstill {
    /// The driver, whose alarm was set to this time, would look at its timers.
    pub(super) fn look(&mut self, now: Mono, alarm: Option<Mono>) -> Look {
        if let Some(due) = alarm.filter(|at| now.saturating_since(*at) >= LATE) {
            // One that stands still again before it has caught up has been standing still since then.
            let since = self.0.as_ref().map_or(due, |before| before.since);
            let late = now - due;
            tracing::info!(
                ?late,
                "the session stood still: it reads what has come before it looks at its timers"
            );
            metrics::counter!("ringbus_session_standstills_total").increment(1);
            self.0 = Some(CatchingUp { since, quiet: now + QUIET, ends: now + MOST });
        }
        match &self.0 {
            None => Look::Timers,
            Some(CatchingUp { quiet, ends, .. }) if now < *quiet && now < *ends => {
                Look::Read((*quiet).min(*ends))
            }
            Some(CatchingUp { since, .. }) => {
                let stood = now - *since;
                self.0 = None;
                Look::CaughtUp(stood)
            }
        }
    }

    /// Something has come.
    pub(super) fn has_read(&mut self, now: Mono) {
        if let Some(catching_up) = &mut self.0 {
            catching_up.quiet = now + QUIET;
        }
    }

    /// Whether the timers rest.
    pub(super) fn is_catching_up(&self) -> bool {
        self.0.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Mono {
        Mono::from_origin(Duration::from_millis(millis))
    }

    #[test]
    fn who_is_late_reads_until_nothing_comes_or_for_a_second() {
        let mut standstill = Standstill::default();
        assert_eq!(standstill.look(at(5_000), None), Look::Timers, "it had nothing to be late for");
        assert_eq!(standstill.look(at(5_000), Some(at(4_001))), Look::Timers, "a busy machine");
        assert_eq!(standstill.look(at(35_000), Some(at(5_000))), Look::Read(at(35_200)));
        standstill.has_read(at(35_100));
        assert_eq!(standstill.look(at(35_200), Some(at(35_200))), Look::Read(at(35_300)));
        assert_eq!(
            standstill.look(at(35_300), Some(at(35_300))),
            Look::CaughtUp(Duration::from_millis(30_300))
        );
        assert_eq!(standstill.look(at(35_301), Some(at(35_300))), Look::Timers);
        assert_eq!(standstill.look(at(40_000), Some(at(36_000))), Look::Read(at(40_200)));
        for more in 1..8 {
            standstill.has_read(at(40_000 + 130 * more));
        }
        assert_eq!(standstill.look(at(40_910), Some(at(40_200))), Look::Read(at(41_000)));
        assert_eq!(standstill.look(at(41_000), Some(at(41_000))), Look::CaughtUp(Duration::from_secs(5)));
    }

    #[test]
    fn who_stands_still_again_before_it_has_caught_up_begins_anew() {
        let mut standstill = Standstill::default();
        assert_eq!(standstill.look(at(9_000), Some(at(1_000))), Look::Read(at(9_200)));
        assert_eq!(standstill.look(at(19_200), Some(at(9_200))), Look::Read(at(19_400)));
        assert_eq!(
            standstill.look(at(19_400), Some(at(19_400))),
            Look::CaughtUp(Duration::from_millis(18_400))
        );
    }
}
