//! Requests on their way: to one node after another until one answers.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Duration;

use super::deadlines::Deadlines;
use crate::dht::member::NodeName;
use crate::dht::message::{ReplyBody, RequestBody, RequestId};
use crate::dht::parts::Assembly;
use crate::error::{Error, ErrorKind};
use crate::message::EntityId;
use crate::time::Mono;
use crate::transport::Locator;

/// The longest wait for one node's answer.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(4);

/// What a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A registration, its renewal or its end.
    Put(EntityId),
    /// A lookup, or the list of members.
    Ask,
}

/// One request and its attempts.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) purpose: Purpose,
    pub(super) body: RequestBody,
    /// Whom to ask first in each round.
    pub(super) preferred: Option<Locator>,
    /// When the user is told that it failed, and how long it has had then; `None` for renewals, which never give up.
    pub(super) deadline: Option<(Mono, Duration)>,
    /// The node that is being asked.
    pub(super) at: Option<Locator>,
    /// Those that were asked in this round before it.
    pub(super) tried: Vec<Locator>,
    /// When the next is asked.
    pub(super) next_attempt: Mono,
    /// Whether any node has answered, if only to say that it could not.
    pub(super) refused: bool,
    /// Which node cannot reach which responsible one, and where that is, as it was told last.
    pub(super) unanswered: Option<(NodeName, NodeName, Locator)>,
    rounds: u32,
    assembly: Assembly<ReplyBody>,
    /// Its entry in the schedule.
    scheduled: Option<Mono>,
}

impl Call {
    pub(super) fn new(now: Mono, purpose: Purpose, body: RequestBody, deadline: Option<Duration>) -> Self {
        Self {
            purpose,
            body,
            preferred: None,
            deadline: deadline.map(|after| (now + after, after)),
            at: None,
            tried: Vec::new(),
            next_attempt: now,
            refused: false,
            unanswered: None,
            rounds: 0,
            assembly: Assembly::default(),
            scheduled: None,
        }
    }

    /// The next node is being asked.
    pub(super) fn begin_attempt(&mut self, now: Mono, node: Locator, patience: Duration) {
        let patience = patience.saturating_mul(1 << self.rounds.min(8)).min(LONGEST_ATTEMPT.max(patience));
        self.next_attempt = now + patience;
        self.at = Some(node);
        self.assembly = Assembly::default();
    }

    /// All nodes were asked: the next round waits longer for each.
    pub(super) fn begin_round(&mut self) {
        self.rounds += 1;
        self.tried.clear();
    }

    /// Takes part of an answer; all of it, in two pieces, when this was the last.
    pub(super) fn take(
        &mut self,
        from: &Locator,
        part: u16,
        parts: u16,
        body: ReplyBody,
    ) -> Option<(Option<ReplyBody>, Vec<ReplyBody>)> {
        // A late answer in one part is as good as a timely one, but parts of two answers must not mix.
        if parts == 1 {
            return (part == 0).then(|| (Some(body), Vec::new()));
        }
        if self.at.as_ref() != Some(from) {
            return None;
        }
        Some((None, self.assembly.insert(part, parts, body)?))
    }

    fn due_at(&self) -> Mono {
        self.deadline.map_or(self.next_attempt, |(deadline, _)| deadline.min(self.next_attempt))
    }

    /// What the user is told when the deadline has passed.
    pub(super) fn failure(&self, after: Duration, known: &[Locator]) -> Error {
        let asked = known.iter().map(Locator::as_str).collect::<Vec<_>>().join(", ");
        if let Some((by, responsible, address)) = &self.unanswered {
            let reason = format!(
                "the node {responsible}, which is responsible, does not answer {by} there; {} was tried for {after:?} at \
                 {asked}",
                self.what()
            );
            ErrorKind::Unreachable { address: address.to_string(), reason }.into()
        } else if self.refused {
            ErrorKind::Timeout { what: format!("{} at {asked}", self.what()), after }.into()
        } else {
            let reason =
                format!("no ring node answered {} within {after:?}: is one running there?", self.what());
            ErrorKind::Unreachable { address: asked, reason }.into()
        }
    }

    fn what(&self) -> String {
        match &self.body {
            RequestBody::Put(record) => {
                let verb = if record.is_live() { "registering" } else { "unregistering" };
                format!("{verb} {:?}", record.registration.interest.key())
            }
            RequestBody::Lookup { filter, .. } => format!("the lookup of {filter:?}"),
            RequestBody::Members => "the list of members".into(),
        }
    }
}

