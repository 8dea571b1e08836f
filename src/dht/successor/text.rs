//! The text in which the successor ring speaks: topics and payloads.
//!
//! Ids and keys are decimal, `None` stands for nobody. Nothing is allocated before it has been checked.

mod detours;

use std::borrow::Cow;
use std::fmt::Display;
use std::sync::Arc;

pub(super) use self::detours::{ANSWERS, detour_topics};
use super::message::{Heal, Message, Plain, Replica, ReplicaBody, Side, Stage};
use crate::dht::key::Key;

/// Where nodes say where they stand and, without a broker, where they are reached.
pub(super) const ADDRESSES: &str = "heal";

/// The topics of the plain protocol that a node listens to.
const NODE_TOPICS: [&str; 7] = ["join", "has_started", "ack-join", "put", "ack-put", "get", "leave"];
/// The other topics that a node listens to.
const NODE_EXTENSIONS: [&str; 4] = ["ack-leave", "fail", "heal", "replica"];
/// The topics that a client listens to.
pub(super) const CLIENT_TOPICS: [&str; 4] = ["ack-put", "res-get", "err-get", "heal"];

/// The longest name of a client that is believed, in bytes.
const MAX_CLIENT: usize = 256;
/// The most addresses in one message, and the longest of them in bytes.
pub(super) const MAX_ADDRESSES: usize = 8;
const MAX_ADDRESS: usize = 512;

/// Everything that a node listens to; `replica/ID` is its own.
pub(super) fn node_topics(id: Key) -> impl Iterator<Item = Cow<'static, str>> {
    let shared = NODE_TOPICS.into_iter().chain(NODE_EXTENSIONS).map(Cow::Borrowed);
    shared.chain([Cow::Owned(format!("replica/{id}"))])
}

/// Why a message was not understood; a metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("not a topic of the successor ring")]
    Topic,
    #[error("not UTF-8")]
    Utf8,
    #[error("longer than the limit")]
    TooLong,
    #[error("a part is missing: a slash or a space was expected")]
    Shape,
    #[error("not a decimal number in 0..4294967296")]
    Number,
    #[error("an unknown word")]
    Word,
    #[error("a node cannot be its own neighbour")]
    Twice,
}

impl Malformed {
    /// For metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Utf8 => "not UTF-8",
            Self::TooLong => "too long",
            Self::Shape => "shape",
            Self::Number => "number",
            Self::Word => "word",
            Self::Twice => "twice",
        }
    }
}

/// Where a message goes and what it reads.
pub(crate) fn encode(message: &Message) -> (Cow<'static, str>, String) {
    let (topic, payload) = match message {
        Message::Join(id) => ("join", id.to_string()),
        Message::HasStarted => ("has_started", "yes".into()),
        Message::AckJoin { from, to, side } => {
            let side = match side {
                Side::Successor => "sucessor",
                Side::Predecessor => "antecessor",
            };
            ("ack-join", format!("{from}/{to}/{side}"))
        }
        Message::Put { client, key, value } => ("put", format!("{client}/{key} {value}")),
        Message::AckPut { client, node } => ("ack-put", format!("{client}/{node}")),
        Message::Get(key) => ("get", key.to_string()),
        Message::ResGet { key, value } => ("res-get", format!("{key}/{value}")),
        Message::Leave { id, successor, predecessor } => {
            ("leave", format!("{id}/{}/{}", or_none(*successor), or_none(*predecessor)))
        }
        Message::AckLeave { leaver, acker } => ("ack-leave", format!("{leaver}/{acker}")),
        Message::Fail(id) => ("fail", id.to_string()),
        Message::Heal(heal) => ("heal", encode_heal(heal)),
        Message::Replica { to: None, replica } => ("replica", encode_replica(replica)),
        Message::Replica { to: Some(to), replica } => {
            return (Cow::Owned(format!("replica/{to}")), encode_replica(replica));
        }
        Message::ErrGet(key) => ("err-get", key.to_string()),
        Message::Ask { at, by, token, question } => {
            return (Cow::Owned(format!("ask/{at}")), detours::encode_ask(*by, token, question));
        }
        Message::Answer { at: None, token, key, reply } => {
            (ANSWERS, detours::encode_answer(token, *key, reply))
        }
        Message::Answer { at: Some(at), token, key, reply } => {
            let topic = format!("{ANSWERS}/{at}");
            return (Cow::Owned(topic), detours::encode_answer(token, *key, reply));
        }
        Message::Via { at, by, carried } => {
            return (Cow::Owned(format!("via/{at}")), detours::encode_via(carried, *by));
        }
    };
    (Cow::Borrowed(topic), payload)
}

