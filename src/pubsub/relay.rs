//! A ring node's stand-in for the publishers of one topic: it follows each of them, keeps what they keep, and passes
//! their frames on under the topic's relay name, with the writers' own identities and numbers. So a subscriber that is
//! moved from one node to another sees the same writers go on, and its gaps and duplicates are found as always.

mod stand_ins;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::events::{Departure, MatchEvent};
use super::hub::Hub;
use super::queue::{Chunk, Content};
use super::reader::ReaderCore;
use super::reader_endpoint::{ReaderEndpoint, take_chunk};
use super::via;
use super::writer::{WriterConfig, WriterCore};
use super::writer_endpoint::WriterEndpoint;
use crate::error::Result;
use crate::message::EntityId;
use crate::qos::ResourceLimits;
use crate::session::Session;
use crate::topic::{Topic, TopicFilter};
use crate::transport::{Transport, TransportTx};
use stand_ins::{Claim, StandIns};

/// What a relay holds between publishers and its own history.
const QUEUE: ResourceLimits = ResourceLimits { max_samples: 16_384, max_bytes: 64 << 20 };
/// How long the samples of a publisher that is gone can still be repaired.
const LINGER: Duration = Duration::from_secs(2);

/// Relays one topic until it is dropped. Dropped without [`dismiss`](Self::dismiss) it falls silent: another
/// node's relay goes on where the subscribers are.
pub(crate) struct Relay {
    task: JoinHandle<()>,
    subscribers: watch::Sender<Vec<EntityId>>,
    reader: Arc<ReaderEndpoint>,
}

impl Relay {
    /// Begins to relay a topic to these reliable subscribers, and to others.
    ///
    /// # Errors
    /// As for building a subscriber; nothing is left behind.
    pub(crate) async fn start<T: Transport>(
        session: &Session<T>,
        topic: &Topic,
        subscribers: Vec<EntityId>,
    ) -> Result<Self> {
        let core = session.core();
        let hub = Hub::of(core)?;
        let id = core.new_entity();
        let reader = ReaderEndpoint::new(id, TopicFilter::from(topic), false, ReaderCore::relay(id, QUEUE));
        let reader = Arc::new(reader);
        let relayed = via::via_topic(topic)?;
        // Made first: if this is cancelled half way, it takes the reader back.
        let (subscribers, awaited) = watch::channel(subscribers);
        let worker = Worker {
            session: session.clone(),
            hub: hub.clone(),
            reader: reader.clone(),
            relayed,
            awaited,
            writers: StandIns::default(),
            retirements: JoinSet::new(),
            lost: HashSet::new(),
        };
        hub.add_reader(reader.clone()).await?;
        Ok(Self { task: tokio::spawn(worker.run()), subscribers, reader })
    }

    /// The reliable subscribers that are registered behind this node have changed.
    pub(crate) fn set_subscribers(&self, subscribers: &[EntityId]) {
        self.subscribers.send_if_modified(|known| {
            let changed = known[..] != *subscribers;
            if changed {
                *known = subscribers.to_vec();
            }
            changed
        });
    }

