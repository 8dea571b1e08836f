//! A session's publishers and subscribers: routes what the driver brings to them, and runs their timers.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, RwLock, Weak};
use std::time::Duration;

use ahash::HashMap;
use bytes::Bytes;
use tokio::sync::OnceCell;
use tracing::Level;

use super::control::{Message, QUERY_TOPIC};
use super::events::{Events, MatchEvent};
use super::reader_endpoint::ReaderEndpoint;
use super::refused::GivenUp;
use super::via;
use super::writer_endpoint::WriterEndpoint;
use crate::error::Result;
use crate::message::EntityId;
use crate::quiet::{afterwards, count, lock, read, write};
use crate::session::{Holder, Service, SessionCore};
use crate::time::{Mono, Timestamp};
use crate::topic::{Topic, TopicFilter};
use crate::transport::{Event, Locator, Outbound, TransportTx};
use crate::wire::{self, DataFrame, Frame, FramePool, Room};

/// The most topics whose routes are remembered; beyond it the memory starts anew.
const MAX_ROUTES: usize = 65_536;

/// The publish/subscribe service of one session.
pub(crate) struct Hub<Tx> {
    /// Itself, for the tasks that it starts.
    me: Weak<Self>,
    pub(super) core: Arc<SessionCore<Tx>>,
    readers: RwLock<HashMap<Key, Arc<ReaderEndpoint>>>,
    writers: RwLock<HashMap<Key, Arc<WriterEndpoint<Tx>>>>,
    /// Publishers of values without frames.
    pub(super) plain: Mutex<Vec<Arc<WriterEndpoint<Tx>>>>,
    routes: Mutex<HashMap<Topic, Arc<Route>>>,
    timers: Mutex<Timers>,
    hears_queries: OnceCell<()>,
    /// The memory of the frames of all publishers.
    pub(super) pool: FramePool,
    /// How many publishers have a frame that the transport refused, and whose turn it is to wait for room. While there are any,
    /// no other publisher passes them. A turn ends after a while, and then others do.
    pub(super) queueing: AtomicUsize,
    pub(super) turn: tokio::sync::Mutex<()>,
}

/// Who gets the messages of one topic.
struct Route {
    /// The topic as the user knows it: without the prefix of relayed topics.
    topic: Topic,
    readers: Vec<Arc<ReaderEndpoint>>,
}

/// An endpoint of this session. A node's stand-in for a publisher has the publisher's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) id: EntityId,
    pub(super) relayed: bool,
}

#[derive(Default)]
struct Timers {
    due: BTreeSet<(Mono, Key)>,
    of: HashMap<Key, Mono>,
}

impl<Tx: TransportTx> Hub<Tx> {
    /// The session's hub; the first call registers it.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed).
    pub(crate) fn of(core: &Arc<SessionCore<Tx>>) -> Result<Arc<Self>> {
        core.check_open()?;
        let mut new = None;
        let hub = core.shared(|| {
            let hub = Arc::new_cyclic(|me| Self {
                me: me.clone(),
                core: core.clone(),
                readers: RwLock::default(),
                writers: RwLock::default(),
                plain: Mutex::default(),
                routes: Mutex::default(),
                timers: Mutex::default(),
                hears_queries: OnceCell::new(),
                pool: FramePool::default(),
                queueing: AtomicUsize::new(0),
                turn: tokio::sync::Mutex::default(),
            });
            new = Some(hub.clone());
            hub
        });
        if let Some(new) = new {
            core.register(Room::PubSub, new)?;
        }
        Ok(hub)
    }

    /// Adds a publisher's writer and announces it.
    pub(super) async fn add_writer(&self, writer: Arc<WriterEndpoint<Tx>>) -> Result<()> {
        let queries = TopicFilter::new(QUERY_TOPIC)?;
        self.hears_queries
            .get_or_try_init(|| async { self.core.subscribe(&queries).await.map(drop) })
            .await?;
        write(&self.writers).insert(writer.key(), writer.clone());
        // A session that closed meanwhile has said goodbye for those that it knew.
        self.core.check_open()?;
        writer.announce(self, self.core.clock.now());
        Ok(())
    }

