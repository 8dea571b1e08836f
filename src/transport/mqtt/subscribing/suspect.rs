//! A subscription over which the broker closes the connection: it is tried alone, and given up.

use tokio::sync::oneshot;

use super::{Connection, ConnectionError, Current, Stage, Subscribing, Window};
use crate::error::{Error, ErrorKind, Result};
use crate::topic::TopicFilter;

/// So often a connection is lost right behind a subscription before it is given up.
const STRIKES: u8 = 3;

/// A subscription that the broker may close the connection over.
#[derive(Debug)]
pub(super) struct Suspect {
    filter: TopicFilter,
    mark: Option<u64>,
    reply: oneshot::Sender<Result<()>>,
    /// How many connections were lost right behind it.
    strikes: u8,
}

impl Subscribing {
    /// Whether a subscription is to be tried, or under way, alone.
    pub(in crate::transport::mqtt) fn has_suspect(&self) -> bool {
        let under_way =
            |current: &Current| current.strikes > 0 && matches!(current.stage, Stage::Subscribe(..));
        self.suspect.is_some() || self.current.as_ref().is_some_and(under_way)
    }

    /// A connection was lost; if `behind`, right behind what was written last. Whether a subscription was: it is not
    /// among those that the next connection begins with, and given up after the third time, or when nobody waits for it.
    pub(in crate::transport::mqtt) fn lost(&mut self, behind: bool) -> bool {
        let is_subscription =
            |current: &mut Current| current.fresh && matches!(current.stage, Stage::Subscribe(..));
        let Some(current) = self.current.take_if(|current| behind && is_subscription(current)) else {
            return false;
        };
        self.transition.end();
        let Current { filter, at_broker, wanted, mark, reply, strikes, .. } = current;
        if wanted {
            self.set(&filter, false);
            self.unplan(&at_broker);
        }
        let (Some(reply), true) = (reply.filter(|reply| !reply.is_closed()), wanted) else { return true };
        let strikes = strikes + 1;
        if strikes < STRIKES {
            self.suspect = Some(Suspect { filter, mark, reply, strikes });
        } else {
            // Whoever has given up does not need the answer.
            reply.send(Err(closes(&filter))).ok();
        }
        true
    }

    /// The broker was away: what was lost with it was not lost over a subscription.
    pub(in crate::transport::mqtt) fn outage(&mut self) {
        if let Some(suspect) = &mut self.suspect {
            suspect.strikes = 0;
        }
        self.restore_all();
    }

    /// Tries the subscription again that a connection was lost behind, if nothing stands against it.
    pub(in crate::transport::mqtt) fn try_again(
        &mut self,
        link: &mut Connection,
        window: &mut Window,
    ) -> Result<(), ConnectionError> {
        if self.current.is_some() || !self.is_restored() {
            return Ok(());
        }
        let Some(Suspect { filter, mark, reply, strikes }) = self.suspect.take() else { return Ok(()) };
        if reply.is_closed() {
            return Ok(());
        }
        self.start(filter, true, mark, Some(reply), link, window)?;
        if let Some(current) = &mut self.current {
            current.strikes = strikes;
        }
        Ok(())
    }
}

/// What a broker says by that.
pub(super) const CLOSES: &str = "it closes the connection over such a filter";

pub(super) fn closes(filter: &TopicFilter) -> Error {
    let reason = format!("the broker closes the connection over {filter}: it does not take such a filter");
    ErrorKind::Transport { transport: "mqtt", operation: "subscribe", reason }.into()
}
