//! One of the library's own clients.

use std::collections::BTreeMap;

use crate::dht::key::Key;
use crate::dht::successor::client_core::{Answer, CallId, ClientAction, ClientCore, Patience};
use crate::dht::successor::message::Message;
use crate::error::Result;
use crate::time::Mono;

pub(super) struct Asker {
    core: ClientCore,
    /// Calls that are over, and when that was.
    pub(super) over: BTreeMap<CallId, (Mono, Result<Answer>)>,
    now: Mono,
}

impl Asker {
    pub(super) fn new(number: u64) -> Self {
        Self { core: ClientCore::new(number), over: BTreeMap::new(), now: Mono::ZERO }
    }

    pub(super) fn put(&mut self, now: Mono, key: Key, value: &str) -> CallId {
        self.now = now;
        self.core.put(now, key, value.into(), Patience::default())
    }

    pub(super) fn get(&mut self, now: Mono, key: Key) -> CallId {
        self.now = now;
        self.core.get(now, key, Patience::default())
    }

    pub(super) fn hear(&mut self, now: Mono, message: &Message) {
        self.now = now;
        match message {
            Message::Heal(heal) => self.core.hear(now, heal),
            message => self.core.handle(now, message),
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Mono) {
        self.now = now;
        self.core.handle_timeout(now);
    }

    pub(super) fn due(&self) -> Option<Mono> {
        self.core.poll_timeout()
    }

    /// What it publishes next. Notes which calls are over.
    pub(super) fn next_message(&mut self) -> Option<Message> {
        while let Some(action) = self.core.poll_action() {
            match action {
                ClientAction::Publish(message) => return Some(message),
                ClientAction::Complete { call, result } => {
                    self.over.insert(call, (self.now, result));
                }
            }
        }
        None
    }
}
