//! Offers and requests: stored at the node that is responsible for their topic and at its replicas, matched there, and
//! believed for the length of their leases.
//!
//! Replication is by state. Each record has a [`Rank`](super::record::Rank); the greater one wins wherever two copies
//! meet. The responsible node sees to it that the whole replica set holds the record, every other holder sees to it that
//! the responsible node does, and a holder outside the set drops its copy only when the whole set has acknowledged it.

mod leases;
mod matching;
mod outbox;
mod push;
mod replicate;
mod settle;
mod table;
mod writes;

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use crate::message::EntityId;
use crate::qos::Requested;
use crate::quiet::afterwards;
use crate::time::{Mono, earliest};
use crate::topic::{Topic, TopicFilter};
use crate::transport::Locator;

pub use self::leases::{MAX_LEASE, MIN_LEASE};
use self::outbox::Outboxes;
use self::settle::Settle;
use self::table::Table;
pub(crate) use self::writes::ReplyTo;
use self::writes::Writes;
use super::member::{Member, NodeName};
use super::message::{
    Copied, FoundOffer, Holding, MAX_PART, Message, Offers, Refusal, Reply, ReplyBody, ReplyVia, Transfer,
    TransferAck, lookups,
};
use super::record::Record;
use super::relay::{RelayCommand, Relays};
use super::ring_view::RingView;

/// The largest registration, encoded, in bytes.
pub const MAX_REGISTRATION_LEN: usize = 6 * 1024;

const _: () =
    assert!(MAX_REGISTRATION_LEN * super::message::MAX_TRANSFER < super::message::MAX_MESSAGE_LEN * 7 / 8);

/// How often a full table is said.
const SAY_FULL: Duration = Duration::from_secs(10);

/// What the registry wants done.
#[derive(Debug)]
pub(crate) enum Output {
    /// Send a message.
    Send { to: Locator, message: Message },
    /// Pass samples on, or stop it.
    Relay(RelayCommand),
}

/// The part of the registry that one node holds.
#[derive(Debug)]
pub(crate) struct Registry {
    me: Member,
    max_registrations: usize,
    table: Table,
    outboxes: Outboxes,
    writes: Writes,
    settle: Settle,
    /// Registrations whose matches on a topic have to be told.
    untold: BTreeSet<(Topic, EntityId)>,
    revision: u64,
    relays: Relays,
    /// When it was last said that there is no room.
    said_full: Option<Mono>,
    outputs: VecDeque<Output>,
}

/// How a record changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// Only its version.
    Renewed,
    /// Its content, or whether it is there at all.
    Content,
}

impl Registry {
    pub(crate) fn new(me: Member, max_registrations: usize) -> Self {
        Self {
            me,
            max_registrations,
            table: Table::default(),
            outboxes: Outboxes::default(),
            writes: Writes::default(),
            settle: Settle::default(),
            untold: BTreeSet::new(),
            revision: 0,
            relays: Relays::default(),
            said_full: None,
            outputs: VecDeque::new(),
        }
    }

    /// Stores a client's record as the responsible node; answers when a majority of the replica set holds it.
    pub(crate) fn put(&mut self, now: Mono, view: &RingView, mut record: Record, reply_to: ReplyTo) {
        let size = postcard::experimental::serialized_size(&record).unwrap_or(usize::MAX);
        if size > MAX_REGISTRATION_LEN {
            let refusal = Refusal::TooLarge { size: size as u64, limit: MAX_REGISTRATION_LEN as u64 };
            return self.reply(&reply_to, ReplyBody::Refused(refusal));
        }
        if self.writes.is_full() {
            return self.reply(&reply_to, ReplyBody::Refused(Refusal::Unavailable));
        }
        record.registration.lease = leases::clamp(record.registration.lease);
        let (id, rank) = (record.id(), record.rank);
        if !self.absorb(now, view, record) {
            let refusal = Refusal::Full { limit: self.max_registrations as u64 };
            return self.reply(&reply_to, ReplyBody::Refused(refusal));
        }
        self.writes.push(now, id, rank, reply_to);
        self.replicate(id);
        self.answer_writes(view, id);
        self.work(now, view);
    }

