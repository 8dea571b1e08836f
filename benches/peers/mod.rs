//! What `HashRing` is measured against: other crates' rings of as many points, and the pieces of a plain one.
#![allow(dead_code, reason = "each benchmark uses a part")]

use std::hint::black_box;
use std::time::Duration;

use md5::{Digest, Md5};
use ringbus::{HashRing, NodeIndex};

/// Points a node has in every ring that lets one choose; `ketama` has 160.
const POINTS: usize = 120;

/// Names of nodes as addresses.
pub(crate) fn nodes(count: usize) -> Vec<String> {
    (0..count).map(|node| format!("10.1.{}.{}:5556", node / 250, node % 250)).collect()
}

/// Keys of one length, in each form that a crate asks for.
pub(crate) struct Keys {
    text: Vec<&'static str>,
    bytes: Vec<&'static [u8]>,
}

impl Keys {
    pub(crate) fn new(count: usize, length: usize) -> Self {
        let key = |key: usize| {
            let mut text = format!("{key:08}/weather/");
            text.extend("0123456789abcdef".chars().cycle().take(length.saturating_sub(text.len())));
            text.truncate(length);
            text
        };
        // Leaked, so that both forms are of the same bytes.
        let text: Vec<&'static str> = (0..count).map(|number| &*key(number).leak()).collect();
        let bytes = text.iter().map(|text| text.as_bytes()).collect();
        Self { text, bytes }
    }

    pub(crate) fn text(&self) -> &[&'static str] {
        &self.text
    }

    pub(crate) fn bytes(&self) -> &[&'static [u8]] {
        &self.bytes
    }

    /// Reads all keys, in each form.
    pub(crate) fn touch(&self) {
        let sum = |bytes: &[u8]| bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>();
        black_box(self.text.iter().map(|text| sum(text.as_bytes())).sum::<u64>());
        black_box(self.bytes.iter().map(|bytes| sum(bytes)).sum::<u64>());
    }
}

/// Something that finds the owners of all keys, one after the other.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) run: Box<dyn FnMut(&Keys)>,
}

impl Subject {
    fn each(name: &'static str, mut place: impl FnMut(&str) + 'static) -> Self {
        Self { name, run: Box::new(move |keys| keys.text.iter().for_each(|key| place(black_box(key)))) }
    }

    fn batch(name: &'static str, mut place: impl FnMut(&[&[u8]], &mut Vec<NodeIndex>) + 'static) -> Self {
        let mut owners = Vec::new();
        let run = move |keys: &Keys| {
            for keys in keys.bytes().chunks(1024) {
                place(black_box(keys), &mut owners);
                black_box(&owners);
            }
        };
        Self { name, run: Box::new(run) }
    }
}

/// This crate's ways, on the instructions that the machine has, and the MD5 of one block alone, word 0 of it: the floor.
pub(crate) fn ours(count: usize) -> Vec<Subject> {
    let ring = HashRing::new(nodes(count));
    let (index, single, preference, batch) = (ring.clone(), ring.clone(), ring.clone(), ring.clone());
    let mut subjects = vec![
        Subject::each("one MD5 block", |key| {
            black_box(HashRing::position(key.as_bytes()));
        }),
        Subject::each("owner_index", move |key| {
            black_box(index.owner_index(key.as_bytes()));
        }),
        Subject::each("owner", move |key| {
            black_box(single.owner(key.as_bytes()));
        }),
        Subject::each("preference_iter, 3", move |key| {
            preference.preference_iter(key.as_bytes()).take(3).for_each(|node| {
                black_box(node);
            });
        }),
        Subject::batch("owners", move |keys, owners| batch.owners(keys, owners)),
    ];
    for (name, instructions) in [
        ("owners, scalar", "scalar"),
        ("owners, SSE2", "sse2"),
        ("owners, AVX2", "avx2"),
        ("owners, AVX-512", "avx512"),
        ("owners, NEON", "neon"),
    ] {
        let ring = ring.clone();
        if ring.owners_with(instructions, &[], &mut Vec::new()) {
            subjects.push(Subject::batch(name, move |keys, owners| {
                ring.owners_with(instructions, keys, owners);
            }));
        }
    }
    subjects
}

