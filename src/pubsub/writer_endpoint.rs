//! A writer in its session: the state machine behind a lock, and the way of its frames into the transport.

mod flusher;
mod stand_in;
pub(super) mod waits;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, watch};

use super::control::{AckNack, Message};
use super::events::Events;
use super::hub::{Hub, Key};
use super::inside::Inside;
use super::publisher_stats::PublisherStats;
use super::via;
use super::writer::{Appended, GROWN, Lack, OpenBatch, Room, WriterAction, WriterConfig, WriterCore};
use crate::error::{Error, ErrorKind, Result};
use crate::message::EntityId;
use crate::qos::{Overflow, Reliability};
use crate::quiet::{MutexGuard, lock};
use crate::time::{Mono, Timestamp};
use crate::topic::Topic;
use crate::transport::{Locator, Outbound, TransportTx, TrySendError};
use crate::wire::DataFrame;
use flusher::give_up;

/// So many full frames may be under way before a publisher waits. A frame that is not full waits for all before it.
const DEPTH: usize = 8;

/// Why a frame is given up that a reader cannot have, as far as can be told.
const SWALLOWED: &str = "a subscriber has asked for it again and again, and it does not arrive: the broker acknowledges and \
                         drops what is over its size limit, most likely";
/// The same of a frame that went in fragments.
const IN_FRAGMENTS: &str = "a subscriber has asked for it again and again, and it does not arrive: it goes in fragments, \
                            which an older release of ringbus does not put together, or max_packet is over the \
                            broker's limit";

pub(super) struct WriterEndpoint<Tx> {
    id: EntityId,
    topic: Topic,
    reliable: bool,
    overflow: Overflow,
    tx: Tx,
    /// Of the state machine; publishers append to it by themselves where they have leave.
    open: Arc<OpenBatch>,
    max_payload: usize,
    state: Mutex<State>,
    /// The open batch, the history or the link has room again, or something was acknowledged.
    progress: Notify,
    /// Wakes the flusher.
    work: Notify,
    matched: watch::Sender<usize>,
    events: Events,
    /// What [`stats`](Self::stats) told last.
    stats_told: Mutex<PublisherStats>,
}

struct State {
    core: WriterCore,
    line: Line,
    /// What the transport had no room for; everything else waits behind it.
    refused: Option<Outbound>,
    /// The task that sends what the publisher leaves behind is running.
    has_flusher: bool,
    closed: bool,
    /// Closed without a goodbye.
    silent: bool,
    /// The newest announcement, made while a frame waits for the link: it must not overtake that frame.
    behind: Option<Message>,
    /// Why something that was published was given up, until a flush tells it.
    refusal: Option<ErrorKind>,
}

/// What the link is doing, as far as this writer knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// Nothing is owed: a sample is sent at once.
    Idle,
    /// Earlier frames are under way: the open batch grows until they have left, or it is full.
    Busy,
    /// The transport refused a frame: the flusher waits for room.
    Full,
}

/// Why a sample was not taken.
#[derive(Debug)]
pub(super) enum Refused {
    /// For now: until the link or the readers get on.
    Full { lack: Lack, what: &'static str, limit: usize, until: Until },
    /// Older samples have given way: there is room if it is tried again. Whoever can wait lets others run first.
    Again,
    /// For good.
    Failed(Error),
}

/// What a publisher waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// [`WriterEndpoint::progress`].
    Progress,
    /// That, or room on the link: [`WriterEndpoint::link_has_room`].
    Link,
}

impl<Tx: TransportTx> WriterEndpoint<Tx> {
    pub(super) fn new(tx: Tx, core: WriterCore) -> Self {
        let WriterConfig { id, topic, offered, max_payload, .. } = core.config().clone();
        Self {
            id,
            topic,
            reliable: offered.reliability == Reliability::Reliable,
            overflow: offered.overflow,
            tx,
            open: core.open_batch().clone(),
            max_payload,
            state: Mutex::new(State {
                core,
                line: Line::Idle,
                refused: None,
                has_flusher: false,
                closed: false,
                silent: false,
                behind: None,
                refusal: None,
            }),
            work: Notify::new(),
            progress: Notify::new(),
            matched: watch::channel(0).0,
            events: Events::default(),
            stats_told: Mutex::default(),
        }
    }