    /// Takes copies from another node, and acknowledges those that are held now.
    pub(crate) fn receive(&mut self, now: Mono, view: &RingView, transfer: Transfer) {
        if view.member(&transfer.from.name).is_none() {
            // The sender sees a ring that we do not see yet: what it sends is the beginning of more.
            self.settle.begin(now);
        }
        let mut held = Vec::with_capacity(transfer.records.len());
        for Copied { record, kept } in transfer.records {
            let (id, rank) = (record.id(), record.rank);
            if !self.absorb(now, view, record) {
                continue;
            }
            self.learn_copy(now, &transfer.from.name, Holding { id, rank, kept });
            if let Some(mine) = self.table.get(id) {
                held.push(Holding { id, rank: mine.record.rank, kept: mine.belongs_to(&self.me.name) });
            }
            self.replicate(id);
            self.answer_writes(view, id);
        }
        self.settle.extend(now);
        let ack = TransferAck { from: self.me.clone(), held };
        self.send(transfer.from.locator, Message::TransferAck(ack));
        self.work(now, view);
    }

    /// Learns that another node holds records.
    pub(crate) fn ack(&mut self, now: Mono, view: &RingView, ack: &TransferAck) {
        for holding in &ack.held {
            self.learn_copy(now, &ack.from.name, *holding);
            self.replicate(holding.id);
            self.answer_writes(view, holding.id);
        }
        self.work(now, view);
    }

    /// This node appears under a new generation.
    pub(crate) fn set_me(&mut self, me: Member) {
        self.me = me;
        self.table.forget_answers();
    }

    /// The membership has changed from one view to the next; `restarted` have lost what they held.
    pub(crate) fn ring_changed(&mut self, now: Mono, old: &RingView, new: &RingView, restarted: &[NodeName]) {
        self.table.forget_answers();
        self.settle.begin(now);
        self.outboxes.retain(|name| new.member(name).is_some() && !restarted.contains(name));
        for id in self.table.ids() {
            self.place(now, new, id, restarted);
            self.replicate(id);
        }
        for id in self.writes.ids() {
            self.answer_writes(new, id);
        }
        for topic in self.table.topics().cloned().collect::<Vec<_>>() {
            if new.is_owner(&self.me.name, topic.as_str()) && !old.is_owner(&self.me.name, topic.as_str()) {
                self.tell_everyone(&topic);
            }
        }
        for topic in self.relays.topics() {
            if !new.is_owner(&self.me.name, topic.as_str()) {
                self.outputs.extend(self.relays.hand_over(&topic).map(Output::Relay));
            }
        }
        self.work(now, new);
    }

    /// The node was not running: each lease is granted anew, and nothing is told before others had time to say what they
    /// have.
    pub(crate) fn stood_still(&mut self, now: Mono) {
        for id in self.table.ids() {
            let Some(held) = self.table.get(id) else { continue };
            let until = now + leases::lifetime(&held.record, held.is_owned_by(&self.me.name));
            if held.record.is_live() {
                self.table.set_end(id, until);
            }
        }
        self.settle.begin(now);
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Mono, view: &RingView) {
        while let Some(id) = self.table.due(now) {
            self.end(now, view, id);
        }
        self.writes.expire(now);
        self.work(now, view);
    }

    /// The offers under a filter, of topics that this node is responsible for.
    pub(crate) fn offers(
        &self,
        view: &RingView,
        filter: &TopicFilter,
        requested: Option<&Requested>,
    ) -> Vec<FoundOffer> {
        if let Some(topic) = filter.as_topic() {
            let mine = view.is_owner(&self.me.name, topic.as_str());
            return if mine { self.offers_on(&topic, requested) } else { Vec::new() };
        }
        let found = |record| matching::found(record, requested, &self.me);
        let mine = |topic: &&Topic| filter.matches(topic) && view.is_owner(&self.me.name, topic.as_str());
        let records = self.table.topics().filter(mine).flat_map(|topic| self.table.offers(topic));
        records.filter_map(found).collect()
    }

    /// The offers on a topic that this node is responsible for.
    pub(crate) fn offers_on(&self, topic: &Topic, requested: Option<&Requested>) -> Vec<FoundOffer> {
        let offers = self.table.offers(topic);
        offers.filter_map(|record| matching::found(record, requested, &self.me)).collect()
    }

    /// What is answered to a lookup of a topic that judges nothing, encoded as a [`ReplyBody`]; `None` if another node is
    /// responsible, or if there is no such answer that is short enough to be kept.
    pub(crate) fn kept_answer(&mut self, view: &RingView, topic: &str) -> Option<Bytes> {
        let me = &self.me;
        self.table.answer(topic, |table, topic| {
            if !view.is_owner(&me.name, topic.as_str()) || table.offers(topic).nth(MAX_PART).is_some() {
                return None;
            }
            let found = table.offers(topic).filter_map(|record| matching::found(record, None, me)).collect();
            lookups::encode_answer(Offers { found, unanswered: Vec::new(), truncated: false })
        })
    }

