//! The pause after a change of the ring in which a node collects records before it speaks for them.

use std::time::Duration;

use crate::time::Mono;

/// How long a node waits at least.
const QUIET: Duration = Duration::from_millis(300);

/// How long it waits after each batch that still comes in.
const AFTER_BATCH: Duration = Duration::from_millis(100);

/// How long it waits at most.
const LONGEST: Duration = Duration::from_secs(2);

/// Without it a node that has just become responsible for a topic would tell subscribers about the first publisher to
/// arrive, and a moment later about a stronger one: a takeover that never happened.
#[derive(Debug, Default)]
pub(super) struct Settle {
    pause: Option<Pause>,
}

#[derive(Debug)]
struct Pause {
    until: Mono,
    latest: Mono,
}

impl Settle {
    /// The ring has changed.
    pub(super) fn begin(&mut self, now: Mono) {
        let latest = self.pause.as_ref().map_or(now + LONGEST, |pause| pause.latest);
        self.pause = Some(Pause { until: (now + QUIET).min(latest), latest });
    }

    /// Records came in.
    pub(super) fn extend(&mut self, now: Mono) {
        if let Some(pause) = &mut self.pause {
            pause.until = pause.until.max((now + AFTER_BATCH).min(pause.latest));
        }
    }

    /// Whether the node may speak; ends a pause that is over.
    pub(super) fn is_over(&mut self, now: Mono) -> bool {
        if self.pause.as_ref().is_some_and(|pause| pause.until <= now) {
            self.pause = None;
        }
        self.pause.is_none()
    }

    pub(super) fn next(&self) -> Option<Mono> {
        self.pause.as_ref().map(|pause| pause.until)
    }
}
