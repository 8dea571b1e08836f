//! The text is a contract with programs in other languages: its letters are tested here, and what strangers may send.

use proptest::prelude::*;

use super::*;
use crate::dht::successor::message::{Carried, Question, Reply};

const MAX_VALUE: usize = 1000;

fn key(number: u32) -> Key {
    Key::new(number)
}

/// Encodes to exactly this, and back.
#[track_caller]
fn reads(message: &Message, topic: &str, payload: &str) {
    assert_eq!(encode(message), (Cow::Borrowed(topic), payload.to_owned()));
    assert_eq!(decode(topic, payload.as_bytes(), MAX_VALUE).as_ref(), Ok(message));
}

#[test]
fn the_plain_protocol_to_the_letter() {
    reads(&Message::Join(key(0)), "join", "0");
    reads(&Message::Join(key(u32::MAX)), "join", "4294967295");
    reads(&Message::HasStarted, "has_started", "yes");
    let ack_join = |side| Message::AckJoin { from: key(20), to: key(10), side };
    reads(&ack_join(Side::Successor), "ack-join", "20/10/sucessor");
    reads(&ack_join(Side::Predecessor), "ack-join", "20/10/antecessor");
    let put =
        |client: &str, value: &str| Message::Put { client: client.into(), key: key(7), value: value.into() };
    reads(&put("client-1", "a/b c\nd 🦀"), "put", "client-1/7 a/b c\nd 🦀");
    reads(&put("None", ""), "put", "None/7 ");
    reads(&put("42", " / "), "put", "42/7  / ");
    reads(&Message::AckPut { client: "client-1".into(), node: key(9) }, "ack-put", "client-1/9");
    reads(&Message::Get(key(7)), "get", "7");
    reads(&Message::ResGet { key: key(7), value: "a/b c\n".into() }, "res-get", "7/a/b c\n");
    reads(&Message::ResGet { key: key(7), value: "".into() }, "res-get", "7/");
    let leave = |successor, predecessor| Message::Leave { id: key(1), successor, predecessor };
    reads(&leave(Some(key(2)), Some(key(3))), "leave", "1/2/3");
    reads(&leave(None, None), "leave", "1/None/None");
    reads(&Message::AckLeave { leaver: key(1), acker: key(2) }, "ack-leave", "1/2");
}

#[test]
fn detours_to_the_letter() {
    let ask = |by, question| Message::Ask { at: key(3), by, token: "a-1".into(), question };
    reads(&ask(None, Question::Get { key: key(7) }), "ask/3", "None/a-1/get/7");
    let value = "v / w".into();
    reads(&ask(Some(key(4)), Question::Put { key: key(7), value }), "ask/3", "4/a-1/put/7 v / w");
    let answer = |at, reply| Message::Answer { at, token: "a-1".into(), key: key(7), reply };
    reads(&answer(None, Reply::Stored(key(9))), "answer", "a-1/7/stored/9");
    reads(&answer(Some(key(4)), Reply::Found(" v".into())), "answer/4", "a-1/7/found  v");
    reads(&answer(None, Reply::Nothing), "answer", "a-1/7/nothing");
    let unreached = Reply::Unreached { owner: key(9), by: key(4) };
    reads(&answer(None, unreached), "answer", "a-1/7/unreached/9/4");
    let via = |by, message| {
        let carried = Box::new(Carried { from: key(1), to: key(2), message });
        Message::Via { at: key(4), by, carried }
    };
    reads(&via(None, Message::Join(key(1))), "via/4", "1/2/None/join 1");
    let body = ReplicaBody::Store { version: 5, value: "v/ w".into() };
    let replica = Replica { from: key(1), tag: 6, key: key(7), body };
    let replica = Message::Replica { to: Some(key(2)), replica };
    reads(&via(Some(key(4)), replica), "via/4", "1/2/4/replica/2 1/6/store/7/5 v/ w");
    // None is carried by another, however deep.
    let nested = decode("via/4", b"1/2/None/via/5 1/2/None/join 1", MAX_VALUE);
    assert_eq!(nested, Err(Malformed::Topic));
    assert_eq!(decode("via/4", b"1/1/None/join 1", MAX_VALUE), Err(Malformed::Twice));
    // Builds of before take the word for an address that they cannot read, and pass over it.
    let heal = Heal {
        id: key(1),
        predecessor: None,
        successor: None,
        plain: Plain::default(),
        stage: Stage::Done,
        clock: 5,
        addresses: vec!["memory:a".into()],
        takes_detours: true,
    };
    reads(&Message::Heal(heal), "heal", "1/None/None/neither/done/5 memory:a detours");
}

