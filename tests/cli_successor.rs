//! The key-value store as a user runs it: `ringbus node --protocol successor`, `put`, `get`, `load`, and the scripts
//! with the example programs, as real processes over Mosquitto and over ZeroMQ.
#![cfg(all(feature = "cli", feature = "zmq", feature = "mqtt"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod support;

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use support::PATIENCE;
use support::machine::on_this_machine;
use support::mosquitto::Mosquitto;
use support::program::{Ended, Program, each_is_wrong_usage};
use tempfile::{NamedTempFile, TempDir};

const AIRPORTS: &str = "data/airports.csv";

/// The nodes' places, in their order on the ring.
const IDS: [&str; 3] = ["1000000000", "2000000000", "3000000000"];

/// A broker, and the nodes of a ring.
struct Ring {
    broker: Mosquitto,
    nodes: Vec<Program>,
}

impl Ring {
    /// Starts the first so many of [`IDS`], and waits until each has its neighbours.
    fn start(count: usize) -> Self {
        let mut ring = Self { broker: Mosquitto::start(), nodes: Vec::new() };
        for id in &IDS[..count] {
            let mut node = ring.program(&["node", "--protocol=successor", "--id", id]);
            let line = node.line();
            assert!(line.starts_with(&format!("started\t{id}\tmqtt:")), "{line}");
            ring.nodes.push(node);
        }
        ring.wait_until_linked(&IDS[..count], &[]);
        ring
    }

    /// Waits until each node has the neighbours that it has on a ring of these, and has told this about others.
    fn wait_until_linked(&mut self, ids: &[&str], told: &[String]) {
        for (index, node) in self.nodes.iter_mut().enumerate() {
            let neighbour = |step| match ids.len() {
                1 => "None",
                count => ids[(index + step) % count],
            };
            let linked = format!("linked\t{}\t{}", neighbour(ids.len() - 1), neighbour(1));
            node.wait_for_lines(&[&[linked], told].concat());
        }
    }

    fn command(&self, arguments: &[&str]) -> Vec<String> {
        let mut command: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        command.splice(1..1, ["--transport=mqtt".to_owned(), format!("--broker={}", self.broker.url())]);
        command
    }

    fn program(&self, arguments: &[&str]) -> Program {
        Program::start(&self.command(arguments))
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        Program::run(&self.command(arguments))
    }

    /// What is stored, newlines and all.
    fn value(&self, key: &str) -> String {
        let object: serde_json::Value =
            serde_json::from_str(&self.run(&["get", "--json", key]).ok().concat()).unwrap();
        assert_eq!(object["key"], key);
        object["value"].as_str().unwrap().to_owned()
    }

    /// Looks every row of the airports up, byte for byte.
    fn expect_airports(&self) {
        let file = fs::read_to_string(AIRPORTS).unwrap();
        let rows: Vec<&str> = file.lines().skip(1).collect();
        let keys = rows.iter().map(|row| row.split(',').next().unwrap());
        let found = self.run(&[&["get"], &keys.clone().collect::<Vec<_>>()[..]].concat()).ok();
        let expected: Vec<String> = keys.zip(&rows).map(|(key, row)| format!("{key}\t{row}")).collect();
        assert_eq!(expected.len(), 3376);
        assert!(found == expected, "{} of {} rows", found.len(), expected.len());
    }
}

fn file_with(text: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text).unwrap();
    file
}