/// Something for each request. The numbers are this side's own, so that nobody can choose them to collide.
pub(crate) type RequestMap<V> = HashMap<RequestId, V, BuildHasherDefault<Scatter>>;

/// Spreads consecutive numbers.
#[derive(Debug, Default)]
pub(crate) struct Scatter(u64);

impl Hasher for Scatter {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(self.0 ^ u64::from(byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // By the golden ratio: a table takes its places from the low bits and tells them apart by the high ones.
        self.0 = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

/// All calls by number. Lookups come by the hundred thousand a second, so that each is scheduled once and kept in no more
/// maps than it takes.
#[derive(Debug, Default)]
pub(super) struct Calls {
    by_id: RequestMap<Call>,
    by_time: Deadlines,
    count: RequestId,
}

impl Calls {
    /// Takes a new call. If it has not [begun](Call::begin_attempt) it is in nobody's way until it is
    /// [rescheduled](Self::reschedule).
    pub(super) fn insert(&mut self, mut call: Call) -> (RequestId, &Call) {
        self.count += 1;
        if call.at.is_some() {
            let at = call.due_at();
            call.scheduled = Some(at);
            self.by_time.set(at, self.count);
        }
        (self.count, self.by_id.entry(self.count).or_insert(call))
    }

    pub(super) fn get(&self, id: RequestId) -> Option<&Call> {
        self.by_id.get(&id)
    }

    /// A call to change; if the change concerns its times, [`reschedule`](Self::reschedule) it.
    pub(super) fn get_mut(&mut self, id: RequestId) -> Option<&mut Call> {
        self.by_id.get_mut(&id)
    }

    pub(super) fn remove(&mut self, id: RequestId) -> Option<Call> {
        let call = self.by_id.remove(&id)?;
        if let Some(at) = call.scheduled {
            self.clear(at, id);
        }
        Some(call)
    }

    /// Ends the call of a lookup, or of the list of members; whether it was one.
    pub(super) fn remove_asked(&mut self, id: RequestId) -> bool {
        let Entry::Occupied(entry) = self.by_id.entry(id) else { return false };
        if entry.get().purpose != Purpose::Ask {
            return false;
        }
        let scheduled = entry.get().scheduled;
        drop(entry.remove());
        if let Some(at) = scheduled {
            self.clear(at, id);
        }
        true
    }

    /// The times of a call have changed.
    pub(super) fn reschedule(&mut self, id: RequestId) {
        let Some(call) = self.by_id.get_mut(&id) else { return };
        let at = call.due_at();
        let before = call.scheduled.replace(at);
        if before == Some(at) {
            return;
        }
        if let Some(before) = before {
            self.clear(before, id);
        }
        self.by_time.set(at, id);
    }

    /// The user's time does not run while the process stands still.
    pub(super) fn put_off(&mut self, by: Duration) {
        let waited_for = |call: &Call| call.deadline.is_some();
        let ids: Vec<_> = self.by_id.iter().filter(|(_, call)| waited_for(call)).map(|(id, _)| *id).collect();
        for id in ids {
            if let Some(call) = self.by_id.get_mut(&id)
                && let Some((deadline, _)) = &mut call.deadline
            {
                *deadline = *deadline + by;
                self.reschedule(id);
            }
        }
    }

    /// A node is gone: what it was asked is due for the next.
    pub(super) fn hurry(&mut self, now: Mono, node: &Locator) {
        let at_node = |call: &Call| call.at.as_ref() == Some(node);
        let hurried: Vec<_> =
            self.by_id.iter().filter(|(_, call)| at_node(call)).map(|(id, _)| *id).collect();
        for id in hurried {
            if let Some(call) = self.by_id.get_mut(&id) {
                call.next_attempt = now;
                self.reschedule(id);
            }
        }
    }

    /// Takes the calls that have to be looked at out of the schedule.
    pub(super) fn due(&mut self, now: Mono) -> Vec<RequestId> {
        let mut due = Vec::new();
        while let Some((at, id)) = self.by_time.take_due(now) {
            if let Some(call) = self.by_id.get_mut(&id)
                && call.scheduled == Some(at)
            {
                call.scheduled = None;
                due.push(id);
            }
        }
        due
    }

    pub(super) fn next(&self) -> Option<Mono> {
        self.by_time.next()
    }

    fn clear(&mut self, at: Mono, id: RequestId) {
        let is_due = |at, id| self.by_id.get(&id).is_some_and(|call| call.scheduled == Some(at));
        self.by_time.clear(at, id, self.by_id.len(), is_due);
    }
}
