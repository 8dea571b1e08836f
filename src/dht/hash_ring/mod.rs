//! Placement, bit-exact with Python's `hash_ring` 1.3.1. `docs/placement.md` states the rule and its edges.

mod compare;
mod diff;
mod hash;
mod index;
mod key_rule;
mod md5;
mod memory;
mod merge;
mod mode;
mod names;
mod points;
mod preference;
mod relist;
mod slots;
mod sort;

use std::fmt;
use std::sync::Arc;

use self::md5::Path;
pub use compare::{Comparison, Disagreement, Reason, RingSpec, RuleDifference};
pub use diff::{Load, Move, RingDiff, Share};
pub use key_rule::{KeyHash, KeyRule};
use mode::Wide;
pub use mode::{Mode, Rule};
use points::{Owners, Points};
pub use preference::Preference;
use relist::Listed;

/// Consistent hashing: which node is responsible for a key.
///
/// Every ring of the same nodes, in the same order and with the same weights, places every key alike, here and in
/// Python's `hash_ring` 1.3.1. Where all weigh the same, a node that comes or goes moves only the keys that it gains or
/// loses, about one in *n*.
///
/// A ring never changes; a clone is a reference count.
///
/// ```
/// use ringbus::HashRing;
///
/// let ring = HashRing::new(["192.168.0.246:11212", "192.168.0.247:11212", "192.168.0.249:11212"]);
/// assert_eq!(ring.owner(b"my_key"), Some("192.168.0.247:11212"));
/// // Where the replicas go: the owner, then the next distinct nodes.
/// assert_eq!(ring.preference(b"my_key", 2), ["192.168.0.247:11212", "192.168.0.246:11212"]);
/// ```
#[derive(Clone, Default)]
pub struct HashRing {
    inner: Arc<Inner>,
    keys: KeyRule,
}

#[derive(Default)]
struct Inner {
    listed: Listed,
    points: Points,
    /// Empty but in [`Mode::Envoy`].
    wide: Wide,
}

impl Inner {
    fn new(listed: Listed, points: Points) -> Arc<Self> {
        let wide = listed.wide().map_or_else(Wide::default, |(wide, _)| wide);
        Arc::new(Self { listed, points, wide })
    }
}

/// A node of one [`HashRing`]: its place among the ring's distinct names, in listed order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIndex(u32);

impl NodeIndex {
    /// The place as a number from 0, for tables with an entry a node.
    pub fn get(self) -> usize {
        self.0 as usize
    }
}

impl HashRing {
    /// How many points a ring has at most: what a mode would make beyond that, as [`Mode::Nginx`] can of great weights, is
    /// scaled down, each node keeping its share.
    pub const MOST_POINTS: usize = mode::MOST_POINTS;

    /// A ring of nodes of equal weight.
    ///
    /// The order of the nodes matters only where two points collide; a name that is listed twice counts once.
    pub fn new<N: Into<String>>(nodes: impl IntoIterator<Item = N>) -> Self {
        Self::weighted(nodes.into_iter().map(|node| (node, 1)))
    }

    /// A ring in which each node's share of the keys is proportional to its weight.
    ///
    /// Weights are numbers as Python has them (integers, or `f64`) and computed with in `f64`, as Python does. Total:
    /// every list is a ring. A weight that is not finite and greater than zero counts as zero, and its node owns
    /// nothing; so does a node whose weight is less than a fortieth of the average. Of a name that is listed more than
    /// once the last weight holds for each mention, as in Python's dictionary of weights.
    ///
    /// ```
    /// use ringbus::HashRing;
    /// let ring = HashRing::weighted([("a", 3.0), ("b", 1.0), ("idle", 0.0)]);
    /// assert!((0..100).all(|key: u32| ring.owner(&key.to_le_bytes()) != Some("idle")));
    /// ```
    pub fn weighted<N: Into<String>, W: Into<f64>>(nodes: impl IntoIterator<Item = (N, W)>) -> Self {
        Self::with_mode(Mode::HashRing, nodes)
    }

