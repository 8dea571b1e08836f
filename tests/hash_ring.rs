//! `HashRing` against placements that Python's `hash_ring` 1.3.1 computed, and against a naive oracle.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use md5::{Digest, Md5};
use proptest::prelude::*;
use ringbus::HashRing;
use serde::Deserialize;

#[derive(Deserialize)]
struct Vectors {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    nodes: Vec<String>,
    weights: BTreeMap<String, f64>,
    points: usize,
    keys: Vec<Key>,
}

#[derive(Deserialize)]
struct Key {
    key: String,
    hash: u32,
    owner: String,
    preference: Vec<String>,
}

impl Case {
    fn ring(&self) -> HashRing {
        let weight = |node: &String| self.weights.get(node).copied().unwrap_or(1.0);
        HashRing::weighted(self.nodes.iter().map(|node| (node.as_str(), weight(node))))
    }
}

fn vectors() -> Vec<Case> {
    serde_json::from_str::<Vectors>(include_str!("vectors/hash_ring_vectors.json")).unwrap().cases
}

#[test]
fn every_placement_of_the_python_package_is_reproduced() {
    let mut keys = 0;
    for case in vectors() {
        let ring = case.ring();
        assert_eq!(ring.points(), case.points, "{}", case.name);
        for Key { key, hash, owner, preference } in &case.keys {
            let context = format!("{}: {key:?}", case.name);
            let bytes = key.as_bytes();
            assert_eq!(HashRing::position(bytes), *hash, "{context}");
            assert_eq!(ring.owner(bytes), Some(owner.as_str()), "{context}");
            assert_eq!(ring.preference(bytes, preference.len()), *preference, "{context}");
            keys += 1;
        }
        let all: Vec<&[u8]> = case.keys.iter().map(|key| key.key.as_bytes()).collect();
        let mut owners = Vec::new();
        ring.owners(&all, &mut owners);
        assert!(owners.iter().map(|&node| ring.node(node)).eq(case.keys.iter().map(|key| &key.owner)));
    }
    assert_eq!(keys, 1020, "the vectors are all there");
}

#[test]
fn unweighted_rings_are_weighted_rings_of_equal_weights() {
    for case in vectors().into_iter().filter(|case| case.weights.is_empty()) {
        let ring = HashRing::new(case.nodes.clone());
        assert_eq!(ring.points(), case.points);
        for key in &case.keys {
            assert_eq!(ring.owner(key.key.as_bytes()), Some(key.owner.as_str()));
        }
    }
}

#[test]
fn counts_are_rounded_as_python_rounds_them() {
    // Computed with Python 3; 40 * 3 * 0.1 / (0.1 + 0.2 + 0.3) is a little under 20 in floating point.
    let points = |weights: [f64; 3]| HashRing::weighted(["a", "b", "c"].into_iter().zip(weights)).points();
    assert_eq!(points([0.1, 0.2, 0.3]), 351);
    assert_eq!(points([2.0, 1.0, 1.0]), 360);
    assert_eq!(points([0.1, 1.0, 1.0]), 357);
}

#[test]
fn every_list_is_a_ring() {
    let none = [
        HashRing::default(),
        HashRing::new::<&str>([]),
        HashRing::weighted([("a", 0), ("b", -1)]),
        HashRing::weighted([("a", f64::NAN), ("b", f64::INFINITY)]),
    ];
    for ring in none {
        assert_eq!((ring.points(), ring.owner(b"k")), (0, None), "{ring:?}");
        assert!(ring.preference(b"k", 3).is_empty());
        let mut owners = Vec::new();
        ring.owners(&[b"k"], &mut owners);
        assert!(owners.is_empty());
    }
    // Weights whose arithmetic overflows end in a ring as well, and not in endless points.
    assert!(HashRing::weighted([("a", f64::MAX)]).points() <= 120);
    assert!(HashRing::weighted([("a", f64::MAX), ("b", f64::MAX)]).points() <= 240);
    assert!(HashRing::weighted([("a", f64::MIN_POSITIVE), ("b", 1.0)]).points() <= 240);
}

