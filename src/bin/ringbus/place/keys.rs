//! Keys from a file or from standard input, one a line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

use anyhow::{Context, Result};

/// The name of a file that means standard input.
pub(super) const STANDARD_INPUT: &str = "-";

/// Calls `take` with each key, and with whether nothing more of the input is at hand after it. Stops at the first error.
pub(super) fn each(file: &str, take: impl FnMut(&str, bool) -> Result<()>) -> Result<()> {
    if file == STANDARD_INPUT {
        return each_line(io::stdin().lock(), "standard input", take);
    }
    let opened = File::open(file).with_context(|| format!("cannot read {file}"))?;
    each_line(opened, file, take)
}

fn each_line(input: impl Read, source: &str, mut take: impl FnMut(&str, bool) -> Result<()>) -> Result<()> {
    let mut input = BufReader::new(input);
    let (mut line, mut number) = (String::new(), 0_u64);
    loop {
        line.clear();
        number += 1;
        let read = input.read_line(&mut line);
        if read.with_context(|| format!("cannot read line {number} of {source}: give UTF-8 text"))? == 0 {
            return Ok(());
        }
        let key = line.strip_suffix('\n').unwrap_or(&line);
        take(key.strip_suffix('\r').unwrap_or(key), input.buffer().is_empty())?;
    }
}
