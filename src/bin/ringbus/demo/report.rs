//! The table at the end of a performance.

use std::time::Duration;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

use super::Plan;
use super::stage::Outcome;

/// What the columns of the tables mean.
pub(super) const LEGEND: &str = "\
sent: by all three publishers; of the two for Seattle one is heard.
took: from the kill of the strongest publisher until the next one was heard.
told after, flows after: from the kill of the responsible node until subscribers knew the next one, and until samples
came through it; the wildcard subscriber gets them straight from the publishers.
";

pub(super) fn table(plan: &Plan, outcome: &Outcome) -> String {
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN).set_header([
        plan.kind.name(),
        "sent",
        "received",
        "duplicates",
        "gaps",
        "takeovers",
        "took",
        "remaps",
        "told after",
        "flows after",
        "rate",
    ]);
    let (told, flows) = outcome.remap.unzip();
    for listener in &outcome.listeners {
        let through_node = listener.name == "exact";
        table.add_row([
            format!("{} subscriber", listener.name),
            outcome.sent.to_string(),
            format!("{} of {}", listener.received, listener.expected),
            listener.duplicates.to_string(),
            listener.gaps.to_string(),
            usize::from(outcome.takeover.is_some()).to_string(),
            seconds(outcome.takeover),
            usize::from(outcome.remap.is_some()).to_string(),
            seconds(told),
            if through_node { seconds(flows) } else { "not interrupted".into() },
            format!("{:.0}/s", listener.received as f64 / outcome.elapsed.as_secs_f64()),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("{table}\n")
}

fn seconds(duration: Option<Duration>) -> String {
    duration.map_or_else(|| "-".into(), |duration| format!("{:.2} s", duration.as_secs_f64()))
}
