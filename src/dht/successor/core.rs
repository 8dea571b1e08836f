//! The state machine of a node.
//!
//! What it rests on: a pair is never dropped before its owner has said that it and its successor hold this version or a
//! later one, and a put is not acknowledged before the owner's successor holds it too. So at any time two nodes hold
//! what was acknowledged, and one crash loses nothing. Everything else (who owns what, who hands what to whom) may be
//! known late or differently in different places, and is repeated until it fits.

mod clock;
mod departing;
mod detours;
mod joining;
mod neighbourhood;
mod pairs;
mod replicas;
mod serving;
mod transfer;
mod transfers;
mod view;
mod waiters;
mod warmth;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use self::clock::VersionClock;
use self::departing::Leaving;
use self::detours::Detours;
use self::joining::Joining;
use self::pairs::Pair;
use self::transfers::Transfers;
use self::view::View;
use self::waiters::Waiters;
use self::warmth::Warmth;
use super::config::SuccessorConfig;
use super::event::{Links, SuccessorEvent};
use super::message::{Message, Stage};
use crate::dht::key::Key;
use crate::time::{Mono, Timestamp, earliest};

/// What a node is told.
#[derive(Debug, Clone)]
pub(crate) enum Input {
    /// A message from a topic, its own included.
    Message(Message),
    /// The connection was lost and is back: others may have given this node up.
    Reconnected,
    /// Somebody has begun to listen.
    Interest,
    /// Hand over and go.
    Leave,
}

/// What a node wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Publish.
    Publish(Message),
    /// Connect to these addresses, where there is no broker. Repeats itself.
    Meet(Vec<String>),
    /// Tell the program.
    Tell(SuccessorEvent),
    /// The node has left or could not join; nothing follows. So many pairs could not be handed over.
    Ended {
        /// Pairs that nobody else is known to hold. The last node takes its pairs with it, and none is counted.
        abandoned: usize,
    },
}

#[derive(Debug)]
enum Phase {
    Joining(Joining),
    Serving,
    Leaving(Leaving),
    Ended,
}

/// A node, without its I/O.
#[derive(Debug)]
pub(crate) struct SuccessorCore {
    id: Key,
    config: SuccessorConfig,
    /// Where it is reached, on a transport without a broker.
    address: Option<String>,
    /// The last node whose address it has passed on.
    introduced: Key,
    clock: VersionClock,
    phase: Phase,
    view: View,
    /// The nearest members of the view, while on the ring.
    links: Links,
    /// The latest turn that was given to a pair.
    turn: u64,
    pairs: BTreeMap<Key, Pair>,
    transfers: Transfers,
    waiters: Waiters,
    /// Gets that cannot be answered yet, and until when it is worth it.
    held: BTreeMap<Key, Mono>,
    warmth: Warmth,
    detours: Detours,
    /// From then on it has heard every node of the ring at least once.
    acquainted: Mono,
    deferred: Vec<(Arc<str>, Key, Arc<str>)>,
    announced: Mono,
    /// Somebody has begun to listen right after it has announced itself.
    sought: bool,
    /// When it last heard itself: whoever does not is cut off, and must not blame the others for it.
    echoed: Mono,
    /// With which clock it has announced itself last.
    spoken: u64,
    /// When another node was first heard under this id, and with which clock.
    twin: Option<(Mono, u64)>,
    /// Until then it makes way for a node of its id that joined at the same time.
    on_trial: Mono,
    /// The next look at leases and the like.
    tick: Mono,
    actions: VecDeque<Action>,
}

impl SuccessorCore {
    /// A node that begins to join at once. `wall` is the wall clock at `now`; `address` is where it is reached on a
    /// transport without a broker.
    pub(crate) fn new(
        now: Mono,
        id: Key,
        config: SuccessorConfig,
        wall: Timestamp,
        address: Option<String>,
    ) -> Self {
        let mut clock = VersionClock::new(now, wall);
        let mut core = Self {
            id,
            address,
            introduced: id,
            phase: Phase::Joining(Joining::new(now)),
            view: View::new(id),
            links: Links::default(),
            // A restarted node must not take answers to its former life for its own.
            turn: clock.tick(now),
            clock,
            pairs: BTreeMap::new(),
            transfers: Transfers::default(),
            waiters: Waiters::default(),
            held: BTreeMap::new(),
            warmth: Warmth::default(),
            detours: Detours::default(),
            acquainted: Mono::ZERO,
            deferred: Vec::new(),
            announced: now,
            sought: false,
            echoed: now,
            spoken: 0,
            twin: None,
            on_trial: Mono::ZERO,
            tick: now + config.announce,
            actions: VecDeque::new(),
            config,
        };
        core.announce(now);
        core
    }

    /// This node's place.
    pub(crate) fn id(&self) -> Key {
        self.id
    }

    /// Its neighbours.
    pub(crate) fn links(&self) -> Links {
        self.links
    }

    /// Whether it answers for its arc.
    pub(crate) fn is_serving(&self) -> bool {
        matches!(self.phase, Phase::Serving)
    }

    /// Whether it serves, its successor holds a copy of everything, and nothing waits to be handed over.
    pub(crate) fn is_settled(&self) -> bool {
        self.is_serving() && self.warmth.is_warm() && self.transfers.is_idle()
    }

