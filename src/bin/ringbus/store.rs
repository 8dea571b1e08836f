//! How `put`, `get` and `load` reach the key-value store of a successor ring.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, anyhow};
use ringbus::dht::{Key, Successor};
use ringbus::transport::BoxTransport;
use ringbus::{Dht, ErrorKind};
use tokio::time::Instant;

use crate::connect::{AnySession, Endpoint, Options};
use crate::duration;
use crate::events;
use crate::failure::Usage;

/// When to say that no answer has come.
const HINT: Duration = Duration::from_secs(1);

/// What the help of each of the three says about keys.
pub(crate) const KEYS: &str = "\
Keys: a decimal number from 0 to 4294967295 is the key itself, any other text is placed by its MD5.";

/// Where the store is, and how long to wait for it.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Access {
    /// zmq: any node of the successor ring, needed there; further ones in case it is down
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    node: Vec<String>,

    /// How long to wait for each answer; meanwhile the question is repeated
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::parse)]
    timeout: Duration,

    #[command(flatten)]
    options: Options,
}

/// A session, and the store.
#[derive(Debug)]
pub(crate) struct Store {
    session: AnySession,
    dht: Dht<BoxTransport, Successor>,
    timeout: Duration,
    /// Where answers come from; for messages.
    whereabouts: String,
    /// Whether it was said that none comes.
    hinted: AtomicBool,
}

impl Access {
    /// Opens a session. Whether there is a ring shows when it is asked.
    ///
    /// # Errors
    /// [`Usage`] without a node where there is no broker; the transport's.
    pub(crate) async fn open(&self) -> Result<Store> {
        let kind = self.options.kind()?;
        let seeds = kind.successor_seeds("--node", &self.node)?;
        if seeds.is_empty() && !kind.is_brokered() {
            let message = "no node is named: give --node HOST:PORT of one that was started with 'ringbus node \
                           --protocol successor', or --transport mqtt for a ring at a broker";
            return Err(Usage::new(message).into());
        }
        let (begun, patience) = (Instant::now(), Some(self.timeout));
        let endpoint = Endpoint { towards: &seeds, patience, ..Endpoint::default() };
        let session = self.options.open(endpoint).await?;
        // No one is named to it whose absence is not noticed by asking.
        self.options.follow(&session, &[], false)?;
        // Opening and the first answer together take no longer than one answer may.
        let left = self.timeout.saturating_sub(begun.elapsed()).max(self.timeout / 2);
        let dht = session.successor_dht(seeds).timeout(left);
        let whereabouts = kind.whereabouts(&self.options, &self.node);
        Ok(Store { session, dht, timeout: self.timeout, whereabouts, hinted: AtomicBool::new(false) })
    }
}

impl Store {
    /// Stores a value. Returns the node that has it.
    pub(crate) async fn put(&self, key: Key, value: &str) -> Result<Key> {
        self.answer(self.dht.put(key, value)).await
    }

    /// Fetches a value; `None` if there is none.
    pub(crate) async fn get(&self, key: Key) -> Result<Option<String>> {
        self.answer(self.dht.get(key)).await
    }

    async fn answer<V>(&self, asked: impl Future<Output = ringbus::Result<V>>) -> Result<V> {
        tokio::pin!(asked);
        let answer = match tokio::time::timeout(HINT, &mut asked).await {
            Ok(answer) => answer,
            Err(_) => {
                // One that has answered before is slow, and will be said to be so if it is too slow.
                if self.dht.progress().answered == 0 && !self.hinted.swap(true, Ordering::Relaxed) {
                    events::say(&format!("no answer from {} yet", self.whereabouts));
                }
                asked.await
            }
        };
        answer.map_err(|error| self.in_words(error))
    }

    /// Ends the session: every answer that counts is here.
    pub(crate) async fn close(self) {
        drop(self.session.close(Duration::ZERO).await);
    }

    fn in_words(&self, error: ringbus::Error) -> anyhow::Error {
        let (progress, at, after) = (self.dht.progress(), &self.whereabouts, self.timeout);
        match error.kind() {
            ErrorKind::Timeout { .. } if progress.answered > 0 => anyhow!(
                "no answer from {at} within {after:?}: {} requests are unanswered, {} were answered: the ring, or its \
                 broker, may be slow: wait longer with --timeout, or ask for less at a time",
                progress.unanswered,
                progress.answered
            ),
            ErrorKind::Timeout { .. } => anyhow!(
                "no answer from {at} within {after:?}: is a node running there, started with 'ringbus node --protocol \
                 successor'?"
            ),
            _ => error.into(),
        }
    }
}
