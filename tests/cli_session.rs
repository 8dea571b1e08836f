//! `ringbus node`, `pub`, `sub` and `members` as a user runs them: real processes over ZeroMQ and over Mosquitto.
#![cfg(all(feature = "cli", feature = "zmq", feature = "mqtt"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod support;

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::thread::sleep;
use std::time::{Duration, Instant};

use support::machine::on_this_machine;
use support::mosquitto::Mosquitto;
use support::net::Net;
use support::program::{Program, each_is_wrong_usage};

const NODES: [&str; 3] = ["n1", "n2", "n3"];
/// What could still come after what was expected.
const MORE: Duration = Duration::from_millis(500);

fn numbered(topic: &str, count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("{topic}\tvalue {number}")).collect()
}

/// Reads what is expected, and sees that nothing comes after it.
fn expect_exactly(mut subscriber: Program, expected: &[String]) {
    assert_eq!(subscriber.lines(expected.len()), expected);
    sleep(MORE);
    let ended = subscriber.terminate();
    assert_eq!((ended.code, &ended.output[..]), (Some(0), &[][..]), "{ended:?}");
}

fn values_travel_through_the_ring(net: &Net) {
    let ring = net.ring(&NODES);
    let everybody: Vec<String> = ring.iter().map(|node| format!("{}\t{}", node.name, node.locator)).collect();
    for node in &ring {
        assert_eq!(net.run(&["members", "--node", &node.address]).ok(), everybody);
    }
    let cases =
        [("direct", "a/1", "a/1"), ("node", "b/1", "b/1"), ("direct", "c/+", "c/1"), ("node", "d/#", "d/1")];
    for (route, filter, topic) in cases {
        // Each side knows one node, and not the same.
        let mut subscriber =
            net.start(&["sub", "--events", "--node", &ring[1].address, "--route", route, filter]);
        let mut publisher = net.start(&["pub", "--node", &ring[2].address, topic]);
        // Behind a node, a publisher's first match may be the node's own.
        subscriber.error_line("matched with");
        publisher.type_in(&(1..=200).map(|number| format!("value {number}\n")).collect::<String>());
        publisher.end_of_input();
        expect_exactly(subscriber, &numbered(topic, 200));
        assert_eq!(publisher.ended().ok(), Vec::<String>::new());
    }
}

#[test]
fn values_travel_through_a_ring_over_zmq() {
    values_travel_through_the_ring(&Net::Zmq);
}

#[test]
fn values_travel_through_a_ring_over_mqtt() {
    values_travel_through_the_ring(&Net::mqtt());
}

/// The registry does not judge encodings, and the node is the one that finds out.
#[test]
fn a_subscriber_behind_a_node_that_expects_another_encoding_is_not_waited_for_in_vain() {
    let net = Net::Zmq;
    let ring = net.ring(&NODES);
    let node = ["--node", &ring[0].address];
    let mut subscriber = net.start(&[&["sub", "--encoding=raw", "--route=node"], &node[..], &["t"]].concat());
    let publisher =
        net.start(&[&["pub", "--encoding=json", "--timeout=8s"], &node[..], &["t", "1"]].concat());
    subscriber.error_line("encoding: offered json, requested raw");
    publisher.ended().failed(1, "was found, but expects another encoding");
    // One that takes any matches, through the node too.
    let mut subscriber = net.start(&[&["sub", "--route=node", "--count=1"], &node[..], &["u"]].concat());
    net.run(&[&["pub", "--encoding=json"], &node[..], &["u", "1"]].concat()).ok();
    assert_eq!(subscriber.line(), "u\t1");
}

/// Placement is that of `ringbus place`.
#[test]
fn a_subscriber_says_which_node_is_responsible() {
    let net = Net::Zmq;
    let ring = net.ring(&NODES);
    let placed = Program::run(&["place", "--nodes", "n1,n2,n3", "--replicas", "1", "weather/98101"]).ok();
    let owner = placed[0].rsplit('\t').next().unwrap().to_owned();
    let mut subscriber = net.start(&["sub", "--events", "--node", &ring[0].address, "weather/98101"]);
    let line = subscriber.error_line("subscribed at");
    assert!(line.ends_with(&format!("node {owner} is responsible")), "{line}");
}

