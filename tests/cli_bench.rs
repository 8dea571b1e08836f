//! `ringbus bench` as a user runs it, for as short a time as it goes.
#![cfg(all(feature = "cli", feature = "zmq", feature = "mqtt"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod support;

use serde_json::Value;
use support::program::{Program, each_is_wrong_usage};

const SHORT: [&str; 3] = ["bench", "--rounds=1", "--seconds=0.2"];

/// What the ratios of rates and of round trips are of.
const OF_RATES: &str = "of raw compares samples in batches against one message each: ringbus puts what waits for a busy link \
                        into one message, the raw crate sends a message for each sample.";
const OF_ROUND_TRIPS: &str = "of raw compares one message each way on both sides.";

/// Below each table with ratios, before the next one, it says what they compare; below others it does not.
fn assert_says_what_it_compares(output: &[String]) {
    let blocks = output.split(|line| line.is_empty()).filter(|block| !block.is_empty());
    let blocks: Vec<_> = blocks.collect();
    let mut tables = 0;
    for (at, table) in blocks.iter().enumerate().filter(|(_, block)| block[0].starts_with('|')) {
        let has_ratio = table.iter().any(|line| line.contains(" x |"));
        let sentence = if table[0].contains("round trip") { OF_ROUND_TRIPS } else { OF_RATES };
        let below = blocks.get(at + 1).map(|block| block.concat());
        assert_eq!(below.as_deref() == Some(sentence), has_ratio, "{output:#?}");
        tables += 1;
    }
    assert!(tables > 0, "{output:#?}");
}

