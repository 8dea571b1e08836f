//! The largest packet that the broker takes, and the fragments of what is larger.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{BufMut, Bytes, BytesMut};
use rumqttc::Publish;

use super::inbox;
use super::level::Level;
use crate::wire::{FRAGMENT_HEADER_LEN, Fragment, Frame, MAX_FRAGMENTS};

/// The smallest limit, in bytes: what else is in a packet, an inbox topic with the longest client
/// id and the sender's name for instance, leaves [`LEAST_PART`].
pub(super) const SMALLEST: usize = 2048;

/// The largest limit, in bytes: the longest packet of MQTT.
pub(super) const LARGEST: usize = 268_435_460;

/// A fragment carries at least this many bytes of its message, so that a full window has fewer
/// fragments than there are packet ids.
const LEAST_PART: usize = 1024;

/// What a PUBLISH has beside topic and payload, at most: type and length, the topic's length, the
/// packet id.
const AROUND: usize = 5 + 2 + 2;

/// What is known of the broker's limit. Shared by the connection's task and the sending halves.
#[derive(Debug, Clone)]
pub(super) struct Packets {
    level: Level,
    /// What the user has set; `usize::MAX` if nothing.
    configured: usize,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The limit in use: the configured one, or less where a larger packet was refused.
    limit: AtomicUsize,
    /// The one that fragments are known to pass with.
    trusted: AtomicUsize,
}

impl Packets {
    pub(super) fn new(level: Level, configured: Option<usize>) -> Self {
        let configured = configured.unwrap_or(usize::MAX);
        let shared = Shared { limit: configured.into(), trusted: configured.into() };
        Self { level, configured, shared: Arc::new(shared) }
    }

    /// The largest packet, in bytes.
    fn limit(&self) -> usize {
        self.shared.limit.load(Ordering::Relaxed)
    }

    /// Whether a message goes in one piece.
    pub(super) fn takes(&self, publish: &Publish) -> bool {
        packet_len(publish) <= self.limit()
    }

    /// Of a message that the configured limit does not let pass, in fragments neither: the largest
    /// payload in bytes that does.
    pub(super) fn refuses(&self, publish: &Publish) -> Option<usize> {
        let over = self.configured != usize::MAX && packet_len(publish) > self.configured;
        if !over || self.fragments(publish, self.configured).is_some() {
            return None;
        }
        let around = packet_len(publish) - self.content(publish).len();
        let parts = if self.is_frame(publish) { self.part_len(publish, self.configured) } else { None };
        let whole = self.configured.saturating_sub(around);
        Some(parts.map_or(whole, |part| part * MAX_FRAGMENTS))
    }

    /// The largest payload to a topic, in bytes, that goes in one piece.
    pub(super) fn one_piece(&self, topic: &str) -> usize {
        self.one_piece_around(|| topic.len())
    }

    /// The largest message to a session, in bytes, that goes in one piece, from the session `own`.
    pub(super) fn one_piece_to(&self, name: &str, own: &str) -> usize {
        self.one_piece_around(|| inbox::topic(&self.level, name).len() + inbox::encode(own, &[]).len())
    }

    /// `around` is what else a packet holds, asked for only where there is a limit.
    fn one_piece_around(&self, around: impl FnOnce() -> usize) -> usize {
        match self.shared.trusted.load(Ordering::Relaxed) {
            usize::MAX => usize::MAX,
            limit => limit.saturating_sub(AROUND + around()),
        }
    }

    /// The broker does not take `refused`, which is `whole` or a fragment of it: tries half of that,
    /// until [`confirm`](Self::confirm) or [`restore`](Self::restore). `false` if there is nothing
    /// smaller to try.
    pub(super) fn try_less(&self, refused: &Publish, whole: &Publish) -> bool {
        let size = packet_len(refused);
        let limit = (size / 2).max(SMALLEST);
        if size <= SMALLEST || limit >= self.limit() || self.fragments(whole, limit).is_none() {
            return false;
        }
        self.shared.limit.store(limit, Ordering::Relaxed);
        true
    }

    /// Whether nothing smaller can be tried.
    pub(super) fn is_smallest(&self) -> bool {
        self.limit() <= SMALLEST
    }

