//! Long lists travel in parts, each within the bounds of one message.

use std::collections::BTreeMap;

use serde::Serialize;

use super::message::{MAX_MESSAGE_LEN, MAX_PART, MAX_PARTS};

/// The most encoded bytes of entries in one part; the rest of the message has room beside them.
const MAX_PART_LEN: usize = MAX_MESSAGE_LEN * 3 / 4;

/// Splits a list into at least one part, each of at most [`MAX_PART`] entries.
///
/// Entries beyond [`MAX_PARTS`] parts are left out; the caller bounds its lists well below.
pub(crate) fn split<T: Serialize>(entries: Vec<T>) -> Vec<Vec<T>> {
    // Measuring costs as much as encoding does, and one entry travels in one part whatever its size.
    if entries.len() <= 1 {
        return vec![entries];
    }
    let mut parts = vec![Vec::new()];
    let mut bytes = 0;
    for entry in entries {
        let size = postcard::experimental::serialized_size(&entry).unwrap_or(MAX_PART_LEN);
        let full = parts.last().is_some_and(|part: &Vec<T>| {
            part.len() >= MAX_PART || (!part.is_empty() && bytes + size > MAX_PART_LEN)
        });
        if full {
            parts.push(Vec::new());
            bytes = 0;
        }
        bytes += size;
        if let Some(part) = parts.last_mut() {
            part.push(entry);
        }
    }
    parts.truncate(usize::from(MAX_PARTS));
    parts
}

/// How many parts there are, as messages state it.
pub(crate) fn count<T>(parts: &[Vec<T>]) -> u16 {
    u16::try_from(parts.len()).unwrap_or(MAX_PARTS)
}

/// The parts of one list as they come in, in any order.
#[derive(Debug)]
pub(crate) struct Assembly<T> {
    parts: u16,
    have: BTreeMap<u16, T>,
}

impl<T> Default for Assembly<T> {
    fn default() -> Self {
        Self { parts: 0, have: BTreeMap::new() }
    }
}

impl<T> Assembly<T> {
    /// Takes a part; the whole list in order when it was the last one missing. Impossible numbers are ignored.
    pub(crate) fn insert(&mut self, part: u16, parts: u16, content: T) -> Option<Vec<T>> {
        if part >= parts || parts > MAX_PARTS || (self.parts != 0 && self.parts != parts) {
            return None;
        }
        self.parts = parts;
        self.have.insert(part, content);
        if self.have.len() < usize::from(parts) {
            return None;
        }
        self.parts = 0;
        Some(std::mem::take(&mut self.have).into_values().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_come_together_in_any_order() {
        let entries: Vec<u32> = (0..1000).collect();
        let parts = split(entries.clone());
        assert!(parts.iter().all(|part| part.len() <= MAX_PART));
        let mut assembly = Assembly::default();
        let total = count(&parts);
        let mut whole = None;
        for (index, part) in parts.into_iter().enumerate().rev() {
            assert!(whole.is_none());
            whole = assembly.insert(u16::try_from(index).unwrap(), total, part);
        }
        assert_eq!(whole.unwrap().concat(), entries);
    }

    #[test]
    fn parts_are_bounded_in_bytes() {
        let parts = split(vec![vec![0_u8; 60_000]; 10]);
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 3, 1]);
        assert_eq!(split(Vec::<u8>::new()).len(), 1);
    }

    #[test]
    fn impossible_parts_are_ignored() {
        let mut assembly = Assembly::default();
        assert!(assembly.insert(2, 2, ()).is_none());
        assert!(assembly.insert(0, 0, ()).is_none());
        assert!(assembly.insert(0, MAX_PARTS + 1, ()).is_none());
        assert_eq!(assembly.insert(0, 1, ()), Some(vec![()]));
    }
}
