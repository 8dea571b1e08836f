//! Which message a broker closes the connection over, found out by what connections are lost behind.

use std::time::Duration;

/// So often a connection is lost right behind a message, nothing else under way, before the message is given up.
const STRIKES: u32 = 3;

/// With a suspect among so many times as many messages, the next connection has one part of them under way.
const PART: usize = 8;

/// A connection that was lost before is watched for at least, and at most, this long before the suspect is sent again.
const SHORTEST_WATCH: Duration = Duration::from_millis(50);
const LONGEST_WATCH: Duration = Duration::from_secs(4);

/// What a connection may have been lost over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Suspect {
    /// A message that is kept over connections, by its serial number.
    Message(u64),
    /// One that the session sends anew on each connection, by its topic.
    Own(String),
}

/// How a connection was lost.
#[derive(Debug)]
pub(super) struct Loss {
    /// The broker closed it right behind something that was written, and it had worked before that.
    pub(super) behind: bool,
    /// How many messages were sent and not acknowledged.
    pub(super) in_flight: usize,
    /// Which, if it was one.
    pub(super) alone: Option<Suspect>,
    /// The newest of them that is kept.
    pub(super) newest: u64,
    /// Whether one of the session's own was among them.
    pub(super) own: bool,
    /// How long after the last write it was lost.
    pub(super) after: Duration,
}

/// Narrows down, and counts.
///
/// A message is suspected while connections are lost right behind it, one after the other, and connect again at once. A broker
/// that is away, a connection that is lost while nothing is under way, or by silence, ends every suspicion: the connection
/// was at fault. So does the acknowledgement of all that was under way.
#[derive(Debug)]
pub(super) struct Suspicion {
    /// How many messages may be under way.
    cap: usize,
    /// It lasts until everything up to this serial number is acknowledged.
    until: u64,
    /// And until the session's own messages are.
    own: bool,
    suspect: Option<Suspect>,
    strikes: u32,
    /// The longest time that it took to lose a connection behind the suspect.
    after: Duration,
}

impl Suspicion {
    pub(super) fn none() -> Self {
        Self { cap: usize::MAX, until: 0, own: false, suspect: None, strikes: 0, after: Duration::ZERO }
    }

    /// Whether there is any.
    pub(super) fn stands(&self) -> bool {
        self.cap != usize::MAX
    }

    /// How many messages may be under way.
    pub(super) fn cap(&self) -> usize {
        self.cap
    }

    /// A connection was lost.
    pub(super) fn lost(&mut self, loss: Loss) {
        if !loss.behind || loss.in_flight == 0 {
            *self = Self::none();
            return;
        }
        self.until = self.until.max(loss.newest);
        self.own |= loss.own;
        match loss.alone {
            Some(suspect) if loss.in_flight == 1 => {
                if self.suspect.as_ref() != Some(&suspect) {
                    (self.strikes, self.after) = (0, Duration::ZERO);
                }
                self.suspect = Some(suspect);
                self.strikes += 1;
                self.after = self.after.max(loss.after);
                self.cap = 1;
            }
            _ => {
                self.suspect = None;
                self.strikes = 0;
                self.cap = (self.cap.min(loss.in_flight) / PART).max(1);
            }
        }
    }

    /// An attempt to connect failed: it is the broker that was away.
    pub(super) fn outage(&mut self) {
        *self = Self::none();
    }

    /// Everything older than `oldest` is acknowledged, everything if there is none, and, if `own`, what the session has
    /// sent of its own.
    pub(super) fn acknowledged(&mut self, oldest: Option<u64>, own: bool) {
        if self.stands() && oldest.is_none_or(|oldest| oldest > self.until) && (own || !self.own) {
            *self = Self::none();
        }
    }

    /// What is to be given up. Asked when there is a connection again, so that an outage has been noticed.
    pub(super) fn verdict(&mut self) -> Option<Suspect> {
        if self.strikes < STRIKES {
            return None;
        }
        self.strikes = 0;
        self.suspect.take()
    }

    /// The message that was found is tried in another form: one more loss right behind it is a verdict.
    pub(super) fn expect(&mut self, serial: u64) {
        (self.suspect, self.strikes) = (Some(Suspect::Message(serial)), STRIKES - 1);
    }

