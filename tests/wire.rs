//! The frame format against golden frames and against arbitrary bytes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "that is how tests fail, their helpers included")]
#![allow(unsafe_code, reason = "a counting allocator is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::Bytes;
use proptest::prelude::*;
use ringbus::qos::Offered;
use ringbus::wire::{DataFrame, Frame, FrameBuilder, Room, decode_body, encode_control};
use ringbus::{Encoding, EntityId, ErrorKind, SessionId, Timestamp, TopicFilter};

struct Counting;

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is the system allocator's; counting touches only a thread-local that needs no allocation.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.with(|sum| sum.set(sum.get() + layout.size()));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes that this thread allocates while `work` runs.
fn allocated_by<V>(work: impl FnOnce() -> V) -> (V, usize) {
    let before = ALLOCATED.with(Cell::get);
    let value = work();
    (value, ALLOCATED.with(Cell::get) - before)
}

const WRITER: EntityId = EntityId { session: SessionId(0x0123_4567_89AB_CDEF), entity: 7 };

fn bytes(payload: &[u8]) -> impl FnOnce(&mut Vec<u8>) -> ringbus::Result<()> {
    |out| {
        out.extend_from_slice(payload);
        Ok(())
    }
}

fn build(encoding: Encoding, first: u64, samples: &[(i64, &[u8])]) -> DataFrame {
    let mut builder = FrameBuilder::new(encoding, WRITER, 3, first);
    for (source, payload) in samples {
        let (now, source) = (Timestamp::from_secs(1_262_304_000), Timestamp::from_nanos(*source));
        builder.push(now, source, 1 << 20, bytes(payload)).unwrap();
    }
    builder.take().unwrap()
}

/// What the golden files hold. The bytes are not to change: a change is a new version of the format.
fn golden() -> Vec<(&'static str, Bytes)> {
    let long = vec![0x55; 300];
    let body = (TopicFilter::new("weather/+").unwrap(), 42u32);
    vec![
        (
            "data-three-samples",
            build(
                Encoding::Json,
                1,
                &[
                    (1_262_304_000_000_000_000, b"1".as_slice()),
                    (1_262_303_999_999_999_999, b""),
                    (1_262_307_600_000_000_000, b"\"later\""),
                ],
            )
            .bytes()
            .clone(),
        ),
        (
            "data-long-payload",
            build(Encoding::Raw, u64::MAX - 2, &[(i64::MIN, &long), (0, &long)]).bytes().clone(),
        ),
        ("control", encode_control(Room::DhtClient, &body).unwrap()),
    ]
}

#[test]
fn frames_are_the_golden_ones() {
    for (name, bytes) in golden() {
        let path = format!("{}/tests/vectors/frames/{name}.hex", env!("CARGO_MANIFEST_DIR"));
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        if std::env::var_os("RINGBUS_WRITE_VECTORS").is_some() {
            std::fs::write(&path, format!("{hex}\n")).unwrap();
        }
        let stored = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(hex, stored.trim(), "{name}");
    }
}

#[test]
fn a_golden_frame_reads_back() {
    let frame = DataFrame::parse(golden()[0].1.clone()).unwrap();
    let header = frame.header();
    assert_eq!((header.writer, header.epoch, header.first, header.count), (WRITER, 3, 1, 3));
    assert_eq!((header.encoding, header.end()), (Encoding::Json, 4));
    let samples: Vec<_> = frame.samples().map(|s| (s.sequence, s.source.as_nanos(), s.payload)).collect();
    assert_eq!(
        samples,
        [
            (1, 1_262_304_000_000_000_000, Bytes::from_static(b"1")),
            (2, 1_262_303_999_999_999_999, Bytes::new()),
            (3, 1_262_307_600_000_000_000, Bytes::from_static(b"\"later\"")),
        ]
    );
}

#[test]
fn every_cut_of_a_frame_is_refused() {
    for (name, bytes) in golden() {
        for length in 0..bytes.len() {
            let error = Frame::parse(bytes.slice(..length)).map(drop).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Malformed { .. }), "{name} cut to {length}");
        }
        let longer: Vec<u8> = bytes.iter().copied().chain([0]).collect();
        assert!(Frame::parse(longer.into()).is_err(), "{name} with a byte too many");
    }
}

