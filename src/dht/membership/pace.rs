//! How long members take to answer, and how long probes wait because of that.
//!
//! A transport may need microseconds for a round trip, or, by way of a busy broker, seconds. What is waited for an answer
//! follows what was measured: the smoothed round trip and four times its mean deviation, as TCP's retransmissions do (RFC
//! 6298), between the configured time and [`LONGEST`]. A probe that is answered ends its turn at once, so a slow member
//! costs time only while it is silent, and where answers are quick the configured times are in force.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use foca::ProbeNumber;

use super::MembershipConfig;
use crate::dht::member::NodeName;
use crate::time::Mono;

/// What is waited for an answer before any was measured.
const UNKNOWN: Duration = Duration::from_secs(1);

/// The longest that an answer is waited for: twice the round trip of messages that are a second under way.
const LONGEST: Duration = Duration::from_secs(4);

/// Longer round trips are measured as this one.
const SLOWEST: Duration = Duration::from_secs(10);

/// A turn of probing lasts so many times what is waited for an answer: others that are asked to probe have twice that time.
const TURN: u32 = 3;

/// Unanswered probes that are remembered, so that a late answer tells the round trip. Fewer than there are probe numbers.
const MAX_ASKED: usize = 64;

/// A round trip as measured so far.
#[derive(Debug, Clone, Copy)]
struct RoundTrip {
    smoothed: Duration,
    deviation: Duration,
}

impl RoundTrip {
    fn take(measured: &mut Option<Self>, sample: Duration) {
        *measured = Some(match *measured {
            None => Self { smoothed: sample, deviation: sample / 2 },
            Some(Self { smoothed, deviation }) => Self {
                smoothed: (smoothed * 7 + sample) / 8,
                deviation: (deviation * 3 + smoothed.abs_diff(sample)) / 4,
            },
        });
    }

    fn timeout(self) -> Duration {
        self.smoothed + self.deviation * 4
    }
}

/// A probe that was sent.
#[derive(Debug)]
struct Asked {
    number: ProbeNumber,
    name: NodeName,
    at: Mono,
}

/// What is known of one member.
#[derive(Debug, Default)]
struct Known {
    round_trip: Option<RoundTrip>,
    /// When it was heard last, and when it last answered a probe.
    heard: Option<Mono>,
    answered: Option<Mono>,
    /// When an answer of it took longer than it was waited for, and how long.
    late: Option<(Mono, Duration)>,
    /// While it is suspected and still heard: when it would have been given up.
    overdue: Option<Mono>,
}

/// The pace of one node's probes.
#[derive(Debug)]
pub(super) struct Pace {
    period: Duration,
    quickest: Duration,
    suspicion: Duration,
    /// The round trip to whichever member: what is expected of one that was not measured yet.
    usual: Option<RoundTrip>,
    members: BTreeMap<NodeName, Known>,
    asked: VecDeque<Asked>,
}

impl Pace {
    pub(super) fn new(config: &MembershipConfig) -> Self {
        Self {
            period: config.probe_period,
            quickest: config.probe_timeout,
            suspicion: config.suspicion,
            usual: None,
            members: BTreeMap::new(),
            asked: VecDeque::new(),
        }
    }

    /// Remembers what concerns these members alone.
    pub(super) fn retain(&mut self, is_member: impl Fn(&NodeName) -> bool) {
        self.members.retain(|name, _| is_member(name));
        self.asked.retain(|asked| is_member(&asked.name));
    }

    /// A member is probed.
    pub(super) fn asked(&mut self, now: Mono, number: ProbeNumber, name: &NodeName) {
        if self.asked.len() >= MAX_ASKED {
            self.asked.pop_front();
        }
        self.asked.push_back(Asked { number, name: name.clone(), at: now });
    }

    /// A member speaks; of others nothing is kept.
    pub(super) fn heard(&mut self, now: Mono, name: &NodeName) {
        self.members.entry(name.clone()).or_default().heard = Some(now);
    }

