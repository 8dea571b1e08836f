//! Host names that are slow, that move, and that are known only later.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::hosts::Hosts;
use crate::machine::on_this_machine;
use crate::permission;
use crate::program::{Line, Program};
use crate::weather::PATIENCE;

const GOOD: u8 = 1;
const SUBSCRIBER: u8 = 2;
const OTHER: u8 = 3;
/// Where a name server would be.
const DNS: u8 = 9;

/// Refuses at once: nobody listens there.
const NO_SERVER: &str = "127.0.0.1";

/// Publishes ten values a second, each with the name.
fn publisher(hosts: &Hosts, number: u8, name: &str, more: &[&str]) -> Program {
    let listen = format!("--listen={}:5556", Hosts::address(number));
    let values: Vec<String> = (0..3000).map(|value| format!("{name} {value}")).collect();
    let mut arguments = vec!["pub", &listen, "--wait=0", "--interval=100ms", "--best-effort"];
    arguments.extend(more);
    arguments.push("w");
    arguments.extend(values.iter().map(String::as_str));
    Program::ringbus(hosts, number, &arguments)
}

fn subscriber(hosts: &Hosts, peer: &str) -> Program {
    let listen = format!("--listen={}:5556", Hosts::address(SUBSCRIBER));
    Program::ringbus(hosts, SUBSCRIBER, &["sub", &listen, "--peer", peer, "--best-effort", "w"])
}

fn hears(program: &Program, name: &str) {
    let of = |line: &Line| line.text.contains(&format!("{name} ")).then_some(());
    program.wait_for(&format!("a value of {name}"), PATIENCE, of);
}

#[test]
fn a_name_that_resolves_slowly_delays_nobody_else() {
    let Some(_alone) = permission() else { return };
    let hosts = Hosts::new(&[GOOD, SUBSCRIBER, OTHER, DNS]);
    hosts.deafen(DNS);
    hosts.set_names(SUBSCRIBER, &[], &Hosts::address(DNS));
    let _good = publisher(&hosts, GOOD, "good", &[]);
    let subscriber = subscriber(&hosts, &format!("{}:5556", Hosts::address(GOOD)));
    hears(&subscriber, "good");
    let begun = Instant::now();
    let peer = format!("{}:5556", Hosts::address(SUBSCRIBER));
    let slow = publisher(&hosts, OTHER, "slow", &["--advertise=sensor7.lan", "--peer", &peer]);
    // Twice as long as one look-up.
    sleep(Duration::from_secs(11));
    drop(slow);
    let mut times: Vec<Instant> = subscriber.lines().iter().map(|line| line.at).collect();
    times.retain(|at| *at >= begun);
    times.extend([begun, Instant::now()]);
    times.sort();
    let gap = times.windows(2).map(|two| two[1] - two[0]).max().unwrap();
    println!("{} lines, the longest gap is {gap:?}", times.len() - 2);
    assert!(gap < on_this_machine(Duration::from_secs(2)), "nothing for {gap:?}\n{}", subscriber.tail());
}

#[test]
fn a_name_that_moves_is_followed() {
    let Some(_alone) = permission() else { return };
    let hosts = Hosts::new(&[GOOD, SUBSCRIBER, OTHER]);
    hosts.set_names(SUBSCRIBER, &[("pubhost", GOOD)], NO_SERVER);
    let mut first = publisher(&hosts, GOOD, "first", &[]);
    let subscriber = subscriber(&hosts, "pubhost:5556");
    hears(&subscriber, "first");
    first.kill();
    hosts.set_names(SUBSCRIBER, &[("pubhost", OTHER)], NO_SERVER);
    let moved = Instant::now();
    let _second = publisher(&hosts, OTHER, "second", &[]);
    hears(&subscriber, "second");
    println!("followed after {:?}", moved.elapsed());
}

#[test]
fn a_name_that_is_not_known_yet_is_looked_up_until_it_is() {
    let Some(_alone) = permission() else { return };
    let hosts = Hosts::new(&[GOOD, SUBSCRIBER]);
    hosts.set_names(SUBSCRIBER, &[], NO_SERVER);
    let _publisher = publisher(&hosts, GOOD, "late", &[]);
    let subscriber = subscriber(&hosts, "pubhost:5556");
    let told = |line: &Line| line.text.contains("cannot reach pubhost:5556").then(|| line.text.clone());
    let line = subscriber.wait_for("what is wrong", PATIENCE, told);
    assert!(line.contains("its host name pubhost is unknown"), "{line}");
    hosts.set_names(SUBSCRIBER, &[("pubhost", GOOD)], NO_SERVER);
    hears(&subscriber, "late");

    // Without an own address to listen at it has to know the way there first, and does not wait for ever.
    hosts.set_names(SUBSCRIBER, &[], NO_SERVER);
    for option in ["--peer", "--node"] {
        let mut lost = Program::ringbus(&hosts, SUBSCRIBER, &["sub", option, "nohost:5556", "w"]);
        assert_eq!(lost.ended(), Some(1), "{option}: {}", lost.tail());
        assert!(lost.tail().contains("cannot reach"), "{option}: {}", lost.tail());
    }
    let mut patient =
        Program::ringbus(&hosts, SUBSCRIBER, &["sub", "--peer", "pubhost:5556", "--best-effort", "w"]);
    sleep(Duration::from_secs(1));
    hosts.set_names(SUBSCRIBER, &[("pubhost", GOOD)], NO_SERVER);
    hears(&patient, "late");
    patient.kill();
}
