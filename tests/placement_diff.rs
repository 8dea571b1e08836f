//! `HashRing::diff` and `Comparison` against the rings themselves, key by key.

use std::collections::BTreeMap;

use proptest::prelude::*;
use ringbus::dht::Key;
use ringbus::dht::hash_ring::{Comparison, KeyHash, KeyRule, Reason, Rule};
use ringbus::{HashRing, Mode, RingSpec};

fn any_spec() -> impl Strategy<Value = RingSpec> {
    let mode = prop::sample::select(&Mode::ALL[..]);
    let weight = prop_oneof![3 => Just(1.0), 1 => Just(0.0), 2 => (1..9_u8).prop_map(f64::from)];
    let nodes = prop::collection::vec(("[a-f]", weight), 0..7);
    (mode, nodes).prop_map(|(mode, nodes)| RingSpec { mode, nodes, keys: None })
}

fn keys(salt: u32) -> impl Iterator<Item = Vec<u8>> {
    (0..300_u32).map(move |key| format!("{salt}/{key}").into_bytes())
}

fn spec(mode: Mode, nodes: &[(&str, f64)]) -> RingSpec {
    RingSpec { mode, nodes: nodes.iter().map(|&(node, weight)| (node.into(), weight)).collect(), keys: None }
}

/// How many of 20,000 keys are placed differently, by reason.
fn reasons(here: &RingSpec, there: &RingSpec) -> BTreeMap<Reason, usize> {
    let comparison = Comparison::new(here, there);
    let mut counts = BTreeMap::new();
    for key in 0..20_000_u32 {
        if let Some(found) = comparison.check(key.to_string().as_bytes()) {
            *counts.entry(found.reason).or_default() += 1;
        }
    }
    counts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_key_moves_where_a_move_says_and_only_there(a in any_spec(), b in any_spec(), salt in any::<u32>()) {
        // Moves are arcs of one circle, on which either ring has to place a key alike.
        let (old, new) = (a.ring(), b.ring().with_key_rule(a.key_rule()));
        let diff = HashRing::diff(&old, &new);
        for key in keys(salt) {
            let (from, to) = (old.owner(&key), new.owner(&key));
            let found = diff.find(&key);
            prop_assert_eq!(found.is_some(), from != to);
            if let Some(moved) = found {
                prop_assert_eq!((moved.from, moved.to), (from, to));
                prop_assert!(moved.arc.contains(Key::new(old.position_of(&key))));
            }
        }
        // What is lost and gained is what moves, and the other way round takes the same back.
        let total = diff.moves().iter().map(|moved| moved.arc.keys()).sum::<u64>();
        prop_assert_eq!(total, diff.moved());
        let back = HashRing::diff(&new, &old);
        prop_assert_eq!((back.moved(), back.between_unchanged()), (diff.moved(), diff.between_unchanged()));
        for load in diff.loads() {
            let gained: u64 = diff.moves().iter().filter(|m| m.to == Some(load.node)).map(|m| m.arc.keys()).sum();
            let lost: u64 = diff.moves().iter().filter(|m| m.from == Some(load.node)).map(|m| m.arc.keys()).sum();
            let owned = |share: Option<ringbus::dht::hash_ring::Share>| share.map_or(0, |share| share.positions);
            prop_assert_eq!(owned(load.before) + gained, owned(load.after) + lost, "{}", load.node);
        }
    }

    #[test]
    fn whatever_differs_has_a_reason_that_holds(a in any_spec(), b in any_spec(), salt in any::<u32>()) {
        let (comparison, here, there) = (Comparison::new(&a, &b), a.ring(), b.ring());
        let lists = |spec: &RingSpec, node: Option<&str>| spec.nodes.iter().any(|(name, _)| Some(name.as_str()) == node);
        for key in keys(salt) {
            let found = comparison.check(&key);
            prop_assert_eq!(found.is_some(), here.owner(&key) != there.owner(&key));
            let Some(found) = found else { continue };
            prop_assert_eq!((found.here, found.there), (here.owner(&key), there.owner(&key)));
            match found.reason {
                Reason::MissingThere => prop_assert!(found.here.is_some() && !lists(&b, found.here)),
                Reason::MissingHere => prop_assert!(found.there.is_some() && !lists(&a, found.there)),
                Reason::Mode => prop_assert_ne!(a.mode, b.mode),
                _ => prop_assert_ne!(&a.nodes, &b.nodes),
            }
        }
    }

    /// What the planner's notice rests on.
    #[test]
    fn among_equals_only_the_changed_nodes_keys_move(nodes in 1..12_usize, salt in any::<u16>()) {
        let names: Vec<_> = (0..=nodes).map(|node| format!("10.{salt}.0.{node}")).collect();
        let (small, large) = (HashRing::new(names[1..].to_vec()), HashRing::new(names.clone()));
        let joined = HashRing::diff(&small, &large);
        prop_assert!(joined.moves().iter().all(|moved| moved.to == Some(names[0].as_str())));
        prop_assert_eq!(joined.between_unchanged(), 0);
    }
}

#[test]
fn unequal_weights_move_keys_between_nodes_that_did_not_change() {
    let nodes = [("a", 1.0), ("b", 2.0), ("c", 1.5), ("d", 3.0)];
    let (old, new) = (spec(Mode::HashRing, &nodes[..3]).ring(), spec(Mode::HashRing, &nodes).ring());
    let diff = HashRing::diff(&old, &new);
    assert!(diff.between_unchanged() > 0 && diff.between_unchanged() < diff.moved());
}

