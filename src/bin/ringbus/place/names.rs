//! Names and weights that a ring can be made of, but that are hardly what the user means: refused or said, by name.

use std::collections::HashSet;

use ringbus::{HashRing, Mode, RingSpec};

use crate::events::say;
use crate::failure::Usage;

/// Refuses names that are empty, that hold what a terminal does not show, and that stand there twice.
pub(super) fn check<'a>(source: &str, names: impl IntoIterator<Item = &'a str>) -> Result<(), Usage> {
    let mut seen = HashSet::new();
    for name in names {
        if name.is_empty() {
            return Err(Usage::new(format!(
                "{source} has an empty name: give names separated by single commas, as in a,b,c"
            )));
        }
        if name.trim() != name {
            let meant = name.trim();
            return Err(Usage::new(format!(
                "{source} names {name:?}, with blanks around it, which would be another node than {meant:?}: \
                 leave them out, as in a,b,c"
            )));
        }
        if name.contains(char::is_control) {
            return Err(Usage::new(format!(
                "{source} names {name:?}, with a control character in it: give the name as the ring's clients have it"
            )));
        }
        if !seen.insert(name) {
            return Err(Usage::new(format!(
                "{source} names {name:?} twice: list each node once; for more of the keys, give it a weight"
            )));
        }
    }
    Ok(())
}

/// Refuses weights of which no ring can be made, and says which nodes own nothing.
pub(super) fn check_weights(spec: &RingSpec) -> Result<(), Usage> {
    let total: f64 = spec.nodes.iter().map(|(_, weight)| weight).sum();
    if !total.is_finite() || total > f64::from(f32::MAX) {
        let greatest = spec.nodes.iter().max_by(|one, other| one.1.total_cmp(&other.1));
        let (name, weight) = greatest.map_or(("", 0.0), |(name, weight)| (name, *weight));
        return Err(Usage::new(format!(
            "the weights are too great to be added up: {name:?} has {weight:e}; divide all of them by the same number"
        )));
    }
    if spec.mode == Mode::Nginx && 160.0 * total > HashRing::MOST_POINTS as f64 {
        return Err(Usage::new(format!(
            "the weights are too great: mode nginx makes 160 points of each unit of weight, a ring has {} at most, \
             and they add up to {total}",
            HashRing::MOST_POINTS
        )));
    }
    if spec.mode == Mode::Haproxy
        && let Some((name, weight)) = spec.nodes.iter().find(|(_, weight)| *weight > 256.0)
    {
        return Err(Usage::new(format!(
            "{name:?} has the weight {weight}: HAProxy has none greater than 256"
        )));
    }
    if spec.nodes.windows(2).all(|pair| pair[0].1 == pair[1].1) {
        return Ok(());
    }
    let ring = spec.ring();
    let diff = HashRing::diff(&ring, &ring);
    for load in diff.loads().iter().filter(|load| load.before.is_some_and(|share| share.positions == 0)) {
        let weight = load.before.map_or(0.0, |share| share.weight);
        say(&format!(
            "{:?} owns nothing and is in no preference list: its weight {weight} is too small a part of the total, \
             {total}, to make a point of it",
            load.node
        ));
    }
    Ok(())
}
