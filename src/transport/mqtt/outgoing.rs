//! What is on its way into the socket: packets are encoded into one buffer, large payloads are lent instead of copied.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use rumqttc::mqttbytes::Error as CodecError;
use rumqttc::{Packet, Publish, QoS};

/// Payloads from this size on are not copied, in bytes. Below it the copy is cheaper than a slice of its own.
const LENT: usize = 8 * 1024;

/// How many slices one system call is given.
const SLICES: usize = 32;

/// How much room for encoded packets is made at a time, in bytes.
const ENCODE_CHUNK: usize = 16 * 1024;

/// A buffer that one large message made grow is given back above this size, in bytes.
const KEEP: usize = 1024 * 1024;

/// Encoded packets in the order in which they go out.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// What goes out before `tail`.
    front: VecDeque<Bytes>,
    /// The bytes in `front`.
    front_len: usize,
    tail: BytesMut,
}

impl Outgoing {
    /// How many bytes wait.
    pub(super) fn len(&self) -> usize {
        self.front_len + self.tail.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Encodes a packet that is no PUBLISH.
    pub(super) fn push(&mut self, packet: &Packet) -> Result<(), CodecError> {
        packet.write(&mut self.tail, usize::MAX)?;
        Ok(())
    }

    /// Encodes a message.
    pub(super) fn push_publish(&mut self, publish: &Publish) -> Result<(), CodecError> {
        if publish.payload.len() < LENT {
            publish.write(&mut self.tail)?;
            return Ok(());
        }
        if self.tail.capacity() - self.tail.len() < publish.topic.len() + 16 {
            self.tail.reserve(ENCODE_CHUNK);
        }
        write_header(publish, &mut self.tail)?;
        for part in [self.tail.split().freeze(), publish.payload.clone()] {
            self.front_len += part.len();
            self.front.push_back(part);
        }
        Ok(())
    }

    /// Gives what waits to `write`, which says how much of it was taken. Returns that.
    pub(super) fn write_with(
        &mut self,
        write: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut count = 0;
        let parts = self.front.iter().map(|part| &part[..]).chain([&self.tail[..]]);
        for (slice, part) in slices.iter_mut().zip(parts) {
            *slice = IoSlice::new(part);
            count += 1;
        }
        let written = write(&slices[..count])?;
        self.advance(written);
        Ok(written)
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(part) = self.front.front_mut() {
            let here = count.min(part.len());
            self.front_len -= here;
            count -= here;
            if here < part.len() {
                part.advance(here);
                return;
            }
            self.front.pop_front();
        }
        self.tail.advance(count);
        if self.tail.is_empty() && self.tail.capacity() > KEEP {
            self.tail = BytesMut::new();
        }
    }
}

/// All of a PUBLISH but its payload. rumqttc's codec writes the two together only.
fn write_header(publish: &Publish, buffer: &mut BytesMut) -> Result<(), CodecError> {
    let acknowledged = publish.qos != QoS::AtMostOnce;
    if acknowledged && publish.pkid == 0 {
        return Err(CodecError::PacketIdZero);
    }
    let topic_len = u16::try_from(publish.topic.len()).map_err(|_| CodecError::MalformedPacket)?;
    let size = 2 + publish.topic.len() + if acknowledged { 2 } else { 0 } + publish.payload.len();
    if size > super::MAX_REMAINING_LEN {
        return Err(CodecError::PayloadTooLong);
    }
    let flags = u8::from(publish.dup) << 3 | (publish.qos as u8) << 1 | u8::from(publish.retain);
    buffer.put_u8(0b0011_0000 | flags);
    let mut rest = size;
    while rest >= 0x80 {
        buffer.put_u8(rest as u8 | 0x80);
        rest >>= 7;
    }
    buffer.put_u8(rest as u8);
    buffer.put_u16(topic_len);
    buffer.put_slice(publish.topic.as_bytes());
    if acknowledged {
        buffer.put_u16(publish.pkid);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(size: usize, id: u16) -> Publish {
        let qos = if id == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        let mut publish = Publish::from_bytes("some/topic", qos, Bytes::from(vec![id as u8; size]));
        publish.pkid = id;
        publish.dup = id % 3 == 1;
        publish.retain = id % 5 == 1;
        publish
    }

    proptest! {
        #[test]
        fn what_goes_out_is_what_the_codec_writes(
            messages in prop::collection::vec((prop_oneof![0..200usize, LENT - 2..LENT + 2, 16_000..70_000usize], 0u16..9), 1..40),
            step in 1usize..100_000,
        ) {
            let (mut expected, mut written) = (BytesMut::new(), Vec::new());
            let mut outgoing = Outgoing::default();
            for (index, (size, id)) in messages.iter().enumerate() {
                let publish = message(*size, *id);
                publish.write(&mut expected).unwrap();
                outgoing.push_publish(&publish).unwrap();
                if index % 4 == 0 {
                    Packet::PingReq.write(&mut expected, 100).unwrap();
                    outgoing.push(&Packet::PingReq).unwrap();
                }
                if index % 3 == 0 {
                    take(&mut outgoing, step, &mut written);
                }
            }
            prop_assert_eq!(outgoing.len(), expected.len() - written.len());
            while !outgoing.is_empty() {
                take(&mut outgoing, step, &mut written);
            }
            prop_assert!(written == expected);
        }
    }

    fn take(outgoing: &mut Outgoing, step: usize, into: &mut Vec<u8>) {
        let taken = outgoing.write_with(|slices| {
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).take(step).collect();
            into.extend_from_slice(&all);
            Ok(all.len())
        });
        assert!(taken.unwrap() > 0 || outgoing.is_empty());
    }

    #[test]
    fn a_large_payload_is_lent_and_a_message_without_id_is_refused() {
        let mut outgoing = Outgoing::default();
        let publish = message(LENT, 7);
        outgoing.push_publish(&publish).unwrap();
        let lent = outgoing.write_with(|slices| {
            Ok(usize::from(slices.iter().any(|slice| slice.as_ptr() == publish.payload.as_ptr())))
        });
        assert_eq!(lent.unwrap(), 1);
        let refused = outgoing.push_publish(&Publish { pkid: 0, ..message(LENT, 7) });
        assert!(matches!(refused, Err(CodecError::PacketIdZero)));
    }

    #[test]
    fn a_failed_write_takes_nothing() {
        let mut outgoing = Outgoing::default();
        outgoing.push_publish(&message(20_000, 0)).unwrap();
        let before = outgoing.len();
        assert!(outgoing.write_with(|_| Err(io::ErrorKind::WouldBlock.into())).is_err());
        assert_eq!(outgoing.len(), before);
    }
}