#[test]
fn a_name_listed_twice_is_one_node() {
    let (once, twice) = (HashRing::new(["a", "b"]), HashRing::new(["a", "b", "a"]));
    assert_eq!((once.points(), twice.nodes().len()), (twice.points(), 2));
    for key in 0..1000_u32 {
        assert_eq!(once.preference(&key.to_be_bytes(), 9), twice.preference(&key.to_be_bytes(), 9));
    }
    // The last weight holds for both mentions: 40 * 3 * 1 / 4 and 40 * 3 * 2 / 4 digests.
    assert_eq!(HashRing::weighted([("a", 7), ("b", 2), ("a", 1)]).points(), (30 + 60) * 3);
}

#[test]
fn a_foreign_index_names_nothing() {
    let (small, large) = (HashRing::new(["a"]), HashRing::new(["x", "y"]));
    let mut owners = Vec::new();
    let keys: Vec<Vec<u8>> = (0..64_u8).map(|key| vec![key]).collect();
    large.owners(&keys.iter().map(Vec::as_slice).collect::<Vec<_>>(), &mut owners);
    let second = owners.into_iter().find(|node| node.get() == 1).unwrap();
    assert_eq!((large.node(second), small.node(second)), ("y", ""));
}

/// The rule of the design page, word for word, without a sorted point anywhere.
struct Oracle {
    /// Position and node, in list order.
    points: Vec<(u32, String)>,
}

impl Oracle {
    fn new(nodes: &[(String, u16)]) -> Self {
        let weight =
            |name: &str| nodes.iter().rfind(|(node, _)| node == name).map_or(0, |node| u64::from(node.1));
        let total: u64 = nodes.iter().map(|(name, _)| weight(name)).sum();
        let mut points = Vec::new();
        for (name, _) in nodes {
            // Whole weights, in whole numbers: 40·n·w / Σw, rounded down.
            let replicas = (40 * nodes.len() as u64 * weight(name)).checked_div(total).unwrap_or(0);
            for j in 0..replicas {
                let digest = Md5::digest(format!("{name}-{j}").as_bytes());
                points.extend((0..3).map(|word| (little_endian(&digest[4 * word..]), name.clone())));
            }
        }
        Self { points }
    }

    fn distinct(&self) -> usize {
        self.points.iter().map(|point| point.0).collect::<BTreeSet<_>>().len()
    }

    fn owner(&self, key: &[u8]) -> Option<&str> {
        self.point_after(little_endian(&Md5::digest(key))).map(|(_, node)| node)
    }

    fn preference(&self, key: &[u8], n: usize) -> Vec<&str> {
        let mut position = little_endian(&Md5::digest(key));
        let mut nodes = Vec::new();
        for _ in 0..self.distinct() {
            let Some((next, node)) = self.point_after(position) else { break };
            if nodes.len() < n && !nodes.contains(&node) {
                nodes.push(node);
            }
            position = next;
        }
        nodes
    }

    fn point_after(&self, position: u32) -> Option<(u32, &str)> {
        let after = self.points.iter().map(|point| point.0).filter(|&point| point > position).min();
        let chosen = after.or_else(|| self.points.iter().map(|point| point.0).min())?;
        let last = self.points.iter().rfind(|point| point.0 == chosen)?;
        Some((chosen, &last.1))
    }
}

fn little_endian(bytes: &[u8]) -> u32 {
    bytes[..4].iter().rev().fold(0, |word, &byte| word << 8 | u32::from(byte))
}

fn any_nodes() -> impl Strategy<Value = Vec<(String, u16)>> {
    let name = prop_oneof![3 => "[a-e]", 1 => "\\PC{0,20}"];
    prop::collection::vec((name, prop_oneof![Just(0), Just(1), 0..6_u16, any::<u16>()]), 0..6)
}

fn same(ring: &HashRing, expected: &HashRing, salt: u32) -> Result<(), TestCaseError> {
    prop_assert_eq!(ring.points(), expected.points());
    prop_assert!(ring.nodes().eq(expected.nodes()));
    for key in 0..50_u32 {
        let key = (key ^ salt).to_le_bytes();
        prop_assert_eq!(ring.owner(&key), expected.owner(&key));
        prop_assert!(ring.preference_iter(&key).eq(expected.preference_iter(&key)));
    }
    Ok(())
}

