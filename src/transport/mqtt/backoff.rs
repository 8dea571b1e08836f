//! How long to wait before the next attempt to reconnect.

use std::time::Duration;

use rand::Rng;

const SHORTEST: Duration = Duration::from_millis(25);
const LONGEST: Duration = Duration::from_secs(1);

/// Exponential, with jitter, so that a broker's clients do not come back all at once.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// A connection was lost after this long. One that stood for a while is no failure.
    pub(super) fn after(&mut self, stood: Duration) {
        if stood >= LONGEST {
            self.failures = 0;
        }
    }

    /// The next pause.
    pub(super) fn next(&mut self) -> Duration {
        let longest = (SHORTEST * 2u32.saturating_pow(self.failures.min(10) + 1)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        rand::rng().random_range(SHORTEST..=longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_its_bound_and_starts_again_after_a_good_connection() {
        let mut backoff = Backoff::default();
        assert!(backoff.next() <= SHORTEST * 2);
        let later: Vec<Duration> = (0..100).map(|_| backoff.next()).collect();
        assert!(later.iter().all(|pause| (SHORTEST..=LONGEST).contains(pause)));
        assert!(later[10..].iter().any(|pause| *pause > LONGEST / 2));
        backoff.after(LONGEST / 2);
        assert!(backoff.failures > 0);
        backoff.after(LONGEST);
        assert!(backoff.next() <= SHORTEST * 2);
    }
}
