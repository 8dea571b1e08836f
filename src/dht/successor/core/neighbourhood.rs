//! What a node knows of the nodes around it, and what follows when that changes.

use std::time::Duration;

use super::view::{Heard, Kind};
use super::warmth::Resumed;
use super::{Action, Phase, SuccessorCore};
use crate::dht::key::Key;
use crate::dht::successor::event::{Links, SuccessorEvent};
use crate::dht::successor::message::{Heal, Message, Plain, Stage};
use crate::dht::successor::text::MAX_ADDRESSES;
use crate::quiet::afterwards;
use crate::time::Mono;

impl SuccessorCore {
    /// Says where this node stands.
    pub(super) fn announce(&mut self, now: Mono) {
        self.announced = now;
        self.sought = false;
        let is_plain = |id: Option<Key>| id.is_some_and(|id| self.kind(id, now) == Kind::Plain);
        let plain = Plain {
            predecessor: is_plain(self.links.predecessor),
            successor: is_plain(self.links.successor),
        };
        let addresses = self.addresses();
        self.spoken = self.clock.tick(now);
        let heal = Heal {
            id: self.id,
            predecessor: self.links.predecessor,
            successor: self.links.successor,
            plain,
            stage: self.stage(),
            clock: self.spoken,
            addresses,
            takes_detours: self.has_ways(),
        };
        self.publish(Message::Heal(heal));
    }

    /// Another node says where it stands.
    pub(super) fn on_heal(&mut self, now: Mono, heal: Heal) {
        if heal.id == self.id {
            self.echoed = now;
            return self.meet_twin(now, &heal);
        }
        if matches!(self.phase, Phase::Joining(_)) && matches!(heal.stage, Stage::Busy | Stage::Done) {
            self.clock.follow(now, heal.clock);
        }
        if !self.clock.observe(now, heal.clock) {
            let (id, clock) = (heal.id, heal.clock);
            afterwards(move || {
                tracing::warn!(%id, clock, "a clock more than a day ahead is not believed");
                metrics::counter!("ringbus_successor_malformed_total", "cause" => "clock").increment(1);
            });
            return;
        }
        self.view.note_node(now, heal.id);
        if self.address.is_some() && !heal.addresses.is_empty() {
            self.actions.push_back(Action::Meet(heal.addresses.clone()));
        }
        match heal.stage {
            Stage::Busy | Stage::Done => self.on_alive(now, &heal),
            Stage::Joining if !self.view.contains(heal.id) => {
                self.view.hear(heal.id, heard(now, &heal));
            }
            // A second node of a member's id, or the same started again: the member's lease decides.
            Stage::Joining => {}
            Stage::Leaving => self.on_leaving(now, heal.id),
            Stage::Gone => self.on_gone(now, heal.id),
        }
    }

    fn on_alive(&mut self, now: Mono, heal: &Heal) {
        let id = heal.id;
        if self.view.is_barred(id, now, self.config.quiet) {
            // Words of a former life may still be on their way; but if it lives, it will be back soon.
            return self.view.expect(now, id);
        }
        if self.view.heard(id).is_some_and(|heard| heard.clock > heal.clock) {
            return;
        }
        if let Phase::Joining(joining) = &mut self.phase {
            joining.found();
            self.meet_listed(now, heal);
        }
        let first = self.view.hear(id, heard(now, heal));
        if self.view.add(now, id) {
            self.relink(now);
        } else if first && self.view.contains(id) {
            // It was taken for a plain peer until now: copies can be asked of it.
            self.reassess(now);
        }
        let links = Links { predecessor: heal.predecessor, successor: heal.successor };
        for ghost in self.view.denied(now, id, links, self.config.lease) {
            self.on_fail(now, ghost);
        }
        if self.is_serving() && self.links.successor == Some(id) {
            self.listen_to_successor(now, heal);
        }
    }

    /// The successor knows this node as its predecessor, or it does not and acts in its place.
    fn listen_to_successor(&mut self, now: Mono, heal: &Heal) {
        if heal.predecessor == Some(self.id) {
            // Without a broker a newcomer meets the others one by one: those who hold its pairs may be to come.
            let met = self.address.is_none() || now >= self.acquainted;
            let past = self.warmth.is_past(now, heal.id, heal.clock);
            if heal.stage == Stage::Done && met && !past {
                let was_warm = self.warmth.is_warm();
                self.warmth.complete();
                self.after_warmth(now, was_warm);
            }
        } else if self.id.is_between(heal.predecessor.unwrap_or(heal.id), heal.id)
            && !self.warmth.is_newcomer()
        {
            self.expelled(now);
        }
    }

    /// The neighbours may have changed.
    pub(super) fn relink(&mut self, now: Mono) {
        if matches!(self.phase, Phase::Joining(_) | Phase::Ended) {
            return;
        }
        let links = self.view.links();
        if links == self.links {
            return;
        }
        if links.successor != self.links.successor {
            // What a node held as the successor it may drop when it is not, even if it becomes it again.
            self.pairs.values_mut().for_each(|pair| pair.held_by = None);
        }
        self.links = links;
        self.tell(SuccessorEvent::Relinked(links));
        let was_warm = self.warmth.is_warm();
        if links.successor.is_none() {
            self.warmth.alone();
        }
        self.relink_leaving();
        self.reassess(now);
        self.after_warmth(now, was_warm);
        self.announce(now);
    }

