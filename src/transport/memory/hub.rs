//! Who is on the network, who wants what, and who gets a message.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tokio::time::Instant;

use super::super::{Destination, Event, Locator, Origin, Outbound};
use super::faults::{Fate, Faults};
use super::inbox::Inbox;
use crate::error::{ErrorKind, Result};
use crate::topic::{Topic, TopicFilter};

pub(super) const SCHEME: &str = "memory:";

pub(super) struct Hub {
    faults: Faults,
    /// By the order of joining, so that chance is drawn in an order that a test can repeat.
    members: BTreeMap<u64, Member>,
    by_name: HashMap<String, u64>,
    next_id: u64,
}

struct Member {
    locator: Locator,
    inbox: Arc<Inbox>,
    filters: Filters,
    /// When the last message in order from each sender arrives here, while that lies ahead.
    last_due: HashMap<u64, Instant>,
}

pub(super) enum Offer {
    Accepted,
    Full,
}

impl Hub {
    pub(super) fn new(faults: Faults) -> Self {
        Self { faults, members: BTreeMap::new(), by_name: HashMap::new(), next_id: 0 }
    }

    pub(super) fn faults(&mut self) -> &mut Faults {
        &mut self.faults
    }

    pub(super) fn names(&self) -> BTreeSet<&str> {
        self.by_name.keys().map(String::as_str).collect()
    }

    /// Lets an endpoint in and makes it and the others known to each other.
    ///
    /// # Errors
    /// [`ErrorKind::Unreachable`] while the hub is stopped, [`ErrorKind::AddressInUse`].
    pub(super) fn join(&mut self, locator: &Locator, inbox: &Arc<Inbox>) -> Result<u64> {
        let name = locator.expect_scheme(SCHEME)?.to_owned();
        if self.faults.stopped {
            let reason = "the network is stopped: call Network::start".to_owned();
            return Err(ErrorKind::Unreachable { address: locator.to_string(), reason }.into());
        }
        if self.by_name.contains_key(&name) {
            return Err(ErrorKind::AddressInUse { address: locator.to_string() }.into());
        }
        let id = self.next_id;
        self.next_id += 1;
        let member = Member {
            locator: locator.clone(),
            inbox: inbox.clone(),
            filters: Filters::default(),
            last_due: HashMap::new(),
        };
        self.members.insert(id, member);
        self.by_name.insert(name, id);
        for other in self.others(id) {
            self.members[&other].inbox.retract_death(locator);
            self.announce(id, other);
            self.announce(other, id);
        }
        Ok(id)
    }

    /// Lets an endpoint go and tells the others. Nothing happens if it has gone already.
    pub(super) fn leave(&mut self, id: u64) {
        if !self.members.contains_key(&id) {
            return;
        }
        for other in self.others(id) {
            self.signal(id, other, |gone| Event::PeerDown(gone.locator.clone()));
        }
        if let Some(member) = self.remove(id) {
            member.inbox.close();
        }
    }

    pub(super) fn kill(&mut self, name: &str) -> bool {
        let Some(&id) = self.by_name.get(name) else { return false };
        let Some(member) = self.remove(id) else { return false };
        member.inbox.destroy();
        if let Some(after) = self.faults.detection {
            for other in self.members.values() {
                if self.faults.connects(name, other.name()) {
                    other.inbox.push(Instant::now() + after, Event::PeerDown(member.locator.clone()));
                }
            }
        }
        true
    }

    pub(super) fn heal(&mut self) {
        for (from, to) in self.faults.mend() {
            if let (Some(&from), Some(&to)) = (self.by_name.get(&from), self.by_name.get(&to)) {
                self.announce(from, to);
            }
        }
    }

    pub(super) fn start(&mut self) {
        if !std::mem::take(&mut self.faults.stopped) {
            return;
        }
        let now = Instant::now();
        for (&id, member) in &self.members {
            member.inbox.push(now, Event::Reconnected { session_present: true });
            for other in self.others(id) {
                self.announce(other, id);
            }
        }
    }

    /// # Errors
    /// [`ErrorKind::Closed`].
    pub(super) fn check_open(&self, id: u64) -> Result<()> {
        if self.members.contains_key(&id) { Ok(()) } else { Err(closed()) }
    }

    /// # Errors
    /// [`ErrorKind::Closed`].
    pub(super) fn subscribe(&mut self, id: u64, filter: &TopicFilter) -> Result<()> {
        let member = self.members.get_mut(&id).ok_or_else(closed)?;
        if member.filters.insert(filter) {
            for other in self.others(id) {
                self.signal(id, other, |_| Event::Interest(filter.clone()));
            }
        }
        Ok(())
    }

    /// # Errors
    /// [`ErrorKind::Closed`].
    pub(super) fn unsubscribe(&mut self, id: u64, filter: &TopicFilter) -> Result<()> {
        self.members.get_mut(&id).ok_or_else(closed)?.filters.remove(filter);
        Ok(())
    }

