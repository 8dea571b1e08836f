//! What strangers publish: nothing of it changes the ring.

use ringbus::dht::SuccessorEvent;

use crate::counts;
use crate::plain_link::Link;
use crate::support::Mqtt;
use crate::support::successor::{Ring, put_all, random_pairs, verify};

const NODES: [u32; 3] = [500_000_000, 2_000_000_000, 3_500_000_000];

/// What a node understands.
const TOPICS: [&str; 12] = [
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
    "replica/2000000000",
];

/// Nothing to anybody on any topic.
const NOTHING: [&[u8]; 4] = [b"\xff\xfe", b"1/\xc3\x28", b"\xf0\x9f\xa6", b"5/6 \x80"];

/// Nothing on the topic, though text.
const WRONG: [(&str, &[&str]); 11] = [
    (
        "join",
        &["", "/", "x", "-1", "+1", "4294967296", "18446744073709551617", "1.5", "0x10", "١", "5/6", "None"],
    ),
    (
        "ack-join",
        &[
            "",
            "/",
            "//",
            "5/6",
            "5/6/",
            "5/6/neighbour",
            "5/6/sucessor/7",
            "5/4294967296/sucessor",
            "x/6/antecessor",
            "7/7/sucessor",
            "2000000000/2000000000/antecessor",
            "None/5/sucessor",
        ],
    ),
    (
        "put",
        &[
            "",
            "/",
            "5",
            "me",
            "me/",
            "me/5",
            "me/x value",
            "me/4294967296 value",
            "me/-1 value",
            "me 5/value",
        ],
    ),
    ("ack-put", &["", "5", "me/", "me/x", "me/4294967296"]),
    ("get", &["", "/", "x", "5 6", "-1", "4294967296", "5/6"]),
    (
        "leave",
        &[
            "",
            "//",
            "5",
            "5/6",
            "5/6/7/8",
            "5/5/5",
            "2000000000/2000000000/2000000000",
            "None/None/None",
            "5/x/7",
            "4294967296/1/2",
        ],
    ),
    ("ack-leave", &["", "5", "5/", "/5", "x/5", "5/4294967296", "5/6/7"]),
    ("fail", &["", "x", "None", "4294967296", "500000000/2000000000"]),
    (
        "heal",
        &[
            "",
            "5",
            "5/6/7",
            "5/6/7/done",
            "5/6/7/sleeping/0",
            "5/6/7/done/x",
            "5/5/7/done/0",
            "4294967296/6/7/done/0",
            "5/6/7/done/0/1",
            "5/6/7/done/0 a b c d e f g h i",
        ],
    ),
    (
        "replica",
        &["", "5", "5/6/7", "5/6/keep/7", "5/6/store/7", "5/6/ask/7/1/xyz", "x/6/lack/7", "5/6/lack/7/8"],
    ),
    ("replica/2000000000", &["", "5/6/have/7", "5/6/store/7/1", "5/6/store/4294967296/1 value"]),
];

/// Understood, and untrue: who is on the ring already, who has never announced itself, who is nobody's neighbour.
const UNTRUE: [(&str, &str); 14] = [
    ("join", "500000000"),
    ("join", "2000000000"),
    ("ack-join", "3500000000/2000000000/sucessor"),
    ("ack-join", "500000000/2000000000/antecessor"),
    ("ack-join", "2000000000/500000000/antecessor"),
    ("ack-join", "1234567/2000000000/antecessor"),
    ("ack-join", "1999999999/2000000000/antecessor"),
    ("ack-join", "1999999999/2000000000/sucessor"),
    ("leave", "1234567/500000000/2000000000"),
    ("leave", "1234567/None/None"),
    ("ack-leave", "2000000000/500000000"),
    ("ack-leave", "1234567/2000000000"),
    ("ack-put", "nobody/2000000000"),
    ("fail", "1234567"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_strangers_publish_changes_nothing_and_is_counted() {
    counts::install();
    let ring = Ring::of(Mqtt::default(), &NODES).await;
    let (client, pairs) = (ring.client("client").await, random_pairs(60));
    put_all(&client, &pairs).await;
    ring.settled().await;
    ring.holds(&pairs).await;
    let events: Vec<_> = NODES.iter().map(|id| ring.node(*id).events()).collect();
    let before = counts::count("ringbus_successor_malformed_total");

    let (stranger, _) = Link::connect(ring.harness.0.port(), "stranger", &[]).await;
    let mut malformed = 0;
    for topic in TOPICS {
        for payload in NOTHING {
            stranger.publish(topic, payload).await;
        }
    }
    for (topic, payloads) in WRONG {
        for payload in payloads {
            stranger.publish(topic, *payload).await;
            // Two of three nodes do not listen to the third one's own topic.
            malformed += if topic == "replica/2000000000" { 1 } else { NODES.len() as u64 };
        }
    }
    for payload in [format!("me/7 {}", "x".repeat(10 << 20)), format!("{}/7 x", "me".repeat(5 << 20))] {
        stranger.publish("put", payload).await;
    }
    for topic in ["get", "heal", "join"] {
        stranger.publish(topic, "7".repeat(10 << 20)).await;
    }
    for topic in ["puts", "put/get", "replica/x", "res-get/7", "@ringbus/x", "err-get"] {
        stranger.publish(topic, "5/6 7").await;
    }
    for (topic, payload) in UNTRUE {
        stranger.publish(topic, payload).await;
    }
    stranger.close().await;

    // Behind all of it in every node's queue.
    verify(&client, &pairs).await;
    put_all(&client, &pairs).await;
    ring.settled().await;
    ring.holds(&pairs).await;
    for mut events in events {
        while let Ok(event) = events.try_recv() {
            let harmless = matches!(event, SuccessorEvent::Serving(_));
            assert!(harmless, "the ring has changed: {event:?}");
        }
    }
    let counted = counts::count("ringbus_successor_malformed_total") - before;
    assert!(counted >= malformed, "{counted} counted of {malformed}");
}