#[test]
fn each_reason_is_found_where_it_is_the_only_one() {
    let only = |reason, counts: BTreeMap<Reason, usize>| {
        assert_eq!(counts.keys().collect::<Vec<_>>(), [&reason], "{counts:?}");
    };
    let equal = spec(Mode::HashRing, &[("a", 1.0), ("b", 1.0), ("c", 1.0)]);
    only(Reason::MissingHere, reasons(&spec(Mode::HashRing, &[("a", 1.0), ("b", 1.0)]), &equal));
    only(Reason::MissingThere, reasons(&equal, &spec(Mode::HashRing, &[("a", 1.0), ("b", 1.0)])));
    only(Reason::Mode, reasons(&equal, &RingSpec { mode: Mode::Ketama, ..equal.clone() }));
    only(Reason::Weights, reasons(&equal, &spec(Mode::HashRing, &[("a", 1.0), ("b", 2.0), ("c", 1.0)])));
    assert_eq!(reasons(&equal, &equal), BTreeMap::new());
}

#[test]
fn nodes_that_own_none_of_the_keys_are_a_reason_too() {
    let here = spec(Mode::HashRing, &[("a", 1.0), ("b", 3.0), ("c", 2.0)]);
    let there = spec(Mode::HashRing, &[("a", 1.0), ("b", 3.0), ("c", 2.0), ("d", 5.0)]);
    let counts = reasons(&here, &there);
    assert_eq!(counts.keys().collect::<Vec<_>>(), [&Reason::MissingHere, &Reason::Nodes], "{counts:?}");
}

/// `n1213` and `n1280` meet in a point, and this key lies before it: see `tests/vectors/placement_modes.py`.
#[test]
fn the_order_of_the_list_is_a_reason_where_points_collide() {
    let (one, other) = (("n1213", 1.0), ("n1280", 1.0));
    let (here, there) = (spec(Mode::Ketama, &[one, other]), spec(Mode::Ketama, &[other, one]));
    let comparison = Comparison::new(&here, &there);
    assert_eq!(comparison.check(b"c1708").map(|found| found.reason), Some(Reason::Order));
    let sorted = |spec: RingSpec| RingSpec { mode: Mode::Twemproxy, ..spec };
    assert_eq!(Comparison::new(&sorted(here), &sorted(there)).check(b"c1708"), None);
}

/// Of two modes, the one rule in which they differ for these nodes is named.
#[test]
fn each_rule_is_named_where_it_is_the_one_that_differs() {
    let nodes = |count: u32, port: u16| {
        let node = |n| (format!("10.0.0.{n}:{port}"), 1.0);
        (0..count).map(node).collect::<Vec<_>>()
    };
    let spec = |mode: Mode, nodes: &[(String, f64)]| RingSpec { mode, nodes: nodes.to_vec(), keys: None };
    let found = |here: RingSpec, there: RingSpec| {
        let comparison = Comparison::new(&here, &there);
        let keys = (0..4_000_u32).map(|key| key.to_string().into_bytes());
        let mut rules: Vec<_> =
            keys.filter_map(|key| comparison.check(&key).map(|found| found.rule)).collect();
        rules.sort();
        rules.dedup();
        rules
    };
    let seven = nodes(7, 11212);
    assert_eq!(found(spec(Mode::NpmHashring, &seven), spec(Mode::Ketama, &seven)), [Some(Rule::Counts)]);
    assert_eq!(found(spec(Mode::Ketama, &seven), spec(Mode::LibmemcachedWeighted, &seven)), []);
    let port = nodes(3, 11211);
    for (here, there) in [
        (Mode::Ketama, Mode::LibmemcachedWeighted),
        (Mode::Twemproxy, Mode::Ketama),
        (Mode::NpmHashring, Mode::NpmMemcached),
    ] {
        assert_eq!(found(spec(here, &port), spec(there, &port)), [Some(Rule::Label)], "{here} and {there}");
    }
    let default = RingSpec { keys: Some(KeyRule::new(KeyHash::Fnv1a64)), ..spec(Mode::Twemproxy, &port) };
    assert_eq!(found(spec(Mode::Twemproxy, &port), default), [Some(Rule::KeyHash)]);
    assert!(found(spec(Mode::HashRing, &port), spec(Mode::Ketama, &port)).contains(&Some(Rule::Points)));
}

/// The keys and nodes of `tests/vectors/placement_modes.py`: before a point on which two meet, and on a point.
#[test]
fn ties_and_keys_on_points_are_rules_too() {
    let (here, there) = (Mode::LibmemcachedWeighted, Mode::Twemproxy);
    let nodes = [("n1280", 1.0), ("n1213", 1.0)];
    let comparison = Comparison::new(&spec(here, &nodes), &spec(there, &nodes));
    assert_eq!(comparison.check(b"c1708").and_then(|found| found.rule), Some(Rule::Tie));
    let difference = comparison.rules().next().map(|difference| (difference.rule, difference.there.as_str()));
    assert_eq!(difference, Some((Rule::Tie, "that of the node with the shortest name")));
}
