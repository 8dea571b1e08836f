//! Control messages that found the transport busy: a bounded queue and the task that waits in the driver's stead.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tracing::Level;

use super::gather::{Gather, Holder};
use crate::error::Result;
use crate::quiet::afterwards;
use crate::transport::{Destination, Locator, Outbound, TransportTx, TrySendError};
use crate::wire::Room;

/// The most messages that wait; the protocols above repeat what matters.
const OUTBOX: usize = 8192;
/// And the most bytes, one message aside.
const OUTBOX_BYTES: usize = 32 << 20;
/// How long one message may hold up those behind it: a peer that is down must not stop the others.
const PATIENCE: Duration = Duration::from_millis(250);

/// A peer that used that up is not waited for again for so long.
const IMPATIENCE: Duration = Duration::from_secs(2);
/// So many slow peers are remembered.
const MAX_SLOW: usize = 1024;

/// The producer side.
pub(super) struct Outbox {
    gather: Gather,
    queue: mpsc::Sender<Outbound>,
    waiting: Arc<Waiting>,
}

#[derive(Default)]
struct Waiting {
    messages: AtomicUsize,
    bytes: AtomicUsize,
    empty: Notify,
}

/// The consumer side.
pub(super) struct OutboxTask<Tx> {
    tx: Tx,
    queue: mpsc::Receiver<Outbound>,
    waiting: Arc<Waiting>,
    /// Since when a peer is known to be slow.
    slow: HashMap<Locator, Instant>,
}

pub(super) fn new<Tx: TransportTx>(tx: Tx) -> (Outbox, OutboxTask<Tx>) {
    let (sender, receiver) = mpsc::channel(OUTBOX);
    let waiting = Arc::new(Waiting::default());
    (
        Outbox {
            gather: Gather::new(tx.capabilities().max_payload),
            queue: sender,
            waiting: waiting.clone(),
        },
        OutboxTask { tx, queue: receiver, waiting, slow: HashMap::new() },
    )
}

impl Outbox {
    /// What is posted to one peer from now on may be gathered.
    pub(super) fn hold(&self, holder: Holder) {
        self.gather.hold(holder);
    }

    /// Sends what was gathered.
    pub(super) fn flush<Tx: TransportTx>(&self, tx: &Tx) {
        self.gather.flush(|outbound| self.send(tx, outbound));
    }

    /// Ends [`hold`](Self::hold).
    pub(super) fn release<Tx: TransportTx>(&self, holder: Holder, tx: &Tx) {
        self.gather.release(holder, |outbound| self.send(tx, outbound));
    }

    pub(super) fn post<Tx: TransportTx>(&self, tx: &Tx, outbound: Outbound) {
        let one_piece = |peer: &Locator| tx.one_piece_to(peer);
        self.gather.post(outbound, one_piece, |outbound| self.send(tx, outbound));
    }

    /// As [`post`](Self::post), of a control message that `write` appends.
    pub(super) fn post_control<Tx: TransportTx>(
        &self,
        tx: &Tx,
        to: &Locator,
        room: Room,
        write: impl Fn(&mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        let one_piece = |peer: &Locator| tx.one_piece_to(peer);
        self.gather.post_control(to, room, write, one_piece, |outbound| self.send(tx, outbound))
    }

    fn send<Tx: TransportTx>(&self, tx: &Tx, outbound: Outbound) {
        // While something waits, what follows waits behind it: order is kept.
        let busy = if self.waiting.messages.load(Ordering::Acquire) == 0 {
            match tx.try_send(outbound) {
                Ok(()) => return,
                Err(TrySendError::Full(outbound)) => outbound,
                Err(TrySendError::Failed(error)) => return dropped("failed", &error),
            }
        } else {
            outbound
        };
        // Repairs are frames: their number alone bounds nothing.
        if self.waiting.bytes.load(Ordering::Acquire) >= OUTBOX_BYTES {
            return dropped("outbox full", &format_args!("{OUTBOX_BYTES} bytes are waiting"));
        }
        let size = busy.payload.len();
        self.waiting.bytes.fetch_add(size, Ordering::AcqRel);
        self.waiting.messages.fetch_add(1, Ordering::AcqRel);
        if let Err(error) = self.queue.try_send(busy) {
            self.waiting.messages.fetch_sub(1, Ordering::AcqRel);
            self.waiting.bytes.fetch_sub(size, Ordering::AcqRel);
            dropped("outbox full", &error);
        }
    }

    /// Waits until nothing waits, at most this long.
    pub(super) async fn drained<Tx: TransportTx>(&self, tx: &Tx, deadline: Duration) {
        self.flush(tx);
        let drained = async {
            loop {
                let empty = self.waiting.empty.notified();
                if self.waiting.messages.load(Ordering::Acquire) == 0 {
                    break;
                }
                empty.await;
            }
        };
        if tokio::time::timeout(deadline, drained).await.is_err() {
            tracing::debug!("closing with control messages unsent");
        }
    }
}

impl<Tx: TransportTx> OutboxTask<Tx> {
    pub(super) async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        loop {
            let outbound = tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => return,
                outbound = self.queue.recv() => outbound,
            };
            let Some(outbound) = outbound else { return };
            let size = outbound.payload.len();
            self.send(outbound).await;
            self.waiting.bytes.fetch_sub(size, Ordering::AcqRel);
            if self.waiting.messages.fetch_sub(1, Ordering::AcqRel) == 1 {
                self.waiting.empty.notify_waiters();
            }
        }
    }
}

impl<Tx: TransportTx> OutboxTask<Tx> {
    async fn send(&mut self, outbound: Outbound) {
        let peer = match &outbound.to {
            Destination::Peer(peer) => Some(peer.clone()),
            Destination::Topic(_) => None,
        };
        let known_slow = peer.as_ref().and_then(|peer| self.slow.get(peer));
        if known_slow.is_some_and(|since| since.elapsed() < IMPATIENCE) {
            if let Err(error) = self.tx.try_send(outbound) {
                dropped("peer too slow", &error);
            }
            return;
        }
        let mut batch = vec![outbound];
        match tokio::time::timeout(PATIENCE, self.tx.send_batch(&mut batch)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => dropped("failed", &error),
            Err(elapsed) => {
                dropped("peer too slow", &elapsed);
                if self.slow.len() >= MAX_SLOW {
                    self.slow.clear();
                }
                if let Some(peer) = peer {
                    self.slow.insert(peer, Instant::now());
                }
            }
        }
    }
}

fn dropped(cause: &'static str, error: &dyn std::fmt::Display) {
    // Much is posted under a lock, so that it goes out in order.
    let error = tracing::level_enabled!(Level::DEBUG).then(|| error.to_string());
    afterwards(move || {
        if let Some(error) = error {
            tracing::debug!(cause, error, "dropped a control message");
        }
        metrics::counter!("ringbus_control_dropped_total", "cause" => cause).increment(1);
    });
}
