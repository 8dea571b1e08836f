//! Which keys two rings place differently, and why.

use std::collections::{HashMap, HashSet};
use std::fmt;

use super::mode::Rules;
use super::{HashRing, KeyRule, Mode, Rule};

/// What a ring is made of: a [`HashRing`] keeps the points that follow from it.
///
/// ```
/// use ringbus::{Mode, RingSpec};
///
/// let nodes = vec![("a".into(), 1.0), ("b".into(), 2.0)];
/// let spec = RingSpec { mode: Mode::Ketama, nodes, ..RingSpec::default() };
/// assert_eq!(spec.ring().points(), (26 + 53) * 4); // 40·2·1/3 and 40·2·2/3 digests, rounded down
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RingSpec {
    /// Whose rule.
    pub mode: Mode,
    /// The nodes with their weights, in the order that decides about colliding points.
    pub nodes: Vec<(String, f64)>,
    /// How keys are placed, if otherwise than by the mode's own [rule](Mode::key_rule).
    pub keys: Option<KeyRule>,
}

impl RingSpec {
    /// The ring itself.
    pub fn ring(&self) -> HashRing {
        HashRing::with_mode(self.mode, self.listed()).with_key_rule(self.key_rule())
    }

    /// How keys are placed.
    pub fn key_rule(&self) -> KeyRule {
        self.keys.unwrap_or(self.mode.key_rule())
    }

    fn listed(&self) -> impl Iterator<Item = (&str, f64)> {
        self.nodes.iter().map(|(node, weight)| (node.as_str(), *weight))
    }

    fn rules(&self) -> Rules {
        self.mode.rules(&self.nodes.iter().map(|(_, weight)| *weight).collect::<Vec<_>>())
    }
}

/// Two rings side by side.
///
/// ```
/// use ringbus::dht::hash_ring::{Comparison, Reason, Rule};
/// use ringbus::{Mode, RingSpec};
///
/// let nodes = vec![("a".to_owned(), 1.0), ("b".to_owned(), 1.0)];
/// let here = RingSpec { mode: Mode::HashRing, nodes, ..RingSpec::default() };
/// let comparison = Comparison::new(&here, &RingSpec { mode: Mode::Ketama, ..here.clone() });
/// let found = (0..100).find_map(|key: u32| comparison.check(key.to_string().as_bytes()));
/// let found = found.map(|found| (found.reason, found.rule));
/// assert_eq!(found, Some((Reason::Mode, Some(Rule::Points)))); // four words of a digest, and not three
/// ```
#[derive(Debug, Clone)]
pub struct Comparison {
    here: HashRing,
    there: HashRing,
    /// The names of the one ring's nodes, and of the other's.
    names: [HashSet<String>; 2],
    /// `here` with one thing as it is there, for each that differs.
    exchanged: Vec<(Reason, HashRing)>,
    /// `here` with one rule of the mode as it is there, for each that differs.
    by_rule: Vec<(RuleDifference, HashRing)>,
}

/// A rule of which two rings have different ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleDifference {
    /// Which part of the two modes it is.
    pub rule: Rule,
    /// What it says in the one ring, in words.
    pub here: String,
    /// What it says in the other.
    pub there: String,
}

/// A key that two rings place differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disagreement<'a> {
    /// Whose it is in the one ring.
    pub here: Option<&'a str>,
    /// Whose it is in the other.
    pub there: Option<&'a str>,
    /// Why.
    pub reason: Reason,
    /// Of [`Reason::Mode`], the first rule that alone, all else being as it is here, gives the key another owner; `None`
    /// if several of them do it together.
    pub rule: Option<Rule>,
}

/// Why two rings place a key differently: the first of these that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The owner here is not a node of the other ring.
    MissingThere,
    /// The owner there is not a node of this ring.
    MissingHere,
    /// The other mode alone, with its [`KeyRule`], all else being as it is here, gives the key another owner.
    Mode,
    /// The weights that the nodes of this ring have there alone do.
    Weights,
    /// Nodes that are in one ring only, none of them an owner of this key, alone do: they change how many points the
    /// others have.
    Nodes,
    /// The order of the other list alone does: the key lies before a point on which two nodes meet.
    Order,
    /// None of them does alone, but several do together.
    Together,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::MissingThere => "the owner here is missing there",
            Self::MissingHere => "the owner there is missing here",
            Self::Mode => "another mode",
            Self::Weights => "other weights",
            Self::Nodes => "other nodes, which change the number of points",
            Self::Order => "another order of the nodes, whose points collide",
            Self::Together => "several differences together",
        })
    }
}

