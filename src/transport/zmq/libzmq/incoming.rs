//! The receiving half: every socket is read where the caller waits.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep};

use super::at_once::AtOnce;
use super::drops::closed;
use super::keeper::{LATER, SOON};
use super::socket::Interest;
use super::state::Session;
use crate::error::Result;
use crate::transport::{Event, MessageSink, TransportRx};

/// The receiving half of a session over libzmq.
#[derive(Debug)]
pub(in crate::transport::zmq) struct LibzmqRx {
    session: Arc<Session>,
    /// When connections are looked after again.
    timer: Pin<Box<Sleep>>,
}

impl LibzmqRx {
    pub(super) fn new(session: Arc<Session>) -> Self {
        Self { session, timer: Box::pin(tokio::time::sleep(SOON)) }
    }

    fn poll_batch(
        &mut self,
        cx: &mut Context<'_>,
        events: &mut Vec<Event>,
        max: usize,
    ) -> Poll<Result<usize>> {
        let session = &self.session;
        let mut reading = session.reading();
        // Who asks for more has dealt with what it got.
        reading.owed = false;
        // Registered before anything is looked at, so that nothing that comes later is missed.
        session.receiver.register(cx.waker());
        let ended = session.has_ended();
        let before = events.len();
        let full = before.saturating_add(max);
        take_reports(session, events, full);
        let mut more = false;
        if !ended {
            more |= reading.reader.read_links(session, Interest::Lasting);
            more |= reading.reader.read_all(session, Interest::Lasting, events, full);
            while self.timer.as_mut().poll(cx).is_ready() {
                let pause = if session.tick() { SOON } else { LATER };
                self.timer.as_mut().reset(Instant::now() + pause);
            }
            if session.is_urgent() && self.timer.deadline() > Instant::now() + SOON {
                self.timer.as_mut().reset(Instant::now() + SOON);
                more = true;
            }
            take_reports(session, events, full);
        }
        match events.len() - before {
            0 if max == 0 => Poll::Ready(Ok(0)),
            0 if ended => Poll::Ready(Err(closed().into())),
            0 => {
                if more {
                    // Only what nobody wanted was read so far: let others run, then go on.
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
            count => {
                reading.owed = true;
                Poll::Ready(Ok(count))
            }
        }
    }
}

fn take_reports(session: &Session, events: &mut Vec<Event>, full: usize) {
    let mut waiting = session.events();
    let count = waiting.len().min(full.saturating_sub(events.len()));
    events.extend(waiting.drain(..count));
}

impl TransportRx for LibzmqRx {
    async fn recv_batch(&mut self, events: &mut Vec<Event>, max: usize) -> Result<usize> {
        let _here = Here::arrive(&self.session);
        // All that is taken is handed over within the same poll: cancelling between two polls loses nothing.
        std::future::poll_fn(|cx| self.poll_batch(cx, events, max)).await
    }

    fn set_sink(&mut self, sink: Arc<dyn MessageSink>) {
        self.session.receiver.set_at_once(AtOnce::new(&self.session, sink));
    }
}

/// Says, while it lives, that the receiving half looks after the session.
struct Here(Arc<Session>);

impl Here {
    fn arrive(session: &Arc<Session>) -> Self {
        session.receiving.store(true, Ordering::SeqCst);
        Self(session.clone())
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        self.0.receiving.store(false, Ordering::SeqCst);
        // Who comes back looks at everything first; whoever sends in the meantime has nobody to wake, least of all itself.
        self.0.receiver.leave();
    }
}