/// The others. `hash_ring` sorts all points for each node that is added: it is left out where that takes minutes.
pub(crate) fn peers(count: usize) -> Vec<Subject> {
    let mut subjects =
        vec![plain(count), ketama(count), conhash(count), hashring(count), consistent_hash(count)];
    if count <= 1_000 {
        subjects.push(hash_ring(count));
    }
    subjects
}

/// The points of a ring by the `md-5` crate, sorted: what building is measured against.
pub(crate) fn plain_points(nodes: &[String]) -> Vec<u64> {
    let mut points = Vec::with_capacity(nodes.len() * POINTS);
    for (node, name) in (0..).zip(nodes) {
        for j in 0..POINTS / 3 {
            let digest = Md5::digest(format!("{name}-{j}"));
            points.extend((0..3).map(|n| u64::from(word(&digest, n)) << 32 | node));
        }
    }
    points.sort_unstable();
    points
}

/// The same placement by the `md-5` crate and a binary search.
fn plain(count: usize) -> Subject {
    let (positions, owners): (Vec<u32>, Vec<u32>) =
        plain_points(&nodes(count)).into_iter().map(|point| ((point >> 32) as u32, point as u32)).unzip();
    Subject::each("md-5 + binary search", move |key| {
        let position = word(&Md5::digest(key), 0);
        let after = positions.partition_point(|&point| point <= position);
        black_box(owners.get(after).or(owners.first()));
    })
}

fn ketama(count: usize) -> Subject {
    let nodes = nodes(count);
    let ring = ketama::Ring::build(&nodes.iter().map(String::as_str).collect::<Vec<_>>());
    Subject::each("ketama", move |key| {
        black_box(ring.route(key.as_bytes()));
    })
}

fn conhash(count: usize) -> Subject {
    #[derive(Clone)]
    struct Node(String);
    impl conhash::Node for Node {
        fn name(&self) -> String {
            self.0.clone()
        }
    }
    let mut ring = conhash::ConsistentHash::new();
    for node in nodes(count) {
        ring.add(&Node(node), POINTS);
    }
    Subject::each("conhash", move |key| {
        black_box(ring.get_str(key).map(|node| &node.0));
    })
}

fn hash_ring(count: usize) -> Subject {
    let ring = hash_ring::HashRing::new(nodes(count), POINTS as isize);
    Subject::each("hash_ring", move |key| {
        black_box(ring.get_node(key.to_owned()));
    })
}

fn hashring(count: usize) -> Subject {
    let mut ring = hashring::HashRing::new();
    ring.batch_add((0..count).flat_map(|node| (0..POINTS).map(move |point| (node, point))).collect());
    Subject::each("hashring", move |key| {
        black_box(ring.get(&key));
    })
}

fn consistent_hash(count: usize) -> Subject {
    use consistent_hash::{DefaultHash, Node, StaticHashRing};
    let nodes = nodes(count).into_iter().map(|node| Node::new(node).quantity(POINTS));
    let ring = StaticHashRing::new(DefaultHash, nodes);
    Subject::each("consistent_hash", move |key| {
        black_box(ring.calc_candidates(&key).next());
    })
}

fn word(digest: &[u8], n: usize) -> u32 {
    digest.as_chunks().0.get(n).map_or(0, |word| u32::from_le_bytes(*word))
}

/// The processor time that work takes, so that other programs' turns do not count.
#[cfg(unix)]
pub(crate) fn time(work: impl FnOnce()) -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
    };
    let started = now();
    work();
    now().saturating_sub(started)
}

/// The time that work takes.
#[cfg(not(unix))]
pub(crate) fn time(work: impl FnOnce()) -> Duration {
    let started = std::time::Instant::now();
    work();
    started.elapsed()
}
