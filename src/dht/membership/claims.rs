//! Who may speak under a name, and under which generation this node does.

use std::time::Duration;

use foca::State;

use super::{MAX_HERITAGE, MemberEvent, Membership, MembershipAction};
use crate::dht::member::Member;
use crate::dht::message::MembershipMessage;
use crate::quiet::afterwards;
use crate::time::Mono;
use crate::transport::Locator;

impl Membership {
    /// Whether a sender may be listened to: not if its name, or ours, is claimed twice, nor if it is remembered by a
    /// later generation than it speaks under. It is told so.
    pub(super) fn admit(&mut self, now: Mono, sender: &Member) -> bool {
        if sender.name == self.me().name {
            if *sender != *self.me() {
                self.meet_namesake(now, sender, false);
                self.tell_name_taken(sender, self.me().clone());
            }
            return false;
        }
        let holder = self.active.get(&sender.name);
        if holder == Some(sender) {
            return true;
        }
        if let Some(holder) = holder.filter(|holder| holder.locator != sender.locator).cloned() {
            // The name is its holder's as long as that lives: the sender asks it, this node looks whether it does.
            self.examine(now, &holder);
            self.tell_name_taken(sender, holder);
            return false;
        }
        let known = self.foca.iter_membership_state().find(|known| known.id().name == sender.name);
        let Some(known) = known.filter(|known| known.id().is_later_than(sender)) else { return true };
        // A member that is down does not hold its name, but foca listens to later generations only.
        let above = known.id().generation.max(sender.generation.saturating_add(1));
        self.tell_name_taken(sender, Member { generation: above, ..sender.clone() });
        false
    }

    fn tell_name_taken(&mut self, to: &Member, by: Member) {
        let (to, message) = (to.locator.clone(), MembershipMessage::NameTaken(by));
        self.actions.push_back(MembershipAction::Send { to, message });
    }

    /// Another node claims a member's name: if the member is dead, that is to be known soon.
    fn examine(&mut self, now: Mono, holder: &Member) {
        let rests = |at: &Mono| now.saturating_since(*at) < self.suspicion * 2;
        if self.examined.get(&holder.name).is_some_and(rests) {
            return;
        }
        self.examined.insert(holder.name.clone(), now);
        let alive = self.foca.iter_members().find(|member| member.id() == holder);
        if let Some(alive) = alive.filter(|member| member.state() == State::Alive).cloned() {
            self.suspect(now, &alive);
        }
    }

    /// Another identity bears this node's name: an earlier life of this node, or a rival. `counted` says whether some
    /// member takes it for the holder of the name.
    pub(super) fn meet_namesake(&mut self, now: Mono, other: &Member, counted: bool) {
        let me = self.me();
        if other.name != me.name || *other == *me {
            return;
        }
        if other.locator == me.locator {
            self.renewals.told(other.generation);
            self.renew_if_due(now);
        } else if other.locator.scheme() == me.locator.scheme() {
            self.namesakes.hear(now, other, counted);
            self.ask_namesakes(now);
        } else {
            // Nobody there can be asked, nor meet this node's members.
            afterwards(move || metrics::counter!("ringbus_membership_foreign_total").increment(1));
        }
    }

    /// Asks namesakes whether they live, and draws the conclusion about those that do not answer.
    pub(super) fn ask_namesakes(&mut self, now: Mono) {
        let (questions, silent) = self.namesakes.due(now);
        for question in questions {
            let message = MembershipMessage::NameQuery { from: self.me().clone(), nonce: question.nonce };
            self.actions.push_back(MembershipAction::Send { to: question.to, message });
        }
        for (rival, counted) in silent {
            let (name, at) = (rival.name.clone(), rival.locator.clone());
            afterwards(move || tracing::info!(%name, %at, "no node of this name answers there"));
            self.keep_name(now, &rival, counted);
        }
    }

    /// A namesake asks whether this node lives.
    pub(super) fn answer_namesake(&mut self, now: Mono, from: &Member, nonce: u64) {
        let me = self.me().clone();
        if from.name != me.name || from.locator == me.locator || from.locator.scheme() != me.locator.scheme()
        {
            return;
        }
        let message = MembershipMessage::NameHeld { by: me, held: self.namesakes.held(now), nonce };
        self.actions.push_back(MembershipAction::Send { to: from.locator.clone(), message });
    }

    /// A namesake lives: one of the two gives way.
    pub(super) fn settle_name(&mut self, now: Mono, by: Member, held: Duration, nonce: u64) {
        let me = self.me().clone();
        if by.name != me.name {
            return;
        }
        let Some(counted) = self.namesakes.answered(&by, nonce) else { return };
        if self.namesakes.keeps(now, &me, &by, held) {
            return self.keep_name(now, &by, counted);
        }
        let (name, by_locator) = (me.name, by.locator.clone());
        afterwards(move || tracing::error!(%name, by = %by_locator, "another node has this node's name"));
        self.ended = true;
        // It may know the ring through this node alone.
        let heritage: Vec<Locator> =
            self.active.values().map(|member| member.locator.clone()).take(MAX_HERITAGE).collect();
        let (to, message) = (by.locator.clone(), MembershipMessage::Heritage(heritage));
        self.actions.push_back(MembershipAction::Send { to, message });
        self.actions.push_back(MembershipAction::Event(MemberEvent::NameTaken { by }));
    }

    /// The name is this node's: members that count the other one must hear a later generation of this one.
    fn keep_name(&mut self, now: Mono, other: &Member, counted: bool) {
        if counted {
            self.renewals.told(other.generation);
            self.renew_if_due(now);
            self.contacts.hurry(now);
        }
        // If it lives it gives way, or asks first.
        self.tell_name_taken(other, self.me().clone());
    }

    /// Comes back under a later generation, if it has to and may already.
    pub(super) fn renew_if_due(&mut self, now: Mono) {
        let Some(generation) = self.renewals.take(now, self.me().generation) else { return };
        let me = Member { generation, ..self.me().clone() };
        let outcome = self.foca.change_identity(me.clone(), &mut self.runtime);
        self.actions.push_back(MembershipAction::Event(MemberEvent::Renewed(me)));
        self.contacts.hurry(now);
        self.absorb(now, outcome);
    }

    /// A node whose timers are far too late stood still: another one may have its name by now.
    pub(super) fn notice_standstill(&mut self, now: Mono) {
        if self.poll_timeout().is_some_and(|due| now.saturating_since(due) > self.suspicion * 2) {
            self.namesakes.stood_still(now);
        }
    }
}
