//! What the connections hand to the session: to its sink at once, or to its receiving half.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::credit::Credit;
use crate::error::Result;
use crate::quiet::{MutexGuard, lock};
use crate::transport::zmq::drops::closed;
use crate::transport::{Event, MessageSink, Origin};

/// Where all connections of a session deliver.
#[derive(Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    sink: OnceLock<Arc<dyn MessageSink>>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    /// The receiving half has handed out what its owner may not have dealt with yet: nothing may overtake it.
    is_owed: bool,
    /// A connection offers messages to the sink: nothing may be received meanwhile.
    is_offering: bool,
    has_ended: bool,
    receiver: Option<Waker>,
}

struct Waiting {
    event: Event,
    /// That of the connection which delivered it, with the size in bytes.
    credit: Option<(Arc<Credit>, usize)>,
}

impl Inbox {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The first one stays.
    pub(super) fn set_sink(&self, sink: Arc<dyn MessageSink>) {
        drop(self.sink.set(sink));
    }

    /// Tells the receiving half something that is no message.
    pub(super) fn tell(&self, event: Event) {
        self.push([Waiting { event, credit: None }]);
    }

    /// A message that did not come by a connection, to wait for the receiving half.
    pub(super) fn queue(&self, from: Origin, payload: Bytes, credit: &Arc<Credit>) {
        self.push([Waiting::message(from, payload, credit)]);
    }

    fn push(&self, waiting: impl IntoIterator<Item = Waiting>) {
        let receiver = {
            let mut state = self.state();
            if state.has_ended {
                return;
            }
            state.waiting.extend(waiting);
            if state.is_offering { None } else { state.receiver.take() }
        };
        if let Some(receiver) = receiver {
            receiver.wake();
        }
    }

    /// Begins to deliver what a connection has read. The messages go to the sink while it takes them and nothing is before
    /// them.
    pub(super) fn deliver(&self) -> Delivery<'_> {
        let sink = self.sink.get().filter(|_| {
            let mut state = self.state();
            let is_free =
                !state.is_owed && !state.is_offering && state.waiting.is_empty() && !state.has_ended;
            state.is_offering |= is_free;
            is_free
        });
        Delivery { inbox: self, sink, waiting: Vec::new() }
    }

    /// What has come since is the last.
    pub(super) fn end(&self) {
        let receiver = {
            let mut state = self.state();
            state.has_ended = true;
            state.receiver.take()
        };
        if let Some(receiver) = receiver {
            receiver.wake();
        }
    }

    /// Takes up to `max` events; those whose credit is to be given back are noted in `spent`.
    fn poll_take(
        &self,
        cx: &mut Context<'_>,
        events: &mut Vec<Event>,
        max: usize,
        spent: &mut Vec<(Arc<Credit>, usize)>,
    ) -> Poll<Result<usize>> {
        let mut state = self.state();
        state.is_owed = false;
        if max == 0 {
            return Poll::Ready(Ok(0));
        }
        if !state.is_offering {
            let count = state.waiting.len().min(max);
            if count > 0 {
                state.is_owed = true;
                for Waiting { event, credit } in state.waiting.drain(..count) {
                    events.push(event);
                    spent.extend(credit);
                }
                return Poll::Ready(Ok(count));
            }
            if state.has_ended {
                return Poll::Ready(Err(closed().into()));
            }
        }
        if state.receiver.as_ref().is_none_or(|known| !known.will_wake(cx.waker())) {
            state.receiver = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Waits for at least one event, then takes up to `max`. Cancel-safe.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed), when all that came before the end was taken.
    pub(super) async fn take(&self, events: &mut Vec<Event>, max: usize) -> Result<usize> {
        let mut spent = Vec::new();
        let taken = std::future::poll_fn(|cx| self.poll_take(cx, events, max, &mut spent)).await;
        spent.into_iter().for_each(|(credit, bytes)| credit.give_back(bytes));
        taken
    }
}

impl Waiting {
    fn message(from: Origin, payload: Bytes, credit: &Arc<Credit>) -> Self {
        let bytes = payload.len();
        credit.take(bytes);
        Self { event: Event::Message { from, payload }, credit: Some((credit.clone(), bytes)) }
    }
}

/// What one connection delivers in one go.
pub(super) struct Delivery<'a> {
    inbox: &'a Inbox,
    /// While messages may be offered.
    sink: Option<&'a Arc<dyn MessageSink>>,
    waiting: Vec<Waiting>,
}

impl Delivery<'_> {
    /// Delivers a message. No lock is held while the sink has it.
    pub(super) fn message(&mut self, from: Origin, payload: Bytes, credit: &Arc<Credit>) {
        let left = match self.sink {
            // Behind one that is refused wait all others.
            Some(sink) if self.waiting.is_empty() => match sink.take(&from, payload) {
                None => return,
                Some(left) => left,
            },
            _ => payload,
        };
        self.waiting.push(Waiting::message(from, left, credit));
    }

    /// Delivers something else of that many bytes, behind the messages before it.
    pub(super) fn event(&mut self, event: Event, bytes: usize, credit: &Arc<Credit>) {
        credit.take(bytes);
        self.waiting.push(Waiting { event, credit: Some((credit.clone(), bytes)) });
    }
}

impl Drop for Delivery<'_> {
    fn drop(&mut self) {
        let receiver = {
            let mut state = self.inbox.state();
            if self.sink.is_some() {
                state.is_offering = false;
            }
            if !state.has_ended {
                state.waiting.extend(self.waiting.drain(..));
            }
            let is_due = !state.is_offering && (!state.waiting.is_empty() || state.has_ended);
            if is_due { state.receiver.take() } else { None }
        };
        if let Some(receiver) = receiver {
            receiver.wake();
        }
    }
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox").field("has_sink", &self.sink.get().is_some()).finish_non_exhaustive()
    }
}
