//! Who is on the ring: SWIM (crate foca) as a core without I/O and without a clock.
//!
//! Around foca this file adds what a ring of named nodes needs: joining through an address whose name is not known yet,
//! a departure that every member hears at once, one rule for two nodes that claim one name, and the search for members
//! that were lost, so that a healed partition becomes one ring again.

mod claims;
mod config;
mod contacts;
mod inspect;
mod names;
mod pace;
mod renewal;
mod timers;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use foca::{AccumulatingRuntime, Foca, NoCustomBroadcast, PostcardCodec, State};
use foca_rand::SeedableRng;
use foca_rand::rngs::SmallRng;

use crate::quiet::afterwards;
use crate::time::{Mono, earliest};
use crate::transport::Locator;

pub use self::config::MembershipConfig;
use self::contacts::Contacts;
use self::names::Namesakes;
use self::pace::Pace;
use self::renewal::Renewals;
use self::timers::Timers;
use super::member::{Member, NodeName};
use super::message::MembershipMessage;

/// What happened to the membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberEvent {
    /// A node joined or came back.
    Up(Member),
    /// A node was given up: it crashed or cannot be reached.
    Down(Member),
    /// A node said that it leaves.
    Left(Member),
    /// A node came back under a new generation before it had been given up: what it held may be gone.
    Restarted {
        /// The earlier incarnation.
        from: Member,
        /// The present one.
        to: Member,
    },
    /// This node had been given up by others, or an earlier life of it is remembered, and came back under a new
    /// generation.
    Renewed(Member),
    /// Another living node has borne this node's name for longer. This node is off the ring and must stop.
    NameTaken {
        /// The node that holds the name.
        by: Member,
    },
}

/// What the shell has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MembershipAction {
    /// Send a message to a node.
    Send {
        /// Where to.
        to: Locator,
        /// What.
        message: MembershipMessage,
    },
    /// Something changed.
    Event(MemberEvent),
}

/// The membership of one node.
pub struct Membership {
    foca: Foca<Member, PostcardCodec, SmallRng, NoCustomBroadcast>,
    runtime: AccumulatingRuntime<Member>,
    suspicion: Duration,
    pace: Pace,
    timers: Timers,
    contacts: Contacts,
    active: BTreeMap<NodeName, Member>,
    /// Members whose end was announced: the event is `Left`, and nobody looks for them.
    leaving: BTreeSet<NodeName>,
    namesakes: Namesakes,
    renewals: Renewals,
    /// When a member's name was last claimed by another node, so that the member was suspected.
    examined: BTreeMap<NodeName, Mono>,
    /// This node has left, or its name is another's.
    ended: bool,
    /// A namesake that gave way has said whom it knew: once is enough.
    has_inherited: bool,
    actions: VecDeque<MembershipAction>,
}

/// The most nodes that one that gives its name up tells its namesake of.
const MAX_HERITAGE: usize = 16;

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Membership")
            .field("me", self.me())
            .field("active", &self.active)
            .finish_non_exhaustive()
    }
}

impl Membership {
    /// A node that knows only itself.
    pub fn new(me: Member, config: &MembershipConfig, seed: u64) -> Self {
        let rng = SmallRng::seed_from_u64(seed);
        Self {
            foca: Foca::new(me, config.foca(), rng, PostcardCodec),
            runtime: AccumulatingRuntime::new(),
            suspicion: config.suspicion,
            pace: Pace::new(config),
            timers: Timers::default(),
            contacts: Contacts::new(config.rejoin_pause, config.forget_after),
            active: BTreeMap::new(),
            leaving: BTreeSet::new(),
            namesakes: Namesakes::new(seed, config.suspicion),
            renewals: Renewals::default(),
            examined: BTreeMap::new(),
            ended: false,
            has_inherited: false,
            actions: VecDeque::new(),
        }
    }

    /// This node as it presently appears to others.
    pub fn me(&self) -> &Member {
        self.foca.identity()
    }

    /// The other members.
    pub fn others(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.active.values()
    }

    /// Whether this node has left the ring, or had to.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Joins through these nodes: each is asked until it is a member, at growing intervals.
    pub fn join(&mut self, now: Mono, seeds: impl IntoIterator<Item = Locator>) {
        if !self.ended {
            self.namesakes.alive(now);
            self.contacts.add_seeds(now, seeds);
            self.look_for_contacts(now);
        }
    }

    /// Leaves: every member is told, and tells the others.
    pub fn leave(&mut self) {
        if self.ended {
            return;
        }
        let me = self.me().clone();
        for member in self.active.values() {
            let message = MembershipMessage::Leaving(me.clone());
            self.actions.push_back(MembershipAction::Send { to: member.locator.clone(), message });
        }
        self.ended = true;
    }