    /// Begins every duty anew: who owns what, or who is to be asked, has changed.
    pub(super) fn reassess(&mut self, now: Mono) {
        self.transfers.clear();
        let keys: Vec<Key> = self.pairs.keys().copied().collect();
        for key in keys {
            let owned = self.owns(key);
            self.turn += 1;
            let Some(pair) = self.pairs.get_mut(&key) else { continue };
            pair.turn = self.turn;
            pair.offered = false;
            pair.held_for.retain(|id| self.view.contains(*id));
            if owned {
                pair.mine = true;
            } else {
                pair.fresh = false;
                // The copy that it counted on may go.
                pair.held_by = None;
                pair.known_at = None;
            }
            if self.has_duty(now, key) {
                self.transfers.ready(key);
                if !owned {
                    self.transfers.owe(key);
                }
            }
        }
        let mut waiters = std::mem::take(&mut self.waiters);
        waiters.retain(|key| self.owns(key));
        self.waiters = waiters;
        let mut held = std::mem::take(&mut self.held);
        held.retain(|key, _| self.owns(*key));
        self.held = held;
    }

    /// Others may have accepted puts in this node's place: what it holds is not certain to be the latest.
    fn doubt(&mut self, now: Mono, pause: Duration) {
        // So long a node that was given up is barred, and then takes to be heard.
        let patience = self.config.quiet + self.config.announce * 2;
        if self.warmth.doubt(now, patience, pause) {
            for pair in self.pairs.values_mut() {
                // What was put here when this node was a newcomer may have been overwritten, too: now versions decide.
                (pair.sure, pair.fresh) = (false, false);
            }
        }
    }

    /// The others have given this node up.
    pub(super) fn expelled(&mut self, now: Mono) {
        if let Some(resumed) = self.warmth.resumed() {
            // It doubts already.
            if !std::mem::replace(&mut resumed.told, true) {
                self.tell(SuccessorEvent::Expelled);
            }
        } else if self.warmth.may_doubt(now, self.config.lease) {
            self.tell(SuccessorEvent::Expelled);
            self.doubt(now, self.config.lease);
        }
    }

    /// A node that has not announced itself for so long stood still: it may have been given up, and what it is about to read
    /// was said before, answered by others, and perhaps overwritten.
    pub(super) fn notice_standstill(&mut self, now: Mono) {
        if now.saturating_since(self.tick) >= self.config.announce {
            // What it has said of itself waits to be read, too.
            self.echoed = now;
        }
        let silent = now.saturating_since(self.announced);
        if silent + self.config.announce < self.config.lease
            || !matches!(self.phase, Phase::Serving | Phase::Leaving(_))
        {
            return;
        }
        if let Some(successor) = self.links.successor {
            let (id, seconds) = (self.id, silent.as_secs());
            afterwards(move || {
                tracing::warn!(%id, seconds, "this node stood still: it compares what it holds");
            });
            let heard = self.view.heard(successor);
            let advanced = |heard: &Heard| {
                let since = now.saturating_since(heard.at).saturating_sub(self.config.announce);
                heard.clock.saturating_add(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
            };
            let successor = heard.map(|heard| (successor, advanced(heard)));
            self.doubt(now, Duration::ZERO);
            self.warmth.resume(Resumed { until: now + self.config.quiet, successor, told: false });
        }
        self.view.forgive(now);
        self.detours.forgive(now);
        self.announce(now);
    }

    /// The connection is back.
    pub(super) fn on_reconnected(&mut self, now: Mono) {
        self.view.forgive(now);
        self.detours.forgive(now);
        if self.is_serving() {
            self.doubt(now, Duration::ZERO);
        }
        self.announce(now);
    }

    /// Introduces itself to one that has begun to listen; soon, if it has just done so, for that one may have missed it.
    pub(super) fn on_interest(&mut self, now: Mono) {
        let again = self.announced + self.config.join_interval * 5;
        if now >= again {
            self.announce(now);
        } else {
            self.sought = true;
            self.tick = self.tick.min(again);
        }
    }

    /// Answers what was held until the node became certain of what it has.
    pub(super) fn after_warmth(&mut self, now: Mono, was_warm: bool) {
        if was_warm || !self.warmth.is_warm() {
            return;
        }
        for pair in self.pairs.values_mut() {
            (pair.fresh, pair.sure) = (false, true);
        }
        for key in std::mem::take(&mut self.held).into_keys() {
            self.on_get(now, key);
        }
        self.announce(now);
    }

    /// Where this node and its neighbours are reached, and some others in turn: whoever has met one node meets all.
    fn addresses(&mut self) -> Vec<String> {
        let Some(own) = &self.address else { return Vec::new() };
        let mut addresses = vec![own.clone()];
        let neighbours = [self.links.predecessor, self.links.successor].into_iter().flatten();
        let others = self.view.heard_after(self.introduced);
        // One word of them says that it takes detours.
        for (id, address) in neighbours.filter_map(|id| self.view.address(id)).chain(others) {
            if addresses.len() < MAX_ADDRESSES - 1 && !addresses.iter().any(|known| known == address) {
                addresses.push(address.to_string());
                self.introduced = id;
            }
        }
        addresses
    }

    /// How a neighbour speaks.
    pub(super) fn kind(&self, id: Key, now: Mono) -> Kind {
        self.view.kind(id, now, self.config.quiet)
    }
}

fn heard(now: Mono, heal: &Heal) -> Heard {
    Heard {
        at: now,
        clock: heal.clock,
        plain: Links {
            predecessor: heal.predecessor.filter(|_| heal.plain.predecessor),
            successor: heal.successor.filter(|_| heal.plain.successor),
        },
        addresses: heal.addresses.clone(),
    }
}