    /// Removes a writer, unless another one has taken its place.
    pub(super) fn remove_writer(&self, writer: &Arc<WriterEndpoint<Tx>>) {
        let key = writer.key();
        let mut writers = write(&self.writers);
        if writers.get(&key).is_some_and(|known| Arc::ptr_eq(known, writer)) {
            writers.remove(&key);
            drop(writers);
            lock(&self.timers).clear(key);
        }
    }

    /// Adds a subscriber's reader, subscribes, and asks the writers under its filter to announce themselves.
    pub(super) async fn add_reader(&self, reader: Arc<ReaderEndpoint>) -> Result<()> {
        write(&self.readers).insert(reader.key(), reader.clone());
        lock(&self.routes).clear();
        if let Err(error) = self.core.subscribe_for(reader.wire_filter(), reader.mark()).await {
            self.forget_reader(reader.key());
            return Err(error);
        }
        reader.set_subscribed(true);
        self.query(reader.wire_filter())
    }

    /// Removes a reader; its subscription is taken back in the background.
    pub(super) fn remove_reader(&self, reader: &ReaderEndpoint) {
        // A subscription that was cancelled half way is not this reader's to take back.
        if self.forget_reader(reader.key()) && reader.set_subscribed(false) {
            let (core, filter) = (self.core.clone(), reader.wire_filter().clone());
            // A subscriber may be dropped where no runtime is left; then there is no session to tidy either.
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(async move {
                    if let Err(error) = core.unsubscribe(&filter).await {
                        tracing::debug!(%filter, %error, "could not unsubscribe");
                    }
                });
            }
        }
    }

    /// Sends a message on a topic.
    pub(super) fn announce(&self, topic: &Topic, message: &Message, reliable: bool) {
        if let Some(outbound) = announcement(topic, message, reliable) {
            self.core.post(outbound);
        }
    }

    /// Sends a message to one session, acknowledged where the transport can if it is to be `reliable`.
    pub(super) fn tell(&self, to: Locator, message: &Message, reliable: bool) {
        // Endpoints say it under their lock.
        if tracing::level_enabled!(Level::TRACE) {
            let (to, message) = (to.clone(), message.clone());
            afterwards(move || tracing::trace!(%to, ?message, "tell"));
        }
        if let Ok(payload) = wire::encode_control(Room::PubSub, message) {
            self.core.post(Outbound::peer(to, payload).reliable_if(reliable));
        }
    }

    /// Sends samples again, to one session.
    pub(super) fn repair(&self, to: Locator, frame: &DataFrame) {
        count(|by| metrics::counter!("ringbus_frames_repaired_total").increment(by), 1);
        self.core.post(Outbound::peer(to, frame.bytes().clone()));
    }

    /// Sets an endpoint's timer. The driver is woken if it would sleep past it.
    pub(super) fn schedule(&self, id: Key, at: Mono) {
        let mut timers = lock(&self.timers);
        if timers.of.get(&id).is_some_and(|set| *set == at) {
            return;
        }
        let earliest = timers.due.first().is_none_or(|(first, _)| at < *first);
        timers.clear(id);
        timers.due.insert((at, id));
        timers.of.insert(id, at);
        drop(timers);
        if earliest {
            self.core.wake();
        }
    }

    fn query(&self, filter: &TopicFilter) -> Result<()> {
        let topic = Topic::new(QUERY_TOPIC)?;
        self.announce(&topic, &Message::Query { filter: filter.clone() }, true);
        Ok(())
    }

    fn forget_reader(&self, id: Key) -> bool {
        let known = write(&self.readers).remove(&id).is_some();
        lock(&self.routes).clear();
        lock(&self.timers).clear(id);
        known
    }

    fn route(&self, topic: &Topic) -> Arc<Route> {
        let mut routes = lock(&self.routes);
        if let Some(route) = routes.get(topic) {
            return route.clone();
        }
        let readers =
            read(&self.readers).values().filter(|r| r.wire_filter().matches(topic)).cloned().collect();
        let route = Arc::new(Route { topic: via::user_topic(topic), readers });
        if routes.len() >= MAX_ROUTES {
            routes.clear();
        }
        routes.insert(topic.clone(), route.clone());
        route
    }

    pub(super) fn writer(&self, id: Key) -> Option<Arc<WriterEndpoint<Tx>>> {
        read(&self.writers).get(&id).cloned()
    }

    fn reader(&self, id: Key) -> Option<Arc<ReaderEndpoint>> {
        read(&self.readers).get(&id).cloned()
    }

    /// The readers that a subscription to the filter is, or was, for.
    pub(super) fn readers_of(&self, filter: &TopicFilter) -> Vec<Arc<ReaderEndpoint>> {
        let is_for = |reader: &&Arc<ReaderEndpoint>| reader.wire_filter().intersects(filter);
        read(&self.readers).values().filter(is_for).cloned().collect()
    }

    /// The transport has lost a session, or reaches it again.
    fn on_peer(&self, now: Mono, peer: &Locator, is_there: bool) {
        let readers: Vec<_> = read(&self.readers).values().cloned().collect();
        readers.iter().for_each(|reader| reader.on_peer(self, now, peer, is_there));
        let writers: Vec<_> = read(&self.writers).values().cloned().collect();
        writers.iter().for_each(|writer| writer.on_peer(self, now, peer, is_there));
    }

    /// A publisher of another version is told to the readers of its topic, a subscriber, whose questions cannot be read, to all
    /// writers.
    fn on_other_version(&self, route: &Route, theirs: u8, ours: u8) {
        let writers: Vec<_> = match route.topic.as_str() == QUERY_TOPIC {
            true => read(&self.writers).values().cloned().collect(),
            false => Vec::new(),
        };
        let readers = route.readers.iter().map(|reader| reader.events());
        for events in readers.chain(writers.iter().map(|writer| writer.events())) {
            events.push(MatchEvent::OtherVersion { topic: route.topic.clone(), theirs, ours });
        }
    }

    /// The transport does not reach a peer: those for whom it is attached are told.
    fn on_unreachable(&self, peer: &Locator, reason: &str) {
        let holders = self.core.holders(peer);
        let concerns =
            |id: EntityId| holders.contains(&Holder::User) || holders.contains(&Holder::Entity(id));
        let told: Vec<Events> = {
            let readers = read(&self.readers);
            let writers = read(&self.writers);
            let of_readers =
                readers.iter().filter(|(key, _)| concerns(key.id)).map(|(_, r)| r.events().clone());
            let of_writers =
                writers.iter().filter(|(key, _)| concerns(key.id)).map(|(_, w)| w.events().clone());
            of_readers.chain(of_writers).collect()
        };
        for events in told {
            events.push(MatchEvent::Unreachable { peer: peer.clone(), reason: reason.to_owned() });
        }
    }

    /// The broker refuses the session: who waits for a match is woken, and everybody is told.
    fn on_denied(&self, broker: &str, reason: &str) {
        let mut writers: Vec<_> = read(&self.writers).values().cloned().collect();
        writers.extend(lock(&self.plain).iter().cloned());
        let readers: Vec<_> = read(&self.readers).values().cloned().collect();
        writers.iter().for_each(|writer| writer.on_denied());
        readers.iter().for_each(|reader| reader.wake_matched());
        let events = writers.iter().map(|writer| writer.events());
        for events in events.chain(readers.iter().map(|reader| reader.events())) {
            events.push(MatchEvent::Denied { broker: broker.to_owned(), reason: reason.to_owned() });
        }
    }

    fn announce_matching(&self, now: Mono, filter: &TopicFilter) {
        let matching: Vec<_> =
            read(&self.writers).values().filter(|writer| filter.matches(writer.topic())).cloned().collect();
        matching.iter().for_each(|writer| writer.announce(self, now));
    }

    /// Samples on a topic, for the readers of that topic.
    fn on_data(&self, now: Mono, topic: &Topic, frame: &DataFrame) {
        let (wall, route) = (Timestamp::now(), self.route(topic));
        route.readers.iter().for_each(|reader| reader.on_data(self, now, wall, frame));
    }

    /// A message on a topic, for the readers of that topic.
    fn on_topic_message(&self, now: Mono, topic: &Topic, message: &Message) {
        match message {
            Message::Query { filter } => self.announce_matching(now, filter),
            Message::Heartbeat(_) | Message::WriterBye { .. } => {
                let route = self.route(topic);
                for reader in &route.readers {
                    reader.on_message(self, now, Some(&route.topic), message);
                }
            }
            Message::AckNack(_) | Message::ReaderBye { .. } | Message::Replay(_) => {
                dropped("directed message on a topic");
            }
        }
    }

    /// A message for this session alone.
    fn on_directed_message(&self, now: Mono, from: &Locator, message: &Message) {
        tracing::trace!(%from, ?message, "told by a peer");
        match message {
            Message::AckNack(acknack) => {
                if let Some(writer) = self.writer(Key { id: acknack.writer, relayed: acknack.via_node }) {
                    writer.on_acknack(self, now, from, acknack);
                }
            }
            Message::ReaderBye { reader, writer, via_node } => {
                if let Some(writer) = self.writer(Key { id: *writer, relayed: *via_node }) {
                    writer.on_reader_bye(self, now, from, *reader);
                }
            }
            Message::Replay(replay) => {
                if let Some(reader) = self.reader(Key { id: replay.reader, relayed: false }) {
                    reader.on_message(self, now, None, message);
                }
                // A relay has asked for subscribers.
                if let Some(stand_in) = self.writer(Key { id: replay.writer, relayed: true }) {
                    stand_in.on_replay(self, replay);
                }
            }
            Message::Heartbeat(_) => {
                let readers: Vec<_> = read(&self.readers).values().cloned().collect();
                readers.iter().for_each(|reader| reader.on_message(self, now, None, message));
            }
            Message::Query { .. } | Message::WriterBye { .. } => dropped("topic message to one peer"),
        }
    }
}

