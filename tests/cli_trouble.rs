//! What `ringbus` says when nobody answers, a connection is lost or refused, or something does not arrive; and that it never
//! says a secret.
#![cfg(all(feature = "cli", feature = "zmq", feature = "mqtt"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod support;

use std::io::Write;
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use support::machine::on_this_machine;
use support::mosquitto::{Mosquitto, Passwords};
use support::program::{Ended, Program};
use tempfile::NamedTempFile;

const AIRPORTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/airports.csv");

/// What the program may take beyond the time that it was given, on a busy machine.
const SLACK: Duration = Duration::from_secs(3);

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn nobody() -> String {
    format!("127.0.0.1:{}", free_port())
}

/// Names and values.
type Environment<'a> = &'a [(&'a str, &'a str)];

/// Starts the program with this environment.
fn with_environment(environment: Environment<'_>, arguments: &[&str]) -> Program {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", env!("CARGO_BIN_EXE_ringbus")]).args(arguments);
    command.envs(environment.iter().copied());
    Program::spawn(&arguments.join(" "), &mut command)
}

#[test]
fn that_nobody_answers_is_said_after_a_second() {
    let address = nobody();
    let broker = format!("--broker=mqtt://{address}");
    let cases: &[(&[&str], i32, &str)] = &[
        (&["sub", "--peer", &address, "--timeout=3s", "t"], 0, "nobody answers at zmq+tcp://"),
        (&["sub", "--peer", &address, "--plain", "--timeout=3s", "t"], 0, "yet: a bare ZeroMQ publisher"),
        (&["pub", "--peer", &address, "--timeout=3s", "t", "1"], 1, "nobody answers at zmq+tcp://"),
        (&["pub", "--peer", &address, "--timeout=3s", "t", "1"], 1, "t: 0 of 1 subscribers yet: waiting for"),
        (&["sub", "--node", &address, "--timeout=3s", "t"], 1, "no answer from 127.0.0.1"),
        (&["members", "--node", &address, "--timeout=3s"], 1, "no answer from 127.0.0.1"),
        (&["get", "--node", &address, "--timeout=3s", "k"], 1, "no answer from 127.0.0.1"),
        (&["put", "--node", &address, "--timeout=3s", "k", "v"], 1, "no answer from 127.0.0.1"),
        (&["sub", "--transport=mqtt", &broker, "--timeout=3s", "t"], 1, "nobody answers at mqtt://127.0.0.1"),
        (&["get", "--transport=mqtt", &broker, "--timeout=3s", "k"], 1, "nobody answers at mqtt://127.0.0.1"),
    ];
    let programs: Vec<Program> = cases.iter().map(|(arguments, ..)| Program::start(arguments)).collect();
    for (program, (arguments, code, hint)) in programs.into_iter().zip(cases) {
        let ended = program.ended();
        assert_eq!(ended.code, Some(*code), "{arguments:?}: {ended:?}");
        let hints = ended.errors.iter().filter(|line| line.contains(hint) && line.contains("yet")).count();
        assert_eq!(hints, 1, "{arguments:?}: {ended:?}");
    }
}

/// A ZeroMQ publisher that is no ringbus program takes connections, and answers nothing.
#[test]
fn a_bare_zeromq_publisher_is_said_not_to_be_heard() {
    let context = zmq::Context::new();
    let publisher = context.socket(zmq::PUB).unwrap();
    publisher.bind("tcp://127.0.0.1:*").unwrap();
    let endpoint = publisher.get_last_endpoint().unwrap().unwrap();
    let mut subscriber = Program::start(&["sub", "--plain", "--peer", &endpoint, "--timeout=4s", "t"]);
    let line = subscriber.error_line("nobody answers at zmq+tcp://127.0.0.1:");
    assert!(line.contains("a bare ZeroMQ publisher, which is no ringbus program, cannot be heard"), "{line}");
    let help = Program::run(&["sub", "--help"]).ok().join(" ");
    assert!(help.contains("Over mqtt: take values from programs that know nothing of ringbus"), "{help}");
}

