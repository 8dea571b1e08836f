//! Members that do not answer what is passed on to them: the way between two nodes may be cut while others reach both.

use std::collections::BTreeMap;
use std::time::Duration;

use super::NodeCore;
use crate::dht::member::Member;
use crate::dht::message::{Forward, MAX_PART, Message, ReplyBody, Unanswered};
use crate::dht::registry::ReplyTo;
use crate::quiet::afterwards;
use crate::time::Mono;
use crate::transport::Locator;

/// A member that has answered nothing for so long since it was asked cannot be reached from here, as far as this node
/// can tell.
const SILENCE: Duration = Duration::from_millis(300);

/// Since when each member owes an answer. Members only: as many as there are on the ring.
#[derive(Debug, Default)]
pub(super) struct Silent {
    since: BTreeMap<Locator, Mono>,
}

impl Silent {
    /// A request is passed on to a member: whether it has been silent for too long.
    fn asked(&mut self, now: Mono, member: &Locator) -> bool {
        match self.since.get(member) {
            Some(since) => now.saturating_since(*since) >= SILENCE,
            None => {
                self.since.insert(member.clone(), now);
                false
            }
        }
    }

    /// A member has answered.
    pub(super) fn answered(&mut self, member: &Locator) {
        self.since.remove(member);
    }

    /// These are the members now.
    pub(super) fn retain<'a>(&mut self, members: impl Iterator<Item = &'a Member>) {
        let present: Vec<&Locator> = members.map(|member| &member.locator).collect();
        self.since.retain(|member, _| present.contains(&member));
    }
}

impl NodeCore {
    /// Passes a request on to the responsible node; if that does not answer, also by way of a third, which answers the
    /// client itself, and tells the client.
    pub(super) fn forward(&mut self, now: Mono, owner: &Member, forward: Forward, reply_to: &ReplyTo) {
        if self.silent.asked(now, &owner.locator) {
            let me = &self.me().locator;
            let others = self.view.members().filter(|m| m.locator != *me && m.locator != owner.locator);
            let third = others.min_by_key(|member| self.silent.since.get(&member.locator)).cloned();
            if let Some(third) = third {
                let detour = Forward { entry: third.locator.clone(), ..forward.clone() };
                self.send(third.locator, Message::Forward(detour));
            }
            afterwards(move || metrics::counter!("ringbus_node_unanswered_total").increment(1));
            let members = self.view.members().take(MAX_PART).cloned().collect();
            let unanswered = Unanswered { by: self.me().clone(), responsible: owner.clone(), members };
            self.reply_in_parts(reply_to, vec![ReplyBody::Unanswered(Box::new(unanswered))]);
        }
        self.send(owner.locator.clone(), Message::Forward(forward));
    }
}
