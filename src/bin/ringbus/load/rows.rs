//! The rows of a CSV file: what each is called, and its text as it stands there.

use std::collections::HashMap;
use std::fmt;

use anyhow::{Context, Result, bail};
use ringbus::dht::Key;

use crate::failure::Usage;
use crate::payload::escape;

/// How much of a row's name an error message repeats, in characters.
const MENTIONED: usize = 40;

/// A row that has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row<'a> {
    /// On which line of the file it begins, from 1.
    pub(super) line: usize,
    /// What its column says.
    pub(super) name: String,
    /// Where it is put.
    pub(super) key: Key,
    /// As it stands in the file, without its line end.
    pub(super) text: &'a str,
}

/// Reads a whole file; `file` is what messages call it.
///
/// # Errors
/// [`Usage`] for a column that is not there, or that is not the only one of its name; what is wrong with the file.
pub(super) fn read<'a>(bytes: &'a [u8], column: &str, file: &str) -> Result<Vec<Row<'a>>> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = 1 + line_ends(&bytes[..error.valid_up_to()]);
        anyhow::anyhow!("cannot read {file}: line {line} is not UTF-8 text")
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let cannot = || format!("cannot read {file}");
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let column = find(reader.headers().with_context(cannot)?, column, file)?;

    let mut rows = Vec::new();
    let mut record = csv::StringRecord::new();
    let (mut line, mut counted) = (1, 0);
    loop {
        let begin = offset(&reader);
        if !reader.read_record(&mut record).with_context(cannot)? {
            return Ok(rows);
        }
        // What the reader passes over is line ends: empty lines before the row, and its own. A field that begins or
        // ends with one is quoted, so that none of these is the row's.
        let passed = text.get(begin..offset(&reader)).unwrap_or_default();
        let before = passed.len() - passed.trim_start_matches(LINE_END).len();
        line += line_ends(&text.as_bytes()[counted..begin + before]);
        counted = begin + before;
        let name = record.get(column).unwrap_or_default().to_owned();
        let key = Key::of(&name);
        rows.push(Row { line, name, key, text: passed.trim_matches(LINE_END) });
    }
}

/// The rows whose key an earlier one has, each with the last such.
pub(super) fn twins<'r, 'a>(rows: &'r [Row<'a>]) -> impl Iterator<Item = (&'r Row<'a>, &'r Row<'a>)> {
    let mut seen = HashMap::new();
    rows.iter().filter_map(move |row| seen.insert(row.key, row).map(|earlier| (earlier, row)))
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name: String = self.name.chars().take(MENTIONED).collect();
        write!(f, "line {} ({})", self.line, escape(name.as_bytes()))
    }
}

const LINE_END: [char; 2] = ['\r', '\n'];

fn line_ends(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte == b'\n').count()
}

fn offset(reader: &csv::Reader<&[u8]>) -> usize {
    // All of it is in memory.
    usize::try_from(reader.position().byte()).unwrap_or(usize::MAX)
}