#[test]
fn a_file_of_airports_outlives_a_crash_and_a_leave() {
    let mut ring = Ring::start(3);
    let loaded = ring.run(&["load", AIRPORTS, "--key", "iata"]).ok();
    let [summary] = &loaded[..] else { panic!("{loaded:?}") };
    assert!(summary.starts_with("loaded 3376 rows (3376 keys) on 3 nodes in "), "{summary}");
    assert!(summary.ends_with(" rows/s"), "{summary}");
    let seattle = "SEA,Seattle-Tacoma Intl,Seattle,WA,USA,47.44898194,-122.3093131";
    assert_eq!(ring.run(&["get", "SEA"]).ok(), [seattle]);
    ring.expect_airports();

    // Its broker tells the others: how long before its lease ends, `tests/successor.rs` knows.
    ring.nodes.remove(1).signal("KILL");
    ring.wait_until_linked(&[IDS[0], IDS[2]], &[format!("failed\t{}", IDS[1])]);
    ring.expect_airports();

    let left = ring.nodes.remove(1).terminate().ok();
    assert!(left.last().unwrap().starts_with(&format!("left\t{}\tmqtt:", IDS[2])), "{left:?}");
    ring.wait_until_linked(&[IDS[0]], &[format!("left\t{}", IDS[2])]);
    ring.expect_airports();
}

/// Docker, for one, kills what has not ended ten seconds after it was told to.
#[test]
fn a_node_whose_broker_is_frozen_or_gone_ends_soon_when_it_is_told_to() {
    for gone in [false, true] {
        let mut ring = Ring::start(2);
        ring.run(&["load", AIRPORTS, "--key", "iata"]).ok();
        if gone {
            ring.broker.stop();
        } else {
            ring.broker.freeze();
        }
        let told = Instant::now();
        let ended = ring.nodes.pop().unwrap().terminate();
        let took = told.elapsed();
        println!("broker gone: {gone}: out after {took:?}");
        assert!(took < on_this_machine(Duration::from_secs(9)), "{took:?}");
        ended.failed(1, "handing over ");
    }
}

#[test]
fn any_text_is_a_value_and_any_text_a_key() {
    let ring = Ring::start(2);
    // A number is its own place: the first node after it has it.
    assert_eq!(ring.run(&["put", "5", "a/b c"]).ok(), [IDS[0]]);
    assert_eq!(ring.run(&["put", "1000000001", "-7"]).ok(), [IDS[1]]);
    assert_eq!(ring.run(&["put", "4294967295", "around"]).ok(), [IDS[0]]);
    assert_eq!(ring.run(&["get", "1000000001"]).ok(), ["-7"]);

    let text = "one/two three\n\n/dash - \"ü\"\r\n\tend\n";
    let mut put = ring.program(&["put", "some/where, far", "-"]);
    put.type_in(text);
    put.end_of_input();
    put.ended().ok();
    assert_eq!(ring.value("some/where, far"), text);
    let lines = ring.run(&["get", "--no-newline", "some/where, far"]).ok();
    assert_eq!(lines, text.lines().collect::<Vec<_>>());
    let both = ring.run(&["get", "5", "some/where, far"]).ok();
    let escaped = "some/where, far\tone/two three\\n\\n/dash - \"ü\"\\r\\n\tend\\n";
    assert_eq!(both, ["5\ta/b c", escaped]);

    // An empty key is one like others: it had no value, and then has one.
    ring.run(&["get", ""]).failed(1, "no value for \"\"");
    ring.run(&["put", "", "of nothing"]).ok();
    assert_eq!(ring.run(&["get", ""]).ok(), ["of nothing"]);
    ring.run(&["put", "empty", ""]).ok();
    assert_eq!(ring.value("empty"), "");
    ring.run(&["put", "5", "newer"]).ok();
    assert_eq!(ring.run(&["get", "5"]).ok(), ["newer"]);
}

