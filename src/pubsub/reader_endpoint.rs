//! A reader in its session: the state machine behind a lock, and the subscriber that waits on it.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::task::AtomicWaker;
use tokio::sync::watch;

use super::control::Message;
use super::events::{Events, MatchEvent};
use super::hub::{Hub, Key};
use super::queue::Chunk;
use super::reader::{ReaderAction, ReaderCore, SubscriberStats};
use crate::error::{Error, ErrorKind};
use crate::message::{EntityId, Sample};
use crate::quiet::{MutexGuard, lock};
use crate::time::{Mono, Timestamp};
use crate::topic::{Topic, TopicFilter};
use crate::transport::{Locator, TransportTx};
use crate::wire::DataFrame;

/// A message without a frame is told of once in this time, on so many topics.
const QUIET: Duration = Duration::from_secs(60);
const MAX_STRANGERS: usize = 64;

pub(super) struct ReaderEndpoint {
    id: EntityId,
    wire_filter: TopicFilter,
    /// Whether messages without a frame are samples.
    plain: bool,
    core: Mutex<ReaderCore>,
    ready: AtomicWaker,
    closed: AtomicBool,
    /// Whether the subscriber was told why it has ended.
    failure_told: AtomicBool,
    /// Whether the session counts a subscription for it.
    subscribed: AtomicBool,
    matched: watch::Sender<usize>,
    events: Events,
    strangers: Strangers,
}

/// The topics on which a message without a frame was told of, and when.
#[derive(Default)]
struct Strangers(Mutex<HashMap<Topic, Mono>>);

impl Strangers {
    /// Whether to tell of another one.
    fn is_news(&self, now: Mono, topic: &Topic) -> bool {
        let mut told = lock(&self.0);
        if told.get(topic).is_some_and(|at| now - *at < QUIET) {
            return false;
        }
        told.retain(|_, at| now - *at < QUIET);
        let has_room = told.len() < MAX_STRANGERS;
        if has_room {
            told.insert(topic.clone(), now);
        }
        has_room
    }
}

impl ReaderEndpoint {
    pub(super) fn new(id: EntityId, wire_filter: TopicFilter, plain: bool, core: ReaderCore) -> Self {
        Self {
            id,
            wire_filter,
            plain,
            core: Mutex::new(core),
            ready: AtomicWaker::new(),
            closed: AtomicBool::new(false),
            failure_told: AtomicBool::new(false),
            subscribed: AtomicBool::new(false),
            matched: watch::channel(0).0,
            events: Events::default(),
            strangers: Strangers::default(),
        }
    }

    pub(super) fn id(&self) -> EntityId {
        self.id
    }

    pub(super) fn key(&self) -> Key {
        Key { id: self.id, relayed: false }
    }

    /// The filter as the transport knows it.
    pub(super) fn wire_filter(&self) -> &TopicFilter {
        &self.wire_filter
    }

    /// What marks the retained messages that its subscription brings; `None` if it takes none.
    pub(super) fn mark(&self) -> Option<u64> {
        self.plain.then_some(self.id.entity.into())
    }

    pub(super) fn events(&self) -> &Events {
        &self.events
    }

    pub(super) fn matched(&self) -> watch::Receiver<usize> {
        self.matched.subscribe()
    }

    /// Wakes those that wait for a match, as if their number had changed.
    pub(super) fn wake_matched(&self) {
        self.matched.send_modify(|_| {});
    }

