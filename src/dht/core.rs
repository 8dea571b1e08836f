//! One node of the ring of event services, as a core: messages and time in, messages and events out.
//!
//! It ties together who is on the ring ([`membership`](super::membership)), who is responsible for what
//! ([`ring_view`](super::ring_view)) and what is registered ([`registry`](super::registry)). Any node takes any request
//! and passes it on to the node that is responsible.

mod api;
mod gathers;
mod silent;
mod standstill;

use std::collections::VecDeque;

use bytes::Bytes;

use crate::qos::Requested;
use crate::quiet::afterwards;
use crate::time::{Mono, earliest};
use crate::topic::TopicFilter;
use crate::transport::Locator;

pub use self::api::{Action, Input, NodeConfig};
use self::gathers::Gathers;
use self::silent::Silent;
use self::standstill::Standstill;
use super::member::{Member, NodeName};
use super::membership::{MemberEvent, Membership, MembershipAction};
use super::message::{
    Forward, FoundOffer, Gather, Gathered, MAX_PART, MAX_PARTS, Message, Offers, Refusal, Reply, ReplyBody,
    Request, RequestBody,
};
use super::parts;
use super::record::Record;
use super::registry::{Output, Registry, ReplyTo, addressed};
use super::ring_view::RingView;

/// How often a request is passed on before the members' disagreement is reported.
pub const MAX_HOPS: u8 = 3;

/// One node.
#[derive(Debug)]
pub struct NodeCore {
    config: NodeConfig,
    membership: Membership,
    view: RingView,
    registry: Registry,
    gathers: Gathers,
    standstill: Standstill,
    silent: Silent,
    /// When a leaving node goes, handed over or not.
    leaving: Option<Mono>,
    ended: bool,
    actions: VecDeque<Action>,
}

impl NodeCore {
    /// A ring of one. `seed` starts the generator of the choices that are made at random, such as whom to probe.
    pub fn new(me: Member, config: NodeConfig, seed: u64) -> Self {
        Self {
            membership: Membership::new(me.clone(), &config.membership, seed),
            view: RingView::new([me.clone()], config.replicas),
            registry: Registry::new(me, config.max_registrations),
            gathers: Gathers::default(),
            standstill: Standstill::default(),
            silent: Silent::default(),
            leaving: None,
            ended: false,
            actions: VecDeque::new(),
            config,
        }
    }

    /// This node as others see it.
    pub fn me(&self) -> &Member {
        self.membership.me()
    }

    /// This node's view of the ring.
    pub fn view(&self) -> &RingView {
        &self.view
    }

