//! What two sessions say to each other on the directed sockets: a kind byte, then its content.
//!
//! | first byte | content |
//! |---|---|
//! | `c` | a protocol version, then a [`Control`] in postcard |
//! | `d` | the payload of a directed message, in the same frame |
//! | `D` | nothing; the payload is the next frame, so that a large one is sent without copying it |

use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use crate::quiet::afterwards;
use crate::transport::Locator;

/// A directed message with its payload behind the kind byte.
pub(in crate::transport) const DATA: u8 = b'd';
/// A directed message with its payload in a frame of its own.
pub(in crate::transport) const DATA_APART: u8 = b'D';
const CONTROL: u8 = b'c';
const VERSION: u8 = 1;

/// No control frame is longer: a greeting holds one locator of at most 255 bytes and three numbers.
const MAX_CONTROL_LEN: usize = 512;

/// How sessions find and leave each other. Grows at the end only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::transport) enum Control {
    /// From a DEALER: I attach to you.
    Hello(Greeting),
    /// From a ROUTER: you are attached.
    Welcome(Greeting),
    /// I end. What I have published may still be on its way.
    Bye,
    /// Nothing but a question to the own ROUTER, whether the peer's connection still stands.
    Ping,
    /// I let go of you, and stay.
    Detach,
}

/// Who speaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::transport) struct Greeting {
    /// The session's address, as it knows it itself.
    pub(in crate::transport) locator: Locator,
    /// Where, on the same host, it publishes.
    pub(in crate::transport) publish_port: u16,
    /// Which incarnation: differs after each start.
    pub(in crate::transport) nonce: u64,
}

impl Control {
    /// The frame.
    pub(in crate::transport) fn encode(&self) -> Vec<u8> {
        // The types hold strings and numbers only: postcard cannot fail on them.
        let body = postcard::to_allocvec(self).unwrap_or_default();
        let mut frame = Vec::with_capacity(2 + body.len());
        frame.extend_from_slice(&[CONTROL, VERSION]);
        frame.extend_from_slice(&body);
        frame
    }

    /// Reads a frame; `None` for anything that is not one.
    pub(in crate::transport) fn decode(frame: &[u8]) -> Option<Self> {
        match frame {
            [CONTROL, VERSION, body @ ..] if frame.len() <= MAX_CONTROL_LEN => {
                let (control, rest) = postcard::take_from_bytes(body).ok()?;
                rest.is_empty().then_some(control)
            }
            _ => None,
        }
    }

    /// As [`decode`](Self::decode), with the cause for which a frame is dropped. The first that is of another version is
    /// warned of.
    pub(in crate::transport) fn read(frame: &[u8]) -> Result<Self, &'static str> {
        if let Some(control) = Self::decode(frame) {
            return Ok(control);
        }
        let Some((theirs, ours)) = Self::other_version(frame) else { return Err("malformed control frame") };
        static TOLD: AtomicBool = AtomicBool::new(false);
        if !TOLD.swap(true, Ordering::Relaxed) {
            let say = "zmq: a peer greets in another version: use the same release";
            afterwards(move || tracing::warn!(theirs, ours, "{say}"));
        }
        Err("control frame of another version")
    }

    /// Of a control frame in another version: that version, and the one that is spoken here.
    pub(in crate::transport) fn other_version(frame: &[u8]) -> Option<(u8, u8)> {
        match frame {
            [CONTROL, theirs, ..] if *theirs != VERSION => Some((*theirs, VERSION)),
            _ => None,
        }
    }

    /// Whether a frame claims to be a control frame.
    pub(in crate::transport) fn is_control(frame: &[u8]) -> bool {
        frame.first() == Some(&CONTROL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hello() -> Control {
        let locator = Locator::new("zmq+tcp://127.0.0.1:5556").unwrap();
        Control::Hello(Greeting { locator, publish_port: 5550, nonce: 7 })
    }

    #[test]
    fn controls_come_back() {
        let Control::Hello(greeting) = hello() else { unreachable!() };
        for control in [hello(), Control::Welcome(greeting), Control::Bye, Control::Ping, Control::Detach] {
            assert_eq!(Control::decode(&control.encode()), Some(control));
        }
    }

    #[test]
    fn the_frame_is_stable() {
        let frame = hello().encode();
        assert_eq!(&frame[..3], [b'c', 1, 0]);
        assert_eq!(frame[3], 24, "the locator's length");
        assert_eq!(&frame[4..28], b"zmq+tcp://127.0.0.1:5556");
        assert_eq!(&frame[28..], [0xae, 0x2b, 7], "port 5550 and nonce 7 as varints");
        assert_eq!(Control::Bye.encode(), [b'c', 1, 2]);
    }

    #[test]
    fn trailing_bytes_other_versions_and_bad_locators_are_refused() {
        let mut longer = hello().encode();
        longer.push(0);
        assert_eq!(Control::decode(&longer), None);
        assert_eq!(Control::decode(&[b'c', 2, 2]), None);
        assert_eq!(Control::other_version(&[b'c', 2, 2]), Some((2, 1)));
        assert_eq!(Control::other_version(&Control::Bye.encode()), None);
        let mut bad = hello().encode();
        bad[4] = b' ';
        assert_eq!(Control::decode(&bad), None);
        let mut padded = Control::Bye.encode();
        padded.resize(MAX_CONTROL_LEN + 1, 0);
        assert_eq!(Control::decode(&padded), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(mut frame in proptest::collection::vec(any::<u8>(), 0..600), headed: bool) {
            if headed && frame.len() > 1 {
                frame[..2].copy_from_slice(&[CONTROL, VERSION]);
            }
            if let Some(control) = Control::decode(&frame) {
                prop_assert_eq!(Control::decode(&control.encode()), Some(control));
            }
        }
    }
}