#[test]
fn a_key_without_a_value_is_told_at_once() {
    let ring = Ring::start(2);
    // Or else it would wait for ten times as long as this test does.
    let ended = ring.run(&["get", "--timeout=600s", "nothing here"]);
    assert_eq!(ended.output, [""; 0]);
    ended.failed(1, "no value for \"nothing here\"");
    ring.run(&["put", "k", "v"]).ok();
    let ended = ring.run(&["get", "0", "k", "1"]);
    assert_eq!(ended.output, ["k\tv"]);
    ended.failed(1, "no value for \"0\", \"1\"");
    let ended = ring.run(&["get", "--json", "0", "k"]);
    assert_eq!(ended.output, [r#"{"key":"0","value":null}"#, r#"{"key":"k","value":"v"}"#]);
    ended.failed(1, "no value for \"0\"");
}

#[test]
fn of_rows_with_one_key_the_last_one_stays_and_the_user_knows() {
    let ring = Ring::start(1);
    let file = file_with(b"note,id\r\nfirst,7\r\n\"two\r\nlines\",q\r\nsecond,07\r\nthird,7");
    let ended = ring.run(&["load", file.path().to_str().unwrap(), "--key=id", "--in-flight=2"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.output[0].starts_with("loaded 4 rows (2 keys) on 1 node in "), "{ended:?}");
    assert_eq!(
        ended.errors,
        [
            "ringbus: line 2 (7) and line 5 (07) have the same key 7: the later one stays",
            "ringbus: line 5 (07) and line 6 (7) have the same key 7: the later one stays",
        ]
    );
    assert_eq!(ring.value("7"), "third,7");
    assert_eq!(ring.value("q"), "\"two\r\nlines\",q");
}

#[test]
fn a_ring_over_zmq_needs_addresses() {
    let start = |arguments: &[&str]| {
        let options = ["node", "--protocol=successor", "--listen=127.0.0.1:0"];
        let mut node = Program::start(&[&options[..], arguments].concat());
        let line = node.line();
        let address = line.split('\t').nth(2).unwrap().strip_prefix("zmq+tcp://").unwrap().to_owned();
        (node, address)
    };
    let (mut first, address) = start(&["--id", IDS[0], "--name=n1"]);
    let (mut second, other) = start(&["--id", IDS[1], "--join", &address]);
    first.wait_for_lines(&[format!("linked\t{0}\t{0}", IDS[1])]);
    second.wait_for_lines(&[format!("linked\t{0}\t{0}", IDS[0])]);
    // One knows this node, the other that one.
    assert_eq!(Program::run(&["put", "--node", &address, "1500000000", "x"]).ok(), [IDS[1]]);
    assert_eq!(Program::run(&["get", "--node", &other, "1500000000"]).ok(), ["x"]);
    Program::run(&["get", "--node", &other, "1"]).failed(1, "no value for \"1\"");
    second.terminate().ok();
    first.wait_for_lines(&["linked\tNone\tNone"]);
    assert_eq!(Program::run(&["get", "--node", &address, "1500000000"]).ok(), ["x"]);
    let left = first.terminate().ok();
    assert_eq!(left.last().unwrap(), &format!("left\t{}\tzmq+tcp://{address}\tn1", IDS[0]));
}

#[test]
fn wrong_usage_ends_with_2_in_one_line_that_names_it() {
    let table: &[(&[&str], &str)] = &[
        (&["put", "k", "v"], "give --node HOST:PORT"),
        (&["get", "k"], "or --transport mqtt for a ring at a broker"),
        (&["load", AIRPORTS, "--key=iata"], "give --node HOST:PORT"),
        (&["get", "--node=localhost", "k"], "invalid address \"localhost\": write HOST:PORT"),
        (&["get", "--transport=mqtt", "--node=127.0.0.1:1", "k"], "sharing the broker is enough"),
        (&["get", "--node=127.0.0.1:1", "--no-newline", "k", "l"], "--no-newline goes with one key"),
        (
            &["load", "--transport=mqtt", AIRPORTS, "--key=code"],
            "data/airports.csv has no column \"code\": its columns are \"iata\", \"name\", \"city\"",
        ),
        (&["node", "--id=7"], "--id goes with --protocol successor"),
        (
            &["node", "--protocol=successor", "--transport=mqtt", "--join=n1"],
            "--join does not go with --transport mqtt",
        ),
        (&["node", "--protocol=successor", "--broker=mqtt://h"], "--broker does not go with --transport zmq"),
    ];
    each_is_wrong_usage(table);
}

/// What clap finds takes more than a line, but names the option all the same.
#[test]
fn wrong_options_end_with_2() {
    let id = "use a decimal number in 0..4294967296";
    let table: &[(&[&str], &str)] = &[
        (&["node", "--protocol=successor", "--id=n1"], id),
        (&["node", "--protocol=successor", "--id=4294967296"], id),
        (&["node", "--protocol=chord"], "[possible values: one-hop, successor]"),
        (&["load", AIRPORTS], "--key <COLUMN>"),
        (&["load", AIRPORTS, "--key=iata", "--in-flight=0"], "--in-flight"),
        (&["put", "k"], "<VALUE>"),
        (&["get"], "<KEY>"),
        (&["get", "--timeout=soon", "k"], "write for instance 5s"),
    ];
    for (arguments, expected) in table {
        let ended = Program::run(arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
        assert!(ended.errors.join("\n").contains(expected), "{arguments:?}: {ended:?}");
    }
}

#[test]
fn what_is_not_there_or_broken_ends_with_1_in_one_line_that_names_it() {
    let nobody = format!("127.0.0.1:{}", free_port());
    let broker = format!("--broker=mqtt://{nobody}");
    for command in [&["put", "k", "v"][..], &["node", "--protocol=successor"]] {
        let ended = Program::run(&[&command[..1], &["--transport=mqtt", &broker], &command[1..]].concat());
        ended.failed(1, &format!("cannot reach mqtt://{nobody}"));
    }
    let hint = "is a node running there, started with 'ringbus node --protocol successor'?";
    Program::run(&["get", "--node", &nobody, "--timeout=300ms", "k"])
        .failed(1, &format!("no answer from {nobody} within 300ms: {hint}"));

    let ring = Ring { broker: Mosquitto::start(), nodes: Vec::new() };
    let url = ring.broker.url();
    let silence = format!("no answer from {url} within 300ms: {hint}");
    ring.run(&["put", "--timeout=300ms", "k", "v"]).failed(1, &silence);
    let none = format!("line 2 (00M): {silence}; 0 of 3376 rows were acknowledged");
    ring.run(&["load", AIRPORTS, "--key=1", "--timeout=300ms", "--in-flight=1"]).failed(1, &none);
    ring.run(&["load", "no.csv", "--key=1"]).failed(1, "cannot read no.csv: No such file");
    for (text, expected) in [
        (&b"a,b\n1,2\n3\n"[..], "line: 3"),
        (b"a\nb\n\xff\n", "line 3 is not UTF-8 text"),
        (b"", "it has no line of column names"),
    ] {
        let file = file_with(text);
        let path = file.path().to_str().unwrap();
        ring.run(&["load", path, "--key=1"]).failed(1, expected);
    }
}

#[test]
fn an_id_that_is_taken_is_wrong_usage() {
    let ring = Ring::start(1);
    let ended = ring.run(&["node", "--protocol=successor", "--id", IDS[0]]);
    ended.failed(2, IDS[0]);
    assert_eq!(ring.run(&["put", "k", "v"]).ok(), [IDS[0]]);
}

#[test]
fn each_command_has_examples() {
    for command in ["put", "get", "load"] {
        let help = Program::run(&[command, "--help"]).ok().join("\n");
        let example = format!("Examples:\n  ringbus {command} ");
        assert!(help.contains(&example) && help.contains("Keys: a decimal number"), "{help}");
    }
    let help = Program::run(&["node", "--help"]).ok().join("\n");
    assert!(help.contains("ringbus node --protocol successor"), "{help}");
}

/// A script of `scripts/`, with its logs in a directory of its own.
struct Script<'a> {
    broker: &'a Mosquitto,
    directory: &'a Path,
}

impl Script<'_> {
    fn start(&self, name: &str, arguments: &[&str]) -> Program {
        let mut command = Command::new("env");
        // Whoever ignores SIGINT passes that on, and a shell cannot undo it.
        command
            .args(["--default-signal=INT", "setpriv", "--pdeathsig", "TERM", "--"])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name))
            .args(arguments)
            .current_dir(self.directory)
            .env("BROKER", format!("127.0.0.1:{}", self.broker.port()))
            .env("CARGO_ARGS", "--all-features");
        Program::spawn(name, &mut command)
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.directory.join(name)).unwrap_or_default()
    }

    /// Waits until so many lines of the log hold the text.
    fn wait_for(&self, name: &str, text: &str, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.log(name).lines().filter(|line| line.contains(text)).count() < count {
            assert!(Instant::now() < deadline, "not {count} times {text:?}: {}", self.log(name));
            sleep(Duration::from_millis(20));
        }
    }
}