    /// Sends a message to all that it is for, or to none of them while one has no room.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`], [`ErrorKind::PayloadTooLarge`], [`ErrorKind::ForeignLocator`]. Nothing was sent.
    pub(super) fn offer(&mut self, from: u64, outbound: &Outbound, limit: usize) -> Result<Offer> {
        let sender = self.members.get(&from).ok_or_else(closed)?;
        let size = outbound.payload.len();
        if size > limit {
            return Err(ErrorKind::PayloadTooLarge { size, limit }.into());
        }
        let (origin, receivers) = match &outbound.to {
            Destination::Topic(topic) => (Origin::Topic(topic.clone()), self.reached(sender, topic)),
            Destination::Peer(peer) => {
                let name = peer.expect_scheme(SCHEME)?;
                let receiver = self.by_name.get(name).filter(|_| self.faults.connects(sender.name(), name));
                (Origin::Peer(sender.locator.clone()), receiver.copied().into_iter().collect())
            }
        };
        if receivers.iter().any(|id| self.members[id].inbox.is_full()) {
            return Ok(Offer::Full);
        }
        for to in receivers {
            let event = Event::Message { from: origin.clone(), payload: outbound.payload.clone() };
            self.deliver(from, to, event);
        }
        Ok(Offer::Accepted)
    }

    fn reached(&self, sender: &Member, topic: &Topic) -> Vec<u64> {
        let reached = self.members.iter().filter(|(_, member)| {
            member.filters.matches(topic) && self.faults.connects(sender.name(), member.name())
        });
        reached.map(|(&id, _)| id).collect()
    }

    fn deliver(&mut self, from: u64, to: u64, event: Event) {
        let fate = self.faults.draw();
        let Some(receiver) = self.members.get_mut(&to) else { return };
        let now = Instant::now();
        let due = match fate {
            Fate::Lost => return,
            Fate::OutOfOrder(delay) => now + delay,
            Fate::InOrder(delay) => {
                let due = receiver.after_what_was_sent(from, now + delay);
                if due > now {
                    receiver.last_due.insert(from, due);
                }
                due
            }
        };
        receiver.inbox.push(due, event);
    }

    /// Tells `to` that `from` is there and what it wants.
    fn announce(&self, from: u64, to: u64) {
        self.signal(from, to, |member| Event::PeerUp(member.locator.clone()));
        for filter in self.members[&from].filters.iter() {
            self.signal(from, to, |_| Event::Interest(filter.clone()));
        }
    }

    /// Announcements pass the same cuts as messages and never overtake them, but are neither lost nor delayed, so that
    /// they do not change what the seed means for the messages.
    fn signal(&self, from: u64, to: u64, event: impl FnOnce(&Member) -> Event) {
        let (sender, receiver) = (&self.members[&from], &self.members[&to]);
        if self.faults.connects(sender.name(), receiver.name()) {
            let due = receiver.after_what_was_sent(from, Instant::now());
            receiver.inbox.push(due, event(sender));
        }
    }

    fn others(&self, id: u64) -> Vec<u64> {
        self.members.keys().copied().filter(|&other| other != id).collect()
    }

    fn remove(&mut self, id: u64) -> Option<Member> {
        let member = self.members.remove(&id)?;
        self.by_name.remove(member.name());
        for other in self.members.values_mut() {
            other.last_due.remove(&id);
        }
        Some(member)
    }
}

impl Member {
    fn name(&self) -> &str {
        self.locator.as_str().strip_prefix(SCHEME).unwrap_or_default()
    }

    fn after_what_was_sent(&self, from: u64, due: Instant) -> Instant {
        self.last_due.get(&from).map_or(due, |&last| last.max(due))
    }
}

/// The filters of one endpoint; those without wildcards are looked up, not tried.
#[derive(Default)]
struct Filters {
    exact: BTreeSet<Topic>,
    wild: BTreeSet<TopicFilter>,
}

impl Filters {
    /// Whether it is new.
    fn insert(&mut self, filter: &TopicFilter) -> bool {
        match filter.as_topic() {
            Some(topic) => self.exact.insert(topic),
            None => self.wild.insert(filter.clone()),
        }
    }

    fn remove(&mut self, filter: &TopicFilter) {
        match filter.as_topic() {
            Some(topic) => self.exact.remove(&topic),
            None => self.wild.remove(filter),
        };
    }

    fn matches(&self, topic: &Topic) -> bool {
        self.exact.contains(topic) || self.wild.iter().any(|filter| filter.matches(topic))
    }

    fn iter(&self) -> impl Iterator<Item = TopicFilter> + '_ {
        self.exact.iter().map(TopicFilter::from).chain(self.wild.iter().cloned())
    }
}

fn closed() -> crate::Error {
    ErrorKind::Closed { what: "the memory transport" }.into()
}