#[test]
fn the_timeout_bounds_all_of_the_command() {
    let address = nobody();
    let broker = format!("--broker=mqtt://{address}");
    let cases: &[(&[&str], i32)] = &[
        (&["pub", "--node", &address, "--timeout=1s", "t", "1"], 1),
        (&["sub", "--node", &address, "--timeout=1s", "t"], 1),
        (&["sub", "--peer", &address, "--timeout=1s", "t"], 0),
        (&["members", "--node", &address, "--timeout=1s"], 1),
        (&["get", "--node", &address, "--timeout=1s", "k"], 1),
        (&["pub", "--transport=mqtt", &broker, "--timeout=1s", "t", "1"], 1),
        (&["sub", "--transport=mqtt", &broker, "--timeout=1s", "t"], 1),
        (&["put", "--transport=mqtt", &broker, "--timeout=1s", "k", "v"], 1),
    ];
    for (arguments, code) in cases {
        let started = Instant::now();
        let ended = Program::run(arguments);
        let took = started.elapsed();
        assert_eq!(ended.code, Some(*code), "{arguments:?}: {ended:?}");
        // Registration alone took five seconds, and the goodbye two more.
        assert!(took < on_this_machine(Duration::from_secs(1) + SLACK), "{arguments:?}: {took:?}");
    }
}

#[test]
fn a_broker_that_is_lost_and_back_is_told_without_v_and_without_colours() {
    let mut broker = Mosquitto::start();
    let mut subscriber =
        Program::start(&["sub", "--transport=mqtt", "--broker", &broker.url(), "--events", "--count=1", "t"]);
    subscriber.error_line("subscribed at");
    broker.stop();
    let line = subscriber.error_line("ringbus: warning: lost the connection to the broker");
    assert!(!line.contains('\u{1b}'), "{line:?}");
    broker.restart();
    subscriber.error_line(&format!("connected again to {}", broker.url()));
    Program::run(&["pub", "--transport=mqtt", "--broker", &broker.url(), "t", "1"]).ok();
    assert_eq!(subscriber.line(), "t\t1");
    // Where more is logged it has no colours either.
    let ended = Program::run(&["sub", "-vvv", "--peer", &nobody(), "--timeout=100ms", "t"]);
    assert!(
        !ended.errors.is_empty() && ended.errors.iter().all(|line| !line.contains('\u{1b}')),
        "{ended:?}"
    );
}

/// Over a value to it the broker closes the connection: so long a topic leaves no room for fragments.
const REFUSED: &str = "max_packet_size 2048";

fn refused_topic() -> String {
    "t".repeat(1000)
}

fn fails_by_refusal(ended: &Ended) {
    let why = ended.errors.last().unwrap();
    assert!(ended.code == Some(1) && why.contains("does not take a message of"), "{ended:?}");
}

