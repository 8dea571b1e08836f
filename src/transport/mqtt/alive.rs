//! Whether the broker is alive, and how far it has read: whole packets count, and answered pings.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// The bytes of an unfinished packet count for as long as they would take at this rate, in bytes a second. So a large
/// packet may take its time, and a stated length that swallows all that follows does not.
const SLOWEST: u32 = 128 * 1024;

/// A message that the broker has read is waited for no longer than this for its acknowledgement.
pub(super) const ANSWER_PATIENCE: Duration = Duration::from_secs(15);

/// Of one connection.
#[derive(Debug)]
pub(super) struct Alive {
    /// When the last packet was complete.
    heard: Instant,
    /// A packet was completed since the last look.
    complete: bool,
    /// An answer to a ping was among them.
    pongs: u32,
    /// How many bytes have come since the last packet was complete.
    partial: usize,
    /// The numbers of the pings that are not answered, in order.
    pings: VecDeque<u64>,
    /// The pings that were answered within [`ANSWER_PATIENCE`], and when; the first one may be older than that.
    answered: VecDeque<(u64, Instant)>,
    /// The newest ping that was answered.
    read: u64,
}

impl Alive {
    /// A connection that was made now.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            heard: now,
            complete: false,
            pongs: 0,
            partial: 0,
            pings: VecDeque::new(),
            answered: VecDeque::new(),
            read: 0,
        }
    }

    /// A packet is complete.
    pub(super) fn packet(&mut self) {
        self.complete = true;
    }

    /// It is the answer to a ping.
    pub(super) fn pong(&mut self) {
        self.pongs += 1;
    }

    /// So many bytes have come.
    pub(super) fn bytes(&mut self, count: usize) {
        self.partial += count;
    }

    /// Nothing is read at present, so that nothing can be heard.
    pub(super) fn not_read(&mut self, now: Instant) {
        self.heard = now;
    }

    /// All packets that have come were taken.
    pub(super) fn look(&mut self, now: impl FnOnce() -> Instant) {
        if !std::mem::take(&mut self.complete) {
            return;
        }
        (self.heard, self.partial) = (now(), 0);
        for _ in 0..std::mem::take(&mut self.pongs) {
            // One that answers none is ignored.
            let Some(ping) = self.pings.pop_front() else { break };
            self.read = ping;
            self.answered.push_back((ping, self.heard));
        }
    }

    /// Whether it has been silent for longer than `most`.
    pub(super) fn is_silent(&self, now: Instant, most: Duration) -> bool {
        let partial = Duration::from_secs(self.partial as u64) / SLOWEST;
        now.saturating_duration_since(self.heard) > most + partial
    }

    /// A ping goes out.
    pub(super) fn ping(&mut self, number: u64) {
        self.pings.push_back(number);
    }

    /// The newest ping that was answered, or 0: the broker has read what was sent before it.
    pub(super) fn read(&self) -> u64 {
        self.read
    }

    /// The newest ping whose answer came longer ago than [`ANSWER_PATIENCE`]: what was sent before it was read by then.
    pub(super) fn read_long_ago(&mut self, now: Instant) -> Option<u64> {
        let is_old = |at: &Instant| now.saturating_duration_since(*at) > ANSWER_PATIENCE;
        while self.answered.get(1).is_some_and(|(_, at)| is_old(at)) {
            self.answered.pop_front();
        }
        self.answered.front().filter(|(_, at)| is_old(at)).map(|(ping, _)| *ping)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_secs(3);

    fn after(now: Instant, millis: u64) -> Instant {
        now + Duration::from_millis(millis)
    }

    #[test]
    fn bytes_of_an_unfinished_packet_are_no_life_and_a_whole_packet_is() {
        let start = Instant::now();
        let mut alive = Alive::new(start);
        for step in 0..40 {
            alive.bytes(100);
            alive.look(|| after(start, step * 100));
        }
        assert!(alive.is_silent(after(start, 4000), MOST));
        alive.packet();
        alive.look(|| after(start, 4000));
        assert!(!alive.is_silent(after(start, 6999), MOST));
        assert!(alive.is_silent(after(start, 7001), MOST));
        alive.not_read(after(start, 8000));
        assert!(!alive.is_silent(after(start, 8001), MOST));
    }

    #[test]
    fn a_large_packet_may_take_its_time_as_long_as_it_comes_along() {
        let start = Instant::now();
        let mut alive = Alive::new(start);
        // A packet of 16 MiB over a link of 256 KiB a second.
        for second in 1..=64 {
            alive.bytes(256 * 1024);
            alive.look(|| start);
            assert!(!alive.is_silent(after(start, second * 1000), MOST), "after {second} s");
        }
        assert!(alive.is_silent(after(start, 64_000 * 3), MOST), "it has stopped");
    }

    #[test]
    fn what_was_sent_before_an_answered_ping_was_read() {
        let start = Instant::now();
        let mut alive = Alive::new(start);
        for ping in 1..=3 {
            alive.ping(ping);
            alive.packet();
            alive.pong();
            alive.look(|| after(start, ping * 1000));
        }
        let old = |alive: &mut Alive, millis| {
            alive.read_long_ago(start + ANSWER_PATIENCE + Duration::from_millis(millis))
        };
        assert_eq!(old(&mut alive, 900), None);
        assert_eq!(old(&mut alive, 1100), Some(1));
        assert_eq!(old(&mut alive, 2900), Some(2));
        assert_eq!(old(&mut alive, 60_000), Some(3));
        // An answer to nothing.
        alive.packet();
        alive.pong();
        alive.look(|| after(start, 70_000));
        assert_eq!(old(&mut alive, 60_000), Some(3));
    }
}
