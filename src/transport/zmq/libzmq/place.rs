//! Where a peer is reached. libzmq is given numbers only: it looks names up in the thread that all connections share.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::address::Address;

/// The pauses between two attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(8);

/// The time between two attempts, which grows to a bound.
#[derive(Debug, Clone)]
pub(super) struct Pause {
    next: Instant,
    length: Duration,
}

impl Pause {
    /// The first attempt is due.
    pub(super) fn new() -> Self {
        Self { next: Instant::now(), length: FIRST_PAUSE }
    }

    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.next
    }

    /// An attempt was made.
    pub(super) fn begin(&mut self) {
        self.next = Instant::now() + self.length;
        self.length = (self.length * 2).min(LAST_PAUSE);
    }

    /// The next pause is as short as the first.
    pub(super) fn reset(&mut self) {
        self.length = FIRST_PAUSE;
    }
}

/// A peer's address, and the number that its name had when it was last looked up.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) address: Address,
    pub(super) number: Option<SocketAddr>,
    /// Why there is no number.
    pub(super) unknown: Option<String>,
    looking: bool,
    pause: Pause,
}

impl Place {
    pub(super) fn new(address: Address) -> Self {
        let number = address.ip().map(|ip| SocketAddr::new(ip.to_canonical(), address.port));
        Self { address, number, unknown: None, looking: false, pause: Pause::new() }
    }

    /// Whether the name is to be looked up now; it is under way from then on. `cut_off` says that the number has not
    /// answered for a while: the name may have moved.
    pub(super) fn look_up_now(&mut self, cut_off: bool) -> bool {
        let due = self.number.is_none() || (cut_off && self.address.ip().is_none());
        if !due || self.looking || !self.pause.is_over() {
            return false;
        }
        self.looking = true;
        true
    }

    /// What the look-up found. The next one comes later each time.
    pub(super) fn found(&mut self, found: Result<SocketAddr, String>) {
        self.looking = false;
        self.pause.begin();
        match found {
            Ok(number) => {
                let number = SocketAddr::new(number.ip().to_canonical(), number.port());
                (self.number, self.unknown) = (Some(number), None);
            }
            // The number that is known may still be right.
            Err(_) if self.number.is_some() => {}
            Err(reason) => self.unknown = Some(reason),
        }
    }

    /// The peer is there.
    pub(super) fn reached(&mut self) {
        self.pause.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_never_looked_up() {
        let mut place = Place::new(Address::parse("tcp://[::1]:7").unwrap());
        assert_eq!(place.number, Some("[::1]:7".parse().unwrap()));
        assert!(!place.look_up_now(false) && !place.look_up_now(true));
    }

    #[test]
    fn a_name_is_looked_up_until_it_is_known_and_again_when_it_is_cut_off() {
        let mut place = Place::new(Address::parse("tcp://name:7").unwrap());
        assert!(place.look_up_now(false));
        assert!(!place.look_up_now(false), "one is under way");
        place.found(Err("unknown".into()));
        assert_eq!(place.unknown.as_deref(), Some("unknown"));
        assert!(!place.look_up_now(false), "there is a pause");
        place.pause.next = Instant::now();
        assert!(place.look_up_now(false));
        place.found(Ok("10.0.0.1:7".parse().unwrap()));
        assert_eq!((place.unknown.as_ref(), place.pause.length), (None, FIRST_PAUSE * 4));
        place.pause.next = Instant::now();
        assert!(!place.look_up_now(false));
        assert!(place.look_up_now(true));
        place.found(Err("unknown".into()));
        assert_eq!((place.number, place.unknown), (Some("10.0.0.1:7".parse().unwrap()), None));
    }
}
