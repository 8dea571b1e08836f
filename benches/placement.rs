//! What placement costs: one lookup, a preference list of three, and building a ring.
#![allow(missing_docs, reason = "criterion's macros generate undocumented items")]

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringbus::HashRing;

const SIZES: [usize; 3] = [8, 100, 1000];

fn nodes(count: usize) -> Vec<String> {
    (0..count).map(|node| format!("10.1.{}.{}:5556", node / 250, node % 250)).collect()
}

fn keys() -> Vec<String> {
    (0..4096).map(|key| format!("weather/{key:05}")).collect()
}

fn lookup(criterion: &mut Criterion) {
    let keys = keys();
    let mut group = criterion.benchmark_group("lookup");
    group.throughput(Throughput::Elements(1));
    for size in SIZES {
        let ring = HashRing::new(nodes(size));
        let mut next = keys.iter().cycle();
        group.bench_function(BenchmarkId::new("owner", size), |bencher| {
            bencher.iter(|| next.next().map(|key| black_box(ring.owner(key.as_bytes())).is_some()));
        });
        group.bench_function(BenchmarkId::new("preference-of-3", size), |bencher| {
            bencher.iter(|| next.next().map(|key| black_box(ring.preference(key.as_bytes(), 3)).len()));
        });
    }
    group.finish();
}

fn build(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("build");
    group.sample_size(20);
    for size in SIZES {
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter_batched(
                || nodes(size),
                |nodes| HashRing::new(nodes).points(),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, lookup, build);
criterion_main!(benches);
