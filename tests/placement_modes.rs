//! The modes of `HashRing` against placements that the programs themselves computed: see
//! `tests/vectors/placement_modes.py`.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use ringbus::{HashRing, Mode, RingSpec};
use serde::Deserialize;

#[derive(Deserialize)]
struct Vectors {
    keys: Vec<String>,
    cases: Vec<Case>,
    differences: Vec<Difference>,
}

#[derive(Deserialize)]
struct Case {
    program: String,
    mode: String,
    nodes: Vec<(String, u32)>,
    points: Option<usize>,
    /// The place in `nodes` of each key's owner.
    owners: Vec<usize>,
    keys: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Difference {
    why: String,
    nodes: Vec<(String, u32)>,
    key: String,
    owners: BTreeMap<String, String>,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("vectors/placement_modes.json")).unwrap()
}

fn ring(mode: Mode, nodes: &[(String, u32)]) -> HashRing {
    let nodes = nodes.iter().map(|(node, weight)| (node.clone(), f64::from(*weight))).collect();
    RingSpec { mode, nodes, keys: None }.ring()
}

#[test]
fn every_placement_of_the_programs_is_reproduced() {
    let Vectors { keys: common, cases, .. } = vectors();
    let (mut placed, mut programs) = (0, BTreeSet::new());
    for case in cases {
        let ring = ring(case.mode.parse().unwrap(), &case.nodes);
        let context = format!("{} {:?}", case.program, case.nodes);
        assert_eq!(ring.mode().name(), case.mode);
        if let Some(points) = case.points {
            assert_eq!(ring.points(), points, "{context}");
        }
        let keys = case.keys.as_ref().unwrap_or(&common);
        assert_eq!(keys.len(), case.owners.len(), "{context}");
        let (bytes, mut owners) = (keys.iter().map(|key| key.as_bytes()).collect::<Vec<_>>(), Vec::new());
        ring.owners(&bytes, &mut owners);
        for ((key, &expected), together) in keys.iter().zip(&case.owners).zip(owners) {
            let expected = case.nodes[expected].0.as_str();
            assert_eq!(ring.owner(key.as_bytes()), Some(expected), "{key:?}, {context}");
            assert_eq!(ring.node(together), expected, "{key:?}, {context}");
            assert_eq!(ring.preference(key.as_bytes(), 1), [expected], "{key:?}, {context}");
            placed += 1;
        }
        programs.insert(case.program);
    }
    assert_eq!(programs.len(), 4, "{programs:?}");
    assert!(placed > 9_000, "{placed}");
}

/// Where uhashring's `hash_fn="ketama"` departs from the library it is named after, the mode follows the library.
#[test]
fn differences_between_the_programs_are_those_between_the_modes() {
    let mut reasons = BTreeSet::new();
    for Difference { why, nodes, key, owners } in vectors().differences {
        let said: BTreeSet<&String> = owners.values().collect();
        assert!(said.len() > 1, "{key}: the programs agree");
        for (program, mode) in [("libketama", Mode::Ketama), ("twemproxy 0.5.0", Mode::Twemproxy)] {
            let owner = ring(mode, &nodes).owner(key.as_bytes()).map(str::to_owned);
            assert_eq!(owner.as_ref(), owners.get(program), "{program}, {why}: {key}");
        }
        reasons.insert(why);
    }
    let expected = ["the key lies on a point", "the rounding of shares", "two nodes meet in a point"];
    assert_eq!(reasons.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[test]
fn every_list_is_a_ring_in_every_mode() {
    for mode in Mode::ALL {
        let none = [vec![], vec![("a", 0.0), ("b", -1.0)], vec![("a", f64::NAN), ("b", f64::INFINITY)]];
        for nodes in none {
            assert_eq!(HashRing::with_mode(mode, nodes).owner(b"k"), None, "{mode}");
        }
        // What these make of the greatest weights is many points: see the tests of counts.
        let many = [Mode::Nginx, Mode::Haproxy].contains(&mode);
        for weight in [f64::MAX, f64::MIN_POSITIVE].into_iter().skip(usize::from(many)) {
            assert!(HashRing::with_mode(mode, [("a", weight), ("b", weight)]).points() <= 1024, "{mode}");
        }
        let (once, twice) = (["a", "b"].map(|node| (node, 1)), ["a", "b", "a"].map(|node| (node, 1)));
        let (once, twice) = (HashRing::with_mode(mode, once), HashRing::with_mode(mode, twice));
        assert_eq!((once.points(), twice.nodes().len()), (twice.points(), 2), "{mode}");
    }
}
