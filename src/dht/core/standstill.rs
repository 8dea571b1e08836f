//! A node whose process was stopped, or whose machine slept: what it knows may be outdated.

use std::time::Duration;

use super::NodeCore;
use crate::quiet::afterwards;
use crate::time::Mono;

/// What is later than this was not done in time: renewals may wait unread, and no lease ends because of that.
const LATE: Duration = Duration::from_millis(200);

/// A node that stood still for so long may have been given up by the others.
const GIVEN_UP: Duration = Duration::from_secs(1);

/// So long it takes at most until a member that lives has told the node how the ring is now.
const DOUBT: Duration = Duration::from_secs(1);

/// When the node last did something, and whether it stood still before.
#[derive(Debug, Default)]
pub(super) struct Standstill {
    /// When it was last called.
    active: Mono,
    /// Until then it answers no lookups.
    outdated: Mono,
}

impl NodeCore {
    /// Sees that something should have been done long ago. Before anything is: leases that have ended meanwhile are granted
    /// anew, since their renewals wait to be read.
    pub(super) fn notice_standstill(&mut self, now: Mono) {
        let idle = now.saturating_since(self.standstill.active);
        self.standstill.active = now;
        if idle < LATE {
            return;
        }
        let late = self.poll_timeout().map_or(Duration::ZERO, |due| now.saturating_since(due));
        if late >= LATE {
            self.registry.stood_still(now);
        }
        if late >= GIVEN_UP && self.view.members().len() > 1 {
            let node = self.me().name.clone();
            afterwards(move || tracing::warn!(%node, ?late, "this node stood still"));
            self.standstill.outdated = now + DOUBT;
        }
    }

    /// Whether the node has stood still lately, so that another one may have its topics.
    pub(super) fn may_be_outdated(&self, now: Mono) -> bool {
        let Standstill { active, outdated } = self.standstill;
        let doubts = now < outdated || now.saturating_since(active) >= GIVEN_UP;
        doubts && self.view.members().len() > 1
    }
}