fn a_node_that_is_terminated_leaves(net: &Net) {
    let mut ring = net.ring(&NODES);
    let leaver = ring.remove(1);
    let expected = format!("left\tn2\t{}", leaver.locator);
    assert_eq!(leaver.program.terminate().ok(), std::slice::from_ref(&expected));
    for node in &mut ring {
        assert_eq!(node.program.line(), expected);
    }
    let left = net.run(&["members", "--node", &ring[1].address]).ok();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn a_node_that_is_terminated_leaves_over_zmq() {
    a_node_that_is_terminated_leaves(&Net::Zmq);
}

#[test]
fn a_node_that_is_terminated_leaves_over_mqtt() {
    a_node_that_is_terminated_leaves(&Net::mqtt());
}

#[test]
fn a_node_that_is_killed_is_told_apart_from_one_that_leaves() {
    let net = Net::Zmq;
    let mut ring = net.ring(&NODES);
    let victim = ring.remove(0);
    victim.program.signal("KILL");
    for node in &mut ring {
        assert_eq!(node.program.line(), format!("failed\tn1\t{}", victim.locator));
    }
}

#[test]
fn a_typing_error_takes_no_node_down() {
    let net = Net::Zmq;
    let mut ring = net.ring(&NODES);
    // What begins within a quarter of a second counts as begun together.
    sleep(Duration::from_millis(400));
    let first = ring.swap_remove(0);
    let join = ring[0].address.clone();
    let second = net.start(&["node", "--name", "n1", "--listen", "127.0.0.1:0", "--join", &join]);
    second.ended().failed(1, &format!("another node, at {}, has the name \"n1\"", first.locator));
    // It still does what it is there for.
    let ended = first.program.terminate();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.output.last().is_some_and(|line| line.starts_with("left\tn1")), "{ended:?}");
}

/// Docker, for one, kills what has not ended ten seconds after it was told to.
#[test]
fn a_publisher_whose_responsible_node_was_killed_ends_soon_when_it_is_told_to() {
    let net = Net::Zmq;
    let mut ring = net.ring(&NODES);
    let nodes = ring.iter().map(|node| node.address.as_str()).collect::<Vec<_>>().join(",");
    let mut subscriber =
        net.start(&["sub", "--events", "--route", "node", "--node", &nodes, "weather/98101"]);
    let line = subscriber.error_line("subscribed at");
    let mut publisher = net.start(&["pub", "--node", &nodes, "--interval", "20ms", "weather/98101"]);
    publisher.type_in(&(0..500).map(|value| format!("{value}\n")).collect::<String>());
    assert_eq!(subscriber.line(), "weather/98101\t0");
    let victim = ring.iter().position(|node| line.ends_with(&format!("node {} is responsible", node.name)));
    ring.remove(victim.unwrap()).program.signal("KILL");
    let told = Instant::now();
    let ended = publisher.terminate();
    println!("out after {:?}, code {:?}", told.elapsed(), ended.code);
    let took = told.elapsed();
    assert!(took < on_this_machine(Duration::from_millis(6500)), "{took:?}: {ended:?}");
}

/// The address at which a subscriber says that it listens.
fn ready(subscriber: &mut Program) -> String {
    let line = subscriber.error_line("subscribed at zmq+tcp://");
    line.rsplit_once("zmq+tcp://").unwrap().1.to_owned()
}

#[test]
fn peers_need_no_ring_over_zmq() {
    let mut subscriber = Program::start(&["sub", "--listen", "127.0.0.1:0", "--events", "--count=2", "a/+"]);
    let address = ready(&mut subscriber);
    Program::run(&["pub", "--peer", &address, "a/b", "one", "-2"]).ok();
    assert_eq!(subscriber.lines(2), ["a/b\tone", "a/b\t-2"]);
    subscriber.error_line("a/b: matched with");
    assert_eq!(subscriber.ended().code, Some(0));

    // The other way round.
    let address = format!("tcp://127.0.0.1:{}", free_port());
    let mut publisher = Program::start(&["pub", "--listen", &address, "a/b"]);
    publisher.type_in("one\n");
    let mut subscriber = Program::start(&["sub", "--peer", &address, "a/b"]);
    assert_eq!(subscriber.line(), "a/b\tone");
    publisher.type_in("two\r\nthree");
    publisher.end_of_input();
    expect_exactly(subscriber, &["a/b\ttwo".into(), "a/b\tthree".into()]);
    publisher.ended().ok();
}