    pub(super) fn id(&self) -> EntityId {
        self.id
    }

    pub(super) fn key(&self) -> Key {
        Key { id: self.id, relayed: via::is_relayed(&self.topic) }
    }

    /// The topic on the wire.
    pub(super) fn topic(&self) -> &Topic {
        &self.topic
    }

    pub(super) fn events(&self) -> &Events {
        &self.events
    }

    pub(super) fn matched(&self) -> watch::Receiver<usize> {
        self.matched.subscribe()
    }

    /// Appends a sample to the open batch, and sends that if the link is idle or the batch full.
    #[inline]
    pub(super) fn try_push(
        self: &Arc<Self>,
        hub: &Arc<Hub<Tx>>,
        source: Option<Timestamp>,
        write: impl Fn(&mut Vec<u8>) -> Result<()>,
    ) -> Result<(), Refused> {
        let Some(_inside) = Inside::enter(&**self) else { return Err(Refused::Failed(self.reentrant())) };
        match self.open.append(source, self.max_payload, GROWN, &write) {
            Appended::Left => Ok(()),
            Appended::Grown if self.tx.backlog() > 0 => Ok(()),
            Appended::Grown | Appended::Full => self.send_grown(hub, lock(&self.state)),
            Appended::No => self.push(hub, source, write),
        }
    }

