//! Rings as the command line describes them; stricter than the library, to which every list is a ring.

use std::collections::{HashMap, HashSet};

use anyhow::Result;
use ringbus::RingSpec;

use super::{Args, from, names};
use crate::events::say;
use crate::failure::Usage;

/// The ring of `--nodes`, `--weights` and `--mode` or `--like`, or that of a configuration.
pub(super) fn here(args: &Args) -> Result<RingSpec> {
    let spec = match from::configured(args)? {
        Some(spec) => spec,
        None => {
            if args.nodes.is_empty() {
                return Err(Usage::new(
                    "there is no ring: give --nodes, --nodes-file, --from-nginx or --from-twemproxy",
                )
                .into());
            }
            names::check("--nodes", args.nodes.iter().map(String::as_str))?;
            let weights = weights("--weights", &args.weights, "--nodes", &args.nodes)?;
            let nodes =
                args.nodes.iter().map(|node| (node.clone(), weights.get(&**node).copied().unwrap_or(1.0)));
            if let Some(note) = args.like.and_then(|like| like.note) {
                say(note);
            }
            let mode = args.like.map_or(args.mode, |like| like.mode);
            RingSpec {
                mode,
                nodes: nodes.collect(),
                keys: args.hash.or(args.like.and_then(|like| like.keys)),
            }
        }
    };
    names::check_weights(&spec)?;
    Ok(spec)
}

/// The ring of `--against-nodes`, `--against-weights`, `--against-mode` or `--against-like`, and `--against-hash`.
pub(super) fn there(args: &Args, here: &RingSpec) -> Result<RingSpec> {
    let (listed, given, like) = (&args.against_nodes, &args.against_weights, args.against_like);
    let same_mode = args.against_mode.is_none() && like.is_none();
    if listed.is_empty() && given.is_empty() && same_mode && args.against_hash.is_none() {
        return Err(Usage::new(
            "--doctor has nothing to compare with: give --against-like, --against-mode, --against-hash, \
             --against-nodes or --against-weights",
        )
        .into());
    }
    let (option, nodes) = if listed.is_empty() {
        ("--nodes", here.nodes.iter().map(|(node, _)| node.clone()).collect())
    } else {
        ("--against-nodes", listed.clone())
    };
    names::check(option, nodes.iter().map(String::as_str))?;
    let mut weights = weights("--against-weights", given, option, &nodes)?;
    if given.is_empty() {
        weights = here.nodes.iter().map(|(node, weight)| (node.as_str(), *weight)).collect();
    }
    let nodes =
        nodes.iter().map(|node| (node.clone(), weights.get(&**node).copied().unwrap_or(1.0))).collect();
    let (mode, keys) = match like {
        Some(like) => (like.mode, like.keys),
        None if same_mode => (here.mode, here.keys),
        None => (args.against_mode.unwrap_or(here.mode), None),
    };
    if let Some(note) = like.and_then(|like| like.note) {
        say(note);
    }
    let spec = RingSpec { mode, nodes, keys: args.against_hash.or(keys) };
    names::check_weights(&spec)?;
    Ok(spec)
}

/// The ring after `--remove` and `--add`.
pub(super) fn planned(args: &Args, here: &RingSpec) -> Result<RingSpec> {
    if args.add.is_empty() && args.remove.is_empty() {
        return Err(Usage::new("--plan has nothing to change: give --add or --remove").into());
    }
    names::check("--remove", args.remove.iter().map(String::as_str))?;
    let before: HashSet<&str> = here.nodes.iter().map(|(node, _)| node.as_str()).collect();
    if let Some(node) = args.remove.iter().find(|node| !before.contains(node.as_str())) {
        let known = known(here.nodes.iter().map(|(node, _)| node.as_str()));
        return Err(Usage::new(format!("--remove names {node:?}, which is not among --nodes {known}")).into());
    }
    let mut ring = here.clone();
    ring.nodes.retain(|(node, _)| !args.remove.contains(node));
    for added in &args.add {
        let (node, weight) = parse_added(added)?;
        if ring.nodes.iter().any(|(known, _)| *known == node) {
            let why = if before.contains(node.as_str()) { "is a node already" } else { "is added twice" };
            return Err(Usage::new(format!(
                "--add names {node:?}, which {why}: to plan another weight of a node, remove it as well"
            ))
            .into());
        }
        ring.nodes.push((node, weight));
    }
    if ring.nodes.is_empty() {
        return Err(Usage::new("--remove leaves no node: add one, or leave one").into());
    }
    names::check_weights(&ring)?;
    Ok(ring)
}

/// What `--weights` and `--against-weights` list.
pub(super) fn parse_weight(text: &str) -> Result<(String, f64), String> {
    let expected = "give NODE=WEIGHT with a number greater than 0, as in a=2";
    // Names may hold an equals sign, numbers do not.
    let (node, weight) = text.rsplit_once('=').ok_or(expected)?;
    match weight.parse::<f64>() {
        Ok(weight) if weight.is_finite() && weight > 0.0 => Ok((node.to_owned(), weight)),
        _ => Err(format!("{weight:?} is not a weight: {expected}")),
    }
}

fn parse_added(text: &str) -> Result<(String, f64), Usage> {
    let (node, weight) = if text.contains('=') {
        parse_weight(text).map_err(|error| Usage::new(format!("--add {text}: {error}")))?
    } else {
        (text.to_owned(), 1.0)
    };
    names::check("--add", [node.as_str()])?;
    Ok((node, weight))
}

/// The weights by node, each of a node of the list.
fn weights<'a>(
    option: &str,
    given: &'a [(String, f64)],
    of: &str,
    nodes: &[String],
) -> Result<HashMap<&'a str, f64>, Usage> {
    let listed: HashSet<&str> = nodes.iter().map(String::as_str).collect();
    let mut weights = HashMap::new();
    for (node, weight) in given {
        if !listed.contains(node.as_str()) {
            let known = known(nodes.iter().map(String::as_str));
            return Err(Usage::new(format!("{option} names {node:?}, which is not among {of} {known}")));
        }
        if weights.insert(node.as_str(), *weight).is_some() {
            return Err(Usage::new(format!("{option} names {node:?} twice: give it one weight")));
        }
    }
    Ok(weights)
}

/// The first nodes of a list, for a message in one line.
fn known<'a>(nodes: impl ExactSizeIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 20;
    let more = nodes.len().saturating_sub(SHOWN);
    let shown = nodes.take(SHOWN).collect::<Vec<_>>().join(",");
    if more == 0 { shown } else { format!("{shown},... and {more} more") }
}
