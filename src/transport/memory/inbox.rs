//! What is on its way to one endpoint: a queue ordered by arrival time, bounded, with the means to wait for it.

use std::collections::BTreeMap;
use std::sync::Mutex;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::super::{Event, Locator, OpenOptions};
use crate::error::{ErrorKind, Result};
use crate::quiet::{MutexGuard, count, lock};

/// The bound of announcements (peers, interests) that are unread at one endpoint; those beyond it are counted as lost.
/// They must not compete with messages for room, since nobody could be asked to wait with them.
const MAX_SIGNALS: usize = 1 << 16;

pub(super) struct Inbox {
    state: Mutex<State>,
    /// Given a permit whenever there may be something new to take.
    pub(super) arrived: Notify,
    max_messages: usize,
    max_payload: usize,
}

struct State {
    /// By arrival; the number keeps what arrives at the same instant in order.
    queue: BTreeMap<(Instant, u64), Event>,
    next: u64,
    messages: usize,
    lagged: u64,
    life: Life,
}

#[derive(PartialEq, Eq)]
enum Life {
    Open,
    /// The receiving half is gone, the sending half is not.
    Unread,
    /// What had arrived by then can still be taken.
    Closed,
}

pub(super) enum Taken {
    Events { count: usize, was_full: bool },
    Nothing { due: Option<Instant> },
}

impl Inbox {
    pub(super) fn new(options: &OpenOptions) -> Self {
        let state = State { queue: BTreeMap::new(), next: 0, messages: 0, lagged: 0, life: Life::Open };
        Self {
            state: Mutex::new(state),
            arrived: Notify::new(),
            max_messages: options.queue.max(1),
            max_payload: options.max_payload,
        }
    }

    /// Whether a sender must wait. Nobody waits for an endpoint that does not exist any more.
    pub(super) fn is_full(&self) -> bool {
        let state = self.state();
        state.life == Life::Open && state.messages >= self.max_messages
    }

    /// Takes an event in, to be handed out at `due`.
    pub(super) fn push(&self, due: Instant, event: Event) {
        let mut state = self.state();
        if state.life != Life::Open {
            return;
        }
        match &event {
            Event::Message { payload, .. } if payload.len() > self.max_payload => state.lose(),
            Event::Message { .. } => {
                state.messages += 1;
                state.insert(due, event);
            }
            _ if state.queue.len() - state.messages >= MAX_SIGNALS => state.lose(),
            _ => state.insert(due, event),
        }
        drop(state);
        self.arrived.notify_one();
    }

    /// Forgets announcements of `peer`'s death that have not been due yet: it has come back.
    pub(super) fn retract_death(&self, peer: &Locator) {
        let now = Instant::now();
        self.state()
            .queue
            .retain(|(due, _), event| *due <= now || !matches!(event, Event::PeerDown(gone) if gone == peer));
    }

    /// Appends up to `max` events that are due.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] once the inbox is closed and empty.
    pub(super) fn take(&self, events: &mut Vec<Event>, max: usize) -> Result<Taken> {
        let mut state = self.state();
        let was_full = state.messages >= self.max_messages;
        let before = events.len();
        if max > 0 && state.lagged > 0 {
            events.push(Event::Lagged(std::mem::take(&mut state.lagged)));
        }
        let now = Instant::now();
        while events.len() - before < max {
            let Some(first) = state.queue.first_entry().filter(|entry| entry.key().0 <= now) else { break };
            let event = first.remove();
            state.messages -= usize::from(matches!(event, Event::Message { .. }));
            events.push(event);
        }
        let count = events.len() - before;
        if count > 0 || max == 0 {
            Ok(Taken::Events { count, was_full })
        } else if state.life == Life::Closed {
            Err(ErrorKind::Closed { what: "the memory transport" }.into())
        } else {
            Ok(Taken::Nothing { due: state.queue.first_key_value().map(|((due, _), _)| *due) })
        }
    }

    /// Takes nothing in any more; what has arrived can still be taken.
    pub(super) fn close(&self) {
        let now = Instant::now();
        let mut state = self.state();
        state.life = Life::Closed;
        state.retain(|due| due <= now);
        drop(state);
        self.arrived.notify_one();
    }

    /// Closes it and throws away what was not read, as the death of a process does.
    pub(super) fn destroy(&self) {
        let mut state = self.state();
        state.life = Life::Closed;
        state.lagged = 0;
        state.retain(|_| false);
        drop(state);
        self.arrived.notify_one();
    }

    /// The reader is gone.
    pub(super) fn abandon(&self) {
        let mut state = self.state();
        if state.life == Life::Open {
            state.life = Life::Unread;
        }
        state.retain(|_| false);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code below panics with the queue half changed, so a poisoned lock is still a good queue.
        lock(&self.state)
    }
}

impl State {
    fn insert(&mut self, due: Instant, event: Event) {
        self.queue.insert((due, self.next), event);
        self.next += 1;
    }

    fn lose(&mut self) {
        self.lagged += 1;
        // Under the network's lock, too.
        count(
            |by| metrics::counter!("ringbus_transport_lost_total", "transport" => "memory").increment(by),
            1,
        );
    }

    fn retain(&mut self, keep: impl Fn(Instant) -> bool) {
        self.queue.retain(|(due, _), _| keep(*due));
        self.messages = self.queue.values().filter(|event| matches!(event, Event::Message { .. })).count();
    }
}
