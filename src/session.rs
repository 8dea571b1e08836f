//! One transport, one identity, one driver loop. The session knows neither publishers nor ring nodes: they register
//! as services.

mod acquaintances;
mod addressee;
mod alarm;
mod at_once;
mod attachments;
mod bell;
mod connections;
mod driver;
mod gather;
mod listeners;
mod outbox;
mod standstill;
mod turn;

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};

use bytes::Bytes;
use serde::Serialize;

use crate::error::{ErrorKind, Result};
use crate::message::{Encoding, EntityId, SessionId};
use crate::quiet::{afterwards, lock, read, write};
use crate::time::{Clock, Mono};
use crate::topic::{Topic, TopicFilter};
use crate::transport::{
    Capabilities, Destination, Event, Locator, OpenOptions, Outbound, Transport, TransportRx, TransportTx,
    Undelivered,
};
use crate::wire::{self, DataFrame, Room};

pub(crate) use acquaintances::Acquaintances;
use alarm::Alarm;
use at_once::AtOnce;
use attachments::Attachments;
pub(crate) use attachments::Holder;
use connections::Connections;
pub use connections::{ConnectionEvent, ConnectionEvents};
use listeners::Listeners;
pub(crate) use listeners::Listening;
use outbox::Outbox;
use turn::Turns;

/// The most messages of a session to itself that wait for its driver.
const LOOPBACK: usize = 8192;

/// One endpoint on one transport: the root of publishers, subscribers and ring nodes.
///
/// Clones share the endpoint. It stays open as long as a clone, or anything built from one, is alive; dropping the last
/// disconnects without flushing, [`close`](Self::close) flushes first.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> ringbus::Result<()> {
/// use ringbus::transport::{MemoryTransport, memory::Network};
/// use ringbus::Session;
///
/// let network = Network::new();
/// let session = Session::open(MemoryTransport::new(&network, "a")).await?;
/// assert_eq!(session.local().as_str(), "memory:a");
/// # Ok(()) }
/// ```
pub struct Session<T: Transport> {
    core: Arc<SessionCore<T::Tx>>,
    /// The last handle's drop ends the driver.
    handle: Arc<Handle>,
}

/// How a session is opened.
#[derive(Debug, Clone, Default)]
pub struct SessionOptions {
    /// The transport's limits.
    pub transport: OpenOptions,
}

impl<T: Transport> Session<T> {
    /// Opens the transport and starts the session's driver on the current tokio runtime.
    ///
    /// # Errors
    /// The transport's: an address in use, a broker that is not there. Nothing stays open.
    ///
    /// # Panics
    /// Outside a tokio runtime. It has to have time and I/O enabled, as those of `#[tokio::main]` have: the session's tasks panic
    /// without.
    pub async fn open(transport: T) -> Result<Self> {
        Self::open_with(transport, SessionOptions::default()).await
    }