impl Comparison {
    /// Compares two rings; beside them it builds one more for each of mode, weights, nodes and order that differs.
    pub fn new(here: &RingSpec, there: &RingSpec) -> Self {
        let candidates = [
            (Reason::Mode, RingSpec { nodes: here.nodes.clone(), ..there.clone() }),
            (Reason::Weights, with_weights(here, there)),
            (Reason::Nodes, with_nodes(here, there)),
            (Reason::Order, with_order(here, there)),
        ];
        let exchanged = candidates.into_iter().filter(|(_, spec)| spec != here);
        let exchanged = exchanged.map(|(reason, spec)| (reason, spec.ring())).collect();
        let by_rule = by_rule(here, there);
        Self {
            here: here.ring(),
            there: there.ring(),
            names: [names(here), names(there)],
            exchanged,
            by_rule,
        }
    }

    /// The rules that differ between the two modes, for the nodes of the one ring.
    pub fn rules(&self) -> impl Iterator<Item = &RuleDifference> {
        self.by_rule.iter().map(|(difference, _)| difference)
    }

    /// Whether the two place a key differently, and why. `None` if they agree.
    pub fn check(&self, key: &[u8]) -> Option<Disagreement<'_>> {
        let (here, there) = (self.here.owner(key), self.there.owner(key));
        (here != there).then(|| {
            let reason = self.reason(key, here, there);
            let alone = |(_, ring): &&(_, HashRing)| ring.owner(key) != here;
            let rule = (reason == Reason::Mode).then(|| self.by_rule.iter().find(alone)).flatten();
            Disagreement { here, there, reason, rule: rule.map(|(difference, _)| difference.rule) }
        })
    }

    /// The ring that keys are compared from.
    pub fn here(&self) -> &HashRing {
        &self.here
    }

    /// The ring that they are compared with.
    pub fn there(&self) -> &HashRing {
        &self.there
    }

    fn reason(&self, key: &[u8], here: Option<&str>, there: Option<&str>) -> Reason {
        let [ours, theirs] = &self.names;
        if here.is_some_and(|node| !theirs.contains(node)) {
            return Reason::MissingThere;
        }
        if there.is_some_and(|node| !ours.contains(node)) {
            return Reason::MissingHere;
        }
        let alone = self.exchanged.iter().find(|(_, ring)| ring.owner(key) != here);
        alone.map_or(Reason::Together, |&(reason, _)| reason)
    }
}

/// `here` with one rule as it is there, for each that differs.
fn by_rule(here: &RingSpec, there: &RingSpec) -> Vec<(RuleDifference, HashRing)> {
    let mut found = Vec::new();
    let (ours, theirs) = (here.key_rule(), there.key_rule());
    if ours != theirs {
        let difference =
            RuleDifference { rule: Rule::KeyHash, here: ours.to_string(), there: theirs.to_string() };
        found.push((difference, here.ring().with_key_rule(theirs)));
    }
    // The rules of the other mode for these weights, which are what it is exchanged for.
    let (ours, theirs) = (here.rules(), RingSpec { mode: there.mode, ..here.clone() }.rules());
    for rule in Rule::OF_RINGS {
        let exchanged = ours.exchanged(rule, theirs);
        if exchanged != ours {
            let [here_says, there_says] = [ours, theirs].map(|rules| rules.text(rule).to_owned());
            let difference = RuleDifference { rule, here: here_says, there: there_says };
            let ring = HashRing::by_rules(here.mode, exchanged, here.listed());
            found.push((difference, ring.with_key_rule(here.key_rule())));
        }
    }
    found
}

/// `here`, where its nodes have the weights that they have there.
fn with_weights(here: &RingSpec, there: &RingSpec) -> RingSpec {
    let weights: HashMap<&str, f64> =
        there.nodes.iter().map(|(node, weight)| (node.as_str(), *weight)).collect();
    let weight = |node: &str, own: f64| weights.get(node).copied().unwrap_or(own);
    let nodes = here.nodes.iter().map(|(node, own)| (node.clone(), weight(node, *own))).collect();
    RingSpec { nodes, ..here.clone() }
}

/// `here` without its nodes that are not there, and with those that are only there.
fn with_nodes(here: &RingSpec, there: &RingSpec) -> RingSpec {
    let (ours, theirs) = (names(here), names(there));
    let kept = here.nodes.iter().filter(|(node, _)| theirs.contains(node));
    let new = there.nodes.iter().filter(|(node, _)| !ours.contains(node));
    RingSpec { nodes: kept.chain(new).cloned().collect(), ..here.clone() }
}

/// `here` in the order of the other list, which its nodes that are not there follow.
fn with_order(here: &RingSpec, there: &RingSpec) -> RingSpec {
    let mut places = HashMap::new();
    for (place, (node, _)) in there.nodes.iter().enumerate() {
        places.entry(node.as_str()).or_insert(place);
    }
    let mut nodes = here.nodes.clone();
    nodes.sort_by_key(|(node, _)| places.get(node.as_str()).copied().unwrap_or(usize::MAX));
    RingSpec { nodes, ..here.clone() }
}

fn names(spec: &RingSpec) -> HashSet<String> {
    spec.nodes.iter().map(|(node, _)| node.clone()).collect()
}
