//! Takeovers between publishers whose clocks disagree: over memory in virtual time, and over ZeroMQ in real time.
#![allow(clippy::unwrap_used, clippy::panic, reason = "that is how tests fail, their helpers included")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use ringbus::pubsub::{MatchEvent, SubscriberStats};
use ringbus::qos::{Offered, Requested};
use ringbus::transport::MemoryTransport;
use ringbus::transport::memory::Network;
use ringbus::{EntityId, Publisher, Session, Subscriber, Timestamp};
use support::soon;

const PERIOD: Duration = Duration::from_millis(20);
const LEASE: Duration = Duration::from_secs(1);
/// How far the strong publisher's clock is ahead, in nanoseconds.
const APART: [i64; 5] = [0, 5_000_000_000, -5_000_000_000, 3_600_000_000_000, -3_600_000_000_000];
/// More than any publisher can have published at a time at which its neighbour has: what the allowance for ways explains.
const FEW: u64 = 6;

struct Rig {
    network: Network,
    start: tokio::time::Instant,
    weak: Publisher<u64, MemoryTransport>,
    subscriber: Subscriber<u64, MemoryTransport>,
    offered: Offered,
    /// How many numbers were published so far: both publish the same at the same time.
    numbers: u64,
    /// What was heard, and from whom.
    heard: Vec<(u64, EntityId)>,
}

impl Rig {
    async fn new(durable: bool) -> Self {
        let network = Network::new();
        let durability = |offered: Offered| if durable { offered.transient_local() } else { offered };
        let offered = durability(Offered::reliable().lease(LEASE));
        let weak = session(&network, "weak").await;
        let weak = weak.publisher("t").qos(offered.clone().exclusive(1)).build().await.unwrap();
        let requested = Requested::reliable().exclusive();
        let requested = if durable { requested.transient_local() } else { requested };
        let subscriber = session(&network, "reader").await;
        let subscriber = subscriber.subscriber("t").qos(requested).build().await.unwrap();
        soon("a match", weak.matched(1)).await.unwrap();
        let start = tokio::time::Instant::now();
        Self { network, start, weak, subscriber, offered, numbers: 0, heard: Vec::new() }
    }

    async fn strong(&self) -> Publisher<u64, MemoryTransport> {
        let session = session(&self.network, "strong").await;
        let strong = session.publisher("t").qos(self.offered.clone().exclusive(9)).build().await.unwrap();
        soon("a match", strong.matched(1)).await.unwrap();
        strong
    }

    /// What a clock says that is ahead by so much.
    fn time(&self, ahead: i64) -> Timestamp {
        let since = self.start.elapsed().as_nanos() as i64;
        Timestamp::from_nanos(1_600_000_000_000_000_000 + since + ahead)
    }

    /// Both publish what is next, for so long.
    async fn publish(&mut self, strong: Option<(&Publisher<u64, MemoryTransport>, i64)>, time: Duration) {
        let end = self.start.elapsed() + time;
        while self.start.elapsed() < end {
            if let Some((strong, ahead)) = strong {
                strong.publish_at(&self.numbers, self.time(ahead)).await.unwrap();
            }
            self.weak.publish_at(&self.numbers, self.time(0)).await.unwrap();
            self.numbers += 1;
            tokio::time::sleep(PERIOD).await;
            self.read();
        }
    }

    fn read(&mut self) {
        while let Some(sample) = self.subscriber.try_recv().unwrap() {
            self.heard.push((sample.value().unwrap(), sample.info().writer.unwrap()));
        }
    }

    /// The numbers that did not come, and how many came again.
    fn account(&self) -> (Vec<u64>, u64) {
        let mut times = BTreeMap::<u64, u64>::new();
        self.heard.iter().for_each(|(number, _)| *times.entry(*number).or_default() += 1);
        let missing = (0..self.numbers).filter(|number| !times.contains_key(number)).collect();
        (missing, times.values().map(|times| times - 1).sum())
    }

    fn stats(&self) -> SubscriberStats {
        self.subscriber.stats()
    }

