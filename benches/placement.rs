//! What placement costs: one lookup, a batch, a preference list, and building a ring, next to other crates.
//!
//! `cargo bench --bench placement`; the ratios of `docs/benchmarks.md` are `cargo bench --bench placement_ratios`.
#![allow(missing_docs, reason = "criterion's macros generate undocumented items")]

mod peers;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use peers::Keys;
use ringbus::HashRing;

const SIZES: [usize; 4] = [8, 100, 1_000, 10_000];
const LENGTHS: [usize; 6] = [8, 15, 40, 55, 56, 200];
const KEYS: usize = 4_096;

fn nodes_and_peers(criterion: &mut Criterion) {
    let keys = Keys::new(KEYS, 15);
    let mut group = criterion.benchmark_group("lookup");
    group.throughput(Throughput::Elements(KEYS as u64)).sample_size(20);
    for size in SIZES {
        for mut subject in peers::ours(size).into_iter().chain(peers::peers(size)) {
            group.bench_function(BenchmarkId::new(subject.name, size), |bencher| {
                bencher.iter(|| (subject.run)(&keys));
            });
        }
    }
    group.finish();
}

fn key_lengths(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("key-length");
    group.throughput(Throughput::Elements(KEYS as u64)).sample_size(20);
    for length in LENGTHS {
        let keys = Keys::new(KEYS, length);
        for mut subject in peers::ours(1_000) {
            group.bench_function(BenchmarkId::new(subject.name, length), |bencher| {
                bencher.iter(|| (subject.run)(&keys));
            });
        }
    }
    group.finish();
}

fn build(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("build");
    group.sample_size(10);
    for size in SIZES {
        let nodes = peers::nodes(size);
        let ring = HashRing::new(nodes.clone());
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(BenchmarkId::new("HashRing", size), |bencher| {
            bencher.iter(|| HashRing::new(nodes.iter().map(String::as_str)));
        });
        group.bench_function(BenchmarkId::new("with_node", size), |bencher| {
            bencher.iter(|| ring.with_node("one more", 1));
        });
        group.bench_function(BenchmarkId::new("md-5 + sort_unstable", size), |bencher| {
            bencher.iter(|| black_box(peers::plain_points(&nodes)));
        });
    }
    group.finish();
}

criterion_group!(benches, nodes_and_peers, key_lengths, build);
criterion_main!(benches);