    /// Notes whether it is subscribed; returns what was so before.
    pub(super) fn set_subscribed(&self, subscribed: bool) -> bool {
        self.subscribed.swap(subscribed, Ordering::AcqRel)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Why it has ended, if it could not keep up: once.
    pub(super) fn take_failure(&self, filter: &TopicFilter) -> Option<Error> {
        if !self.is_closed() {
            return None;
        }
        let core = lock(&self.core);
        let missed = core.too_slow().filter(|_| !self.failure_told.swap(true, Ordering::AcqRel))?;
        let limits = core.limits();
        Some(ErrorKind::TooSlow { filter: filter.to_string(), missed, limits }.into())
    }

    pub(super) fn stats(&self) -> SubscriberStats {
        lock(&self.core).stats
    }

    /// Waits until `take` finds something in the queue, or the endpoint is closed (`None`).
    pub(super) fn poll_take<Tx: TransportTx, V>(
        &self,
        hub: &Hub<Tx>,
        cx: &Context<'_>,
        take: impl Fn(&mut ReaderCore) -> Option<V>,
    ) -> Poll<Option<V>> {
        if let Some(taken) = self.take(hub, &take) {
            return Poll::Ready(Some(taken));
        }
        self.ready.register(cx.waker());
        // What came between the look and the registration woke nobody.
        match self.take(hub, &take) {
            Some(taken) => Poll::Ready(Some(taken)),
            None if self.closed.load(Ordering::Acquire) => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    /// Takes something from the queue and, if that makes room, asks for what was refused.
    pub(super) fn take<Tx: TransportTx, V>(
        &self,
        hub: &Hub<Tx>,
        take: impl Fn(&mut ReaderCore) -> Option<V>,
    ) -> Option<V> {
        let mut core = lock(&self.core);
        let taken = take(&mut core)?;
        if core.on_room(|| hub.core.clock.now()) {
            self.run_actions(hub, core);
        }
        Some(taken)
    }

    pub(super) fn on_message<Tx: TransportTx>(
        &self,
        hub: &Hub<Tx>,
        now: Mono,
        topic: Option<&Topic>,
        message: &Message,
    ) {
        let mut core = lock(&self.core);
        match message {
            Message::Heartbeat(heartbeat) => core.on_heartbeat(now, Timestamp::now(), topic, heartbeat),
            Message::WriterBye { writer, epoch, last } => {
                core.on_bye(now, Timestamp::now(), *writer, *epoch, *last);
            }
            Message::Replay(replay) => core.on_replay(now, Timestamp::now(), replay),
            _ => return,
        }
        self.run_actions(hub, core);
    }

    pub(super) fn on_data<Tx: TransportTx>(
        &self,
        hub: &Hub<Tx>,
        now: Mono,
        wall: Timestamp,
        frame: &DataFrame,
    ) {
        let mut core = lock(&self.core);
        core.on_data(now, wall, frame);
        self.run_actions(hub, core);
    }

    /// Takes samples that were sent to this session alone.
    pub(super) fn on_repair<Tx: TransportTx>(
        &self,
        hub: &Hub<Tx>,
        now: Mono,
        wall: Timestamp,
        frame: &DataFrame,
    ) {
        if self.inspect(|core| core.knows(frame.header().writer)) {
            self.on_data(hub, now, wall, frame);
        }
    }

    pub(super) fn on_plain<Tx: TransportTx>(
        &self,
        hub: &Hub<Tx>,
        wall: Timestamp,
        topic: &Topic,
        payload: &Bytes,
        retained: bool,
    ) {
        let mut core = lock(&self.core);
        if self.plain {
            core.on_plain(wall, topic, payload.clone(), retained);
            self.run_actions(hub, core);
        } else {
            core.stats.undecodable += 1;
            drop(core);
            if self.strangers.is_news(hub.core.clock.now(), topic) {
                self.events.push(MatchEvent::Unframed { topic: topic.clone() });
            }
        }
    }

    pub(super) fn on_undecodable(&self) {
        lock(&self.core).stats.undecodable += 1;
    }

    /// The transport has lost a session, or reaches it again.
    pub(super) fn on_peer<Tx: TransportTx>(&self, hub: &Hub<Tx>, now: Mono, peer: &Locator, is_there: bool) {
        let mut core = lock(&self.core);
        match is_there {
            true => core.on_peer_up(peer),
            false => core.on_peer_down(now, peer),
        }
        self.run_actions(hub, core);
    }

    /// The session stood still for so long.
    pub(super) fn on_standstill(&self, now: Mono, stood: Duration) {
        lock(&self.core).stood_still(now, stood);
    }

    pub(super) fn on_timeout<Tx: TransportTx>(&self, hub: &Hub<Tx>, now: Mono) {
        let mut core = lock(&self.core);
        core.on_timeout(now);
        self.run_actions(hub, core);
    }

    /// Says goodbye; what is queued can still be read.
    pub(super) fn close<Tx: TransportTx>(&self, hub: &Hub<Tx>) {
        let mut core = lock(&self.core);
        core.end(hub.core.clock.now());
        self.closed.store(true, Ordering::Release);
        self.run_actions(hub, core);
        // Also wakes whoever waits for more.
        self.matched.send_replace(0);
        self.events.close();
    }

    /// What the subscribers behind a relay have of a writer's samples, and how many they are.
    pub(super) fn set_behind<Tx: TransportTx>(
        &self,
        hub: &Hub<Tx>,
        writer: EntityId,
        subscribers: usize,
        confirmed: u64,
    ) {
        let mut core = lock(&self.core);
        core.set_behind(hub.core.clock.now(), writer, subscribers, confirmed);
        self.run_actions(hub, core);
    }

    /// A subscriber behind a relay asks a writer where a replay begins. `false` if the writer is not
    /// there.
    pub(super) fn ask<Tx: TransportTx>(&self, hub: &Hub<Tx>, writer: EntityId, after: Timestamp) -> bool {
        let mut core = lock(&self.core);
        let asked = core.ask(hub.core.clock.now(), writer, after);
        self.run_actions(hub, core);
        asked
    }

    /// A relay passes a writer's samples on no more.
    pub(super) fn forget<Tx: TransportTx>(&self, hub: &Hub<Tx>, writer: EntityId) {
        let mut core = lock(&self.core);
        core.forget(hub.core.clock.now(), writer);
        self.run_actions(hub, core);
    }

    /// No subscriber wants a relay any more: when it is closed it says goodbye.
    pub(super) fn dismiss(&self) {
        lock(&self.core).dismiss();
    }

    /// Looks at the state machine.
    pub(super) fn inspect<V>(&self, look: impl FnOnce(&ReaderCore) -> V) -> V {
        look(&lock(&self.core))
    }

    fn run_actions<Tx: TransportTx>(&self, hub: &Hub<Tx>, mut core: MutexGuard<'_, ReaderCore>) {
        let mut events = Vec::new();
        while let Some(action) = core.poll_action() {
            match action {
                ReaderAction::Tell { to, message, reliable } => hub.tell(to, &message, reliable),
                ReaderAction::Event(event) => events.push(event),
            }
        }
        if let Some(at) = core.poll_timeout() {
            hub.schedule(self.key(), at);
        }
        if !events.is_empty() {
            self.matched.send_replace(core.matched());
        }
        let too_slow = core.is_too_slow();
        drop(core);
        if too_slow {
            self.end(hub);
        }
        self.ready.wake();
        events.into_iter().for_each(|event| self.events.push(event));
    }

    /// It has left its writers by itself; what is queued can still be read.
    fn end<Tx: TransportTx>(&self, hub: &Hub<Tx>) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        hub.remove_reader(self);
        self.matched.send_replace(0);
        self.events.close();
    }
}

/// Takes one sample, or a whole chunk: under keep-last a chunk must not leave the queue, since newer samples replace
/// what is left of it.
pub(super) fn take_sample<M>(core: &mut ReaderCore) -> Option<Sample<M>> {
    core.queue.pop_sample()
}

/// Takes the unread samples of one frame.
pub(super) fn take_chunk(core: &mut ReaderCore) -> Option<Chunk> {
    core.queue.pop_chunk()
}
