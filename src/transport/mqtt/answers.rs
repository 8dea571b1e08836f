//! Announcements that are owed to sessions which have just announced themselves.
//!
//! A broker may not bring retained messages to a filter with wildcards (RabbitMQ does not), and there a newcomer hears
//! nobody. So a session that hears another one announce itself, live, answers with its own announcement, to the other's inbox
//! alone. Where the broker has shown that it brings retained messages it does not: the other has them already.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::Rng;
use rumqttc::{Publish, QoS};
use tokio::time::Instant;

use super::connection::{Connection, ConnectionError};
use super::event_loop::EventLoop;
use super::inbox;

/// Answers are spread over this much time, so that a newcomer is not met by all of them at once.
const JITTER: Duration = Duration::from_millis(100);

/// So many sessions are answered at most in each [`PAUSE`]: after a broker's restart, all announce themselves to all.
const AT_ONCE: usize = 64;

/// How long the next ones wait.
const PAUSE: Duration = Duration::from_millis(50);

/// The most sessions that wait for an answer. Those beyond get none.
const MOST: usize = 4096;

/// Who is to be answered, and when.
#[derive(Debug, Default)]
pub(super) struct Answers {
    to: BTreeSet<String>,
    due: Option<Instant>,
    /// The present connection's broker has brought a retained announcement.
    unneeded: bool,
}

impl Answers {
    /// There is a new connection, perhaps to another broker.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// A retained announcement has come: newcomers hear everybody from the broker.
    pub(super) fn are_unneeded(&mut self) {
        *self = Self { unneeded: true, ..Self::default() };
    }

    /// This session has announced itself. `false` if it will not be answered because too many wait.
    pub(super) fn owe(&mut self, name: &str, now: Instant) -> bool {
        if self.unneeded || self.to.contains(name) {
            return true;
        }
        if self.to.len() >= MOST {
            return false;
        }
        self.to.insert(name.to_owned());
        self.due.get_or_insert_with(|| now + rand::rng().random_range(Duration::ZERO..JITTER));
        true
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Those whose turn it is.
    fn take(&mut self, now: Instant) -> Vec<String> {
        let turn = std::iter::from_fn(|| self.to.pop_first()).take(AT_ONCE).collect();
        self.due = (!self.to.is_empty()).then_some(now + PAUSE);
        turn
    }
}

impl EventLoop {
    /// Answers those whose turn it is. Not acknowledged: the connection's end is another reason to announce oneself.
    pub(super) fn answer(&mut self, link: &mut Connection) -> Result<(), ConnectionError> {
        let answer = inbox::announcement(&self.settings.hello.client_id, &self.settings.nonce);
        for name in self.answers.take(Instant::now()) {
            let to = inbox::topic(&self.settings.level, &name);
            link.publish(&Publish::from_bytes(to, QoS::AtMostOnce, answer.clone()), None)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_owed_one_answer_soon_and_not_all_at_once() {
        let (mut answers, now) = (Answers::default(), Instant::now());
        assert_eq!(answers.due(), None);
        for n in 0..AT_ONCE + 1 {
            assert!(answers.owe(&format!("{n:03}"), now) && answers.owe("000", now));
        }
        assert!(answers.due().is_some_and(|due| (now..now + JITTER).contains(&due)));
        assert_eq!(answers.take(now).len(), AT_ONCE);
        assert_eq!(answers.due(), Some(now + PAUSE));
        assert_eq!(answers.take(now).len(), 1);
        assert_eq!((answers.due(), answers.take(now).len()), (None, 0));
    }

    #[test]
    fn the_waiting_are_bounded_and_a_broker_that_keeps_announcements_needs_no_answers() {
        let (mut answers, now) = (Answers::default(), Instant::now());
        assert!((0..MOST).all(|n| answers.owe(&n.to_string(), now)));
        assert!(!answers.owe("late", now));
        answers.are_unneeded();
        assert!(answers.owe("another", now));
        assert_eq!((answers.due(), answers.take(now).len()), (None, 0));
        answers.clear();
        assert!(answers.owe("another", now) && answers.due().is_some());
    }
}