    /// Takes a message of another node.
    pub fn handle(&mut self, now: Mono, message: MembershipMessage) {
        if self.ended {
            return;
        }
        self.notice_standstill(now);
        if message.names().is_some_and(|member| member.generation > renewal::LATEST) {
            afterwards(move || metrics::counter!("ringbus_membership_malformed_total").increment(1));
            return;
        }
        match message {
            MembershipMessage::Swim(packet) => self.handle_swim(now, &packet),
            MembershipMessage::Join(member) => {
                if self.admit(now, &member) {
                    let message = MembershipMessage::Welcome(self.me().clone());
                    self.actions.push_back(MembershipAction::Send { to: member.locator, message });
                }
            }
            MembershipMessage::Welcome(member) => {
                if self.admit(now, &member) {
                    self.announce_to(now, member);
                }
            }
            MembershipMessage::NameTaken(by) => self.meet_namesake(now, &by, true),
            MembershipMessage::NameQuery { from, nonce } => self.answer_namesake(now, &from, nonce),
            MembershipMessage::NameHeld { by, held, nonce } => self.settle_name(now, by, held, nonce),
            MembershipMessage::Heritage(members) => {
                if !std::mem::replace(&mut self.has_inherited, true) {
                    let here = self.me().locator.scheme().to_string();
                    let reachable = members.into_iter().filter(|member| member.scheme() == here);
                    self.contacts.inherit(now, reachable.take(MAX_HERITAGE));
                }
            }
            MembershipMessage::Leaving(member) => {
                if self.active.get(&member.name) == Some(&member) {
                    self.leaving.insert(member.name.clone());
                    let down = foca::Member::new(member, inspect::LEFT, State::Down);
                    let outcome = self.foca.apply_many([down].into_iter(), true, &mut self.runtime);
                    self.absorb(now, outcome);
                }
            }
        }
    }

    /// The transport lost a peer: if it is a member it is suspected at once, and can still object.
    pub fn peer_down(&mut self, now: Mono, locator: &Locator) {
        let suspect = self.foca.iter_members().find(|member| member.id().locator == *locator);
        if let Some(suspect) = suspect.filter(|member| member.state() == State::Alive).cloned() {
            self.suspect(now, &suspect);
        }
    }

