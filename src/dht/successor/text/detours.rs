//! The text of detours: what goes by way of a third node. Only on transports without a broker.

use std::borrow::Cow;

use super::{Malformed, decode_client, decode_value, next_three, number, number_or_none, or_none};
use crate::dht::key::Key;
use crate::dht::successor::message::{Carried, Message, Question, Reply};

/// Where clients hear what was answered by way of a third node.
pub(in crate::dht::successor) const ANSWERS: &str = "answer";

/// The word among a node's addresses that says that it takes detours. Builds that do not know it
/// pass over what is no address.
pub(super) const TAKES_DETOURS: &str = "detours";

/// What a node listens to beside [the rest](super::node_topics) where there is no broker.
pub(in crate::dht::successor) fn detour_topics(id: Key) -> impl Iterator<Item = Cow<'static, str>> {
    ["ask", ANSWERS, "via"].into_iter().map(move |topic| Cow::Owned(format!("{topic}/{id}")))
}

/// `ask/AT`: `BY/TOKEN/get/KEY` or `BY/TOKEN/put/KEY VALUE`.
pub(super) fn encode_ask(by: Option<Key>, token: &str, question: &Question) -> String {
    let by = or_none(by);
    match question {
        Question::Get { key } => format!("{by}/{token}/get/{key}"),
        Question::Put { key, value } => format!("{by}/{token}/put/{key} {value}"),
    }
}

/// `answer` or `answer/AT`: `TOKEN/KEY/stored/NODE`, `TOKEN/KEY/found VALUE`, `TOKEN/KEY/nothing`
/// or `TOKEN/KEY/unreached/OWNER/BY`.
pub(super) fn encode_answer(token: &str, key: Key, reply: &Reply) -> String {
    match reply {
        Reply::Stored(node) => format!("{token}/{key}/stored/{node}"),
        Reply::Found(value) => format!("{token}/{key}/found {value}"),
        Reply::Nothing => format!("{token}/{key}/nothing"),
        Reply::Unreached { owner, by } => format!("{token}/{key}/unreached/{owner}/{by}"),
    }
}

/// `via/AT`: `FROM/TO/BY/TOPIC PAYLOAD`.
pub(super) fn encode_via(carried: &Carried, by: Option<Key>) -> String {
    let (topic, payload) = super::encode(&carried.message);
    format!("{}/{}/{}/{topic} {payload}", carried.from, carried.to, or_none(by))
}

/// A message on one of the topics of detours; `None` if it is on another.
pub(super) fn decode(topic: &str, text: &str, max_value: usize) -> Option<Result<Message, Malformed>> {
    let (topic, at) = topic.split_once('/').map_or((topic, None), |(topic, at)| (topic, Some(at)));
    match (topic, at) {
        ("ask", Some(at)) => Some(number(at).and_then(|at| decode_ask(at, text, max_value))),
        (ANSWERS, Some(at)) => Some(number(at).and_then(|at| decode_answer(Some(at), text, max_value))),
        (ANSWERS, None) => Some(decode_answer(None, text, max_value)),
        ("via", Some(at)) => Some(number(at).and_then(|at| decode_via(at, text, max_value))),
        _ => None,
    }
}

fn decode_ask(at: Key, text: &str, max_value: usize) -> Result<Message, Malformed> {
    let (head, value) = split(text);
    let mut parts = head.split('/');
    let [by, token, word] = next_three(&mut parts)?;
    let key = number(parts.next().ok_or(Malformed::Shape)?)?;
    let question = match (word, value) {
        ("get", None) => Question::Get { key },
        ("put", Some(value)) => Question::Put { key, value: decode_value(value, max_value)? },
        ("get" | "put", _) => return Err(Malformed::Shape),
        _ => return Err(Malformed::Word),
    };
    end(&mut parts)?;
    Ok(Message::Ask { at, by: number_or_none(by)?, token: decode_client(token)?, question })
}

fn decode_answer(at: Option<Key>, text: &str, max_value: usize) -> Result<Message, Malformed> {
    let (head, value) = split(text);
    let mut parts = head.split('/');
    let [token, key, word] = next_three(&mut parts)?;
    let mut node = || number(parts.next().ok_or(Malformed::Shape)?);
    let reply = match (word, value) {
        ("stored", None) => Reply::Stored(node()?),
        ("found", Some(value)) => Reply::Found(decode_value(value, max_value)?),
        ("nothing", None) => Reply::Nothing,
        ("unreached", None) => Reply::Unreached { owner: node()?, by: node()? },
        ("stored" | "found" | "nothing" | "unreached", _) => return Err(Malformed::Shape),
        _ => return Err(Malformed::Word),
    };
    end(&mut parts)?;
    Ok(Message::Answer { at, token: decode_client(token)?, key: number(key)?, reply })
}

fn decode_via(at: Key, text: &str, max_value: usize) -> Result<Message, Malformed> {
    let (head, payload) = text.split_once(' ').ok_or(Malformed::Shape)?;
    let mut parts = head.splitn(4, '/');
    let [from, to, by] = next_three(&mut parts)?;
    let topic = parts.next().ok_or(Malformed::Shape)?;
    // Nothing of a detour is carried by another one.
    if decode(topic, "", 0).is_some() {
        return Err(Malformed::Topic);
    }
    let message = super::decode(topic, payload.as_bytes(), max_value)?;
    let (from, to) = (number(from)?, number(to)?);
    if from == to {
        return Err(Malformed::Twice);
    }
    Ok(Message::Via { at, by: number_or_none(by)?, carried: Box::new(Carried { from, to, message }) })
}

/// What stands before the first space, and what behind it: a value may hold slashes.
fn split(text: &str) -> (&str, Option<&str>) {
    text.split_once(' ').map_or((text, None), |(head, value)| (head, Some(value)))
}

fn end<'a>(parts: &mut impl Iterator<Item = &'a str>) -> Result<(), Malformed> {
    if parts.next().is_some() { Err(Malformed::Shape) } else { Ok(()) }
}