/// Reads a message.
///
/// `max_value` bounds a value in bytes.
pub(crate) fn decode(topic: &str, payload: &[u8], max_value: usize) -> Result<Message, Malformed> {
    // What stands around a value is short.
    if payload.len() > max_value.saturating_add(MAX_CLIENT + 128 + MAX_ADDRESSES * MAX_ADDRESS) {
        return Err(Malformed::TooLong);
    }
    let text = std::str::from_utf8(payload).map_err(|_| Malformed::Utf8)?;
    match topic {
        "join" => number(text).map(Message::Join),
        "has_started" => Ok(Message::HasStarted),
        "ack-join" => decode_ack_join(text),
        "put" => decode_put(text, max_value),
        "ack-put" => {
            let (client, node) = text.rsplit_once('/').ok_or(Malformed::Shape)?;
            Ok(Message::AckPut { client: decode_client(client)?, node: number(node)? })
        }
        "get" => number(text).map(Message::Get),
        "res-get" => {
            let (key, value) = text.split_once('/').ok_or(Malformed::Shape)?;
            Ok(Message::ResGet { key: number(key)?, value: decode_value(value, max_value)? })
        }
        "leave" => decode_leave(text),
        "ack-leave" => {
            let (leaver, acker) = text.split_once('/').ok_or(Malformed::Shape)?;
            Ok(Message::AckLeave { leaver: number(leaver)?, acker: number(acker)? })
        }
        "fail" => number(text).map(Message::Fail),
        "heal" => decode_heal(text).map(Message::Heal),
        "replica" => decode_replica(text, max_value).map(|replica| Message::Replica { to: None, replica }),
        "err-get" => number(text).map(Message::ErrGet),
        _ => {
            if let Some(message) = detours::decode(topic, text, max_value) {
                return message;
            }
            let to = topic.strip_prefix("replica/").ok_or(Malformed::Topic)?;
            let replica = decode_replica(text, max_value)?;
            Ok(Message::Replica { to: Some(number(to)?), replica })
        }
    }
}

fn decode_ack_join(text: &str) -> Result<Message, Malformed> {
    let mut parts = text.split('/');
    let [from, to, side] = three(&mut parts)?;
    let (from, to) = (number(from)?, number(to)?);
    let side = match side.trim_ascii() {
        "sucessor" => Side::Successor,
        "antecessor" => Side::Predecessor,
        _ => return Err(Malformed::Word),
    };
    if from == to {
        return Err(Malformed::Twice);
    }
    Ok(Message::AckJoin { from, to, side })
}

fn decode_put(text: &str, max_value: usize) -> Result<Message, Malformed> {
    let (client, pair) = text.split_once('/').ok_or(Malformed::Shape)?;
    let (key, value) = pair.split_once(' ').ok_or(Malformed::Shape)?;
    Ok(Message::Put {
        client: decode_client(client)?,
        key: number(key)?,
        value: decode_value(value, max_value)?,
    })
}

fn decode_leave(text: &str) -> Result<Message, Malformed> {
    let mut parts = text.split('/');
    let [id, successor, predecessor] = three(&mut parts)?;
    let (id, successor, predecessor) =
        (number(id)?, number_or_none(successor)?, number_or_none(predecessor)?);
    if successor == Some(id) || predecessor == Some(id) {
        return Err(Malformed::Twice);
    }
    Ok(Message::Leave { id, successor, predecessor })
}

/// `ID/PREDECESSOR/SUCCESSOR/PLAIN/STAGE/CLOCK`, then addresses, each after a space, then perhaps
/// `detours`.
fn encode_heal(heal: &Heal) -> String {
    let stage = match heal.stage {
        Stage::Joining => "joining",
        Stage::Busy => "busy",
        Stage::Done => "done",
        Stage::Leaving => "leaving",
        Stage::Gone => "gone",
    };
    let plain = match (heal.plain.predecessor, heal.plain.successor) {
        (false, false) => "neither",
        (true, false) => "predecessor",
        (false, true) => "successor",
        (true, true) => "both",
    };
    let (predecessor, successor) = (or_none(heal.predecessor), or_none(heal.successor));
    let mut text = format!("{}/{predecessor}/{successor}/{plain}/{stage}/{}", heal.id, heal.clock);
    let takes_detours = heal.takes_detours.then_some(detours::TAKES_DETOURS);
    let room = MAX_ADDRESSES - usize::from(heal.takes_detours);
    for address in heal.addresses.iter().map(String::as_str).take(room).chain(takes_detours) {
        text.push(' ');
        text.push_str(address);
    }
    text
}

fn decode_heal(text: &str) -> Result<Heal, Malformed> {
    let mut words = text.split(' ');
    let mut parts = words.next().ok_or(Malformed::Shape)?.split('/');
    let [id, predecessor, successor] = next_three(&mut parts)?;
    let [plain, stage, clock] = three(&mut parts)?;
    let (before, after) = match plain {
        "neither" => (false, false),
        "predecessor" => (true, false),
        "successor" => (false, true),
        "both" => (true, true),
        _ => return Err(Malformed::Word),
    };
    let stage = match stage {
        "joining" => Stage::Joining,
        "busy" => Stage::Busy,
        "done" => Stage::Done,
        "leaving" => Stage::Leaving,
        "gone" => Stage::Gone,
        _ => return Err(Malformed::Word),
    };
    let mut addresses = decode_addresses(words)?;
    let words = addresses.len();
    addresses.retain(|word| word != detours::TAKES_DETOURS);
    let heal = Heal {
        id: number(id)?,
        predecessor: number_or_none(predecessor)?,
        successor: number_or_none(successor)?,
        plain: Plain { predecessor: before, successor: after },
        stage,
        clock: clock.parse().map_err(|_| Malformed::Number)?,
        takes_detours: addresses.len() < words,
        addresses,
    };
    if heal.predecessor == Some(heal.id) || heal.successor == Some(heal.id) {
        return Err(Malformed::Twice);
    }
    Ok(heal)
}