#[test]
fn the_extensions_to_the_letter() {
    reads(&Message::Fail(key(1)), "fail", "1");
    reads(&Message::ErrGet(key(7)), "err-get", "7");
    let heal = |predecessor, stage, addresses: &[&str]| {
        let addresses = addresses.iter().map(|address| (*address).to_owned()).collect();
        let (id, successor, plain) = (key(1), Some(key(2)), Plain::default());
        let takes_detours = false;
        Message::Heal(Heal { id, predecessor, successor, plain, stage, clock: 5, addresses, takes_detours })
    };
    reads(&heal(Some(key(3)), Stage::Joining, &[]), "heal", "1/3/2/neither/joining/5");
    reads(&heal(None, Stage::Busy, &["memory:a"]), "heal", "1/None/2/neither/busy/5 memory:a");
    let two = ["zmq+tcp://10.0.0.1:1", "zmq+tcp://10.0.0.2:1"];
    reads(
        &heal(None, Stage::Done, &two),
        "heal",
        "1/None/2/neither/done/5 zmq+tcp://10.0.0.1:1 zmq+tcp://10.0.0.2:1",
    );
    reads(&heal(None, Stage::Leaving, &[]), "heal", "1/None/2/neither/leaving/5");
    reads(&heal(None, Stage::Gone, &[]), "heal", "1/None/2/neither/gone/5");
    let replica =
        |to, body| Message::Replica { to, replica: Replica { from: key(1), tag: 8, key: key(7), body } };
    let store = ReplicaBody::Store { version: 3, value: "a/b c".into() };
    reads(&replica(Some(key(2)), store), "replica/2", "1/8/store/7/3 a/b c");
    let (version, digest) = (3, 0xab);
    let ask = |bound| replica(None, ReplicaBody::Ask { version, digest, bound });
    reads(&ask(None), "replica", "1/8/ask/7/3/00000000000000ab/None");
    reads(&ask(Some(key(9))), "replica", "1/8/ask/7/3/00000000000000ab/9");
    let keep = ReplicaBody::Keep { version, digest };
    reads(&replica(Some(key(2)), keep), "replica/2", "1/8/keep/7/3/00000000000000ab");
    reads(&replica(Some(key(2)), ReplicaBody::Free), "replica/2", "1/8/free/7");
    let have = ReplicaBody::Have { version, digest };
    reads(&replica(Some(key(2)), have), "replica/2", "1/8/have/7/3/00000000000000ab");
    reads(&replica(Some(key(2)), ReplicaBody::Lack), "replica/2", "1/8/lack/7");
}

#[test]
fn a_node_and_a_client_listen_to_what_concerns_them() {
    let node: Vec<_> = node_topics(key(5)).map(Cow::into_owned).collect();
    let expected = [
        "join",
        "has_started",
        "ack-join",
        "put",
        "ack-put",
        "get",
        "leave",
        "ack-leave",
        "fail",
        "heal",
        "replica",
        "replica/5",
    ];
    assert_eq!(node, expected);
    assert_eq!(CLIENT_TOPICS, ["ack-put", "res-get", "err-get", "heal"]);
}

#[test]
fn what_a_shell_adds_to_a_number_is_no_mistake() {
    assert_eq!(decode("join", b"7\n", MAX_VALUE), Ok(Message::Join(key(7))));
    assert_eq!(decode("get", b" 7\r\n", MAX_VALUE), Ok(Message::Get(key(7))));
    assert_eq!(
        decode("ack-leave", b"1/2\n", MAX_VALUE),
        Ok(Message::AckLeave { leaver: key(1), acker: key(2) })
    );
    // Of a value nothing is taken away.
    let put = Message::Put { client: "c".into(), key: key(7), value: "v\n".into() };
    assert_eq!(decode("put", b"c/7 v\n", MAX_VALUE), Ok(put));
}

