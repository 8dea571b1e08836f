//! How nodes go: by their own will, with everything handed over; or found dead.

use std::collections::BTreeSet;

use super::view::Kind;
use super::{Phase, SuccessorCore};
use crate::dht::key::Key;
use crate::dht::successor::event::SuccessorEvent;
use crate::dht::successor::message::Message;
use crate::time::Mono;

/// For how many repetitions of its goodbye a leaver waits for a predecessor that does not answer.
const PATIENCE: u32 = 4;

#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) next: Mono,
    began: Mono,
    deadline: Mono,
    /// How often the goodbye was said to the present neighbours.
    said: u32,
    acked: BTreeSet<Key>,
    /// It answers for its arc until its successor does.
    pub(super) owns: bool,
    /// Both neighbours have relinked: pairs may go.
    pub(super) handing_over: bool,
}

impl SuccessorCore {
    /// The program wants to go.
    pub(super) fn on_leave_request(&mut self, now: Mono) {
        match &self.phase {
            Phase::Joining(_) => {
                // Nobody counts on it yet.
                self.end_silently();
            }
            Phase::Serving => {
                self.phase = Phase::Leaving(Leaving {
                    next: now,
                    began: now,
                    deadline: now + self.config.leave_timeout,
                    said: 0,
                    acked: BTreeSet::new(),
                    owns: true,
                    handing_over: false,
                });
                self.leave_timeout(now);
            }
            Phase::Leaving(_) | Phase::Ended => {}
        }
    }

    pub(super) fn leave_timeout(&mut self, now: Mono) {
        let Phase::Leaving(leaving) = &mut self.phase else { return };
        if leaving.next > now {
            return;
        }
        leaving.next = now + self.config.retry;
        leaving.said += 1;
        // A node that does not even hear itself has nobody to hand over to: its connection is gone, or its broker.
        let heard = leaving.began.max(self.echoed);
        let unheard = now.saturating_since(heard) >= self.config.lease * 2 / 3;
        let expired = leaving.deadline <= now || unheard;
        if self.links.successor.is_none() {
            if !expired && self.view.is_sought(now, self.config.quiet) {
                // Newcomers are about to confirm: then there is somebody to hand over to.
                return;
            }
            self.say_goodbye();
            return self.end(now, 0);
        }
        if expired {
            // Of a pair that is not its own another node has the original.
            let abandoned = self.pairs.values().filter(|pair| pair.mine).count();
            return self.end(now, abandoned);
        }
        if !leaving.handing_over {
            // First the clock: what the heir accepts from now on must be later than whatever this node has accepted.
            self.announce(now);
            self.say_goodbye();
            self.begin_handover(now);
        }
    }

    fn say_goodbye(&mut self) {
        let (id, links) = (self.id, self.links);
        self.publish(Message::Leave { id, successor: links.successor, predecessor: links.predecessor });
    }

    /// A neighbour of this leaver has relinked.
    pub(super) fn on_ack_leave(&mut self, now: Mono, leaver: Key, acker: Key) {
        let me = self.id;
        if let Phase::Leaving(leaving) = &mut self.phase
            && leaver == me
            && self.view.contains(acker)
        {
            leaving.acked.insert(acker);
            self.begin_handover(now);
        }
    }

    /// Stops owning when the successor has taken over, and hands over when the predecessor has relinked too.
    fn begin_handover(&mut self, now: Mono) {
        let links = self.links;
        let Phase::Leaving(leaving) = &mut self.phase else { return };
        let acked = |id: Option<Key>| id.is_none_or(|id| leaving.acked.contains(&id));
        // Once another node has taken over there is no way back.
        let owns = leaving.owns && !acked(links.successor);
        let handing_over = acked(links.successor) && (acked(links.predecessor) || leaving.said > PATIENCE);
        if (owns, handing_over) != (leaving.owns, leaving.handing_over) {
            leaving.owns = owns;
            leaving.handing_over = handing_over;
            self.reassess(now);
        }
        self.finish_leaving(now);
    }

