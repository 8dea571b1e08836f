//! Ways that are cut between two hosts, while others reach both: both rings go on by way of a
//! third, or say who is not reached.

use std::time::{Duration, Instant};

use crate::hosts::Hosts;
use crate::permission;
use crate::program::Program;
use crate::weather::PATIENCE;

const NODES: [u8; 3] = [1, 2, 3];
/// The ids of the successor ring's nodes.
const IDS: [&str; 3] = ["1000000000", "2000000000", "3000000000"];
const CLIENT: u8 = 11;
/// From a cut until those on both sides have found a third; on a machine that is too busy for that they
/// may give each other up once, and are back by then.
const SETTLED: Duration = Duration::from_secs(8);

fn node_address(number: u8) -> String {
    format!("{}:5556", Hosts::address(number))
}

/// A successor ring on its hosts, complete.
fn store(hosts: &Hosts) -> Vec<Program> {
    let start = |(number, id): (&u8, &&str)| {
        let (listen, seed) = (format!("--listen={}", node_address(*number)), node_address(NODES[0]));
        let mut arguments = vec!["node", "--protocol=successor", "--id", id, &listen];
        if *number != NODES[0] {
            arguments.extend(["--join", &seed]);
        }
        let program = Program::ringbus(hosts, *number, &arguments);
        program.wait_for("its start", PATIENCE, |line| line.text.starts_with("started").then_some(()));
        program
    };
    let nodes: Vec<Program> = NODES.iter().zip(&IDS).map(start).collect();
    for (at, node) in nodes.iter().enumerate() {
        let linked = format!("linked\t{}\t{}", IDS[(at + 2) % 3], IDS[(at + 1) % 3]);
        node.wait_for("its neighbours", PATIENCE, |line| (line.text == linked).then_some(()));
    }
    nodes
}

/// Runs a command of a client of the store that knows these nodes: its exit code, and what it
/// printed.
fn client(hosts: &Hosts, command: &str, nodes: &[u8], rest: &[&str]) -> (Option<i32>, Vec<String>) {
    let nodes: Vec<String> = nodes.iter().map(|number| node_address(*number)).collect();
    let (listen, nodes) = (format!("--listen={}:0", Hosts::address(CLIENT)), nodes.join(","));
    let arguments = [&[command, &listen, "--node", &nodes], rest].concat();
    let mut program = Program::ringbus(hosts, CLIENT, &arguments);
    let code = program.ended();
    (code, program.lines().into_iter().map(|line| line.text).collect())
}

/// How often these nodes have given one up, or were given up.
fn given_up(nodes: &[Program]) -> usize {
    let says = |text: &str| text.starts_with("failed") || text.starts_with("expelled");
    nodes.iter().flat_map(Program::lines).filter(|line| says(&line.text)).count()
}

#[test]
fn a_client_of_the_store_reaches_an_owner_by_way_of_a_third_or_is_told_which_it_is() {
    let Some(_alone) = permission() else { return };
    let hosts = Hosts::new(&[NODES[0], NODES[1], NODES[2], CLIENT]);
    let nodes = store(&hosts);
    hosts.part(CLIENT, NODES[1]);
    let begun = Instant::now();
    let (code, said) = client(&hosts, "put", &[1, 2, 3], &[IDS[1], "by way of a third"]);
    println!("a put by way of a third: {:?}", begun.elapsed());
    assert_eq!(code, Some(0), "{said:?}");
    assert!(said.iter().any(|line| line == IDS[1]), "{said:?}");
    let (code, said) = client(&hosts, "get", &[1, 2, 3], &[IDS[1]]);
    assert_eq!(code, Some(0), "{said:?}");
    assert!(said.iter().any(|line| line == "by way of a third"), "{said:?}");
    // The only one that it reaches does not reach the owner.
    hosts.part(CLIENT, NODES[2]);
    hosts.part(NODES[0], NODES[1]);
    std::thread::sleep(SETTLED);
    let (code, said) = client(&hosts, "put", &[1, 2, 3], &[IDS[1], "not to be had"]);
    assert_eq!(code, Some(1), "{said:?}");
    let [by, owner, _] = IDS;
    let why = format!("the node {owner}, which is responsible, does not answer node {by} there");
    assert!(said.iter().any(|line| line.contains(&why)), "{said:?}");
    drop(nodes);
}

#[test]
fn nodes_of_the_store_that_cannot_reach_each_other_stay_neighbours() {
    let Some(_alone) = permission() else { return };
    let hosts = Hosts::new(&[NODES[0], NODES[1], NODES[2], CLIENT]);
    let nodes = store(&hosts);
    hosts.part(NODES[0], NODES[1]);
    std::thread::sleep(SETTLED);
    let before = given_up(&nodes);
    // Several leases: without the third each of them is the end of a neighbourhood.
    for round in 0..4 {
        std::thread::sleep(Duration::from_secs(3));
        for id in IDS {
            let value = format!("round {round}");
            let (code, said) = client(&hosts, "put", &[1, 2, 3], &[id, &value]);
            assert_eq!(code, Some(0), "{said:?}");
            let (code, said) = client(&hosts, "get", &[1, 2, 3], &[id]);
            assert_eq!(code, Some(0), "{said:?}");
            assert!(said.contains(&value), "{said:?}");
        }
    }
    assert_eq!(given_up(&nodes), before, "{:?}", nodes.iter().map(Program::lines).collect::<Vec<_>>());
}

/// Starts a publisher on a host that knows this server, and the server that it is told is
/// responsible.
fn registered(hosts: &Hosts, number: u8, server: u8) -> (Program, String) {
    let server = Hosts::address(server);
    let program = Program::start(hosts, number, "publisher", &["--period", "50ms", "5", "98101", &server]);
    let responsible = program.wait_for("its registration", PATIENCE, |line| {
        line.text.split_once("responsible node ").map(|(_, name)| name.to_owned())
    });
    (program, responsible)
}

#[test]
fn publishers_register_at_a_server_that_they_or_their_server_cannot_reach() {
    let Some(_alone) = permission() else { return };
    let publishers = [21, 22, 23];
    let hosts = Hosts::new(&[1, 2, 3, 21, 22, 23]);
    let all: Vec<String> = NODES.iter().map(|number| Hosts::address(*number)).collect();
    let servers: Vec<Program> = NODES
        .iter()
        .map(|number| {
            let own = Hosts::address(*number);
            let others = all.iter().filter(|other| **other != own);
            let arguments: Vec<&str> = [&own].into_iter().chain(others).map(String::as_str).collect();
            Program::start(&hosts, *number, "dht_server", &arguments)
        })
        .collect();
    let complete = format!("members: {}", all.join(" "));
    for server in &servers {
        server.wait_for("the ring", PATIENCE, |line| (line.text == complete).then_some(()));
    }
    let (_first, responsible) = registered(&hosts, publishers[0], NODES[0]);
    let owner = NODES[all.iter().position(|name| *name == responsible).unwrap()];
    let [entry, third] = [1, 2].map(|step| NODES[(usize::from(owner) - 1 + step) % 3]);
    // A client and the owner.
    hosts.part(publishers[1], owner);
    let (_second, told) = registered(&hosts, publishers[1], third);
    assert_eq!(told, responsible);
    // A node and the owner: the node asks by way of the third.
    hosts.part(entry, owner);
    let begun = Instant::now();
    let (_third, told) = registered(&hosts, publishers[2], entry);
    println!("registered by way of a third: {:?}", begun.elapsed());
    assert_eq!(told, responsible);
}
