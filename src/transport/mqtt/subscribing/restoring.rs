//! The subscriptions of a new connection, and the one among them over which its broker closes it.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use rumqttc::QoS;

use super::super::connection::{Connection, ConnectionError};
use super::super::window::Window;
use super::suspect::{CLOSES, closes};
use super::{Current, Subscribing};
use crate::topic::TopicFilter;

/// How many filters one SUBSCRIBE carries.
const FILTERS_PER_PACKET: usize = 64;

/// A connection is lost so often right behind one filter, nothing else under way, before it is given up.
const STRIKES: u32 = 3;

/// While it is searched for, each connection begins with one part of them under way.
const PART: usize = 8;

/// A connection that was lost before is watched for at least, and at most, this long.
const SHORTEST_WATCH: Duration = Duration::from_millis(50);
const LONGEST_WATCH: Duration = Duration::from_secs(4);

/// What a new connection has been sent, and what it waits for.
#[derive(Debug)]
pub(super) struct Restoring {
    /// The SUBSCRIBEs that have not been answered.
    pub(super) under_way: HashMap<u16, Vec<TopicFilter>>,
    /// What is sent when those are; only while a filter is searched for.
    waiting: VecDeque<Vec<TopicFilter>>,
    /// How many filters go in one SUBSCRIBE: fewer than usual while one is searched for.
    part: usize,
    suspect: Option<TopicFilter>,
    strikes: u32,
    /// The longest time that it took to lose a connection behind the suspect.
    after: Duration,
    /// The suspect waits until the connection has stood for long enough.
    watches: bool,
    /// What was given up, until the broker has been away: another one may take it.
    given_up: Vec<TopicFilter>,
}

impl Restoring {
    pub(super) fn new() -> Self {
        Self {
            under_way: HashMap::new(),
            waiting: VecDeque::new(),
            part: FILTERS_PER_PACKET,
            suspect: None,
            strikes: 0,
            after: Duration::ZERO,
            watches: false,
            given_up: Vec::new(),
        }
    }

    /// Whether everything was answered.
    pub(super) fn is_done(&self) -> bool {
        self.under_way.is_empty() && self.waiting.is_empty()
    }

    /// Whether a filter is searched for.
    pub(super) fn searches(&self) -> bool {
        self.part < FILTERS_PER_PACKET
    }

    /// Ends the search: it is no filter that connections are lost over.
    fn acquit(&mut self) {
        (self.part, self.suspect, self.strikes) = (FILTERS_PER_PACKET, None, 0);
        self.after = Duration::ZERO;
    }

    /// A filter was subscribed to, or is no longer wanted: it is tried as any other again.
    pub(super) fn forget(&mut self, filter: &TopicFilter) {
        self.given_up.retain(|given_up| given_up != filter);
    }

    /// A connection begins: nothing was sent on it.
    pub(super) fn begin(&mut self) {
        self.under_way.clear();
        self.waiting.clear();
        self.watches = false;
    }

    /// A connection was lost amid this; if `behind`, right behind the SUBSCRIBEs that are under way. The filter to give up,
    /// if it is known. Those of the `library` are never: a session does not work without them.
    fn lost(&mut self, behind: bool, after: Duration, library: &[TopicFilter]) -> Option<TopicFilter> {
        let mut under_way = self.under_way.drain().flat_map(|(_, filters)| filters);
        let (first, more) = (under_way.next(), under_way.count());
        self.waiting.clear();
        // With nothing under way it is the connection that was at fault.
        let Some(first) = first.filter(|_| behind) else {
            self.acquit();
            return None;
        };
        if more > 0 || library.contains(&first) {
            self.part = (self.part.min(more + 1) / PART).max(1);
            (self.suspect, self.strikes) = (None, 0);
            return None;
        }
        if self.suspect.as_ref() != Some(&first) {
            (self.strikes, self.after) = (0, Duration::ZERO);
        }
        (self.part, self.strikes, self.after) = (1, self.strikes + 1, self.after.max(after));
        self.suspect = Some(first);
        if self.strikes < STRIKES {
            return None;
        }
        self.strikes = 0;
        self.suspect.take()
    }
}

impl Subscribing {
    /// Sends every subscription on a new connection, a part of them at first where one is searched for over which the
    /// broker closes it.
    pub(in crate::transport::mqtt) fn restore(
        &mut self,
        link: &mut Connection,
        window: &mut Window,
    ) -> Result<(), ConnectionError> {
        self.begin_anew();
        // The filter that is asked for with QoS 2 in any case comes first: what is published waits for its answer.
        let probe = self.plan.at_broker().find(|filter| self.qos(filter) == QoS::ExactlyOnce).cloned();
        let mut filters: Vec<_> = self.plan.at_broker().cloned().collect();
        filters.sort_by_key(|filter| (Some(filter) != probe.as_ref(), !self.library.contains(filter)));
        let searches = self.restoring.searches();
        let (own, rest): (Vec<_>, Vec<_>) =
            filters.into_iter().partition(|filter| !searches || self.library.contains(filter));
        let parts = own.chunks(FILTERS_PER_PACKET).chain(rest.chunks(self.restoring.part));
        self.restoring.waiting = parts.map(<[_]>::to_vec).collect();
        self.go_on(link, window)
    }

    /// Sends what waits: all of it, or one part where a filter is searched for; not the suspect before the connection
    /// was [watched](Self::watch).
    fn go_on(&mut self, link: &mut Connection, window: &mut Window) -> Result<(), ConnectionError> {
        while let Some(part) = self.restoring.waiting.front() {
            let searches = self.restoring.searches();
            if searches && !self.restoring.under_way.is_empty() {
                break;
            }
            let is_suspect =
                self.restoring.suspect.as_ref().is_some_and(|suspect| part[..] == [suspect.clone()]);
            if is_suspect && !std::mem::replace(&mut self.restoring.watches, true) {
                break;
            }
            self.restoring.watches = false;
            let part = self.restoring.waiting.pop_front().unwrap_or_default();
            let id = self.subscribe(&part, link, window)?;
            self.restoring.under_way.insert(id, part);
        }
        Ok(())
    }

