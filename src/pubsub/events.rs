//! What publishers and subscribers hear about each other.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::message::{Encoding, EntityId};
use crate::qos::Mismatch;
use crate::quiet::afterwards;
use crate::time::Timestamp;
use crate::topic::{Topic, TopicFilter};
use crate::transport::Locator;

/// The most events that wait unread; the oldest give way, and are counted.
pub const EVENT_QUEUE: usize = 1024;

/// How many peers and topics are remembered so that nothing is told twice.
const MAX_TOLD: usize = 65_536;

/// Something happened between this publisher or subscriber and a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MatchEvent {
    /// The peer's QoS fits: samples flow.
    Matched {
        /// The topic that both share.
        topic: Topic,
        /// The other side.
        peer: EntityId,
    },
    /// The peer's QoS does not fit: no samples flow between the two.
    Mismatched {
        /// The topic that both share.
        topic: Topic,
        /// The other side.
        peer: EntityId,
        /// Every policy that stands against it.
        mismatch: Mismatch,
    },
    /// The subscriber expects another encoding than the publisher's: no samples flow between the two. Set the same on
    /// both sides, or [`Encoding::Any`] for a subscriber that takes all.
    EncodingMismatch {
        /// The topic that both share.
        topic: Topic,
        /// The other side.
        peer: EntityId,
        /// What the publisher uses.
        offered: Encoding,
        /// What the subscriber expects.
        requested: Encoding,
    },
    /// A matched peer is gone.
    Departed {
        /// The topic that both shared.
        topic: Topic,
        /// The other side.
        peer: EntityId,
        /// How it went.
        cause: Departure,
    },
    /// Another publisher is heard from now on, under exclusive ownership.
    Takeover {
        /// The instance.
        topic: Topic,
        /// Who was heard before.
        from: EntityId,
        /// Who is heard now.
        to: EntityId,
        /// The last source timestamp that was heard; what the new owner has kept after it is replayed.
        after: Option<Timestamp>,
    },
    /// Another ring node became responsible for the topic.
    Remapped {
        /// The topic, or the filter as text.
        topic: String,
        /// The node that was responsible, by name.
        from: String,
        /// The node that is responsible now, by name.
        to: String,
    },
    /// A subscriber holds this publisher up: for a second the history was full of what it has not acknowledged, and it
    /// acknowledged little. Told once, until the history was half empty again.
    Slow {
        /// The topic that both share.
        topic: Topic,
        /// The subscriber.
        peer: EntityId,
        /// How many samples it has not acknowledged.
        behind: u64,
    },
    /// A message on a topic was no frame of this library: another program sent it. It was dropped and counted as
    /// undecodable; told once a minute for each topic. A subscriber built with
    /// [`plain`](super::SubscriberBuilder::plain) takes such messages as samples.
    Unframed {
        /// The topic.
        topic: Topic,
    },
    /// A peer speaks another version of this library's frames: nothing flows between the two. Told once for each version.
    OtherVersion {
        /// Where it was heard: the subscriber's topic, or, at a publisher, where subscribers ask for announcements.
        topic: Topic,
        /// The peer's version.
        theirs: u8,
        /// This side's version.
        ours: u8,
    },
    /// A peer that the program or a ring has asked for cannot be reached, or what it publishes cannot: nobody answers, its
    /// host name is unknown, there are no file descriptors left. It is tried again as long as it is asked for. Told once, until
    /// it was reached.
    Unreachable {
        /// The peer.
        peer: Locator,
        /// What stands in the way, and what to look at.
        reason: String,
    },
    /// A broker refuses what this publisher sent: it was given up, and everything else goes on.
    Refused {
        /// The topic.
        topic: Topic,
        /// The message's size in bytes: a value, or a frame of many.
        size: usize,
        /// The broker's address.
        broker: String,
        /// What the broker did, and what is likely.
        reason: String,
    },
    /// A broker refuses the session's credentials. It is tried again and again, and until it takes them nothing comes and
    /// nothing goes: what is published fails, and so does waiting for matches and for what was published; a subscriber that
    /// waits for samples goes on waiting. Told once for each reason.
    Denied {
        /// The broker's address, without credentials.
        broker: String,
        /// The broker's reason, and what to look at.
        reason: String,
    },
    /// The broker does not make this subscriber's subscription again, which was in force before: nothing comes by it. It is
    /// tried again when the broker has been away.
    SubscriptionRefused {
        /// What the subscriber asked for.
        filter: TopicFilter,
        /// The broker's address.
        broker: String,
        /// What the broker did, and what is likely.
        reason: String,
    },
    /// So many samples of a writer cannot be had any more.
    Lost {
        /// The topic.
        topic: Topic,
        /// The writer.
        peer: EntityId,
        /// How many samples.
        samples: u64,
    },
    /// A new owner had published so many samples after its predecessor was heard last and before it was chosen itself,
    /// and they were not delivered: by their source times they were heard from the predecessor, or they are no longer
    /// kept. What it publishes as owner is delivered whatever its clock says.
    Skipped {
        /// The instance.
        topic: Topic,
        /// The new owner.
        peer: EntityId,
        /// How many samples.
        samples: u64,
    },
    /// The table of peers is full. For each newcomer another peer gives way: one that was silent for longest, or, where
    /// all speak, one that came last. Told once a minute.
    Crowded {
        /// The topic of the newcomer.
        topic: Topic,
        /// How many peers the table holds.
        limit: usize,
    },
}

