//! How a newcomer finds its place, and how those on the ring answer it.

use super::warmth::Warmth;
use super::{Phase, SuccessorCore};
use crate::dht::key::Key;
use crate::dht::successor::event::SuccessorEvent;
use crate::dht::successor::message::{Heal, Message, Side, Stage};
use crate::time::Mono;

/// A ring whose answers stop for so many announcements has ended.
const SILENCE: u32 = 50;
/// So often a newcomer lets a smaller one go first.
const DEFERENCES: u32 = 4;

#[derive(Debug)]
pub(super) struct Joining {
    pub(super) next: Mono,
    /// Announcements since the last sign of a ring.
    attempts: u32,
    started: bool,
    deferred: u32,
    successor: Option<Key>,
    predecessor: Option<Key>,
    /// Who counts a node of this id among its neighbours, and since when.
    listed: Option<(Key, Mono)>,
}

impl Joining {
    pub(super) fn new(now: Mono) -> Self {
        Self {
            next: now,
            attempts: 0,
            started: false,
            deferred: 0,
            successor: None,
            predecessor: None,
            listed: None,
        }
    }

    /// There is a ring.
    pub(super) fn found(&mut self) {
        self.started = true;
        self.attempts = 0;
    }

    /// A node that was learnt is gone.
    pub(super) fn forget(&mut self, id: Key) {
        self.successor = self.successor.filter(|known| *known != id);
        self.predecessor = self.predecessor.filter(|known| *known != id);
    }
}

impl SuccessorCore {
    pub(super) fn join_timeout(&mut self, now: Mono) {
        let Phase::Joining(joining) = &mut self.phase else { return };
        if joining.next > now {
            return;
        }
        joining.next = now + self.config.join_interval;
        if joining.started && joining.attempts >= SILENCE.min(self.config.join_attempts) {
            joining.started = false;
            joining.attempts = 0;
        }
        if !joining.started && joining.attempts >= self.config.join_attempts {
            return self.serve(now);
        }
        let id = self.id;
        self.publish(Message::Join(id));
    }

    pub(super) fn on_has_started(&mut self) {
        if let Phase::Joining(joining) = &mut self.phase {
            joining.found();
        }
    }

    /// Somebody announces itself.
    pub(super) fn on_join(&mut self, now: Mono, id: Key) {
        let me = self.id;
        if let Phase::Joining(joining) = &mut self.phase {
            if id == me {
                // An announcement counts when it is out.
                joining.attempts += 1;
                return;
            }
            // Of several that find no ring the smallest begins it, rather than each one of its own.
            if id < me && !joining.started && joining.deferred < DEFERENCES * self.config.join_attempts {
                joining.deferred += 1;
                joining.attempts = 0;
            }
            self.view.joins(now, id, self.config.quiet);
            return;
        }
        self.publish(Message::HasStarted);
        if id == me {
            // Most likely an echo; but if it is a second node of this id, it learns of the first.
            if now.saturating_since(self.announced) >= self.config.join_interval * 5 {
                self.announce(now);
            }
            return;
        }
        if !self.view.joined_lately(id, now) {
            // The newcomer must not take this node for a plain peer.
            self.announce(now);
        }
        self.view.joins(now, id, self.config.quiet);
        // A leaver that is the last takes no leave of those who are about to join it.
        let answers = self.is_serving() || self.links.successor.is_none();
        if !answers || self.view.contains(id) || self.view.is_barred(id, now, self.config.quiet) {
            return;
        }
        let between = |after: Option<Key>, before: Option<Key>| {
            id.is_between(after.unwrap_or(me), before.unwrap_or(me))
        };
        if between(self.links.predecessor, Some(me)) {
            self.publish(Message::AckJoin { from: me, to: id, side: Side::Successor });
        }
        if between(Some(me), self.links.successor) {
            self.publish(Message::AckJoin { from: me, to: id, side: Side::Predecessor });
        }
    }