/// Runs the bench; its tables' rows, cell by cell, without the lines between head and body.
fn rows(arguments: &[&str]) -> Vec<Vec<String>> {
    let output = Program::run(&[&SHORT, arguments].concat()).ok();
    assert_says_what_it_compares(&output);
    let tables = output.iter().filter(|line| line.starts_with('|') && !line.starts_with("|-"));
    tables
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

fn positive(cell: &str) -> bool {
    let figure: String = cell.chars().filter(|digit| digit.is_ascii_digit() || *digit == '.').collect();
    figure.parse::<f64>().unwrap_or_else(|_| panic!("no figure: {cell:?}")) > 0.0
}

/// The head and the rows of both sides of a table of rates: all columns are there, all samples arrived.
fn assert_rates(rows: &[Vec<String>], transport: &str, crowd: &str, samples: [&str; 2], brokered: bool) {
    let [head, library, raw] = rows else { panic!("{rows:?}") };
    let columns = ["transport", "publishers to subscribers", "sample", "side", "samples/s", "of raw", "lost"];
    assert_eq!(head[..7], columns);
    assert_eq!(head[7..], ["CPU ns publisher", "CPU ns subscriber", "CPU ns broker"]);
    assert_eq!(library[..4], [transport, crowd, samples[0], "ringbus"]);
    assert_eq!(raw[..4], [transport, crowd, samples[1], "raw"]);
    assert!(library[5].ends_with(" x") && positive(&library[5]), "{library:?}");
    assert_eq!(raw[5], "-");
    for row in [library, raw] {
        assert!(positive(&row[4]) && positive(&row[7]) && positive(&row[8]), "{row:?}");
        assert_eq!(row[6], "0", "{row:?}");
        assert!(if brokered { positive(&row[9]) } else { row[9] == "-" }, "{row:?}");
    }
}

#[test]
fn rates_and_round_trips_over_zeromq_beside_libzmq() {
    let rows = rows(&["--size", "16"]);
    let (rates, round_trips) = rows.split_at(3);
    assert_rates(rates, "zmq", "1 to 1", ["16 B", "16 B"], false);
    let [head, library, raw] = round_trips else { panic!("{round_trips:?}") };
    assert_eq!(head[..7], ["transport", "round trip", "sample", "side", "p50", "of raw", "p99"]);
    for row in [library, raw] {
        assert!(row[4].ends_with(" µs") && positive(&row[4]) && positive(&row[6]), "{row:?}");
    }
    assert!(library[5].ends_with(" x") && positive(&library[5]), "{library:?}");
}

#[test]
fn many_subscribers_and_many_publishers_of_a_struct() {
    let to_many = rows(&["--rate", "--size=struct", "--subscribers=3"]);
    assert_rates(&to_many, "zmq", "1 to 3", ["struct", "16 B"], false);
    let from_many = rows(&["--rate", "--size=1024", "--publishers=3"]);
    assert_rates(&from_many, "zmq", "3 to 1", ["1 KiB", "1 KiB"], false);
}

#[test]
fn reliably_over_an_own_mosquitto_beside_rumqttc() {
    let rows = rows(&["--transport=mqtt", "--qos=1", "--rate", "--size=256"]);
    assert_rates(&rows, "mqtt, QoS 1", "1 to 1", ["256 B", "256 B"], true);
}

#[test]
fn best_effort_through_a_broker_that_runs_already() {
    let broker = support::mosquitto::Mosquitto::start();
    let broker = format!("--broker={}", broker.url());
    let rows = rows(&["--transport=mqtt", "--qos=0", "--round-trip", "--size=64", "--raw", &broker]);
    let [_, raw] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!(raw[..4], ["mqtt, QoS 0", "1 to 1", "64 B", "raw"]);
    assert!(positive(&raw[4]) && positive(&raw[6]), "{raw:?}");
}

#[test]
fn one_side_alone_and_every_figure_as_json() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let json = format!("--json={}", file.path().display());
    let rows = rows(&["--library", "--rate", "--size=16,256", &json]);
    assert_eq!(rows.iter().map(|row| row[3].as_str()).collect::<Vec<_>>(), ["side", "ringbus", "ringbus"]);
    assert!(rows[1..].iter().all(|row| row[5] == "-"), "{rows:?}");
    let figures: Value = serde_json::from_reader(file.reopen().unwrap()).unwrap();
    let sizes: Vec<&Value> = figures.as_array().unwrap().iter().map(|one| &one["size"]).collect();
    assert_eq!(sizes, [16, 256]);
    let first = &figures[0];
    assert_eq!((&first["transport"], &first["kind"]), (&"zmq".into(), &"rate".into()));
    assert_eq!(
        (&first["raw"], &first["ratio"], &first["compares"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    let library = &first["ringbus"];
    assert!(library["rate"].as_f64().unwrap() > 0.0);
    assert_eq!((&library["lost"], &library["sent"]), (&0.into(), &library["received"]));
}

#[test]
fn every_ratio_says_what_it_compares() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let json = format!("--json={}", file.path().display());
    let rows = rows(&["--size", "64", &json]);
    let ratios = rows.iter().filter(|row| row[5].ends_with(" x"));
    assert_eq!(ratios.count(), 2, "of a rate and of round trips: {rows:?}");
    let figures: Value = serde_json::from_reader(file.reopen().unwrap()).unwrap();
    for (one, sentence) in figures.as_array().unwrap().iter().zip([OF_RATES, OF_ROUND_TRIPS]) {
        assert!(one["ratio"].as_f64().unwrap() > 0.0, "{one}");
        let compares = one["compares"].as_str().unwrap();
        assert_eq!(format!("of raw compares {compares}."), sentence);
    }
}

#[test]
fn a_broker_that_is_not_there_is_a_failure() {
    // Nothing listens at port 1.
    let mut arguments = SHORT.to_vec();
    arguments.extend(["--transport=mqtt", "--broker=mqtt://127.0.0.1:1"]);
    Program::run(&arguments).failed(1, "the bench of mqtt, QoS 0, 1 to 1, 16 B: ");
}

#[test]
fn wrong_usage_is_refused() {
    each_is_wrong_usage(&[
        (&["bench", "--broker", "mqtt://127.0.0.1:1883"], "--broker goes with MQTT: add --transport mqtt"),
        (&["bench", "--qos", "1"], "--qos goes with MQTT"),
        (&["bench", "--nodelay"], "--nodelay goes with MQTT"),
        (&["bench", "--round-trip", "--size", "struct"], "round trips are of bytes"),
        (&["bench", "--transport", "mqtt", "--broker", "here"], "write mqtt://HOST:PORT"),
        (&["bench", "--transport", "mqtt", "--broker", "mqtt://a:b"], "write mqtt://HOST:PORT"),
    ]);
    // These are clap's, which says them in several lines.
    for (arguments, expected) in [
        (["--size", "7"], "a number of bytes from 8 to 1048576"),
        (["--size", "big"], "write struct"),
        (["--seconds", "0"], "from 50ms to 10m"),
        (["--rounds", "0"], "not in 1..=1000"),
        (["--subscribers", "0"], "not in 1..=1024"),
        (["--qos", "2"], "not in 0..=1"),
        (["--raw", "--library"], "cannot be used with"),
        (["--rate", "--round-trip"], "cannot be used with"),
    ] {
        let ended = Program::run(&["bench", arguments[0], arguments[1]]);
        assert_eq!((ended.code, &ended.output[..]), (Some(2), &[][..]), "{ended:?}");
        assert!(ended.errors.iter().any(|line| line.contains(expected)), "{arguments:?}: {ended:?}");
    }
}
