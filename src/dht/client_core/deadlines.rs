//! When calls are due, by time.

use std::collections::{BTreeSet, VecDeque};

use crate::dht::message::RequestId;
use crate::time::Mono;

/// So many entries are looked through before it is worth it.
const FEW: usize = 64;

/// The times of calls. Most calls are given the same time to be answered in, so that each new one is due after all others,
/// and hardly any lasts until then: they stand in a queue, where one that is over is passed by when its turn comes.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    /// In order of time. Some are over.
    queue: VecDeque<(Mono, RequestId)>,
    /// Those that would have had to push in.
    others: BTreeSet<(Mono, RequestId)>,
}

impl Deadlines {
    /// A call is due at this time; at another, too, if that was not [cleared](Self::clear).
    pub(super) fn set(&mut self, at: Mono, id: RequestId) {
        if self.queue.back().is_none_or(|(last, _)| *last <= at) {
            self.queue.push_back((at, id));
        } else {
            self.others.insert((at, id));
        }
    }

    /// A call is not due at this time any more: `is_due` says from now on that it is not. There are `calls` of them.
    pub(super) fn clear(
        &mut self,
        at: Mono,
        id: RequestId,
        calls: usize,
        is_due: impl Fn(Mono, RequestId) -> bool,
    ) {
        if !self.others.is_empty() && self.others.remove(&(at, id)) {
            return;
        }
        while self.queue.front().is_some_and(|(at, id)| !is_due(*at, *id)) {
            self.queue.pop_front();
        }
        // One that lasts must not keep all that came after it.
        if self.queue.len() > 2 * calls + FEW {
            self.queue.retain(|(at, id)| is_due(*at, *id));
        }
    }

    /// Takes the first that is due by now.
    pub(super) fn take_due(&mut self, now: Mono) -> Option<(Mono, RequestId)> {
        let first = self.first().filter(|(at, _)| *at <= now)?;
        if self.queue.front() == Some(&first) {
            self.queue.pop_front();
        } else {
            self.others.remove(&first);
        }
        Some(first)
    }

    /// When the first is due.
    pub(super) fn next(&self) -> Option<Mono> {
        self.first().map(|(at, _)| at)
    }

    fn first(&self) -> Option<(Mono, RequestId)> {
        self.queue.front().into_iter().chain(self.others.first()).min().copied()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Mono {
        Mono::from_origin(Duration::from_millis(millis))
    }

    #[test]
    fn one_that_lasts_does_not_keep_those_after_it() {
        let mut deadlines = Deadlines::default();
        deadlines.set(at(0), 0);
        for id in 1..10_000 {
            deadlines.set(at(id), id);
            deadlines.clear(at(id), id, 1, |_, id| id == 0);
            assert!(deadlines.queue.len() <= 2 + FEW);
        }
        assert_eq!(deadlines.next(), Some(at(0)));
    }

    proptest! {
        #[test]
        fn each_is_due_when_it_was_set_last(steps in prop::collection::vec((0..8u64, 0..50u64, 0..3u8), 0..200)) {
            let (mut deadlines, mut times) = (Deadlines::default(), BTreeMap::<RequestId, Mono>::new());
            for (id, millis, what) in steps {
                if what < 2 && let Some(before) = times.remove(&id) {
                    deadlines.clear(before, id, times.len(), |at, id| times.get(&id) == Some(&at));
                }
                match what {
                    0 => {
                        deadlines.set(at(millis), id);
                        times.insert(id, at(millis));
                    }
                    1 => {}
                    _ => {
                        while let Some((due, id)) = deadlines.take_due(at(millis)) {
                            prop_assert!(due <= at(millis));
                            if times.get(&id) == Some(&due) {
                                times.remove(&id);
                            }
                        }
                        prop_assert!(times.values().all(|due| *due > at(millis)));
                    }
                }
                let first = times.values().min().copied();
                prop_assert!(deadlines.next() <= first || first.is_none());
                prop_assert!(deadlines.next().is_some() || times.is_empty());
            }
        }
    }
}
