//! A table at its limit: what is silent gives way, and that it is full is said, neither of it for each newcomer, which
//! would be what a flood is after.

use std::time::Duration;

use crate::time::Mono;

/// A full table is looked through at most once in this time.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// And told of once in this time.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// When a table was found full.
#[derive(Debug, Default)]
pub(crate) struct Fullness {
    looked: Option<Mono>,
    told: Option<Mono>,
}

impl Fullness {
    /// Whether the table is to be looked through now for what may give way.
    pub(crate) fn is_to_be_looked_through(&mut self, now: Mono) -> bool {
        is_due(&mut self.looked, now, LOOK_EVERY)
    }

    /// Whether it is to be said now that the table is full.
    pub(crate) fn is_to_be_said(&mut self, now: Mono) -> bool {
        is_due(&mut self.told, now, TELL_EVERY)
    }
}

fn is_due(last: &mut Option<Mono>, now: Mono, every: Duration) -> bool {
    let due = last.is_none_or(|last| now.saturating_since(last) >= every);
    if due {
        *last = Some(now);
    }
    due
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_is_looked_through_each_second_and_told_of_each_minute() {
        let mut full = Fullness::default();
        let at = |millis| Mono::from_origin(Duration::from_millis(millis));
        let times = [0, 1, 999, 1_000, 1_500, 59_999, 60_000, 60_001];
        let looked = times.map(|millis| full.is_to_be_looked_through(at(millis)));
        assert_eq!(looked, [true, false, false, true, false, true, false, false]);
        let told = times.map(|millis| full.is_to_be_said(at(millis)));
        assert_eq!(told, [true, false, false, false, false, false, true, false]);
    }
}
