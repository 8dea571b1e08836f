//! What `ringbus bench --json` writes, and an overview of it.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Deserialize;

/// What the ratios are of.
pub(crate) const COMPARES: &str = "Rates compare samples in batches against one message each: ringbus puts what waits for a \
                                   busy link into one message. Round trips are one message each way on both sides.";

/// One case.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Measured {
    transport: String,
    qos: Option<u8>,
    kind: String,
    size: Size,
    publishers: u32,
    subscribers: u32,
    pub(crate) ringbus: Option<Figures>,
    pub(crate) raw: Option<Figures>,
    pub(crate) ratio: Option<f64>,
}

/// One side of it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Figures {
    pub(crate) lost: u64,
    pub(crate) rate: f64,
    pub(crate) p50_us: f64,
}

/// Bytes, or `struct`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(untagged)]
pub(crate) enum Size {
    Bytes(usize),
    Named(String),
}

impl Measured {
    /// `zmq`, `mqtt 0` or `mqtt 1`.
    pub(crate) fn link(&self) -> String {
        self.qos.map_or_else(|| self.transport.clone(), |qos| format!("{} {qos}", self.transport))
    }

    pub(crate) fn is_round_trip(&self) -> bool {
        self.kind == "round-trip"
    }

    pub(crate) fn is_pair(&self) -> bool {
        (self.publishers, self.subscribers) == (1, 1)
    }

    pub(crate) fn size(&self) -> String {
        match &self.size {
            Size::Bytes(size) if *size >= 1024 && size % 1024 == 0 => format!("{} KiB", size / 1024),
            Size::Bytes(size) => format!("{size} B"),
            Size::Named(name) => name.clone(),
        }
    }

    /// Samples that are missing or too many, at both sides.
    pub(crate) fn lost(&self) -> u64 {
        [&self.ringbus, &self.raw].into_iter().flatten().map(|figures| figures.lost).sum()
    }

    fn row(&self) -> String {
        let link = match self.qos {
            Some(qos) => format!("{}, QoS {qos}", self.transport),
            None => self.transport.clone(),
        };
        let what = match self.kind.as_str() {
            "round-trip" => "round trip".to_owned(),
            _ => format!("{} to {}", self.publishers, self.subscribers),
        };
        format!("{link}, {what}")
    }

    fn cell(&self) -> String {
        let Some(library) = &self.ringbus else { return "–".into() };
        let figure = match self.is_round_trip() {
            true => format!("{:.0} µs", library.p50_us),
            false => short(library.rate),
        };
        match self.ratio {
            Some(ratio) => format!("**{ratio:.2}** ({figure})"),
            None => figure,
        }
    }
}

/// A row for each transport and crowd, a column for each size: ringbus by raw, and what ringbus does.
pub(crate) fn overview(measured: &[Measured]) -> String {
    let mut columns: Vec<(&Size, String)> = measured.iter().map(|one| (&one.size, one.size())).collect();
    columns.sort();
    columns.dedup();
    let mut rows: Vec<(String, BTreeMap<&Size, String>)> = Vec::new();
    for one in measured {
        let row = one.row();
        match rows.iter_mut().find(|(name, _)| *name == row) {
            Some((_, cells)) => {
                cells.insert(&one.size, one.cell());
            }
            None => rows.push((row, BTreeMap::from([(&one.size, one.cell())]))),
        }
    }
    let heads: Vec<&str> = columns.iter().map(|(_, head)| head.as_str()).collect();
    let mut text = format!(
        "### ringbus by raw (samples/s, or median round trip, of ringbus)\n\n| | {} |\n|---|{}\n",
        heads.join(" | "),
        "--:|".repeat(heads.len())
    );
    for (row, cells) in rows {
        let cell = |size| cells.get(size).map_or("", String::as_str);
        let cells: Vec<&str> = columns.iter().map(|(size, _)| cell(*size)).collect();
        let _ = writeln!(text, "| {row} | {} |", cells.join(" | "));
    }
    text + "\n" + COMPARES + "\n"
}

/// 1.2 M, 340 k, 12
fn short(rate: f64) -> String {
    match rate {
        1e6.. => format!("{:.2} M", rate / 1e6),
        1e4.. => format!("{:.0} k", rate / 1e3),
        1e3.. => format!("{:.1} k", rate / 1e3),
        _ => format!("{rate:.0}"),
    }
}