impl<Tx: TransportTx> Service for Hub<Tx> {
    fn on_topic(&self, now: Mono, topic: &Topic, payload: &Bytes) {
        if !Frame::is_frame(payload) {
            let (wall, route) = (Timestamp::now(), self.route(topic));
            route.readers.iter().for_each(|reader| reader.on_plain(self, wall, &route.topic, payload, false));
            return;
        }
        match Frame::parse(payload.clone()) {
            Ok(Frame::Data(frame)) => self.on_data(now, topic, &frame),
            Ok(Frame::Control { room: Room::PubSub, body }) => {
                if let Some(message) = decode(topic.as_str(), &body) {
                    self.on_topic_message(now, topic, &message);
                }
            }
            Ok(Frame::Control { .. }) => dropped("wrong room"),
            Err(error) => {
                malformed(topic.as_str(), &error);
                let route = self.route(topic);
                route.readers.iter().for_each(|reader| reader.on_undecodable());
                if let Some((theirs, ours)) = Frame::other_version(payload) {
                    self.on_other_version(&route, theirs, ours);
                }
            }
        }
    }

    /// Samples are put into queues; what control messages ask for is for the driver.
    fn on_topic_at_once(&self, now: Mono, topic: &Topic, payload: &Bytes) -> bool {
        let Ok(Frame::Data(frame)) = Frame::parse(payload.clone()) else { return false };
        self.on_data(now, topic, &frame);
        true
    }

