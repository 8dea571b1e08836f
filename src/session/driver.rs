//! The one task that reads a session's transport and calls its services.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::SessionCore;
use super::addressee::Addressee;
use super::gather::Holder;
use super::standstill::{Look, Standstill};
use super::turn::Turn;
use crate::time::{Mono, earliest};
use crate::transport::{Event, Locator, Origin, TransportRx, TransportTx};
use crate::wire::{self, Bundle, DataFrame, Room};

/// Events taken from the transport in one go.
const BATCH: usize = 256;
/// So many messages for this session alone are handed out before those whom they answer have their turn: what they ask next
/// is under way while the rest is handed out.
const ENOUGH: usize = 16;

/// Runs until the session is closed or its last handle is dropped.
///
/// It never awaits a send: it is the only reader, and a transport that waits for its reader would never get on.
pub(super) async fn run<Tx: TransportTx, Rx: TransportRx>(
    core: Arc<SessionCore<Tx>>,
    mut rx: Rx,
    mut looped_back: mpsc::Receiver<Bytes>,
    mut stopped: watch::Receiver<bool>,
) {
    let _end = End(core.clone());
    let mut events = VecDeque::with_capacity(BATCH);
    let mut received = Vec::with_capacity(BATCH);
    let mut turn = Turn::default();
    let mut standstill = Standstill::default();
    // When the timer goes off, if it is set.
    let mut alarm = None;
    let mut timer = pin!(tokio::time::sleep_until(core.clock.instant(core.clock.now())));
    let mut end = pin!(async { drop(stopped.wait_for(|stop| *stop).await) });
    loop {
        core.alarm.clear();
        let (now, deadline) = look_at_timers(&core, alarm, &mut standstill);
        // One that is too early costs a look at the timers; to set it anew with each request costs more.
        if alarm.is_none_or(|at| at <= now || deadline.is_some_and(|deadline| deadline < at)) {
            alarm = deadline;
            if let Some(at) = alarm {
                timer.as_mut().reset(core.clock.instant(at));
            }
        }
        core.alarm.set(alarm);
        core.outbox.release(Holder::Driver, &core.tx);
        if !events.is_empty() {
            core.outbox.hold(Holder::Driver);
            hand_out(&core, &mut events, &mut looped_back, &mut turn).await;
            continue;
        }
        tokio::select! {
            biased;
            () = end.as_mut() => break,
            outcome = rx.recv_batch(&mut received, BATCH) => match outcome {
                Ok(_) => {
                    if standstill.is_catching_up() {
                        standstill.has_read(core.clock.now());
                    }
                    events.extend(received.drain(..));
                    if events.len() > 1 || events.front().is_some_and(is_bundle) {
                        core.outbox.hold(Holder::Driver);
                    }
                    hand_out(&core, &mut events, &mut looped_back, &mut turn).await;
                }
                Err(error) => {
                    tracing::debug!(%error, local = %core.tx.local(), "session ends");
                    break;
                }
            },
            Some(payload) = looped_back.recv() => {
                core.outbox.hold(Holder::Driver);
                let messages = directed(&core, core.clock.now(), core.tx.local(), payload);
                read(&core, messages, &mut turn).await;
            }
            // What the services do about it may be messages, many of them for one peer.
            () = core.wake.notified() => {
                core.outbox.hold(Holder::Driver);
                if core.services().any(|service| service.expects_more()) {
                    turn.pass(&core.turns).await;
                }
            }
            () = timer.as_mut(), if alarm.is_some() => {}
            never = turn.rest() => match never {},
        }
    }
}

/// The end of a session, however it came: also with the runtime, which drops the driver where it waits. Whoever waits on a
/// subscriber or a request learns of it, and nothing is accepted any more that nobody would send.
struct End<Tx: TransportTx>(Arc<SessionCore<Tx>>);

impl<Tx: TransportTx> Drop for End<Tx> {
    fn drop(&mut self) {
        let Self(core) = self;
        core.closed.store(true, Ordering::Release);
        let now = core.clock.now();
        core.services().for_each(|service| service.on_close(now));
        core.forget_services();
    }
}

