//! The modes and the hashes of keys against where the programs themselves place keys: see
//! `tests/vectors/placement_rings/`.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use ringbus::dht::hash_ring::KeyHash;
use ringbus::{HashRing, Mode, RingSpec};
use serde::Deserialize;

#[derive(Deserialize)]
struct Vectors {
    keys: Vec<String>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    program: String,
    mode: String,
    /// How keys are placed, where that is not the mode's own way.
    rule: Option<String>,
    nodes: Vec<(String, u32)>,
    /// The place in `nodes` of each key's owner.
    owners: Vec<usize>,
    /// Where they are not those that the cases have in common.
    keys: Option<Vec<String>>,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("vectors/placement_rings.json")).unwrap()
}

impl Case {
    fn ring(&self) -> HashRing {
        let nodes = self.nodes.iter().map(|(node, weight)| (node.clone(), f64::from(*weight))).collect();
        let keys = self.rule.as_ref().map(|rule| rule.parse().unwrap());
        RingSpec { mode: self.mode.parse().unwrap(), nodes, keys }.ring()
    }
}

#[test]
fn every_placement_of_the_programs_is_reproduced() {
    let Vectors { keys: common, cases } = vectors();
    let mut wrong = BTreeMap::<String, usize>::new();
    let mut placed = 0;
    for case in &cases {
        let (ring, keys) = (case.ring(), case.keys.as_ref().unwrap_or(&common));
        assert_eq!(keys.len(), case.owners.len(), "{}", case.program);
        let bytes: Vec<&[u8]> = keys.iter().map(|key| key.as_bytes()).collect();
        let mut owners = Vec::new();
        ring.owners(&bytes, &mut owners);
        for ((key, &expected), together) in bytes.iter().zip(&case.owners).zip(owners) {
            let expected = case.nodes[expected].0.as_str();
            let preferred = ring.preference_iter(key).next().map(|node| ring.node(node));
            if [ring.owner(key), Some(ring.node(together)), preferred] != [Some(expected); 3] {
                let rule = case.rule.as_deref().unwrap_or("");
                let case = format!("{} {} {rule} {:?}", case.program, case.nodes.len(), case.nodes.last());
                *wrong.entry(case).or_default() += 1;
            }
            placed += 1;
        }
    }
    assert_eq!(wrong, BTreeMap::new());
    assert!(placed > 20_000, "{placed}");
}

/// Nothing that is promised to be a program's has no vectors of it.
#[test]
fn every_mode_and_every_hash_of_keys_has_its_vectors() {
    let cases = vectors().cases;
    let modes: BTreeSet<&str> = cases.iter().map(|case| case.mode.as_str()).collect();
    // These two have theirs in placement_modes.json.
    let expected =
        Mode::ALL.map(Mode::name).into_iter().filter(|mode| !["hash_ring", "ketama"].contains(mode));
    assert_eq!(modes, expected.collect());
    let hashes: BTreeSet<&str> = cases.iter().map(|case| case.ring().key_rule().hash().name()).collect();
    assert_eq!(hashes, KeyHash::ALL.map(KeyHash::name).into_iter().collect());
}

/// The modes are told apart by their vectors: no other mode reproduces those of one.
#[test]
fn vectors_of_one_mode_refute_the_others() {
    let Vectors { keys: common, cases } = vectors();
    for ours in Mode::ALL {
        for other in Mode::ALL.into_iter().filter(|&other| other != ours) {
            // Where points meet alone, of which placement_modes.json has twemproxy's word.
            if (ours, other) == (Mode::Twemproxy, Mode::LibmemcachedWeighted) {
                continue;
            }
            let of_mode: Vec<&Case> = cases.iter().filter(|case| case.mode == ours.name()).collect();
            let differs = |case: &&Case| {
                let nodes = case.nodes.iter().map(|(node, weight)| (node.as_str(), *weight));
                let ring = HashRing::with_mode(other, nodes).with_key_rule(case.ring().key_rule());
                let keys = case.keys.as_ref().unwrap_or(&common);
                let mut places = keys.iter().zip(&case.owners);
                places.any(|(key, &owner)| ring.owner(key.as_bytes()) != Some(case.nodes[owner].0.as_str()))
            };
            assert!(of_mode.is_empty() || of_mode.iter().any(differs), "{ours} is {other}");
        }
    }
}