    /// The records that this node holds, withdrawn ones included for a while.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.registry.records()
    }

    /// Takes something in.
    pub fn handle(&mut self, now: Mono, input: Input) {
        if self.ended {
            return;
        }
        self.notice_standstill(now);
        match input {
            Input::Message { from, message } => self.handle_message(now, from, message),
            Input::PeerDown(peer) => self.membership.peer_down(now, &peer),
            Input::Join(seeds) => self.membership.join(now, seeds),
            Input::Leave => self.begin_to_leave(now),
        }
        self.collect(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Mono) {
        if self.ended {
            return;
        }
        self.notice_standstill(now);
        self.membership.handle_timeout(now);
        self.registry.handle_timeout(now, &self.view);
        for gathering in self.gathers.expired(now) {
            self.answer_lookup(&gathering.reply_to, gathering.found, gathering.unanswered);
        }
        self.collect(now);
    }

    /// What is answered to a client's lookup of a topic that judges nothing: the body of a [`Reply`], encoded, if it is kept.
    /// Otherwise the lookup is a message like any other.
    pub(crate) fn kept_answer(&mut self, now: Mono, topic: &str) -> Option<Bytes> {
        if self.ended || self.may_be_outdated(now) {
            None
        } else {
            self.registry.kept_answer(&self.view, topic)
        }
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Mono> {
        if self.ended {
            return None;
        }
        let own = earliest(self.membership.poll_timeout(), self.registry.poll_timeout());
        earliest(earliest(own, self.gathers.next()), self.leaving)
    }

    fn handle_message(&mut self, now: Mono, from: Locator, message: Message) {
        match message {
            Message::Membership(message) => self.membership.handle(now, message),
            Message::Request(request) => {
                let reply_to = ReplyTo { id: request.id, client: from, entry: None };
                self.handle_request(now, request, reply_to, 0);
            }
            Message::Forward(Forward { request, client, entry, hops }) => {
                let reply_to = ReplyTo { id: request.id, client, entry: Some(entry) };
                self.handle_request(now, request, reply_to, hops);
            }
            Message::ReplyVia(via) => {
                self.silent.answered(&from);
                self.send(via.client, Message::Reply(via.reply));
            }
            Message::Transfer(transfer) => self.registry.receive(now, &self.view, transfer),
            Message::TransferAck(ack) => self.registry.ack(now, &self.view, &ack),
            Message::Gather(Gather { query, filter, requested }) => {
                let found = self.registry.offers(&self.view, &filter, requested.as_deref());
                self.send_gathered(&from, query, found);
            }
            Message::Gathered(answer) => {
                if let Some(gathering) = self.gathers.answer(answer) {
                    self.answer_lookup(&gathering.reply_to, gathering.found, gathering.unanswered);
                }
            }
            // These go to clients; a node that gets one has inherited a client's address.
            Message::Reply(_) | Message::Matches(_) => {
                afterwards(move || metrics::counter!("ringbus_node_unexpected_total").increment(1));
            }
        }
    }

    fn handle_request(&mut self, now: Mono, request: Request, reply_to: ReplyTo, hops: u8) {
        let key = match &request.body {
            RequestBody::Put(record) => record.registration.interest.key(),
            // Another node may have become responsible meanwhile, and have what this one does not know of.
            RequestBody::Lookup { .. } if self.may_be_outdated(now) => {
                return self.refuse(&reply_to, Refusal::Unavailable);
            }
            RequestBody::Lookup { filter, .. } if filter.is_exact() => filter.as_str(),
            RequestBody::Lookup { filter, requested } => {
                return self.gather(now, filter.clone(), requested.clone(), reply_to);
            }
            RequestBody::Members => return self.answer_members(&reply_to),
        };
        let Some(owner) = self.view.owner(key) else {
            return self.refuse(&reply_to, Refusal::Unavailable);
        };
        if owner.name == self.me().name {
            return self.serve(now, request.body, reply_to);
        }
        if hops >= MAX_HOPS {
            return self.refuse(&reply_to, Refusal::TooManyHops);
        }
        let owner = owner.clone();
        let entry = reply_to.entry.clone().unwrap_or_else(|| self.me().locator.clone());
        let forward = Forward { request, client: reply_to.client.clone(), entry, hops: hops + 1 };
        self.forward(now, &owner, forward, &reply_to);
    }

    /// Does what a client asks of the responsible node.
    fn serve(&mut self, now: Mono, body: RequestBody, reply_to: ReplyTo) {
        match body {
            RequestBody::Put(record) => self.registry.put(now, &self.view, *record, reply_to),
            RequestBody::Lookup { filter, requested } => {
                let found = match filter.as_topic() {
                    Some(topic) => self.registry.offers_on(&topic, requested.as_deref()),
                    None => self.registry.offers(&self.view, &filter, requested.as_deref()),
                };
                self.answer_lookup(&reply_to, found, Vec::new());
            }
            RequestBody::Members => self.answer_members(&reply_to),
        }
    }

    fn gather(
        &mut self,
        now: Mono,
        filter: TopicFilter,
        requested: Option<Box<Requested>>,
        reply_to: ReplyTo,
    ) {
        let found = self.registry.offers(&self.view, &filter, requested.as_deref());
        let others: Vec<Member> = self.membership.others().cloned().collect();
        if others.is_empty() {
            return self.answer_lookup(&reply_to, found, Vec::new());
        }
        let asked = others.iter().map(|member| member.name.clone());
        let until = now + self.config.gather_timeout;
        let Some(query) = self.gathers.begin(until, reply_to.clone(), found, asked) else {
            return self.refuse(&reply_to, Refusal::Unavailable);
        };
        for member in others {
            let gather = Gather { query, filter: filter.clone(), requested: requested.clone() };
            self.send(member.locator, Message::Gather(gather));
        }
    }

    fn send_gathered(&mut self, to: &Locator, query: u64, found: Vec<FoundOffer>) {
        let lists = parts::split(found);
        let count = parts::count(&lists);
        let from = self.me().name.clone();
        for (part, found) in (0..count).zip(lists) {
            let answer = Gathered { query, from: from.clone(), part, parts: count, found };
            self.send(to.clone(), Message::Gathered(answer));
        }
    }

    fn answer_lookup(
        &mut self,
        reply_to: &ReplyTo,
        mut found: Vec<FoundOffer>,
        mut unanswered: Vec<NodeName>,
    ) {
        let truncated = found.len() > gathers::MAX_FOUND;
        found.truncate(gathers::MAX_FOUND);
        unanswered.truncate(MAX_PART);
        let bodies = parts::split(found)
            .into_iter()
            .map(|found| Offers { found: found.into(), unanswered: unanswered.clone(), truncated })
            .map(ReplyBody::Offers);
        self.reply_in_parts(reply_to, bodies.collect());
    }

    fn answer_members(&mut self, reply_to: &ReplyTo) {
        let members = parts::split(self.view.members().cloned().collect());
        self.reply_in_parts(reply_to, members.into_iter().map(ReplyBody::Members).collect());
    }

    fn refuse(&mut self, reply_to: &ReplyTo, refusal: Refusal) {
        self.reply_in_parts(reply_to, vec![ReplyBody::Refused(refusal)]);
    }

    fn reply_in_parts(&mut self, reply_to: &ReplyTo, bodies: Vec<ReplyBody>) {
        let parts = u16::try_from(bodies.len()).unwrap_or(MAX_PARTS);
        for (part, body) in (0..parts).zip(bodies) {
            let output = addressed(reply_to, Reply { id: reply_to.id, part, parts, body });
            self.perform(output);
        }
    }

    fn begin_to_leave(&mut self, now: Mono) {
        if self.leaving.is_none() {
            self.leaving = Some(now + self.config.leave_timeout);
            self.remap(now, &[]);
        }
    }

    /// Takes over what the parts want, until nothing is left to take.
    fn collect(&mut self, now: Mono) {
        let mut changed = false;
        let mut restarted = Vec::new();
        while let Some(action) = self.membership.poll_action() {
            match action {
                MembershipAction::Send { to, message } => self.send(to, Message::Membership(message)),
                MembershipAction::Event(event) => {
                    changed = true;
                    match &event {
                        MemberEvent::Up(member) => restarted.push(member.name.clone()),
                        MemberEvent::Restarted { to, .. } => restarted.push(to.name.clone()),
                        MemberEvent::Renewed(me) => self.registry.set_me(me.clone()),
                        MemberEvent::NameTaken { .. } => self.ended = true,
                        MemberEvent::Down(_) | MemberEvent::Left(_) => {}
                    }
                    self.actions.push_back(Action::Member(event));
                }
            }
        }
        if self.ended {
            return self.end();
        }
        if changed {
            self.remap(now, &restarted);
        }
        self.drain_registry();
        self.go_when_handed_over(now);
    }

    fn remap(&mut self, now: Mono, restarted: &[NodeName]) {
        let me = self.leaving.is_none().then(|| self.me().clone());
        let next = self.view.next(self.membership.others().cloned().chain(me));
        let old = std::mem::replace(&mut self.view, next);
        self.silent.retain(self.view.members());
        self.registry.ring_changed(now, &old, &self.view, restarted);
        let members = self.view.members().cloned().collect();
        self.actions.push_back(Action::Remapped { epoch: self.view.epoch(), members });
    }

    fn drain_registry(&mut self) {
        while let Some(output) = self.registry.poll_output() {
            self.perform(output);
        }
    }

    fn go_when_handed_over(&mut self, now: Mono) {
        let Some(deadline) = self.leaving else { return };
        let alone = self.view.members().len() == 0;
        if alone || self.registry.is_replicated() || deadline <= now {
            self.membership.leave();
            while let Some(action) = self.membership.poll_action() {
                if let MembershipAction::Send { to, message } = action {
                    self.send(to, Message::Membership(message));
                }
            }
            self.end();
        }
    }

    fn end(&mut self) {
        self.ended = true;
        self.actions.push_back(Action::Ended);
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Send { to, message } => self.send(to, message),
            Output::Relay(command) => self.actions.push_back(Action::Relay(command)),
        }
    }

    fn send(&mut self, to: Locator, message: Message) {
        self.actions.push_back(Action::Send { to, message });
    }
}