    /// The neighbours have changed during the goodbye: the new ones must hear it.
    pub(super) fn relink_leaving(&mut self) {
        if let Phase::Leaving(leaving) = &mut self.phase {
            let unheard = |id: Option<Key>| id.is_some_and(|id| !leaving.acked.contains(&id));
            if unheard(self.links.successor)
                || unheard(self.links.predecessor)
                || self.links.successor.is_none()
            {
                leaving.next = Mono::ZERO;
                leaving.said = 0;
                leaving.handing_over = false;
            }
        }
    }

    /// Goes when nothing is left to hand over.
    pub(super) fn finish_leaving(&mut self, now: Mono) {
        if let Phase::Leaving(leaving) = &self.phase
            && leaving.handing_over
            && self.pairs.is_empty()
        {
            self.end(now, 0);
        }
    }

    /// Another node says goodbye.
    pub(super) fn on_leave(&mut self, now: Mono, id: Key, successor: Option<Key>, predecessor: Option<Key>) {
        let me = self.id;
        if id == me {
            // Its own echo, or somebody says it in this node's name: then the others do not count on it any more.
            if self.is_serving() && self.links.successor.is_some() {
                self.expelled(now);
            }
            return;
        }
        if self.view.contains(id) {
            if self.kind(id, now) == Kind::Speaks {
                // It has said the same with its clock, or somebody else has said this; it repeats it if it means it.
                return;
            }
            // A plain peer's neighbours may be plain, too, and do not announce themselves.
            for neighbour in [successor, predecessor].into_iter().flatten() {
                self.view.mention(now, neighbour);
            }
            self.on_leaving(now, id);
        }
        if matches!(self.phase, Phase::Serving | Phase::Leaving(_)) {
            // Once for each side: the other of the last two is both.
            for _ in [successor, predecessor].into_iter().filter(|named| *named == Some(me)) {
                self.publish(Message::AckLeave { leaver: id, acker: me });
            }
        }
    }

    /// A node is handing over: whatever it was before, it is not on the ring any more.
    pub(super) fn on_leaving(&mut self, now: Mono, id: Key) {
        if !self.view.contains(id) {
            return;
        }
        // Its arc is this node's now; or, if this node has just joined, was a part of its arc.
        let heir = self.links.predecessor == Some(id);
        let newcomer = self.links.successor == Some(id) && self.warmth.is_newcomer();
        if self.is_serving() && (heir || newcomer) {
            self.warmth.await_leaver(now, id);
        }
        self.depart(now, id);
        self.tell(SuccessorEvent::Left(id));
        self.relink(now);
    }

    /// A leaver has handed everything over.
    pub(super) fn on_gone(&mut self, now: Mono, id: Key) {
        let was_warm = self.warmth.is_warm();
        // Its goodbye may have been missed.
        self.on_leaving(now, id);
        self.warmth.leaver_gone(id);
        self.after_warmth(now, was_warm);
    }

    /// Somebody, the broker for one, says that a node is dead.
    pub(super) fn on_fail(&mut self, now: Mono, id: Key) {
        if id == self.id {
            if self.is_serving() && self.links.successor.is_some() {
                self.expelled(now);
            }
            return;
        }
        let was_warm = self.warmth.is_warm();
        self.warmth.leaver_gone(id);
        if self.view.contains(id) {
            self.depart(now, id);
            self.tell(SuccessorEvent::Failed(id));
            self.relink(now);
        }
        self.after_warmth(now, was_warm);
    }

    /// Nodes of this library that have fallen silent.
    pub(super) fn give_up_silent(&mut self, now: Mono) {
        for id in self.view.silent(now, self.config.lease) {
            let links = self.links;
            self.on_fail(now, id);
            if links.predecessor == Some(id) || links.successor == Some(id) {
                // Its neighbours know best; the others need not wait.
                self.publish(Message::Fail(id));
            }
        }
    }

    fn depart(&mut self, now: Mono, id: Key) {
        let heard = self.view.remove(now, id);
        if let Phase::Joining(joining) = &mut self.phase {
            joining.forget(id);
        }
        // Behind it there may be a plain peer, of which only it has told.
        let plain = heard.map(|heard| heard.plain).unwrap_or_default();
        for neighbour in [plain.predecessor, plain.successor].into_iter().flatten() {
            self.view.mention(now, neighbour);
        }
    }
}