    /// Like [`open`](Self::open), with limits of its own.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub async fn open_with(transport: T, options: SessionOptions) -> Result<Self> {
        let (tx, mut rx) = transport.open(options.transport).await?;
        let (outbox, outbox_task) = outbox::new(tx.clone());
        let (stop, stopped) = watch::channel(false);
        let (loopback, looped_back) = mpsc::channel(LOOPBACK);
        let core = Arc::new(SessionCore {
            id: SessionId(rand::random()),
            clock: Clock::start(),
            tx,
            outbox,
            loopback,
            attachments: Attachments::default(),
            connections: Connections::default(),
            services: RwLock::default(),
            listeners: Listeners::default(),
            shared: Mutex::default(),
            subscriptions: tokio::sync::Mutex::default(),
            entities: AtomicU32::new(0),
            closed: AtomicBool::new(false),
            wake: Notify::new(),
            turns: Arc::default(),
            alarm: Alarm::default(),
            sending: watch::channel(0).0,
            runtime: tokio::runtime::Handle::current(),
            stopped: stopped.clone(),
        });
        rx.set_sink(Arc::new(AtOnce::new(&core)));
        tokio::spawn(outbox_task.run(stopped.clone()));
        tokio::spawn(driver::run(core.clone(), rx, looped_back, stopped));
        Ok(Self { core, handle: Arc::new(Handle { stop }) })
    }

    /// This session's identity, drawn at random.
    pub fn id(&self) -> SessionId {
        self.core.id
    }

    /// The address under which peers reach this session.
    pub fn local(&self) -> &Locator {
        self.core.tx.local()
    }

    /// What the transport can do.
    pub fn capabilities(&self) -> &Capabilities {
        self.core.tx.capabilities()
    }

    /// What becomes of the session's connections from now on: peers that come and go, the broker lost and found. For programs
    /// that show it; nothing has to be done about it. Listen before [`attach`](Self::attach) to miss nothing.
    pub fn connection_events(&self) -> ConnectionEvents {
        self.core.connections.listen()
    }

    /// Connects to a peer and stays connected. Over a broker there is no need to.
    ///
    /// The peer need not be there yet, nor its host name be known: it is tried until [`detach`](Self::detach). One that cannot
    /// be reached is told as [`MatchEvent::Unreachable`](crate::pubsub::MatchEvent::Unreachable), and logged.
    ///
    /// # Errors
    /// [`ErrorKind::ForeignLocator`], [`ErrorKind::InvalidAddress`], [`ErrorKind::Closed`], [`ErrorKind::Full`] if the transport
    /// has no place for one more peer.
    pub async fn attach(&self, peer: &Locator) -> Result<()> {
        self.core.check_open()?;
        self.core.attachments.attach(&self.core.tx, Holder::User, peer).await
    }

    /// Lets go of a peer, unless a ring has introduced it to a publisher or subscriber that is still alive.
    ///
    /// # Errors
    /// [`ErrorKind::ForeignLocator`], [`ErrorKind::Closed`].
    pub async fn detach(&self, peer: &Locator) -> Result<()> {
        self.core.attachments.detach(&self.core.tx, Holder::User, peer).await
    }

    /// Says goodbye for every publisher, subscriber and node of this session, flushes until the deadline and
    /// disconnects. A node of the successor ring hands its pairs over first. Every later call on anything of this session fails with [`ErrorKind::Closed`].
    ///
    /// # Errors
    /// The transport's, if it cannot even disconnect.
    pub async fn close(&self, deadline: Duration) -> Result<Undelivered> {
        let started = self.core.clock.now();
        // Before the goodbyes: whatever is built from now on is refused, so that nobody is missed.
        self.core.closed.store(true, Ordering::Release);
        for service in self.core.services() {
            service.on_closing(self.core.clock.now());
        }
        let mut sending = self.core.sending.subscribe();
        let sent = async { sending.wait_for(|sending| *sending == 0).await.is_ok() };
        if tokio::time::timeout(deadline, sent).await.is_err() {
            tracing::debug!("closing with samples unsent");
        }
        let left = || deadline.saturating_sub(self.core.clock.now() - started);
        self.core.outbox.drained(&self.core.tx, left()).await;
        let left = left();
        let undelivered = self.core.tx.close(left).await;
        self.handle.stop.send_replace(true);
        undelivered
    }

    pub(crate) fn core(&self) -> &Arc<SessionCore<T::Tx>> {
        &self.core
    }
}

impl<T: Transport> Clone for Session<T> {
    fn clone(&self) -> Self {
        Self { core: self.core.clone(), handle: self.handle.clone() }
    }
}

impl<T: Transport> fmt::Debug for Session<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.core.id).field("local", self.local()).finish()
    }
}

struct Handle {
    stop: watch::Sender<bool>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// A part of the library that takes a session's messages. Called by the driver: it must not block.
pub(crate) trait Service: Send + Sync + 'static {
    /// A message on a topic.
    fn on_topic(&self, _now: Mono, _topic: &Topic, _payload: &Bytes) {}

    /// A message on a topic that the broker has kept, brought by the subscription with this mark, if that is known.
    fn on_retained(&self, now: Mono, topic: &Topic, payload: &Bytes, _mark: Option<u64>) {
        self.on_topic(now, topic, payload);
    }

    /// As [`on_topic`](Self::on_topic), but not by the driver: by whoever has noticed the message, the runtime's reactor for
    /// instance, perhaps while the driver calls the service for something else. `false` if that is not the place to do what the
    /// message asks for; then it comes by `on_topic`.
    fn on_topic_at_once(&self, _now: Mono, _topic: &Topic, _payload: &Bytes) -> bool {
        false
    }

    /// The body of a control message of this service's room, sent to this session alone.
    fn on_control(&self, _now: Mono, _from: &Locator, _body: &[u8]) {}

    /// Samples that were sent to this session alone.
    fn on_samples(&self, _now: Mono, _from: &Locator, _frame: DataFrame) {}

    /// All that was read in one go has been handed out. Whether to let the tasks that are ready have their turn before more
    /// is read; if the service knows that they have had it, it [says](SessionCore::turn_over) so.
    fn on_read(&self) -> bool {
        false
    }

    /// The driver was woken. Whether to let the tasks that are ready have their turn, because there may be more of what it
    /// was woken for when they have.
    fn expects_more(&self) -> bool {
        false
    }

    /// As [`on_control`](Self::on_control), in the way of [`on_topic_at_once`](Self::on_topic_at_once).
    fn on_control_at_once(&self, _now: Mono, _from: &Locator, _body: &[u8]) -> bool {
        false
    }

    /// Anything else that the transport has to tell.
    fn on_event(&self, _now: Mono, _event: &Event) {}

