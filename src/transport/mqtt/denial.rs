//! Credentials that the broker refuses: what the sending halves know of it, and what is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rumqttc::ConnectReturnCode;
use tokio::sync::watch;

use super::event_loop::EventLoop;
use crate::error::{Error, ErrorKind, Result};
use crate::transport::Event;

/// Whether the broker refuses the session now, and why. Shared by the connection's task and the sending halves.
#[derive(Debug, Clone)]
pub(super) struct Denial(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// What a send looks at: one load.
    stands: AtomicBool,
    why: watch::Sender<Option<ErrorKind>>,
}

impl Denial {
    pub(super) fn new() -> Self {
        Self(Arc::new(Shared { stands: AtomicBool::new(false), why: watch::channel(None).0 }))
    }

    /// Why nothing can be sent for now.
    pub(super) fn why(&self) -> Option<Error> {
        if !self.0.stands.load(Ordering::Acquire) {
            return None;
        }
        self.0.why.borrow().clone().map(Error::from)
    }

    /// Fails while the broker refuses the session.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`].
    pub(super) fn check(&self) -> Result<()> {
        self.why().map_or(Ok(()), Err)
    }

    /// Waits until the broker refuses the session. Cancel-safe.
    pub(super) async fn denied(&self) -> Error {
        let mut why = self.0.why.subscribe();
        // This holds the sender: the channel stays open.
        let seen = why.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
        match seen {
            Some(why) => why.into(),
            None => std::future::pending().await,
        }
    }

    /// The broker refuses the session. `true` if that is news: it did not, or gave another reason.
    pub(super) fn begin(&self, why: ErrorKind) -> bool {
        let news = self.0.why.send_if_modified(|known| known.replace(why.clone()).as_ref() != Some(&why));
        self.0.stands.store(true, Ordering::Release);
        news
    }

    /// The broker has taken the session.
    pub(super) fn end(&self) {
        self.0.stands.store(false, Ordering::Release);
        self.0.why.send_if_modified(|known| known.take().is_some());
    }
}

impl EventLoop {
    /// An attempt to connect was answered by a CONNACK that refuses the credentials. It is told once for each reason, and
    /// tried again all the same: what was revoked may be granted again.
    pub(super) fn note_refusal(&mut self, code: ConnectReturnCode) {
        let Some(reason) = denial(code, &self.settings.hello.client_id) else { return };
        let broker = self.settings.broker.to_string();
        let why = ErrorKind::Denied { broker: broker.clone(), reason: reason.clone() };
        if self.denial.begin(why) {
            tracing::warn!(%broker, %reason, "the broker refuses the session: nothing is sent until it takes it again");
            self.staged.push_back(Event::Denied { broker, reason });
        }
    }
}

/// The reason in words, of a code that is about credentials. What was given is never repeated.
pub(super) fn denial(code: ConnectReturnCode, client_id: &str) -> Option<String> {
    match code {
        ConnectReturnCode::BadUserNamePassword => {
            Some("bad user name or password (CONNACK 4): give credentials that it takes".to_owned())
        }
        ConnectReturnCode::NotAuthorized => Some(format!(
            "not authorized (CONNACK 5): give a user and a password that it takes, and check whether it allows the client \
             id {client_id:?}"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn because(reason: &str) -> ErrorKind {
        ErrorKind::Denied { broker: "mqtt://h:1".into(), reason: reason.into() }
    }

    #[tokio::test]
    async fn each_reason_is_news_once_and_waiters_are_told() {
        let denial = Denial::new();
        assert!(denial.check().is_ok());
        let waits = tokio::spawn({
            let denial = denial.clone();
            async move { denial.denied().await }
        });
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        assert!(denial.begin(because("a")));
        assert!(!denial.begin(because("a")));
        assert_eq!(waits.await.unwrap().kind(), &because("a"));
        assert_eq!(denial.denied().await.kind(), &because("a"), "who comes later is told, too");
        assert!(denial.begin(because("b")));
        assert_eq!(denial.check().unwrap_err().kind(), &because("b"));
        denial.end();
        assert!(denial.check().is_ok() && denial.why().is_none());
        assert!(denial.begin(because("b")), "a second time is news again");
    }
}