/// What the builders do without `.qos(..)`, the program does without such options.
fn a_thousand_lines_at_once_are_a_thousand_printed(net: &Net) {
    let address = format!("127.0.0.1:{}", free_port());
    let (listen, peer): (&[&str], &[&str]) = match net {
        Net::Zmq => (&["pub", "--listen", &address, "t"], &["sub", "--count=1000", "--peer", &address, "t"]),
        Net::Mqtt(_) => (&["pub", "t"], &["sub", "--count=1000", "t"]),
    };
    let mut subscriber = net.start(peer);
    let mut publisher = net.start(listen);
    publisher.type_in(&(1..=1000).map(|number| format!("value {number}\n")).collect::<String>());
    publisher.end_of_input();
    assert_eq!(subscriber.lines(1000), numbered("t", 1000));
    publisher.ended().ok();
    assert_eq!(subscriber.ended().code, Some(0));
}

#[test]
fn a_thousand_lines_at_once_are_a_thousand_printed_over_zmq() {
    a_thousand_lines_at_once_are_a_thousand_printed(&Net::Zmq);
}

#[test]
fn a_thousand_lines_at_once_are_a_thousand_printed_over_mqtt() {
    a_thousand_lines_at_once_are_a_thousand_printed(&Net::mqtt());
}

#[test]
fn sharing_the_broker_is_enough_over_mqtt() {
    let net = Net::mqtt();
    let mut subscriber =
        net.start(&["sub", "--json", "--encoding=json", "--count=2", "--timeout=20s", "a/#"]);
    net.run(&["pub", "--encoding=json", "a/b", r#"{"t": 12.5}"#, "[1]"]).ok();
    let objects: Vec<serde_json::Value> =
        subscriber.lines(2).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&objects[0]["value"]["t"], &objects[1]["value"][0]), (&12.5.into(), &1.into()));
    for (object, sequence) in objects.iter().zip(1..) {
        assert_eq!((&object["topic"], &object["sequence"]), (&"a/b".into(), &sequence.into()));
        assert!(object["sent"].as_str().unwrap().ends_with('Z'), "{object}");
        assert!(object["writer"].is_string(), "{object}");
    }
    subscriber.ended().ok();
}

#[test]
fn plain_values_are_exchanged_with_mosquitto() {
    let broker = Mosquitto::start();
    let url = broker.url();
    let plain = ["--transport", "mqtt", "--plain", "--broker", &url];
    let mut subscriber =
        Program::start(&[&["sub", "--events", "--count", "3"], &plain[..], &["in/#"]].concat());
    subscriber.error_line("subscribed at");
    broker.publish(&["-t", "in/text", "-q", "1", "-m", "12.5 °C"]);
    broker.publish(&["-t", "in/lines", "-q", "1", "-m", "a\nb\u{1b}[2J"]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"\xff\x00").unwrap();
    broker.publish(&["-t", "in/bytes", "-q", "1", "-f", file.path().to_str().unwrap()]);
    let expected = ["in/text\t12.5 °C", "in/lines\ta\\nb\\x1b[2J", "in/bytes\t\\xff\\x00"];
    assert_eq!(subscriber.lines(3), expected);
    assert_eq!(subscriber.ended().code, Some(0));

    // What is retained tells that the subscription works.
    broker.publish(&["-t", "out/ready", "-r", "-m", "ready"]);
    let mut child = broker.subscribe(&["-t", "out/#", "-v", "-q", "1", "-C", "4", "-W", "20"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), "out/ready ready");
    Program::run(&[&["pub"], &plain[..], &["out/text", "one", "two"]].concat()).ok();
    assert_eq!(lines.by_ref().take(2).collect::<Vec<_>>(), ["out/text one", "out/text two"]);
    Program::run(&[&["pub", "--best-effort"], &plain[..], &["out/text", "three"]].concat()).ok();
    assert_eq!(lines.collect::<Vec<_>>(), ["out/text three"]);
    assert!(child.wait().unwrap().success());
}