    /// For the subscriber whose subscription has brought it; if that is not known, for all plain ones of the topic.
    fn on_retained(&self, _now: Mono, topic: &Topic, payload: &Bytes, mark: Option<u64>) {
        if Frame::is_frame(payload) {
            // The library has none kept: somebody else has, and it is out of date.
            return dropped("retained frame");
        }
        let (wall, route) = (Timestamp::now(), self.route(topic));
        let is_for = |reader: &&Arc<ReaderEndpoint>| {
            reader.mark().is_some_and(|own| mark.is_none_or(|mark| mark == own))
        };
        let readers = route.readers.iter().filter(is_for);
        readers.for_each(|reader| reader.on_plain(self, wall, &route.topic, payload, true));
    }

    fn on_control(&self, now: Mono, from: &Locator, body: &[u8]) {
        if let Some(message) = decode(from.as_str(), body) {
            self.on_directed_message(now, from, &message);
        }
    }

    fn on_samples(&self, now: Mono, _from: &Locator, frame: DataFrame) {
        let wall = Timestamp::now();
        let readers: Vec<_> = read(&self.readers).values().cloned().collect();
        readers.iter().for_each(|reader| reader.on_repair(self, now, wall, &frame));
    }

    fn on_event(&self, now: Mono, event: &Event) {
        match event {
            Event::PeerDown(peer) => self.on_peer(now, peer, false),
            Event::PeerUp(peer) => self.on_peer(now, peer, true),
            Event::Interest(filter) => self.announce_matching(now, filter),
            Event::Unreachable { peer, reason } => self.on_unreachable(peer, reason),
            Event::Refused { to, size, broker, reason, payload } => {
                self.on_refused(GivenUp { to, size: *size, broker, reason, payload });
            }
            Event::Denied { broker, reason } => self.on_denied(broker, reason),
            Event::SubscriptionRefused { filter, broker, reason } => {
                self.on_subscription_refused(filter, broker, reason);
            }
            Event::Reconnected { .. } => {
                // What was sent meanwhile may be lost: heartbeats show the gaps, queries find new writers.
                let writers: Vec<_> = read(&self.writers).values().cloned().collect();
                writers.iter().for_each(|writer| writer.announce(self, now));
                let filters: Vec<_> = read(&self.readers).values().map(|r| r.wire_filter().clone()).collect();
                for filter in filters {
                    if let Err(error) = self.query(&filter) {
                        tracing::debug!(%error, "could not ask for announcements");
                    }
                }
            }
            _ => {}
        }
    }

