//! Frames out of what was read.

use bytes::{Buf, BytesMut};

use super::error::FrameError;
use super::frame::{Frame, MAX_PARTS, read_head};
use super::mechanism::{OVERHEAD, Opener};

/// Cuts the frames of one established connection from its input. Bodies share the input's memory.
#[derive(Debug)]
pub(in crate::transport) struct Decoder {
    max_message: usize,
    /// Bytes and frames of the message that has begun and not ended.
    begun: usize,
    parts: usize,
    opener: Option<Opener>,
}

impl Decoder {
    pub(super) const fn new(max_message: usize, opener: Option<Opener>) -> Self {
        Self { max_message, begun: 0, parts: 0, opener }
    }

    /// Takes the next whole frame from the front of `input`; `None` if more has to be read first.
    ///
    /// Of a message that would pass `max_message` nothing more is waited for: the frame is refused
    /// when its head is there. Under CURVE that holds for each frame alone, and for the message
    /// when the frame is opened, since its head does not tell what it belongs to. A command may
    /// stand between the frames of a message, where libzmq puts its PING.
    ///
    /// # Errors
    /// The peer broke the protocol. `input` is left somewhere in the broken frame: close the
    /// connection.
    #[inline]
    pub(in crate::transport) fn next(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some(received) = read_head(input)? else { return Ok(None) };
        if self.opener.is_none() && !received.command {
            self.bound(received.body)?;
        } else if received.body > self.most() as u64 {
            return Err(FrameError::TooLong { len: received.body, max: self.max_message });
        }
        // It is at most what `most` says, which is a usize.
        let body = received.body as usize;
        if input.len() - received.head < body {
            return Ok(None);
        }
        let mut body = input.split_to(received.head + body);
        body.advance(received.head);
        let frame = match &mut self.opener {
            None => Frame { more: received.more, command: received.command, body: body.freeze() },
            Some(opener) => opener.open(body)?,
        };
        if !frame.command {
            self.count(&frame)?;
        }
        Ok(Some(frame))
    }

    /// How many bytes more the frame at the front of `input` needs, as far as its head tells: at
    /// least 1, and never more than the longest frame that is taken.
    pub(in crate::transport) fn missing(&self, input: &[u8]) -> usize {
        match read_head(input) {
            Ok(Some(received)) => {
                let body = received.body.min(self.most() as u64) as usize;
                (received.head + body).saturating_sub(input.len()).max(1)
            }
            _ => 1,
        }
    }

    /// The longest body that a frame may have on the wire.
    #[inline]
    const fn most(&self) -> usize {
        match self.opener {
            None => self.max_message,
            Some(_) => self.max_message.saturating_add(OVERHEAD),
        }
    }

    /// Refuses a frame with which the message that has begun would be too long.
    #[inline]
    fn bound(&self, body: u64) -> Result<(), FrameError> {
        if body <= (self.max_message - self.begun) as u64 {
            return Ok(());
        }
        let len = body.saturating_add(self.begun as u64);
        Err(FrameError::TooLong { len, max: self.max_message })
    }