    /// Goes on when one part was answered.
    pub(super) fn restore_more(
        &mut self,
        answered: &[TopicFilter],
        link: &mut Connection,
        window: &mut Window,
    ) -> Result<(), ConnectionError> {
        if self.restoring.suspect.as_ref().is_some_and(|suspect| answered.contains(suspect)) {
            (self.restoring.suspect, self.restoring.strikes) = (None, 0);
        }
        if !self.restoring.watches {
            self.go_on(link, window)?;
        }
        if self.restoring.is_done() {
            self.restoring.acquit();
        }
        Ok(())
    }

    /// For how long the connection is to stand, nothing under way, before [the suspect](Self::accuse) is sent: if it is lost
    /// meanwhile, the suspect is none.
    pub(in crate::transport::mqtt) fn watch(&self) -> Option<Duration> {
        let watch = (self.restoring.after * 2).clamp(SHORTEST_WATCH, LONGEST_WATCH);
        self.restoring.watches.then_some(watch)
    }

    /// The connection has stood for long enough: sends the suspect that waits for that, if there is one.
    pub(in crate::transport::mqtt) fn accuse(
        &mut self,
        link: &mut Connection,
        window: &mut Window,
    ) -> Result<(), ConnectionError> {
        if self.restoring.watches { self.go_on(link, window) } else { Ok(()) }
    }

    /// Whether it is being found out which filter a broker closes connections over that it, or the one before, had taken.
    pub(in crate::transport::mqtt) fn searches(&self) -> bool {
        self.restoring.searches()
    }

    /// A connection was lost before it had its subscriptions; if `behind`, right behind what was written last, `after` that.
    pub(in crate::transport::mqtt) fn lost_restoring(&mut self, behind: bool, after: Duration) {
        let Some(refused) = self.restoring.lost(behind, after, &self.library) else { return };
        let group = self.plan.group(&refused);
        // What is covered by it is tried by itself; a filter that stands for several is none of them.
        let given_up = if group.contains(&refused) { vec![refused] } else { group };
        for at_broker in given_up {
            self.plan.remove(&at_broker);
            let Some(filter) = self.as_users_know(&at_broker) else { continue };
            self.set(&filter, false);
            let asked = |current: &mut Current| current.wanted && current.at_broker == at_broker;
            match self.current.take_if(asked).and_then(|current| current.reply) {
                // Whoever has given up does not need the answer.
                Some(reply) => drop(reply.send(Err(closes(&filter)))),
                None => {
                    self.restoring.given_up.push(at_broker);
                    self.refused.push((filter, CLOSES));
                }
            }
        }
    }

    /// The broker was away: another one may have come, which takes what was given up.
    pub(super) fn restore_all(&mut self) {
        self.restoring.acquit();
        for at_broker in std::mem::take(&mut self.restoring.given_up) {
            if let Some(filter) = self.as_users_know(&at_broker)
                && self.set(&filter, true)
            {
                self.plan.add(&at_broker);
            }
        }
    }

    /// A filter of the broker's as users know it.
    pub(super) fn as_users_know(&self, at_broker: &TopicFilter) -> Option<TopicFilter> {
        TopicFilter::new(&self.level.incoming(at_broker.as_str())?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(1);

    fn filter(name: &str) -> TopicFilter {
        TopicFilter::new(name).unwrap()
    }

    /// Loses connections to a broker that closes them over some of the filters, until one is given up.
    fn search(
        restoring: &mut Restoring,
        all: &[TopicFilter],
        bad: &TopicFilter,
    ) -> (Option<TopicFilter>, u32) {
        for losses in 1..20 {
            // Parts before the bad one are answered.
            let mut parts = all.chunks(restoring.part).filter(|part| part.contains(bad));
            restoring.under_way.insert(1, parts.next().unwrap().to_vec());
            if let Some(found) = restoring.lost(true, SOON, &[filter("@/inbox")]) {
                return (Some(found), losses);
            }
        }
        (None, 20)
    }

    #[test]
    fn one_filter_of_sixty_four_is_found_within_a_few_losses() {
        let all: Vec<_> = (0..64).map(|n| filter(&format!("t/{n}"))).collect();
        for bad in [0, 17, 63] {
            let mut restoring = Restoring::new();
            let (found, losses) = search(&mut restoring, &all, &all[bad]);
            assert_eq!(found.as_ref(), Some(&all[bad]));
            assert!(losses <= 5, "{losses} losses");
        }
    }

    #[test]
    fn a_connection_at_fault_and_the_librarys_own_filters_accuse_nothing() {
        let (mut restoring, bad) = (Restoring::new(), filter("t"));
        for _ in 0..10 {
            for behind in [true, true, false] {
                restoring.under_way.insert(1, vec![bad.clone()]);
                assert_eq!(restoring.lost(behind, SOON, &[]), None);
            }
            assert!(!restoring.searches());
            restoring.under_way.insert(1, vec![bad.clone()]);
            assert_eq!(restoring.lost(true, SOON, &[]), None);
            // Lost while it was watched, with nothing under way.
            assert_eq!(restoring.lost(true, SOON, &[]), None);
            assert!(!restoring.searches());
        }
        for _ in 0..10 {
            restoring.under_way.insert(1, vec![bad.clone()]);
            assert_eq!(restoring.lost(true, SOON, std::slice::from_ref(&bad)), None);
        }
    }
}
