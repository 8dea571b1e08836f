//! Offers and requests: stored at the node that is responsible for their topic and at its replicas, matched there, and
//! believed for the length of their leases.
//!
//! Replication is by state. Each record has a [`Rank`]; the greater one wins wherever two copies meet. The responsible
//! node sees to it that the whole replica set holds the record, every other holder sees to it that the responsible node
//! does, and a holder outside the set drops its copy only when the whole set has acknowledged it.

mod leases;
mod matching;
mod outbox;
mod push;
mod settle;
mod table;
mod writes;

use std::collections::{BTreeSet, VecDeque};

use crate::message::EntityId;
use crate::qos::Requested;
use crate::time::{Mono, earliest};
use crate::topic::{Topic, TopicFilter};
use crate::transport::Locator;

pub use self::leases::{MAX_LEASE, MIN_LEASE};
use self::outbox::Outboxes;
use self::settle::Settle;
use self::table::{Copy, Table};
pub(crate) use self::writes::ReplyTo;
use self::writes::Writes;
use super::member::{Member, NodeName};
use super::message::{
    Copied, FoundOffer, Holding, MAX_PART, Message, Refusal, Reply, ReplyBody, ReplyVia, Stored, Sync,
    SyncAck,
};
use super::record::{Interest, Rank, Record};
use super::relay::{RelayCommand, Relays};
use super::ring_view::RingView;

/// The largest registration, encoded, in bytes.
pub const MAX_REGISTRATION_LEN: usize = 6 * 1024;

