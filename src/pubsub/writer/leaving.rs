//! Readers that are said to leave. Nothing proves that a goodbye is the reader's own, so what it has not acknowledged is
//! kept for it a little longer, and the writer announces itself: a reader that is still there answers, and has lost nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{FIRST_HEARTBEAT, ReaderProxy, WriterCore};
use crate::message::EntityId;
use crate::pubsub::events::Departure;
use crate::time::Mono;
use crate::transport::Locator;

/// How long a reader that is said to have left can answer the announcement that follows.
pub(super) const GRACE: Duration = Duration::from_millis(500);

/// Goodbyes that are not certain yet, by when they are.
#[derive(Debug, Default)]
pub(super) struct Leaving(BTreeSet<(Mono, EntityId)>);

impl Leaving {
    pub(super) fn due(&self) -> Option<Mono> {
        self.0.first().map(|(until, _)| *until)
    }
}

/// What is known of a reader's goodbye.
#[derive(Debug, Clone, Copy)]
pub(super) struct Goodbye {
    /// When it is certain, unless the reader is heard before.
    until: Mono,
    /// It came from where the reader's acknowledgements come from: the departure was told.
    told: bool,
}

impl WriterCore {
    /// A reader says goodbye, or a message says so in its name.
    pub(in crate::pubsub) fn on_reader_bye(&mut self, now: Mono, from: &Locator, reader: EntityId) {
        let Some(proxy) = self.readers.get_mut(&reader) else { return };
        let told = proxy.locator == *from;
        let before = proxy.goodbye;
        if told && !proxy.is_waited_for() {
            return self.drop_reader(reader, Departure::Left);
        }
        let until = before.map_or(now + GRACE, |goodbye| goodbye.until);
        proxy.goodbye = Some(Goodbye { until, told: told || proxy.has_left() });
        self.leaving.0.insert((until, reader));
        if before.is_none() {
            self.announce_soon(now);
        }
        let Some(proxy) = self.readers.get_mut(&reader) else { return };
        if told && !before.is_some_and(|goodbye| goodbye.told) {
            proxy.subscribers = 0;
            let is_told = proxy.is_told_of();
            self.count(reader);
            self.tell_departed(reader, Departure::Left, is_told);
        }
    }

    /// Lets those go that did not answer.
    pub(super) fn let_leave(&mut self, now: Mono) {
        while let Some((until, reader)) = self.leaving.0.first().copied()
            && until <= now
        {
            self.leaving.0.remove(&(until, reader));
            self.drop_reader(reader, Departure::Left);
        }
    }

    /// The reader is heard, or is dropped: its goodbye counts no more. Says whether its departure was told.
    pub(super) fn forget_goodbye(&mut self, reader: EntityId) -> bool {
        let goodbye = self.readers.get_mut(&reader).and_then(|proxy| proxy.goodbye.take());
        if let Some(Goodbye { until, .. }) = goodbye {
            self.leaving.0.remove(&(until, reader));
        }
        goodbye.is_some_and(|goodbye| goodbye.told)
    }

    /// Announces itself as soon as after a burst of samples. However many leave, one announcement is for all of them.
    pub(super) fn announce_soon(&mut self, now: Mono) {
        if self.heartbeat_at > now + FIRST_HEARTBEAT {
            self.heartbeat_wait = FIRST_HEARTBEAT;
            self.heartbeat_at = now + FIRST_HEARTBEAT;
        }
    }
}

impl ReaderProxy {
    /// Whether it was told that it has left.
    pub(super) fn has_left(&self) -> bool {
        self.goodbye.is_some_and(|goodbye| goodbye.told)
    }
}