/// How a peer went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Departure {
    /// It said goodbye. A subscriber that is heard again all the same did not say that itself: it is matched anew, and has
    /// lost nothing.
    Left,
    /// It was silent for longer than its lease.
    LeaseExpired,
    /// The transport has lost the connection to it, or heard its last will, and it was not back
    /// soon. If it is heard again, it is matched anew and goes on where it was.
    ConnectionLost,
    /// It held the publisher up, whose [`Overflow`](crate::qos::Overflow) is disconnect. When it has caught up, it is
    /// matched anew; what it missed meanwhile it counts as lost.
    TooSlow,
    /// The table of peers was full, and a newcomer took its place: see [`MatchEvent::Crowded`].
    Displaced,
}

/// The events of one publisher or subscriber. Clones share one queue: each event is read once.
#[derive(Debug, Clone, Default)]
pub struct Events {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    ready: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<MatchEvent>,
    overflowed: u64,
    closed: bool,
    /// What was last told of each peer.
    told: HashMap<EntityId, MatchEvent>,
    /// Who was last said to be heard on each topic.
    heard: HashMap<Topic, EntityId>,
    /// Which other versions were told of: as many as a byte can name, at most.
    versions: HashSet<u8>,
}

impl Queue {
    fn is_news(&mut self, event: &MatchEvent) -> bool {
        use MatchEvent::{Departed, EncodingMismatch, Matched, Mismatched, Takeover};
        if self.told.len() + self.heard.len() >= MAX_TOLD {
            self.told.clear();
            self.heard.clear();
        }
        match event {
            MatchEvent::OtherVersion { theirs, .. } => self.versions.insert(*theirs),
            Takeover { topic, to, .. } => self.heard.insert(topic.clone(), *to) != Some(*to),
            Matched { peer, .. }
            | Mismatched { peer, .. }
            | EncodingMismatch { peer, .. }
            | Departed { peer, .. } => {
                let before = self.told.insert(*peer, event.clone());
                match (before, event) {
                    // How a peer went is told by whoever notices first.
                    (Some(Departed { .. }), Departed { .. }) => false,
                    (Some(before), event) => before != *event,
                    (None, _) => true,
                }
            }
            _ => true,
        }
    }
}

impl Events {
    /// The next event; `None` once the publisher or subscriber is closed and all events were read.
    ///
    /// Cancel-safe.
    pub async fn next(&self) -> Option<MatchEvent> {
        loop {
            let ready = self.shared.ready.notified();
            {
                let mut queue = self.lock();
                if let Some(event) = queue.events.pop_front() {
                    if !queue.events.is_empty() {
                        self.shared.ready.notify_one();
                    }
                    return Some(event);
                }
                if queue.closed {
                    self.shared.ready.notify_one();
                    return None;
                }
            }
            ready.await;
        }
    }

    /// The next event, if one is at hand.
    pub fn try_next(&self) -> Option<MatchEvent> {
        self.lock().events.pop_front()
    }

    /// How many events were dropped unread because [`EVENT_QUEUE`] were waiting.
    pub fn overflowed(&self) -> u64 {
        self.lock().overflowed
    }

    /// Adds an event. What both the data path and a registry tell is told once.
    pub(crate) fn push(&self, event: MatchEvent) {
        if !self.lock().is_news(&event) {
            return;
        }
        // The log is the user's code: it may publish, and be told of it.
        let told = event.clone();
        afterwards(move || log(&told));
        let mut queue = self.lock();
        let overflowed = queue.events.len() == EVENT_QUEUE;
        if overflowed {
            queue.events.pop_front();
            queue.overflowed += 1;
        }
        queue.events.push_back(event);
        drop(queue);
        if overflowed {
            afterwards(|| metrics::counter!("ringbus_events_overflowed_total").increment(1));
        }
        self.shared.ready.notify_one();
    }

    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.shared.ready.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn log(event: &MatchEvent) {
    match event {
        // Nothing flows between the two, and whoever waits for a match would not know why.
        MatchEvent::Mismatched { topic, peer, mismatch } => {
            tracing::warn!(%topic, %peer, %mismatch, "no match");
        }
        MatchEvent::EncodingMismatch { topic, peer, offered, requested } => {
            tracing::warn!(%topic, %peer, %offered, %requested, "no match: another encoding");
        }
        MatchEvent::OtherVersion { topic, theirs, ours } => {
            tracing::warn!(%topic, theirs, ours, "a peer speaks another version: bring both to the same release");
        }
        MatchEvent::Unreachable { peer, reason } => {
            tracing::warn!(%peer, reason, "a peer cannot be reached; it is tried again");
        }
        MatchEvent::Unframed { topic } => {
            tracing::warn!(
                %topic,
                "dropped a message without a frame: build the subscriber with .plain() to take those of other programs"
            );
        }
        MatchEvent::Crowded { topic, limit } => {
            tracing::warn!(%topic, limit, "the table of peers is full: others give way to newcomers");
        }
        MatchEvent::SubscriptionRefused { filter, broker, reason } => {
            tracing::warn!(%filter, %broker, %reason, "the broker does not take a subscription any more");
        }
        MatchEvent::Refused { topic, size, broker, reason } => {
            tracing::warn!(%topic, size, %broker, %reason, "the broker does not take what was published");
        }
        event => tracing::debug!(?event, "told"),
    }
}
