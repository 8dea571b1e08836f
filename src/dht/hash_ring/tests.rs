//! Every path of instructions against the `md-5` crate, a naive circle, and the Python package's placements.
//!
//! `RINGBUS_PLACEMENT_KEYS=1000000 cargo test --release --lib hash_ring` is the long run.

use std::collections::BTreeMap;

use ::md5::{Digest, Md5};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::md5::{Path, Replicas, positions};
use super::{HashRing, Mode, NodeIndex};

/// How many keys each path places.
fn keys() -> usize {
    match std::env::var("RINGBUS_PLACEMENT_KEYS") {
        Ok(keys) => keys.parse().unwrap(),
        Err(_) if cfg!(miri) => 40,
        Err(_) => 20_000,
    }
}

fn digest(bytes: &[u8]) -> [u32; 4] {
    let digest: [u8; 16] = Md5::digest(bytes).into();
    std::array::from_fn(|word| u32::from_le_bytes(digest.as_chunks().0[word]))
}

fn random_keys(rng: &mut SmallRng, count: usize, longest: usize) -> Vec<Vec<u8>> {
    let mut key = || {
        let mut key = vec![0; rng.random_range(0..=longest)];
        rng.fill(&mut key[..]);
        key
    };
    (0..count).map(|_| key()).collect()
}

fn random_ring(rng: &mut SmallRng) -> Vec<(String, f64)> {
    let most = if cfg!(miri) { 3 } else { 20 };
    let mut node = |_| (format!("node-{}", rng.random_range(0..1000)), f64::from(rng.random_range(0..5)));
    (0..most).map(&mut node).collect()
}

/// The circle by the rule's words: the last listed of equal positions has the point.
fn circle(nodes: &[(String, f64)]) -> BTreeMap<u32, &str> {
    let weight = |name: &str| nodes.iter().rfind(|(node, _)| node == name).map_or(0.0, |node| node.1);
    let total: f64 = nodes.iter().map(|(name, _)| weight(name)).sum();
    let mut circle = BTreeMap::new();
    for (name, _) in nodes {
        // NaN, if all weights are 0, is 0 as a whole number.
        for j in 0..(40.0 * nodes.len() as f64 * weight(name) / total).floor() as u64 {
            let [first, second, third, _] = digest(format!("{name}-{j}").as_bytes());
            circle.extend([first, second, third].map(|position| (position, name.as_str())));
        }
    }
    circle
}

#[test]
fn every_path_digests_as_the_md5_crate_does() {
    let mut rng = SmallRng::seed_from_u64(1);
    let lengths: &[usize] = if cfg!(miri) { &[60] } else { &[15, 31, 47, 55, 56, 300] };
    for &longest in lengths {
        let keys = random_keys(&mut rng, 120, longest);
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let expected: Vec<u32> = keys.iter().map(|key| digest(key)[0]).collect();
        for path in Path::available() {
            // Batches that are full, and rests of every size.
            for count in (0..keys.len()).step_by(if cfg!(miri) { 37 } else { 1 }) {
                let mut found = Vec::new();
                positions(path, &keys[..count], |positions| found.extend_from_slice(positions));
                assert_eq!(found, expected[..count], "{path:?}, {count} keys of up to {longest} bytes");
            }
        }
    }
}

#[test]
fn every_path_digests_keys_of_every_length() {
    let text: Vec<u8> = (0..=300_u16).map(|byte| (byte * 7) as u8).collect();
    let keys: Vec<&[u8]> = (0..=300).map(|length| &text[..length]).collect();
    for path in Path::available() {
        // All alike, so that each length is also the longest of a batch.
        for (length, &key) in keys.iter().enumerate().step_by(if cfg!(miri) { 27 } else { 1 }) {
            let expected = digest(key)[0];
            positions(path, &[key; 32], |positions| {
                assert!(positions.iter().all(|&position| position == expected), "{path:?}: {length}");
            });
        }
        assert!(
            keys.iter()
                .all(|key| cfg!(miri) && key.len() % 27 > 0 || HashRing::position(key) == digest(key)[0])
        );
    }
}