    /// For how long a new connection is to stand with nothing under way before the suspect is sent: if it is lost
    /// meanwhile, the suspect is none.
    pub(super) fn watch(&self) -> Option<Duration> {
        (self.strikes > 0).then(|| (self.after * 2).clamp(SHORTEST_WATCH, LONGEST_WATCH))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behind(serials: &[u64]) -> Loss {
        Loss {
            behind: true,
            in_flight: serials.len(),
            alone: (serials.len() == 1).then(|| Suspect::Message(serials[0])),
            newest: serials.last().copied().unwrap_or(0),
            own: false,
            after: Duration::from_millis(1),
        }
    }

    #[test]
    fn three_losses_behind_one_message_are_a_verdict() {
        let mut suspicion = Suspicion::none();
        for strike in 1..=3 {
            assert_eq!(suspicion.verdict(), None);
            suspicion.lost(behind(&[7]));
            assert_eq!(suspicion.cap(), 1);
            assert_eq!(suspicion.strikes, strike);
        }
        assert_eq!(suspicion.verdict(), Some(Suspect::Message(7)));
        assert_eq!(suspicion.verdict(), None);
        suspicion.acknowledged(Some(8), true);
        assert!(!suspicion.stands());
    }

    #[test]
    fn one_more_loss_behind_what_is_expected_is_a_verdict_and_one_behind_another_is_none() {
        let mut suspicion = Suspicion::none();
        suspicion.lost(behind(&[7]));
        suspicion.expect(7);
        assert_eq!(suspicion.verdict(), None);
        suspicion.lost(behind(&[7]));
        assert_eq!(suspicion.verdict(), Some(Suspect::Message(7)));
        suspicion.expect(7);
        suspicion.lost(behind(&[8]));
        assert_eq!(suspicion.verdict(), None);
    }

    #[test]
    fn it_is_narrowed_down_from_a_thousand_within_a_few_losses() {
        let mut suspicion = Suspicion::none();
        let mut window: Vec<u64> = (1..=1024).collect();
        let (poison, mut losses) = (700, 0);
        while suspicion.verdict().is_none() {
            // The broker acknowledges what is before the poison, or nothing of it.
            let under_way = window.len().min(suspicion.cap());
            if let Some(at) = window[..under_way].iter().position(|serial| *serial == poison) {
                suspicion.lost(behind(&window[..under_way]));
                losses += 1;
                assert!(losses < 10, "cap {} with the poison at {at}", suspicion.cap());
            } else {
                window.drain(..under_way);
                suspicion.acknowledged(window.first().copied(), true);
            }
        }
        assert!(losses >= 3);
        assert_eq!(window[0], poison);
    }

    #[test]
    fn an_outage_a_silence_or_a_loss_with_nothing_under_way_ends_it() {
        let ends: [fn(&mut Suspicion); 3] = [
            Suspicion::outage,
            |suspicion| suspicion.lost(Loss { behind: false, ..behind(&[7]) }),
            |suspicion| suspicion.lost(behind(&[])),
        ];
        for end in ends {
            let mut suspicion = Suspicion::none();
            for _ in 0..20 {
                suspicion.lost(behind(&[7]));
                suspicion.lost(behind(&[7]));
                end(&mut suspicion);
                assert!(suspicion.verdict().is_none() && !suspicion.stands());
            }
        }
    }

    #[test]
    fn another_message_begins_anew_and_an_own_one_is_waited_for() {
        let mut suspicion = Suspicion::none();
        suspicion.lost(behind(&[7]));
        suspicion.lost(behind(&[7]));
        suspicion.lost(behind(&[8]));
        assert!(suspicion.verdict().is_none());
        let own = || Loss { alone: Some(Suspect::Own("p".into())), own: true, newest: 0, ..behind(&[1]) };
        suspicion.lost(own());
        suspicion.lost(own());
        suspicion.acknowledged(None, false);
        suspicion.lost(own());
        assert_eq!(suspicion.verdict(), Some(Suspect::Own("p".into())));
    }

    #[test]
    fn a_connection_is_watched_longer_than_it_took_to_lose_the_one_before() {
        let mut suspicion = Suspicion::none();
        assert_eq!(suspicion.watch(), None);
        suspicion.lost(Loss { after: Duration::from_millis(300), ..behind(&[7]) });
        assert_eq!(suspicion.watch(), Some(Duration::from_millis(600)));
        suspicion.lost(behind(&[7]));
        assert_eq!(suspicion.watch(), Some(Duration::from_millis(600)));
        suspicion.lost(behind(&[8, 9]));
        assert_eq!(suspicion.watch(), None);
    }
}
