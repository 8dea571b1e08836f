//! What publishers and subscribers tell each other: postcard in control frames of [`Room::PubSub`].
//!
//! [`Room::PubSub`]: crate::wire::Room::PubSub

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::message::{Encoding, EntityId};
use crate::qos::{Offered, Overflow, Requested};
use crate::time::Timestamp;
use crate::topic::TopicFilter;
use crate::transport::Locator;

/// The topic on which a new subscriber asks for announcements.
pub(crate) const QUERY_TOPIC: &str = "@ringbus/query";

/// One message. Only ever grows at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Message {
    /// A writer's announcement, on its topic: whoever hears it receives the samples too.
    Heartbeat(Heartbeat),
    /// A writer leaves, on its topic.
    WriterBye {
        writer: EntityId,
        epoch: u32,
        /// The last sequence number that it used; 0 for none.
        last: u64,
    },
    /// A reader's answer to a heartbeat, or its request for what it misses; to the writer's session.
    AckNack(AckNack),
    /// A reader leaves; to the writer's session.
    ReaderBye { reader: EntityId, writer: EntityId, via_node: bool },
    /// A writer's answer to [`AckNack::replay_after`]; to the reader's session.
    Replay(Replay),
    /// A new reader asks the writers under its filter to announce themselves, on [`QUERY_TOPIC`].
    Query { filter: TopicFilter },
}

impl Message {
    /// The message with everything in its place, as the state machines expect it.
    pub(crate) fn completed(mut self) -> Self {
        if let Self::Heartbeat(heartbeat) = &mut self {
            heartbeat.offered.overflow = heartbeat.overflow.0.unwrap_or_default();
        }
        self
    }

    /// Whether the numbers make sense: the state machines count on it. What a stranger may send, this refuses.
    pub(crate) fn is_sound(&self) -> bool {
        let counts = |last: u64| last < MAX_SEQUENCE;
        match self {
            // Nothing is published in it.
            Self::Heartbeat(Heartbeat { encoding: Encoding::Any, .. }) => false,
            Self::Heartbeat(Heartbeat { first, last, .. }) | Self::Replay(Replay { first, last, .. }) => {
                counts(*last) && (1..=last + 1).contains(first)
            }
            Self::WriterBye { last, .. } => counts(*last),
            Self::AckNack(AckNack { next, missing, .. }) => {
                let sound = |(from, to): &(u64, u64)| *from >= 1 && from <= to && counts(*to);
                *next >= 1 && missing.len() <= MAX_RANGES && missing.iter().all(sound)
            }
            Self::ReaderBye { .. } | Self::Query { .. } => true,
        }
    }
}

/// What a writer says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Heartbeat {
    pub(crate) writer: EntityId,
    pub(crate) epoch: u32,
    /// Where the writer's session takes answers.
    pub(crate) locator: Locator,
    pub(crate) encoding: Encoding,
    /// The oldest sample that can still be had; `last + 1` if none.
    pub(crate) first: u64,
    /// The newest sample's sequence number; 0 if nothing was published yet.
    pub(crate) last: u64,
    pub(crate) offered: Offered,
    /// What gives way where there is no room, if anything does: a node that stands in for the writer does the same.
    pub(crate) overflow: Later<Overflow>,
}

/// What a reader says of itself to one writer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AckNack {
    pub(crate) reader: EntityId,
    pub(crate) writer: EntityId,
    pub(crate) epoch: u32,
    /// Whether it is for a node's stand-in rather than for the writer itself: the two share an identity.
    pub(crate) via_node: bool,
    /// For a node's relay: how many subscribers it stands for at present.
    pub(crate) stands_for: Option<u32>,
    /// Everything below has been received, or is not wanted.
    pub(crate) next: u64,
    /// Inclusive ranges that are missing, at most [`MAX_RANGES`].
    pub(crate) missing: Vec<(u64, u64)>,
    /// Ask where in the sequence the samples after this source timestamp begin.
    pub(crate) replay_after: Option<Timestamp>,
    pub(crate) requested: Requested,
    /// The encoding that it expects; versions before 0.1.0's last do not state it.
    pub(crate) encoding: Later<Encoding>,
}

/// A field that was added behind the last one of a message. Earlier versions end before it, and ignore it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Later<T>(pub(crate) Option<T>);

impl<T: Serialize> Serialize for Later<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(value) => value.serialize(serializer),
            // Of no bytes.
            None => serializer.serialize_unit(),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Later<T> {
    /// Absent where the bytes end, and where a later version states what this one does not know.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(T::deserialize(deserializer).ok()))
    }
}

/// Where a replay begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Replay {
    pub(crate) reader: EntityId,
    pub(crate) writer: EntityId,
    pub(crate) epoch: u32,
    /// The timestamp that was asked for.
    pub(crate) after: Timestamp,
    /// The first sample after it that is kept; `last + 1` if none.
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// Sequence numbers are below this: no writer comes so far, and sums of a few such numbers are still numbers.
pub(crate) const MAX_SEQUENCE: u64 = 1 << 60;