#[test]
fn malformed_messages_are_told_apart() {
    let mistakes: [(&str, &[u8], Malformed); 33] = [
        ("weather", b"7", Malformed::Topic),
        ("replica2", b"1/8/lack/7", Malformed::Topic),
        ("put/x", b"c/7 v", Malformed::Topic),
        ("put", b"c/7 \xff", Malformed::Utf8),
        ("join", b"", Malformed::Number),
        ("join", b"4294967296", Malformed::Number),
        ("join", b"-1", Malformed::Number),
        ("join", b"+1", Malformed::Number),
        ("join", b"None", Malformed::Number),
        ("ack-join", b"1/2", Malformed::Shape),
        ("ack-join", b"1/2/sucessor/3", Malformed::Shape),
        ("ack-join", b"1/2/successor", Malformed::Word),
        ("ack-join", b"2/2/sucessor", Malformed::Twice),
        ("put", b"c 7 v", Malformed::Shape),
        ("put", b"c/7", Malformed::Shape),
        ("put", b"c/x v", Malformed::Number),
        ("ack-put", b"9", Malformed::Shape),
        ("ack-put", b"c/None", Malformed::Number),
        ("get", b"SEA", Malformed::Number),
        ("res-get", b"7", Malformed::Shape),
        ("leave", b"1/2", Malformed::Shape),
        ("leave", b"1/1/2", Malformed::Twice),
        ("leave", b"1/2/1", Malformed::Twice),
        ("leave", b"1/none/2", Malformed::Number),
        ("ack-leave", b"1", Malformed::Shape),
        ("heal", b"1/2/3/done", Malformed::Shape),
        ("heal", b"1/2/3/half/done/5", Malformed::Word),
        ("heal", b"1/2/3/neither/dead/5", Malformed::Word),
        ("heal", b"1/1/3/neither/done/5", Malformed::Twice),
        ("replica/2", b"1/8/have/7/3", Malformed::Shape),
        ("replica/2", b"1/8/store/7/3", Malformed::Shape),
        ("replica/2", b"1/8/steal/7/3", Malformed::Word),
        ("replica/x", b"1/8/lack/7", Malformed::Number),
    ];
    for (topic, payload, cause) in mistakes {
        let text = String::from_utf8_lossy(payload);
        assert_eq!(decode(topic, payload, MAX_VALUE), Err(cause), "{topic} {text}");
    }
}

#[test]
fn hostile_sizes_are_refused() {
    let too_long = |topic: &str, payload: String| {
        assert_eq!(decode(topic, payload.as_bytes(), MAX_VALUE), Err(Malformed::TooLong), "{topic}");
    };
    let (longest, longer) = ("v".repeat(MAX_VALUE), "v".repeat(MAX_VALUE + 1));
    for (topic, before) in [("put", "c/7 "), ("res-get", "7/"), ("replica/2", "1/8/store/7/3 ")] {
        assert!(decode(topic, format!("{before}{longest}").as_bytes(), MAX_VALUE).is_ok(), "{topic}");
        too_long(topic, format!("{before}{longer}"));
        too_long(topic, format!("{before}{}", "v".repeat(10 << 20)));
    }
    too_long("put", format!("{}/7 v", "c".repeat(MAX_CLIENT + 1)));
    too_long("ack-put", format!("{}/7", "c".repeat(MAX_CLIENT + 1)));
    too_long("heal", format!("1/2/3/neither/done/5{}", " memory:a".repeat(MAX_ADDRESSES + 1)));
    too_long("heal", format!("1/2/3/neither/done/5 {}", "a".repeat(MAX_ADDRESS + 1)));
    too_long("join", "7".repeat(10 << 20));
}

#[test]
fn a_message_never_grows_beyond_what_is_read() {
    let heal = Heal {
        plain: Plain::default(),
        id: key(1),
        predecessor: None,
        successor: None,
        stage: Stage::Done,
        clock: u64::MAX,
        addresses: vec!["a".repeat(MAX_ADDRESS); MAX_ADDRESSES + 5],
        takes_detours: false,
    };
    let (topic, payload) = encode(&Message::Heal(heal));
    let decoded = decode(&topic, payload.as_bytes(), 0).unwrap();
    assert!(matches!(decoded, Message::Heal(heal) if heal.addresses.len() == MAX_ADDRESSES));
}

