//! Our own connection to a peer's ROUTER.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::context::Context;
use super::monitor::Monitor;
use super::receiver::Receiver;
use super::socket::Socket;
use super::sockets::{self, Setup};
use crate::error::Result;
use crate::quiet::{MutexGuard, afterwards, lock};
use crate::transport::Locator;

/// A DEALER and the monitor that tells of its connection.
#[derive(Debug)]
pub(super) struct Dealer {
    /// The peer, as this session knows it.
    pub(super) peer: Locator,
    pub(super) socket: Arc<Socket>,
    pub(super) monitor: Monitor,
    connected: AtomicBool,
    retrying: AtomicBool,
    /// Messages accepted since the connection was lost, or not yet made.
    waiting: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    /// The number that it is connected to, or tries.
    at: Option<SocketAddr>,
    made: Instant,
    used: Instant,
    lost: Instant,
    ever_connected: bool,
}

impl Dealer {
    /// Makes one that [leads](Self::lead_to) nowhere yet.
    pub(super) fn open(
        setup: &Setup,
        context: &Context,
        local: &Locator,
        peer: Locator,
        runtime: &Handle,
        receiver: &Arc<Receiver>,
    ) -> Result<Arc<Self>> {
        let (socket, monitor) = setup.dealer(context, local, runtime, receiver)?;
        let now = Instant::now();
        Ok(Arc::new(Self {
            peer,
            socket,
            monitor,
            connected: AtomicBool::new(false),
            retrying: AtomicBool::new(true),
            waiting: AtomicUsize::new(0),
            state: Mutex::new(State { at: None, made: now, used: now, lost: now, ever_connected: false }),
        }))
    }

    /// Connects to a number, and no longer to the one before. The peer need not be there.
    pub(super) fn lead_to(&self, number: SocketAddr) {
        let before = self.state().at.replace(number);
        if before == Some(number) {
            return;
        }
        self.socket.with(|socket| {
            if let Some(before) = before {
                // What has waited for it is gone: another process has the address now, if any.
                let _ = sockets::disconnect(socket, before);
            }
            if let Err(error) = sockets::connect(socket, number) {
                afterwards(move || tracing::debug!(%error, %number, "zmq: cannot connect to a peer"));
            }
        });
        self.state().lost = Instant::now();
        self.set_retrying();
    }

    /// Whether it is known yet where to.
    pub(super) fn leads_anywhere(&self) -> bool {
        self.state().at.is_some()
    }

    /// Makes libzmq forget a connection that it has given up, and make it anew.
    pub(super) fn reconnect(&self) {
        let number = self.state().at.take();
        if let Some(number) = number {
            let _ = self.socket.with(|socket| sockets::disconnect(socket, number));
            self.lead_to(number);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Acquire)
    }

    pub(super) fn set_connected(&self, connected: bool) {
        if connected {
            self.waiting.store(0, Ordering::Relaxed);
            self.state().ever_connected = true;
        } else {
            self.state().lost = Instant::now();
            self.retrying.store(false, Ordering::Relaxed);
        }
        self.connected.store(connected, Ordering::Release);
    }

    pub(super) fn set_retrying(&self) {
        self.retrying.store(true, Ordering::Relaxed);
    }

    /// Whether libzmq has given the connection up, as it does after a protocol error.
    pub(super) fn is_abandoned(&self, after: Duration) -> bool {
        !self.retrying.load(Ordering::Relaxed) && self.is_down_for(after)
    }

    /// Whether it has had no connection for so long.
    pub(super) fn is_down_for(&self, time: Duration) -> bool {
        !self.is_connected() && self.state().lost.elapsed() >= time
    }

    /// Whether it has been there for so long.
    pub(super) fn is_as_old_as(&self, time: Duration) -> bool {
        self.state().made.elapsed() >= time
    }

    /// Whether nobody has ever answered, for so long.
    pub(super) fn is_in_vain(&self, time: Duration) -> bool {
        let State { made, ever_connected, .. } = *self.state();
        !ever_connected && made.elapsed() >= time
    }

    /// Notes that a message was accepted.
    pub(super) fn note_sent(&self) {
        if !self.is_connected() {
            self.waiting.fetch_add(1, Ordering::Relaxed);
        }
        self.state().used = Instant::now();
    }

    pub(super) fn last_used(&self) -> Instant {
        self.state().used
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