/// Past 1,024 nodes, and past the 32 first of them, the nodes that came up are remembered in other ways.
#[test]
fn preferences_on_large_rings_are_the_distinct_nodes_in_order() {
    for count in [1_024, 1_025, 1_300] {
        let ring = HashRing::new((0..count).map(|node| format!("node{node}")));
        for key in 0..3_u8 {
            let preference: Vec<_> = ring.preference_iter(&[key]).collect();
            assert_eq!(preference.iter().collect::<BTreeSet<_>>().len(), count);
            assert_eq!(preference.len(), count);
            assert_eq!(Some(ring.node(preference[0])), ring.owner(&[key]));
            // Each is where the keys go when those before it have left.
            let (gone, next) = (&preference[..40], ring.node(preference[40]));
            let left = ring.relisted(
                ring.nodes()
                    .filter(|name| gone.iter().all(|&node| ring.node(node) != *name))
                    .map(|name| (name, 1)),
            );
            assert_eq!(left.owner(&[key]), Some(next));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn weighted_rings_agree_with_the_oracle(
        nodes in any_nodes(),
        keys in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..150), 1..6),
        n in 0..7_usize,
    ) {
        let (ring, oracle) = (HashRing::weighted(nodes.clone()), Oracle::new(&nodes));
        prop_assert_eq!(ring.points(), oracle.distinct());
        let mut owners = Vec::new();
        ring.owners(&keys.iter().map(Vec::as_slice).collect::<Vec<_>>(), &mut owners);
        let mut owners = owners.into_iter();
        for key in &keys {
            prop_assert_eq!(HashRing::position(key), little_endian(&Md5::digest(key)));
            prop_assert_eq!(ring.owner(key), oracle.owner(key));
            prop_assert_eq!(owners.next().map(|node| ring.node(node)), oracle.owner(key));
            prop_assert_eq!(ring.preference(key, n), oracle.preference(key, n));
        }
    }

    /// A ring made out of another is the ring made from its list: numbers of nodes, points, owners and preferences.
    #[test]
    fn a_relisted_ring_is_the_ring_of_its_list(old in any_nodes(), new in any_nodes(), salt in any::<u32>()) {
        let (old_ring, expected) = (HashRing::weighted(old.clone()), HashRing::weighted(new.clone()));
        same(&old_ring.relisted(new.clone()), &expected, salt)?;
        let mut list = old;
        let mut ring = old_ring;
        for (node, weight) in new {
            list.retain(|(name, _)| *name != node);
            ring = ring.without_node(&node);
            same(&ring, &HashRing::weighted(list.clone()), salt)?;
            list.push((node.clone(), weight));
            ring = ring.with_node(node, weight);
            same(&ring, &HashRing::weighted(list.clone()), salt)?;
        }
        for (node, weight) in &mut list {
            *weight = 3;
            ring = ring.with_node(node.as_str(), 3);
        }
        same(&ring, &HashRing::weighted(list), salt)?;
    }

    /// What makes the placement consistent: a node that goes moves the keys it had, and no others.
    #[test]
    fn a_departure_moves_only_what_was_the_departed_nodes(nodes in 2..12_usize, gone in 0..12_usize, salt in any::<u64>()) {
        let names: Vec<_> = (0..nodes).map(|node| format!("10.0.{salt}.{node}")).collect();
        let gone = &names[gone % nodes];
        let before = HashRing::new(names.clone());
        let after = HashRing::new(names.iter().filter(|name| *name != gone).cloned());
        for key in 0..200_u32 {
            let key = key.to_be_bytes();
            if before.owner(&key) == Some(gone.as_str()) {
                // Its replicas are where the keys go.
                prop_assert_eq!(after.owner(&key), before.preference(&key, 2).get(1).copied());
            } else {
                prop_assert_eq!(after.owner(&key), before.owner(&key));
            }
        }
    }
}