    /// A limit is tried, and no fragment has passed yet.
    pub(super) fn is_trial(&self) -> bool {
        self.limit() != self.shared.trusted.load(Ordering::Relaxed)
    }

    /// The broker has taken this. If it is a fragment, the limit is one that works: it is returned.
    pub(super) fn confirm(&self, publish: &Publish) -> Option<usize> {
        if !Fragment::is_fragment(&self.content(publish)) {
            return None;
        }
        let limit = self.limit();
        self.shared.trusted.store(limit, Ordering::Relaxed);
        Some(limit)
    }

    /// What the broker refuses it does not refuse for its size: back to what was known.
    pub(super) fn restore(&self) {
        self.shared.limit.store(self.shared.trusted.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// The message in fragments, the `message`th of `sender`. `None` if it is no frame, or too much
    /// of each packet would not be the message's.
    pub(super) fn split(&self, publish: &Publish, sender: u64, message: u32) -> Option<Vec<Publish>> {
        let (part, count) = self.fragments(publish, self.limit())?;
        let content = self.content(publish);
        let header = publish.payload.slice(..publish.payload.len() - content.len());
        let total = u32::try_from(content.len()).ok()?;
        let piece = |(index, bytes): (u16, &[u8])| {
            let fragment = Fragment { sender, message, index, count, total }.encode(bytes);
            let payload = if header.is_empty() { fragment } else { joined(&header, &fragment) };
            Publish { payload, pkid: 0, dup: false, ..publish.clone() }
        };
        Some((0..).zip(content.chunks(part)).map(piece).collect())
    }

    /// Whether it is a frame, or a bundle of them. A broker keeps one message a topic, not several.
    fn is_frame(&self, publish: &Publish) -> bool {
        let content = self.content(publish);
        Frame::is_frame(&content) && !Fragment::is_fragment(&content) && !publish.retain
    }

    /// How many bytes of the message a fragment carries, and how many fragments there are.
    fn fragments(&self, publish: &Publish, limit: usize) -> Option<(usize, u16)> {
        let part = self.part_len(publish, limit).filter(|_| self.is_frame(publish))?;
        let count = self.content(publish).len().div_ceil(part);
        Some((part, u16::try_from(count).ok().filter(|_| count <= MAX_FRAGMENTS)?))
    }

    fn part_len(&self, publish: &Publish, limit: usize) -> Option<usize> {
        let around = packet_len(publish) - self.content(publish).len() + FRAGMENT_HEADER_LEN;
        limit.checked_sub(around).filter(|part| *part >= LEAST_PART)
    }

    /// A message without the sender's name that is in front of a directed one.
    fn content(&self, publish: &Publish) -> Bytes {
        let directed = inbox::addressee(&self.level, &publish.topic);
        let content = directed.and_then(|_| inbox::decode(&publish.payload));
        content.map_or_else(|| publish.payload.clone(), |(_, content)| content)
    }
}

/// How long a message's packet is, at most.
fn packet_len(publish: &Publish) -> usize {
    AROUND + publish.topic.len() + publish.payload.len()
}

fn joined(header: &[u8], rest: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(header.len() + rest.len());
    bytes.put_slice(header);
    bytes.put_slice(rest);
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use rumqttc::QoS;
    use tokio::time::Instant;

    use super::super::reassembly::{Reassembly, Taken};
    use super::*;

    fn frame(size: usize) -> Vec<u8> {
        let mut bytes = vec![0xB5, 0x52, 1, 0];
        bytes.extend((4..size).map(|n| n as u8));
        bytes
    }

    fn packets(limit: Option<usize>) -> Packets {
        Packets::new(Level::default(), limit)
    }

    fn topical(topic: &str, payload: Vec<u8>) -> Publish {
        Publish::from_bytes(topic, QoS::AtLeastOnce, payload.into())
    }

    #[test]
    fn fragments_fit_and_make_the_message_again() {
        for limit in [SMALLEST, 3000, 10_000, 65_535] {
            let packets = packets(Some(limit));
            for size in [limit, limit * 3 + 1, 200_000] {
                // The longest names that there are.
                let directed = inbox::encode(&"s".repeat(128), &frame(size));
                let to = inbox::topic(&packets.level, &"p".repeat(128));
                let directed = Publish::from_bytes(to, QoS::AtLeastOnce, directed);
                for publish in [topical("some/topic", frame(size)), directed] {
                    assert!(!packets.takes(&publish) && packets.refuses(&publish).is_none());
                    let mut all = Reassembly::new(1 << 20);
                    let mut whole = None;
                    for piece in packets.split(&publish, 7, 8).unwrap() {
                        assert!(packets.takes(&piece));
                        assert!(piece.topic == publish.topic && piece.qos == publish.qos);
                        let content = packets.content(&piece);
                        let (fragment, part) = Fragment::parse(&content).unwrap();
                        let taken = all.take(Instant::now(), &piece.topic, fragment, part);
                        if let Taken::Whole(bytes) = taken {
                            assert!(whole.replace(bytes).is_none());
                        }
                    }
                    assert_eq!(whole.unwrap(), frame(size));
                }
            }
        }
    }

    #[test]
    fn what_goes_to_a_session_in_one_piece_fills_a_packet() {
        let packets = packets(Some(SMALLEST));
        let directed = |size| {
            let to = inbox::topic(&packets.level, "receiver");
            Publish::from_bytes(to, QoS::AtLeastOnce, inbox::encode("sender", &frame(size)))
        };
        let most = packets.one_piece_to("receiver", "sender");
        assert!(packets.takes(&directed(most)) && !packets.takes(&directed(most + 1)));
        assert_eq!(self::packets(None).one_piece_to("receiver", "sender"), usize::MAX);
    }

    #[test]
    fn what_is_no_frame_and_what_has_no_room_is_not_split() {
        let set = packets(Some(SMALLEST));
        let plain = topical("t", vec![0; 3000]);
        assert!(set.split(&plain, 1, 1).is_none());
        assert_eq!(set.refuses(&plain), Some(SMALLEST - AROUND - 1));
        let fits = topical("t", vec![0; SMALLEST - AROUND - 1]);
        assert!(set.takes(&fits) && set.refuses(&fits).is_none());
        let longest = SMALLEST - LEAST_PART - AROUND - FRAGMENT_HEADER_LEN;
        let long = topical(&"t".repeat(longest + 1), frame(3000));
        assert!(set.split(&long, 1, 1).is_none() && set.refuses(&long).is_some());
        let shorter = topical(&"t".repeat(longest), frame(3000));
        assert!(set.split(&shorter, 1, 1).is_some() && set.refuses(&shorter).is_none());
        let kept = Publish { retain: true, ..topical("t", frame(3000)) };
        assert!(set.split(&kept, 1, 1).is_none() && set.refuses(&kept).is_some());
        assert!(packets(None).takes(&plain) && packets(None).refuses(&plain).is_none());
        assert_eq!(packets(None).one_piece("t"), usize::MAX);
    }

    #[test]
    fn a_refusal_halves_the_limit_until_a_fragment_passes_or_nothing_is_left() {
        let learnt = packets(None);
        let whole = topical("t", frame(20_000));
        assert!(learnt.try_less(&whole, &whole) && learnt.is_trial());
        assert_eq!(learnt.one_piece("t"), usize::MAX, "it is not known yet");
        let pieces = learnt.split(&whole, 1, 1).unwrap();
        assert!(learnt.try_less(&pieces[0], &whole));
        let pieces = learnt.split(&whole, 1, 2).unwrap();
        assert_eq!(learnt.confirm(&topical("t", frame(10))), None);
        let limit = learnt.confirm(&pieces[0]).unwrap();
        assert!(packet_len(&pieces[0]) == limit && !learnt.is_trial() && (4900..5100).contains(&limit));
        // All of it is refused at last: that is not for its size.
        let mut refused = pieces[0].clone();
        while learnt.try_less(&refused, &whole) {
            refused = learnt.split(&whole, 1, 3).unwrap().swap_remove(0);
        }
        assert!(learnt.is_smallest() && packet_len(&refused) == SMALLEST);
        learnt.restore();
        assert_eq!(learnt.limit(), limit);
        let plain = topical("t", vec![0; 20_000]);
        assert!(!learnt.try_less(&plain, &plain));
    }
}