fn keys() -> impl Strategy<Value = Key> {
    prop_oneof![Just(0), Just(u32::MAX), any::<u32>()].prop_map(Key::new)
}

/// Of up to 1,000 bytes.
fn values() -> impl Strategy<Value = Arc<str>> {
    let odd =
        prop::sample::select(vec!["", " ", "/", "\n", "a/b c/d", "None/1 2", "\u{0}", "🦀 🦀", "\u{feff}"]);
    prop_oneof![odd.prop_map(Arc::from), any::<String>().prop_map(|text| bounded(&text))]
}

fn bounded(text: &str) -> Arc<str> {
    text.char_indices()
        .take_while(|(at, c)| at + c.len_utf8() <= MAX_VALUE)
        .map(|(_, c)| c)
        .collect::<String>()
        .into()
}

fn clients() -> impl Strategy<Value = Arc<str>> {
    prop_oneof![Just(Arc::from("None")), "[0-9]{1,10}".prop_map(Arc::from), "[^/]{0,20}".prop_map(Arc::from)]
}

fn neighbours() -> impl Strategy<Value = (Key, Option<Key>, Option<Key>)> {
    let others = (prop::option::of(keys()), prop::option::of(keys()));
    (keys(), others).prop_filter_map("a node is not its own neighbour", |(id, (one, other))| {
        (one != Some(id) && other != Some(id)).then_some((id, one, other))
    })
}

fn heals() -> impl Strategy<Value = Message> {
    let stage =
        prop::sample::select(vec![Stage::Joining, Stage::Busy, Stage::Done, Stage::Leaving, Stage::Gone]);
    let addresses =
        |most| prop::collection::vec("[a-z]{1,9}:[!-~]{1,40}", 0..=most).prop_map(move |list| (list, most));
    // The word for detours takes the place of an address.
    let addresses = prop_oneof![addresses(MAX_ADDRESSES), addresses(MAX_ADDRESSES - 1)];
    let plain =
        (any::<bool>(), any::<bool>()).prop_map(|(predecessor, successor)| Plain { predecessor, successor });
    (neighbours(), plain, stage, any::<u64>(), addresses).prop_map(|(who, plain, stage, clock, addresses)| {
        let (id, predecessor, successor) = who;
        let (addresses, most) = addresses;
        let takes_detours = most < MAX_ADDRESSES;
        Message::Heal(Heal { id, predecessor, successor, plain, stage, clock, addresses, takes_detours })
    })
}

fn replicas() -> impl Strategy<Value = Message> {
    let numbers = || (any::<u64>(), any::<u64>());
    let body = prop_oneof![
        (any::<u64>(), values()).prop_map(|(version, value)| ReplicaBody::Store { version, value }),
        numbers().prop_map(|(version, digest)| ReplicaBody::Keep { version, digest }),
        (numbers(), prop::option::of(keys())).prop_map(|((version, digest), bound)| ReplicaBody::Ask {
            version,
            digest,
            bound
        }),
        numbers().prop_map(|(version, digest)| ReplicaBody::Have { version, digest }),
        Just(ReplicaBody::Lack),
        Just(ReplicaBody::Free),
    ];
    (prop::option::of(keys()), keys(), any::<u64>(), keys(), body).prop_map(|(to, from, tag, key, body)| {
        Message::Replica { to, replica: Replica { from, tag, key, body } }
    })
}

fn tokens() -> impl Strategy<Value = Arc<str>> {
    "[!-.0-~]{0,20}".prop_map(Arc::from)
}

fn asks() -> impl Strategy<Value = Message> {
    let question = prop_oneof![
        keys().prop_map(|key| Question::Get { key }),
        (keys(), values()).prop_map(|(key, value)| Question::Put { key, value }),
    ];
    (keys(), prop::option::of(keys()), tokens(), question)
        .prop_map(|(at, by, token, question)| Message::Ask { at, by, token, question })
}

fn replies() -> impl Strategy<Value = Message> {
    let reply = prop_oneof![
        keys().prop_map(Reply::Stored),
        values().prop_map(Reply::Found),
        Just(Reply::Nothing),
        (keys(), keys()).prop_map(|(owner, by)| Reply::Unreached { owner, by }),
    ];
    (prop::option::of(keys()), tokens(), keys(), reply).prop_map(|(at, token, key, reply)| Message::Answer {
        at,
        token,
        key,
        reply,
    })
}

