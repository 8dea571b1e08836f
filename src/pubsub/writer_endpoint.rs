//! A writer in its session: the state machine behind a lock, and the way of its frames into the transport.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::control::{AckNack, Message};
use super::events::Events;
use super::hub::{Hub, Key, announcement};
use super::publisher_stats::PublisherStats;
use super::via;
use super::writer::{Lack, Room, WriterAction, WriterConfig, WriterCore};
use crate::error::{Error, ErrorKind, Result};
use crate::message::EntityId;
use crate::qos::{Offered, Overflow, Reliability};
use crate::session::lock;
use crate::time::{Mono, Timestamp};
use crate::topic::Topic;
use crate::transport::{Locator, Outbound, TransportTx, TrySendError};
use crate::wire::DataFrame;

/// A link that takes nothing for so long is spoken of.
const LINK_PATIENCE: Duration = Duration::from_secs(2);

pub(super) struct WriterEndpoint<Tx> {
    id: EntityId,
    topic: Topic,
    reliable: bool,
    overflow: Overflow,
    tx: Tx,
    state: Mutex<State>,
    /// The open batch, the history or the link has room again, or something was acknowledged.
    progress: Notify,
    matched: watch::Sender<usize>,
    events: Events,
}

struct State {
    core: WriterCore,
    /// A task waits for the link; until it is done the open batch grows.
    busy: bool,
    closed: bool,
    /// Closed without a goodbye.
    silent: bool,
    /// The newest announcement, made while a frame waits for the link: it must not overtake that frame.
    behind: Option<Message>,
}

