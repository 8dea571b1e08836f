//! What a writer knows of all its readers together, kept up to date reader by reader: how many subscribers match, and
//! which is the lowest sequence number that one of them waits for. An acknowledgement costs a logarithm of their number.

use std::collections::BTreeMap;

use super::{ReaderProxy, WriterCore};
use crate::message::EntityId;

/// Sequence numbers, each as often as it was added.
#[derive(Debug, Default)]
pub(super) struct Numbers(BTreeMap<u64, usize>);

impl Numbers {
    pub(super) fn add(&mut self, number: u64) {
        *self.0.entry(number).or_default() += 1;
    }

    /// Takes one out that was added.
    pub(super) fn remove(&mut self, number: u64) {
        if let Some(times) = self.0.get_mut(&number) {
            *times -= 1;
            if *times == 0 {
                self.0.remove(&number);
            }
        }
    }

    pub(super) fn lowest(&self) -> Option<u64> {
        self.0.first_key_value().map(|(number, _)| *number)
    }
}

/// All readers of a writer together.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Of each reader that is waited for, what it has not acknowledged.
    waiting: Numbers,
    subscribers: usize,
}

/// One reader's part in it.
#[derive(Debug, Default)]
pub(super) struct Share {
    /// What it has not acknowledged, if it is waited for.
    waits_at: Option<u64>,
    /// How many subscribers it stands for.
    subscribers: usize,
}

impl Tally {
    /// How many subscribers match and have answered, those behind a relay included.
    pub(super) fn subscribers(&self) -> usize {
        self.subscribers
    }

    /// The lowest number that a reader which is waited for has not acknowledged.
    pub(super) fn waits_at(&self) -> Option<u64> {
        self.waiting.lowest()
    }

    /// Takes in what has changed about a reader.
    fn update(&mut self, proxy: &mut ReaderProxy) {
        let waits_at = proxy.is_waited_for().then_some(proxy.next);
        let share = Share { waits_at, subscribers: proxy.subscribers };
        let before = std::mem::replace(&mut proxy.share, share);
        if before.waits_at != waits_at {
            waits_at.into_iter().for_each(|number| self.waiting.add(number));
            before.waits_at.into_iter().for_each(|number| self.waiting.remove(number));
        }
        self.subscribers = self.subscribers - before.subscribers + proxy.subscribers;
    }

    /// A reader is no longer among them.
    pub(super) fn remove(&mut self, share: &Share) {
        share.waits_at.into_iter().for_each(|number| self.waiting.remove(number));
        self.subscribers -= share.subscribers;
    }
}

impl WriterCore {
    /// Something has changed about a reader that the [`Tally`] counts.
    pub(super) fn count(&mut self, reader: EntityId) {
        if let Some(proxy) = self.readers.get_mut(&reader) {
            self.tally.update(proxy);
        }
    }
}
