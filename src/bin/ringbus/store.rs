//! How `put`, `get` and `load` reach the key-value store of a successor ring.

use std::time::Duration;

use anyhow::{Result, anyhow};
use ringbus::dht::{Key, Successor};
use ringbus::transport::BoxTransport;
use ringbus::{Dht, ErrorKind};

use crate::connect::{AnySession, Endpoint, Options};
use crate::duration;
use crate::failure::Usage;

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
    /// Where answers come from; for error messages.
    whereabouts: String,
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
        let session = self.options.open(Endpoint { towards: seeds.first(), ..Endpoint::default() }).await?;
        let dht = session.successor_dht(seeds).timeout(self.timeout);
        let whereabouts = kind.whereabouts(&self.options, &self.node);
        Ok(Store { session, dht, timeout: self.timeout, whereabouts })
    }
}

impl Store {
    /// Stores a value. Returns the node that has it.
    pub(crate) async fn put(&self, key: Key, value: &str) -> Result<Key> {
        self.dht.put(key, value).await.map_err(|error| self.in_words(error))
    }

    /// Fetches a value; `None` if there is none.
    pub(crate) async fn get(&self, key: Key) -> Result<Option<String>> {
        self.dht.get(key).await.map_err(|error| self.in_words(error))
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