/// Unframed values are not waited for: the publisher talks until the connection is there.
#[test]
fn plain_values_need_no_frame_over_zmq() {
    let mut subscriber = Program::start(&[
        "sub",
        "--plain",
        "--listen",
        "127.0.0.1:0",
        "--events",
        "--json",
        "--count=1",
        "t",
    ]);
    let address = ready(&mut subscriber);
    let mut publisher = Program::start(&["pub", "--plain", "--peer", &address, "t"]);
    let deadline = Instant::now() + support::PATIENCE;
    let line = loop {
        publisher.type_in("12.5\n");
        if let Some(line) = subscriber.line_within(Duration::from_millis(50)) {
            break line;
        }
        assert!(Instant::now() < deadline, "nothing arrived");
    };
    let object: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&object["value"], object.get("writer")), (&"12.5".into(), None));
    assert_eq!(subscriber.ended().code, Some(0));
    publisher.terminate().ok();
}

#[test]
fn late_joiners_get_what_is_kept() {
    let net = Net::mqtt();
    let quality = ["--transient-local", "--keep-last=2"];
    let mut publisher =
        net.start(&[&["pub", "--keep", "--events"], &quality[..], &["t", "1", "2", "3"]].concat());
    publisher.error_line("everything is published");
    let arguments = ["sub", "--transient-local", "--count=2", "--timeout=20s", "t"];
    assert_eq!(net.run(&arguments).ok(), ["t\t2", "t\t3"]);
    assert_eq!(net.run(&arguments).ok(), ["t\t2", "t\t3"]);
    assert_eq!(publisher.terminate().code, Some(0));
}

#[test]
fn the_strongest_publisher_is_heard_until_it_goes() {
    let net = Net::mqtt();
    let mut subscriber = net.start(&["sub", "--exclusive", "--events", "t"]);
    let publisher = |strength: &str| net.start(&["pub", "--exclusive", strength, "t"]);
    let (mut strong, mut weak) = (publisher("10"), publisher("-5"));
    subscriber.error_line("matched with");
    subscriber.error_line("matched with");
    strong.type_in("strong 1\n");
    assert_eq!(subscriber.line(), "t\tstrong 1");
    weak.type_in("weak 1\n");
    strong.type_in("strong 2\n");
    assert_eq!(subscriber.line(), "t\tstrong 2");
    strong.terminate().ok();
    subscriber.error_line("is heard from now on");
    weak.type_in("weak 2\n");
    loop {
        // What the weak one published meanwhile may be replayed.
        match subscriber.line().as_str() {
            "t\tweak 1" => {}
            line => break assert_eq!(line, "t\tweak 2"),
        }
    }
}

#[test]
fn a_mismatch_is_told_to_both_sides() {
    let net = Net::mqtt();
    let mut subscriber = net.start(&["sub", "picky"]);
    let mut publisher = net.start(&["pub", "--best-effort", "--timeout=5s", "picky", "1"]);
    let reason = "reliability: offered best-effort, requested reliable";
    subscriber.error_line(reason);
    publisher.error_line(reason);
    let ended = publisher.ended();
    ended.failed(1, "0 of 1 subscribers matched picky within 5s");
    ended.failed(1, reason);
}

