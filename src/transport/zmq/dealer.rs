//! Our own connection to a peer's ROUTER.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::address::Address;
use super::monitor::Monitor;
use super::receiver::Receiver;
use super::socket::Socket;
use super::sockets::Setup;
use crate::error::Result;
use crate::transport::Locator;

/// A DEALER and the monitor that tells of its connection.
#[derive(Debug)]
pub(super) struct Dealer {
    /// The peer, as this session knows it.
    pub(super) peer: Locator,
    pub(super) address: Address,
    pub(super) socket: Arc<Socket>,
    pub(super) monitor: Monitor,
    connected: AtomicBool,
    retrying: AtomicBool,
    /// Messages accepted since the connection was lost, or not yet made.
    waiting: AtomicUsize,
    times: Mutex<Times>,
}

#[derive(Debug, Clone, Copy)]
struct Times {
    used: Instant,
    lost: Instant,
}

impl Dealer {
    /// Connects. The peer need not be there.
    pub(super) fn connect(
        setup: &Setup,
        context: &::zmq::Context,
        local: &Locator,
        peer: Locator,
        address: Address,
        runtime: &Handle,
        receiver: &Arc<Receiver>,
    ) -> Result<Arc<Self>> {
        let (socket, monitor) = setup.dealer(context, local, &address, runtime, receiver)?;
        let now = Instant::now();
        Ok(Arc::new(Self {
            peer,
            address,
            socket,
            monitor,
            connected: AtomicBool::new(false),
            retrying: AtomicBool::new(true),
            waiting: AtomicUsize::new(0),
            times: Mutex::new(Times { used: now, lost: now }),
        }))
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Acquire)
    }

    pub(super) fn set_connected(&self, connected: bool) {
        if connected {
            self.waiting.store(0, Ordering::Relaxed);
        } else {
            self.times.lock().unwrap_or_else(PoisonError::into_inner).lost = Instant::now();
            self.retrying.store(false, Ordering::Relaxed);
        }
        self.connected.store(connected, Ordering::Release);
    }

    pub(super) fn set_retrying(&self) {
        self.retrying.store(true, Ordering::Relaxed);
    }

    /// Whether libzmq has given the connection up, as it does after a protocol error.
    pub(super) fn is_abandoned(&self, after: Duration) -> bool {
        let lost = self.times.lock().unwrap_or_else(PoisonError::into_inner).lost;
        !self.is_connected() && !self.retrying.load(Ordering::Relaxed) && lost.elapsed() >= after
    }

    /// Notes that a message was accepted.
    pub(super) fn note_sent(&self) {
        if !self.is_connected() {
            self.waiting.fetch_add(1, Ordering::Relaxed);
        }
        self.times.lock().unwrap_or_else(PoisonError::into_inner).used = Instant::now();
    }

    pub(super) fn last_used(&self) -> Instant {
        self.times.lock().unwrap_or_else(PoisonError::into_inner).used
    }

    /// How many messages wait for a connection.
    pub(super) fn waiting(&self) -> usize {
        if self.is_connected() { 0 } else { self.waiting.load(Ordering::Relaxed) }
    }

    /// Closes both sockets; what was sent is still written, for `linger`.
    pub(super) fn close(&self, linger: Duration) {
        if let Some(mut socket) = self.socket.take() {
            super::sockets::retire(&mut socket, linger);
        }
        drop(self.monitor.take());
    }
}