    /// Holds the bounds of a message over its frames.
    #[inline]
    fn count(&mut self, frame: &Frame) -> Result<(), FrameError> {
        self.bound(frame.body.len() as u64)?;
        if !frame.more {
            (self.begun, self.parts) = (0, 0);
            return Ok(());
        }
        self.begun += frame.body.len();
        self.parts += 1;
        if self.parts == MAX_PARTS { Err(FrameError::TooManyParts) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::super::encoder::Encoder;
    use super::super::frame::{Flags, Head, MAX_HEAD};
    use super::*;

    fn body(frame: Result<Option<Frame>, FrameError>) -> Bytes {
        frame.unwrap().unwrap().body
    }

    #[test]
    fn a_length_over_the_bound_is_refused_by_its_head_alone() {
        for len in [1001, u64::MAX >> 1, u64::MAX] {
            let mut input = BytesMut::from(&b"\x02"[..]);
            input.extend_from_slice(&len.to_be_bytes());
            let (capacity, refused) = (input.capacity(), FrameError::TooLong { len, max: 1000 });
            assert_eq!(Decoder::new(1000, None).next(&mut input), Err(refused));
            assert_eq!(input.capacity(), capacity, "no room was made for it");
            assert!(Decoder::new(1000, None).missing(&input) <= 1000 + MAX_HEAD);
        }
    }

    #[test]
    fn the_bound_is_over_all_frames_of_a_message() {
        let mut input = BytesMut::new();
        let mut encoder = Encoder::new(None);
        for (flags, len) in [(Flags::More, 600), (Flags::Last, 400), (Flags::More, 600)] {
            encoder.put(flags, &[&vec![7; len]], &mut input).unwrap();
        }
        // A command in between costs the message nothing.
        encoder.put(Flags::Command, &[&[7; 1000]], &mut input).unwrap();
        input.extend_from_slice(&Head::new(Flags::Last, 401));
        let mut decoder = Decoder::new(1000, None);
        for len in [600, 400, 600, 1000] {
            assert_eq!(body(decoder.next(&mut input)).len(), len);
        }
        assert_eq!(decoder.next(&mut input), Err(FrameError::TooLong { len: 1001, max: 1000 }));
    }

    #[test]
    fn a_message_of_empty_frames_ends() {
        let mut input = BytesMut::from(&b"\x01\0".repeat(MAX_PARTS)[..]);
        let mut decoder = Decoder::new(1000, None);
        for _ in 1..MAX_PARTS {
            assert!(body(decoder.next(&mut input)).is_empty());
        }
        assert_eq!(decoder.next(&mut input), Err(FrameError::TooManyParts));
    }

    #[test]
    fn bodies_are_cut_from_the_input() {
        let mut input = BytesMut::from(&b"\0\x03abc\x01\x02de\x04\x05\x04JOIN\0"[..]);
        let at = input.as_ptr();
        let mut decoder = Decoder::new(1000, None);
        let first = body(decoder.next(&mut input));
        assert_eq!((&first[..], first.as_ptr()), (&b"abc"[..], at.wrapping_add(2)));
        let second = decoder.next(&mut input).unwrap().unwrap();
        assert_eq!(second, Frame { more: true, command: false, body: Bytes::from_static(b"de") });
        let third = decoder.next(&mut input).unwrap().unwrap();
        assert_eq!(third.body, &b"\x04JOIN"[..]);
        assert!(third.command && !third.more);
        assert_eq!(decoder.next(&mut input), Ok(None));
        assert_eq!(decoder.missing(&input), 1);
        input.extend_from_slice(b"\x09x");
        assert_eq!((decoder.next(&mut input), decoder.missing(&input)), (Ok(None), 8));
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_however_it_arrives(
            message in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 1..6),
            chunk in 1_usize..700,
        ) {
            let (mut wire, mut encoder) = (BytesMut::new(), Encoder::new(None));
            for (i, part) in message.iter().enumerate() {
                let flags = if i + 1 < message.len() { Flags::More } else { Flags::Last };
                let (front, back) = part.split_at(part.len() / 2);
                encoder.put(flags, &[front, back], &mut wire).unwrap();
            }
            let (mut input, mut decoder, mut read) = (BytesMut::new(), Decoder::new(2400, None), Vec::new());
            for arrived in wire.chunks(chunk) {
                input.extend_from_slice(arrived);
                while let Some(frame) = decoder.next(&mut input).unwrap() {
                    prop_assert_eq!(frame.more, read.len() + 1 < message.len());
                    read.push(frame.body.to_vec());
                }
                prop_assert!(read.len() == message.len() || decoder.missing(&input) >= 1);
            }
            prop_assert_eq!(read, message);
        }

        #[test]
        fn arbitrary_bytes_end_in_frames_or_one_error(bytes in any::<Vec<u8>>()) {
            let (mut input, mut decoder) = (BytesMut::from(&bytes[..]), Decoder::new(64, None));
            let mut taken = 0;
            while let Ok(Some(frame)) = decoder.next(&mut input) {
                prop_assert!(frame.body.len() <= 64);
                taken += frame.body.len() + 2;
                prop_assert!(taken <= bytes.len());
            }
        }
    }
}
