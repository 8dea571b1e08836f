//! `ringbus place --doctor`: which keys two rings place differently, and why.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};

use anyhow::{Context, Result};
use ringbus::HashRing;
use ringbus::dht::hash_ring::{Comparison, Disagreement, Reason, Rule};
use serde_json::json;

use super::table::{align, name, percent_of, printable, printable_key, table};
use super::{Args, UNWRITABLE, keys, ring};

/// Prints the keys that differ, and counts by reason.
pub(super) fn run(args: &Args) -> Result<()> {
    let here = ring::here(args)?;
    let comparison = Comparison::new(&here, &ring::there(args, &here)?);
    let mut findings = Findings::default();
    let mut out = BufWriter::new(io::stdout().lock());
    // clap has seen to it that there is a file.
    let file = args.keys.as_deref().unwrap_or(keys::STANDARD_INPUT);
    keys::each(file, keys::End::new(args.null), |key| {
        let found = comparison.check(key);
        findings.count(found.as_ref());
        match found {
            Some(found) if args.json => write_json(comparison.here(), key, &found, &mut out)?,
            Some(found) if findings.shown.len() < args.limit => {
                findings.shown.push(row(comparison.here(), key, &found));
            }
            _ => {}
        }
        Ok(())
    })?;
    let text = if args.json {
        format!("{}\n", findings.json(&comparison))
    } else {
        findings.text(file, &comparison)
    };
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context(UNWRITABLE)
}

#[derive(Default)]
struct Findings {
    keys: u64,
    differing: u64,
    /// Of each reason, and of another mode of each rule that differs.
    by_reason: BTreeMap<(Reason, Option<Rule>), u64>,
    shown: Vec<[String; 5]>,
}

impl Findings {
    fn count(&mut self, found: Option<&Disagreement<'_>>) {
        self.keys += 1;
        if let Some(found) = found {
            self.differing += 1;
            *self.by_reason.entry((found.reason, found.rule)).or_default() += 1;
        }
    }

    fn text(&self, file: &str, comparison: &Comparison) -> String {
        let mut text = String::new();
        if !self.shown.is_empty() {
            let mut table = table(&["key", "position", "here", "there", "why"]);
            table.add_rows(&self.shown);
            align(&mut table, [1]);
            text = format!("{table}\n");
            match self.differing - self.shown.len() as u64 {
                0 => {}
                more => text += &format!("and {more} more (--limit shows more)\n"),
            }
            text.push('\n');
        }
        let (differing, all) = (self.differing, self.keys);
        let (of, s) = (percent_of(differing, all), if all == 1 { "" } else { "s" });
        text += &format!("{differing} of {all} key{s} in {file} ({of}) placed differently\n");
        for ((reason, rule), count) in &self.by_reason {
            text += &format!("  {count}: {}\n", because(*reason, *rule));
        }
        let rules: Vec<_> = comparison.rules().collect();
        if !rules.is_empty() {
            text += "\nthe modes differ in\n";
        }
        for difference in rules {
            let (rule, here, there) = (difference.rule, &difference.here, &difference.there);
            text += &format!("  {rule}: {here} here, {there} there\n");
        }
        text
    }

    fn json(&self, comparison: &Comparison) -> serde_json::Value {
        let (mut reasons, mut rules) = (BTreeMap::<_, u64>::new(), BTreeMap::<_, u64>::new());
        for (&(reason, rule), count) in &self.by_reason {
            *reasons.entry(word(reason)).or_default() += count;
            rules.extend(rule.map(|rule| (rule_word(rule), *count)));
        }
        let modes = comparison.rules().map(|difference| {
            let (here, there) = (&difference.here, &difference.there);
            json!({ "rule": rule_word(difference.rule), "here": here, "there": there })
        });
        let modes: Vec<_> = modes.collect();
        json!({
            "keys": self.keys, "differing": self.differing, "reasons": reasons, "rules": rules, "modes": modes
        })
    }
}

fn row(ring: &HashRing, key: &[u8], found: &Disagreement<'_>) -> [String; 5] {
    let position = ring.position_of(key).to_string();
    [printable_key(key), position, name(found.here), name(found.there), why(found)]
}

/// The reason, with the node that it is about.
fn why(found: &Disagreement<'_>) -> String {
    match (found.reason, found.here, found.there) {
        (Reason::MissingThere, Some(node), _) => format!("{} is missing there", printable(node)),
        (Reason::MissingHere, _, Some(node)) => format!("{} is missing here", printable(node)),
        (reason, ..) => because(reason, found.rule),
    }
}

fn because(reason: Reason, rule: Option<Rule>) -> String {
    match (reason, rule) {
        (Reason::Mode, Some(rule)) => format!("{reason}: {rule}"),
        (Reason::Mode, None) => format!("{reason}: several of its rules together"),
        _ => reason.to_string(),
    }
}

fn write_json(ring: &HashRing, key: &[u8], found: &Disagreement<'_>, out: &mut impl Write) -> Result<()> {
    let position = ring.position_of(key);
    let (here, there, reason) = (found.here, found.there, word(found.reason));
    let object = json!({ "key": String::from_utf8_lossy(key), "position": position, "here": here, "there": there, "reason": reason,
        "rule": found.rule.map(rule_word) });
    writeln!(out, "{object}").context(UNWRITABLE)
}

/// A reason as JSON names it.
fn word(reason: Reason) -> &'static str {
    match reason {
        Reason::MissingThere => "missing_there",
        Reason::MissingHere => "missing_here",
        Reason::Mode => "mode",
        Reason::Weights => "weights",
        Reason::Nodes => "nodes",
        Reason::Order => "order",
        Reason::Together => "together",
        // The library may learn more reasons than this program knows.
        _ => "other",
    }
}

/// A rule as JSON names it.
fn rule_word(rule: Rule) -> &'static str {
    match rule {
        Rule::KeyHash => "key_hash",
        Rule::Label => "label",
        Rule::Counts => "counts",
        Rule::Points => "points",
        Rule::OnPoint => "on_point",
        Rule::Tie => "tie",
        _ => "other",
    }
}
