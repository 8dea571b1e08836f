//! Hosts that are reached by IPv4 and by IPv6: a session of one kind beside a peer of the other, and names that have an address
//! of each. All is in one namespace, on its loopback.

#[cfg(feature = "mqtt")]
use std::path::Path;

use crate::hosts::Hosts;
use crate::permission;
use crate::program::{Line, Program};
use crate::weather::PATIENCE;

const HOST: u8 = 1;
const NAME: &str = "pubhost";
const IPV4: &str = "127.0.0.1";
const IPV6: &str = "::1";
/// Refuses at once: nobody listens there.
const NO_SERVER: &str = "127.0.0.1";

/// A machine whose own name has an address of each kind; `None` where the kernel has no IPv6, which it says.
fn dual() -> Option<Hosts> {
    let hosts = Hosts::new(&[HOST]);
    if !hosts.has_ipv6(HOST) {
        println!("not run: this machine has no IPv6");
        return None;
    }
    hosts.set_addresses(HOST, &[(NAME, IPV4), (NAME, IPV6)], NO_SERVER);
    Some(hosts)
}

/// As it is written before a port.
fn written(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

/// Publishes ten values a second, each with the name, and waits for nobody.
fn publisher(hosts: &Hosts, address: &str, name: &str) -> Program {
    let listen = format!("--listen={}:5556", written(address));
    let values: Vec<String> = (0..3000).map(|value| format!("{name} {value}")).collect();
    let mut arguments = vec!["pub", &listen, "--wait=0", "--interval=100ms", "--best-effort", "w"];
    arguments.extend(values.iter().map(String::as_str));
    Program::ringbus(hosts, HOST, &arguments)
}

fn hears(program: &Program, name: &str) {
    let of = |line: &Line| line.text.contains(&format!("{name} ")).then_some(());
    program.wait_for(&format!("a value of {name}"), PATIENCE, of);
}

/// The number at the end of a line, which is the value.
fn value(line: &Line) -> Option<u32> {
    line.text.split_whitespace().next_back()?.parse().ok()
}

/// The values that a program has printed, up to the last one.
fn values(program: &Program, last: u32) -> Vec<u32> {
    program.wait_for("the last value", PATIENCE, |line| (value(line) == Some(last)).then_some(()));
    program.lines().iter().filter_map(value).collect()
}

#[test]
fn sessions_of_one_kind_and_peers_of_the_other_exchange_everything() {
    let Some(_alone) = permission() else { return };
    for (own, peer) in [(IPV4, IPV6), (IPV6, IPV4)] {
        let Some(hosts) = dual() else { return };
        let listen = format!("--listen={}:5557", written(own));
        let peer_at = format!("{}:5556", written(peer));
        let mut subscriber =
            Program::ringbus(&hosts, HOST, &["sub", &listen, "--peer", &peer_at, "--count=100", "w"]);
        let sent: Vec<String> = (0..100).map(|value| value.to_string()).collect();
        let mut arguments = vec!["pub", "--listen", &peer_at, "--timeout=60s", "w"];
        arguments.extend(sent.iter().map(String::as_str));
        let mut publisher = Program::ringbus(&hosts, HOST, &arguments);
        // Reliably: the publisher ends well only when the subscriber has acknowledged everything.
        assert_eq!(publisher.ended(), Some(0), "{own} hears {peer}: {}", publisher.tail());
        assert_eq!(subscriber.ended(), Some(0), "{own} hears {peer}: {}", subscriber.tail());
        let expected: Vec<u32> = (0..100).collect();
        assert_eq!(values(&subscriber, 99), expected, "{own} hears {peer}");
    }
}

#[test]
fn of_a_names_two_addresses_the_one_that_answers_is_followed() {
    let Some(_alone) = permission() else { return };
    for own in [IPV4, IPV6] {
        let Some(hosts) = dual() else { return };
        let listen = format!("--listen={}:5557", written(own));
        let peer = format!("{NAME}:5556");
        let subscriber =
            Program::ringbus(&hosts, HOST, &["sub", &listen, "--peer", &peer, "--best-effort", "w"]);
        for (round, address) in [IPV6, IPV4, IPV6].into_iter().enumerate() {
            let name = format!("{round}@{address}");
            let mut publisher = publisher(&hosts, address, &name);
            hears(&subscriber, &name);
            publisher.kill();
        }
    }
}

#[cfg(feature = "mqtt")]
#[test]
fn a_broker_is_found_at_either_address_of_its_name() {
    let Some(_alone) = permission() else { return };
    for address in [IPV4, IPV6] {
        let Some(hosts) = dual() else { return };
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("mosquitto.conf");
        std::fs::write(&config, format!("listener 1883 {address}\nallow_anonymous true\n")).unwrap();
        let config = config.display().to_string();
        let broker = Program::any(&hosts, HOST, Path::new("mosquitto"), &["-c", &config]);
        broker.wait_for("the broker", PATIENCE, |line| line.text.contains(" running").then_some(()));
        let url = format!("--broker=mqtt://{NAME}:1883");
        let over = ["--transport=mqtt", &url];
        let mut subscriber =
            Program::ringbus(&hosts, HOST, &[&["sub"], &over[..], &["--count=3", "w"]].concat());
        let arguments = [&["pub"], &over[..], &["--timeout=60s", "w", "0", "1", "2"]].concat();
        let mut publisher = Program::ringbus(&hosts, HOST, &arguments);
        assert_eq!(publisher.ended(), Some(0), "{address}: {}", publisher.tail());
        assert_eq!(subscriber.ended(), Some(0), "{address}: {}", subscriber.tail());
        assert_eq!(values(&subscriber, 2), [0, 1, 2], "{address}: {}", subscriber.tail());
    }
}
