//! Who is told that a socket of a session has something to read.

use std::sync::OnceLock;
use std::task::Waker;

use futures::task::AtomicWaker;

use super::at_once::AtOnce;

/// The receiving half, which is woken, or who reads in its stead where it is noticed. All sockets of a session share it.
#[derive(Default)]
pub(super) struct Receiver {
    task: AtomicWaker,
    at_once: OnceLock<AtOnce>,
}

/// What comes out of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// Messages of others, which may be read at once.
    Messages,
    /// Reports on connections and subscriptions, which the receiving half reads.
    Reports,
}

impl Receiver {
    /// The task that waits.
    pub(super) fn register(&self, task: &Waker) {
        self.task.register(task);
    }

    /// Nobody waits any more.
    pub(super) fn leave(&self) {
        drop(self.task.take());
    }

    /// Lets `reader` read where it is noticed that there is something to read. The first one stays.
    pub(super) fn set_at_once(&self, reader: AtOnce) {
        drop(self.at_once.set(reader));
    }

    pub(super) fn wake(&self) {
        self.task.wake();
    }

    /// Has a socket read, or wakes the task for it. The caller holds no lock of the session's.
    pub(super) fn read_or_wake(&self, holds: Holds) {
        let reader = self.at_once.get().filter(|_| holds == Holds::Messages);
        if reader.is_none_or(|reader| !reader.read()) {
            self.wake();
        }
    }
}