    /// A member answers a probe, late ones included. If it is the present probe, the next one is due at the time that is
    /// returned.
    pub(super) fn answered(&mut self, now: Mono, number: ProbeNumber, name: &NodeName) -> Option<Mono> {
        let next = self.next_turn(number, name);
        let at = self.asked.iter().rposition(|asked| asked.number == number && asked.name == *name)?;
        let sample = now.saturating_since(self.asked.remove(at)?.at).min(SLOWEST);
        let is_late = sample > self.timeout(name);
        RoundTrip::take(&mut self.usual, sample);
        let known = self.members.entry(name.clone()).or_default();
        RoundTrip::take(&mut known.round_trip, sample);
        known.answered = Some(now);
        if is_late {
            known.late = Some((now, sample));
        }
        next
    }

    /// When the next probe is due now that the present one is known to be answered; `None` if it is not the present one.
    /// The answer may have come by way of a third node, and says nothing about the round trip then.
    pub(super) fn next_turn(&self, number: ProbeNumber, name: &NodeName) -> Option<Mono> {
        let present = self.asked.back().filter(|asked| asked.number == number && asked.name == *name)?;
        Some(present.at + self.period)
    }

    /// How long the answer of a member to a direct probe is waited for.
    pub(super) fn timeout(&self, name: &NodeName) -> Duration {
        let measured = self.members.get(name).and_then(|known| known.round_trip).or(self.usual);
        // A configuration may be slower than all this.
        let longest = LONGEST.max(self.quickest);
        measured.map_or(UNKNOWN, RoundTrip::timeout).clamp(self.quickest, longest)
    }

    /// How long a turn of probing lasts in which this member does not answer.
    pub(super) fn turn(&self, name: &NodeName) -> Duration {
        let timeout = self.timeout(name);
        if timeout == self.quickest { self.period } else { self.period.max(timeout * TURN) }
    }

    /// How long a member has to object to being suspected: to hear of it and be heard takes another round trip.
    pub(super) fn suspicion(&self, name: &NodeName) -> Duration {
        self.suspicion + 2 * self.timeout(name).saturating_sub(self.quickest)
    }

    /// Until when a suspected member that is due to be given up is better waited for; `None` if it is to be given up.
    ///
    /// One that is heard meanwhile is alive, and only its objection, or the suspicion on its way to it, is late. And
    /// where none of the others has answered meanwhile, it is this node, or its link, that is to be doubted. Where another
    /// one's answer was late meanwhile, the transport slows down. None of it goes on for ever: a member that speaks and
    /// does not hear, and a ring of which this node is cut off, have this time twice, a late answer its round trip.
    pub(super) fn respite(&mut self, now: Mono, name: &NodeName) -> Option<Mono> {
        let suspicion = self.suspicion(name);
        let lately = |at: &Mono| *at + suspicion > now;
        let mut others = self.members.iter().filter(|(other, _)| *other != name).peekable();
        let doubts_itself =
            others.peek().is_some() && !others.any(|(_, known)| known.answered.as_ref().is_some_and(lately));
        let others = self.members.iter().filter(|(other, _)| *other != name);
        let late = others.filter_map(|(_, known)| known.late).filter(|(at, _)| lately(at));
        let late = late.map(|(_, round_trip)| round_trip).max();
        let known = self.members.get_mut(name)?;
        let overdue = *known.overdue.get_or_insert(now);
        let limit = overdue + 2 * suspicion;
        let until = match known.heard.filter(lately) {
            Some(heard) => Some(heard + suspicion),
            None => doubts_itself.then_some(now + self.period),
        };
        let until = until.map(|until| until.min(limit)).max(late.map(|late| overdue + late));
        let until = until.filter(|until| *until > now);
        if until.is_none() {
            known.overdue = None;
        }
        until
    }