const _: () =
    assert!(MAX_REGISTRATION_LEN * super::message::MAX_SYNC < super::message::MAX_MESSAGE_LEN * 7 / 8);

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
        self.replicate(view, id);
        self.answer_writes(view, id);
        self.work(now, view);
    }

    /// Takes copies from another node, and acknowledges those that are held now.
    pub(crate) fn sync(&mut self, now: Mono, view: &RingView, sync: Sync) {
        let mut held = Vec::with_capacity(sync.records.len());
        for Copied { record, kept } in sync.records {
            let (id, rank) = (record.id(), record.rank);
            if !self.absorb(now, view, record) {
                metrics::counter!("ringbus_registry_full_total").increment(1);
                continue;
            }
            self.learn_copy(now, view, &sync.from.name, Holding { id, rank, kept });
            if let Some(mine) = self.table.get(id) {
                let kept = self.belongs_here(view, &mine.record);
                held.push(Holding { id, rank: mine.record.rank, kept });
            }
            self.replicate(view, id);
            self.answer_writes(view, id);
        }
        self.settle.extend(now);
        let ack = SyncAck { from: self.me.clone(), held };
        self.send(sync.from.locator, Message::SyncAck(ack));
        self.work(now, view);
    }

    /// Learns that another node holds records.
    pub(crate) fn ack(&mut self, now: Mono, view: &RingView, ack: &SyncAck) {
        for holding in &ack.held {
            self.learn_copy(now, view, &ack.from.name, *holding);
            self.replicate(view, holding.id);
            self.answer_writes(view, holding.id);
        }
        self.work(now, view);
    }

    /// This node appears under a new generation.
    pub(crate) fn set_me(&mut self, me: Member) {
        self.me = me;
    }

    /// The membership has changed from one view to the next; `restarted` have lost what they held.
    pub(crate) fn ring_changed(&mut self, now: Mono, old: &RingView, new: &RingView, restarted: &[NodeName]) {
        self.settle.begin(now);
        self.outboxes.retain(|name| new.member(name).is_some() && !restarted.contains(name));
        for id in self.table.ids() {
            self.forget_copies(new, id, restarted);
            self.adjust_end(now, old, new, id);
            self.replicate(new, id);
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
                self.outputs.extend(self.relays.stop(&topic).map(Output::Relay));
            }
        }
        self.work(now, new);
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
        let mine = |topic: &&Topic| filter.matches(topic) && view.is_owner(&self.me.name, topic.as_str());
        let records = self.table.topics().filter(mine).flat_map(|topic| self.table.offers(topic));
        records.filter_map(|record| matching::found(record, requested, &self.me)).collect()
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
        if before.is_none() && self.table.len() >= self.max_registrations {
            return false;
        }
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
        let as_owner = view.is_owner(&self.me.name, record.registration.interest.key());
        let until = now + leases::lifetime(&record, as_owner);
        self.table.store(record.clone(), until);
        self.tell(view, &record, change);
        true
    }

    /// The time of a record has come.
    fn end(&mut self, now: Mono, view: &RingView, id: EntityId) {
        let Some(held) = self.table.get(id) else { return };
        let record = &held.record;
        if !record.is_live() || !view.is_owner(&self.me.name, record.registration.interest.key()) {
            self.forget(id);
            return;
        }
        metrics::counter!("ringbus_registry_expired_total").increment(1);
        let mut ended = record.clone();
        ended.rank.withdrawn = true;
        self.absorb(now, view, ended);
        self.replicate(view, id);
    }

    fn forget(&mut self, id: EntityId) {
        self.table.remove(id);
        self.outboxes.forget(id);
    }

    /// Sees to it that a record gets to where it belongs, and drops it if it does not belong here and is safe there.
    fn replicate(&mut self, view: &RingView, id: EntityId) {
        let Some(held) = self.table.get(id) else { return };
        let targets = replica_set(view, &held.record);
        let Some(owner) = targets.first() else { return };
        let belongs_here = targets.iter().any(|target| target.name == self.me.name);
        let i_am_owner = owner.name == self.me.name;
        let rank = held.record.rank;
        let mut missing = false;
        for target in targets.iter().filter(|target| target.name != self.me.name) {
            let enough = |copy: &Copy| copy.rank >= rank && (copy.kept || !belongs_here);
            if held.copies.get(&target.name).is_some_and(enough) {
                continue;
            }
            if i_am_owner || !belongs_here || target.name == owner.name {
                missing = true;
                self.outboxes.push(&target.name, id, rank);
            }
        }
        if !belongs_here && !missing {
            self.forget(id);
        }
    }

    fn learn_copy(&mut self, now: Mono, view: &RingView, holder: &NodeName, holding: Holding) {
        let Holding { id, rank, kept } = holding;
        let Some(mine) = self.table.get(id) else { return self.outboxes.done(now, holder, id) };
        let (mine, satisfied) = (mine.record.rank, self.is_satisfied_by(view, &mine.record, kept));
        if let Some(copies) = self.table.copies_mut(id) {
            let known = copies.entry(holder.clone()).or_insert(Copy { rank, kept });
            *known = Copy { rank: rank.max(known.rank), kept };
            // A copy that is not enough stays under way: it is sent again when the holder has had time to see the ring
            // as we do.
            if known.rank >= mine && satisfied {
                self.outboxes.done(now, holder, id);
            }
        }
    }

    /// Whether a copy that is kept, or not, is what this node wants of another. The responsible node needs copies that
    /// stay; for a node that hands a record over it is enough that others have it.
    fn is_satisfied_by(&self, view: &RingView, record: &Record, kept: bool) -> bool {
        kept || !self.belongs_here(view, record)
    }

    fn belongs_here(&self, view: &RingView, record: &Record) -> bool {
        replica_set(view, record).iter().any(|target| target.name == self.me.name)
    }

    fn forget_copies(&mut self, view: &RingView, id: EntityId, restarted: &[NodeName]) {
        let Some(held) = self.table.get(id) else { return };
        let targets: BTreeSet<NodeName> =
            replica_set(view, &held.record).into_iter().map(|target| target.name.clone()).collect();
        if let Some(copies) = self.table.copies_mut(id) {
            copies.retain(|name, _| targets.contains(name) && !restarted.contains(name));
        }
    }

    /// Nothing ends merely because another node has become responsible for it.
    fn adjust_end(&mut self, now: Mono, old: &RingView, new: &RingView, id: EntityId) {
        let Some(held) = self.table.get(id) else { return };
        let key = held.record.registration.interest.key();
        let is_owner = new.is_owner(&self.me.name, key);
        if held.record.is_live() && is_owner != old.is_owner(&self.me.name, key) {
            let until = now + leases::lifetime(&held.record, is_owner);
            self.table.set_end(id, until);
        }
    }

    /// Answers the writes of a record that a majority of its replica set holds.
    fn answer_writes(&mut self, view: &RingView, id: EntityId) {
        if !self.writes.concern(id) {
            return;
        }
        let Some(held) = self.table.get(id) else { return };
        let targets = replica_set(view, &held.record);
        let Some(responsible) = targets.first().map(|owner| (*owner).clone()) else { return };
        let mut ranks: Vec<Option<Rank>> = targets
            .iter()
            .map(|target| {
                if target.name == self.me.name {
                    return Some(held.record.rank);
                }
                held.copies.get(&target.name).filter(|copy| copy.kept).map(|copy| copy.rank)
            })
            .collect();
        // In descending order, the rank that a majority holds stands at the majority's last place.
        ranks.sort_unstable_by(|a, b| b.cmp(a));
        let Some(Some(reached)) = ranks.get(ranks.len() / 2).copied() else { return };
        let registration = &held.record.registration;
        let stored = Stored {
            registration: id,
            version: reached.version,
            responsible,
            lease: registration.lease,
            members: view.members().take(MAX_PART).cloned().collect(),
        };
        for reply_to in self.writes.take_reached(id, reached) {
            self.reply(&reply_to, ReplyBody::Stored(stored.clone()));
        }
    }

    /// Sends what waits: copies to other nodes and, once the ring has settled, matches to clients.
    fn work(&mut self, now: Mono, view: &RingView) {
        self.send_batches(now, view);
        if self.settle.is_over(now) {
            self.tell_matches(view);
        }
    }

    fn send_batches(&mut self, now: Mono, view: &RingView) {
        for (name, batch) in self.outboxes.due(now) {
            let Some(to) = view.member(&name).map(|member| member.locator.clone()) else { continue };
            let records = batch.iter().filter_map(|id| self.table.get(*id)).map(|held| Copied {
                record: held.record.clone(),
                kept: self.belongs_here(view, &held.record),
            });
            let sync = Sync { from: self.me.clone(), records: records.collect() };
            self.send(to, Message::Sync(sync));
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

/// Who holds a record, the responsible node first.
fn replica_set<'a>(view: &'a RingView, record: &Record) -> Vec<&'a Member> {
    let interest: &Interest = &record.registration.interest;
    if interest.is_everywhere() { view.everyone(interest.key()) } else { view.replicas(interest.key()) }
}
