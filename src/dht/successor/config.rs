//! The times and bounds of a node on the successor ring.

use std::time::Duration;

/// The times and bounds of a node.
#[derive(Debug, Clone, PartialEq)]
pub struct SuccessorConfig {
    /// How often a newcomer announces itself.
    pub join_interval: Duration,
    /// After so many announcements without an answer it starts the ring alone.
    pub join_attempts: u32,
    /// How often a node tells its neighbourhood.
    pub announce: Duration,
    /// A node of this library that was silent for so long is given up; at least three times [`announce`](Self::announce).
    pub lease: Duration,
    /// After how long an unanswered message to a neighbour is repeated.
    pub retry: Duration,
    /// How many pairs may be on their way to a neighbour at the same time.
    pub window: usize,
    /// A neighbour that has said nothing in this library's own messages for so long speaks the plain protocol.
    pub quiet: Duration,
    /// How long a departing node tries to hand its pairs over.
    pub leave_timeout: Duration,
    /// The longest value that is stored, in bytes.
    pub max_value: usize,
    /// The most pairs that are stored; further ones are not acknowledged.
    pub max_pairs: usize,
}

impl Default for SuccessorConfig {
    /// 10 ms, 100 attempts, 500 ms, 3 s, 300 ms, 128 pairs, 1.2 s, 10 s, 1 MiB, 2^20 pairs.
    fn default() -> Self {
        Self {
            join_interval: Duration::from_millis(10),
            join_attempts: 100,
            announce: Duration::from_millis(500),
            lease: Duration::from_secs(3),
            retry: Duration::from_millis(300),
            window: 128,
            quiet: Duration::from_millis(1200),
            leave_timeout: Duration::from_secs(10),
            max_value: 1 << 20,
            max_pairs: 1 << 20,
        }
    }
}
