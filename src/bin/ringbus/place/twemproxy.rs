//! The rings of a twemproxy configuration: pools with `distribution: ketama`. Of YAML it takes what such files consist of.

use anyhow::{Context, Result, bail};
use ringbus::dht::hash_ring::{KeyHash, KeyRule};
use ringbus::{Mode, RingSpec};

use super::from::Pool;

/// The pools, in the order of the file.
pub(super) fn pools(text: &str) -> Result<Vec<Pool>> {
    let mut pools: Vec<Section> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = without_comment(line).trim_end();
        let entry = line.trim_start();
        if entry.is_empty() || entry == "---" {
            continue;
        }
        if entry.len() == line.len() && !entry.starts_with('-') {
            let name =
                entry.strip_suffix(':').with_context(|| format!("line {number}: {entry:?} names no pool"))?;
            pools.push(Section { name: unquoted(name).to_owned(), ..Section::default() });
            continue;
        }
        let pool = pools.last_mut().with_context(|| format!("line {number}: {entry:?} is in no pool"))?;
        if let Some(server) = entry.strip_prefix('-') {
            pool.servers.push(server_of(unquoted(server.trim())).with_context(|| format!("line {number}"))?);
            continue;
        }
        let (key, value) =
            entry.split_once(':').with_context(|| format!("line {number}: {entry:?} is no 'key: value'"))?;
        let value = unquoted(value.trim()).to_owned();
        match key.trim() {
            "hash" => pool.hash = Some(value),
            "hash_tag" => pool.tag = Some(value),
            "distribution" => pool.distribution = Some(value),
            _ => {}
        }
    }
    pools.into_iter().map(Section::pool).collect()
}

#[derive(Default)]
struct Section {
    name: String,
    hash: Option<String>,
    tag: Option<String>,
    distribution: Option<String>,
    servers: Vec<(String, f64)>,
}

impl Section {
    fn pool(self) -> Result<Pool> {
        let hash = self.hash.as_deref().unwrap_or(KeyHash::Fnv1a64.name());
        let rule = match &self.tag {
            Some(tag) if !tag.is_empty() => format!("{hash}:{tag}"),
            _ => hash.to_owned(),
        };
        let keys: KeyRule = rule.parse().with_context(|| format!("pool {:?}", self.name))?;
        let distribution = self.distribution.filter(|distribution| distribution != "ketama");
        let refused =
            distribution.map(|other| format!("its distribution is {other}, and only ketama is a ring"));
        let spec = RingSpec { mode: Mode::Twemproxy, nodes: self.servers, keys: Some(keys) };
        Ok(Pool { name: self.name, spec, notes: Vec::new(), refused })
    }
}

/// Of `HOST:PORT:WEIGHT [NAME]` or `/SOCKET:WEIGHT [NAME]`, the name that twemproxy hashes, and the weight.
fn server_of(text: &str) -> Result<(String, f64)> {
    let wrong = || format!("{text:?} is not HOST:PORT:WEIGHT or HOST:PORT:WEIGHT NAME");
    let (address, own) = text.rsplit_once(' ').map_or((text, None), |(address, own)| (address, Some(own)));
    let (address, weight) = address.trim_end().rsplit_once(':').with_context(wrong)?;
    let weight: u32 = weight.parse().with_context(wrong)?;
    if weight == 0 {
        bail!("{text:?} has no weight: give a whole number from 1");
    }
    let socket = address.starts_with('/');
    if !socket && address.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
        bail!(wrong());
    }
    let name = match own {
        // The mode would leave the port out, as it does for addresses; twemproxy hashes a name of its own whole.
        Some(own) if own.ends_with(":11211") => {
            bail!("{own:?} is a name that looks like an address: no mode has it")
        }
        Some(own) => own.to_owned(),
        // It hashes the colon behind a socket's path as well.
        None if socket => format!("{address}:"),
        None => address.to_owned(),
    };
    Ok((name, f64::from(weight)))
}

/// A line without what stands behind a `#`, unless that is in quotation marks or within a word.
fn without_comment(line: &str) -> &str {
    let (mut quote, mut before) = (None, ' ');
    for (at, letter) in line.char_indices() {
        match quote {
            Some(mark) if mark == letter => quote = None,
            Some(_) => {}
            None if letter == '#' && before.is_whitespace() => return &line[..at],
            None if letter == '"' || letter == '\'' => quote = Some(letter),
            None => {}
        }
        before = letter;
    }
    line
}

fn unquoted(text: &str) -> &str {
    let between = |mark| text.strip_prefix(mark).and_then(|rest| rest.strip_suffix(mark));
    between('"').or_else(|| between('\'')).unwrap_or(text)
}