/// Does what is due, unless the session stood still and has to read first. Says when that was, and when to look again.
fn look_at_timers<Tx: TransportTx>(
    core: &SessionCore<Tx>,
    alarm: Option<Mono>,
    standstill: &mut Standstill,
) -> (Mono, Option<Mono>) {
    let now = core.clock.now();
    match standstill.look(now, alarm) {
        Look::Timers => {}
        Look::CaughtUp(stood) => core.services().for_each(|service| service.on_standstill(now, stood)),
        Look::Read(until) => return (now, Some(until)),
    }
    (now, core.services().fold(None, |deadline, service| earliest(deadline, service.on_timeout(now))))
}

/// Hands out what was read, or the first of it, and what the session has told itself.
async fn hand_out<Tx: TransportTx>(
    core: &SessionCore<Tx>,
    events: &mut VecDeque<Event>,
    looped_back: &mut mpsc::Receiver<Bytes>,
    turn: &mut Turn,
) {
    let (now, mut messages) = (core.clock.now(), 0);
    while messages < ENOUGH
        && let Some(event) = events.pop_front()
    {
        messages += dispatch(core, now, event);
    }
    // A transport that always has something must not starve what the session tells itself.
    for _ in 0..BATCH {
        let Ok(payload) = looped_back.try_recv() else { break };
        messages += directed(core, now, core.tx.local(), payload);
    }
    read(core, messages, turn).await;
}

/// So many messages for this session alone have been handed out: lets those act to whom that matters.
async fn read<Tx: TransportTx>(core: &SessionCore<Tx>, messages: usize, turn: &mut Turn) {
    if messages == 0 {
        return;
    }
    // Not `any`: each is to hear of it.
    let expecting = core.services().filter(|service| service.on_read()).count() > 0;
    if expecting {
        // What they ask next is to be under way before more is read, and answers before that.
        core.outbox.flush(&core.tx);
        turn.pass(&core.turns).await;
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
        Event::Retained { topic, payload, mark } => {
            if let Some(service) = core.service(Room::PubSub) {
                service.on_retained(now, &topic, &payload, mark);
            }
            if let Some(listeners) = core.listeners.any() {
                listeners.iter().for_each(|(_, service)| service.on_retained(now, &topic, &payload, mark));
            }
        }
        Event::Message { from: Origin::Peer(peer), payload } => return directed(core, now, &peer, payload),
        event => {
            if let Event::Lagged(messages) = &event {
                metrics::counter!("ringbus_transport_lagged_total").increment(*messages);
                tracing::warn!(messages, local = %core.tx.local(), "the transport dropped messages");
            }
            if let Event::Unreachable { peer, reason } = &event {
                metrics::counter!("ringbus_peers_unreachable_total").increment(1);
                // A stranger, or a node's peer; those of publishers and subscribers are warned of with their events.
                tracing::info!(%peer, reason, "a peer cannot be reached");
            }
            core.connections.note(&event);
            for service in core.services() {
                service.on_event(now, &event);
            }
        }
    }
    0
}

/// A message for this session alone, or a bundle of them; how many.
fn directed<Tx: TransportTx>(core: &SessionCore<Tx>, now: Mono, peer: &Locator, payload: Bytes) -> usize {
    let mut addressee = Addressee::default();
    if !Bundle::is_bundle(&payload) {
        single(core, now, peer, &payload, || payload.clone(), &mut addressee);
        return 1;
    }
    match Bundle::parse(payload) {
        Ok(bundle) => bundle
            .frames()
            .map(|frame| single(core, now, peer, frame, || bundle.share(frame), &mut addressee))
            .count(),
        Err(error) => {
            tracing::debug!(%peer, %error, "dropped a bundle");
            drop_frame("malformed", peer);
            0
        }
    }
}

fn single<Tx: TransportTx>(
    core: &SessionCore<Tx>,
    now: Mono,
    peer: &Locator,
    frame: &[u8],
    share: impl FnOnce() -> Bytes,
    addressee: &mut Addressee,
) {
    if let Some((room, body)) = wire::control(frame) {
        return match addressee.find(core, room) {
            Some(service) => service.on_control(now, peer, body),
            None => drop_frame("no service", peer),
        };
    }
    match (DataFrame::parse(share()), addressee.find(core, Room::PubSub)) {
        (Ok(frame), Some(service)) => service.on_samples(now, peer, frame),
        (Ok(_), None) => drop_frame("no service", peer),
        (Err(error), _) => {
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