    /// A ring like [`weighted`](Self::weighted), with the points and the rounding of another program.
    ///
    /// Every path is as fast as in the default mode: modes differ in how a ring is built alone.
    ///
    /// ```
    /// use ringbus::{HashRing, Mode};
    /// let ring = HashRing::with_mode(Mode::Ketama, [("10.0.0.1:11211", 600), ("10.0.0.2:11211", 300)]);
    /// assert_eq!(ring.owner(b"k2"), Some("10.0.0.2:11211"));
    /// ```
    pub fn with_mode<N: Into<String>, W: Into<f64>>(
        mode: Mode,
        nodes: impl IntoIterator<Item = (N, W)>,
    ) -> Self {
        let nodes = nodes.into_iter().map(|(node, weight)| (node.into(), weight.into()));
        let listed = Listed::new(mode, nodes);
        let points = listed.points();
        Self { inner: Inner::new(listed, points), keys: mode.key_rule() }
    }

    /// The same nodes and points, among which keys are placed by another rule than that of the mode: for a twemproxy pool
    /// with its default `hash`, or with a `hash_tag`.
    ///
    /// ```
    /// use ringbus::dht::hash_ring::{KeyHash, KeyRule};
    /// use ringbus::{HashRing, Mode};
    /// let ring = HashRing::with_mode(Mode::Twemproxy, [("a", 1), ("b", 1)])
    ///     .with_key_rule(KeyRule::new(KeyHash::Fnv1a64).with_tag(b'{', b'}'));
    /// assert_eq!(ring.owner(b"user:{17}:name"), ring.owner(b"17"));
    /// ```
    pub fn with_key_rule(self, keys: KeyRule) -> Self {
        Self { keys, ..self }
    }

    /// The node that is responsible for a key; `None` if no node has a point.
    pub fn owner(&self, key: &[u8]) -> Option<&str> {
        self.owner_index(key).map(|node| self.node(node))
    }

    /// The node that is responsible for a key, without its name; `None` if no node has a point.
    ///
    /// That is what [`owner`](Self::owner) reads of memory less the name: one cache line, which holds the answer. For
    /// tables with an entry a node: connections, counters.
    ///
    /// ```
    /// use ringbus::HashRing;
    /// let ring = HashRing::new(["a", "b", "c"]);
    /// let mut keys_of = vec![0; ring.nodes().len()];
    /// for key in 0..100_u32 {
    ///     if let Some(node) = ring.owner_index(&key.to_le_bytes()) {
    ///         keys_of[node.get()] += 1;
    ///     }
    /// }
    /// assert_eq!(keys_of.iter().sum::<u32>(), 100);
    /// ```
    pub fn owner_index(&self, key: &[u8]) -> Option<NodeIndex> {
        let owner = |position| self.inner.points.owner(position);
        if self.keys.is_plain() { Path::best().then(key, owner) } else { owner(self.position_of(key)) }
    }

    /// The node that is responsible for the keys at a [position](Self::position_of); `None` if no node has a point.
    pub fn owner_at(&self, position: u32) -> Option<NodeIndex> {
        self.inner.points.owner(position)
    }

    /// The first `n` distinct nodes for a key, its owner first: where its replicas go. Fewer if the ring has fewer.
    pub fn preference(&self, key: &[u8], n: usize) -> Vec<&str> {
        let n = n.min(self.inner.listed.names.len());
        let mut preference = Vec::with_capacity(n);
        preference.extend(self.preference_iter(key).take(n).map(|node| self.node(node)));
        preference
    }