/// The scripts build what they run; that may take longer than a test waits for a program.
fn build_examples() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let arguments = ["build", "--quiet", "--all-features", "--example=node", "--example=client"];
    assert!(Command::new(cargo).args(arguments).status().unwrap().success());
}

/// The processes that a process has started.
fn children(pid: u32) -> Vec<String> {
    let output = Command::new("ps").args(["-o", "pid=", "--ppid", &pid.to_string()]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split_whitespace().map(str::to_owned).collect()
}

#[test]
fn the_scripts_run_nodes_and_clients_and_leave_nothing_behind() {
    build_examples();
    let (broker, directory) = (Mosquitto::start(), TempDir::new().unwrap());
    let script = Script { broker: &broker, directory: directory.path() };
    let mut nodes = script.start("run_all_nodes.sh", &["3"]);
    while !nodes.line().contains("3 nodes are running, see log.txt") {}
    script.wait_for("log.txt", "joined", 3);
    let pids = children(nodes.pid());
    assert_eq!(pids.len(), 3, "{pids:?}");

    let clients = script.start("run_clients.sh", &["2"]).ended();
    assert_eq!(clients.code, Some(0), "{clients:?}");
    assert!(clients.output.last().unwrap().contains("all 2 clients found what they had put"), "{clients:?}");
    assert_eq!(script.log("logClients.txt").matches("100 pairs verified").count(), 2);

    nodes.signal("INT");
    let ended = nodes.ended();
    assert_eq!(ended.code, Some(0), "{ended:?}: {}", script.log("log.txt"));
    assert!(ended.output.last().unwrap().contains("all nodes have left"), "{ended:?}");
    assert_eq!(script.log("log.txt").lines().filter(|line| line.ends_with(": left")).count(), 3);
    for pid in pids {
        assert!(!Path::new("/proc").join(&pid).exists(), "{pid} still runs");
    }

    // Nobody is left to answer: told to stop, the script takes its clients with it.
    let mut clients = script.start("run_clients.sh", &["2"]);
    while !clients.line().contains("2 clients are running") {}
    let pids = children(clients.pid());
    assert_eq!(pids.len(), 2, "{pids:?}");
    clients.signal("TERM");
    let ended = clients.ended();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    for pid in pids {
        assert!(!Path::new("/proc").join(&pid).exists(), "{pid} still runs");
    }
}

#[test]
fn the_scripts_say_how_to_start_a_broker() {
    let (mut broker, directory) = (Mosquitto::start(), TempDir::new().unwrap());
    broker.stop();
    let script = Script { broker: &broker, directory: directory.path() };
    for name in ["run_all_nodes.sh", "run_clients.sh"] {
        let ended = script.start(name, &["2"]).ended();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let hint = format!("start one (mosquitto -p {})", broker.port());
        assert!(ended.errors.len() == 1 && ended.errors[0].contains(&hint), "{ended:?}");
        let ended = script.start(name, &["none"]).ended();
        assert_eq!(ended.code, Some(2), "{ended:?}");
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
