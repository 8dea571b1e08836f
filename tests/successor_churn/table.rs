//! The rows, and what is known of each while they are written.

use std::sync::atomic::{AtomicU64, Ordering};

use ringbus::dht::Key;

use crate::support::successor::Pairs;

/// Rows by number. Each has one writer; its versions are 0, 1, 2, ...
pub(crate) struct Table {
    rows: Vec<Row>,
}

pub(crate) struct Row {
    pub(crate) key: u32,
    text: String,
    issued: AtomicU64,
    acknowledged: AtomicU64,
}

impl Table {
    /// Every line of `data/airports.csv` but the header.
    pub(crate) fn of_airports() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/data/airports.csv");
        let text = std::fs::read_to_string(path).unwrap();
        let row = |line: &str| {
            let (name, _) = line.split_once(',').unwrap();
            Row {
                key: Key::of(name).get(),
                text: line.to_string(),
                issued: AtomicU64::new(0),
                acknowledged: AtomicU64::new(0),
            }
        };
        let table = Self { rows: text.lines().skip(1).map(row).collect() };
        assert_eq!(
            (table.rows.len(), table.acknowledged().len()),
            (3376, 3376),
            "every row has a key of its own"
        );
        table
    }

    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// What a reader must find while nobody writes.
    pub(crate) fn acknowledged(&self) -> Pairs {
        self.rows.iter().map(|row| (row.key, row.value(row.acknowledged()))).collect()
    }
}

impl Row {
    /// The next version to write.
    pub(crate) fn issue(&self) -> u64 {
        self.issued.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn acknowledge(&self, version: u64) {
        self.acknowledged.store(version, Ordering::SeqCst);
    }

    /// The last version whose put was acknowledged.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// The last version whose put has begun.
    pub(crate) fn issued(&self) -> u64 {
        self.issued.load(Ordering::SeqCst)
    }

    /// The row is its version 0.
    pub(crate) fn value(&self, version: u64) -> String {
        match version {
            0 => self.text.clone(),
            version => format!("{}\nversion {version}", self.text),
        }
    }

    /// The version of a value, if it is one of this row's.
    pub(crate) fn version(&self, value: &str) -> Option<u64> {
        let rest = value.strip_prefix(&self.text)?;
        if rest.is_empty() { Some(0) } else { rest.strip_prefix("\nversion ")?.parse().ok() }
    }
}