    /// The distinct nodes for a key in order of preference, its owner first, without an allocation: see [`Preference`].
    ///
    /// ```
    /// use ringbus::HashRing;
    /// let ring = HashRing::new(["a", "b", "c"]);
    /// let replicas = ring.preference_iter(b"key").take(2).map(|node| ring.node(node));
    /// assert!(replicas.eq(ring.preference(b"key", 2)));
    /// ```
    pub fn preference_iter(&self, key: &[u8]) -> Preference<'_> {
        self.preference_at(self.position_of(key))
    }

    /// The distinct nodes for the keys at a [position](Self::position_of) in order of preference: see
    /// [`preference_iter`](Self::preference_iter).
    pub fn preference_at(&self, position: u32) -> Preference<'_> {
        let around = self.inner.points.owners_from(position);
        Preference::new(around, self.inner.listed.names.len())
    }

    /// Where many keys lie, in their order: their [positions](Self::position_of), digested side by side as
    /// [`owners`](Self::owners) does it. `positions` is cleared first; nothing is allocated but the room in it.
    ///
    /// With [`owner_at`](Self::owner_at) and [`preference_at`](Self::preference_at) each key is digested once, whatever is
    /// asked about it.
    ///
    /// ```
    /// use ringbus::HashRing;
    /// let ring = HashRing::new(["a", "b", "c"]);
    /// let mut positions = Vec::new();
    /// ring.positions(&[b"k1", b"k2"], &mut positions);
    /// assert_eq!(positions, [HashRing::position(b"k1"), HashRing::position(b"k2")]);
    /// assert_eq!(ring.owner_at(positions[0]), ring.owner_index(b"k1"));
    /// ```
    pub fn positions(&self, keys: &[&[u8]], positions: &mut Vec<u32>) {
        positions.clear();
        positions.reserve(keys.len());
        self.positions_by(Path::best(), keys, |some| positions.extend_from_slice(some));
    }

    /// The owners of many keys at once, in their order. `owners` is cleared first; it stays empty if no node has a
    /// point.
    ///
    /// Keys of up to 55 bytes are digested side by side: with AVX-512 32 at a time, else as many as AVX2, SSE2 or NEON
    /// take. Nothing is allocated but the room in `owners`.
    pub fn owners(&self, keys: &[&[u8]], owners: &mut Vec<NodeIndex>) {
        self.owners_by(Path::best(), keys, owners);
    }

    /// Does what [`owners`](Self::owners) does with other instructions than the machine's best, for benchmarks: `scalar`,
    /// `sse2`, `avx2`, `avx512` or `neon`. Returns `false`, and leaves `owners` alone, if the machine does not have them.
    #[doc(hidden)]
    pub fn owners_with(&self, instructions: &str, keys: &[&[u8]], owners: &mut Vec<NodeIndex>) -> bool {
        let path = Path::available().find(|path| path.name() == instructions);
        if let Some(path) = path {
            self.owners_by(path, keys, owners);
        }
        path.is_some()
    }

    fn owners_by(&self, path: Path, keys: &[&[u8]], owners: &mut Vec<NodeIndex>) {
        owners.clear();
        if self.points() > 0 {
            owners.reserve(keys.len());
            let mut found = Owners::new(&self.inner.points, owners);
            self.positions_by(path, keys, |positions| found.ask(positions));
            found.finish();
        }
    }

    /// Where keys lie, in their order: `take` is called with up to [`md5::BATCH`] positions at a time.
    fn positions_by(&self, path: Path, keys: &[&[u8]], mut take: impl FnMut(&[u32])) {
        if self.keys.is_plain() {
            return md5::positions(path, keys, take);
        }
        let mut positions = [0; md5::BATCH];
        for keys in keys.chunks(md5::BATCH) {
            for (position, key) in positions.iter_mut().zip(keys) {
                *position = self.position_of(key);
            }
            take(&positions[..keys.len()]);
        }
    }

    /// The name of a node of this ring. An index that another, larger ring gave out names nothing: `""`.
    pub fn node(&self, node: NodeIndex) -> &str {
        self.inner.listed.names.get(node).unwrap_or_default()
    }

    /// The distinct nodes, in the order in which they were first listed: that of their [`NodeIndex`].
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &str> + '_ {
        self.inner.listed.names.iter()
    }

    /// Where a key lies on the circle of 2^32 positions by its MD5, which is how every ring of ringbus's own places it; on
    /// a ring with another [`KeyRule`] see [`position_of`](Self::position_of).
    pub fn position(key: &[u8]) -> u32 {
        md5::position(key)
    }

    /// Where a key lies on this ring's circle.
    #[inline]
    pub fn position_of(&self, key: &[u8]) -> u32 {
        if self.keys.is_plain() { md5::position(key) } else { self.keys.position_in(&self.inner.wide, key) }
    }

    /// How it places keys on its circle.
    pub fn key_rule(&self) -> KeyRule {
        self.keys
    }

    /// Whose rule it follows.
    pub fn mode(&self) -> Mode {
        self.inner.listed.mode
    }

    /// How many distinct points the nodes have on the circle: 120 a node, less collisions, if all weigh the same; 160
    /// in the modes that make four of a digest.
    pub fn points(&self) -> usize {
        self.inner.points.len()
    }
}

impl fmt::Debug for HashRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HashRing")
            .field("nodes", &self.nodes().collect::<Vec<_>>())
            .field("points", &self.points())
            .finish()
    }
}

/// Compiles the examples of the page.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/placement.md")]
struct PlacementPage;

/// Compiles the examples of the page.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/migrating-rings.md")]
struct MigratingPage;

#[cfg(test)]
mod tests;
