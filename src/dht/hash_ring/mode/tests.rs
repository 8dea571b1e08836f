//! Names, ties and counts; placements are checked in `tests/placement_modes.rs`.

use super::*;
use crate::dht::hash_ring::NodeIndex;
use crate::dht::hash_ring::names::Names;

#[test]
fn names_are_read_back() {
    for mode in Mode::ALL {
        assert_eq!(mode.to_string().parse::<Mode>().unwrap(), mode);
    }
    let error = "Ketama".parse::<Mode>().unwrap_err();
    assert!(error.to_string().contains("hash_ring, ketama, twemproxy"), "{error}");
    assert_eq!("npm".parse::<Mode>().unwrap(), Mode::NpmHashring);
}

#[test]
fn the_last_position_is_reached_by_wrapping() {
    let point = |mode: Mode| mode.rules(&[]).point(u32::MAX);
    assert_eq!([point(Mode::HashRing), point(Mode::Ketama)], [u32::MAX, 0]);
}

#[test]
fn a_shared_point_goes_where_each_original_puts_it() {
    let mut names = Names::default();
    ["ccc:11211", "b", "aaaa", "a"].into_iter().for_each(|name| names.push(name));
    let winners = |mode: Mode| {
        let mut nodes: Vec<_> = (0..4).map(NodeIndex).collect();
        mode.rules(&[]).arrange(&mut nodes, &names);
        nodes.into_iter().rev().map(|node| node.0).collect::<Vec<_>>()
    };
    assert_eq!(winners(Mode::HashRing), [3, 2, 1, 0]);
    assert_eq!(winners(Mode::Ketama), [0, 1, 2, 3]);
    assert_eq!(winners(Mode::LibmemcachedWeighted), [0, 1, 2, 3]);
    assert_eq!(winners(Mode::Twemproxy), [3, 1, 0, 2]);
}

/// Of up to 130 equal nodes, the numbers at which one digest of 40 is lost to rounding: as seen in the programs.
#[test]
fn a_digest_is_lost_at_the_numbers_at_which_each_program_loses_it() {
    let losing = |mode: Mode| {
        let counts = |n: usize| mode.rules(&[]).counts.of(&vec![1.0; n], n as f64, n);
        (1..130).filter(|&n| counts(n).iter().any(|&count| count != 40)).collect::<Vec<_>>()
    };
    assert_eq!(losing(Mode::HashRing), [0; 0]);
    assert_eq!(losing(Mode::Ketama), [61, 122]);
    assert_eq!(losing(Mode::NpmHashring)[..7], [7, 14, 28, 49, 56, 98, 103]);
    assert_eq!(losing(Mode::LibmemcachedWeighted)[..8], [25, 47, 50, 55, 61, 71, 94, 100]);
    assert_eq!(losing(Mode::Twemproxy), losing(Mode::LibmemcachedWeighted));
}

#[test]
fn one_weight_over_1_makes_libmemcached_weighted() {
    let plain = Mode::Libmemcached;
    assert_ne!(plain.rules(&[1.0, 1.0]), Mode::LibmemcachedWeighted.rules(&[]));
    assert_eq!(plain.rules(&[1.0, 2.0]), Mode::LibmemcachedWeighted.rules(&[]));
}

/// Weights that no program takes are no reason to take all memory, or to panic.
#[test]
fn counts_are_bounded_whatever_the_weights() {
    for mode in Mode::ALL {
        for weight in [1e9, 1e300, f64::MAX, f64::MIN_POSITIVE] {
            let counts = mode.rules(&[weight; 3]).counts.of(&[weight; 3], 3.0 * weight, 3);
            assert!(counts.iter().sum::<u64>() <= counts::MOST, "{mode}: {counts:?}");
        }
    }
    // The shares stay, where only the number is too great.
    let counts = Mode::Nginx.rules(&[]).counts.of(&[1e9, 3e9], 4e9, 2);
    assert_eq!(counts, [counts::MOST / 4, counts::MOST / 4 * 3]);
}
