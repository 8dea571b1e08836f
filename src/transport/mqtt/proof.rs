//! The proof, while a session opens, that its inbox works: it sends itself a fence and waits for it.
//!
//! A broker may confirm the subscription and then deliver nothing under the name, or deliver it under another one. Such a
//! session would look well, and be deaf to whatever is meant for it alone.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::connection::{Connection, ConnectionError};
use super::event_loop::EventLoop;
use crate::error::{Error, ErrorKind, Result};

/// A fence that is not back after so long is sent again: in a cluster, a subscription may work a little later than it is
/// confirmed.
const AGAIN: Duration = Duration::from_millis(250);

/// So many connections lost behind a fence say what they are lost over.
const LOST: u32 = 2;

/// The wait of `open`.
#[derive(Debug)]
pub(super) struct Proof {
    ready: oneshot::Sender<Result<()>>,
    /// When the inbox is given up, which leaves `open` the time to say so.
    until: Instant,
    /// When the next fence is sent; `None` while the connection has no subscriptions.
    next: Option<Instant>,
    lost: u32,
}

impl Proof {
    /// Of a session that is to be open before `deadline`.
    pub(super) fn new(ready: oneshot::Sender<Result<()>>, deadline: Instant) -> Self {
        let left = deadline.saturating_duration_since(Instant::now());
        Self { ready, until: deadline - left / 8, next: None, lost: 0 }
    }

    /// When there is something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        self.next.map(|next| next.min(self.until))
    }

    /// Ends it. Nobody waits only if `open` was cancelled; then the halves are gone, too.
    fn end(self, outcome: Result<()>) {
        self.ready.send(outcome).ok();
    }
}

impl EventLoop {
    /// The first subscriptions are confirmed, or refused.
    pub(super) fn begin_proof(
        &mut self,
        own: Result<()>,
        link: &mut Connection,
    ) -> Result<(), ConnectionError> {
        match own {
            Ok(()) => self.prove(link),
            Err(error) => {
                self.fail_proof(error);
                Ok(())
            }
        }
    }

    /// Sends a fence, or gives up.
    pub(super) fn prove(&mut self, link: &mut Connection) -> Result<(), ConnectionError> {
        let Some(proof) = &mut self.proof else { return Ok(()) };
        let now = Instant::now();
        if now >= proof.until {
            self.fail_proof(inbox_fails(
                &self.settings.inbox_topic,
                "does not come back",
                "the broker may lose topics that begin with '@' (NATS does in a cluster): choose another first level with \
                 MqttTransport::reserved_level, or be overloaded",
            ));
            return Ok(());
        }
        proof.next = Some(now + AGAIN);
        self.subscribing.send_fence(link, &mut self.window)
    }

    /// A fence of this session has come, under this topic.
    pub(super) fn note_fence(&mut self, topic: &str) {
        if topic == self.settings.inbox_topic {
            if let Some(proof) = self.proof.take() {
                proof.end(Ok(()));
            }
            return;
        }
        if self.proof.is_some() {
            let comes = format!("comes back as {topic:?}");
            let advice = "choose a name of letters, digits, '-' and '_'";
            self.fail_proof(inbox_fails(&self.settings.inbox_topic, &comes, advice));
        }
    }

    /// The connection was lost amid the proof.
    pub(super) fn note_lost_proof(&mut self, error: &ConnectionError) {
        let Some(proof) = &mut self.proof else { return };
        // Without a fence under way the inbox is not what it was lost over.
        proof.lost += u32::from(proof.next.take().is_some());
        if proof.lost >= LOST {
            let ends = format!("ends the connection ({error})");
            let advice = "choose a name of letters, digits, '-' and '_'";
            self.fail_proof(inbox_fails(&self.settings.inbox_topic, &ends, advice));
        }
    }

    /// Has `open` fail, if it has not returned.
    pub(super) fn fail_proof(&mut self, error: Error) {
        if let Some(proof) = self.proof.take() {
            proof.end(Err(error));
        }
    }
}

fn inbox_fails(inbox: &str, how: &str, advice: &str) -> Error {
    ErrorKind::Transport {
        transport: "mqtt",
        operation: "connect",
        reason: format!("what the session sends to its own inbox {inbox:?} {how}: {advice}"),
    }
    .into()
}
