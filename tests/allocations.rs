//! A look-up allocates nothing: counted by the allocator.
#![allow(unsafe_code, reason = "an allocator is unsafe to implement; this one passes everything on")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;

use ringbus::HashRing;

thread_local! {
    /// Allocations of this thread: tests run side by side.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every request goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise; the pointer came from the same allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How often `work` allocates.
fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

fn ring(nodes: usize) -> HashRing {
    HashRing::new((0..nodes).map(|node| format!("10.1.{}.{}:5556", node / 250, node % 250)))
}

fn keys() -> Vec<Vec<u8>> {
    (0..300).map(|length| vec![length as u8; length]).collect()
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(black_box(vec![0; 100]))), 1);
}

#[test]
fn a_single_lookup_allocates_nothing() {
    let keys = keys();
    for ring in [ring(8), ring(1_000)] {
        let count = allocations(|| {
            for key in &keys {
                black_box(ring.owner(key));
                black_box(HashRing::position(key));
            }
        });
        assert_eq!(count, 0);
    }
}

#[test]
fn a_batch_allocates_nothing_but_room_for_its_owners() {
    let keys = keys();
    let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    let ring = ring(1_000);
    for instructions in ["scalar", "sse2", "avx2", "avx512", "neon"] {
        let mut owners = Vec::new();
        let here = ring.owners_with(instructions, &keys, &mut owners);
        assert_eq!(allocations(|| assert_eq!(ring.owners_with(instructions, &keys, &mut owners), here)), 0);
    }
    let mut owners = Vec::new();
    assert_eq!(allocations(|| ring.owners(&keys, &mut owners)), 1);
    assert_eq!(allocations(|| ring.owners(&keys, &mut owners)), 0);
    assert_eq!(owners.len(), keys.len());
}

#[test]
fn preferences_allocate_nothing_up_to_1024_nodes_and_32_replicas() {
    let keys = keys();
    for (ring, replicas, expected) in
        [(ring(8), 8, 0), (ring(1_024), 1_024, 0), (ring(1_025), 32, 0), (ring(1_025), 1_025, 1)]
    {
        for key in keys.iter().step_by(30) {
            let count =
                allocations(|| assert_eq!(ring.preference_iter(key).take(replicas).count(), replicas));
            assert_eq!(count, expected);
        }
    }
    let ring = ring(8);
    assert_eq!(allocations(|| drop(black_box(ring.preference(b"key", 3)))), 1, "the list itself");
}

#[test]
fn a_clone_allocates_nothing() {
    let ring = ring(100);
    assert_eq!(allocations(|| drop(black_box(ring.clone()))), 0);
}
