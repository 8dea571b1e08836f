//! What is published: numbered samples, so that the receiver knows what it lost.

use serde::{Deserialize, Serialize, Serializer};

/// The smallest payload that holds a number, in bytes.
pub(super) const SMALLEST: usize = 8;

const LAST: u64 = 1 << 63;
const PUBLISHER_SHIFT: u32 = 48;

/// A sample's number: its publisher's, its own counted from 0, and whether it is the mark behind the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Number(u64);

impl Number {
    pub(super) fn first_of(publisher: usize) -> Self {
        Self((publisher as u64) << PUBLISHER_SHIFT)
    }

    pub(super) fn plus(self, count: u64) -> Self {
        Self(self.0 + count)
    }

    /// The mark that ends this publisher's samples.
    pub(super) fn last(self) -> Self {
        Self(self.0 | LAST)
    }

    pub(super) fn is_last(self) -> bool {
        self.0 & LAST != 0
    }

    pub(super) fn publisher(self) -> usize {
        ((self.0 & !LAST) >> PUBLISHER_SHIFT) as usize
    }

    /// Its place among its publisher's samples.
    pub(super) fn place(self) -> u64 {
        self.0 & ((1 << PUBLISHER_SHIFT) - 1)
    }

    /// Writes it at the beginning of a payload of at least [`SMALLEST`] bytes.
    pub(super) fn write(self, payload: &mut [u8]) {
        if let Some(head) = payload.first_chunk_mut() {
            *head = self.0.to_le_bytes();
        }
    }

    /// Reads it from a payload; `None` if that is not of the bench, which also checks the length.
    pub(super) fn read(payload: &[u8], size: usize) -> Option<Self> {
        let head = payload.first_chunk()?;
        (payload.len() == size).then(|| Self(u64::from_le_bytes(*head)))
    }
}

/// Something that the library publishes.
pub(super) trait Numbered: Serialize + Send + Sync + 'static {
    /// Makes it another sample.
    fn renumber(&mut self, number: Number);
}

/// Bytes, for the raw encoding.
#[derive(Debug)]
pub(super) struct Body(pub(super) Vec<u8>);

impl Body {
    pub(super) fn new(size: usize) -> Self {
        Self(vec![0x5a; size])
    }
}

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl Numbered for Body {
    fn renumber(&mut self, number: Number) {
        number.write(&mut self.0);
    }
}

/// A typed sample of six fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Reading {
    id: u64,
    timestamp: u64,
    value: f64,
    sensor: u32,
    quality: i16,
    valid: bool,
}

impl Reading {
    pub(super) fn new() -> Self {
        Self {
            id: 0,
            timestamp: 1_700_000_000_000_000_000,
            value: 21.5,
            sensor: 98_101,
            quality: -3,
            valid: true,
        }
    }

    /// Its number; `None` if its fields are not those of the bench.
    pub(super) fn number(&self) -> Option<Number> {
        (self.valid && self.sensor == 98_101 && self.value == 21.5).then_some(Number(self.id))
    }
}

impl Numbered for Reading {
    fn renumber(&mut self, number: Number) {
        self.id = number.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_publisher_place_and_mark() {
        let number = Number::first_of(7).plus(1234);
        assert_eq!((number.publisher(), number.place(), number.is_last()), (7, 1234, false));
        assert_eq!((number.last().publisher(), number.last().is_last()), (7, true));
        let mut payload = [0; 16];
        number.last().write(&mut payload);
        assert_eq!(Number::read(&payload, 16), Some(number.last()));
        assert_eq!(Number::read(&payload, 17), None);
        assert_eq!(Number::read(&payload[..4], 4), None);
    }
}
