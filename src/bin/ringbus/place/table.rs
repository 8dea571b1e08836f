//! What the tables of `--plan` and `--doctor` have in common.

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

/// An empty table.
pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN).set_header(header.to_vec());
    table
}

/// Aligns these columns to the right.
pub(super) fn align(table: &mut Table, columns: impl IntoIterator<Item = usize>) {
    for column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// A fraction of 1 as a percentage.
pub(super) fn percent(fraction: f64) -> String {
    format!("{:.2} %", 100.0 * fraction)
}

/// A part of a count as a percentage of it.
pub(super) fn percent_of(part: u64, whole: u64) -> String {
    if whole == 0 { "-".into() } else { percent(part as f64 / whole as f64) }
}

/// A node's name, where there is a node.
pub(super) fn name(node: Option<&str>) -> String {
    node.map_or_else(|| "-".into(), printable)
}

/// Text that keeps its place in a table: control characters appear as `\t` and `\u{7}`.
pub(super) fn printable(text: &str) -> String {
    let mut shown = String::new();
    for char in text.chars() {
        if char.is_control() {
            shown.extend(char.escape_default());
        } else {
            shown.push(char);
        }
    }
    shown
}

/// A key that keeps its place in a table: as [`printable`] text, of which bytes that are not UTF-8 appear as `\xff`.
pub(super) fn printable_key(key: &[u8]) -> String {
    let mut shown = String::new();
    for chunk in key.utf8_chunks() {
        shown += &printable(chunk.valid());
        shown += &chunk.invalid().escape_ascii().to_string();
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_shown_in_one_line_whatever_bytes_they_have() {
        assert_eq!(printable_key(b"caf\xc3\xa9\t\xff\xfe-\xc3"), "caf\u{e9}\\t\\xff\\xfe-\\xc3");
    }
}
