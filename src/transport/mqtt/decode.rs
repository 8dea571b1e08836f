//! From bytes to packets, with a limit that does not cost the connection.

use bytes::{Buf, BytesMut};
use rumqttc::mqttbytes::{self, Error as CodecError};
use rumqttc::{Packet, QoS};

use super::buffers::Buffers;

/// What came out of the stream.
#[derive(Debug, PartialEq)]
pub(super) enum Decoded {
    /// A packet within the limit.
    Packet(Packet),
    /// A PUBLISH over the limit; its body is being skipped.
    Oversize {
        /// How it is to be acknowledged, so that the broker does not wait for it.
        qos: QoS,
        /// What is to be acknowledged; 0 with QoS 0.
        packet_id: u16,
        /// The packet's remaining length in bytes.
        size: usize,
    },
}

/// The receive buffer and the state of a skip.
///
/// rumqttc's own event loop answers a packet over the limit by closing the connection, and a retained one would close
/// every next connection too. Here its body is read past without being kept.
#[derive(Debug)]
pub(super) struct Decoder {
    buffer: BytesMut,
    buffers: Buffers,
    /// How many bytes the packet under way still needs, at least.
    missing: usize,
    /// The largest remaining length that is accepted, in bytes.
    limit: usize,
    /// Bytes of an oversize body that are still to come.
    skip: usize,
}

impl Decoder {
    pub(super) fn new(limit: usize) -> Self {
        let (buffers, buffer) = Buffers::new();
        Self { buffer, buffers, missing: 1, limit, skip: 0 }
    }