#[test]
fn a_refused_frame_that_nobody_waits_for_is_a_failure_with_the_reason() {
    let broker = Mosquitto::start_with(REFUSED);
    let (topic, value) = (refused_topic(), "x".repeat(3000));
    for kind in [&["--wait=0"][..], &["--plain"]] {
        let options = ["pub", "--transport=mqtt", "--broker", &broker.url(), "--stats", "--timeout=30s"];
        let ended = Program::run(&[&options[..], kind, &[&topic, &value]].concat());
        fails_by_refusal(&ended);
        let stats = ended.errors.iter().find(|line| line.contains("refused by the broker")).unwrap();
        assert!(!stats.contains("refused by the broker 0"), "{stats}");
    }
    // What is taken is none.
    let options = ["pub", "--transport=mqtt", "--broker", &broker.url(), "--stats", "--wait=0", "t", "1"];
    let ended = Program::run(&options);
    assert!(ended.errors.iter().any(|line| line.contains("refused by the broker 0;")), "{ended:?}");
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn the_search_for_a_refused_message_is_told_as_one_loss() {
    let broker = Mosquitto::start_with(REFUSED);
    let (topic, value) = (refused_topic(), "x".repeat(3000));
    let options =
        ["pub", "--transport=mqtt", "--broker", &broker.url(), "--wait=0", "--keep", &topic, &value];
    let mut publisher = Program::start(&options);
    publisher.error_line("lost the connection to the broker");
    publisher.error_line("a message was given up");
    publisher.error_line(&format!("connected again to {}", broker.url()));
    let losses = publisher.seen().iter().filter(|line| line.contains("lost the connection")).count();
    // Three connections are lost at least. On a machine that stands still meanwhile one may look like a loss of its own.
    assert!(losses <= 1, "{:?}", publisher.seen());
    fails_by_refusal(&publisher.terminate());
}

#[test]
fn a_peer_that_goes_and_comes_back_is_told() {
    let address = nobody();
    let publisher = || Program::start(&["pub", "--listen", &address, "--keep", "t", "1"]);
    let mut subscriber = Program::start(&["sub", "--peer", &format!("tcp://{address}"), "t"]);
    subscriber.error_line(&format!("nobody answers at zmq+tcp://{address} yet"));
    let first = publisher();
    subscriber.error_line(&format!("connected to zmq+tcp://{address}"));
    assert_eq!(subscriber.line(), "t\t1");
    first.signal("KILL");
    subscriber.error_line(&format!("nobody answers at zmq+tcp://{address} any more"));
    drop(first);
    let _second = publisher();
    subscriber.error_line(&format!("connected again to zmq+tcp://{address}"));
    assert_eq!(subscriber.line(), "t\t1");
}

#[test]
fn messages_without_a_frame_are_told_of_in_one_line() {
    let broker = Mosquitto::start();
    let url = broker.url();
    let mut subscriber =
        Program::start(&["sub", "--transport=mqtt", "--broker", &url, "--events", "--count=1", "in/+"]);
    subscriber.error_line("subscribed at");
    for _ in 0..3 {
        broker.publish(&["-t", "in/a", "-q", "1", "-m", "12.5"]);
    }
    Program::run(&["pub", "--transport=mqtt", "--broker", &url, "in/a", "13"]).ok();
    assert_eq!(subscriber.line(), "in/a\t13");
    let ended = subscriber.ended();
    let told: Vec<_> = ended.errors.iter().filter(|line| line.contains("without a frame")).collect();
    assert!(told.len() == 1 && told[0].contains("add --plain"), "{ended:?}");
}

#[test]
fn what_was_dropped_is_told_at_the_end() {
    let broker = Mosquitto::start();
    let url = broker.url();
    let publish = |more: &[&str]| {
        let plain = ["pub", "--transport=mqtt", "--broker", &url, "--plain", "--overflow=drop-newest"];
        Program::start(&[&plain[..], more, &["t"]].concat())
    };
    for (options, expected) in
        [(&[][..], "values were dropped: the link was busy"), (&["--stats"], "dropped: link busy")]
    {
        let mut publisher = publish(options);
        let mut first = broker.subscribe(&["-t", "t", "-C", "1", "-W", "20"]);
        while first.try_wait().unwrap().is_none() {
            publisher.type_in("first\n");
            std::thread::sleep(Duration::from_millis(20));
        }
        // A broker that stands still takes nothing: what is published meanwhile finds no room.
        broker.signal("STOP");
        publisher.type_in(&"more\n".repeat(20_000));
        std::thread::sleep(Duration::from_secs(1));
        broker.signal("CONT");
        publisher.end_of_input();
        let ended = publisher.ended();
        let told = ended.errors.iter().any(|line| line.contains(expected) && !line.contains("link busy 0,"));
        assert!(ended.code == Some(0) && told, "{ended:?}");
    }
}

#[test]
fn the_broker_may_stand_in_the_environment() {
    let broker = Mosquitto::start();
    let environment = [("BROKER", &broker.url()["mqtt://".len()..])];
    let mut subscriber = with_environment(&environment, &["sub", "--transport=mqtt", "--count=1", "t"]);
    with_environment(&environment, &["pub", "--transport=mqtt", "t", "1"]).ended().ok();
    assert_eq!(subscriber.line(), "t\t1");
    // An option is more than the environment, and other transports do not look at it.
    let url = format!("mqtt://{}", nobody());
    let arguments = ["get", "--transport=mqtt", "--broker", &url, "--timeout=200ms", "k"];
    with_environment(&environment, &arguments).ended().failed(1, &url);
    with_environment(&environment, &["sub", "--peer", &nobody(), "--timeout=100ms", "t"]).ended().ok();
}

#[test]
fn a_load_that_is_stopped_says_what_was_acknowledged() {
    let broker = Mosquitto::start();
    let url = broker.url();
    let mut load = Program::start(&["load", "--transport=mqtt", "--broker", &url, "--key=iata", AIRPORTS]);
    load.error_line("no answer from");
    load.signal("INT");
    load.ended().failed(1, "stopped: 0 of 3376 rows were acknowledged");
}

const USER: &str = "opera-user";
const SECRET: &str = "s3cr3t-w0rd";

/// A broker that takes this user only.
fn guarded() -> (Mosquitto, Passwords) {
    let passwords = Passwords::new(USER, SECRET);
    (Mosquitto::start_with(&passwords.lines()), passwords)
}

fn shows_no_secret(arguments: &[&str], ended: &Ended) {
    for line in ended.output.iter().chain(&ended.errors) {
        assert!(!line.contains(SECRET), "{arguments:?} shows the secret: {line}");
    }
}

#[test]
fn a_user_and_a_password_come_from_options_the_environment_or_the_address() {
    let (broker, _passwords) = guarded();
    let url = broker.url();
    let mut file = NamedTempFile::new().unwrap();
    writeln!(file, "{SECRET}").unwrap();
    let path = file.path().to_str().unwrap();
    let in_address = url.replace("mqtt://", &format!("mqtt://opera%2Duser:{}@", SECRET.replace('3', "%33")));
    let environment = [("RINGBUS_USER", USER), ("RINGBUS_PASSWORD", SECRET)];
    let ways: &[(Environment<'_>, &[&str])] = &[
        (&[], &["--broker", &url, "--user", USER, "--password-file", path]),
        (&environment, &["--broker", &url]),
        (&environment[1..], &["--broker", &url, "--user", USER]),
        (&[], &["--broker", &in_address]),
        (&[("BROKER", &in_address)], &[]),
        // What stands in the address is more than the environment.
        (&[("RINGBUS_USER", "nobody"), ("RINGBUS_PASSWORD", "x")], &["--broker", &in_address]),
    ];
    for (environment, options) in ways {
        let arguments = [&["pub", "--transport=mqtt", "--wait=0", "-vvv"], *options, &["t", "1"]].concat();
        let ended = with_environment(environment, &arguments).ended();
        assert_eq!(ended.code, Some(0), "{arguments:?}: {ended:?}");
        shows_no_secret(&arguments, &ended);
    }
    for options in [&["--broker", &url[..]][..], &["--broker", &url, "--user", USER]] {
        let ended = Program::run(&[&["pub", "--transport=mqtt", "--wait=0"], options, &["t", "1"]].concat());
        ended.failed(1, "--user NAME with --password-file FILE");
    }
    let wrong = ["pub", "--transport=mqtt", "--broker", &url, "--password-file", path, "t", "1"];
    Program::run(&wrong).failed(2, "--password-file needs a user");
    let wrong = ["pub", "--transport=mqtt", "--user=x", "--password-file=/no/such", "t", "1"];
    Program::run(&wrong).failed(1, "cannot read the password in /no/such");
    let foreign = ["pub", "--user=x", "--listen=127.0.0.1:0", "t", "1"];
    Program::run(&foreign).failed(2, "--user does not go with --transport zmq");
}

/// Every command, at a broker that takes the secret, at one that does not, at none, and with an address that cannot be read.
#[test]
fn no_command_ever_shows_a_secret() {
    let (taking, _passwords) = guarded();
    let refusing = Mosquitto::start_with("allow_anonymous false");
    let with_secret = |url: &str| url.replace("mqtt://", &format!("mqtt://{USER}:{SECRET}@"));
    let urls = [
        with_secret(&taking.url()),
        with_secret(&refusing.url()),
        with_secret(&format!("mqtt://{}", nobody())),
        format!("mqtts://{USER}:{SECRET}@h"),
        format!("mqtt://{USER}:{SECRET}@h:port"),
        format!("mqtt://{USER}:{SECRET}/x@h"),
        format!("{USER}:{SECRET}@h"),
        format!("mqtt://{SECRET}%zz@h"),
    ];
    let commands: &[&[&str]] = &[
        &["pub", "--wait=0", "--timeout=1s", "t", "1"],
        &["pub", "--plain", "--timeout=1s", "t", "1"],
        &["sub", "--timeout=1s", "t"],
        &["sub", "--node=n1", "--timeout=1s", "t"],
        &["members", "--node=n1", "--timeout=1s"],
        &["put", "--timeout=1s", "k", "v"],
        &["get", "--timeout=1s", "k"],
        &["load", "--timeout=1s", "--key=iata", AIRPORTS],
        &["node", "--name=n9"],
        &["node", "--protocol=successor"],
    ];
    for url in &urls {
        let started: Vec<_> = commands
            .iter()
            .map(|command| {
                let options = ["-vvv", "--transport=mqtt", "--broker", url];
                let arguments = [&command[..1], &options, &command[1..]].concat();
                (Program::start(&arguments), arguments)
            })
            .collect();
        for (mut program, arguments) in started {
            if arguments[0] == "node" {
                // It ends by itself where there is no broker for it.
                program.line_within(Duration::from_secs(6));
                program.signal("TERM");
            }
            shows_no_secret(&arguments, &program.ended());
        }
    }
    let bench = ["bench", "--transport=mqtt", "--broker", &urls[0], "--rounds=1", "--seconds=0.1"];
    let ended = Program::run(&bench);
    ended.failed(2, "credentials are not taken here");
    shows_no_secret(&bench, &ended);
}