fn find(columns: &csv::StringRecord, wanted: &str, file: &str) -> Result<usize> {
    if columns.is_empty() {
        bail!("cannot read {file}: it has no line of column names");
    }
    let named: Vec<usize> = (0..columns.len()).filter(|&index| &columns[index] == wanted).collect();
    let numbered = wanted.parse().ok().filter(|number| (1..=columns.len()).contains(number));
    match (&named[..], numbered) {
        ([index], _) => Ok(*index),
        ([], Some(number)) => Ok(number - 1),
        ([], None) => {
            let names: Vec<String> = columns.iter().map(|name| format!("{name:?}")).collect();
            let names = names.join(", ");
            Err(Usage::new(format!("{file} has no column {wanted:?}: its columns are {names}")).into())
        }
        ([first, second, ..], _) => Err(Usage::new(format!(
            "{file} has several columns {wanted:?}: give a number, {} or {} for instance",
            first + 1,
            second + 1
        ))
        .into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts<'a>(csv: &'a str, column: &str) -> Vec<(usize, String, &'a str)> {
        let rows = read(csv.as_bytes(), column, "f.csv").unwrap();
        rows.into_iter().map(|row| (row.line, row.name, row.text)).collect()
    }

    fn error(csv: &[u8], column: &str) -> anyhow::Error {
        read(csv, column, "f.csv").unwrap_err()
    }

    #[test]
    fn a_row_is_its_text_in_the_file() {
        let csv = "id,note\r\n\r\na, spaced ,\r\n".replace("note", "note,x");
        assert_eq!(texts(&csv, "id"), [(3, "a".into(), "a, spaced ,")]);
        let csv = "id,note\n\"a\"\"b\",\"two\nlines\r\n\"\n\n7,\"\"\n8,end";
        let expected = [
            (2, "a\"b".into(), "\"a\"\"b\",\"two\nlines\r\n\""),
            (6, "7".into(), "7,\"\""),
            (7, "8".into(), "8,end"),
        ];
        assert_eq!(texts(csv, "id"), expected);
        assert_eq!(texts(csv, "1"), expected);
        assert_eq!(texts("\u{feff}id\nü\n", "id"), [(2, "ü".into(), "ü")]);
        assert_eq!(texts("id\n", "id"), []);
    }

    #[test]
    fn a_column_that_is_not_there_is_wrong_usage_that_names_those_that_are() {
        for wanted in ["c", "0", "3", "ID", ""] {
            let error = error(b"id,b b\n", wanted);
            assert!(error.is::<Usage>(), "{error}");
            let expected = format!("f.csv has no column {wanted:?}: its columns are \"id\", \"b b\"");
            assert_eq!(error.to_string(), expected);
        }
        assert!(error(b"a,b,a\n", "a").to_string().contains("give a number, 1 or 3"));
        // A name comes before a number.
        assert_eq!(texts("2,1\na,b\n", "1")[0].1, "b");
    }

    #[test]
    fn a_broken_file_is_said_to_be_so_where_it_is() {
        assert!(error(b"a\nb\n\xff\n", "a").to_string().contains("line 3 is not UTF-8"));
        assert!(error(b"", "a").to_string().contains("no line of column names"));
        let uneven = format!("{:#}", error(b"a,b\n1,2\n3\n", "a"));
        assert!(uneven.contains("line: 3") && uneven.contains("1 field"), "{uneven}");
    }

    #[test]
    fn twins_are_told_with_the_last_before_them() {
        let rows = read(b"id\n7\nx\n07\n7\n", "id", "f.csv").unwrap();
        let told: Vec<String> = twins(&rows).map(|(a, b)| format!("{a}, {b}")).collect();
        assert_eq!(told, ["line 2 (7), line 4 (07)", "line 4 (07), line 5 (7)"]);
    }

    proptest! {
        /// Whatever a writer writes: the rows' texts are its records, and each reads as what was written.
        #[test]
        fn what_was_written_is_found_row_by_row(
            records in prop::collection::vec(prop::collection::vec("[a\",\r\né ]{0,4}", 2), 0..8),
            crlf: bool,
        ) {
            let terminator = if crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') };
            let write = |records: &[Vec<String>]| {
                let mut writer = csv::WriterBuilder::new().terminator(terminator).from_writer(Vec::new());
                for record in records {
                    writer.write_record(record).unwrap();
                }
                String::from_utf8(writer.into_inner().unwrap()).unwrap()
            };
            let end = if crlf { "\r\n" } else { "\n" };
            let file = format!("x,y{end}{}", write(&records));
            let rows = read(file.as_bytes(), "y", "f.csv").unwrap();
            prop_assert_eq!(rows.len(), records.len());
            for (row, record) in rows.iter().zip(&records) {
                prop_assert_eq!(format!("{}{end}", row.text), write(std::slice::from_ref(record)));
                prop_assert_eq!(&row.name, &record[1]);
            }
        }
    }
}
