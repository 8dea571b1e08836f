//! `ringbus place --plan`: what a change of the nodes moves.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anyhow::{Context, Result};
use ringbus::dht::hash_ring::{Load, RingDiff, Share};
use ringbus::{HashRing, Mode, RingSpec};
use serde_json::{Value, json};

use super::table::{align, name, percent, percent_of, table};
use super::{Args, UNWRITABLE, keys, ring};

/// Prints the plan, as tables or as JSON.
pub(super) fn run(args: &Args) -> Result<()> {
    let old = ring::here(args)?;
    let new = ring::planned(args, &old)?;
    let (before, after) = (old.ring(), new.ring());
    let diff = HashRing::diff(&before, &after);
    let mut plan = Plan { flows: flows(&diff), keys: args.keys.as_ref().map(|_| (0, 0)), diff };
    if let Some(file) = &args.keys {
        keys::each(file, keys::End::new(args.null), |key| {
            plan.take(key);
            Ok(())
        })?;
    }
    let text = if args.json { format!("{}\n", plan.json()) } else { plan.text(args, &old, &new) };
    io::stdout().lock().write_all(text.as_bytes()).context(UNWRITABLE)
}

type Pair<'a> = (Option<&'a str>, Option<&'a str>);

/// What one node gives another.
#[derive(Default)]
struct Flow {
    arcs: usize,
    positions: u64,
    keys: u64,
}

struct Plan<'a> {
    diff: RingDiff<'a>,
    flows: BTreeMap<Pair<'a>, Flow>,
    /// How many keys there are, and how many of them move, if there is a file of keys.
    keys: Option<(u64, u64)>,
}

fn flows<'a>(diff: &RingDiff<'a>) -> BTreeMap<Pair<'a>, Flow> {
    let mut flows = BTreeMap::<_, Flow>::new();
    for moved in diff.moves() {
        let flow = flows.entry((moved.from, moved.to)).or_default();
        flow.arcs += 1;
        flow.positions += moved.arc.keys();
    }
    flows
}

