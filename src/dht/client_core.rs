//! The client's side of the ring, as a core: registrations that are kept alive, lookups, and the events that pushes
//! from the responsible nodes stand for.
//!
//! A request goes to one node after another until one answers. A registration is renewed at the node that is
//! responsible for it; a renewal carries the whole registration, so any node can take it up where another has lost it.

mod api;
mod calls;
mod deadlines;
mod nodes;
mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::message::EntityId;
use crate::qos::Requested;
use crate::quiet::afterwards;
use crate::time::{Mono, earliest};
use crate::topic::{Topic, TopicFilter};
use crate::transport::Locator;

pub use self::api::{Answer, ClientAction, ClientConfig};
pub(crate) use self::calls::RequestMap;
use self::calls::{Call, Calls, Purpose};
use self::nodes::Nodes;
pub use self::watch::MatchEvent;
use self::watch::Watch;
use super::member::Member;
use super::message::{
    MatchEntry, Matches, Message, Refusal, Reply, ReplyBody, Request, RequestBody, RequestId, Stored,
    Unanswered,
};
use super::record::{Interest, Rank, Record, Registration};
use super::registry::{MAX_LEASE, MIN_LEASE};
use super::schedule::Schedule;

/// One registration that is kept alive.
#[derive(Debug)]
struct Entry {
    record: Record,
    responsible: Option<Member>,
    call: Option<RequestId>,
    /// Whether the ring has accepted it: from then on it is never given up.
    established: bool,
    watch: Watch,
}

/// The client's side of one session.
#[derive(Debug)]
pub struct ClientCore {
    config: ClientConfig,
    nodes: Nodes,
    calls: Calls,
    entries: BTreeMap<EntityId, Entry>,
    /// When each registration is due for renewal; none while a call of it is under way.
    renewals: Schedule<EntityId>,
    actions: VecDeque<ClientAction>,
}

impl ClientCore {
    /// A client that knows these nodes, and will learn others.
    pub fn new(config: ClientConfig, seeds: Vec<Locator>) -> Self {
        Self {
            config,
            nodes: Nodes::new(seeds),
            calls: Calls::default(),
            entries: BTreeMap::new(),
            renewals: Schedule::default(),
            actions: VecDeque::new(),
        }
    }

    /// Further nodes to ask.
    pub fn add_seeds(&mut self, seeds: impl IntoIterator<Item = Locator>) {
        self.nodes.add_seeds(seeds);
    }

    /// Registers an offer or a request and keeps it alive; with an identity that is registered already, changes it.
    ///
    /// Completes with [`Answer::Registered`]. If it fails the registration is forgotten, unless it had been accepted
    /// before: then the change is still being tried.
    pub fn register(&mut self, now: Mono, registration: Registration) -> RequestId {
        let id = registration.id;
        let entry = self.entries.entry(id).or_insert_with(|| Entry {
            record: Record {
                rank: Rank { version: 0, withdrawn: false },
                registration: registration.clone(),
            },
            responsible: None,
            call: None,
            established: false,
            watch: Watch::default(),
        });
        entry.record.registration = registration;
        self.put(now, id, Some(self.config.deadline))
    }

    /// Withdraws a registration. No event of it is reported from now on. Completes with [`Answer::Unregistered`], also
    /// if it was not registered.
    pub fn unregister(&mut self, now: Mono, id: EntityId) -> RequestId {
        match self.entries.get_mut(&id) {
            Some(entry) => {
                entry.record.rank.withdrawn = true;
                self.put(now, id, Some(self.config.deadline))
            }
            None => {
                let (request, _) =
                    self.calls.insert(Call::new(now, Purpose::Ask, RequestBody::Members, None));
                self.complete(request, Ok(Answer::Unregistered));
                request
            }
        }
    }

    /// Looks offers up; judges them against `requested` where one is given. Completes with [`Answer::Offers`].
    pub fn lookup(&mut self, now: Mono, filter: TopicFilter, requested: Option<Requested>) -> RequestId {
        self.ask(now, RequestBody::Lookup { filter, requested: requested.map(Box::new) })
    }

    /// Asks who is on the ring. Completes with [`Answer::Members`].
    pub fn members(&mut self, now: Mono) -> RequestId {
        self.ask(now, RequestBody::Members)
    }

    /// Takes a message of a node.
    pub fn handle(&mut self, now: Mono, from: &Locator, message: Message) {
        match message {
            Message::Reply(reply) => self.handle_reply(now, from, reply),
            Message::Matches(matches) => self.handle_matches(now, *matches),
            _ => afterwards(|| metrics::counter!("ringbus_client_unexpected_total").increment(1)),
        }
    }