/// Why a sample was not taken.
#[derive(Debug)]
pub(super) enum Refused {
    /// For now.
    Full { lack: Lack, what: &'static str, limit: usize },
    /// Older samples have given way: there is room if it is tried again. Whoever can wait lets others run first.
    Again,
    /// For good.
    Failed(Error),
}

impl<Tx: TransportTx> WriterEndpoint<Tx> {
    pub(super) fn new(tx: Tx, core: WriterCore) -> Self {
        let WriterConfig { id, topic, offered, .. } = core.config().clone();
        Self {
            id,
            topic,
            reliable: offered.reliability == Reliability::Reliable,
            overflow: offered.overflow,
            tx,
            state: Mutex::new(State { core, busy: false, closed: false, silent: false, behind: None }),
            progress: Notify::new(),
            matched: watch::channel(0).0,
            events: Events::default(),
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

    /// Appends a sample, and sends it if the link is idle.
    pub(super) fn try_push(
        self: &Arc<Self>,
        hub: &Arc<Hub<Tx>>,
        source: Option<Timestamp>,
        write: impl FnOnce(&mut Vec<u8>) -> Result<()>,
    ) -> Result<(), Refused> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(Refused::Failed(closed()));
        }
        if !state.core.has_room() {
            let room = state.core.make_room(hub.core.clock.now());
            return Err(state.core.refused(room));
        }
        let (wall, limit) = (Timestamp::now(), state.core.config().max_payload);
        if let Err(error) = state.core.push(wall, source.unwrap_or(wall), write) {
            return Err(match error.kind() {
                // It would fit into a frame of its own, but not into the open one.
                ErrorKind::PayloadTooLarge { size, .. } if *size <= limit => {
                    let room = state.core.put_off_batch(hub.core.clock.now());
                    state.core.refused(room)
                }
                ErrorKind::PayloadTooLarge { .. } => {
                    state.core.count_oversize();
                    Refused::Failed(error)
                }
                _ => Refused::Failed(error),
            });
        }
        if state.busy {
            return Ok(());
        }
        let now = hub.core.clock.now();
        let frame = state.core.seal(now);
        let sent = frame.map_or(Ok(()), |frame| self.send(hub, &mut state, &frame));
        self.run_actions(hub, state);
        sent.map_err(Refused::Failed)
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
                if !state.busy && state.core.history_has_room() {
                    state.core.ingest(hub.core.clock.now(), frame)?;
                    let sent = if forward { self.send(hub, &mut state, frame) } else { Ok(()) };
                    self.run_actions(hub, state);
                    return sent;
                }
            }
            progress.await;
        }
    }

    /// What the relayed writer offers now.
    pub(super) fn set_offered(&self, hub: &Hub<Tx>, offered: &Offered) {
        let mut state = lock(&self.state);
        if state.core.config().offered != *offered {
            state.core.set_offered(offered.clone());
            state.core.announce(hub.core.clock.now());
            self.run_actions(hub, state);
        }
    }

    /// What gives way where there is no room.
    pub(super) fn overflow(&self) -> Overflow {
        self.overflow
    }

    pub(super) fn stats(&self) -> PublisherStats {
        *lock(&self.state).core.stats()
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

    /// Whether everything was handed to the transport and, if reliable, acknowledged by every matched reader.
    pub(super) fn is_flushed(&self) -> bool {
        let state = lock(&self.state);
        state.closed || (!state.busy && state.core.all_acknowledged())
    }

    pub(super) fn is_closed(&self) -> bool {
        lock(&self.state).closed
    }

    pub(super) fn announce(&self, hub: &Hub<Tx>, now: Mono) {
        let mut state = lock(&self.state);
        state.core.announce(now);
        self.run_actions(hub, state);
    }

    pub(super) fn on_acknack(&self, hub: &Hub<Tx>, now: Mono, from: &Locator, acknack: &AckNack) {
        let mut state = lock(&self.state);
        state.core.on_acknack(now, from, acknack.clone());
        self.run_actions(hub, state);
        self.progress.notify_waiters();
    }

    pub(super) fn on_reader_bye(&self, hub: &Hub<Tx>, _now: Mono, reader: EntityId) {
        let mut state = lock(&self.state);
        state.core.on_reader_bye(reader);
        self.run_actions(hub, state);
        self.progress.notify_waiters();
    }

    pub(super) fn on_timeout(&self, hub: &Hub<Tx>, now: Mono) {
        let mut state = lock(&self.state);
        state.core.on_timeout(now);
        self.run_actions(hub, state);
        self.progress.notify_waiters();
    }

    /// Says goodbye, behind whatever still waits for the link.
    pub(super) fn close(&self, hub: &Hub<Tx>) {
        let mut state = lock(&self.state);
        if std::mem::replace(&mut state.closed, true) {
            return;
        }
        if !state.busy {
            state.core.leave();
        }
        self.run_actions(hub, state);
        self.events.close();
        self.progress.notify_waiters();
    }

    /// Falls silent without a goodbye: another node stands in from now on.
    pub(super) fn abandon(&self) {
        let mut state = lock(&self.state);
        (state.closed, state.silent) = (true, true);
        drop(state);
        self.events.close();
        self.progress.notify_waiters();
    }

    fn outbound(&self, frame: &DataFrame) -> Outbound {
        Outbound { reliable: self.reliable, ..Outbound::topic(self.topic.clone(), frame.bytes().clone()) }
    }

    fn send(self: &Arc<Self>, hub: &Arc<Hub<Tx>>, state: &mut State, frame: &DataFrame) -> Result<()> {
        match self.tx.try_send(self.outbound(frame)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Failed(error)) => Err(error),
            Err(TrySendError::Full(outbound)) => {
                state.busy = true;
                hub.core.sending.send_modify(|sending| *sending += 1);
                tokio::spawn(self.clone().drain(hub.clone(), outbound));
                Ok(())
            }
        }
    }

    /// Waits for the link in the publisher's stead, then sends what has gathered meanwhile, until nothing has.
    async fn drain(self: Arc<Self>, hub: Arc<Hub<Tx>>, outbound: Outbound) {
        let mut batch = vec![outbound];
        loop {
            let sent = self.send_patiently(&mut batch).await;
            let mut state = lock(&self.state);
            if let Err(error) = sent {
                tracing::debug!(topic = %self.topic, %error, "could not send");
            }
            batch.clear();
            let behind = state.behind.take();
            batch.extend(behind.and_then(|message| announcement(&self.topic, &message, self.reliable)));
            batch.extend(state.core.next_frame(hub.core.clock.now()).map(|frame| self.outbound(&frame)));
            if batch.is_empty() {
                state.busy = false;
                if state.closed && !state.silent {
                    state.core.leave();
                }
            }
            self.run_actions(&hub, state);
            self.progress.notify_waiters();
            if batch.is_empty() {
                hub.core.sending.send_modify(|sending| *sending -= 1);
                return;
            }
        }
    }

    /// Sends, however long it takes. That it takes long is not kept quiet: a transport does not say who holds it up.
    async fn send_patiently(&self, batch: &mut Vec<Outbound>) -> Result<()> {
        let mut sending = std::pin::pin!(self.tx.send_batch(batch));
        match tokio::time::timeout(LINK_PATIENCE, &mut sending).await {
            Ok(sent) => sent,
            Err(_) => {
                tracing::warn!(topic = %self.topic, "the link has taken nothing for {LINK_PATIENCE:?}: does a peer not receive?");
                metrics::counter!("ringbus_links_stuck_total").increment(1);
                sending.await
            }
        }
    }

    fn run_actions(&self, hub: &Hub<Tx>, mut state: MutexGuard<'_, State>) {
        let mut events = Vec::new();
        while let Some(action) = state.core.poll_action() {
            match action {
                WriterAction::Announce(message) if state.busy => state.behind = Some(message),
                WriterAction::Announce(message) => hub.announce(&self.topic, &message, self.reliable),
                WriterAction::Tell { to, message } => hub.tell(to, &message),
                WriterAction::Repair { to, frame } => hub.repair(to, &frame),
                WriterAction::Event(event) => events.push(event),
            }
        }
        if !state.closed {
            hub.schedule(self.key(), state.core.poll_timeout());
        }
        let matched = state.core.matched();
        self.matched.send_if_modified(|known| std::mem::replace(known, matched) != matched);
        drop(state);
        events.into_iter().for_each(|event| self.events.push(event));
    }
}

impl WriterCore {
    fn refused(&self, room: Room) -> Refused {
        let config = self.config();
        match room {
            Room::Made => Refused::Again,
            Room::Lacking(lack @ Lack::Link) => {
                Refused::Full { lack, what: "batch", limit: config.batch_bytes }
            }
            Room::Lacking(lack @ Lack::History) => {
                Refused::Full { lack, what: "history", limit: config.offered.resource_limits.max_samples }
            }
        }
    }
}

pub(super) fn closed() -> Error {
    ErrorKind::Closed { what: "publisher" }.into()
}