    /// The session has done nothing that was due for so long, and has now read what came meanwhile. Right after this the
    /// service is [asked](Self::on_timeout) for what is due: what must not run out while nothing is said or heard is put off here.
    fn on_standstill(&self, _now: Mono, _stood: Duration) {}

    /// Does what is due, and says when to come back.
    fn on_timeout(&self, now: Mono) -> Option<Mono>;

    /// The session is told to close: say goodbye. It stays open while [`SessionCore::sending`] counts anybody, up to its
    /// deadline.
    fn on_closing(&self, now: Mono) {
        self.on_close(now);
    }

    /// The session closes, or has closed: say goodbye, wake whoever waits. May be called twice.
    fn on_close(&self, now: Mono);
}

/// The services of the rooms, by [`Room::index`].
type Rooms = [Option<Arc<dyn Service>>; Room::COUNT];

/// What the handles, the driver and the services share.
pub(crate) struct SessionCore<Tx> {
    pub(crate) id: SessionId,
    pub(crate) clock: Clock,
    pub(crate) tx: Tx,
    outbox: Outbox,
    loopback: mpsc::Sender<Bytes>,
    attachments: Attachments,
    connections: Connections,
    services: RwLock<Rooms>,
    listeners: Listeners,
    shared: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
    subscriptions: tokio::sync::Mutex<HashMap<TopicFilter, usize>>,
    entities: AtomicU32,
    closed: AtomicBool,
    wake: Notify,
    turns: Arc<Turns>,
    /// When the driver looks at the timers at the latest; see [`Alarm`].
    alarm: Alarm,
    /// How many publishers wait for the transport with samples that they have taken, and nodes hand over.
    pub(crate) sending: watch::Sender<usize>,
    /// Where the session's own tasks run: publishers may live on other runtimes, or on a thread that has none.
    pub(crate) runtime: tokio::runtime::Handle,
    stopped: watch::Receiver<bool>,
}

impl<Tx: TransportTx> SessionCore<Tx> {
    /// An identity for a new publisher, subscriber or node.
    pub(crate) fn new_entity(&self) -> EntityId {
        EntityId { session: self.id, entity: self.entities.fetch_add(1, Ordering::Relaxed) + 1 }
    }

