//! MESSAGE: the frames of an established connection, encrypted.

use bytes::{Buf, BufMut, BytesMut};

use super::boxes::{BoxKey, Nonce};
use super::{TAG, split_counter};
use crate::transport::zmtp::error::FrameError;
use crate::transport::zmtp::frame::{Flags, Frame, Head};

const MESSAGE: &[u8; 8] = b"\x07MESSAGE";
/// Name, counter and tag stand before what is encrypted, which begins with the flags.
const TAG_AT: usize = MESSAGE.len() + 8;
const BOX_AT: usize = TAG_AT + TAG;
/// What encryption adds to a frame's body, in bytes.
pub(in crate::transport::zmtp) const OVERHEAD: usize = BOX_AT + 1;

/// The flags inside of the box.
const MORE: u8 = 0x01;
const COMMAND: u8 = 0x02;

/// Encrypts what one side sends.
#[derive(Debug)]
pub(in crate::transport::zmtp) struct Sealer {
    key: BoxKey,
    purpose: &'static [u8; 16],
    /// The counter of the command before. Each is used once: with the key, the purpose and the
    /// counter a box may be sealed one time only.
    last: u64,
}

impl Sealer {
    pub(super) const fn new(key: BoxKey, purpose: &'static [u8; 16], last: u64) -> Self {
        Self { key, purpose, last }
    }

    /// Appends a frame whose body is these pieces.
    ///
    /// # Errors
    /// [`FrameError::Exhausted`], and nothing was appended.
    pub(in crate::transport::zmtp) fn put(
        &mut self,
        flags: Flags,
        body: &[&[u8]],
        output: &mut BytesMut,
    ) -> Result<(), FrameError> {
        let counter = self.last.checked_add(1).ok_or(FrameError::Exhausted)?;
        self.last = counter;
        let len = OVERHEAD + body.iter().map(|piece| piece.len()).sum::<usize>();
        // As libzmq has it: a message's only frame, whatever it is inside.
        let head = Head::new(Flags::Last, len);
        output.reserve(head.len() + len);
        output.put_slice(&head);
        output.put_slice(MESSAGE);
        output.put_u64(counter);
        let start = output.len();
        output.put_bytes(0, TAG);
        output.put_u8(match flags {
            Flags::Last => 0,
            Flags::More => MORE,
            Flags::Command => COMMAND,
        });
        body.iter().for_each(|piece| output.put_slice(piece));
        if let Some((tag, body)) = output[start..].split_first_chunk_mut() {
            self.key.seal_in_place(Nonce::counted(self.purpose, counter), tag, body);
        }
        Ok(())
    }
}

/// Decrypts what one side receives.
#[derive(Debug)]
pub(in crate::transport::zmtp) struct Opener {
    key: BoxKey,
    purpose: &'static [u8; 16],
    /// The greatest counter that has come. What is not above it is a repetition.
    last: u64,
}

impl Opener {
    pub(super) const fn new(key: BoxKey, purpose: &'static [u8; 16], last: u64) -> Self {
        Self { key, purpose, last }
    }

