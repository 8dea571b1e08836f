//! The one task that reads a session's transport and calls its services.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::SessionCore;
use crate::time::{Mono, earliest};
use crate::transport::{Event, Locator, Origin, TransportRx, TransportTx};
use crate::wire::{Bundle, Frame, Room};

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
    // When the timer goes off, if it is set.
    let mut alarm = None;
    let mut timer = pin!(tokio::time::sleep_until(core.clock.instant(core.clock.now())));
    let mut end = pin!(async { drop(stopped.wait_for(|stop| *stop).await) });
    loop {
        core.alarm.clear();
        let (now, deadline) = run_timers(&core);
        // One that is too early costs a look at the timers; to set it anew with each request costs more.
        if alarm.is_none_or(|at| at <= now || deadline.is_some_and(|deadline| deadline < at)) {
            alarm = deadline;
            if let Some(at) = alarm {
                timer.as_mut().reset(core.clock.instant(at));
            }
        }
        core.alarm.set(alarm);
        core.outbox.release(&core.tx);
        tokio::select! {
            biased;
            () = end.as_mut() => break,
            received = rx.recv_batch(&mut events, BATCH) => match received {
                Ok(_) => {
                    if events.len() > 1 || events.first().is_some_and(is_bundle) {
                        core.outbox.hold();
                    }
                    let now = core.clock.now();
                    let mut messages = events.drain(..).map(|event| dispatch(&core, now, event)).sum();
                    // A transport that always has something must not starve what the session tells itself.
                    for _ in 0..BATCH {
                        let Ok(payload) = looped_back.try_recv() else { break };
                        messages += directed(&core, now, core.tx.local(), payload);
                    }
                    read(&core, messages).await;
                }
                Err(error) => {
                    tracing::debug!(%error, local = %core.tx.local(), "session ends");
                    break;
                }
            },
            Some(payload) = looped_back.recv() => {
                core.outbox.hold();
                let messages = directed(&core, core.clock.now(), core.tx.local(), payload);
                read(&core, messages).await;
            }
            // What the services do about it may be messages, many of them for one peer.
            () = core.wake.notified() => core.outbox.hold(),
            () = timer.as_mut(), if alarm.is_some() => {}
        }
    }
    // However it ended: whoever waits on a subscriber or a request learns of it.
    core.closed.store(true, Ordering::Release);
    let now = core.clock.now();
    core.services().for_each(|service| service.on_close(now));
    core.forget_services();
}

/// Does what is due. Says when that was, and when something will be again.
fn run_timers<Tx: TransportTx>(core: &SessionCore<Tx>) -> (Mono, Option<Mono>) {
    let now = core.clock.now();
    core.turning.store(false, Ordering::SeqCst);
    (now, core.services().fold(None, |deadline, service| earliest(deadline, service.on_timeout(now))))
}

/// So many messages for this session alone have been handed out: lets those act to whom that matters.
async fn read<Tx: TransportTx>(core: &SessionCore<Tx>, messages: usize) {
    if messages > 0 {
        core.services().for_each(|service| service.on_read());
    }
    if messages > 1 {
        // Answers go out at once; those who were answered may have something more to ask, all together.
        core.outbox.flush(&core.tx);
        core.turning.store(true, Ordering::SeqCst);
        tokio::task::yield_now().await;
    }
}

/// Hands an event out; how many messages for this session alone it was.
fn dispatch<Tx: TransportTx>(core: &SessionCore<Tx>, now: Mono, event: Event) -> usize {
    match event {
        Event::Message { from: Origin::Topic(topic), payload } => {
            if let Some(service) = core.service(Room::PubSub) {
                service.on_topic(now, &topic, &payload);
            }
            if let Some(listeners) = core.listeners.any() {
                listeners.iter().for_each(|(_, service)| service.on_topic(now, &topic, &payload));
            }
        }
        Event::Message { from: Origin::Peer(peer), payload } => return directed(core, now, &peer, payload),
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
    0
}

/// A message for this session alone, or a bundle of them; how many.
fn directed<Tx: TransportTx>(core: &SessionCore<Tx>, now: Mono, peer: &Locator, payload: Bytes) -> usize {
    if !Bundle::is_bundle(&payload) {
        single(core, now, peer, payload);
        return 1;
    }
    match Bundle::parse(payload) {
        Ok(bundle) => bundle.map(|payload| single(core, now, peer, payload)).count(),
        Err(error) => {
            tracing::debug!(%peer, %error, "dropped a bundle");
            drop_frame("malformed", peer);
            0
        }
    }
}

fn single<Tx: TransportTx>(core: &SessionCore<Tx>, now: Mono, peer: &Locator, payload: Bytes) {
    match Frame::parse(payload) {
        Ok(frame) => {
            let room = match &frame {
                Frame::Data(_) => Room::PubSub,
                Frame::Control { room, .. } => *room,
            };
            match core.service(room) {
                Some(service) => service.on_directed(now, peer, frame),
                None => drop_frame("no service", peer),
            }
        }
        Err(error) => {
            tracing::debug!(%peer, %error, "dropped a frame");
            drop_frame("malformed", peer);
        }
    }
}

fn is_bundle(event: &Event) -> bool {
    matches!(event, Event::Message { from: Origin::Peer(_), payload } if Bundle::is_bundle(payload))
}

fn drop_frame(cause: &'static str, peer: &Locator) {
    tracing::debug!(%peer, cause, "dropped a directed frame");
    metrics::counter!("ringbus_frames_dropped_total", "cause" => cause).increment(1);
}