    /// The pairs on its own arc.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (Key, &str)> {
        self.pairs.iter().filter(|(key, _)| self.owns(**key)).map(|(key, pair)| (*key, &*pair.value))
    }

    /// Takes an input.
    pub(crate) fn handle(&mut self, now: Mono, input: Input) {
        if matches!(self.phase, Phase::Ended) {
            return;
        }
        // Before the message: what is asked now may have been asked of this node's heir meanwhile.
        self.notice_standstill(now);
        // What had to wait came before.
        self.take_deferred(now);
        match input {
            Input::Message(message) => self.on_message(now, message),
            Input::Reconnected => self.on_reconnected(now),
            Input::Interest => self.on_interest(now),
            Input::Leave => self.on_leave_request(now),
        }
        self.pump(now);
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Mono) {
        if matches!(self.phase, Phase::Ended) {
            return;
        }
        self.notice_standstill(now);
        self.join_timeout(now);
        self.transfers.wake(now);
        if self.tick <= now {
            self.housekeep(now);
        }
        // Last: what came before may have made it due.
        self.leave_timeout(now);
        self.pump(now);
    }

    /// When something is due.
    pub(crate) fn poll_timeout(&self) -> Option<Mono> {
        let phase = match &self.phase {
            Phase::Joining(joining) => Some(joining.next),
            Phase::Leaving(leaving) => Some(leaving.next),
            Phase::Serving => None,
            Phase::Ended => return None,
        };
        earliest(earliest(phase, self.transfers.next()), Some(self.tick))
    }

    /// What is to be done next.
    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn on_message(&mut self, now: Mono, message: Message) {
        match message {
            Message::Join(id) => self.on_join(now, id),
            Message::HasStarted => self.on_has_started(),
            Message::AckJoin { from, to, side } => self.on_ack_join(now, from, to, side),
            Message::Put { client, key, value } => self.on_put(now, client, key, value),
            Message::AckPut { client, node } => self.on_ack_put(now, &client, node),
            Message::Get(key) => self.on_get(now, key),
            Message::Leave { id, successor, predecessor } => self.on_leave(now, id, successor, predecessor),
            Message::AckLeave { leaver, acker } => self.on_ack_leave(now, leaver, acker),
            Message::Fail(id) => self.on_fail(now, id),
            Message::Heal(heal) => {
                self.heard_directly(now, &heal);
                self.on_heal(now, heal);
            }
            Message::Replica { to, replica } => self.on_replica(now, to, replica),
            Message::Ask { at, by, token, question } => self.on_question(now, (at, by), token, question),
            Message::Answer { at, token, key, reply } => self.on_answer(at, token, key, reply),
            Message::Via { at, by, carried } => self.on_via(now, at, by, *carried),
            // For clients.
            Message::ResGet { .. } | Message::ErrGet(_) => {}
        }
    }

    /// Leases, waiting that has lasted too long, the regular announcement.
    fn housekeep(&mut self, now: Mono) {
        let late = now.saturating_since(self.tick);
        self.tick = now + self.config.announce / 2;
        let deaf = now.saturating_since(self.echoed) >= self.config.announce * 2;
        if late >= self.config.announce * 2 || deaf {
            // This node itself stood still, or is cut off; what the others said meanwhile has not been read yet.
            self.view.forgive(now);
            self.detours.forgive(now);
        }
        self.view.purge(now, self.config.lease);
        self.find_ways(now);
        self.give_up_silent(now);
        let was_warm = self.warmth.is_warm();
        let patience = self.successor_patience(now);
        self.warmth.expire(now, patience, self.config.quiet * 2);
        self.after_warmth(now, was_warm);
        self.take_deferred(now);
        self.held.retain(|_, until| now < *until);
        if self.sought || now.saturating_since(self.announced) >= self.config.announce {
            self.announce(now);
        }
    }

    /// Stores a pair that is not there yet.
    fn insert(&mut self, key: Key, pair: Pair) {
        self.turn += 1;
        self.pairs.insert(key, Pair { turn: self.turn, ..pair });
    }

    /// Whether a key is this node's to answer for.
    fn owns(&self, key: Key) -> bool {
        let owning = match &self.phase {
            Phase::Serving => true,
            Phase::Leaving(leaving) => leaving.owns,
            Phase::Joining(_) | Phase::Ended => false,
        };
        owning && self.links.arc(self.id).contains(key)
    }

    fn stage(&self) -> Stage {
        match &self.phase {
            Phase::Joining(_) => Stage::Joining,
            Phase::Serving if self.warmth.is_newcomer() || self.transfers.owes() => Stage::Busy,
            Phase::Serving => Stage::Done,
            Phase::Leaving(_) => Stage::Leaving,
            Phase::Ended => Stage::Gone,
        }
    }

    fn publish(&mut self, message: Message) {
        if self.has_ways() {
            self.publish_by_detours(&message);
        }
        self.actions.push_back(Action::Publish(message));
    }

    fn tell(&mut self, event: SuccessorEvent) {
        self.actions.push_back(Action::Tell(event));
    }

    /// Ends a node on which nobody counts.
    fn end_silently(&mut self) {
        self.phase = Phase::Ended;
        self.actions.push_back(Action::Ended { abandoned: 0 });
    }

    fn end(&mut self, now: Mono, abandoned: usize) {
        self.phase = Phase::Ended;
        self.announce(now);
        self.actions.push_back(Action::Ended { abandoned });
    }

    /// How long a newcomer waits for its successor's next word before it takes itself for complete.
    fn successor_patience(&self, now: Mono) -> Duration {
        use self::view::Kind;
        match self.links.successor.map(|id| self.view.kind(id, now, self.config.quiet)) {
            Some(Kind::Speaks) => self.config.lease * 2,
            Some(Kind::Plain | Kind::Unknown) => self.config.quiet * 2,
            None => Duration::ZERO,
        }
    }
}