    /// The frame inside of a MESSAGE, decrypted where it lies. The outer flags mean nothing.
    ///
    /// # Errors
    /// [`FrameError::Replayed`], [`FrameError::Sealed`], [`FrameError::Flags`].
    pub(in crate::transport::zmtp) fn open(&mut self, mut body: BytesMut) -> Result<Frame, FrameError> {
        let broken = FrameError::Sealed { len: body.len() };
        let Some((counter, _)) = body.strip_prefix(MESSAGE).and_then(split_counter) else {
            return Err(broken);
        };
        if counter <= self.last {
            return Err(FrameError::Replayed { counter, last: self.last });
        }
        if body.len() < OVERHEAD {
            return Err(broken);
        }
        let Some((tag, sealed)) = body[TAG_AT..].split_first_chunk_mut() else { return Err(broken) };
        if !self.key.open_in_place(Nonce::counted(self.purpose, counter), tag, sealed) {
            return Err(broken);
        }
        self.last = counter;
        let flags = sealed[0];
        let (more, command) = (flags & MORE != 0, flags & COMMAND != 0);
        if more && command {
            return Err(FrameError::Flags(flags));
        }
        body.advance(OVERHEAD);
        Ok(Frame { more, command, body: body.freeze() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::transport::zmtp::Decoder;

    const PURPOSE: &[u8; 16] = b"CurveZMQMESSAGEC";

    fn sealer(last: u64) -> Sealer {
        Sealer::new(BoxKey::own([7; 32]), PURPOSE, last)
    }

    fn decoder(max_message: usize) -> Decoder {
        Decoder::new(max_message, Some(Opener::new(BoxKey::own([7; 32]), PURPOSE, 2)))
    }

    fn sealed(flags: Flags, body: &[u8], last: u64) -> BytesMut {
        let mut output = BytesMut::new();
        sealer(last).put(flags, &[body], &mut output).unwrap();
        output
    }

    #[test]
    fn each_frame_has_a_counter_of_its_own() {
        let (mut sealer, mut output) = (sealer(2), BytesMut::new());
        for counter in 3..6_u64 {
            output.clear();
            sealer.put(Flags::Last, &[b"same"], &mut output).unwrap();
            assert_eq!(output[..2], [0, (OVERHEAD + 4) as u8]);
            assert_eq!(output[2..10], *MESSAGE);
            assert_eq!(output[10..18], counter.to_be_bytes());
        }
    }

    #[test]
    fn counters_end_rather_than_begin_anew() {
        let (mut sealer, mut output) = (sealer(u64::MAX - 1), BytesMut::new());
        assert_eq!(sealer.put(Flags::Last, &[b"last"], &mut output), Ok(()));
        let len = output.len();
        assert_eq!(sealer.put(Flags::Last, &[b"more"], &mut output), Err(FrameError::Exhausted));
        assert_eq!(output.len(), len);
    }

    #[test]
    fn what_came_before_is_refused_when_it_comes_again() {
        let (mut decoder, mut first) = (decoder(1000), sealed(Flags::Last, b"pay", 7));
        let copy = first.clone();
        assert_eq!(decoder.next(&mut first).unwrap().unwrap().body, "pay");
        for (mut again, counter) in [(copy, 8), (sealed(Flags::Last, b"older", 3), 4)] {
            assert_eq!(decoder.next(&mut again), Err(FrameError::Replayed { counter, last: 8 }));
        }
        // Those between may have been left out: a counter need only be greater.
        assert!(decoder.next(&mut sealed(Flags::Last, b"later", 90)).unwrap().is_some());
    }

    #[test]
    fn the_bound_is_that_of_what_is_inside() {
        let mut input = sealed(Flags::Last, &[1; 1000], 2);
        assert_eq!(decoder(1000).next(&mut input).unwrap().unwrap().body.len(), 1000);
        let refused = |len| Err(FrameError::TooLong { len, max: 1000 });
        let mut input = sealed(Flags::Last, &[1; 1001], 2);
        assert_eq!(decoder(1000).next(&mut input), refused(1001 + OVERHEAD as u64));
        let mut decoder = decoder(1000);
        let mut input = sealed(Flags::More, &[1; 600], 2);
        input.extend_from_slice(&sealed(Flags::Last, &[1; 401], 3));
        assert!(decoder.next(&mut input).unwrap().unwrap().more);
        assert_eq!(decoder.next(&mut input), refused(1001));
    }

    #[test]
    fn what_is_not_encrypted_is_refused() {
        for body in [&b"hello"[..], b"\x04PING\0\0", MESSAGE, b"\x07MESSAGE\0\0\0\0\0\0\0\x09"] {
            let mut input = BytesMut::from(&*Head::new(Flags::Last, body.len()));
            input.extend_from_slice(body);
            let broken = FrameError::Sealed { len: body.len() };
            assert_eq!(decoder(1000).next(&mut input), Err(broken));
        }
    }

    proptest! {
        #[test]
        fn a_frame_comes_back_and_a_damaged_one_does_not(
            body in any::<Vec<u8>>(),
            which in 0..3,
            at in any::<prop::sample::Index>(),
            bit in 0..8,
        ) {
            let flags = [Flags::Last, Flags::More, Flags::Command][which as usize];
            let whole = sealed(flags, &body, 2);
            let frame = decoder(1 << 20).next(&mut whole.clone()).unwrap().unwrap();
            prop_assert_eq!(frame.more, flags == Flags::More);
            prop_assert_eq!(frame.command, flags == Flags::Command);
            prop_assert_eq!(frame.body, &body[..]);
            let mut damaged = whole;
            let at = at.index(damaged.len());
            damaged[at] ^= 1_u8 << bit;
            if let Ok(Some(frame)) = decoder(1 << 20).next(&mut damaged) {
                // The outer flags are not protected, and mean nothing.
                prop_assert_eq!(at, 0);
                prop_assert_eq!(frame.body, &body[..]);
            }
        }
    }
}