    /// How many samples the events say were skipped.
    fn skipped(&self) -> u64 {
        let events = self.subscriber.events();
        let skipped = |event| if let MatchEvent::Skipped { samples, .. } = event { samples } else { 0 };
        std::iter::from_fn(|| events.try_next()).map(skipped).sum()
    }
}

async fn session(network: &Network, name: &str) -> Session<MemoryTransport> {
    Session::open(MemoryTransport::new(network, name)).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_owner_is_killed_while_clocks_disagree() {
    for ahead in APART {
        let mut rig = Rig::new(true).await;
        let strong = rig.strong().await;
        let strong_id = strong.id();
        rig.publish(Some((&strong, ahead)), Duration::from_secs(8)).await;
        assert!(rig.heard.last().is_some_and(|(_, writer)| *writer == strong_id), "{ahead}");
        rig.network.kill("strong");
        rig.publish(None, Duration::from_secs(8)).await;
        let (missing, twice) = rig.account();
        let stats = rig.stats();
        assert_eq!((missing, stats.lost), (vec![], 0), "{ahead}: {stats:?}");
        assert!(twice <= stats.duplicates + 2 && twice <= FEW, "{ahead}: {twice} twice, {stats:?}");
        assert_eq!(stats.skipped, rig.skipped(), "{ahead}");
        assert!(stats.skipped <= 1 && (ahead != 0 || twice == 0), "{ahead}: {twice} twice, {stats:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stronger_publisher_is_heard_whatever_its_clock_says() {
    for durable in [false, true] {
        for ahead in APART {
            let mut rig = Rig::new(durable).await;
            rig.publish(None, Duration::from_secs(3)).await;
            let strong = rig.strong().await;
            let first = rig.numbers;
            rig.publish(Some((&strong, ahead)), Duration::from_secs(3)).await;
            let (missing, _) = rig.account();
            assert_eq!((missing, rig.stats().lost), (vec![], 0), "{durable} {ahead}");
            // The first one may have crossed with one of the weak one's that has the same time.
            let skipped = rig.stats().skipped;
            assert!(skipped == 0 || (skipped == 1 && durable && ahead == 0), "{durable} {ahead}: {skipped}");
            let of_strong: Vec<_> = rig
                .heard
                .iter()
                .filter(|(_, writer)| *writer == strong.id())
                .map(|(number, _)| *number)
                .collect();
            assert_eq!(of_strong, (first + skipped..rig.numbers).collect::<Vec<_>>(), "{durable} {ahead}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_volatile_publisher_is_heard_from_the_takeover_on() {
    for ahead in APART {
        let mut rig = Rig::new(false).await;
        let strong = rig.strong().await;
        rig.publish(Some((&strong, ahead)), Duration::from_secs(5)).await;
        rig.network.kill("strong");
        let killed = rig.numbers;
        rig.publish(None, Duration::from_secs(5)).await;
        let (missing, twice) = rig.account();
        // What the weak one said while the strong one was believed to live.
        let most = (LEASE.as_millis() / PERIOD.as_millis()) as u64 + FEW;
        assert!(missing.len() as u64 <= most, "{ahead}: {missing:?}");
        assert!(
            missing.iter().all(|number| (killed..killed + most).contains(number)),
            "{ahead}: {missing:?}"
        );
        assert_eq!((twice, rig.stats().skipped, rig.stats().lost), (0, 0, 0), "{ahead}");
    }
}

#[tokio::test(start_paused = true)]
async fn takeovers_back_and_forth_lose_nothing() {
    for ahead in APART {
        let mut rig = Rig::new(true).await;
        for round in 0..4 {
            rig.publish(None, Duration::from_secs(5)).await;
            let strong = rig.strong().await;
            rig.publish(Some((&strong, ahead)), Duration::from_secs(5)).await;
            if round % 2 == 0 {
                drop(strong);
            } else {
                rig.network.kill("strong");
            }
        }
        rig.publish(None, Duration::from_secs(5)).await;
        let (missing, twice) = rig.account();
        let stats = rig.stats();
        assert_eq!((missing, stats.lost), (vec![], 0), "{ahead}: {stats:?}");
        assert!(twice <= 4 * FEW && twice <= stats.duplicates + 8, "{ahead}: {twice} twice, {stats:?}");
        assert_eq!(stats.skipped, rig.skipped(), "{ahead}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_wrong_time_silences_nobody_and_what_it_costs_is_said() {
    const YEARS: i64 = 315_360_000_000_000_000;
    for last in [false, true] {
        let mut rig = Rig::new(true).await;
        let strong = rig.strong().await;
        rig.publish(Some((&strong, 0)), Duration::from_secs(5)).await;
        strong.publish_at(&rig.numbers, rig.time(YEARS)).await.unwrap();
        rig.weak.publish_at(&rig.numbers, rig.time(0)).await.unwrap();
        rig.numbers += 1;
        if !last {
            rig.publish(Some((&strong, 0)), Duration::from_secs(1)).await;
        }
        rig.network.kill("strong");
        rig.publish(None, Duration::from_secs(5)).await;
        let ((missing, _), stats) = (rig.account(), rig.stats());
        assert!(missing.len() as u64 <= stats.skipped, "{last}: {missing:?} {stats:?}");
        assert_eq!((stats.skipped, stats.lost), (rig.skipped(), 0), "{last}");
        if last {
            // The weak one's history up to the takeover, and nothing of what it published as owner.
            let most = (LEASE.as_millis() / PERIOD.as_millis()) as u64 + FEW;
            assert!((1..=most).contains(&stats.skipped), "{stats:?}");
        } else {
            assert!(
                missing.is_empty() && stats.skipped <= 1,
                "the next time was right: {missing:?} {stats:?}"
            );
        }
    }
}

#[cfg(feature = "zmq")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_zeromq_an_hour_between_the_clocks_costs_nothing() {
    const HOUR: i64 = 3_600_000_000_000;
    const EACH: u64 = 50;
    let ahead = |ahead: i64| Timestamp::from_nanos(Timestamp::now().as_nanos() + ahead);
    for hour in [HOUR, -HOUR] {
        let harness = support::Zmq;
        let (a, b) = support::pair(&harness).await;
        let c = support::open(&harness, "strong").await;
        support::connect(&b, &c).await;
        let offered = |strength| Offered::reliable().transient_local().exclusive(strength);
        let requested = Requested::reliable().transient_local().exclusive();
        let mut subscriber = b.subscriber::<u64>("t").qos(requested).build().await.unwrap();
        let weak = a.publisher::<u64>("t").qos(offered(1)).build().await.unwrap();
        soon("a match", weak.matched(1)).await.unwrap();
        let mut published = 0;
        let mut heard = std::collections::BTreeSet::new();
        for _ in 0..2 {
            let strong = c.publisher::<u64>("t").qos(offered(9)).build().await.unwrap();
            soon("a match", strong.matched(1)).await.unwrap();
            let id = strong.id();
            let mut strong = Some(strong);
            for clock in [0, hour, 0] {
                for _ in 0..EACH {
                    let publisher = strong.as_ref().filter(|_| clock != 0).unwrap_or(&weak);
                    publisher.publish_at(&published, ahead(clock)).await.unwrap();
                    published += 1;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                // What it has published as owner arrives, whatever may be heard again besides.
                while (heard.len() as u64) < published {
                    let sample = soon("a sample", subscriber.recv()).await.unwrap().unwrap();
                    heard.insert(sample.value().unwrap());
                }
                if clock != 0 {
                    drop(strong.take());
                    let events = subscriber.events();
                    let gone = |event: &_| matches!(event, MatchEvent::Departed { peer, .. } if *peer == id);
                    while !soon("the departure", events.next()).await.as_ref().is_some_and(gone) {}
                }
            }
        }
        assert_eq!(heard, (0..published).collect(), "{hour}");
        assert_eq!((subscriber.stats().lost, subscriber.stats().skipped), (0, 0), "{hour}");
    }
}
