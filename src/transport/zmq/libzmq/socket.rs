//! One libzmq socket, driven from tokio without a thread of its own.
//!
//! ZMQ_FD is edge-triggered, and any call on a socket may take the edge that somebody else waits for. Hence:
//! - readiness is cleared *before* the socket is tried, never after;
//! - who has tried looks at ZMQ_EVENTS and wakes the other side: a sender the receiver if there is something to read,
//!   the receiver, and who sends without waiting, a waiting sender;
//! - a drain that stops before EAGAIN says so, and the next one begins without waiting.
//!
//! Each socket wakes by a flag of its own: a session that is woken asks the flags which of its sockets to look at. Where the
//! reactor notices that there is something, it may be [read at once](super::at_once), and the receiver sleeps on.

use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::ffi;
use super::receiver::{Holds, Receiver};
use crate::quiet::{MutexGuard, afterwards, lock};

/// Who tries to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Somebody who goes away when there is no room.
    Passing,
    /// The holder of the [turn](Socket::turn), who waits.
    Holder,
}

/// For how long a reader is interested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interest {
    /// Until it has read all that comes: if there is no more for now, the receiver is woken when there is.
    Lasting,
    /// For what is there now. The receiver, if it is registered, stays so.
    Passing,
}

/// A socket, shared by the receiving half and any number of senders.
pub(super) struct Socket {
    readiness: AsyncFd<OwnedFd>,
    /// `None` once closed.
    inner: Mutex<Option<::zmq::Socket>>,
    signal: Arc<Signal>,
    /// That signal, for the reactor.
    waker: Waker,
    /// Somebody else has let libzmq work: a full pipe may have room.
    progress: Notify,
    /// Senders wait one at a time, so that they cannot wake each other in circles.
    turn: tokio::sync::Mutex<()>,
}

/// Wakes the receiver, and says that it is because of this socket.
struct Signal {
    /// There may be something to read, whatever the descriptor says; or nobody is registered with the descriptor.
    pending: AtomicBool,
    receiver: Arc<Receiver>,
    holds: Holds,
}

impl Signal {
    /// From where the socket is used, and locked: it cannot be read there.
    fn raise(&self) {
        if !self.pending.swap(true, Ordering::AcqRel) {
            self.receiver.wake();
        }
    }
}

/// By the reactor: on its thread, and under no lock.
impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Otherwise the receiver knows already.
        if !self.pending.swap(true, Ordering::AcqRel) {
            self.receiver.read_or_wake(self.holds);
        }
    }
}

impl Socket {
    /// Takes a socket. `runtime` drives its readiness; `receiver` is told when there is something to read.
    pub(super) fn new(
        socket: ::zmq::Socket,
        runtime: &Handle,
        receiver: Arc<Receiver>,
        holds: Holds,
    ) -> std::io::Result<Arc<Self>> {
        let fd = ffi::readiness_fd(&socket)?;
        let _context = runtime.enter();
        let signal = Arc::new(Signal { pending: AtomicBool::new(true), receiver, holds });
        Ok(Arc::new(Self {
            readiness: crate::ffi::watch(fd)?,
            inner: Mutex::new(Some(socket)),
            waker: signal.clone().into(),
            signal,
            progress: Notify::new(),
            turn: tokio::sync::Mutex::new(()),
        }))
    }

    /// Calls libzmq. `None` if the socket is closed.
    pub(super) fn with<R>(&self, call: impl FnOnce(&mut ::zmq::Socket) -> R) -> Option<R> {
        let result = self.call(call);
        self.progress.notify_waiters();
        result
    }

    /// Lets `send` try once, and once more if libzmq has not looked at its commands before it said EAGAIN.
    /// `None` if the socket is closed. `whose` says whether the caller is the one who waits for room.
    pub(super) fn try_send(
        &self,
        whose: Turn,
        mut send: impl FnMut(&mut ::zmq::Socket) -> ::zmq::Result<()>,
    ) -> Option<::zmq::Result<()>> {
        let result = self.call(|socket| match send(socket) {
            Err(::zmq::Error::EAGAIN) => socket.get_events().and_then(|_| send(socket)),
            result => result,
        });
        // Who waits must not wake itself.
        if whose == Turn::Passing {
            self.progress.notify_waiters();
        }
        result
    }