    /// The transport lost a peer: what it was asked is asked of another at once.
    pub fn peer_down(&mut self, now: Mono, peer: &Locator) {
        self.nodes.failed(peer);
        self.calls.hurry(now, peer);
        for (id, entry) in &self.entries {
            if self.renewals.contains(*id)
                && entry.responsible.as_ref().is_some_and(|node| node.locator == *peer)
            {
                self.renewals.set(*id, now);
            }
        }
        self.handle_timeout(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Mono) {
        for id in self.renewals.take_due(now) {
            self.put(now, id, None);
        }
        for request in self.calls.due(now) {
            self.advance(now, request);
        }
    }

    /// The process stood still for so long: what a node should have answered meanwhile is asked of the next one, and no call
    /// fails because of it.
    pub(crate) fn stood_still(&mut self, stood: Duration) {
        self.calls.put_off(stood);
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<ClientAction> {
        self.actions.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Mono> {
        earliest(self.renewals.next(), self.calls.next())
    }

    /// The present counterparts of a registration, by topic, mismatched ones included.
    pub fn matches(&self, id: EntityId) -> impl Iterator<Item = (&Topic, &MatchEntry)> {
        self.entries.get(&id).into_iter().flat_map(|entry| entry.watch.entries())
    }

    /// The node that is responsible for a topic of a registration, as far as the client knows.
    pub fn responsible(&self, id: EntityId, topic: &Topic) -> Option<&Member> {
        let entry = self.entries.get(&id)?;
        entry.watch.responsible(topic).or_else(|| {
            entry.responsible.as_ref().filter(|_| !entry.record.registration.interest.is_everywhere())
        })
    }

    /// The nodes that can be asked, the best first.
    pub fn known_nodes(&self) -> Vec<Locator> {
        self.nodes.known()
    }

    fn ask(&mut self, now: Mono, body: RequestBody) -> RequestId {
        let mut first = None;
        let request = self.ask_with(now, body, |to, id, body| first = Some((to.clone(), id, body.clone())));
        if let Some((to, id, body)) = first {
            self.send(to, id, body);
        }
        request
    }

    /// As [`lookup`](Self::lookup) or [`members`](Self::members), whichever `body` says. Hands `send` whom to send what to
    /// first, which is no action then; what is sent to others later is one.
    pub(crate) fn ask_with(
        &mut self,
        now: Mono,
        body: RequestBody,
        send: impl FnOnce(&Locator, RequestId, &RequestBody),
    ) -> RequestId {
        let mut call = Call::new(now, Purpose::Ask, body, Some(self.config.deadline));
        let Some(to) = self.nodes.pick(None, &[]) else {
            let (request, _) = self.calls.insert(call);
            self.advance(now, request);
            return request;
        };
        // As `advance` does it, but for looking the call up again and again.
        call.begin_attempt(now, to, self.config.attempt);
        let (request, call) = self.calls.insert(call);
        if let Some(to) = &call.at {
            send(to, request, &call.body);
        }
        request
    }

    /// A node has answered a lookup in one part. Whether anybody waits for that: what a [`ClientAction::Complete`] would say
    /// is the caller's to say then.
    pub(crate) fn take_offers(&mut self, from: &Locator, request: RequestId) -> bool {
        let asked = self.calls.remove_asked(request);
        if asked {
            self.nodes.answered(from);
        }
        asked
    }

    /// Sends the present state of a registration under its next version.
    fn put(&mut self, now: Mono, id: EntityId, deadline: Option<Duration>) -> RequestId {
        let Some(entry) = self.entries.get_mut(&id) else { return 0 };
        entry.record.rank.version += 1;
        self.renewals.clear(id);
        let mut call =
            Call::new(now, Purpose::Put(id), RequestBody::Put(Box::new(entry.record.clone())), deadline);
        call.preferred = entry.responsible.as_ref().map(|node| node.locator.clone());
        let (request, _) = self.calls.insert(call);
        // What the user waits for is answered by the later version as well, so its call is left to end by itself.
        let earlier = entry.call.replace(request);
        if let Some(earlier) = earlier
            && self.calls.get(earlier).is_some_and(|call| call.deadline.is_none())
        {
            self.calls.remove(earlier);
        }
        self.advance(now, request);
        request
    }

    /// Ends a call whose time is over; asks the next node where the last one did not answer.
    fn advance(&mut self, now: Mono, request: RequestId) {
        let Some(call) = self.calls.get_mut(request) else { return };
        if let Some((deadline, after)) = call.deadline
            && deadline <= now
        {
            let failure = call.failure(after, &self.nodes.known());
            return self.fail(now, request, failure);
        }
        if let Some(silent) = call.at.take() {
            self.nodes.failed(&silent);
            call.tried.push(silent);
        }
        let mut next = self.nodes.pick(call.preferred.as_ref(), &call.tried);
        if next.is_none() && !call.tried.is_empty() {
            call.begin_round();
            next = self.nodes.pick(call.preferred.as_ref(), &call.tried);
        }
        let Some(to) = next else {
            let reason = "no ring node is known: name at least one".into();
            return self.fail(
                now,
                request,
                ErrorKind::Unreachable { address: "the ring".into(), reason }.into(),
            );
        };
        call.begin_attempt(now, to.clone(), self.config.attempt);
        let body = call.body.clone();
        self.calls.reschedule(request);
        self.send(to, request, body);
    }

    fn send(&mut self, to: Locator, id: RequestId, body: RequestBody) {
        let message = Message::Request(Request { id, body });
        self.actions.push_back(ClientAction::Send { to, message });
    }

    fn fail(&mut self, now: Mono, request: RequestId, error: Error) {
        let Some(call) = self.calls.remove(request) else { return };
        if let Purpose::Put(id) = call.purpose
            && let Some(entry) = self.entries.get_mut(&id)
            && entry.call == Some(request)
        {
            entry.call = None;
            if entry.established && entry.record.is_live() {
                self.renewals.set(id, now + self.config.attempt);
            } else {
                self.entries.remove(&id);
            }
        }
        if call.deadline.is_some() {
            self.complete(request, Err(error));
        }
    }

    fn handle_reply(&mut self, now: Mono, from: &Locator, reply: Reply) {
        let reply = match reply {
            // Most there is: as below, without a second look at the call.
            Reply { id, part: 0, parts: 1, body: ReplyBody::Offers(offers) } => {
                if self.take_offers(from, id) {
                    let result = Ok(Answer::Offers(offers));
                    self.actions.push_back(ClientAction::Complete { request: id, result });
                }
                return;
            }
            reply => reply,
        };
        let Some(call) = self.calls.get_mut(reply.id) else { return };
        let is_put = call.purpose != Purpose::Ask;
        let Some((first, rest)) = call.take(from, reply.part, reply.parts, reply.body) else { return };
        self.nodes.answered(from);
        let (mut offers, mut members) = (None, None);
        let mut further = Vec::new();
        for body in first.into_iter().chain(rest) {
            match body {
                ReplyBody::Stored(stored) => return self.handle_stored(now, from, reply.id, stored),
                ReplyBody::Refused(refusal) => return self.handle_refusal(now, reply.id, refusal),
                ReplyBody::Unanswered(unanswered) => {
                    return self.handle_unanswered(now, from, reply.id, *unanswered);
                }
                ReplyBody::Offers(part) => match &mut offers {
                    None => offers = Some(part),
                    Some(_) => further.extend_from_slice(&part.found),
                },
                ReplyBody::Members(part) => members.get_or_insert_with(Vec::new).extend(part),
            }
        }
        let answer = match (offers, members) {
            (Some(mut offers), _) => {
                if !further.is_empty() {
                    offers.found = offers.found.iter().cloned().chain(further).collect();
                }
                Answer::Offers(offers)
            }
            (None, Some(members)) => {
                self.nodes.learn(&members);
                Answer::Members(members)
            }
            (None, None) => return,
        };
        // A put is answered by `Stored` alone; whoever answers it otherwise has not understood it.
        if !is_put {
            self.complete(reply.id, Ok(answer));
        }
    }

    fn handle_stored(&mut self, now: Mono, from: &Locator, request: RequestId, stored: Box<Stored>) {
        self.nodes.learn(&stored.members);
        self.nodes.learn([&stored.responsible]);
        let Some(call) = self.calls.remove(request) else { return };
        let Purpose::Put(id) = call.purpose else { return };
        let Some(entry) = self.entries.get_mut(&id).filter(|entry| entry.call == Some(request)) else {
            // A later version is under way; what this one was for is done all the same.
            return self.report_stored(&call, request, stored);
        };
        entry.call = None;
        if !entry.record.is_live() {
            self.entries.remove(&id);
            return self.report_stored(&call, request, stored);
        }
        entry.established = true;
        let lease = stored.lease.clamp(MIN_LEASE, MAX_LEASE);
        let moved = entry.responsible.as_ref().is_none_or(|known| known.name != stored.responsible.name);
        entry.responsible = Some(stored.responsible.clone());
        let pause = (lease / 3).min(self.config.longest_renewal);
        // The responsible node pushes to this session: make its acquaintance before it has to.
        let meet = moved && *from != stored.responsible.locator;
        self.renewals.set(id, now + pause);
        let mut events = Vec::new();
        if let Some(topic) = entry.record.registration.interest.topic() {
            events.extend(entry.watch.set_responsible(now, &topic, &stored.responsible));
        } else {
            events.extend(entry.watch.drop_unconfirmed(now, pause * 4 + self.config.deadline));
        }
        self.report_stored(&call, request, stored);
        self.report(id, events);
        if meet {
            self.put(now, id, None);
        }
    }

    fn report_stored(&mut self, call: &Call, request: RequestId, stored: Box<Stored>) {
        if call.deadline.is_some() {
            let withdrawn = matches!(&call.body, RequestBody::Put(record) if !record.is_live());
            let answer = if withdrawn { Answer::Unregistered } else { Answer::Registered(stored) };
            self.complete(request, Ok(answer));
        }
    }

    fn handle_refusal(&mut self, now: Mono, request: RequestId, refusal: Refusal) {
        let Some(call) = self.calls.get_mut(request) else { return };
        if refusal.is_transient() || call.deadline.is_none() {
            // The node is alive: give the ring a moment rather than ask everyone at once.
            call.refused = true;
            call.tried.extend(call.at.take());
            call.next_attempt = now + self.config.attempt / 4;
            return self.calls.reschedule(request);
        }
        let error = match refusal {
            Refusal::Full { limit } => {
                let limit = usize::try_from(limit).unwrap_or(usize::MAX);
                ErrorKind::Full { what: "the responsible node's registry", limit }
            }
            Refusal::TooLarge { size, limit } => ErrorKind::PayloadTooLarge {
                size: usize::try_from(size).unwrap_or(usize::MAX),
                limit: usize::try_from(limit).unwrap_or(usize::MAX),
            },
            Refusal::TooManyHops | Refusal::Unavailable => return,
        };
        self.fail(now, request, error.into());
    }

    /// A node cannot reach the responsible one: others are asked, at once if there are any that were not yet.
    fn handle_unanswered(&mut self, now: Mono, from: &Locator, request: RequestId, unanswered: Unanswered) {
        self.nodes.learn(&unanswered.members);
        let Some(call) = self.calls.get_mut(request) else { return };
        let Unanswered { by, responsible, .. } = unanswered;
        call.unanswered = Some((by.name, responsible.name, responsible.locator));
        if call.at.as_ref() == Some(from) {
            let tried = [&call.tried[..], std::slice::from_ref(from)].concat();
            if self.nodes.pick(call.preferred.as_ref(), &tried).is_some() {
                call.next_attempt = now;
                self.calls.reschedule(request);
                self.handle_timeout(now);
            }
        }
    }

    fn handle_matches(&mut self, now: Mono, matches: Matches) {
        let id = matches.registration;
        let Some(entry) = self.entries.get_mut(&id).filter(|entry| entry.record.is_live()) else {
            // A push that crossed our withdrawal, or one for an earlier life of this address.
            afterwards(move || metrics::counter!("ringbus_client_stray_pushes_total").increment(1));
            return;
        };
        if !concerns(&entry.record.registration.interest, &matches.topic) {
            afterwards(move || metrics::counter!("ringbus_client_stray_pushes_total").increment(1));
            return;
        }
        if !entry.record.registration.interest.is_everywhere() {
            entry.responsible = Some(matches.responsible.clone());
        }
        self.nodes.learn([&matches.responsible]);
        let events = entry.watch.handle(now, matches);
        self.report(id, events);
    }

    fn report(&mut self, registration: EntityId, events: Vec<MatchEvent>) {
        self.actions.extend(events.into_iter().map(|event| ClientAction::Event { registration, event }));
    }

    fn complete(&mut self, request: RequestId, result: Result<Answer>) {
        self.calls.remove(request);
        self.actions.push_back(ClientAction::Complete { request, result });
    }
}

fn concerns(interest: &Interest, topic: &Topic) -> bool {
    match interest {
        Interest::Offer { topic: own, .. } => own == topic,
        Interest::Request { filter, .. } => filter.matches(topic),
    }
}
