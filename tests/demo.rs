//! The demo itself, faster than its users see it: both kills, both transports, every hour exactly once.
#![cfg(all(feature = "cli", feature = "zmq", feature = "embedded-broker"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "that is how tests fail, their helpers included")]

#[path = "support/mosquitto.rs"]
mod mosquitto;

use std::process::Command;

fn demo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_ringbus"))
        .args(["demo", "--speed", "900", "--lease", "1000"])
        .args(arguments)
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    out.into_owned()
}

/// The rows that say that one subscriber has everything, once.
fn faultless(table: &str, name: &str, readings: &str) -> usize {
    let cells = |row: &str| row.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let wanted = [name, readings, "0", "0", "1", "1"];
    let rows = table.lines().map(cells).filter(|row| row.len() > 9);
    rows.filter(|row| [&row[1], &row[3], &row[4], &row[5], &row[6], &row[8]].into_iter().eq(wanted)).count()
}

#[test]
fn over_zeromq() {
    let table = demo(&["--transport", "zmq"]);
    assert_eq!(faultless(&table, "exact subscriber", "8759 of 8759"), 1, "{table}");
    assert_eq!(faultless(&table, "wildcard subscriber", "17518 of 17518"), 1, "{table}");
}

#[test]
fn over_mqtt_with_the_broker_inside() {
    let table = demo(&["--transport", "mqtt"]);
    assert_eq!(faultless(&table, "exact subscriber", "8759 of 8759"), 1, "{table}");
    assert_eq!(faultless(&table, "wildcard subscriber", "17518 of 17518"), 1, "{table}");
}

#[test]
fn over_mqtt_with_mosquitto() {
    let broker = mosquitto::Mosquitto::start();
    let table = demo(&["--transport", "mqtt", "--broker", &broker.url()]);
    assert_eq!(faultless(&table, "exact subscriber", "8759 of 8759"), 1, "{table}");
    assert_eq!(faultless(&table, "wildcard subscriber", "17518 of 17518"), 1, "{table}");
}