    /// The right to wait for room.
    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Progress made from now on. Enable it before trying, then [wait](Self::room).
    pub(super) fn progress(&self) -> Notified<'_> {
        self.progress.notified()
    }

    /// Waits until there may be room.
    pub(super) async fn room(&self, progress: std::pin::Pin<&mut Notified<'_>>) {
        tokio::select! {
            () = progress => {}
            ready = self.readiness.readable() => {
                // On an error the reactor is gone, and with it this task.
                if let Ok(mut ready) = ready {
                    ready.clear_ready();
                }
            }
        }
    }

    /// Hands messages to `sink` until the socket is empty, `sink` breaks or `limit` is reached. `true` if there may be
    /// more, which the next call finds.
    pub(super) fn read(
        &self,
        interest: Interest,
        limit: usize,
        sink: impl FnMut(&mut ::zmq::Socket, ::zmq::Message) -> ControlFlow<()>,
    ) -> bool {
        if interest == Interest::Lasting {
            let pending = &self.signal.pending;
            // Most sockets have nothing to say most of the time.
            if !pending.load(Ordering::Acquire) || !pending.swap(false, Ordering::AcqRel) {
                return false;
            }
            // Asking the reactor also registers the signal.
            let cx = &mut Context::from_waker(&self.waker);
            while let Poll::Ready(Ok(mut guard)) = self.readiness.poll_read_ready(cx) {
                // That cannot be cleared: libzmq has closed the socket, and nothing comes any more.
                if guard.ready().is_read_closed() {
                    break;
                }
                guard.clear_ready();
            }
        }
        let more = self.drain(limit, sink);
        if more {
            self.signal.pending.store(true, Ordering::Release);
        }
        more
    }

    /// Reads until the socket is empty, which is `false`, or `limit` is reached or `sink` breaks.
    fn drain(
        &self,
        limit: usize,
        mut sink: impl FnMut(&mut ::zmq::Socket, ::zmq::Message) -> ControlFlow<()>,
    ) -> bool {
        let mut inner = self.lock();
        let Some(socket) = inner.as_mut() else { return false };
        let (mut left, mut more) = (limit, true);
        while left > 0 {
            match socket.recv_msg(::zmq::DONTWAIT) {
                Ok(message) => {
                    left -= 1;
                    if sink(socket, message).is_break() {
                        break;
                    }
                }
                Err(::zmq::Error::EINTR) => {}
                Err(error) => {
                    if error != ::zmq::Error::EAGAIN {
                        afterwards(move || tracing::warn!(%error, "zmq: receiving failed"));
                    }
                    more = false;
                    break;
                }
            }
        }
        drop(inner);
        self.progress.notify_waiters();
        more
    }

    /// Whether a message is waiting.
    pub(super) fn is_readable(&self) -> bool {
        self.with(|socket| has_input(socket)).unwrap_or(false)
    }

    /// Takes the socket out, to be dropped where that may take its time. Whoever waits is woken.
    pub(super) fn take(&self) -> Option<::zmq::Socket> {
        let socket = self.lock().take();
        self.progress.notify_waiters();
        self.signal.receiver.wake();
        socket
    }

    fn call<R>(&self, call: impl FnOnce(&mut ::zmq::Socket) -> R) -> Option<R> {
        let mut inner = self.lock();
        let socket = inner.as_mut()?;
        let result = call(socket);
        // If the receiver knows that there may be something, it is going to look after this call.
        if !self.signal.pending.load(Ordering::Acquire) && has_input(socket) {
            self.signal.raise();
        }
        Some(result)
    }

    fn lock(&self) -> MutexGuard<'_, Option<::zmq::Socket>> {
        // A panic cannot leave libzmq's own state half-changed.
        lock(&self.inner)
    }
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Socket").field("open", &self.lock().is_some()).finish_non_exhaustive()
    }
}

fn has_input(socket: &::zmq::Socket) -> bool {
    socket.get_events().is_ok_and(|events| events.contains(::zmq::POLLIN))
}
