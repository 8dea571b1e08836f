//! The library: a ring of one node that holds offers, and a client's lookups of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::future::try_join_all;
use futures::stream::{self, StreamExt, TryStreamExt};
use ringbus::dht::message::{Message, Reply, ReplyBody, Request, RequestBody};
use ringbus::transport::{Locator, ZmqTransport};
use ringbus::wire::{Room, encode_control};
use ringbus::{Dht, DhtNode, Session, TopicFilter};
use tokio::runtime::Runtime;

/// So many topics have a publisher each.
const TOPICS: usize = 64;
/// What ZeroMQ's frame holds beside the library's.
const KIND: usize = 1;

fn topic(number: usize) -> String {
    format!("weather/{:05}/celsius", number % TOPICS)
}

/// Runs a ring of one node and the publishers that it holds, and prints the node's address.
pub(crate) fn serve() -> Result<()> {
    let runtime = Runtime::new()?;
    let running = runtime.block_on(async {
        let node = DhtNode::builder(Session::open(ZmqTransport::ephemeral()).await?).start().await?;
        let session = Session::open(ZmqTransport::ephemeral()).await?;
        let dht = session.dht([node.session().local().clone()]);
        let publishers = (0..TOPICS).map(|number| session.publisher::<f64>(&topic(number)).dht(&dht).build());
        let publishers = try_join_all(publishers).await?;
        anyhow::Ok((node, publishers, dht))
    })?;
    println!("{}", running.0.session().local());
    super::until_input_ends();
    drop(running);
    Ok(())
}

pub(crate) struct Client {
    runtime: Runtime,
    dht: Dht<ZmqTransport>,
    filters: Arc<[TopicFilter]>,
}

impl Client {
    pub(crate) fn open(node: &str) -> Result<Self> {
        let runtime = Runtime::new()?;
        let node = Locator::new(node)?;
        let dht = runtime
            .block_on(async { anyhow::Ok(Session::open(ZmqTransport::ephemeral()).await?.dht([node])) })?;
        let filters = (0..TOPICS).map(|number| TopicFilter::new(topic(number))).collect::<Result<_, _>>()?;
        Ok(Self { runtime, dht, filters })
    }

    /// The bytes of a request and of its answer, as ZeroMQ's frames hold them.
    pub(crate) fn sizes(&self) -> Result<(usize, usize)> {
        let filter = self.filters.first().context("no topics")?.clone();
        let offers = self.runtime.block_on(self.dht.lookup(&filter, None))?;
        anyhow::ensure!(offers.found.len() == 1, "{} offers, not one", offers.found.len());
        // As large as the numbers of a client's first million requests are.
        let id = 100_000;
        let request = Message::Request(Request { id, body: RequestBody::Lookup { filter, requested: None } });
        let answer = Message::Reply(Reply { id, part: 0, parts: 1, body: ReplyBody::Offers(offers) });
        let size = |room, message: &Message| encode_control(room, message).map(|frame| frame.len() + KIND);
        Ok((size(Room::DhtNode, &request)?, size(Room::DhtClient, &answer)?))
    }

    /// One request after the other; how long each took.
    pub(crate) fn lone(&self, count: usize) -> Result<Vec<Duration>> {
        let (dht, filters) = (self.dht.clone(), self.filters.clone());
        let asking = self.runtime.spawn(async move {
            let mut times = Vec::with_capacity(count);
            for filter in filters.iter().cycle().take(count) {
                let started = Instant::now();
                ask(&dht, filter).await?;
                times.push(started.elapsed());
            }
            Ok(times)
        });
        self.runtime.block_on(asking)?
    }

    /// One task with so many requests under way at a time; answers a second.
    pub(crate) fn busy(&self, in_flight: usize, duration: Duration) -> Result<f64> {
        let (dht, filters) = (self.dht.clone(), self.filters.clone());
        let asking = self.runtime.spawn(async move {
            let over = AtomicBool::new(false);
            let asked = (0..)
                .take_while(|_| !over.load(Ordering::Relaxed))
                .map(|number: usize| ask(&dht, &filters[number % filters.len()]));
            let mut answered = stream::iter(asked).buffer_unordered(in_flight);
            let (mut answers, mut rate, started) = (0_u64, 0.0, Instant::now());
            while let Some(()) = answered.try_next().await? {
                answers += 1;
                let elapsed = started.elapsed();
                if rate == 0.0 && elapsed >= duration {
                    rate = answers as f64 / elapsed.as_secs_f64();
                    over.store(true, Ordering::Relaxed);
                }
            }
            Ok(rate)
        });
        self.runtime.block_on(asking)?
    }

    /// So many tasks that each have one request under way; answers a second.
    pub(crate) fn busy_tasks(&self, in_flight: usize, duration: Duration) -> Result<f64> {
        let (answers, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let started = Instant::now();
        let tasks: Vec<_> = (0..in_flight)
            .map(|first| {
                let (dht, filters) = (self.dht.clone(), self.filters.clone());
                let (answers, over) = (answers.clone(), over.clone());
                self.runtime.spawn(async move {
                    for filter in filters.iter().cycle().skip(first) {
                        if over.load(Ordering::Relaxed) {
                            break;
                        }
                        ask(&dht, filter).await?;
                        answers.fetch_add(1, Ordering::Relaxed);
                    }
                    anyhow::Ok(())
                })
            })
            .collect();
        std::thread::sleep(duration);
        let rate = answers.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64();
        over.store(true, Ordering::Relaxed);
        self.runtime.block_on(try_join_all(tasks))?.into_iter().collect::<Result<()>>()?;
        Ok(rate)
    }
}

async fn ask(dht: &Dht<ZmqTransport>, filter: &TopicFilter) -> Result<()> {
    let offers = dht.lookup(filter, None).await?;
    anyhow::ensure!(offers.found.len() == 1, "{} offers of {filter:?}, not one", offers.found.len());
    Ok(())
}
