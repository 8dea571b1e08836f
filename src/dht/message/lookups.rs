//! Lookups of one topic, and their answers, without what lies between them and their bytes: they are asked by the hundred
//! thousand a second, and most of them again and again.

use ahash::HashMap;
use bytes::Bytes;

use super::{Message, Offers, Reply, ReplyBody, RequestBody, RequestId};
use crate::error::Result;
use crate::message::Encoding;
use crate::topic::Topic;

/// The numbers of variants: the wire format.
const REQUEST: u32 = 1;
const LOOKUP: u32 = 1;
const REPLY: u32 = 3;
const OFFERS: u32 = 1;

/// The longest answer, in bytes, that is kept as it is sent or was read.
const MAX_KEPT_LEN: usize = 1024;
/// So many answers that were read are kept.
const MAX_KEPT: usize = 1024;

/// A lookup that judges nothing, as it stands in a message; its filter is not checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PlainLookup<'a> {
    pub(crate) id: RequestId,
    pub(crate) filter: &'a str,
}

impl<'a> PlainLookup<'a> {
    /// `None` if the message is something else; [`Message::decode`] says what.
    pub(crate) fn find(message: &'a [u8]) -> Option<Self> {
        let head: (u32, RequestId, u32, &str, u8) = postcard::take_from_bytes(message).ok()?.0;
        let (REQUEST, id, LOOKUP, filter, 0) = head else { return None };
        Some(Self { id, filter })
    }
}

/// The body of an answer as it is sent, if it is short enough to be kept.
pub(crate) fn encode_answer(offers: Offers) -> Option<Bytes> {
    let body = postcard::to_stdvec(&ReplyBody::Offers(offers)).ok()?;
    (body.len() <= MAX_KEPT_LEN).then(|| body.into())
}

/// Appends a [`Reply`] in one part, whose body is encoded already.
///
/// # Errors
/// [`ErrorKind::Encode`](crate::ErrorKind::Encode).
pub(crate) fn append_reply(id: RequestId, body: &[u8], out: &mut Vec<u8>) -> Result<()> {
    Encoding::Postcard.encode(&(REPLY, id, 0u16, 1u16), out)?;
    out.extend_from_slice(body);
    Ok(())
}

/// Appends a [`Request`](super::Request) whose body is elsewhere.
///
/// # Errors
/// [`ErrorKind::Encode`](crate::ErrorKind::Encode).
pub(crate) fn append_request(id: RequestId, body: &RequestBody, out: &mut Vec<u8>) -> Result<()> {
    Encoding::Postcard.encode(&(REQUEST, id, body), out)
}

/// Decodes messages of nodes, and remembers what answers say: the same bytes say the same.
#[derive(Debug, Default)]
pub(crate) struct AnswerReader {
    known: HashMap<Topic, (Box<[u8]>, Offers)>,
}

impl AnswerReader {
    /// What an answer to a lookup says, in one part, if the same was decoded before; and its number.
    pub(crate) fn known(&self, message: &[u8]) -> Option<(RequestId, &Offers)> {
        let (id, topic, body) = find_answer(message)?;
        let (known, offers) = self.known.get(topic)?;
        (**known == *body).then_some((id, offers))
    }

    /// As [`Message::decode`].
    ///
    /// # Errors
    /// As for [`Message::decode`].
    pub(crate) fn decode(&mut self, message: &[u8]) -> Result<Message> {
        if let Some((id, offers)) = self.known(message) {
            let body = ReplyBody::Offers(offers.clone());
            return Ok(Message::Reply(Reply { id, part: 0, parts: 1, body }));
        }
        let Some((_, _, body)) = find_answer(message) else { return Message::decode(message) };
        let decoded = Message::decode(message)?;
        if let Message::Reply(Reply { body: ReplyBody::Offers(offers), .. }) = &decoded
            && let Some(first) = offers.found.first()
            && body.len() <= MAX_KEPT_LEN
        {
            if self.known.len() >= MAX_KEPT {
                self.known.clear();
            }
            self.known.insert(first.topic.clone(), (body.into(), offers.clone()));
        }
        Ok(decoded)
    }
}