    /// A member is not suspected any more.
    pub(super) fn cleared(&mut self, name: &NodeName) {
        if let Some(known) = self.members.get_mut(name) {
            known.overdue = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn at(ms: u32) -> Mono {
        Mono::ZERO + MS * ms
    }

    fn name(text: &str) -> NodeName {
        NodeName::new(text).unwrap()
    }

    /// A pace that has measured these round trips to `a`, one a second.
    fn measured(round_trips: &[u32]) -> Pace {
        let mut pace = Pace::new(&MembershipConfig::default());
        for (number, round_trip) in (0..).zip(round_trips) {
            let asked = at(u32::from(number) * 1000);
            pace.asked(asked, number, &name("a"));
            pace.answered(asked + MS * *round_trip, number, &name("a"));
        }
        pace
    }

    #[test]
    fn quick_answers_leave_the_configured_times_in_force() {
        let pace = measured(&[1, 20, 3, 2, 5]);
        let config = MembershipConfig::default();
        for member in ["a", "not measured yet"] {
            assert_eq!(pace.timeout(&name(member)), config.probe_timeout);
            assert_eq!(pace.turn(&name(member)), config.probe_period);
            assert_eq!(pace.suspicion(&name(member)), config.suspicion);
        }
    }

    #[test]
    fn the_timeout_is_above_what_was_measured_and_bounded() {
        for round_trip in [90, 300, 1000, 2000, 3500, 60_000] {
            let timeout = measured(&[round_trip; 40]).timeout(&name("a"));
            assert!(timeout >= (MS * round_trip).min(LONGEST) - MS, "{round_trip}: {timeout:?}");
            assert!(timeout <= LONGEST, "{round_trip}: {timeout:?}");
        }
        // A first sample is doubted, and so is one that differs much from those before.
        assert!(measured(&[1000]).timeout(&name("a")) >= MS * 3000);
        assert!(measured(&[1, 1, 1, 1, 1, 2000]).timeout(&name("a")) >= MS * 2000);
    }

    #[test]
    fn a_transport_that_becomes_quick_again_is_probed_quickly() {
        let mut round_trips = vec![2000; 20];
        round_trips.extend([1; 60]);
        assert_eq!(measured(&round_trips).timeout(&name("a")), MS * 100);
    }

    #[test]
    fn a_late_answer_tells_the_round_trip_and_ends_no_later_turn() {
        let mut pace = Pace::new(&MembershipConfig::default());
        for number in 0..=u8::MAX {
            pace.asked(at(u32::from(number)), number, &name("a"));
        }
        assert_eq!(pace.asked.len(), MAX_ASKED);
        assert_eq!(pace.answered(at(5000), 254, &name("a")), None);
        assert_eq!(pace.answered(at(5000), 255, &name("b")), None, "another one answers");
        assert_eq!(pace.members[&name("a")].round_trip.unwrap().smoothed, MS * 4746);
        assert_eq!(pace.answered(at(6000), 254, &name("a")), None, "twice");
        assert_eq!(pace.answered(at(6000), 255, &name("a")), Some(at(505)));
    }

    #[test]
    fn a_node_that_nobody_answers_doubts_itself_first() {
        let mut pace = measured(&[1, 1, 1]);
        pace.asked(at(5000), 9, &name("b"));
        pace.answered(at(5001), 9, &name("b"));
        assert_eq!(pace.respite(at(5900), &name("a")), None, "the other one has answered");
        let mut now = at(6001);
        while let Some(until) = pace.respite(now, &name("a")) {
            assert_eq!(until, now + MS * 250);
            now = until;
        }
        assert_eq!(now, at(8001));
    }

    #[test]
    fn who_is_suspected_and_heard_has_more_time_but_not_for_ever() {
        let mut pace = measured(&[1, 1, 1]);
        let mut now = 10_000;
        assert_eq!(pace.respite(at(now), &name("a")), None, "it was never heard");
        while let Some(until) = {
            pace.heard(at(now), &name("a"));
            pace.respite(at(now), &name("a"))
        } {
            assert!(until > at(now));
            now += 100;
        }
        assert_eq!(now, 12_000);
        pace.retain(|_| false);
        assert_eq!(pace.respite(at(now), &name("a")), None);
        assert!(pace.members.is_empty());
    }
}
