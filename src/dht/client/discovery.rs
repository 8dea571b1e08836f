//! Publishers and subscribers on the ring: registered as long as they live, and connected to whom the registry names.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{ClientShell, Dht, answer};
use crate::dht::client_core::{Answer, ClientCore, MatchEvent as RegistryEvent};
use crate::dht::record::{Interest, Registration, Route};
use crate::error::Result;
use crate::message::{Encoding, EntityId};
use crate::pubsub::{
    Announcement, BoxFuture, Departure, Discovery, Events, MatchEvent, Offer, PublisherBuilder, Request,
    SubscriberBuilder,
};
use crate::quiet::lock;
use crate::time::{Mono, earliest};
use crate::topic::{Topic, TopicFilter};
use crate::transport::{Locator, Transport, TransportTx};

/// The lease of a registration whose QoS states none: how long the ring believes in it without a renewal.
const DEFAULT_LEASE: Duration = Duration::from_secs(10);
/// A peer that the registry no longer names stays connected for this long: it may merely be registering anew.
const LINGER: Duration = Duration::from_secs(10);
/// The pauses before a connection that the transport has refused is tried again.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(8);

impl<M: serde::Serialize, T: Transport> PublisherBuilder<M, T> {
    /// Registers the publisher with a ring for as long as it lives.
    pub fn dht(self, dht: &Dht<T>) -> Self {
        self.discovery(dht.discovery())
    }
}

impl<M, T: Transport> SubscriberBuilder<M, T> {
    /// Registers the subscriber with a ring for as long as it lives.
    pub fn dht(self, dht: &Dht<T>) -> Self {
        self.discovery(dht.discovery())
    }
}

impl<T: Transport> Discovery for Dht<T> {
    fn offer(&self, offer: Offer) -> BoxFuture<'_, Result<Box<dyn Announcement>>> {
        let registration = Registration {
            id: offer.id,
            locator: self.session.local().clone(),
            encoding: offer.encoding,
            lease: offer.qos.liveliness.lease.finite().unwrap_or(DEFAULT_LEASE),
            interest: Interest::Offer { topic: offer.topic.clone(), qos: Box::new(offer.qos) },
        };
        let party = Party { events: offer.events, encoding: offer.encoding, route: None };
        Box::pin(self.announce(registration, TopicFilter::from(&offer.topic), party))
    }

    fn request(&self, request: Request) -> BoxFuture<'_, Result<Box<dyn Announcement>>> {
        let Request { id, filter, qos, encoding, route, events } = request;
        let registration = Registration {
            id,
            locator: self.session.local().clone(),
            // Nodes of earlier versions cannot read that a subscriber takes any, and the registry does not judge by it.
            encoding: encoding.of_plain(),
            lease: DEFAULT_LEASE,
            interest: Interest::Request { filter: filter.clone(), qos: Box::new(qos), route },
        };
        Box::pin(self.announce(registration, filter, Party { events, encoding, route: Some(route) }))
    }
}

impl<T: Transport> Dht<T> {
    async fn announce(
        &self,
        registration: Registration,
        filter: TopicFilter,
        party: Party,
    ) -> Result<Box<dyn Announcement>> {
        let id = registration.id;
        lock(&self.client.shell.state).introductions.parties.insert(id, party);
        // Withdrawn when dropped, also if this call is cancelled half way.
        let announced = Announced { shell: Arc::downgrade(&self.client.shell), id, topic: filter.as_topic() };
        let answer = self.client.shell.ask(move |core, now| core.register(now, registration)).await?;
        if let Answer::Registered(stored) = answer {
            tracing::debug!(%id, %filter, responsible = %stored.responsible.name, "registered");
        }
        Ok(Box::new(announced))
    }
}

/// A standing registration.
struct Announced<Tx: TransportTx> {
    shell: Weak<ClientShell<Tx>>,
    id: EntityId,
    /// The one topic concerned.
    topic: Option<Topic>,
}

impl<Tx: TransportTx> Announcement for Announced<Tx> {
    fn responsible(&self) -> Option<String> {
        let shell = self.shell.upgrade()?;
        let state = lock(&shell.state);
        state.core.responsible(self.id, self.topic.as_ref()?).map(|node| node.name.to_string())
    }
}

impl<Tx: TransportTx> Drop for Announced<Tx> {
    fn drop(&mut self) {
        let Some(shell) = self.shell.upgrade() else { return };
        let mut state = lock(&shell.state);
        let now = shell.session.clock.now();
        state.introductions.forget(self.id);
        withdraw(&mut state.core, now, self.id);
        shell.run_actions(&mut state);
        if tokio::runtime::Handle::try_current().is_ok() {
            shell.connect(&mut state);
        }
        answer(state);
        shell.session.wake();
    }
}