    /// Whether nothing waits to be copied to another node.
    pub(crate) fn is_replicated(&self) -> bool {
        self.outboxes.is_empty()
    }

    /// All records that are held, withdrawn ones included.
    pub(crate) fn records(&self) -> impl Iterator<Item = &Record> {
        self.table.records()
    }

    /// The next thing to do.
    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(crate) fn poll_timeout(&self) -> Option<Mono> {
        let own = earliest(self.table.next_end(), self.outboxes.next());
        earliest(earliest(own, self.settle.next()), self.writes.next())
    }

    /// Merges a record into the table. `false` if there is no room for it; then nothing has changed.
    fn absorb(&mut self, now: Mono, view: &RingView, record: Record) -> bool {
        let id = record.id();
        let before = self.table.get(id).map(|held| &held.record);
        if before.is_some_and(|before| before.rank >= record.rank) {
            return true;
        }
        if before.is_none() && self.table.len() >= self.max_registrations && !self.make_room(now, view) {
            return false;
        }
        let before = self.table.get(id).map(|held| &held.record);
        let change = match before {
            Some(before)
                if before.is_live() && record.is_live() && before.registration == record.registration =>
            {
                Change::Renewed
            }
            _ => Change::Content,
        };
        if change == Change::Content
            && let Some(before) = before.cloned()
        {
            self.tell(view, &before, change);
        }
        let replicas = replicate::replica_set(view, &record);
        let as_owner = replicas.first().is_some_and(|owner| owner.name == self.me.name);
        let until = now + leases::lifetime(&record, as_owner);
        self.table.store(now, record.clone(), replicas, until);
        self.tell(view, &record, change);
        true
    }

    /// The time of a record has come.
    fn end(&mut self, now: Mono, view: &RingView, id: EntityId) {
        let Some(held) = self.table.get(id) else { return };
        if !held.record.is_live() || !held.is_owned_by(&self.me.name) {
            self.forget(id);
            return;
        }
        afterwards(move || metrics::counter!("ringbus_registry_expired_total").increment(1));
        let mut ended = held.record.clone();
        ended.rank.withdrawn = true;
        self.absorb(now, view, ended);
        self.replicate(id);
    }

    /// Lets the record go that has been silent for longest; says so where none has been for long enough.
    fn make_room(&mut self, now: Mono, view: &RingView) -> bool {
        let Some(id) = self.table.dispensable(now) else {
            afterwards(move || metrics::counter!("ringbus_registry_full_total").increment(1));
            if self.said_full.is_none_or(|at| now.saturating_since(at) >= SAY_FULL) {
                self.said_full = Some(now);
                let limit = self.max_registrations;
                let node = self.me.name.clone();
                afterwards(move || {
                    tracing::warn!(%node, limit, "the registry is full: registrations are refused");
                });
            }
            return false;
        };
        afterwards(move || metrics::counter!("ringbus_registry_displaced_total").increment(1));
        let gone = self.table.get(id).map(|held| held.record.clone());
        self.forget(id);
        if let Some(gone) = gone.filter(Record::is_live) {
            self.tell(view, &gone, Change::Content);
        }
        true
    }

    fn forget(&mut self, id: EntityId) {
        self.table.remove(id);
        self.outboxes.forget(id);
    }

    /// Sends what waits: copies to other nodes and, once the ring has settled, matches to clients.
    fn work(&mut self, now: Mono, view: &RingView) {
        self.send_batches(now, view);
        if self.settle.is_over(now) {
            self.tell_matches(view);
        }
    }

    fn reply(&mut self, reply_to: &ReplyTo, body: ReplyBody) {
        let reply = Reply { id: reply_to.id, part: 0, parts: 1, body };
        self.outputs.push_back(addressed(reply_to, reply));
    }

    fn send(&mut self, to: Locator, message: Message) {
        self.outputs.push_back(Output::Send { to, message });
    }
}

/// An answer on its way to the client, through the node that the client had asked.
pub(crate) fn addressed(reply_to: &ReplyTo, reply: Reply) -> Output {
    let client = reply_to.client.clone();
    match &reply_to.entry {
        Some(entry) => {
            Output::Send { to: entry.clone(), message: Message::ReplyVia(ReplyVia { client, reply }) }
        }
        None => Output::Send { to: client, message: Message::Reply(reply) },
    }
}
