//! One name, one living node: what a node does about another one that bears its name.
//!
//! A word that a namesake exists may be old, forged, or meant for another ring: it ends nobody. The namesake itself is
//! asked, at the address that was named, with a number that only its answer can carry. If it answers, the one that has
//! borne the name for longer keeps it, and the other ends; if it does not, it is dead and holds nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::dht::member::Member;
use crate::quiet::afterwards;
use crate::time::{Mono, earliest};
use crate::transport::Locator;

/// The most namesakes that are remembered; a further one is not asked.
const MAX_RIVALS: usize = 8;

/// How often a namesake is asked.
const QUESTIONS: u32 = 4;

/// For how long a namesake that did not answer is not asked again.
const REST: Duration = Duration::from_secs(10);

/// Two nodes that differ by less, a few round trips, began at the same time: then their addresses decide.
const SAME_TIME: Duration = Duration::from_millis(250);

/// A question to a namesake.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) to: Locator,
    pub(super) nonce: u64,
}

/// A namesake that is asked, or was.
#[derive(Debug)]
struct Rival {
    member: Member,
    /// Whether other members count it, so that this node has to come back above its generation.
    counted: bool,
    nonce: u64,
    asked: u32,
    next: Mono,
}

impl Rival {
    fn is_silent(&self) -> bool {
        self.asked > QUESTIONS
    }
}

/// The namesakes of one node.
#[derive(Debug)]
pub(super) struct Namesakes {
    /// Since when this node has borne its name without standing still.
    since: Option<Mono>,
    pause: Duration,
    /// The state of the generator of nonces.
    seed: u64,
    rivals: BTreeMap<Locator, Rival>,
}

impl Namesakes {
    /// Knows nobody. A namesake has `patience` to answer.
    pub(super) fn new(seed: u64, patience: Duration) -> Self {
        Self { since: None, pause: patience / QUESTIONS, seed, rivals: BTreeMap::new() }
    }

    /// The node acts: it has borne its name since it first did.
    pub(super) fn alive(&mut self, now: Mono) {
        self.since.get_or_insert(now);
    }

    /// The node stood still: another one may have taken its place since.
    pub(super) fn stood_still(&mut self, now: Mono) {
        self.since = Some(now);
    }

    /// For how long this node has borne its name.
    pub(super) fn held(&self, now: Mono) -> Duration {
        self.since.map_or(Duration::ZERO, |since| now.saturating_since(since))
    }

    /// A namesake was named; it is asked unless it is, or was lately.
    pub(super) fn hear(&mut self, now: Mono, member: &Member, counted: bool) {
        self.rivals.retain(|_, rival| !rival.is_silent() || rival.next > now);
        if let Some(rival) = self.rivals.get_mut(&member.locator) {
            rival.counted |= counted;
            rival.member.generation = rival.member.generation.max(member.generation);
        } else if self.rivals.len() < MAX_RIVALS {
            let nonce = self.nonce();
            let rival = Rival { member: member.clone(), counted, nonce, asked: 0, next: now };
            self.rivals.insert(member.locator.clone(), rival);
        } else {
            afterwards(move || {
                metrics::counter!("ringbus_membership_full_total", "table" => "namesakes").increment(1);
            });
        }
    }

    /// What is to be asked now, and the namesakes that have just been found silent, with whether members count them.
    pub(super) fn due(&mut self, now: Mono) -> (Vec<Question>, Vec<(Member, bool)>) {
        let (mut questions, mut silent) = (Vec::new(), Vec::new());
        for rival in self.rivals.values_mut() {
            if rival.is_silent() || rival.next > now {
                continue;
            }
            rival.asked += 1;
            if rival.is_silent() {
                rival.next = now + REST;
                silent.push((rival.member.clone(), rival.counted));
            } else {
                rival.next = now + self.pause;
                questions.push(Question { to: rival.member.locator.clone(), nonce: rival.nonce });
            }
        }
        (questions, silent)
    }

    /// A namesake answers: whether members count it. `None` if this is not what this node has asked, but a repetition of
    /// an older answer.
    pub(super) fn answered(&mut self, by: &Member, nonce: u64) -> Option<bool> {
        self.rivals.get(&by.locator).filter(|rival| rival.nonce == nonce && rival.asked > 0)?;
        self.rivals.remove(&by.locator).map(|rival| rival.counted)
    }

    /// Whether `me` keeps the name against a living namesake that has had it for `held`. Of two that ask each other at
    /// most one gives way.
    pub(super) fn keeps(&self, now: Mono, me: &Member, other: &Member, held: Duration) -> bool {
        let mine = self.held(now);
        match mine.abs_diff(held) < SAME_TIME {
            true => me.locator > other.locator,
            false => mine > held,
        }
    }

    /// When something is due.
    pub(super) fn next(&self) -> Option<Mono> {
        let asked = self.rivals.values().filter(|rival| !rival.is_silent()).map(|rival| rival.next);
        asked.fold(None, |next, at| earliest(next, Some(at)))
    }

    /// The next number of a SplitMix64 generator: no two questions carry the same one.
    fn nonce(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