    /// Ends with a goodbye: no subscriber wants the topic by way of a node any more.
    pub(crate) fn dismiss(self) {
        self.reader.dismiss();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Worker<T: Transport> {
    session: Session<T>,
    hub: Arc<Hub<T::Tx>>,
    reader: Arc<ReaderEndpoint>,
    /// The name of the topic on this node's side.
    relayed: Topic,
    /// The reliable subscribers that are registered behind this node.
    awaited: watch::Receiver<Vec<EntityId>>,
    writers: StandIns<StandIn<T::Tx>>,
    /// Publishers that are gone and have not been let go yet.
    retirements: JoinSet<EntityId>,
    /// Writers of which samples were lost before they came here, and were not passed over yet.
    lost: HashSet<EntityId>,
}

/// One publisher, as this node passes it on.
struct StandIn<Tx> {
    endpoint: Arc<WriterEndpoint<Tx>>,
    /// Set while its publisher is gone; what it holds is true once it is decided whether it ends or goes on.
    retiring: Option<Arc<AtomicBool>>,
    /// Tells the publisher how many subscribers there are behind this node, and how far they are.
    counter: JoinHandle<()>,
}

impl<Tx> StandIn<Tx> {
    /// Whether it was let go.
    fn has_ended(&self) -> bool {
        self.retiring.as_ref().is_some_and(|decided| decided.load(Ordering::Acquire))
    }
}

impl<Tx> Drop for StandIn<Tx> {
    fn drop(&mut self) {
        self.counter.abort();
    }
}

impl<T: Transport> Worker<T> {
    async fn run(mut self) {
        let events = self.reader.events().clone();
        loop {
            let (hub, reader) = (self.hub.clone(), self.reader.clone());
            tokio::select! {
                // Samples first: a departure is acted on when all that came before it is passed on.
                biased;
                chunk = std::future::poll_fn(|cx| reader.poll_take(&hub, cx, take_chunk)) => match chunk {
                    Some(chunk) => self.pass_on(chunk).await,
                    None => return,
                },
                event = events.next() => match event {
                    Some(event) => self.on_event(event).await,
                    None => return,
                },
                Ok(()) = self.awaited.changed() => {
                    let subscribers = self.awaited.borrow_and_update().clone();
                    for stand_in in self.writers.values() {
                        stand_in.endpoint.set_awaited(&self.hub, &subscribers);
                    }
                }
            }
        }
    }

    async fn on_event(&mut self, event: MatchEvent) {
        match event {
            MatchEvent::Matched { peer, .. } => {
                if let Err(error) = self.stand_in(peer).await {
                    tracing::debug!(topic = %self.relayed, writer = %peer, %error, "cannot relay");
                }
            }
            MatchEvent::Departed { peer, cause, .. } => self.retire(peer, cause),
            MatchEvent::Lost { peer, .. } => {
                self.lost.insert(peer);
                self.pass_over_lost();
            }
            _ => {}
        }
    }

    async fn pass_on(&mut self, chunk: Chunk) {
        let Content::Frame(samples) = chunk.content else { return };
        let frame = samples.frame().clone();
        let writer = frame.header().writer;
        if let Err(error) = self.stand_in(writer).await {
            tracing::debug!(topic = %self.relayed, %writer, %error, "cannot relay");
            return;
        }
        let retires = self.writers.get(&writer).is_none_or(|stand_in| stand_in.retiring.is_some());
        if !retires {
            self.writers.has_published(writer);
        }
        // The node arbitrates: what the owner says is passed on, what the others say is kept for their turn.
        let heard = self.writers.owner().is_none_or(|owner| owner == writer);
        let Some(stand_in) = self.writers.get(&writer) else { return };
        if let Err(error) = stand_in.endpoint.relay(&self.hub, &frame, heard).await {
            tracing::debug!(topic = %self.relayed, %writer, %error, "did not relay a frame");
        }
        self.tell_standing(writer);
        self.pass_over_lost();
    }

    /// Where no subscriber is waited for, what was passed on is confirmed.
    fn tell_standing(&self, writer: EntityId) {
        if let Some(stand_in) = self.writers.get(&writer) {
            let (subscribers, confirmed) = stand_in.endpoint.standing();
            self.reader.set_behind(&self.hub, writer, subscribers, confirmed);
        }
    }

    /// Lets the subscribers know what was lost before it came here, once all that came is passed on.
    fn pass_over_lost(&mut self) {
        if self.lost.is_empty() {
            return;
        }
        let next = |reader: &ReaderCore, writer: &EntityId| {
            reader.queue.is_empty().then(|| reader.writer(*writer).map_or(0, |proxy| proxy.next))
        };
        let (hub, reader, writers) = (&self.hub, &self.reader, &self.writers);
        self.lost.retain(|writer| {
            let Some(next) = reader.inspect(|reader| next(reader, writer)) else { return true };
            if let Some(stand_in) = writers.get(writer) {
                stand_in.endpoint.skip_to(hub, next);
            }
            false
        });
    }

    /// Forgets the stand-ins that were let go.
    fn forget_ended(&mut self) {
        while let Some(retired) = self.retirements.try_join_next() {
            let Ok(writer) = retired else { continue };
            if self.writers.get(&writer).is_some_and(StandIn::has_ended) {
                self.writers.remove(writer);
            }
        }
    }

    /// Makes a publisher's stand-in, or brings it up to date.
    async fn stand_in(&mut self, writer: EntityId) -> Result<()> {
        let known = self.reader.inspect(|reader| {
            let proxy = reader.writer(writer)?;
            Some((proxy.offered.clone(), proxy.encoding, proxy.epoch, proxy.began, proxy.last))
        });
        let Some((mut offered, encoding, epoch, began, last)) = known else { return Ok(()) };
        let has_published = last > 0;
        // What a stranger states must not fill this node's memory.
        let (limits, most) = (&mut offered.resource_limits, ResourceLimits::default());
        limits.max_samples = limits.max_samples.min(most.max_samples);
        limits.max_bytes = limits.max_bytes.min(most.max_bytes);
        self.forget_ended();
        let came_late = |stand_in: &mut StandIn<T::Tx>| {
            stand_in.retiring.as_ref().is_some_and(|decided| decided.swap(true, Ordering::AcqRel))
        };
        if self.writers.get_mut(&writer).is_some_and(came_late) {
            self.writers.remove(writer);
        }
        let claim = Claim::of(&offered);
        if let Some(stand_in) = self.writers.get_mut(&writer) {
            let is_back = stand_in.retiring.take().is_some();
            self.writers.set_claim(writer, claim);
            if is_back && has_published {
                self.writers.has_published(writer);
            }
            let Some(stand_in) = self.writers.get(&writer) else { return Ok(()) };
            if is_back {
                // It has come back in time.
                let (subscribers, confirmed) = stand_in.endpoint.standing();
                self.reader.set_behind(&self.hub, writer, subscribers, confirmed);
            }
            stand_in.endpoint.set_offered(&self.hub, &offered);
            return Ok(());
        }
        let core = self.session.core();
        let config = WriterConfig {
            id: writer,
            epoch,
            topic: self.relayed.clone(),
            offered: offered.clone(),
            encoding,
            locator: core.tx.local().clone(),
            max_payload: core.tx.capabilities().max_payload,
            batch_bytes: 0,
            batch_samples: 0,
            brokered: self.hub.core.tx.broker().is_some(),
            lead: bytes::Bytes::new(),
            pool: self.hub.pool.clone(),
        };
        let mut writer_core = WriterCore::new(core.clock.now(), config);
        writer_core.begin_at(began, last);
        writer_core.set_awaited(core.clock.now(), &self.awaited.borrow());
        let endpoint = Arc::new(WriterEndpoint::new(core.tx.clone(), writer_core));
        let counter =
            tokio::spawn(tell_progress(self.hub.clone(), self.reader.clone(), endpoint.clone(), began));
        let stand_in = StandIn { counter, endpoint: endpoint.clone(), retiring: None };
        self.writers.insert(writer, stand_in, claim);
        if has_published {
            self.writers.has_published(writer);
        }
        self.hub.add_writer(endpoint).await
    }

    /// Lets a stand-in go when its publisher is gone: at once if subscribers have everything, soon otherwise.
    fn retire(&mut self, writer: EntityId, cause: Departure) {
        self.forget_ended();
        let Some(stand_in) = self.writers.get_mut(&writer).filter(|known| known.retiring.is_none()) else {
            return;
        };
        let decided = Arc::new(AtomicBool::new(false));
        stand_in.retiring = Some(decided.clone());
        stand_in.endpoint.answer_alone(&self.hub);
        tracing::debug!(topic = %self.relayed, %writer, ?cause, "publisher gone");
        let (hub, endpoint, reader) = (self.hub.clone(), stand_in.endpoint.clone(), self.reader.clone());
        self.writers.is_silent(writer);
        self.retirements.spawn(async move {
            let flushed = async {
                loop {
                    let progress = endpoint.progress();
                    if endpoint.is_flushed() {
                        break;
                    }
                    progress.await;
                }
            };
            let is_flushed = tokio::time::timeout(LINGER, flushed).await.is_ok();
            if !is_flushed {
                tracing::debug!(writer = %endpoint.id(), "a departed publisher's samples were not all acknowledged");
            }
            if decided.swap(true, Ordering::AcqRel) {
                return writer;
            }
            if is_flushed || cause != Departure::ConnectionLost {
                endpoint.close(&hub);
            } else {
                // It may come back, with what the subscribers miss.
                endpoint.abandon();
            }
            hub.remove_writer(&endpoint);
            reader.forget(&hub, writer);
            writer
        });
    }
}

impl<T: Transport> Drop for Worker<T> {
    fn drop(&mut self) {
        self.hub.remove_reader(&self.reader);
        self.reader.close(&*self.hub);
        for stand_in in self.writers.drain() {
            stand_in.endpoint.abandon();
            self.hub.remove_writer(&stand_in.endpoint);
        }
    }
}

/// Tells a publisher how far the subscribers behind this node are, whenever they get on, and passes on what they ask it.
async fn tell_progress<Tx: TransportTx>(
    hub: Arc<Hub<Tx>>,
    reader: Arc<ReaderEndpoint>,
    endpoint: Arc<WriterEndpoint<Tx>>,
    began: u64,
) {
    let mut told = (0, began);
    while !endpoint.is_closed() {
        // Registered before looking, so that no progress in between is missed.
        let progress = endpoint.progress();
        let standing = endpoint.standing();
        if standing != told {
            told = standing;
            reader.set_behind(&hub, endpoint.id(), standing.0, standing.1);
        }
        for after in endpoint.questions() {
            if !reader.ask(&hub, endpoint.id(), after) {
                endpoint.answer_alone(&hub);
            }
        }
        progress.await;
    }
}