fn decode_addresses<'a>(words: impl Iterator<Item = &'a str>) -> Result<Vec<String>, Malformed> {
    let mut addresses = Vec::new();
    for word in words {
        if addresses.len() == MAX_ADDRESSES || word.len() > MAX_ADDRESS {
            return Err(Malformed::TooLong);
        }
        addresses.push(word.to_string());
    }
    Ok(addresses)
}

/// `FROM/TAG/WORD/KEY`, then for most words `/VERSION VALUE` or `/VERSION/DIGEST`.
fn encode_replica(replica: &Replica) -> String {
    let Replica { from, tag, key, body } = replica;
    match body {
        ReplicaBody::Store { version, value } => format!("{from}/{tag}/store/{key}/{version} {value}"),
        ReplicaBody::Keep { version, digest } => format!("{from}/{tag}/keep/{key}/{version}/{digest:016x}"),
        ReplicaBody::Ask { version, digest, bound } => {
            format!("{from}/{tag}/ask/{key}/{version}/{digest:016x}/{}", or_none(*bound))
        }
        ReplicaBody::Have { version, digest } => format!("{from}/{tag}/have/{key}/{version}/{digest:016x}"),
        ReplicaBody::Free => format!("{from}/{tag}/free/{key}"),
        ReplicaBody::Lack => format!("{from}/{tag}/lack/{key}"),
    }
}

fn decode_replica(text: &str, max_value: usize) -> Result<Replica, Malformed> {
    // A value may hold slashes and spaces: only what comes before it is taken apart.
    let (head, value) = text.split_once(' ').map_or((text, None), |(head, value)| (head, Some(value)));
    let mut parts = head.split('/');
    let [from, tag, word] = next_three(&mut parts)?;
    let key = number(parts.next().ok_or(Malformed::Shape)?)?;
    let mut version = || parts.next().ok_or(Malformed::Shape)?.parse().map_err(|_| Malformed::Number);
    let body = match (word, value) {
        ("store", Some(value)) => {
            ReplicaBody::Store { version: version()?, value: decode_value(value, max_value)? }
        }
        ("ask", None) => {
            let (version, digest) = (version()?, digest(parts.next())?);
            let bound = number_or_none(parts.next().ok_or(Malformed::Shape)?)?;
            ReplicaBody::Ask { version, digest, bound }
        }
        ("have", None) => ReplicaBody::Have { version: version()?, digest: digest(parts.next())? },
        ("keep", None) => ReplicaBody::Keep { version: version()?, digest: digest(parts.next())? },
        ("lack", None) => ReplicaBody::Lack,
        ("free", None) => ReplicaBody::Free,
        ("store" | "keep" | "ask" | "have" | "lack" | "free", _) => return Err(Malformed::Shape),
        _ => return Err(Malformed::Word),
    };
    if parts.next().is_some() {
        return Err(Malformed::Shape);
    }
    let tag = tag.parse().map_err(|_| Malformed::Number)?;
    Ok(Replica { from: number(from)?, tag, key, body })
}

fn digest(text: Option<&str>) -> Result<u64, Malformed> {
    u64::from_str_radix(text.ok_or(Malformed::Shape)?, 16).map_err(|_| Malformed::Number)
}

fn decode_client(client: &str) -> Result<Arc<str>, Malformed> {
    if client.len() > MAX_CLIENT { Err(Malformed::TooLong) } else { Ok(client.into()) }
}

fn decode_value(value: &str, max_value: usize) -> Result<Arc<str>, Malformed> {
    if value.len() > max_value { Err(Malformed::TooLong) } else { Ok(value.into()) }
}

fn three<'a>(parts: &mut impl Iterator<Item = &'a str>) -> Result<[&'a str; 3], Malformed> {
    let first = next_three(parts)?;
    if parts.next().is_some() { Err(Malformed::Shape) } else { Ok(first) }
}

fn next_three<'a>(parts: &mut impl Iterator<Item = &'a str>) -> Result<[&'a str; 3], Malformed> {
    match (parts.next(), parts.next(), parts.next()) {
        (Some(a), Some(b), Some(c)) => Ok([a, b, c]),
        _ => Err(Malformed::Shape),
    }
}

/// Space around a number is a shell's newline, not a mistake.
fn number(text: &str) -> Result<Key, Malformed> {
    text.trim_ascii().parse().map_err(|_| Malformed::Number)
}

fn number_or_none(text: &str) -> Result<Option<Key>, Malformed> {
    match text.trim_ascii() {
        "None" => Ok(None),
        text => number(text).map(Some),
    }
}

fn or_none(id: Option<Key>) -> Box<dyn Display> {
    match id {
        Some(id) => Box::new(id),
        None => Box::new("None"),
    }
}

#[cfg(test)]
mod tests;