    /// The session's one value of a type, made when it is first asked for.
    pub(crate) fn shared<S: Send + Sync + 'static>(&self, make: impl FnOnce() -> Arc<S>) -> Arc<S> {
        let mut shared = lock(&self.shared);
        let any = shared.entry(TypeId::of::<S>()).or_insert_with(|| make()).clone();
        any.downcast::<S>().unwrap_or_else(|_| unreachable!("values are kept under their own type"))
    }

    /// Sends a room's messages to a service from now on.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if the room is taken, [`ErrorKind::Closed`].
    pub(crate) fn register(&self, room: Room, service: Arc<dyn Service>) -> Result<()> {
        self.check_open()?;
        let mut services = write(&self.services);
        let place = &mut services[room.index()];
        if place.is_some() {
            return Err(ErrorKind::InvalidArgument {
                what: "session",
                value: self.tx.local().to_string(),
                reason: format!("it already runs a {room:?}: open another session for a second one"),
            }
            .into());
        }
        *place = Some(service);
        drop(services);
        self.wake.notify_one();
        Ok(())
    }

    /// Ends [`register`](Self::register).
    pub(crate) fn unregister(&self, room: Room) {
        let service = write(&self.services)[room.index()].take();
        // Not under the lock: its end may come back to it.
        drop(service);
    }

    /// Lets a service hear topics and events beside those of the rooms.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`].
    fn listen(&self, service: Arc<dyn Service>) -> Result<u64> {
        let id = self.listeners.add(service);
        // Asked afterwards: either this sees the close, or the close sees the listener.
        if let Err(error) = self.check_open() {
            self.listeners.remove(id);
            return Err(error);
        }
        self.wake.notify_one();
        Ok(id)
    }

    /// Ends [`listen`](Self::listen).
    fn unlisten(&self, id: u64) {
        self.listeners.remove(id);
    }

    /// Waits until the session has closed or its last handle was dropped.
    pub(crate) async fn stopped(&self) {
        // An error says that the handle is gone.
        drop(self.stopped.clone().wait_for(|stopped| *stopped).await);
    }

    /// A service's next deadline may have come closer: the driver asks again.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Those whom a service has woken when it was [told](Service::on_read) that all is handed out have had their turn.
    pub(crate) fn turn_over(&self) {
        self.turns.end();
    }

    /// A service's next deadline is `at` now: the driver asks again if it would come too late.
    pub(crate) fn wake_by(&self, at: Option<Mono>) {
        if at.is_some_and(|at| self.alarm.is_after(at)) {
            self.wake.notify_one();
        }
    }

    /// Hands a control message over: at once if the transport takes it, through the bounded outbox if it is busy. The
    /// protocols repeat what matters, so what does not fit is dropped and counted.
    pub(crate) fn post(&self, outbound: Outbound) {
        match outbound.to {
            Destination::Peer(peer) if peer == *self.tx.local() => self.post_to_self(outbound.payload),
            _ => self.outbox.post(&self.tx, outbound),
        }
    }

    /// As [`post`](Self::post), to one peer, of a message that is not encoded yet.
    ///
    /// # Errors
    /// [`ErrorKind::Encode`]; nothing is sent.
    pub(crate) fn post_control<M: Serialize>(&self, to: &Locator, room: Room, message: &M) -> Result<()> {
        self.post_control_with(to, room, |out| Encoding::Postcard.encode(message, out))
    }

    /// As [`post_control`](Self::post_control), of a message that `write` appends.
    ///
    /// # Errors
    /// Those of `write`; nothing is sent.
    pub(crate) fn post_control_with(
        &self,
        to: &Locator,
        room: Room,
        write: impl Fn(&mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        if to == self.tx.local() {
            self.post_to_self(wire::encode_control_with(room, write)?);
            return Ok(());
        }
        self.outbox.post_control(&self.tx, to, room, write)
    }

    /// Attaches to a peer on behalf of a part of the library.
    pub(crate) async fn attach(&self, by: EntityId, peer: &Locator) -> Result<()> {
        self.attachments.attach(&self.tx, Holder::Entity(by), peer).await
    }

    /// Ends [`attach`](Self::attach).
    pub(crate) async fn detach(&self, by: EntityId, peer: &Locator) -> Result<()> {
        self.attachments.detach(&self.tx, Holder::Entity(by), peer).await
    }

    /// On whose behalf a peer is attached.
    pub(crate) fn holders(&self, peer: &Locator) -> Vec<Holder> {
        self.attachments.holders(peer)
    }

    /// A node and a client may share a session.
    fn post_to_self(&self, payload: Bytes) {
        if self.loopback.try_send(payload).is_err() {
            let cause = "loopback full";
            afterwards(move || {
                metrics::counter!("ringbus_control_dropped_total", "cause" => cause).increment(1);
            });
        }
    }

    /// Subscribes once for all who ask for the same filter. Says whether the subscription is new.
    pub(crate) async fn subscribe(&self, filter: &TopicFilter) -> Result<bool> {
        self.subscribe_for(filter, None).await
    }

    /// As [`subscribe`](Self::subscribe). With a mark, what the broker has kept comes once for each call, marked so.
    pub(crate) async fn subscribe_for(&self, filter: &TopicFilter, mark: Option<u64>) -> Result<bool> {
        self.check_open()?;
        let mut subscriptions = self.subscriptions.lock().await;
        let new = !subscriptions.contains_key(filter);
        match mark.filter(|_| self.tx.capabilities().retained) {
            Some(mark) => self.tx.subscribe_retained(filter, mark).await?,
            None if new => self.tx.subscribe(filter).await?,
            None => {}
        }
        *subscriptions.entry(filter.clone()).or_default() += 1;
        Ok(new)
    }

    /// Ends one [`subscribe`](Self::subscribe).
    pub(crate) async fn unsubscribe(&self, filter: &TopicFilter) -> Result<()> {
        let mut subscriptions = self.subscriptions.lock().await;
        let Some(count) = subscriptions.get_mut(filter) else { return Ok(()) };
        *count -= 1;
        if *count == 0 {
            subscriptions.remove(filter);
            self.tx.unsubscribe(filter).await?;
        }
        Ok(())
    }

    /// The error for a locator that this session's transport cannot reach.
    pub(crate) fn foreign(&self, locator: &Locator) -> crate::Error {
        let expected = self.tx.capabilities().name;
        ErrorKind::ForeignLocator { locator: locator.to_string(), expected }.into()
    }

    /// Fails once the session is closed.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`].
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            Err(ErrorKind::Closed { what: "session" }.into())
        } else {
            Ok(())
        }
    }

    fn service(&self, room: Room) -> Option<Arc<dyn Service>> {
        read(&self.services)[room.index()].clone()
    }

    /// Those of the rooms and the listeners, as they are now.
    fn services(&self) -> impl Iterator<Item = Arc<dyn Service>> {
        let rooms = read(&self.services).clone();
        let listeners = self.listeners.all();
        let listeners = (0..listeners.len()).map(move |at| listeners[at].1.clone());
        rooms.into_iter().flatten().chain(listeners)
    }

    /// Services hold the session's core: without this the two would keep each other alive.
    fn forget_services(&self) {
        self.closed.store(true, Ordering::Release);
        self.connections.end();
        drop(std::mem::take(&mut *write(&self.services)));
        self.listeners.clear();
        lock(&self.shared).clear();
    }
}
