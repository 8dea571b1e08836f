//! Rings as the command line describes them; stricter than the library, to which every list is a ring.

use ringbus::{Mode, RingSpec};

use super::Args;
use crate::failure::Usage;

/// The ring of `--nodes`, `--weights` and `--mode`.
pub(super) fn here(args: &Args) -> Result<RingSpec, Usage> {
    check_names("--nodes", &args.nodes)?;
    check_weights("--weights", &args.weights, "--nodes", &args.nodes)?;
    Ok(spec(args.mode, &args.nodes, &args.weights))
}

/// The ring of `--against-nodes`, `--against-weights` and `--against-mode`.
pub(super) fn there(args: &Args) -> Result<RingSpec, Usage> {
    let (names, weights, mode) = (&args.against_nodes, &args.against_weights, args.against_mode);
    if names.is_empty() && weights.is_empty() && mode.is_none() {
        return Err(Usage::new(
            "--doctor has nothing to compare with: give --against-mode, --against-nodes or --against-weights",
        ));
    }
    let (option, nodes) =
        if names.is_empty() { ("--nodes", &args.nodes) } else { ("--against-nodes", names) };
    check_names(option, nodes)?;
    check_weights("--against-weights", weights, option, nodes)?;
    let weights = if weights.is_empty() { &args.weights } else { weights };
    Ok(spec(mode.unwrap_or(args.mode), nodes, weights))
}

/// The ring after `--remove` and `--add`.
pub(super) fn planned(args: &Args) -> Result<RingSpec, Usage> {
    let mut ring = here(args)?;
    if args.add.is_empty() && args.remove.is_empty() {
        return Err(Usage::new("--plan has nothing to change: give --add or --remove"));
    }
    check_names("--remove", &args.remove)?;
    for node in &args.remove {
        let known = args.nodes.join(",");
        if !args.nodes.contains(node) {
            return Err(Usage::new(format!("--remove names {node:?}, which is not among --nodes {known}")));
        }
    }
    ring.nodes.retain(|(node, _)| !args.remove.contains(node));
    for added in &args.add {
        let (node, weight) = parse_added(added)?;
        if ring.nodes.iter().any(|(known, _)| *known == node) {
            let why = if args.nodes.contains(&node) { "is a node already" } else { "is added twice" };
            return Err(Usage::new(format!(
                "--add names {node:?}, which {why}: to plan another weight of a node, remove it as well"
            )));
        }
        ring.nodes.push((node, weight));
    }
    if ring.nodes.is_empty() {
        return Err(Usage::new("--remove leaves no node: add one, or leave one"));
    }
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
    check_names("--add", std::slice::from_ref(&node))?;
    Ok((node, weight))
}

fn check_names(option: &str, nodes: &[String]) -> Result<(), Usage> {
    if nodes.iter().any(String::is_empty) {
        return Err(Usage::new(format!(
            "{option} has an empty name: give names separated by single commas, as in a,b,c"
        )));
    }
    Ok(())
}

fn check_weights(option: &str, weights: &[(String, f64)], of: &str, nodes: &[String]) -> Result<(), Usage> {
    for (index, (node, _)) in weights.iter().enumerate() {
        if !nodes.contains(node) {
            let known = nodes.join(",");
            return Err(Usage::new(format!("{option} names {node:?}, which is not among {of} {known}")));
        }
        if weights[..index].iter().any(|(earlier, _)| earlier == node) {
            return Err(Usage::new(format!("{option} names {node:?} twice: give it one weight")));
        }
    }
    Ok(())
}

fn spec(mode: Mode, nodes: &[String], weights: &[(String, f64)]) -> RingSpec {
    let weight =
        |node: &String| weights.iter().find(|(name, _)| name == node).map_or(1.0, |&(_, weight)| weight);
    RingSpec { mode, nodes: nodes.iter().map(|node| (node.clone(), weight(node))).collect(), keys: None }
}
