//! Messages to one peer: an inbox topic per session, and the few bytes in front that name the sender.

use bytes::{BufMut, Bytes, BytesMut};

use super::address;
use crate::transport::Locator;

const VERSION: u8 = 1;

/// In a version's place: a [fence].
const FENCE: u8 = 0;

/// How many bytes a directed message may have beside its payload.
pub(super) const MAX_OVERHEAD: usize = 2 + address::MAX_CLIENT_ID_LEN;

/// The topic that a session receives its directed messages on.
pub(super) fn topic(client_id: &str) -> String {
    format!("@ringbus/inbox/{client_id}")
}

/// Puts the sender's name in front of a payload: version, length of the name, name, payload.
///
/// `sender` is a valid client id, so its length fits into one byte.
pub(super) fn encode(sender: &str, payload: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(2 + sender.len() + payload.len());
    message.put_u8(VERSION);
    message.put_u8(sender.len() as u8);
    message.put_slice(sender.as_bytes());
    message.put_slice(payload);
    message.freeze()
}

/// Takes a directed message apart; `None` for anything that is not one. The payload shares the message's memory.
pub(super) fn decode(message: &Bytes) -> Option<(Locator, Bytes)> {
    let (&[version, len], rest) = message.split_first_chunk::<2>()?;
    let len = usize::from(len);
    let name = std::str::from_utf8(rest.get(..len)?).ok()?;
    if version != VERSION {
        return None;
    }
    Some((address::locator(name).ok()?, message.slice(2 + len..)))
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
