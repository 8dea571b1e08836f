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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::session::{Session, lock};
    use crate::time::Mono;
    use crate::topic::Topic;
    use crate::transport::memory::Network;
    use crate::transport::{MemoryTransport, Outbound};

    #[derive(Default)]
    struct Ear {
        heard: Mutex<Vec<String>>,
        closed: AtomicBool,
    }

    impl Service for Ear {
        fn on_topic(&self, _now: Mono, topic: &Topic, payload: &Bytes) {
            lock(&self.heard).push(format!("{topic} {}", String::from_utf8_lossy(payload)));
        }

        fn on_timeout(&self, _now: Mono) -> Option<Mono> {
            None
        }

        fn on_close(&self, _now: Mono) {
            self.closed.store(true, Ordering::Release);
        }
    }

    async fn listening(
        session: &Session<MemoryTransport>,
        filter: &str,
    ) -> (Arc<Ear>, Listening<impl TransportTx>) {
        let (ear, mut listening) = (Arc::new(Ear::default()), Listening::new(session.core()));
        listening.subscribe(TopicFilter::new(filter).unwrap()).await.unwrap();
        listening.serve(ear.clone()).unwrap();
        (ear, listening)
    }

    async fn until(what: impl AsyncFn() -> bool) {
        let waited = async {
            while !what().await {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), waited).await.expect("it happens");
    }

    #[tokio::test]
    async fn listeners_share_subscriptions_and_the_last_takes_them_back() {
        let session = Session::open(MemoryTransport::new(&Network::new(), "a")).await.unwrap();
        let say = |text: &'static str| session.core().post(Outbound::topic(Topic::new("t").unwrap(), text));
        let heard = |ear: &Ear| lock(&ear.heard).clone();
        let (first, one) = listening(&session, "t").await;
        let (second, other) = listening(&session, "t").await;
        say("both");
        until(async || !heard(&first).is_empty() && !heard(&second).is_empty()).await;
        drop(one);
        say("one");
        until(async || heard(&second).len() == 2).await;
        assert_eq!(
            (heard(&first), heard(&second)),
            (vec!["t both".into()], vec!["t both".into(), "t one".into()])
        );
        drop(other);
        until(async || session.core().subscriptions.lock().await.is_empty()).await;
        assert_eq!((Arc::strong_count(&first), Arc::strong_count(&second)), (1, 1));
        assert!(session.core().listeners.any().is_none());
    }

    #[tokio::test]
    async fn a_closed_session_tells_its_listeners_and_takes_no_more() {
        let session = Session::open(MemoryTransport::new(&Network::new(), "a")).await.unwrap();
        let (ear, _listening) = listening(&session, "t").await;
        session.close(Duration::from_secs(1)).await.unwrap();
        assert!(ear.closed.load(Ordering::Acquire));
        let late = Listening::new(session.core()).serve(Arc::new(Ear::default())).unwrap_err();
        assert!(matches!(late.kind(), crate::ErrorKind::Closed { .. }), "{late}");
        // The driver lets go of them.
        until(async || Arc::strong_count(&ear) == 1).await;
    }
}
