//! A line for each key: what `ringbus place` prints without --plan and --doctor.

use std::io::{self, StdoutLock, Write};
use std::num::NonZeroUsize;

use anyhow::{Context, Result};
use ringbus::HashRing;

use super::{Args, UNWRITABLE, keys, ring};

/// Bytes of output that are collected before they are written.
const ROOM: usize = 64 << 10;

/// Prints a line a key.
pub(super) fn run(args: &Args) -> Result<()> {
    let ring = ring::here(args)?.ring();
    let mut lines = Lines {
        ring: &ring,
        replicas: args.replicas.map_or(usize::MAX, NonZeroUsize::get),
        positions: Vec::new(),
        text: Vec::with_capacity(2 * ROOM),
        out: io::stdout().lock(),
    };
    if args.key.is_empty() {
        keys::batches(keys::STANDARD_INPUT, keys::End::new(args.null), |keys, was_last_at_hand| {
            lines.place(keys)?;
            // An answer to a key that is typed, or waited for, is written before more of the input is read.
            if was_last_at_hand { lines.flush() } else { Ok(()) }
        })?;
    }
    let given: Vec<&[u8]> = args.key.iter().map(|key| key.as_encoded_bytes()).collect();
    lines.place(&given)?;
    lines.flush()
}

struct Lines<'a> {
    ring: &'a HashRing,
    replicas: usize,
    positions: Vec<u32>,
    text: Vec<u8>,
    out: StdoutLock<'static>,
}

impl Lines<'_> {
    fn place(&mut self, keys: &[&[u8]]) -> Result<()> {
        // Each key is digested once, and many side by side.
        let mut positions = std::mem::take(&mut self.positions);
        self.ring.positions(keys, &mut positions);
        for (key, &position) in keys.iter().zip(&positions) {
            let mut nodes = self.ring.preference_at(position).take(self.replicas);
            let owner = nodes.next().context("no node owns anything: give a node a greater weight")?;
            let owner = self.ring.node(owner).as_bytes();
            put_key(key, &mut self.text);
            self.text.push(b'\t');
            put_number(position, &mut self.text);
            self.text.push(b'\t');
            self.text.extend_from_slice(owner);
            self.text.push(b'\t');
            self.text.extend_from_slice(owner);
            for node in nodes {
                self.text.push(b',');
                self.text.extend_from_slice(self.ring.node(node).as_bytes());
            }
            self.text.push(b'\n');
            if self.text.len() >= ROOM {
                self.write()?;
            }
        }
        self.positions = positions;
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        self.out.write_all(&self.text).context(UNWRITABLE)?;
        self.text.clear();
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.write()?;
        self.out.flush().context(UNWRITABLE)
    }
}

/// Writes a key as it is, but for what separates columns and lines.
fn put_key(key: &[u8], text: &mut Vec<u8>) {
    if !key.iter().any(|byte| matches!(byte, b'\t' | b'\n')) {
        return text.extend_from_slice(key);
    }
    for &byte in key {
        match byte {
            b'\t' => text.extend_from_slice(b"\\t"),
            b'\n' => text.extend_from_slice(b"\\n"),
            _ => text.push(byte),
        }
    }
}

/// Writes a number in digits.
fn put_number(mut number: u32, text: &mut Vec<u8>) {
    let mut digits = [b'0'; 10];
    let mut first = digits.len();
    for (at, digit) in digits.iter_mut().enumerate().rev() {
        *digit += (number % 10) as u8;
        number /= 10;
        first = at;
        if number == 0 {
            break;
        }
    }
    text.extend_from_slice(&digits[first..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_digits() {
        for number in [0, 9, 10, 99, 100, 1_234_567_890, 4_000_000_000, u32::MAX] {
            let mut text = Vec::new();
            put_number(number, &mut text);
            assert_eq!(text, number.to_string().as_bytes());
        }
    }

    #[test]
    fn keys_keep_to_their_column_and_line() {
        let mut text = Vec::new();
        put_key(b"a\tb\nc\xff\\", &mut text);
        assert_eq!(text, b"a\\tb\\nc\xff\\");
    }
}