    /// Where to read to. The capacity behind it is bounded by the limit.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        self.buffers.make_room(&mut self.buffer, self.missing);
        &mut self.buffer
    }

    /// The next packet, or `None` if more bytes are needed.
    pub(super) fn next(&mut self) -> Result<Option<Decoded>, CodecError> {
        let skipped = self.skip.min(self.buffer.len());
        self.buffer.advance(skipped);
        self.skip -= skipped;
        self.missing = 1;
        if self.skip > 0 {
            return Ok(None);
        }
        match Packet::read(&mut self.buffer, self.limit) {
            Ok(Packet::Publish(mut publish)) => {
                publish.payload = self.buffers.detach(publish.payload);
                Ok(Some(Decoded::Packet(Packet::Publish(publish))))
            }
            Ok(packet) => Ok(Some(Decoded::Packet(packet))),
            Err(CodecError::InsufficientBytes(missing)) => {
                self.missing = missing;
                Ok(None)
            }
            Err(CodecError::PayloadSizeLimitExceeded(size)) => self.skip_publish(size),
            Err(error) => Err(error),
        }
    }

    /// Reads topic and packet id of the oversize PUBLISH at the front and begins to skip it.
    fn skip_publish(&mut self, size: usize) -> Result<Option<Decoded>, CodecError> {
        const PUBLISH: u8 = 3;
        let first = self.buffer[0];
        if first >> 4 != PUBLISH {
            return Err(CodecError::PayloadSizeLimitExceeded(size));
        }
        // The codec has read the length already, so its last byte (without the continuation bit) is here.
        let length_bytes = self.buffer[1..].iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
        let header = 1 + length_bytes;
        let Some(topic_len) = self.u16_at(header) else { return Ok(None) };
        let qos = mqttbytes::qos(first >> 1 & 0b11)?;
        let mut packet_id = 0;
        if qos != QoS::AtMostOnce {
            let Some(id) = self.u16_at(header + 2 + usize::from(topic_len)) else { return Ok(None) };
            if id == 0 {
                return Err(CodecError::PacketIdZero);
            }
            packet_id = id;
        }
        if size < 2 + usize::from(topic_len) + 2 {
            return Err(CodecError::MalformedPacket);
        }
        self.skip = header + size;
        let here = self.skip.min(self.buffer.len());
        self.buffer.advance(here);
        self.skip -= here;
        Ok(Some(Decoded::Oversize { qos, packet_id, size }))
    }

    fn u16_at(&self, at: usize) -> Option<u16> {
        let bytes = self.buffer.get(at..at + 2)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use rumqttc::{PubComp, PubRec, PubRel, Publish};

    use super::*;

    fn publish(topic: &str, size: usize, qos: QoS, packet_id: u16) -> Publish {
        let mut publish = Publish::from_bytes(topic, qos, Bytes::from(vec![7; size]));
        publish.pkid = packet_id;
        publish
    }

    #[test]
    fn a_small_payload_that_is_kept_does_not_keep_what_was_read_with_it() {
        let mut decoder = Decoder::new(1 << 20);
        let mut stream = BytesMut::new();
        for size in [100, 1_000, 4_000, 12_000, 60_000] {
            publish("a/b", size, QoS::AtMostOnce, 0).write(&mut stream).unwrap();
        }
        let mut kept = 0;
        for _ in 0..50 {
            for decoded in feed(&mut decoder, &stream, 10_000) {
                let Decoded::Packet(Packet::Publish(publish)) = decoded else { panic!("{decoded:?}") };
                let size = publish.payload.len();
                // Where it has memory of its own, or that of a buffer from which all else is gone, that says how much.
                if let Ok(memory) = publish.payload.try_into_mut() {
                    kept += usize::from(size < 8_000);
                    assert!(
                        size >= 8_000 || memory.capacity() <= 2 * size,
                        "{size} in {}",
                        memory.capacity()
                    );
                } else {
                    assert!(size >= 8_000, "{size} bytes share the buffer");
                }
            }
        }
        assert_eq!(kept, 50 * 3);
    }

    fn feed(decoder: &mut Decoder, stream: &[u8], step: usize) -> Vec<Decoded> {
        let mut decoded = Vec::new();
        for chunk in stream.chunks(step) {
            decoder.buffer().extend_from_slice(chunk);
            while let Some(item) = decoder.next().unwrap() {
                decoded.push(item);
            }
        }
        decoded
    }

    proptest! {
        #[test]
        fn packets_survive_any_split_and_oversize_ones_are_skipped(
            sizes in prop::collection::vec((0usize..3000, 0u8..3), 1..12),
            step in 1usize..700,
        ) {
            const LIMIT: usize = 1500;
            let mut stream = BytesMut::new();
            let mut expected = Vec::new();
            for (index, (size, qos)) in sizes.iter().enumerate() {
                let qos = mqttbytes::qos(*qos).unwrap();
                let acknowledged = qos != QoS::AtMostOnce;
                let id = if acknowledged { index as u16 + 1 } else { 0 };
                let packet = publish("a/b", *size, qos, id);
                packet.write(&mut stream).unwrap();
                let remaining = 2 + 3 + size + if acknowledged { 2 } else { 0 };
                expected.push(if remaining > LIMIT {
                    Decoded::Oversize { qos, packet_id: id, size: remaining }
                } else {
                    Decoded::Packet(Packet::Publish(packet))
                });
            }
            prop_assert_eq!(feed(&mut Decoder::new(LIMIT), &stream, step), expected);
        }

        #[test]
        fn garbage_never_panics(stream in prop::collection::vec(any::<u8>(), 0..600), step in 1usize..100) {
            let mut decoder = Decoder::new(64);
            for chunk in stream.chunks(step) {
                decoder.buffer().extend_from_slice(chunk);
                while let Ok(Some(_)) = decoder.next() {}
            }
        }
    }

    #[test]
    fn the_packets_of_a_handshake_come_out_between_messages() {
        let mut stream = BytesMut::new();
        let packets = [
            Packet::PubRec(PubRec::new(1)),
            Packet::Publish(publish("t", 5, QoS::ExactlyOnce, 0x0102)),
            Packet::PubRel(PubRel::new(0x0102)),
            Packet::PubComp(PubComp::new(u16::MAX)),
        ];
        for packet in &packets {
            packet.write(&mut stream, 1000).unwrap();
        }
        assert_eq!(stream[..4], [0x50, 2, 0, 1]);
        assert_eq!(stream[4] >> 1 & 0b11, 2);
        assert_eq!(stream[stream.len() - 8..], [0x62, 2, 1, 2, 0x70, 2, 0xff, 0xff]);
        let expected: Vec<_> = packets.into_iter().map(Decoded::Packet).collect();
        for step in 1..stream.len() {
            assert_eq!(feed(&mut Decoder::new(1000), &stream, step), expected);
        }
    }

    #[test]
    fn an_oversize_message_without_an_id_or_of_no_qos_is_an_error() {
        for (first, id) in [(0x34, [0, 0]), (0x32, [0, 0]), (0x36, [0, 1])] {
            let mut decoder = Decoder::new(10);
            decoder.buffer().extend_from_slice(&[first, 100, 0, 1, b't', id[0], id[1], b'x']);
            assert!(decoder.next().is_err(), "{first:#x}");
        }
    }

    #[test]
    fn a_skip_keeps_no_bytes() {
        let mut stream = BytesMut::new();
        publish("t", 1 << 20, QoS::AtMostOnce, 0).write(&mut stream).unwrap();
        let mut decoder = Decoder::new(1000);
        feed(&mut decoder, &stream, 4096);
        assert!(decoder.buffer.is_empty());
        assert!(decoder.buffer.capacity() <= 512 * 1024, "{}", decoder.buffer.capacity());
    }
}