fn vias() -> impl Strategy<Value = Message> {
    let pair = (keys(), keys()).prop_filter("two nodes", |(a, b)| a != b);
    (keys(), prop::option::of(keys()), pair, plain_messages()).prop_map(|(at, by, (from, to), message)| {
        Message::Via { at, by, carried: Box::new(Carried { from, to, message }) }
    })
}

fn messages() -> impl Strategy<Value = Message> {
    prop_oneof![4 => plain_messages(), 1 => asks(), 1 => replies(), 1 => vias()]
}

fn plain_messages() -> impl Strategy<Value = Message> {
    let side = prop::sample::select(vec![Side::Successor, Side::Predecessor]);
    let pair = (keys(), keys()).prop_filter("two nodes", |(a, b)| a != b);
    prop_oneof![
        keys().prop_map(Message::Join),
        Just(Message::HasStarted),
        (pair, side).prop_map(|((from, to), side)| Message::AckJoin { from, to, side }),
        (clients(), keys(), values()).prop_map(|(client, key, value)| Message::Put { client, key, value }),
        (clients(), keys()).prop_map(|(client, node)| Message::AckPut { client, node }),
        keys().prop_map(Message::Get),
        (keys(), values()).prop_map(|(key, value)| Message::ResGet { key, value }),
        neighbours().prop_map(|(id, successor, predecessor)| Message::Leave { id, successor, predecessor }),
        (keys(), keys()).prop_map(|(leaver, acker)| Message::AckLeave { leaver, acker }),
        keys().prop_map(Message::Fail),
        keys().prop_map(Message::ErrGet),
        heals(),
        replicas(),
    ]
}

fn topics() -> impl Strategy<Value = String> {
    let nodes = node_topics(key(5)).chain(detour_topics(key(5))).map(Cow::into_owned);
    let known: Vec<String> = nodes.chain(["res-get", "err-get", ANSWERS].map(str::to_owned)).collect();
    prop_oneof![9 => prop::sample::select(known), 1 => any::<String>()]
}

proptest! {
    #[test]
    fn what_is_written_is_read(message in messages()) {
        let (topic, payload) = encode(&message);
        prop_assert_eq!(decode(&topic, payload.as_bytes(), MAX_VALUE), Ok(message));
    }

    #[test]
    fn a_token_is_matched_exactly(client in "[ -~]{0,30}", node in keys()) {
        // Also one with slashes, which other programs may use: the last slash ends it.
        let message = Message::AckPut { client: client.into(), node };
        let (topic, payload) = encode(&message);
        prop_assert_eq!(decode(&topic, payload.as_bytes(), MAX_VALUE), Ok(message));
    }

    #[test]
    fn no_bytes_upset_the_reader(topic in topics(), payload in prop::collection::vec(any::<u8>(), 0..200)) {
        // What was understood is written so that it is understood again as the same.
        if let Ok(message) = decode(&topic, &payload, MAX_VALUE) {
            let (topic, payload) = encode(&message);
            prop_assert_eq!(decode(&topic, payload.as_bytes(), MAX_VALUE), Ok(message));
        }
    }

    #[test]
    fn no_text_upsets_the_reader(topic in topics(), payload in "([0-9]{1,11}|None|[/ ]|done|store|ask|have|lack|sucessor|é){0,12}") {
        if let Ok(message) = decode(&topic, payload.as_bytes(), MAX_VALUE) {
            let (topic, payload) = encode(&message);
            prop_assert_eq!(decode(&topic, payload.as_bytes(), MAX_VALUE), Ok(message));
        }
    }

    #[test]
    fn a_message_cut_short_does_not_upset_the_reader(message in messages(), at in any::<prop::sample::Index>()) {
        let (topic, payload) = encode(&message);
        let cut = at.index(payload.len() + 1);
        let read = decode(&topic, &payload.as_bytes()[..cut], MAX_VALUE);
        if cut == payload.len() {
            prop_assert_eq!(read, Ok(message));
        } else if let Ok(other) = read {
            prop_assert_eq!(std::mem::discriminant(&other), std::mem::discriminant(&message));
        }
    }
}
