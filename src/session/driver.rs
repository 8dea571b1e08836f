//! The one task that reads a session's transport and calls its services.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::SessionCore;
use crate::time::{Mono, earliest};
use crate::transport::{Event, Locator, Origin, TransportRx, TransportTx};
use crate::wire::{Frame, Room};

/// Events taken from the transport in one go.
const BATCH: usize = 256;

/// Runs until the session is closed or its last handle is dropped.
///
/// It never awaits a send: it is the only reader, and a transport that waits for its reader would never get on.
pub(super) async fn run<Tx: TransportTx, Rx: TransportRx>(
    core: Arc<SessionCore<Tx>>,
    mut rx: Rx,
    mut looped_back: mpsc::Receiver<Bytes>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut events = Vec::with_capacity(BATCH);
    loop {
        let deadline = run_timers(&core);
        let sleep = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(core.clock.instant(at)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stop| *stop) => break,
            received = rx.recv_batch(&mut events, BATCH) => match received {
                Ok(_) => {
                    events.drain(..).for_each(|event| dispatch(&core, event));
                    // A transport that always has something must not starve what the session tells itself.
                    for _ in 0..BATCH {
                        let Ok(payload) = looped_back.try_recv() else { break };
                        directed(&core, core.tx.local(), payload);
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, local = %core.tx.local(), "session ends");
                    break;
                }
            },
            Some(payload) = looped_back.recv() => directed(&core, &core.tx.local().clone(), payload),
            () = core.wake.notified() => {}
            () = sleep => {}
        }
    }
    // However it ended: whoever waits on a subscriber or a request learns of it.
    core.closed.store(true, Ordering::Release);
    let now = core.clock.now();
    core.services().iter().for_each(|service| service.on_close(now));
    core.forget_services();
}

fn run_timers<Tx: TransportTx>(core: &SessionCore<Tx>) -> Option<Mono> {
    let now = core.clock.now();
    core.services().iter().fold(None, |deadline, service| earliest(deadline, service.on_timeout(now)))
}

fn dispatch<Tx: TransportTx>(core: &SessionCore<Tx>, event: Event) {
    let now = core.clock.now();
    match event {
        Event::Message { from: Origin::Topic(topic), payload } => {
            if let Some(service) = core.service(Room::PubSub) {
                service.on_topic(now, &topic, &payload);
            }
            if let Some(listeners) = core.listeners.any() {
                listeners.iter().for_each(|(_, service)| service.on_topic(now, &topic, &payload));
            }
        }
        Event::Message { from: Origin::Peer(peer), payload } => directed(core, &peer, payload),
        event => {
            if let Event::Lagged(messages) = &event {
                metrics::counter!("ringbus_transport_lagged_total").increment(*messages);
                tracing::warn!(messages, local = %core.tx.local(), "the transport dropped messages");
            }
            for service in core.services() {
                service.on_event(now, &event);
            }
        }
    }
}

/// A message for this session alone.
fn directed<Tx: TransportTx>(core: &SessionCore<Tx>, peer: &Locator, payload: Bytes) {
    match Frame::parse(payload) {
        Ok(frame) => {
            let room = match &frame {
                Frame::Data(_) => Room::PubSub,
                Frame::Control { room, .. } => *room,
            };
            match core.service(room) {
                Some(service) => service.on_directed(core.clock.now(), peer, frame),
                None => drop_frame("no service", peer),
            }
        }
        Err(error) => {
            tracing::debug!(%peer, %error, "dropped a frame");
            drop_frame("malformed", peer);
        }
    }
}

fn drop_frame(cause: &'static str, peer: &Locator) {
    tracing::debug!(%peer, cause, "dropped a directed frame");
    metrics::counter!("ringbus_frames_dropped_total", "cause" => cause).increment(1);
}