    /// Has the state machine take a sample.
    fn push(
        self: &Arc<Self>,
        hub: &Arc<Hub<Tx>>,
        source: Option<Timestamp>,
        write: impl Fn(&mut Vec<u8>) -> Result<()>,
    ) -> Result<(), Refused> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(Refused::Failed(self.tx.denied().unwrap_or_else(closed)));
        }
        // Before the sample is taken: it would be kept, and be sent later all the same.
        if let Some(error) = self.tx.denied() {
            return Err(Refused::Failed(error));
        }
        if !state.core.history_has_room() {
            // What fills it may be the batch that nobody was sent yet.
            let mut state = self.send_open(hub, state, DEPTH).map_err(Refused::Failed)?;
            let room = state.core.make_room(hub.core.clock.now());
            return Err(refused(&state, room));
        }
        if !state.core.batch_has_room() {
            state = self.make_room(hub, state)?;
        }
        let (wall, limit) = (state.stamp(), self.max_payload);
        let source = source.unwrap_or(wall);
        while let Err(error) = state.core.push(wall, source, &write) {
            match error.kind() {
                // It would fit into a frame of its own, but not into the open one.
                ErrorKind::PayloadTooLarge { size, .. } if *size <= limit && !state.core.batch_is_empty() => {
                    state = self.make_room(hub, state)?;
                }
                ErrorKind::PayloadTooLarge { .. } => {
                    state.core.count_oversize();
                    return Err(Refused::Failed(error));
                }
                _ => return Err(Refused::Failed(error)),
            }
        }
        self.send_grown(hub, state)
    }

    /// Sends the open batch if it is worth a frame and the link is ready for it. What is left, others append to and the flusher
    /// sends.
    fn send_grown<'a>(
        self: &'a Arc<Self>,
        hub: &Arc<Hub<Tx>>,
        mut state: MutexGuard<'a, State>,
    ) -> Result<(), Refused> {
        // A full batch has nothing to wait for but room; one that is not goes when all before it is gone.
        let most = if state.core.batch_has_room() { 1 } else { DEPTH };
        let left_to_flusher = match state.line {
            Line::Idle => false,
            Line::Busy => !state.core.batch_has_grown() || self.tx.backlog() >= most,
            Line::Full => true,
        };
        if !left_to_flusher {
            state = self.send_open(hub, state, most).map_err(Refused::Failed)?;
        }
        if state.line != Line::Idle && !state.closed {
            state.core.give_leave(state.line == Line::Busy);
        }
        Ok(())
    }

    /// Sends the open batch, so that a new one begins, or does with it what the overflow policy says.
    fn make_room<'a>(
        self: &'a Arc<Self>,
        hub: &Arc<Hub<Tx>>,
        state: MutexGuard<'a, State>,
    ) -> Result<MutexGuard<'a, State>, Refused> {
        let mut state = self.send_open(hub, state, DEPTH).map_err(Refused::Failed)?;
        if state.core.batch_is_empty() {
            return Ok(state);
        }
        let room = state.core.put_off_batch(hub.core.clock.now());
        Err(refused(&state, room))
    }

    /// Sends everything, until the transport refuses.
    fn send_all<'a>(
        self: &'a Arc<Self>,
        hub: &Arc<Hub<Tx>>,
        mut state: MutexGuard<'a, State>,
    ) -> Result<MutexGuard<'a, State>> {
        while !state.core.has_nothing_to_send() && state.line != Line::Full {
            state = self.send_open(hub, state, usize::MAX)?;
        }
        Ok(state)
    }

    /// Sends the open batch, or a frame that was put off before it, if fewer than `most` messages are under way; otherwise the flusher does it when there are none.
    fn send_open<'a>(
        self: &'a Arc<Self>,
        hub: &Arc<Hub<Tx>>,
        mut state: MutexGuard<'a, State>,
        most: usize,
    ) -> Result<MutexGuard<'a, State>> {
        if state.core.has_nothing_to_send() || state.line == Line::Full {
            return Ok(state);
        }
        if self.tx.backlog() >= most {
            if state.line == Line::Idle {
                self.set_line(hub, &mut state, Line::Busy);
            }
            return Ok(state);
        }
        let next = state.core.next_frame(hub.core.clock.now());
        let sent = next.map_or(Ok(()), |(frame, framed)| {
            let outbound = self.outbound(&frame, framed);
            self.send(hub, &mut state, outbound)
        });
        state.core.bound_batch(self.tx.one_piece(&self.topic));
        let state = self.run_actions(hub, state);
        sent.map(|()| state)
    }

    /// Waits until a full batch can be sent.
    pub(super) async fn link_has_room(&self) {
        self.tx.drained(DEPTH).await;
    }

    /// Passes on a frame of the writer that this one stands in for. With `forward` off it is only remembered.
    pub(super) async fn relay(
        self: &Arc<Self>,
        hub: &Arc<Hub<Tx>>,
        frame: &DataFrame,
        forward: bool,
    ) -> Result<()> {
        loop {
            let progress = self.progress.notified();
            {
                let mut state = lock(&self.state);
                if state.closed {
                    return Err(closed());
                }
                let now = hub.core.clock.now();
                if state.line != Line::Full && state.core.makes_room_to_relay(now) {
                    state.core.ingest(now, frame)?;
                    let outbound = self.outbound(frame, None);
                    let sent = if forward { self.send(hub, &mut state, outbound) } else { Ok(()) };
                    drop(self.run_actions(hub, state));
                    return sent;
                }
            }
            progress.await;
        }
    }

    /// What gives way where there is no room.
    pub(super) fn overflow(&self) -> Overflow {
        self.overflow
    }

    /// A value without a frame was handed to the transport.
    pub(super) fn count_plain(&self) {
        lock(&self.state).core.count_published();
    }

    /// A new sample was dropped because there was no room.
    pub(super) fn count_dropped(&self, lack: Lack) {
        lock(&self.state).core.count_dropped(lack, 1);
    }

    /// Waits for progress of any kind: subscribe to it before looking at the state.
    pub(super) fn progress(&self) -> tokio::sync::futures::Notified<'_> {
        self.progress.notified()
    }

    pub(super) fn transport(&self) -> &Tx {
        &self.tx
    }

    /// Has the state machine take something in that asks for no action.
    pub(super) fn with_core(&self, take: impl FnOnce(&mut WriterCore)) {
        take(&mut lock(&self.state).core);
    }

    /// Something that was published was given up.
    pub(super) fn note_refusal(&self, why: ErrorKind) {
        lock(&self.state).refusal = Some(why);
        self.progress.notify_waiters();
    }

    /// What was noted since the last call.
    pub(super) fn refusal(&self) -> Option<ErrorKind> {
        lock(&self.state).refusal.take()
    }

    /// The transport cannot send for now: nobody appends to a batch or waits without having asked it.
    pub(super) fn on_denied(&self) {
        lock(&self.state).core.take_leave();
        self.progress.notify_waiters();
    }

    /// Whether everything was handed to the transport and, if reliable, acknowledged by every matched reader.
    pub(super) fn is_flushed(&self) -> bool {
        let state = lock(&self.state);
        state.closed
            || (state.line != Line::Full && state.core.has_nothing_to_send() && state.core.all_acknowledged())
    }

    pub(super) fn is_closed(&self) -> bool {
        lock(&self.state).closed
    }

    pub(super) fn announce(&self, hub: &Hub<Tx>, now: Mono) {
        let _inside = Inside::enter(self);
        let mut state = lock(&self.state);
        state.core.announce(now);
        drop(self.run_actions(hub, state));
    }

    pub(super) fn on_acknack(&self, hub: &Hub<Tx>, now: Mono, from: &Locator, acknack: &AckNack) {
        let _inside = Inside::enter(self);
        let mut state = lock(&self.state);
        state.core.on_acknack(now, from, acknack.clone());
        drop(self.run_actions(hub, state));
        self.progress.notify_waiters();
    }

    pub(super) fn on_reader_bye(&self, hub: &Hub<Tx>, now: Mono, from: &Locator, reader: EntityId) {
        let _inside = Inside::enter(self);
        let mut state = lock(&self.state);
        state.core.on_reader_bye(now, from, reader);
        drop(self.run_actions(hub, state));
        self.progress.notify_waiters();
    }

    /// The transport has lost a session, or reaches it again.
    pub(super) fn on_peer(&self, hub: &Hub<Tx>, now: Mono, peer: &Locator, is_there: bool) {
        let _inside = Inside::enter(self);
        let mut state = lock(&self.state);
        match is_there {
            true => state.core.on_peer_up(peer),
            false => state.core.on_peer_down(now, peer),
        }
        drop(self.run_actions(hub, state));
    }

    /// The session stood still for so long.
    pub(super) fn on_standstill(&self, now: Mono, stood: Duration) {
        lock(&self.state).core.stood_still(now, stood);
    }

    pub(super) fn on_timeout(&self, hub: &Hub<Tx>, now: Mono) {
        let _inside = Inside::enter(self);
        let mut state = lock(&self.state);
        state.core.on_timeout(now);
        drop(self.run_actions(hub, state));
        self.progress.notify_waiters();
    }

    /// Says goodbye, behind whatever still waits for the link.
    pub(super) fn close(self: &Arc<Self>, hub: &Arc<Hub<Tx>>) {
        let _inside = Inside::enter(self.as_ref());
        let state = lock(&self.state);
        if state.closed {
            return;
        }
        let mut state = match self.send_all(hub, state) {
            Ok(state) => state,
            Err(error) => {
                tracing::debug!(topic = %self.topic, %error, "could not send the last samples");
                lock(&self.state)
            }
        };
        state.closed = true;
        state.core.take_leave();
        if state.line != Line::Full {
            state.core.leave();
        }
        drop(self.run_actions(hub, state));
        self.end();
    }

    /// Falls silent without a goodbye: another node stands in from now on.
    pub(super) fn abandon(&self) {
        let mut state = lock(&self.state);
        (state.closed, state.silent) = (true, true);
        state.core.take_leave();
        drop(state);
        self.end();
    }

    fn end(&self) {
        self.events.close();
        self.progress.notify_waiters();
        self.work.notify_one();
    }

    fn outbound(&self, frame: &DataFrame, framed: Option<Bytes>) -> Outbound {
        let plain = Outbound::topic(self.topic.clone(), frame.bytes().clone());
        Outbound { framed, ..plain }.reliable_if(self.reliable)
    }

    fn send(self: &Arc<Self>, hub: &Arc<Hub<Tx>>, state: &mut State, outbound: Outbound) -> Result<()> {
        let refused = if hub.queueing.load(Ordering::Acquire) > 0 {
            outbound
        } else {
            match self.tx.try_send(outbound) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Failed(error)) => return Err(error),
                Err(TrySendError::Full(outbound)) => outbound,
            }
        };
        state.refused = Some(refused);
        self.set_line(hub, state, Line::Full);
        Ok(())
    }

    /// Changes what is known of the link. While it is not idle the flusher looks after the rest, and the session counts it.
    fn set_line(self: &Arc<Self>, hub: &Arc<Hub<Tx>>, state: &mut State, line: Line) {
        let before = std::mem::replace(&mut state.line, line);
        // Nobody sends what is appended while the link is idle, and while it is full nobody ends the sharing of timestamps.
        if line != Line::Busy {
            state.core.take_leave();
        }
        match (before, line) {
            (Line::Idle, Line::Busy | Line::Full) => {
                hub.core.sending.send_modify(|sending| *sending += 1);
            }
            (Line::Busy | Line::Full, Line::Idle) => {
                return hub.core.sending.send_modify(|sending| *sending -= 1);
            }
            _ => {}
        }
        if !std::mem::replace(&mut state.has_flusher, true) {
            let flusher = hub.core.runtime.spawn(self.clone().flush_while_open(hub.clone()));
            // It cannot end before it gets the lock that is held here, unless the session's runtime is gone.
            if flusher.is_finished() {
                return give_up(hub, state);
            }
        }
        self.work.notify_one();
    }

    /// Does what the state machine asks for. The lock is let go of while events are told.
    fn run_actions<'a>(&'a self, hub: &Hub<Tx>, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let (mut events, mut given_up) = (Vec::new(), Vec::new());
        while let Some(action) = state.core.poll_action() {
            match action {
                WriterAction::Announce(message) if state.line == Line::Full => state.behind = Some(message),
                WriterAction::Announce(message) => hub.announce(&self.topic, &message, self.reliable),
                WriterAction::Tell { to, message } => hub.tell(to, &message, true),
                WriterAction::Repair { to, frame } => hub.repair(to, &frame),
                WriterAction::Event(event) => events.push(event),
                WriterAction::GiveUp { size } => given_up.push(size),
            }
        }
        if !state.closed {
            hub.schedule(self.key(), state.core.poll_timeout());
        }
        let matched = state.core.matched();
        self.matched.send_if_modified(|known| std::mem::replace(known, matched) != matched);
        if events.is_empty() && given_up.is_empty() {
            return state;
        }
        drop(state);
        events.into_iter().for_each(|event| self.events.push(event));
        let broker = self.tx.broker().unwrap_or_default();
        for size in given_up {
            let whole = size <= self.tx.one_piece(&self.topic);
            self.tell_refused(size, broker, if whole { SWALLOWED } else { IN_FRAGMENTS }, true);
        }
        lock(&self.state)
    }
}

impl State {
    /// The time for a sample: exact, unless samples come faster than they can be sent.
    fn stamp(&self) -> Timestamp {
        // Only while the link is busy somebody comes by, the flusher, who ends the sharing.
        self.core.stamp(self.line == Line::Busy)
    }
}

/// What to tell a publisher whose sample found no room.
fn refused(state: &State, room: Room) -> Refused {
    let config = state.core.config();
    match room {
        Room::Made => Refused::Again,
        Room::Lacking(lack @ Lack::Link) => {
            let until = if state.line == Line::Full { Until::Progress } else { Until::Link };
            Refused::Full { lack, what: "batch", limit: config.batch_bytes, until }
        }
        Room::Lacking(lack @ Lack::History) => {
            let limit = config.offered.resource_limits.max_samples;
            Refused::Full { lack, what: "history", limit, until: Until::Progress }
        }
    }
}

pub(super) fn closed() -> Error {
    ErrorKind::Closed { what: "publisher" }.into()
}