    fn on_standstill(&self, now: Mono, stood: Duration) {
        let writers: Vec<_> = read(&self.writers).values().cloned().collect();
        writers.iter().for_each(|writer| writer.on_standstill(now, stood));
        let readers: Vec<_> = read(&self.readers).values().cloned().collect();
        readers.iter().for_each(|reader| reader.on_standstill(now, stood));
    }

    fn on_timeout(&self, now: Mono) -> Option<Mono> {
        loop {
            let id = {
                let mut timers = lock(&self.timers);
                let (at, id) = *timers.due.first()?;
                if at > now {
                    return Some(at);
                }
                timers.clear(id);
                id
            };
            if let Some(reader) = self.reader(id) {
                reader.on_timeout(self, now);
            } else if let Some(writer) = self.writer(id) {
                writer.on_timeout(self, now);
            }
        }
    }

    fn on_close(&self, _now: Mono) {
        let writers: Vec<_> = write(&self.writers).drain().map(|(_, writer)| writer).collect();
        // A service is called through its `Arc`, so it is there.
        if let Some(me) = self.me.upgrade() {
            writers.iter().for_each(|writer| writer.close(&me));
        }
        lock(&self.plain).clear();
        let readers: Vec<_> = write(&self.readers).drain().map(|(_, reader)| reader).collect();
        readers.iter().for_each(|reader| reader.close(self));
    }
}

/// A message on a topic.
pub(super) fn announcement(topic: &Topic, message: &Message, reliable: bool) -> Option<Outbound> {
    let payload = wire::encode_control(Room::PubSub, message).ok()?;
    Some(Outbound::topic(topic.clone(), payload).reliable_if(reliable))
}

impl Timers {
    fn clear(&mut self, id: Key) {
        if let Some(at) = self.of.remove(&id) {
            self.due.remove(&(at, id));
        }
    }
}

/// The message, if it is one and makes sense.
fn decode(origin: &str, body: &[u8]) -> Option<Message> {
    match wire::decode_body::<Message>(body) {
        Ok(message) if message.is_sound() => Some(message.completed()),
        Ok(message) => {
            tracing::debug!(origin, ?message, "dropped a message whose numbers make no sense");
            dropped("malformed");
            None
        }
        Err(error) => {
            malformed(origin, &error);
            None
        }
    }
}

fn malformed(origin: &str, error: &crate::Error) {
    tracing::debug!(origin, %error, "dropped a frame");
    dropped("malformed");
}

fn dropped(cause: &'static str) {
    metrics::counter!("ringbus_frames_dropped_total", "cause" => cause).increment(1);
}
