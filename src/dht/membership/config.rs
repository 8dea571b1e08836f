//! How fast failures are noticed.

use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use crate::dht::message::MAX_MESSAGE_LEN;

/// The longest SWIM packet, in bytes.
const MAX_PACKET: usize = 16 * 1024;

const _: () = assert!(MAX_PACKET < MAX_MESSAGE_LEN);

/// The timings of failure detection.
#[derive(Debug, Clone)]
pub struct MembershipConfig {
    /// How often each node probes one other.
    pub probe_period: Duration,
    /// How long the answer to a direct probe is waited for before others are asked to probe. Where answers take longer, the
    /// measured round trip takes its place, up to four seconds, and the two other times grow with it.
    pub probe_timeout: Duration,
    /// How long a suspected node has to object before it is given up; up to three times as long while it is heard.
    pub suspicion: Duration,
    /// The longest pause between two attempts to reach seeds and lost members.
    pub rejoin_pause: Duration,
    /// For how long a lost member is looked for.
    pub forget_after: Duration,
}

impl Default for MembershipConfig {
    /// A crash is noticed within three seconds in rings of up to ten nodes where a round trip takes some milliseconds: probes every 250 ms, 100 ms for the direct
    /// answer, one second of suspicion; lost members are looked for every second, for an hour.
    fn default() -> Self {
        Self {
            probe_period: Duration::from_millis(250),
            probe_timeout: Duration::from_millis(100),
            suspicion: Duration::from_secs(1),
            rejoin_pause: Duration::from_secs(1),
            forget_after: Duration::from_secs(3600),
        }
    }
}

impl MembershipConfig {
    pub(super) fn foca(&self) -> foca::Config {
        const THREE: NonZeroUsize = NonZeroUsize::new(3).unwrap();
        let every = |frequency, num_members| Some(foca::PeriodicParams { frequency, num_members });
        foca::Config {
            probe_period: self.probe_period,
            probe_rtt: self.probe_timeout,
            num_indirect_probes: THREE,
            max_transmissions: const { NonZeroU8::new(10).unwrap() },
            suspect_to_down_after: self.suspicion,
            remove_down_after: Some(self.forget_after),
            max_packet_size: const { NonZeroUsize::new(MAX_PACKET).unwrap() },
            notify_down_members: true,
            periodic_announce: every(Duration::from_secs(5), NonZeroUsize::MIN),
            // `Contacts` does this, also while no member is left.
            periodic_announce_to_down_members: None,
            periodic_gossip: every(Duration::from_millis(100), THREE),
        }
    }
}