/// Nobody waits for the answer.
fn withdraw(core: &mut ClientCore, now: Mono, id: EntityId) {
    core.unregister(now, id);
}

/// A publisher (no route) or subscriber of this session.
struct Party {
    events: Events,
    encoding: Encoding,
    route: Option<Route>,
}

/// A connection to make or to end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) by: EntityId,
    pub(super) peer: Locator,
    pub(super) attach: bool,
}

/// Whom the registry has introduced to whom, and which connections that takes.
#[derive(Default)]
pub(super) struct Introductions {
    parties: HashMap<EntityId, Party>,
    /// For each subscriber and peer session, the publishers (or topics) on whose account it is attached.
    attached: HashMap<(EntityId, Locator), HashSet<Reason>>,
    lingering: VecDeque<(Mono, EntityId, Locator)>,
    /// What the transport has refused, when it is tried again, and after how long then.
    refused: HashMap<(EntityId, Locator), Refused>,
    changes: Vec<Change>,
}

struct Refused {
    again: Mono,
    pause: Duration,
    /// It has been tried since, and no answer has come.
    under_way: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Reason {
    /// A publisher that is heard directly.
    Publisher(EntityId),
    /// A topic that the peer relays.
    Topic(Topic),
}

impl Introductions {
    pub(super) fn on_event(&mut self, now: Mono, id: EntityId, event: RegistryEvent) {
        let Some(party) = self.parties.get(&id) else { return };
        let (route, events, encoding) = (party.route, party.events.clone(), party.encoding);
        match event {
            RegistryEvent::Matched { topic, peer, responsible } => match route {
                Some(Route::Direct) => self.hold(id, peer.locator, Reason::Publisher(peer.peer)),
                Some(Route::ViaNode) => self.hold(id, responsible.locator, Reason::Topic(topic)),
                // Samples to a subscriber behind a node do not show on the publisher's own data path.
                // One that takes any encoding is registered as raw: only `Publisher::subscribers` knows of those.
                None if peer.route == Route::ViaNode
                    && ![encoding, Encoding::Raw].contains(&peer.encoding) =>
                {
                    let (offered, requested) = (encoding, peer.encoding);
                    let peer = peer.peer;
                    events.push(MatchEvent::EncodingMismatch { topic, peer, offered, requested });
                }
                None if peer.route == Route::ViaNode => {
                    events.push(MatchEvent::Matched { topic, peer: peer.peer });
                }
                None => {}
            },
            RegistryEvent::Mismatched { topic, peer, mismatch } => {
                events.push(MatchEvent::Mismatched { topic, peer: peer.peer, mismatch });
            }
            RegistryEvent::Departed { topic, peer } => match route {
                Some(Route::Direct) => self.release(now, id, &Reason::Publisher(peer.peer)),
                Some(Route::ViaNode) => {}
                None if peer.route == Route::ViaNode => {
                    events.push(MatchEvent::Departed { topic, peer: peer.peer, cause: Departure::Left });
                }
                None => {}
            },
            RegistryEvent::Takeover { topic, from, to } => {
                if route.is_none() {
                    events.push(MatchEvent::Takeover { topic, from, to, after: None });
                }
            }
            RegistryEvent::Remapped { topic, from, to } => {
                if route == Some(Route::ViaNode) {
                    self.release(now, id, &Reason::Topic(topic.clone()));
                    self.hold(id, to.locator, Reason::Topic(topic.clone()));
                }
                let (topic, from, to) = (topic.to_string(), from.name.to_string(), to.name.to_string());
                events.push(MatchEvent::Remapped { topic, from, to });
            }
        }
    }

    /// The transport has taken what was asked of it, or has refused it for now: then it is asked again as long as the match
    /// stands.
    pub(super) fn answered(&mut self, now: Mono, change: &Change, refusal: Option<String>) {
        let key = (change.by, change.peer.clone());
        // It may have been let go of meanwhile.
        let Some(reason) = refusal.filter(|_| self.attached.contains_key(&key)) else {
            self.refused.remove(&key);
            return;
        };
        let before = self.refused.get(&key).map(|refused| refused.pause);
        let pause = before.map_or(FIRST_RETRY, |pause| (pause * 2).min(LAST_RETRY));
        self.refused.insert(key, Refused { again: now + pause, pause, under_way: false });
        if before.is_none()
            && let Some(party) = self.parties.get(&change.by)
        {
            party.events.push(MatchEvent::Unreachable { peer: change.peer.clone(), reason });
        }
    }