/// The most ranges in one [`AckNack`].
pub(crate) const MAX_RANGES: usize = 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::SessionId;
    use crate::qos::ResourceLimits;
    use crate::wire::{Frame, Room, decode_body, encode_control};

    fn entity(entity: u32) -> EntityId {
        EntityId { session: SessionId(0x0102_0304_0506_0708), entity }
    }

    /// One of each message. The bytes are not to change: peers of earlier versions read them.
    fn golden() -> Vec<(&'static str, Message)> {
        let limits = ResourceLimits { max_samples: 65_536, max_bytes: 256 << 20 };
        let heartbeat = Heartbeat {
            writer: entity(1),
            epoch: 1,
            locator: Locator::new("zmq+tcp://127.0.0.1:5556").unwrap(),
            offered: Offered::reliable().transient_local().exclusive(10).resource_limits(limits),
            encoding: Encoding::Json,
            first: 3,
            last: 300,
            overflow: Later(None),
        };
        let lets_go = Heartbeat { overflow: Later(Some(Overflow::Disconnect)), ..heartbeat.clone() };
        let acknack = AckNack {
            reader: entity(2),
            writer: entity(1),
            epoch: 1,
            via_node: true,
            requested: Requested::reliable().exclusive().resource_limits(limits),
            stands_for: Some(2),
            next: 7,
            missing: vec![(7, 9), (12, 300)],
            replay_after: Some(Timestamp::from_secs(1_262_304_000)),
            encoding: Later(None),
        };
        let of_today = AckNack { encoding: Later(Some(Encoding::Json)), ..acknack.clone() };
        let after = Timestamp::from_secs(-1);
        let replay = Replay { reader: entity(2), writer: entity(1), epoch: 1, after, first: 8, last: 300 };
        vec![
            ("heartbeat", Message::Heartbeat(heartbeat)),
            ("writer-bye", Message::WriterBye { writer: entity(1), epoch: 1, last: 300 }),
            ("acknack", Message::AckNack(acknack)),
            ("reader-bye", Message::ReaderBye { reader: entity(2), writer: entity(1), via_node: false }),
            ("replay", Message::Replay(replay)),
            ("query", Message::Query { filter: TopicFilter::new("weather/+").unwrap() }),
            ("heartbeat-overflow", Message::Heartbeat(lets_go)),
            ("acknack-encoding", Message::AckNack(of_today)),
        ]
    }

    #[test]
    fn messages_are_the_golden_ones() {
        for (name, message) in golden() {
            let path = format!("{}/tests/vectors/frames/pubsub-{name}.hex", env!("CARGO_MANIFEST_DIR"));
            let bytes = encode_control(Room::PubSub, &message).unwrap();
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            if std::env::var_os("RINGBUS_WRITE_VECTORS").is_some() {
                std::fs::write(&path, format!("{hex}\n")).unwrap();
            }
            let stored = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
            assert_eq!(hex, stored.trim(), "{name}");
            let Ok(Frame::Control { room: Room::PubSub, body }) = Frame::parse(bytes) else {
                panic!("{name}")
            };
            assert_eq!(decode_body::<Message>(&body).unwrap(), message, "{name}");
            assert!(message.is_sound(), "{name}");
        }
    }

    /// The messages as the first version has them: an acknowledgement ends with the request.
    #[derive(Debug, Deserialize)]
    enum First {
        _Heartbeat,
        _WriterBye,
        AckNack(Box<FirstAckNack>),
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "read to see that it can be")]
    struct FirstAckNack {
        reader: EntityId,
        writer: EntityId,
        epoch: u32,
        via_node: bool,
        stands_for: Option<u32>,
        next: u64,
        missing: Vec<(u64, u64)>,
        replay_after: Option<Timestamp>,
        requested: Requested,
    }

    #[test]
    fn earlier_versions_read_what_grew_and_state_no_encoding() {
        let Some((_, Message::AckNack(today))) = golden().pop() else { panic!() };
        let body = |encoding| {
            let message = Message::AckNack(AckNack { encoding, ..today.clone() });
            let Ok(Frame::Control { body, .. }) =
                Frame::parse(encode_control(Room::PubSub, &message).unwrap())
            else {
                panic!()
            };
            body
        };
        let First::AckNack(first) = decode_body(&body(today.encoding)).unwrap() else { panic!() };
        assert_eq!((first.next, &first.requested), (today.next, &today.requested));
        let earlier = body(Later(None));
        assert_eq!(earlier.len() + 1, body(today.encoding).len());
        let Message::AckNack(read) = decode_body(&earlier).unwrap() else { panic!() };
        assert_eq!(read.encoding, Later(None));
        // An encoding of a later version is as good as none.
        let mut later = earlier.to_vec();
        later.push(77);
        let Message::AckNack(read) = decode_body(&later).unwrap() else { panic!() };
        assert_eq!(read.encoding, Later(None));
    }

    #[test]
    fn numbers_that_make_no_sense_are_refused() {
        let with = |change: fn(&mut Heartbeat)| {
            let Some((_, Message::Heartbeat(mut heartbeat))) = golden().into_iter().next() else { panic!() };
            change(&mut heartbeat);
            Message::Heartbeat(heartbeat).is_sound()
        };
        assert!(with(|_| {}));
        assert!(with(|heartbeat| heartbeat.first = heartbeat.last + 1), "nothing is kept");
        assert!(!with(|heartbeat| heartbeat.first = heartbeat.last + 2));
        assert!(!with(|heartbeat| heartbeat.first = 0));
        assert!(!with(|heartbeat| heartbeat.last = u64::MAX));
        assert!(!with(|heartbeat| heartbeat.encoding = Encoding::Any), "nothing is published in it");
        assert!(!with(|heartbeat| heartbeat.last = MAX_SEQUENCE));
        let bye = Message::WriterBye { writer: entity(1), epoch: 1, last: u64::MAX };
        assert!(!bye.is_sound());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(decode_body::<Message>(&bytes));
        }

        #[test]
        fn a_damaged_message_never_panics(which in 0usize..8, at in 0usize..200, value: u8) {
            let mut bytes = encode_control(Room::PubSub, &golden()[which].1).unwrap().to_vec();
            let index = at % bytes.len();
            bytes[index] = value;
            if let Ok(Frame::Control { body, .. }) = Frame::parse(bytes.into()) {
                drop(decode_body::<Message>(&body));
            }
        }
    }
}
