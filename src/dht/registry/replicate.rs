//! Getting records to where they belong.
//!
//! The responsible node sees to it that the whole replica set holds a record, every other holder sees to it that the
//! responsible node does, and a holder outside the set drops its copy only when the whole set has it.

use super::table::{Held, RemoteCopy};
use super::{Registry, leases};
use crate::dht::member::{Member, NodeName};
use crate::dht::message::{Copied, Holding, MAX_PART, Message, ReplyBody, Stored, Transfer};
use crate::dht::record::{Rank, Record};
use crate::dht::ring_view::RingView;
use crate::message::EntityId;
use crate::time::Mono;

/// Who holds a record, the responsible node first.
pub(super) fn replica_set(view: &RingView, record: &Record) -> Vec<Member> {
    let interest = &record.registration.interest;
    let members =
        if interest.is_everywhere() { view.everyone(interest.key()) } else { view.replicas(interest.key()) };
    members.into_iter().cloned().collect()
}

impl Registry {
    /// Sees to it that a record gets to where it belongs, and drops it if it does not belong here and is safe there.
    pub(super) fn replicate(&mut self, id: EntityId) {
        let Some(held) = self.table.get(id) else { return };
        let Some(owner) = held.replicas.first() else { return };
        let (belongs_here, i_am_owner) = (held.belongs_to(&self.me.name), held.is_owned_by(&self.me.name));
        let rank = held.record.rank;
        let mut missing = false;
        for target in held.replicas.iter().filter(|target| target.name != self.me.name) {
            let enough = |copy: &RemoteCopy| copy.rank >= rank && (copy.kept || !belongs_here);
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

    /// Another node has told what it holds.
    pub(super) fn learn_copy(&mut self, now: Mono, holder: &NodeName, holding: Holding) {
        let Holding { id, rank, kept } = holding;
        let Some(held) = self.table.get_mut(id) else { return self.outboxes.done(now, holder, id) };
        // The responsible node needs copies that stay; to one that hands a record over any copy is enough.
        let satisfied = kept || !held.belongs_to(&self.me.name);
        let known = held.copies.entry(holder.clone()).or_insert(RemoteCopy { rank, kept });
        *known = RemoteCopy { rank: rank.max(known.rank), kept };
        // What is not enough stays under way: it is sent again when the holder has had time to see the ring as we do.
        if known.rank >= held.record.rank && satisfied {
            self.outboxes.done(now, holder, id);
        }
    }

    /// Places a record in a new view of the ring. Nothing ends merely because another node is responsible for it now.
    pub(super) fn place(&mut self, now: Mono, view: &RingView, id: EntityId, restarted: &[NodeName]) {
        let Some(held) = self.table.get_mut(id) else { return };
        let was_owner = held.is_owned_by(&self.me.name);
        held.replicas = replica_set(view, &held.record);
        let Held { copies, replicas, .. } = held;
        copies.retain(|name, _| {
            replicas.iter().any(|replica| replica.name == *name) && !restarted.contains(name)
        });
        let is_owner = held.is_owned_by(&self.me.name);
        if held.record.is_live() && is_owner != was_owner {
            let until = now + leases::lifetime(&held.record, is_owner);
            self.table.set_end(id, until);
        }
    }

    /// Answers the writes of a record that a majority of its replica set holds.
    pub(super) fn answer_writes(&mut self, view: &RingView, id: EntityId) {
        if !self.writes.concern(id) {
            return;
        }
        let Some(held) = self.table.get(id) else { return };
        let (Some(responsible), Some(reached)) =
            (held.replicas.first().cloned(), self.rank_of_majority(held))
        else {
            return;
        };
        let lease = held.record.registration.lease;
        let members: Vec<Member> = view.members().take(MAX_PART).cloned().collect();
        for reply_to in self.writes.take_reached(id, reached) {
            let (responsible, members) = (responsible.clone(), members.clone());
            let stored = Stored { registration: id, version: reached.version, responsible, lease, members };
            self.reply(&reply_to, ReplyBody::Stored(Box::new(stored)));
        }
    }

    /// The rank that a majority of the replica set holds, or exceeds; `None` if a majority does not hold any.
    fn rank_of_majority(&self, held: &Held) -> Option<Rank> {
        let rank_at = |replica: &Member| {
            if replica.name == self.me.name {
                return Some(held.record.rank);
            }
            held.copies.get(&replica.name).filter(|copy| copy.kept).map(|copy| copy.rank)
        };
        let mut ranks: Vec<Option<Rank>> = held.replicas.iter().map(rank_at).collect();
        // In descending order, the rank that a majority holds stands at the majority's last place.
        ranks.sort_unstable_by(|a, b| b.cmp(a));
        ranks.get(ranks.len() / 2).copied().flatten()
    }

    /// Sends the copies that are due.
    pub(super) fn send_batches(&mut self, now: Mono, view: &RingView) {
        for (name, batch) in self.outboxes.due(now) {
            let Some(to) = view.member(&name).map(|member| member.locator.clone()) else { continue };
            let held = batch.iter().filter_map(|id| self.table.get(*id));
            let copied =
                held.map(|held| Copied { record: held.record.clone(), kept: held.belongs_to(&self.me.name) });
            let transfer = Transfer { from: self.me.clone(), records: copied.collect() };
            self.send(to, Message::Transfer(transfer));
        }
    }
}
