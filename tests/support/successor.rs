//! Successor rings for the tests: nodes of this library on sessions of their own, changed several at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures::future::join_all;
use futures::{StreamExt, TryStreamExt, stream};
use rand::distr::{Alphanumeric, SampleString};
use ringbus::dht::{Key, Links, Successor, SuccessorConfig};
use ringbus::transport::conformance::Harness;
use ringbus::transport::{Locator, Transport};
use ringbus::{Dht, DhtNode, Session};

use super::open;

/// How long a ring may take to settle, or a call to be answered, on a busy machine.
pub const SETTLING: Duration = Duration::from_secs(40);
/// How many calls of one client run at the same time.
const CONCURRENT: usize = 64;

pub type Node<T> = DhtNode<T, Successor>;
/// A node and its session.
type Member<T> = (Node<T>, Session<T>);
pub type Pairs = BTreeMap<u32, String>;

/// A ring.
pub struct Ring<H: Harness> {
    pub harness: H,
    /// Of nodes that are still to come.
    pub config: SuccessorConfig,
    nodes: BTreeMap<u32, Member<H::Transport>>,
    /// Members that are not nodes of this process.
    others: BTreeSet<u32>,
}

impl<H: Harness> Ring<H> {
    /// Without nodes.
    pub fn new(harness: H) -> Self {
        let config = SuccessorConfig::default();
        Self { harness, config, nodes: BTreeMap::new(), others: BTreeSet::new() }
    }

    /// One after the other.
    pub async fn of(harness: H, ids: &[u32]) -> Self {
        let mut ring = Self::new(harness);
        for id in ids {
            ring.join(*id).await;
        }
        ring.settled().await;
        ring
    }

    /// Returns when the node serves.
    pub async fn join(&mut self, id: u32) {
        self.change(&[id], &[]).await;
    }

    /// Returns when the node has handed over.
    pub async fn leave(&mut self, id: u32) {
        self.change(&[], &[id]).await;
    }

    /// Lets all these join and all those leave at the same time; returns when all have.
    pub async fn change(&mut self, joining: &[u32], leaving: &[u32]) {
        let leaving = leaving.iter().map(|id| (*id, self.nodes.remove(id).expect("a node of the ring")));
        let leaving: Vec<_> = leaving.collect();
        let mut seeds = self.seeds();
        let leave = leaving.into_iter().map(|(id, (node, session))| async move {
            node.leave().await.unwrap_or_else(|error| panic!("{id} leaves: {error}"));
            session.close(Duration::from_secs(5)).await.unwrap();
        });
        let names: Vec<String> = joining.iter().map(|id| format!("node-{id}")).collect();
        let sessions = join_all(names.iter().map(|name| open(&self.harness, name))).await;
        if seeds.is_empty() {
            seeds.extend(sessions.first().map(|session| session.local().clone()));
        }
        let start = joining.iter().zip(sessions).map(|(id, session)| {
            let seeds = seeds.iter().filter(|seed| *seed != session.local()).cloned().collect::<Vec<_>>();
            let builder = DhtNode::builder(session.clone()).successor().config(self.config.clone());
            let builder = builder.id(Key::new(*id)).join(seeds);
            async move {
                let node = builder.start().await.unwrap_or_else(|error| panic!("{id} joins: {error}"));
                (*id, (node, session))
            }
        });
        let (joined, _) = futures::future::join(join_all(start), join_all(leave)).await;
        self.nodes.extend(joined);
    }

    /// A member that is not of this process has come.
    pub fn joined(&mut self, other: u32) {
        self.others.insert(other);
    }

    /// A member that is not of this process has gone.
    pub fn gone(&mut self, other: u32) {
        assert!(self.others.remove(&other));
    }

    /// The places of all members.
    pub fn ids(&self) -> BTreeSet<u32> {
        self.nodes.keys().chain(&self.others).copied().collect()
    }

    pub fn node(&self, id: u32) -> &Node<H::Transport> {
        &self.nodes[&id].0
    }

