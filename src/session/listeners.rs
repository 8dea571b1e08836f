//! Services beside the rooms: they hear the session's topics, however many of them there are.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::{Service, SessionCore};
use crate::error::Result;
use crate::topic::TopicFilter;
use crate::transport::TransportTx;

/// Who listens now. Copied when it changes, so that nobody is called under its lock.
#[derive(Default)]
pub(super) struct Listeners {
    /// Whether there is anybody: all that a message costs in a session without listeners.
    any: AtomicBool,
    list: RwLock<List>,
}

#[derive(Default)]
struct List {
    last_id: u64,
    present: Present,
}

type Present = Arc<[(u64, Arc<dyn Service>)]>;

impl Listeners {
    pub(super) fn add(&self, service: Arc<dyn Service>) -> u64 {
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        list.last_id += 1;
        let id = list.last_id;
        list.present = list.present.iter().cloned().chain([(id, service)]).collect();
        self.any.store(true, Ordering::Release);
        id
    }

    pub(super) fn remove(&self, id: u64) {
        self.replace(|present| present.iter().filter(|(other, _)| *other != id).cloned().collect());
    }

    pub(super) fn clear(&self) {
        self.replace(|_| Arc::default());
    }

    /// Everybody.
    pub(super) fn all(&self) -> Present {
        self.list.read().unwrap_or_else(PoisonError::into_inner).present.clone()
    }

    /// Everybody, at next to no cost if there is nobody. One who has just come may be missed.
    pub(super) fn any(&self) -> Option<Present> {
        self.any.load(Ordering::Acquire).then(|| self.all())
    }

    fn replace(&self, with: impl FnOnce(&Present) -> Present) {
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        let new = with(&list.present);
        self.any.store(!new.is_empty(), Ordering::Release);
        let old = std::mem::replace(&mut list.present, new);
        // The last reference to a service may be here, and its end may come back to this lock.
        drop(list);
        drop(old);
    }
}

/// A service's subscriptions, and its ear. Both end when this is dropped, the subscriptions in the background.
///
/// The service must not own it: the session's core owns the service.
pub(crate) struct Listening<Tx: TransportTx> {
    session: Arc<SessionCore<Tx>>,
    filters: Vec<TopicFilter>,
    listener: Option<u64>,
}

impl<Tx: TransportTx> Listening<Tx> {
    /// Nobody hears anything yet.
    pub(crate) fn new(session: &Arc<SessionCore<Tx>>) -> Self {
        Self { session: session.clone(), filters: Vec::new(), listener: None }
    }

    /// Subscribes. Cancel-safe.
    ///
    /// # Errors
    /// The transport's refusal. The subscriptions are as they were.
    pub(crate) async fn subscribe(&mut self, filter: TopicFilter) -> Result<()> {
        self.session.subscribe(&filter).await?;
        self.filters.push(filter);
        Ok(())
    }

    /// From now on the service hears all of the session's topics, those of others included, and its events, and its
    /// timers run. Once only.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed).
    pub(crate) fn serve(&mut self, service: Arc<dyn Service>) -> Result<()> {
        let id = self.session.listen(service)?;
        self.listener = Some(id);
        Ok(())
    }
}

impl<Tx: TransportTx> Drop for Listening<Tx> {
    fn drop(&mut self) {
        if let Some(id) = self.listener {
            self.session.unlisten(id);
        }
        let (session, filters) = (Arc::downgrade(&self.session), std::mem::take(&mut self.filters));
        // Where no runtime is left there is no session to tidy either.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                for filter in filters {
                    // A session that is being dropped must not wait for this.
                    let Some(session) = session.upgrade() else { return };
                    if session.check_open().is_err() {
                        return;
                    }
                    if let Err(error) = session.unsubscribe(&filter).await {
                        tracing::debug!(%filter, %error, "could not unsubscribe");
                    }
                }
            });
        }
    }
}

impl<Tx: TransportTx> fmt::Debug for Listening<Tx> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listening").field("filters", &self.filters).finish_non_exhaustive()
    }
}
