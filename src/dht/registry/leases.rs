//! For how long records are believed.

use std::time::Duration;

use crate::dht::record::Record;

/// The shortest lease that is granted.
pub const MIN_LEASE: Duration = Duration::from_millis(200);

/// The longest lease that is granted.
pub const MAX_LEASE: Duration = Duration::from_secs(3600);

/// How long the end of a registration is remembered, so that a late copy cannot bring it back.
const REMEMBER_END: Duration = Duration::from_secs(60);

/// A live registration is renewed every 20 seconds at least: one that was not renewed for so long has lost its session, or
/// never had one. Where there is no room for others it gives way, whatever its lease.
pub(super) const SILENCE: Duration = Duration::from_secs(60);

/// So long at least the end of a registration is remembered where there is no room.
pub(super) const REMEMBER_END_IF_FULL: Duration = Duration::from_secs(5);

/// How much longer than the responsible node the others believe a record: its end is theirs to hear, not to decide.
const REPLICA_SLACK: Duration = Duration::from_secs(5);

/// The lease that is granted to one that was asked for.
pub(crate) fn clamp(lease: Duration) -> Duration {
    lease.clamp(MIN_LEASE, MAX_LEASE)
}

/// How long a record that was just stored or renewed, or whose keeper has just changed, lasts.
pub(super) fn lifetime(record: &Record, as_owner: bool) -> Duration {
    let lease = clamp(record.registration.lease);
    if !record.is_live() {
        REMEMBER_END
    } else if as_owner {
        lease
    } else {
        lease * 2 + REPLICA_SLACK
    }
}