#[test]
fn values_in_any_encoding_are_shown_or_said_not_to_be() {
    let net = Net::mqtt();
    let mut subscriber = net.start(&["sub", "--stats", "t"]);
    // As numbers, these would be the values 0 and 256: an empty string, and one that is cut off.
    net.run(&["pub", "--encoding=postcard", "t", "", "1"]).ok();
    assert_eq!(subscriber.lines(2), ["t\t0x00", "t\t0x0131"]);
    subscriber.error_line("t carries postcard, whose types are known to its programs only");
    net.run(&["pub", "--encoding=json", "t", "[1, 2]"]).ok();
    net.run(&["pub", "t", "raw"]).ok();
    assert_eq!(subscriber.lines(2), ["t\t[1,2]", "t\traw"]);
    let ended = subscriber.terminate();
    assert_eq!((ended.code, &ended.output[..]), (Some(0), &[][..]));
    let [stats] = &ended.errors[..] else { panic!("{ended:?}") };
    assert!(stats.starts_with("ringbus: received 4, duplicates 0, lost 0"), "{stats}");

    let mut subscriber = net.start(&["sub", "--json", "--count=1", "u"]);
    net.run(&["pub", "--encoding=postcard", "u", "1"]).ok();
    let object: serde_json::Value = serde_json::from_str(&subscriber.line()).unwrap();
    assert_eq!((&object["encoding"], &object["bytes"]), (&"postcard".into(), &serde_json::json!([1, 49])));
    let mut subscriber = net.start(&["sub", "--encoding=postcard", "--count=1", "v"]);
    net.run(&["pub", "--encoding=postcard", "v", "text"]).ok();
    assert_eq!(subscriber.line(), "v\ttext");
    subscriber.ended().ok();
}

#[test]
fn another_encoding_is_no_match_and_both_last_lines_say_so() {
    let net = Net::mqtt();
    let subscriber = net.start(&["sub", "--encoding=raw", "--count=1", "--timeout=6s", "t"]);
    let mut publisher = net.start(&["pub", "--encoding=json", "--timeout=4s", "t", "1"]);
    let reason = "encoding: offered json, requested raw";
    publisher.error_line(reason);
    let ended = publisher.ended();
    ended.failed(1, reason);
    ended.failed(1, "0 of 1 subscribers matched t within 4s");
    let ended = subscriber.ended();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let last = ended.errors.last().unwrap();
    assert!(last.contains("0 of 1 values on t: 0 publishers matched") && last.contains(reason), "{ended:?}");
}

#[test]
fn what_does_not_come_in_time_is_a_failure_only_where_it_was_asked_for() {
    let net = Net::mqtt();
    // The broker has to be reached within that time, too, also from a machine that is busy. All wait at the same time.
    let quiet = net.start(&["sub", "--timeout=10s", "nothing"]);
    let counting = net.start(&["sub", "--timeout=10s", "--count=2", "nothing"]);
    let waiting = net.start(&["pub", "--timeout=10s", "--wait=2", "nobody", "x"]);
    quiet.ended().ok();
    counting.ended().failed(1, "time is up after 0 of 2 values on nothing");
    waiting.ended().failed(1, "0 of 2 subscribers matched nobody within 10s");
    net.run(&["pub", "--wait=0", "nothing", "x"]).ok();
}