impl Plan<'_> {
    fn take(&mut self, key: &[u8]) {
        let (all, moving) = self.keys.get_or_insert_default();
        *all += 1;
        if let Some(moved) = self.diff.find(key) {
            *moving += 1;
            self.flows.entry((moved.from, moved.to)).or_default().keys += 1;
        }
    }

    fn text(&self, args: &Args, old: &RingSpec, new: &RingSpec) -> String {
        let mut text = format!("{}\n\n", self.load_table());
        if !self.flows.is_empty() {
            text += &format!("{}\n\n", self.flow_table());
        }
        let (arcs, fraction) = (self.diff.moves().len(), percent(self.diff.fraction()));
        text += &format!("{fraction} of the circle moves, in {arcs} {}\n", plural(arcs as u64, "arc"));
        let (before, after) = (self.diff.imbalance_before(), self.diff.imbalance_after());
        text += &format!("max/mean load per weight: {} before, {} after\n", ratio(before), ratio(after));
        if let (Some((all, moving)), Some(file)) = (self.keys, &args.keys) {
            let (of, keys) = (percent_of(moving, all), plural(all, "key"));
            text += &format!("{moving} of {all} {keys} in {file} ({of}) move\n");
        }
        text + &self.notice(old, new)
    }

    fn load_table(&self) -> String {
        let mut table = table(&["node", "weight", "before", "of fair", "after", "of fair", "change"]);
        for load in self.diff.loads() {
            let fraction =
                |share: Option<Share>| share.map_or_else(|| "-".into(), |share| percent(share.fraction()));
            let of_fair = |share: Option<Share>| ratio(share.and_then(Share::of_fair));
            let owned = |share: Option<Share>| share.map_or(0.0, Share::fraction);
            table.add_row([
                name(Some(load.node)),
                weight(load),
                fraction(load.before),
                of_fair(load.before),
                fraction(load.after),
                of_fair(load.after),
                format!("{:+.2} %", 100.0 * (owned(load.after) - owned(load.before))),
            ]);
        }
        align(&mut table, 1..7);
        table.to_string()
    }

    fn flow_table(&self) -> String {
        let mut header = vec!["from", "to", "arcs", "of the circle"];
        header.extend(self.keys.map(|_| "keys"));
        let mut table = table(&header);
        let mut flows: Vec<_> = self.flows.iter().collect();
        flows.sort_by_key(|(_, flow)| std::cmp::Reverse(flow.positions));
        for ((from, to), flow) in flows {
            let share = percent_of(flow.positions, 1 << 32);
            let mut row = vec![name(*from), name(*to), flow.arcs.to_string(), share];
            row.extend(self.keys.map(|_| flow.keys.to_string()));
            table.add_row(row);
        }
        align(&mut table, 2..5);
        table.to_string()
    }

    fn notice(&self, old: &RingSpec, new: &RingSpec) -> String {
        if self.diff.between_unchanged() == 0 {
            return String::new();
        }
        let share = percent_of(self.diff.between_unchanged(), 1 << 32);
        let mut weights = old.nodes.iter().chain(&new.nodes).map(|(_, weight)| *weight);
        let first = weights.next();
        let why = if old.mode == Mode::Haproxy {
            "a server without an id of its own has the number of its line, which changes with the lines above it"
        } else if old.mode == Mode::Envoy {
            "a host's number of points depends on how many hosts there are and on their weights"
        } else if weights.any(|weight| Some(weight) != first) {
            "with unequal weights, a node's number of points depends on how many nodes there are and on their total \
             weight"
        } else {
            "its arithmetic rounds the nodes' equal shares to another number of points"
        };
        format!(
            "Note: {share} of the circle moves between nodes that did not change. That is the rule of {}: {why}.\n",
            old.mode
        )
    }

    fn json(&self) -> Value {
        let share = |share: Option<Share>| {
            share.map(|share| {
                json!({
                    "weight": share.weight,
                    "positions": share.positions,
                    "fraction": share.fraction(),
                    "of_fair": share.of_fair(),
                })
            })
        };
        let nodes = self.diff.loads().iter();
        let nodes = nodes.map(
            |load| json!({ "node": load.node, "before": share(load.before), "after": share(load.after) }),
        );
        let arcs = self.diff.moves().iter().map(|moved| {
            // Both ends included, as a reader expects; the first is the greater where the arc passes 0.
            let first = moved.arc.after().get().wrapping_add(1);
            json!({ "first": first, "last": moved.arc.upto().get(), "from": moved.from, "to": moved.to })
        });
        let flows = self.flows.iter().map(|((from, to), flow)| {
            let keys = self.keys.map(|_| flow.keys);
            json!({ "from": from, "to": to, "arcs": flow.arcs, "positions": flow.positions, "keys": keys })
        });
        json!({
            "fraction": self.diff.fraction(),
            "positions": self.diff.moved(),
            "positions_between_unchanged": self.diff.between_unchanged(),
            "imbalance": { "before": self.diff.imbalance_before(), "after": self.diff.imbalance_after() },
            "keys": self.keys.map(|(all, moving)| json!({ "all": all, "moving": moving })),
            "nodes": nodes.collect::<Vec<_>>(),
            "flows": flows.collect::<Vec<_>>(),
            "arcs": arcs.collect::<Vec<_>>(),
        })
    }
}

fn weight(load: &Load<'_>) -> String {
    match (load.before.map(|share| share.weight), load.after.map(|share| share.weight)) {
        (Some(before), Some(after)) if before != after => format!("{before} to {after}"),
        (before, after) => after.or(before).map_or_else(String::new, |weight| weight.to_string()),
    }
}

fn ratio(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "-".into(), |ratio| format!("{ratio:.2}"))
}

fn plural(count: u64, what: &str) -> String {
    format!("{what}{}", if count == 1 { "" } else { "s" })
}
