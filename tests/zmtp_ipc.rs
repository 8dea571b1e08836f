//! Sessions and programs at Unix sockets.
#![cfg(all(target_os = "linux", feature = "cli", feature = "zmq", feature = "zmtp"))]
#![allow(clippy::unwrap_used, clippy::panic)] // That is how tests fail, their helpers included.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ringbus::transport::zmq::Engine;
use ringbus::transport::{Locator, OpenOptions, Outbound, Transport, TransportTx, ZmqTransport};
use ringbus::{ErrorKind, Topic};
use support::PATIENCE;
use support::program::Program;

/// A place for a socket.
fn place() -> (tempfile::TempDir, PathBuf, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.sock");
    let address = format!("ipc://{}", path.display());
    (directory, path, address)
}

fn wait_until_gone(path: &Path) {
    let begun = Instant::now();
    while path.exists() {
        assert!(begun.elapsed() < PATIENCE, "{} stays", path.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_file_lives_as_long_as_its_session() {
    let (_directory, path, address) = place();
    let (tx, rx) = ZmqTransport::new(&address).open(OpenOptions::default()).await.unwrap();
    assert_eq!(tx.local().as_str(), format!("zmq+{address}"));
    assert!(path.exists());
    tx.close(Duration::from_secs(1)).await.unwrap();
    assert!(!path.exists(), "it stays after the session was closed");
    drop((tx, rx));
    // One that is let go of without a word.
    drop(ZmqTransport::new(&address).open(OpenOptions::default()).await.unwrap());
    tokio::task::spawn_blocking(move || wait_until_gone(&path)).await.unwrap();
}

#[tokio::test]
async fn libzmq_refuses_a_unix_socket_with_the_reason() {
    let (_directory, _, address) = place();
    let (tx, _rx) =
        ZmqTransport::ephemeral().engine(Engine::Libzmq).open(OpenOptions::default()).await.unwrap();
    let attached = tx.attach(&Locator::new(&address).unwrap()).await;
    let opened = ZmqTransport::new(&address).engine(Engine::Libzmq).open(OpenOptions::default()).await;
    for error in [attached.unwrap_err(), opened.map(drop).unwrap_err()] {
        let ErrorKind::InvalidAddress { reason, .. } = error.kind() else { panic!("{error}") };
        assert!(reason.contains("choose the native engine"), "{reason}");
    }
}

/// libzmq 4.3.5, by pyzmq, subscribes at a path and at an abstract name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_sub_hears_a_publisher() {
    let foreign = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign");
    let installed = Command::new(foreign.join("pyzmq")).stderr(Stdio::inherit()).output().unwrap();
    assert!(installed.status.success(), "tests/foreign/pyzmq");
    let python_path = String::from_utf8(installed.stdout).unwrap();
    let (_directory, _, path) = place();
    for address in [path, format!("ipc://@ringbus-foreign-{}", std::process::id())] {
        let (tx, _rx) = ZmqTransport::new(&address).open(OpenOptions::default()).await.unwrap();
        let what = serde_json::json!({"socket": "SUB", "connect": address, "hear": "weather/9\0warm"});
        let mut peer = Command::new("python3");
        peer.arg(foreign.join("pyzmq_peer.py")).arg(what.to_string());
        peer.env("PYTHONPATH", python_path.trim_end());
        let mut peer = Program::spawn("pyzmq", &mut peer);
        let topic = Topic::new("weather/9").unwrap();
        let begun = Instant::now();
        while peer.line_within(Duration::from_millis(20)).is_none() {
            tx.try_send(Outbound::topic(topic.clone(), "warm")).unwrap();
            assert!(begun.elapsed() < 4 * PATIENCE, "{address}: it hears nothing");
        }
        let ended = peer.ended();
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
}

/// Whom a program connects to, and where it listens, may be Unix sockets; and one that was killed is followed by another.
#[test]
fn programs_meet_at_a_unix_socket() {
    let (directory, path, address) = place();
    for _ in 0..2 {
        let subscriber = ["sub", "--transport=zmq", "--listen", &address, "--count=1", "w/#"];
        let killed = Program::start(&subscriber);
        let begun = Instant::now();
        while !path.exists() {
            assert!(begun.elapsed() < PATIENCE, "it does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        killed.signal("KILL");
        killed.ended();
        assert!(path.exists(), "the file of a killed process");
        let mut subscriber = Program::start(&subscriber);
        let publisher = ["pub", "--transport=zmq", "--timeout=100s", "--peer", &address, "w/x", "a word"];
        let published = Program::run(&publisher);
        assert_eq!(published.code, Some(0), "{published:?}");
        assert!(subscriber.line().contains("a word"));
        let ended = subscriber.ended();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "files stay");
    }
}

/// A ring whose nodes listen at Unix sockets, found by a client that does, too.
#[test]
fn a_ring_has_its_nodes_at_unix_sockets() {
    let (_directory, _, address) = place();
    let node = ["node", "--transport=zmq", "--listen"];
    let first = Program::start(&[&node[..], &[&address, "--name=n1"]].concat());
    let second =
        Program::start(&[&node[..], &[&format!("{address}.2"), "--name=n2", "--join", &address]].concat());
    let begun = Instant::now();
    let mut members = Vec::new();
    while members.len() < 2 {
        assert!(begun.elapsed() < 2 * PATIENCE, "{members:?}");
        members = Program::run(&["members", "--transport=zmq", "--timeout=30s", "--node", &address]).output;
    }
    assert!(members[0].contains("n1") && members[1].contains("n2"), "{members:?}");
    for node in [second, first] {
        assert_eq!(node.terminate().code, Some(0));
    }
}
