//! Messages to one peer: an inbox topic per session, and the few bytes in front that name the sender.

use bytes::{BufMut, Bytes, BytesMut};

use super::address;
use super::level::Level;
use crate::transport::Locator;

const VERSION: u8 = 1;

/// In a version's place: a [fence].
const FENCE: u8 = 0;

/// In a version's place: an [announcement].
const ANNOUNCEMENT: u8 = 2;

/// How many bytes a directed message may have beside its payload.
pub(super) const MAX_OVERHEAD: usize = 2 + address::MAX_CLIENT_ID_LEN;

/// The topic that a session receives its directed messages on.
pub(super) fn topic(level: &Level, client_id: &str) -> String {
    level.topic(&format!("inbox/{client_id}"))
}

/// Whose inbox a topic is; `None` for other topics.
pub(super) fn addressee(level: &Level, topic: &str) -> Option<Locator> {
    address::locator(level.below(topic)?.strip_prefix("inbox/")?).ok()
}

/// Puts the sender's name in front of a payload: version, length of the name, name, payload.
///
/// `sender` is a valid client id, so its length fits into one byte.
pub(super) fn encode(sender: &str, payload: &[u8]) -> Bytes {
    put(VERSION, sender, payload)
}

/// The sender's announcement, for one session alone: what it has published for all, its nonce, with its name in front. Builds
/// that do not know it drop it, as they do with every version but their own.
pub(super) fn announcement(sender: &str, nonce: &[u8]) -> Bytes {
    put(ANNOUNCEMENT, sender, nonce)
}

fn put(version: u8, sender: &str, payload: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(2 + sender.len() + payload.len());
    message.put_u8(version);
    message.put_u8(sender.len() as u8);
    message.put_slice(sender.as_bytes());
    message.put_slice(payload);
    message.freeze()
}

/// Takes a directed message apart; `None` for anything that is not one. The payload shares the message's memory.
pub(super) fn decode(message: &Bytes) -> Option<(Locator, Bytes)> {
    let (name, payload) = take(VERSION, message)?;
    Some((address::locator(name).ok()?, payload))
}

/// The name and the nonce of an [announcement]; `None` for anything that is not one.
pub(super) fn decode_announcement(message: &Bytes) -> Option<(&str, Bytes)> {
    take(ANNOUNCEMENT, message)
}

fn take(wanted: u8, message: &Bytes) -> Option<(&str, Bytes)> {
    let (&[version, len], rest) = message.split_first_chunk::<2>()?;
    let len = usize::from(len);
    let name = std::str::from_utf8(rest.get(..len)?).ok()?;
    (version == wanted).then(|| (name, message.slice(2 + len..)))
}

/// What a session sends to its own inbox to learn that it has received everything that was sent to it before.
///
/// The nonce keeps a session from believing a predecessor's; 0 is no version of a directed message.
pub(super) fn fence(nonce: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(1 + nonce.len());
    message.put_u8(FENCE);
    message.put_slice(nonce);
    message.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_decodes() {
        let message = encode("node-7", b"hello");
        assert_eq!(&message[..], b"\x01\x06node-7hello");
        let (from, payload) = decode(&message).unwrap();
        assert_eq!((from.as_str(), &payload[..]), ("mqtt:node-7", &b"hello"[..]));
        assert!(decode(&encode("a", b"")).unwrap().1.is_empty());
    }

    #[test]
    fn an_announcement_is_no_directed_message_and_the_other_way_round() {
        let message = announcement("node-7", b"nonce");
        assert_eq!(decode_announcement(&message), Some(("node-7", Bytes::from_static(b"nonce"))));
        assert!(decode(&message).is_none());
        assert!(decode_announcement(&encode("node-7", b"nonce")).is_none());
        assert!(decode_announcement(&fence(b"\x01ax")).is_none());
    }

    #[test]
    fn a_fence_is_no_directed_message() {
        assert!(decode(&fence(b"\x01ax")).is_none());
    }

    #[test]
    fn garbage_is_refused() {
        for garbage in
            [&b""[..], b"\x01", b"\x01\x00x", b"\x02\x01ax", b"\x01\x05ab", b"\x01\x01/", b"\x01\x02\xff\xfe"]
        {
            assert!(decode(&Bytes::copy_from_slice(garbage)).is_none(), "{garbage:?}");
        }
    }
}