#[test]
fn critical_flags_and_later_versions_are_refused_and_harmless_flags_are_not() {
    let with = |at: usize, value: u8| {
        let mut bytes = golden()[0].1.to_vec();
        bytes[at] = value;
        Frame::parse(bytes.into()).map(drop)
    };
    assert!(with(2, 2).is_err(), "version 2");
    assert!(with(3, 9).is_err(), "kind 9");
    assert!(with(4, 200).is_err(), "encoding 200");
    assert!(with(5, 0x10).is_err(), "critical flag");
    assert!(with(5, 0x01).is_ok(), "harmless flag");
}

#[test]
fn a_refused_sample_leaves_the_open_frame_as_it_was() {
    let mut builder = FrameBuilder::new(Encoding::Raw, WRITER, 1, 1);
    let now = Timestamp::from_secs(5);
    builder.push(now, now, 10, bytes(b"one")).unwrap();
    let error = builder.push(now, now, 10, bytes(&[0; 11])).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::PayloadTooLarge { size: 11, limit: 10 });
    builder.push(now, now, 10, bytes(b"two")).unwrap();
    let payloads: Vec<_> = builder.take().unwrap().samples().map(|sample| sample.payload).collect();
    assert_eq!(payloads, ["one", "two"]);
    assert!(builder.take().is_none());
    assert_eq!(builder.next_sequence(), 3);
}

#[test]
fn a_length_that_a_stranger_claims_is_not_allocated() {
    // Postcard: a sequence that claims 2^32 - 1 elements and holds none.
    let claim = [0xFF, 0xFF, 0xFF, 0xFF, 0x0F];
    let (outcome, allocated) = allocated_by(|| decode_body::<Vec<u64>>(&claim).is_err());
    assert!(outcome);
    assert!(allocated < 4096, "allocated {allocated} bytes for five");
}

proptest! {
    #[test]
    fn whatever_is_built_reads_back(
        first in 1..u64::MAX / 2,
        samples in prop::collection::vec((any::<i64>(), prop::collection::vec(any::<u8>(), 0..400)), 1..50),
    ) {
        let given: Vec<_> = samples.iter().map(|(source, payload)| (*source, payload.as_slice())).collect();
        let frame = build(Encoding::Raw, first, &given);
        let read = DataFrame::parse(frame.bytes().clone()).unwrap();
        prop_assert_eq!(read.header(), frame.header());
        let found: Vec<_> = read.samples().map(|s| (s.source.as_nanos(), s.payload.to_vec())).collect();
        prop_assert_eq!(found, samples);
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_parsing_allocates_next_to_nothing(
        prefix in prop::sample::select(vec![vec![], vec![0xB5, 0x52, 1, 0, 2, 0], vec![0xB5, 0x52, 1, 1, 0]]),
        rest in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let bytes = Bytes::from([prefix, rest].concat());
        let length = bytes.len();
        let (parsed, allocated) = allocated_by(|| Frame::parse(bytes));
        // An error is a small box; a frame shares the bytes that came.
        prop_assert!(allocated <= 512, "{} bytes allocated for {}", allocated, length);
        match parsed {
            Ok(Frame::Data(frame)) => prop_assert_eq!(frame.samples().count(), usize::from(frame.header().count)),
            Ok(Frame::Control { body, .. }) => {
                let (_, allocated) = allocated_by(|| {
                    drop(decode_body::<(Offered, Vec<(u64, u64)>, String)>(&body));
                });
                // An element of two bytes on the wire is sixteen in memory, a vector may double, an error is a box.
                prop_assert!(allocated <= 64 * body.len() + 1024, "{} bytes for {}", allocated, body.len());
            }
            Err(_) => {}
        }
    }

    #[test]
    fn a_damaged_frame_never_panics(at in 0usize..200, value: u8) {
        for (_, bytes) in golden() {
            let mut bytes = bytes.to_vec();
            let index = at % bytes.len();
            bytes[index] = value;
            if let Ok(Frame::Data(frame)) = Frame::parse(bytes.into()) {
                prop_assert_eq!(frame.samples().count(), usize::from(frame.header().count));
            }
        }
    }
}