    /// The publisher or subscriber is gone.
    pub(super) fn forget(&mut self, id: EntityId) {
        self.parties.remove(&id);
        self.lingering.retain(|(_, by, _)| *by != id);
        self.refused.retain(|(by, _), _| *by != id);
        let gone: Vec<_> = self.attached.keys().filter(|(by, _)| *by == id).cloned().collect();
        for (by, peer) in gone {
            self.attached.remove(&(by, peer.clone()));
            self.changes.push(Change { by, peer, attach: false });
        }
    }

    pub(super) fn changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Ends the connections that nobody has asked for again, and tries those again that were refused.
    pub(super) fn handle_timeout(&mut self, now: Mono) {
        for ((by, peer), refused) in &mut self.refused {
            if !refused.under_way && refused.again <= now {
                refused.under_way = true;
                self.changes.push(Change { by: *by, peer: peer.clone(), attach: true });
            }
        }
        while self.lingering.front().is_some_and(|(at, ..)| *at <= now) {
            let Some((_, by, peer)) = self.lingering.pop_front() else { break };
            let key = (by, peer);
            if self.attached.get(&key).is_some_and(HashSet::is_empty) {
                self.attached.remove(&key);
                self.refused.remove(&key);
                let (by, peer) = key;
                self.changes.push(Change { by, peer, attach: false });
            }
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Mono> {
        let again =
            self.refused.values().filter(|refused| !refused.under_way).map(|refused| refused.again).min();
        earliest(self.lingering.front().map(|(at, ..)| *at), again)
    }

    fn hold(&mut self, by: EntityId, peer: Locator, reason: Reason) {
        self.lingering.retain(|(_, holder, left)| *holder != by || *left != peer);
        let reasons = self.attached.entry((by, peer.clone())).or_insert_with(|| {
            self.changes.push(Change { by, peer, attach: true });
            HashSet::new()
        });
        reasons.insert(reason);
    }

    fn release(&mut self, now: Mono, by: EntityId, reason: &Reason) {
        for ((holder, peer), reasons) in &mut self.attached {
            if *holder == by && reasons.remove(reason) && reasons.is_empty() {
                self.lingering.push_back((now + LINGER, by, peer.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::SessionId;

    /// A connection that the transport has been asked for, by a publisher or subscriber that hears of it.
    fn asked() -> (Introductions, Change, Events) {
        let (by, peer) = (EntityId { session: SessionId(1), entity: 1 }, Locator::new("memory:p").unwrap());
        let (mut introductions, events) = (Introductions::default(), Events::default());
        let party =
            Party { events: events.clone(), route: Some(Route::Direct), encoding: Encoding::Postcard };
        introductions.parties.insert(by, party);
        introductions.hold(by, peer, Reason::Publisher(EntityId { session: SessionId(2), entity: 1 }));
        let change = introductions.changes().pop().unwrap();
        (introductions, change, events)
    }

    #[test]
    fn a_peer_that_the_transport_refuses_is_asked_for_again_as_long_as_the_match_stands() {
        let (mut introductions, change, events) = asked();
        let mut now = Mono::default();
        let mut pauses = Vec::new();
        for _ in 0..6 {
            introductions.answered(now, &change, Some("no room".into()));
            let due = introductions.poll_timeout().unwrap();
            pauses.push((due - now).as_millis());
            introductions.handle_timeout(due);
            assert_eq!(introductions.changes().pop().as_ref(), Some(&change));
            assert_eq!(introductions.poll_timeout(), None, "it is under way");
            now = due;
        }
        assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 8000]);
        assert!(matches!(events.try_next(), Some(MatchEvent::Unreachable { .. })));
        assert_eq!(events.try_next(), None, "told once");
        introductions.answered(now, &change, None);
        assert_eq!((introductions.poll_timeout(), introductions.refused.len()), (None, 0));
    }

    #[test]
    fn who_is_gone_asks_for_nobody() {
        let (mut introductions, change, _events) = asked();
        introductions.answered(Mono::default(), &change, Some("no room".into()));
        introductions.forget(change.by);
        assert_eq!(introductions.poll_timeout(), None);
        // The answer to an attempt that was under way.
        introductions.answered(Mono::default(), &change, Some("no room".into()));
        assert_eq!(introductions.poll_timeout(), None);
    }
}
