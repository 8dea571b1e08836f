//! Rings that stand in the configuration of a program: `--from-nginx` and `--from-twemproxy`.

use anyhow::{Context, Result};
use ringbus::RingSpec;

use super::{Args, names, nginx, twemproxy};
use crate::events::say;
use crate::failure::Usage;

/// A ring of a configuration.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) name: String,
    pub(super) spec: RingSpec,
    /// What the user should know about it.
    pub(super) notes: Vec<String>,
    /// Why it is none.
    pub(super) refused: Option<String>,
}

/// The ring of a configuration, if the command line has one.
pub(super) fn configured(args: &Args) -> Result<Option<RingSpec>> {
    let (option, file) = match (&args.from_nginx, &args.from_twemproxy) {
        (Some(file), _) => ("--from-nginx", file),
        (None, Some(file)) => ("--from-twemproxy", file),
        (None, None) => return Ok(None),
    };
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
    let pools = if args.from_nginx.is_some() { nginx::pools(&text) } else { twemproxy::pools(&text) };
    let pools = pools.with_context(|| format!("cannot read a ring from {file}"))?;
    let pool = chosen(pools, option, file, args)?;
    let source = format!("{file}, {}", pool.name);
    if let Some(why) = pool.refused {
        return Err(Usage::new(format!("{source} is no ring: {why}")).into());
    }
    if pool.spec.nodes.is_empty() {
        return Err(Usage::new(format!("{source} has no server that is up")).into());
    }
    names::check(&source, pool.spec.nodes.iter().map(|(node, _)| node.as_str()))?;
    for note in &pool.notes {
        say(&format!("{source}: {note}"));
    }
    Ok(Some(pool.spec))
}

/// The pool of `--pool`, or the only one.
fn chosen(mut pools: Vec<Pool>, option: &str, file: &str, args: &Args) -> Result<Pool, Usage> {
    let known = pools.iter().map(|pool| pool.name.as_str()).collect::<Vec<_>>().join(", ");
    let place = match &args.pool {
        Some(name) => pools.iter().position(|pool| pool.name == *name),
        None if pools.len() == 1 => Some(0),
        None => None,
    };
    match place {
        Some(place) => Ok(pools.swap_remove(place)),
        None if pools.is_empty() => Err(Usage::new(format!("{option} {file} has no ring in it"))),
        None => {
            let asked = args.pool.as_ref().map_or_else(String::new, |name| format!(" and not {name:?}"));
            Err(Usage::new(format!("{option} {file} has {known}{asked}: give --pool with one of them")))
        }
    }
}