    /// Waits until every node of this process has exactly the neighbours that it should have, and is settled.
    pub async fn settled(&self) {
        let deadline = Instant::now() + SETTLING;
        loop {
            let wrong = self.unsettled();
            if wrong.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "not settled after {SETTLING:?}: {wrong:#?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the nodes of this process have exactly these pairs on their own arcs.
    pub async fn holds(&self, pairs: &Pairs) {
        let deadline = Instant::now() + SETTLING;
        loop {
            let has = self.pairs();
            if has == *pairs {
                return;
            }
            let missing = pairs.iter().filter(|(key, value)| has.get(*key) != Some(*value)).count();
            assert!(Instant::now() < deadline, "{} pairs for {}, {missing} missing", has.len(), pairs.len());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What each node that is not as it should be has, and what it should have.
    pub fn unsettled(&self) -> Vec<String> {
        let ids: Vec<u32> = self.ids().into_iter().collect();
        let wrong = self.nodes.iter().filter_map(|(id, (node, _))| {
            let (has, wanted) = (node.links(), links(&ids, *id));
            let wrong = has != wanted || !node.is_settled();
            wrong.then(|| format!("{id}: {has:?}, settled: {}, should be {wanted:?}", node.is_settled()))
        });
        wrong.collect()
    }

    /// A client on a session of its own.
    pub async fn client(&self, name: &str) -> Dht<H::Transport, Successor> {
        open(&self.harness, name).await.successor_dht(self.seeds()).timeout(SETTLING)
    }

    /// All pairs that nodes of this process have on their own arcs.
    pub fn pairs(&self) -> Pairs {
        let pairs = self.nodes.values().flat_map(|(node, _)| node.pairs());
        pairs.map(|(key, value)| (key.get(), value)).collect()
    }

    /// Where nodes are reached.
    pub fn seeds(&self) -> Vec<Locator> {
        self.nodes.values().map(|(_, session)| session.local().clone()).collect()
    }
}

/// The neighbours of `id` among these, which are in order.
fn links(ids: &[u32], id: u32) -> Links {
    let at = ids.iter().position(|other| *other == id).expect("a member");
    let neighbour = |at: usize| Some(Key::new(ids[at % ids.len()])).filter(|other| other.get() != id);
    Links { predecessor: neighbour(at + ids.len() - 1), successor: neighbour(at + 1) }
}

/// As many pairs, at random places, of random text.
pub fn random_pairs(count: usize) -> Pairs {
    let mut pairs = Pairs::new();
    while pairs.len() < count {
        pairs.insert(rand::random(), Alphanumeric.sample_string(&mut rand::rng(), 10));
    }
    pairs
}

/// Puts them all, many at a time, each with its acknowledgement.
pub async fn put_all<T: Transport>(dht: &Dht<T, Successor>, pairs: &Pairs) {
    let puts = stream::iter(pairs).map(|(key, value)| async move { dht.put(*key, value).await.map(drop) });
    let all: Result<(), _> = puts.buffer_unordered(CONCURRENT).try_collect().await;
    all.unwrap_or_else(|error| panic!("put: {error}"));
}

/// Fails unless every pair is answered byte for byte.
pub async fn verify<T: Transport>(dht: &Dht<T, Successor>, pairs: &Pairs) {
    let gets = stream::iter(pairs).map(|(key, value)| async move {
        let found = dht.get(*key).await.map_err(|error| format!("get {key}: {error}"))?;
        if found.as_ref() == Some(value) { Ok(()) } else { Err(format!("{key}: {found:?} for {value:?}")) }
    });
    let outcomes: Vec<Result<(), String>> = gets.buffer_unordered(CONCURRENT).collect().await;
    let wrong: Vec<String> = outcomes.into_iter().filter_map(Result::err).collect();
    assert!(
        wrong.is_empty(),
        "{} of {} pairs, the first {:#?}",
        wrong.len(),
        pairs.len(),
        &wrong[..wrong.len().min(5)]
    );
}