    fn suspect(&mut self, now: Mono, suspect: &foca::Member<Member>) {
        let Some(token) = self.timers.token() else { return };
        let update = foca::Member::new(suspect.id().clone(), suspect.incarnation(), State::Suspect);
        let outcome = self.foca.apply_many([update].into_iter(), true, &mut self.runtime);
        self.absorb(now, outcome);
        let give_up = foca::Timer::ChangeSuspectToDown {
            member_id: suspect.id().clone(),
            incarnation: suspect.incarnation(),
            token,
        };
        self.timers.insert(now + self.pace.suspicion(&suspect.id().name), give_up);
        let outcome = self.foca.gossip(&mut self.runtime);
        self.absorb(now, outcome);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Mono) {
        if self.ended {
            return;
        }
        self.notice_standstill(now);
        while let Some(timer) = self.timers.pop_due(now) {
            if self.was_refuted(&timer) {
                continue;
            }
            if let foca::Timer::ChangeSuspectToDown { member_id, .. } = &timer
                && let Some(until) = self.pace.respite(now, &member_id.name)
            {
                self.timers.insert(until, timer);
                continue;
            }
            let outcome = self.foca.handle_timer(timer, &mut self.runtime);
            self.absorb(now, outcome);
        }
        self.ask_namesakes(now);
        self.renew_if_due(now);
        self.look_for_contacts(now);
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<MembershipAction> {
        self.actions.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Mono> {
        if self.ended {
            return None;
        }
        let names = earliest(self.namesakes.next(), self.renewals.due(self.me().generation));
        earliest(earliest(self.timers.next(), self.contacts.next()), names)
    }

    /// Whether a timer would give up a member that has objected meanwhile. foca 2.0 leaves such a member alive, but
    /// tells it all the same that it was given up.
    fn was_refuted(&mut self, timer: &foca::Timer<Member>) -> bool {
        let foca::Timer::ChangeSuspectToDown { member_id, incarnation, .. } = timer else { return false };
        let mut members = self.foca.iter_members();
        let is_suspected = members.any(|member| {
            member.id() == member_id
                && member.incarnation() == *incarnation
                && member.state() == State::Suspect
        });
        if !is_suspected {
            self.pace.cleared(&member_id.name);
        }
        !is_suspected
    }

    fn handle_swim(&mut self, now: Mono, packet: &[u8]) {
        let Some(seen) = inspect::identities(packet) else {
            afterwards(move || metrics::counter!("ringbus_membership_malformed_total").increment(1));
            return;
        };
        let me = self.me().clone();
        for member in seen.mentioned.iter().filter(|member| member.name == me.name && **member != me) {
            self.meet_namesake(now, member, true);
        }
        if !self.admit(now, &seen.source) {
            return;
        }
        self.leaving.extend(seen.left.into_iter().filter(|name| self.active.contains_key(name)));
        self.keep_pace(now, &seen.source.name, &seen.message);
        let outcome = self.foca.handle_data(packet, &mut self.runtime);
        self.absorb(now, outcome);
    }

    /// Measures how quickly members answer. The turn of one that has answered need not last as long as it might have.
    fn keep_pace(&mut self, now: Mono, source: &NodeName, message: &foca::Message<Member>) {
        if !self.active.contains_key(source) {
            return;
        }
        self.pace.heard(now, source);
        let next = match message {
            foca::Message::Ack(number) => self.pace.answered(now, *number, source),
            foca::Message::ForwardedAck { origin, probe_number } => {
                self.pace.next_turn(*probe_number, &origin.name)
            }
            _ => None,
        };
        if let Some(next) = next {
            self.timers.hasten_probe(now.max(next));
        }
    }

    fn announce_to(&mut self, now: Mono, member: Member) {
        let outcome = self.foca.announce(member, &mut self.runtime);
        self.absorb(now, outcome);
    }

    /// Asks seeds and lost members that are not on the ring, if it is time to.
    fn look_for_contacts(&mut self, now: Mono) {
        let me = self.foca.identity();
        let present: BTreeSet<&Locator> =
            self.active.values().map(|member| &member.locator).chain([&me.locator]).collect();
        for to in self.contacts.due(now, &present) {
            let message = MembershipMessage::Join(me.clone());
            self.actions.push_back(MembershipAction::Send { to, message });
        }
    }

    /// Turns what foca wants into timers, actions and events.
    fn absorb(&mut self, now: Mono, outcome: Result<(), foca::Error>) {
        if let Err(error) = outcome {
            // foca's errors leave its state sound: a packet was bad, or a timer came too late.
            afterwards(move || {
                metrics::counter!("ringbus_membership_errors_total").increment(1);
                tracing::debug!(%error, "membership");
            });
        }
        // The member that is probed from now on.
        let mut probed = None;
        while let Some((to, packet)) = self.runtime.to_send() {
            if let Some(number) = inspect::probe(&packet) {
                self.pace.asked(now, number, &to.name);
                probed = Some(to.name.clone());
            }
            let message = MembershipMessage::Swim(packet.to_vec());
            self.actions.push_back(MembershipAction::Send { to: to.locator, message });
        }
        while let Some((after, timer)) = self.runtime.to_schedule() {
            let after = match (&timer, &probed) {
                (foca::Timer::SendIndirectProbe { probed_id, .. }, _) => self.pace.timeout(&probed_id.name),
                (foca::Timer::ProbeRandomMember(_), Some(probed)) => self.pace.turn(probed),
                (foca::Timer::ChangeSuspectToDown { member_id, .. }, _) => {
                    self.pace.suspicion(&member_id.name)
                }
                _ => after,
            };
            self.timers.insert(now + after, timer);
        }
        let mut changed = false;
        while let Some(notification) = self.runtime.to_notify() {
            changed = true;
            // This node was given up. foca cannot renew an identity by itself, since it could not bound how often.
            if notification == foca::OwnedNotification::Defunct {
                self.renewals.refused();
            }
        }
        if changed {
            self.report_changes(now);
        }
        self.renew_if_due(now);
    }

    fn report_changes(&mut self, now: Mono) {
        let present: BTreeMap<NodeName, Member> =
            self.foca.iter_members().map(|member| (member.id().name.clone(), member.id().clone())).collect();
        let before = std::mem::replace(&mut self.active, present);
        self.pace.retain(|name| self.active.contains_key(name));
        let mut newcomers = Vec::new();
        for (name, was) in &before {
            if self.active.contains_key(name) {
                continue;
            }
            let event = if self.leaving.remove(name) {
                MemberEvent::Left(was.clone())
            } else {
                self.contacts.lost(now, was);
                MemberEvent::Down(was.clone())
            };
            self.actions.push_back(MembershipAction::Event(event));
        }
        for (name, is) in &self.active {
            let event = match before.get(name) {
                Some(was) if was == is => continue,
                Some(was) => MemberEvent::Restarted { from: was.clone(), to: is.clone() },
                None => MemberEvent::Up(is.clone()),
            };
            self.contacts.found(name);
            self.leaving.remove(name);
            self.actions.push_back(MembershipAction::Event(event));
            newcomers.push(is.clone());
        }
        self.examined.retain(|name, _| self.active.contains_key(name));
        // Of two nodes that meet, the later one speaks first: so everyone knows a newcomer at once, rather than by and
        // by as the gossip spreads.
        let generation = self.me().generation;
        for newcomer in newcomers {
            if newcomer.generation < generation {
                self.announce_to(now, newcomer);
            }
        }
    }
}