#[test]
fn every_path_digests_names_of_nodes() {
    // Under Miri a few numbers are enough to fill a batch.
    let count = if cfg!(miri) { 11 } else { 111 };
    let names = ["", "a", "10.0.0.1:5556", &"long".repeat(13), &"longer".repeat(9), &"longest".repeat(40)];
    let mut expected = Vec::new();
    for (node, name) in (0..).zip(names) {
        expected.extend((0..count).map(|j| (NodeIndex(node), digest(format!("{name}-{j}").as_bytes()))));
    }
    for path in Path::available() {
        let mut found = Vec::new();
        let mut digests = Replicas::new(path, |node, digest| found.push((node, digest)));
        for (node, name) in (0..).zip(names) {
            digests.push(NodeIndex(node), name, count);
        }
        digests.flush();
        assert_eq!(found, expected, "{path:?}");
    }
}

#[test]
fn every_path_gives_every_key_the_same_owner() {
    let mut rng = SmallRng::seed_from_u64(2);
    let total = keys();
    let mut left = total;
    while left > 0 {
        let nodes = random_ring(&mut rng);
        let ring = HashRing::weighted(nodes.clone());
        let circle = circle(&nodes);
        assert_eq!(ring.points(), circle.len());
        let keys = random_keys(&mut rng, left.min(total.div_ceil(if cfg!(miri) { 2 } else { 20 })), 300);
        left -= keys.len();
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let expected: Vec<&str> = keys
            .iter()
            .filter_map(|key| {
                let after = circle.range(digest(key)[0].checked_add(1)?..).next();
                after.or_else(|| circle.iter().next()).map(|(_, node)| *node)
            })
            .collect();
        for path in Path::available() {
            let mut owners = Vec::new();
            ring.owners_by(path, &keys, &mut owners);
            assert!(owners.iter().map(|&node| ring.node(node)).eq(expected.iter().copied()), "{path:?}");
        }
        if !circle.is_empty() {
            assert!(keys.iter().map(|key| ring.owner(key)).eq(expected.iter().copied().map(Some)));
        }
    }
}

#[test]
fn every_path_reproduces_the_python_package() {
    let vectors = include_str!("../../../tests/vectors/hash_ring_vectors.json");
    let vectors: serde_json::Value = serde_json::from_str(vectors).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let cases = vectors["cases"].as_array().unwrap();
    let mut placed = 0;
    for case in cases.iter().take(if cfg!(miri) { 1 } else { usize::MAX }) {
        let nodes = case["nodes"].as_array().unwrap().iter();
        let weight = |node: &serde_json::Value| case["weights"][text(node)].as_f64().unwrap_or(1.0);
        let ring = HashRing::weighted(nodes.map(|node| (text(node), weight(node))));
        let places = case["keys"].as_array().unwrap();
        let keys: Vec<&[u8]> = places.iter().map(|place| place["key"].as_str().unwrap().as_bytes()).collect();
        for path in Path::available() {
            let mut owners = Vec::new();
            assert!(ring.owners_with(path.name(), &keys, &mut owners));
            assert!(
                owners
                    .iter()
                    .map(|&node| ring.node(node))
                    .eq(places.iter().map(|place| place["owner"].as_str().unwrap()))
            );
        }
        placed += keys.len();
    }
    assert!(cfg!(miri) || placed == 1020, "the vectors are all there");
}

#[test]
fn instructions_that_no_machine_has_place_nothing() {
    let mut owners = vec![NodeIndex(7)];
    assert!(!HashRing::new(["a"]).owners_with("abacus", &[b"key"], &mut owners));
    assert_eq!(owners, [NodeIndex(7)]);
    assert_eq!(Path::available().last(), Some(Path::best()));
}

#[test]
fn a_ring_made_out_of_another_is_the_ring_of_its_list_in_every_mode() {
    let mut rng = SmallRng::seed_from_u64(8);
    for round in 0..if cfg!(miri) { 3 } else { 20 } {
        for mode in Mode::ALL {
            let (before, after) = (random_ring(&mut rng), random_ring(&mut rng));
            // Every other time all weigh the same, so that nodes stay.
            let level = |nodes: Vec<(String, f64)>| -> Vec<(String, f64)> {
                nodes
                    .into_iter()
                    .map(|(node, weight)| (node, if round % 2 == 0 { 1.0 } else { weight }))
                    .collect()
            };
            let (before, after) = (level(before), level(after));
            let expected = HashRing::with_mode(mode, after.clone());
            let changed = HashRing::with_mode(mode, before).relisted(after);
            assert_eq!((changed.mode(), changed.points()), (mode, expected.points()));
            for key in random_keys(&mut rng, 200, 40) {
                assert_eq!(changed.owner(&key), expected.owner(&key), "{mode}");
            }
        }
    }
}
