//! The frame format against golden frames and against arbitrary bytes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "that is how tests fail, their helpers included")]
#![allow(unsafe_code, reason = "a counting allocator is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::Bytes;
use proptest::prelude::*;
use ringbus::qos::Offered;
use ringbus::wire::{
    Bundle, BundleBuilder, DataFrame, Frame, FrameBuilder, MAX_BUNDLE_LEN, MAX_BUNDLED, Room, decode_body,
    encode_control,
};
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

/// The golden bundle: the golden frames that are of one message each.
fn golden_bundle() -> Bytes {
    let mut bundle = BundleBuilder::default();
    assert!(bundle.push(&golden()[2].1, MAX_BUNDLE_LEN));
    assert!(bundle.push(&golden()[0].1, MAX_BUNDLE_LEN));
    assert!(bundle.push_control(Room::DhtNode, &7u8, MAX_BUNDLE_LEN).unwrap());
    bundle.take().unwrap()
}

#[test]
fn frames_are_the_golden_ones() {
    for (name, bytes) in golden().into_iter().chain([("bundle", golden_bundle())]) {
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
fn a_bundle_reads_back_and_a_bundle_within_a_bundle_does_not() {
    let bundle = golden_bundle();
    let frames: Vec<_> = Bundle::parse(bundle.clone()).unwrap().collect();
    let last = encode_control(Room::DhtNode, &7u8).unwrap();
    assert_eq!(frames, [golden()[2].1.clone(), golden()[0].1.clone(), last.clone()]);
    assert!(Frame::parse(bundle.clone()).is_err(), "only where bundles are expected");

    let mut nested = BundleBuilder::default();
    assert!(!nested.push(&bundle, MAX_BUNDLE_LEN) && !nested.push(b"plain", MAX_BUNDLE_LEN));
    assert!(nested.is_empty() && nested.take().is_none());
    // By hand: it is taken apart, and what is in it is refused.
    let length = u16::try_from(bundle.len()).unwrap().to_le_bytes();
    let by_hand = [&[0xB5, 0x52, 1, 2, 1, 0][..], &length, &bundle].concat();
    let inner: Vec<_> = Bundle::parse(by_hand.into()).unwrap().collect();
    assert!(inner.len() == 1 && Frame::parse(inner[0].clone()).is_err());

    // One alone needs no bundle.
    let mut alone = BundleBuilder::default();
    assert!(alone.push(&last, MAX_BUNDLE_LEN));
    assert_eq!(alone.take().unwrap(), last);
}

#[test]
fn every_cut_of_a_bundle_is_refused_and_so_is_too_much() {
    let bundle = golden_bundle();
    for length in 0..bundle.len() {
        assert!(Bundle::parse(bundle.slice(..length)).is_err(), "cut to {length}");
    }
    assert!(Bundle::parse([&bundle[..], &[0]].concat().into()).is_err(), "a byte too many");
    assert!(Bundle::parse(vec![0xB5, 0x52, 1, 2, 0, 0].into()).is_err(), "of none");
    let empty = |count: usize| {
        let head = [&[0xB5, 0x52, 1, 2][..], &u16::try_from(count).unwrap().to_le_bytes()].concat();
        Bundle::parse([head, vec![0; 2 * count]].concat().into())
    };
    assert!(empty(MAX_BUNDLED).is_ok() && empty(MAX_BUNDLED + 1).is_err());
    let filler = [&[0xB5, 0x52, 1, 2, 2, 0][..], &[0xFF, 0xFF], &[0; 0xFFFF], &[1, 0, 0]].concat();
    assert!(Bundle::parse(filler.into()).is_err(), "over 64 KiB");
}

#[test]
fn a_bundle_keeps_its_bounds() {
    let frame = encode_control(Room::DhtNode, &vec![7u8; 100]).unwrap();
    let mut bundle = BundleBuilder::default();
    let limit = 1000;
    while bundle.push(&frame, limit) {}
    assert!(bundle.len() <= limit && bundle.len() + frame.len() + 2 > limit);
    let count = bundle.count();
    assert_eq!(Bundle::parse(bundle.take().unwrap()).unwrap().count(), count);

    let small = encode_control(Room::DhtNode, &()).unwrap();
    while bundle.push(&small, MAX_BUNDLE_LEN) {}
    assert_eq!(bundle.count(), MAX_BUNDLED);
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
    fn arbitrary_bundles_never_panic_and_parsing_allocates_next_to_nothing(
        prefix in prop::sample::select(vec![vec![], vec![0xB5, 0x52, 1, 2], vec![0xB5, 0x52, 1, 2, 2, 0, 1, 0]]),
        rest in prop::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..300),
    ) {
        let bytes = Bytes::from([prefix, rest].concat());
        let (parsed, allocated) = allocated_by(|| Bundle::parse(bytes));
        prop_assert!(allocated <= 512, "{} bytes allocated", allocated);
        for frame in parsed.into_iter().flatten() {
            prop_assert!(frame.len() <= 300);
            drop(Frame::parse(frame));
        }
    }

    #[test]
    fn whatever_is_bundled_reads_back(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 2..60),
    ) {
        let frames: Vec<_> = messages.iter().map(|m| encode_control(Room::PubSub, m).unwrap()).collect();
        let mut bundle = BundleBuilder::default();
        for (frame, message) in frames.iter().zip(&messages) {
            let pushed = if message.len() % 2 == 0 {
                bundle.push(frame, MAX_BUNDLE_LEN)
            } else {
                bundle.push_control(Room::PubSub, message, MAX_BUNDLE_LEN).unwrap()
            };
            prop_assert!(pushed);
        }
        let read: Vec<_> = Bundle::parse(bundle.take().unwrap()).unwrap().collect();
        prop_assert_eq!(read, frames);
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
