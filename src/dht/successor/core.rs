//! The state machine of a node.

use std::collections::VecDeque;

use super::config::SuccessorConfig;
use super::event::{Links, SuccessorEvent};
use super::message::Message;
use crate::dht::key::Key;
use crate::time::{Mono, Timestamp};

/// What a node is told.
#[derive(Debug, Clone)]
pub(crate) enum Input {
    /// A message from a topic, its own included.
    Message(Message),
    /// The connection was lost and is back: others may have given this node up.
    Reconnected,
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
        /// Pairs that nobody else is known to hold.
        abandoned: usize,
    },
}

/// A node, without its I/O.
#[derive(Debug)]
pub(crate) struct SuccessorCore {
    id: Key,
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
        let _ = (now, config, wall, address);
        Self { id, actions: VecDeque::new() }
    }

    /// This node's place.
    pub(crate) fn id(&self) -> Key {
        self.id
    }

    /// Its neighbours.
    pub(crate) fn links(&self) -> Links {
        Links::default()
    }

    /// Whether it answers for its arc.
    pub(crate) fn is_serving(&self) -> bool {
        false
    }

    /// Whether it serves, its successor holds a copy of everything, and nothing waits to be handed over.
    pub(crate) fn is_settled(&self) -> bool {
        false
    }

    /// The pairs on its own arc.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (Key, &str)> {
        std::iter::empty()
    }

    /// Takes an input.
    pub(crate) fn handle(&mut self, _now: Mono, _input: Input) {}

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, _now: Mono) {}

    /// When something is due.
    pub(crate) fn poll_timeout(&self) -> Option<Mono> {
        None
    }

    /// What is to be done next.
    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }
}