#[test]
fn wrong_usage_ends_with_2_in_one_line_that_names_it() {
    let table: &[(&[&str], &str)] = &[
        (&["sub", "--node", "udp://127.0.0.1:1", "t"], "unknown scheme \"udp\" in \"udp://127.0.0.1:1\""),
        (&["sub", "--node", "localhost", "t"], "invalid address \"localhost\": write HOST:PORT"),
        (&["sub", "--node", "mqtt:n1", "t"], "invalid address \"mqtt:n1\""),
        (&["sub", "--peer", "127.0.0.1:0", "t"], "invalid address \"127.0.0.1:0\""),
        (&["sub", "--peer", "127.0.0.1:1", "a/#/b"], "invalid topic filter \"a/#/b\""),
        (&["sub", "--peer", "127.0.0.1:1", "@ringbus/x"], "invalid topic filter \"@ringbus/x\""),
        (&["pub", "--peer", "127.0.0.1:1", "a/+", "x"], "invalid topic \"a/+\""),
        (&["pub", "--peer", "127.0.0.1:1", "", "x"], "invalid topic \"\""),
        (&["pub", "t", "x"], "give --node of a ring, --peer HOST:PORT, or --listen HOST:PORT"),
        (&["pub", "--peer", "127.0.0.1:1", "--keep-last=0", "t", "x"], "keep-last 0"),
        (
            &["pub", "--peer", "127.0.0.1:1", "--best-effort", "--overflow=disconnect", "t", "x"],
            "overflow disconnect with best-effort keep-all",
        ),
        (
            &["pub", "--peer", "127.0.0.1:1", "--durability=transient", "t", "x"],
            "transient is not supported yet",
        ),
        (
            &["sub", "--peer", "127.0.0.1:1", "--durability=persistent", "t"],
            "persistent is not supported yet",
        ),
        (&["sub", "--peer", "127.0.0.1:1", "--lease=0s", "t"], "lease"),
        (&["sub", "--peer", "127.0.0.1:1", "--route=node", "t"], "--route node needs a ring"),
        (
            &["sub", "--peer", "127.0.0.1:1", "--broker=mqtt://h", "t"],
            "--broker does not go with --transport zmq",
        ),
        (
            &["sub", "--peer", "127.0.0.1:1", "--max-packet=10000", "t"],
            "--max-packet does not go with --transport zmq",
        ),
        (
            &["sub", "--transport=mqtt", "--max-packet=2047", "t"],
            "invalid max_packet \"2047\": use 2048 to 268435460 bytes",
        ),
        (
            &["sub", "--transport=mqtt", "--listen=127.0.0.1:1", "t"],
            "--listen does not go with --transport mqtt",
        ),
        (&["sub", "--transport=mqtt", "--broker=http://h", "t"], "invalid address \"http://h\""),
        (&["sub", "--transport=mqtt", "--node=127.0.0.1:1/x", "t"], "invalid node \"127.0.0.1:1/x\""),
        (&["pub", "--peer=127.0.0.1:1", "--encoding=json", "t", "warm"], "\"warm\" is not JSON"),
        (&["node", "--name", ""], "invalid node name \"\""),
        (&["node", "--listen", "0.0.0.0:0"], "add --advertise HOST"),
        (&["node", "--listen", "127.0.0.1"], "invalid address"),
        (&["node", "--transport=mqtt", "--name", "a/b"], "invalid MQTT client id \"a/b\""),
        (&["members", "--node", "::"], "invalid address \"::\""),
    ];
    each_is_wrong_usage(table);
}

/// What clap finds takes more than a line, but names the option all the same.
#[test]
fn wrong_options_end_with_2() {
    let table: &[(&[&str], &str)] = &[
        (&["sub", "--transport", "carrier-pigeon", "t"], "[possible values: zmq, mqtt]"),
        (&["sub", "--timeout", "soon", "t"], "write for instance 5s"),
        (&["sub", "--count", "0", "t"], "--count"),
        (&["pub", "--rate", "0", "t"], "values a second"),
        (&["pub", "--plain", "--transient-local", "t"], "cannot be used with"),
        (&["pub", "--reliable", "--best-effort", "t"], "cannot be used with"),
        (&["members"], "--node"),
    ];
    for (arguments, expected) in table {
        let ended = Program::run(arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
        assert!(ended.errors.join("\n").contains(expected), "{arguments:?}: {ended:?}");
    }
}

#[test]
fn what_is_not_there_or_taken_ends_with_1_in_one_line_that_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    Program::run(&["node", "--listen", &taken]).failed(1, &format!("tcp://{taken} is in use"));
    Program::run(&["pub", "--listen", &taken, "t", "x"]).failed(1, &format!("tcp://{taken} is in use"));

    let nobody = format!("127.0.0.1:{}", free_port());
    Program::run(&["members", "--node", &nobody]).failed(1, &nobody);
    Program::run(&["members", "--node", &nobody, "--timeout=300ms"]).failed(1, "no answer within 300ms");
    Program::run(&["sub", "--node", &nobody, "t"]).failed(1, &nobody);
    let broker = format!("mqtt://{nobody}");
    let ended = Program::run(&["sub", "--transport=mqtt", "--broker", &broker, "t"]);
    ended.failed(1, &format!("cannot reach {broker}"));

    let net = Net::mqtt();
    net.run(&["members", "--node", "nobody", "--timeout=1s"]).failed(1, "nobody");
}

#[test]
fn each_command_has_examples() {
    for command in ["node", "pub", "sub", "members"] {
        let help = Program::run(&[command, "--help"]).ok().join("\n");
        let example = format!("Examples:\n  ringbus {command} ");
        assert!(help.contains(&example) && help.contains("[possible values: zmq, mqtt]"), "{help}");
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