/// An answer in one part that holds at least one offer: its number, the topic of the first offer and the body.
fn find_answer(message: &[u8]) -> Option<(RequestId, &str, &[u8])> {
    let (head, body): ((u32, RequestId, u16, u16), _) = postcard::take_from_bytes(message).ok()?;
    let (REPLY, id, 0, 1) = head else { return None };
    let (OFFERS, 1.., topic) = postcard::take_from_bytes::<(u32, usize, &str)>(body).ok()?.0 else {
        return None;
    };
    Some((id, topic, body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dht::member::{Member, NodeName};
    use crate::dht::message::{FoundOffer, Request, RequestBody};
    use crate::message::{EntityId, SessionId};
    use crate::qos::{Offered, Requested};
    use crate::topic::TopicFilter;
    use crate::transport::Locator;

    fn lookup(id: RequestId, filter: &str, requested: Option<Requested>) -> Vec<u8> {
        let filter = TopicFilter::new(filter).unwrap();
        let body = RequestBody::Lookup { filter, requested: requested.map(Box::new) };
        Message::Request(Request { id, body }).encode().unwrap()
    }

    fn offers(topic: &str, count: u32) -> Offers {
        let locator = Locator::new("memory:a").unwrap();
        let responsible =
            Member { name: NodeName::new("node").unwrap(), locator: locator.clone(), generation: 7 };
        let found = (0..count).map(|entity| FoundOffer {
            topic: Topic::new(topic).unwrap(),
            id: EntityId { session: SessionId(9), entity },
            locator: locator.clone(),
            encoding: Encoding::Postcard,
            offered: Offered::default(),
            verdict: None,
            responsible: responsible.clone(),
        });
        Offers { found: found.collect(), unanswered: Vec::new(), truncated: false }
    }

    fn reply(id: RequestId, part: u16, parts: u16, offers: Offers) -> Message {
        Message::Reply(Reply { id, part, parts, body: ReplyBody::Offers(offers) })
    }

    #[test]
    fn lookups_that_judge_nothing_are_found_and_nothing_else_is() {
        for id in [0, 300, u64::MAX] {
            let message = lookup(id, "a/+/b", None);
            assert_eq!(PlainLookup::find(&message), Some(PlainLookup { id, filter: "a/+/b" }));
            for end in 0..message.len() {
                assert_eq!(PlainLookup::find(&message[..end]), None);
            }
        }
        assert_eq!(PlainLookup::find(&lookup(1, "a", Some(Requested::default()))), None);
        let members = Message::Request(Request { id: 1, body: RequestBody::Members });
        assert_eq!(PlainLookup::find(&members.encode().unwrap()), None);
        assert_eq!(PlainLookup::find(&reply(1, 0, 1, offers("a", 1)).encode().unwrap()), None);
    }

    #[test]
    fn a_request_whose_body_is_elsewhere_is_the_request_that_would_be_encoded() {
        let filter = TopicFilter::new("a/+").unwrap();
        let requested = Some(Box::new(Requested::default()));
        for body in [RequestBody::Lookup { filter, requested }, RequestBody::Members] {
            let mut appended = b"before".to_vec();
            append_request(u64::MAX, &body, &mut appended).unwrap();
            let message = Message::Request(Request { id: u64::MAX, body });
            assert_eq!(appended, [b"before".as_slice(), &message.encode().unwrap()].concat());
        }
    }

    #[test]
    fn an_answer_that_is_kept_is_the_answer_that_would_be_encoded() {
        for (id, count) in [(0, 0), (1, 1), (u64::MAX, 3)] {
            let mut out = Vec::new();
            append_reply(id, &encode_answer(offers("a/b", count)).unwrap(), &mut out).unwrap();
            assert_eq!(out, reply(id, 0, 1, offers("a/b", count)).encode().unwrap());
        }
        assert_eq!(encode_answer(offers("a/b", 60)), None, "too long");
    }

    #[test]
    fn messages_are_read_as_if_each_were_the_first() {
        let mut reader = AnswerReader::default();
        let messages = [
            reply(1, 0, 1, offers("a", 1)),
            reply(2, 0, 1, offers("a", 1)),
            reply(3, 0, 1, offers("a", 2)),
            reply(4, 0, 1, offers("a", 1)),
            reply(5, 1, 2, offers("a", 1)),
            reply(6, 0, 1, offers("b", 60)),
            reply(7, 0, 1, offers("b", 0)),
            Message::Request(Request { id: 8, body: RequestBody::Members }),
        ];
        for message in messages.iter().chain(&messages) {
            let bytes = message.encode().unwrap();
            assert_eq!(reader.decode(&bytes).unwrap(), *message);
            for end in 0..bytes.len() {
                assert!(reader.decode(&bytes[..end]).is_err(), "{message:?} cut to {end}");
            }
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut reader = AnswerReader::default();
        for number in 0..=MAX_KEPT {
            let message = reply(1, 0, 1, offers(&format!("t/{number}"), 1));
            assert_eq!(reader.decode(&message.encode().unwrap()).unwrap(), message);
            assert!(reader.known.len() <= MAX_KEPT);
        }
    }
}