    /// A neighbour for this newcomer, or some newcomer's confirmation.
    pub(super) fn on_ack_join(&mut self, now: Mono, from: Key, to: Key, side: Side) {
        let me = self.id;
        if to == me
            && from != me
            && let Phase::Joining(joining) = &mut self.phase
        {
            // While others come and go there may be several answers: the nearest is right.
            let nearer = |known: Option<Key>, closer: fn(Key, Key, Key) -> bool| match known {
                Some(known) if !closer(from, me, known) => Some(known),
                _ => Some(from),
            };
            match side {
                Side::Successor => {
                    joining.successor =
                        nearer(joining.successor, |from, me, known| from.is_between(me, known));
                }
                Side::Predecessor => {
                    joining.predecessor =
                        nearer(joining.predecessor, |from, me, known| from.is_between(known, me));
                }
            }
            joining.found();
            return self.confirm(now);
        }
        self.view.shows_itself(from);
        // Only a node that was heard joining can confirm: nobody slips into the ring by one stray message.
        if side == Side::Predecessor
            && from != me
            && self.view.joined_lately(from, now)
            && !self.view.is_barred(from, now, self.config.quiet)
            && self.view.add(now, from)
        {
            self.relink(now);
        }
    }

    /// Another node has this one's id. A newcomer, and one that has just been, makes way; later on a node does not leave
    /// its place for a word that anybody might have said.
    pub(super) fn meet_twin(&mut self, now: Mono, heal: &Heal) {
        let joining = matches!(self.phase, Phase::Joining(_));
        let on_trial = self.is_serving() && now < self.on_trial;
        let own_echo = !joining && heal.clock <= self.spoken;
        if !(joining || on_trial) || own_echo || !matches!(heal.stage, Stage::Busy | Stage::Done) {
            return;
        }
        match self.twin {
            None => self.twin = Some((now, heal.clock)),
            // One word may come from this node's own former life; a live twin goes on talking.
            Some((since, clock)) => {
                if clock < heal.clock && now.saturating_since(since) >= self.config.announce / 2 {
                    self.give_way();
                }
            }
        }
    }

    /// A neighbour goes on counting a node of this newcomer's id among its own: a plain peer, for another one would speak.
    pub(super) fn meet_listed(&mut self, now: Mono, heal: &Heal) {
        let Phase::Joining(joining) = &mut self.phase else { return };
        if ![heal.predecessor, heal.successor].contains(&Some(self.id)) {
            joining.listed = joining.listed.filter(|(by, _)| *by != heal.id);
            return;
        }
        // It may be this node's own former life, which has yet to be given up.
        let (_, since) = *joining.listed.get_or_insert((heal.id, now));
        if now.saturating_since(since) >= self.config.lease * 2 {
            self.give_way();
        }
    }

    fn give_way(&mut self) {
        self.tell(SuccessorEvent::IdTaken);
        // The others would take its last word for the other node's.
        self.end_silently();
    }

    /// With both neighbours known the newcomer is on the ring.
    fn confirm(&mut self, now: Mono) {
        let Phase::Joining(Joining { successor: Some(successor), predecessor: Some(predecessor), .. }) =
            &self.phase
        else {
            return;
        };
        let learnt = [*successor, *predecessor];
        for id in learnt {
            self.view.add(now, id);
        }
        self.serve(now);
    }

    /// From now on this node answers for its arc.
    fn serve(&mut self, now: Mono) {
        self.phase = Phase::Serving;
        self.on_trial = now + self.config.announce * 2;
        self.links = self.view.links();
        if let Some(successor) = self.links.successor {
            self.warmth = Warmth::newcomer(now);
            self.acquainted = now + self.config.announce * 2;
            let id = self.id;
            self.publish(Message::AckJoin { from: id, to: successor, side: Side::Predecessor });
        }
        self.tell(SuccessorEvent::Serving(self.links));
        self.reassess(now);
        self.announce(now);
    }
}
