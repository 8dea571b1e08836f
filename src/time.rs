//! Clock newtypes. Pure cores take `now` as an argument; only the shells read a clock.

mod stamper;

use std::ops::{Add, Sub};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

pub(crate) use stamper::Stamper;

/// A point in wall-clock time: nanoseconds since the Unix epoch, UTC; 1677 to 2262.
///
/// Samples carry one as their source timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest timestamp.
    pub const MIN: Self = Self(i64::MIN);

    /// The wall clock's present time.
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// From nanoseconds since the Unix epoch.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// From seconds since the Unix epoch; saturates at the ends of the range.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000_000))
    }

    /// Nanoseconds since the Unix epoch.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl From<SystemTime> for Timestamp {
    /// Saturates at the ends of the range.
    fn from(time: SystemTime) -> Self {
        let nanos = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        Self(match time.duration_since(UNIX_EPOCH) {
            Ok(after) => nanos(after),
            Err(before) => -nanos(before.duration()),
        })
    }
}

/// A point in monotonic time, counted from an origin that the holder of the clock chose.
///
/// Two of them compare only if they come from the same [`Clock`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mono(Duration);

impl Mono {
    /// The origin of the clock.
    pub const ZERO: Self = Self(Duration::ZERO);

    /// This long after the origin.
    pub const fn from_origin(since: Duration) -> Self {
        Self(since)
    }

    /// The time since the origin.
    pub const fn since_origin(self) -> Duration {
        self.0
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Mono {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

impl Sub<Mono> for Mono {
    type Output = Duration;

    fn sub(self, earlier: Mono) -> Duration {
        self.saturating_since(earlier)
    }
}

/// The monotonic clock that the async shells read. It is tokio's, so that paused time works in tests.
#[derive(Debug, Clone, Copy)]
pub struct Clock(tokio::time::Instant);

impl Clock {
    /// A clock whose origin is now.
    pub fn start() -> Self {
        Self(tokio::time::Instant::now())
    }

    /// The present time on this clock.
    pub fn now(&self) -> Mono {
        Mono(self.0.elapsed())
    }

    /// The tokio instant of a point on this clock, to sleep until.
    pub fn instant(&self, at: Mono) -> tokio::time::Instant {
        // A peer may state a lease beyond what the platform's clock can name: that is looked at again in a year.
        let far = || tokio::time::Instant::now() + Duration::from_secs(365 * 86_400);
        self.0.checked_add(at.0).unwrap_or_else(far)
    }
}

/// The earlier of two optional deadlines.
pub(crate) fn earliest(a: Option<Mono>, b: Option<Mono>) -> Option<Mono> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
