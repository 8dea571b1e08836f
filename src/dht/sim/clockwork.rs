//! How simulated time passes, in any world of cores and messages.

use std::time::Duration;

use crate::time::Mono;

/// A world in which things happen at points in time, and nothing between.
pub(crate) trait Clockwork {
    /// How often a condition is looked at.
    const LOOK: Duration;

    /// The world's one clock.
    fn now(&mut self) -> &mut Mono;

    /// When something is due.
    fn next_event(&self) -> Option<Mono>;

    /// Lets happen what is due by now.
    fn step(&mut self);

    /// Runs until the condition holds, at most until `until`; whether it held.
    fn run_till(&mut self, until: Mono, holds: impl Fn(&Self) -> bool) -> bool {
        let mut look_at = *self.now();
        loop {
            let now = *self.now();
            if look_at <= now {
                if holds(self) {
                    return true;
                }
                look_at = now + Self::LOOK;
            }
            match self.next_event().filter(|next| *next <= until) {
                Some(next) => {
                    *self.now() = now.max(next);
                    self.step();
                }
                None => {
                    *self.now() = until;
                    return holds(self);
                }
            }
        }
    }
}
