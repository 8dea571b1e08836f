//! Keys from a file or from standard input, one a line or one before each NUL: bytes as they are.

use std::fs::File;
use std::io::{self, BufRead, Read};

use anyhow::{Context, Result, bail};

/// The name of a file that means standard input.
pub(super) const STANDARD_INPUT: &str = "-";

/// Bytes that are read at once.
const CHUNK: usize = 256 << 10;
/// Bytes that a key has at most. A line without end is not read into memory whole.
const LONGEST: usize = 1 << 20;
/// Keys that are handed on together at most.
const BATCH: usize = 1024;
/// What some editors write at the beginning of a text in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What stands behind each key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// A line feed, or a carriage return and a line feed; before the first line a byte order mark is no key's.
    Line,
    /// A NUL: every other byte belongs to a key.
    Nul,
}

impl End {
    pub(super) const fn new(nul: bool) -> Self {
        if nul { Self::Nul } else { Self::Line }
    }

    const fn byte(self) -> u8 {
        match self {
            Self::Line => b'\n',
            Self::Nul => 0,
        }
    }

    /// A key without what stands behind it.
    fn key(self, text: &[u8]) -> &[u8] {
        let key = text.strip_suffix(&[self.byte()]).unwrap_or(text);
        if self == Self::Line { key.strip_suffix(b"\r").unwrap_or(key) } else { key }
    }
}

/// Calls `take` with each key. Stops at the first error.
pub(super) fn each(file: &str, end: End, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    batches(file, end, |keys, _| keys.iter().try_for_each(|key| take(key)))
}

/// Calls `take` with some keys at a time, and with whether nothing more of the input is at hand after them. Stops at the
/// first error; what was read before it was handed on.
pub(super) fn batches(file: &str, end: End, take: impl FnMut(&[&[u8]], bool) -> Result<()>) -> Result<()> {
    if file == STANDARD_INPUT {
        return read(io::stdin().lock(), "standard input", end, take);
    }
    let opened = File::open(file).with_context(|| format!("cannot read {file}"))?;
    read(opened, file, end, take)
}

fn read(
    mut input: impl Read,
    source: &str,
    end: End,
    mut take: impl FnMut(&[&[u8]], bool) -> Result<()>,
) -> Result<()> {
    let mut buffer = vec![0; CHUNK];
    let (mut held, mut number, mut begun) = (0, 0_u64, false);
    loop {
        let count = match input.read(&mut buffer[held..]) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read line {} of {source}", number + 1));
            }
        };
        held += count;
        let at_end = count == 0;
        // Whether it begins with a mark is known when there are as many bytes.
        if !begun && (at_end || held >= BYTE_ORDER_MARK.len()) {
            begun = true;
            if end == End::Line && buffer[..held].starts_with(BYTE_ORDER_MARK) {
                buffer.copy_within(BYTE_ORDER_MARK.len()..held, 0);
                held -= BYTE_ORDER_MARK.len();
            }
        }
        if !begun {
            continue;
        }
        let rest = hand_on(&buffer[..held], end, at_end, &mut number, &mut take)?;
        if at_end {
            return Ok(());
        }
        buffer.copy_within(held - rest..held, 0);
        held = rest;
        if held > LONGEST {
            let line = number + 1;
            let advice = "keys have at most 1048576 bytes, and a line feed behind each, or with -0 a NUL";
            bail!("line {line} of {source} has no end: {advice}");
        }
        if held == buffer.len() {
            buffer.resize(2 * held, 0);
        }
    }
}

/// Hands on the keys in a text whose ends are in it, at the end of the input all of it; how many bytes are left over.
fn hand_on(
    text: &[u8],
    end: End,
    at_end: bool,
    number: &mut u64,
    take: &mut impl FnMut(&[&[u8]], bool) -> Result<()>,
) -> Result<usize> {
    let mut keys: Vec<&[u8]> = Vec::with_capacity(BATCH);
    let mut rest = text;
    while !rest.is_empty() {
        let mut after = rest;
        let length = after.skip_until(end.byte())?;
        let key = &rest[..length];
        if key.last() != Some(&end.byte()) && !at_end {
            break;
        }
        rest = after;
        keys.push(end.key(key));
        *number += 1;
        if keys.len() == BATCH {
            take(&keys, false)?;
            keys.clear();
        }
    }
    take(&keys, true)?;
    Ok(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a text in pieces.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(buffer.len());
            let (piece, rest) = self.0.split_at(count);
            buffer[..count].copy_from_slice(piece);
            self.0 = rest;
            Ok(count)
        }
    }

    fn keys(text: &[u8], piece: usize, end: End) -> Result<Vec<Vec<u8>>> {
        let mut keys = Vec::new();
        read(Pieces(text, piece), "here", end, |some, _| {
            keys.extend(some.iter().map(|key| key.to_vec()));
            Ok(())
        })?;
        Ok(keys)
    }

    #[test]
    fn keys_are_the_same_however_they_arrive() {
        let marked = b"\xef\xbb\xbfone\r\n\ntwo\xff\0\r\r\n\xef\xbb\xbfthree";
        for piece in [1, 2, 3, 4, 7, 100] {
            let lines: [&[u8]; 4] = [b"one", b"", b"two\xff\0\r", b"\xef\xbb\xbfthree"];
            assert_eq!(keys(marked, piece, End::Line).unwrap(), lines, "{piece}");
            let nul: [&[u8]; 2] = [b"\xef\xbb\xbfone\r\n\ntwo\xff", b"\r\r\n\xef\xbb\xbfthree"];
            assert_eq!(keys(marked, piece, End::Nul).unwrap(), nul, "{piece}");
            assert_eq!(keys(b"", piece, End::Line).unwrap(), Vec::<Vec<u8>>::new());
            assert_eq!(keys(b"\n", piece, End::Line).unwrap(), [b""]);
            assert_eq!(keys(b"a", piece, End::Line).unwrap(), [b"a"]);
        }
    }

    #[test]
    fn batches_hold_all_keys_in_order() {
        let text: String = (0..5_000).map(|key| format!("key-{key}\n")).collect();
        let found = keys(text.as_bytes(), 1_000, End::Line).unwrap();
        assert!(found.iter().map(Vec::as_slice).eq(text.lines().map(str::as_bytes)));
        let mut most = 0;
        read(Pieces(text.as_bytes(), 1 << 20), "here", End::Line, |keys, _| {
            most = most.max(keys.len());
            Ok(())
        })
        .unwrap();
        assert_eq!(most, BATCH);
    }

    #[test]
    fn a_key_has_a_greatest_length_and_a_line_without_end_is_refused() {
        let long = vec![b'k'; LONGEST];
        assert_eq!(keys(&[&long[..], b"\nk"].concat(), CHUNK, End::Line).unwrap(), [&long[..], b"k"]);
        struct Endless(u64);
        impl Read for Endless {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                buffer.fill(b'k');
                self.0 += buffer.len() as u64;
                Ok(buffer.len())
            }
        }
        let mut endless = Endless(0);
        let error = read(&mut endless, "here", End::Line, |_, _| Ok(())).unwrap_err().to_string();
        assert!(error.starts_with("line 1 of here has no end: keys have at most 1048576 bytes"), "{error}");
        assert!(endless.0 <= 2 * LONGEST as u64, "it read {} bytes", endless.0);
    }
}
