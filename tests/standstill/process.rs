//! The same with a process that is stopped, over ZeroMQ: this test program, started again.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::Duration;

use ringbus::pubsub::Route;
use ringbus::qos::{Offered, Requested};
use ringbus::transport::{Locator, ZmqTransport};
use ringbus::{DhtNode, Publisher, Session, Subscriber};

use super::departures;
use super::support::soon;

/// A process in which this is set plays a part: its name, then addresses.
const VARIABLE: &str = "RINGBUS_TEST_STANDSTILL";
/// Longer than the publishers' leases and a call's deadline, and shorter than what nodes and publishers grant their readers.
const STOPPED: Duration = Duration::from_secs(8);
const LEASE: Duration = Duration::from_secs(5);
/// So many calls are under way at any time.
const CALLERS: u64 = 16;

struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Process {
    /// Starts one; `test` is the test's own name, which begins with [`play`]. The kernel kills it when the thread that started
    /// it ends.
    fn start(test: &str, part: &str, addresses: &[&Locator]) -> Self {
        let addresses: Vec<&str> = addresses.iter().map(|address| address.as_str()).collect();
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(VARIABLE, format!("{part} {}", addresses.join(" ")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("setpriv: {error}: run ./test, which installs it"));
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, input, output }
    }

    /// What it says of itself under this name.
    fn read(&mut self, name: &str) -> String {
        let mut line = String::new();
        while self.output.read_line(&mut line).unwrap() > 0 {
            if let Some(value) = line.trim_end().split_once(name).and_then(|(_, rest)| rest.strip_prefix('='))
            {
                return value.to_owned();
            }
            line.clear();
        }
        panic!("it ended without saying {name}")
    }

    fn ask(&mut self) {
        self.input.write_all(b"\n").unwrap();
    }

    fn stand_still(&self) {
        self.signal("STOP");
        sleep(STOPPED);
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success(), "kill -s {name}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Waits until the test asks.
async fn asked() {
    let line = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    line.await.unwrap().unwrap();
}

fn say(name: &str, value: impl std::fmt::Display) {
    println!("\n{name}={value}");
}

async fn open() -> Session<ZmqTransport> {
    soon("a session", Session::open(ZmqTransport::ephemeral())).await.unwrap()
}

/// Plays the part that this process was started for, if it was.
fn play() -> bool {
    let Ok(what) = std::env::var(VARIABLE) else { return false };
    let mut words = what.split(' ');
    let part = words.next().unwrap();
    let addresses: Vec<Locator> =
        words.filter(|word| !word.is_empty()).map(|word| Locator::new(word).unwrap()).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    match part {
        "peer" => runtime.block_on(peer(&addresses[0], &addresses[1])),
        "relay" => runtime.block_on(relay()),
        other => panic!("no part is called {other}"),
    }
    true
}

/// Publishes, subscribes and asks the ring without pause; says which peers it has lost, and which calls failed.
async fn peer(node: &Locator, other: &Locator) {
    let session = open().await;
    session.attach(other).await.unwrap();
    let publisher = session.publisher::<u64>("from").qos(Offered::reliable()).build().await.unwrap();
    let mut subscriber = session.subscriber::<u64>("to").qos(Requested::reliable()).build().await.unwrap();
    soon("a publisher", subscriber.matched(1)).await.unwrap();
    soon("a subscriber", publisher.matched(1)).await.unwrap();
    let (lost_writers, lost_readers) = (subscriber.events(), publisher.events());
    let dht = session.dht([node.clone()]);
    let (ends, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (dht, ends, answered) = (dht.clone(), ends.clone(), answered.clone());
            tokio::spawn(async move {
                let mut failed = Vec::new();
                while !ends.load(Ordering::Relaxed) {
                    match dht.members().await {
                        Ok(_) => drop(answered.fetch_add(1, Ordering::Relaxed)),
                        Err(error) => failed.push(error.to_string()),
                    }
                    tokio::task::yield_now().await;
                }
                failed
            })
        })
        .collect();
    let received = tokio::spawn(async move { while let Ok(Some(_)) = subscriber.recv().await {} });
    soon("an answer", async {
        while answered.load(Ordering::Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    say("ready", "yes");
    // When it goes on, and once more when all has come to rest.
    asked().await;
    ends.store(true, Ordering::Relaxed);
    let mut failed = Vec::new();
    for caller in callers {
        failed.extend(soon("the end of the calls", caller).await.unwrap());
    }
    say("failed", format!("{failed:?}"));
    say("departed", format!("{:?}", [departures(&lost_writers), departures(&lost_readers)].concat()));
    say("subscribers", publisher.subscribers());
    received.abort();
}

#[test]
fn a_peer_that_was_stopped_takes_nobody_for_dead_and_loses_no_call() {
    if play() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (node, publisher, heard) = runtime.block_on(async {
        let node = DhtNode::builder(open().await).name("n").start().await.unwrap();
        let session = open().await;
        let offered = Offered::reliable().lease(LEASE);
        let publisher = session.publisher::<u64>("to").qos(offered).build().await.unwrap();
        let heard = session.subscriber::<u64>("from").qos(Requested::reliable()).build().await.unwrap();
        (node, (publisher, session), heard)
    });
    let test = "process::a_peer_that_was_stopped_takes_nobody_for_dead_and_loses_no_call";
    let mut process = Process::start(test, "peer", &[&node.me().locator, publisher.1.local()]);
    assert_eq!(process.read("ready"), "yes");
    process.stand_still();
    // It has looked at its timers by then, several times.
    sleep(Duration::from_secs(3));
    process.ask();
    assert_eq!(process.read("failed"), "[]");
    assert_eq!(process.read("departed"), "[]");
    assert_eq!(process.read("subscribers"), "1");
    drop(heard);
}

/// A ring of one, by way of which others speak; says nothing but where it is.
async fn relay() {
    let node = DhtNode::builder(open().await).name("n").start().await.unwrap();
    say("ready", node.me().locator);
    asked().await;
}

async fn publish(publisher: &Publisher<u64, ZmqTransport>, numbers: std::ops::Range<u64>) {
    for number in numbers {
        publisher.publish(&number).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn receive(subscriber: &mut Subscriber<u64, ZmqTransport>, count: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        let sample = soon("a sample", subscriber.recv()).await.unwrap().unwrap();
        numbers.push(sample.value().unwrap());
    }
    numbers
}

#[test]
fn a_relay_that_was_stopped_loses_nobody_and_nothing() {
    if play() {
        return;
    }
    let test = "process::a_relay_that_was_stopped_loses_nobody_and_nothing";
    let mut process = Process::start(test, "relay", &[]);
    let node = Locator::new(process.read("ready")).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (publisher, mut subscriber) = runtime.block_on(async {
        let (a, b) = (open().await, open().await);
        let (offered, requested) =
            (Offered::reliable().keep_all().lease(LEASE), Requested::reliable().keep_all());
        let dht = b.dht([node.clone()]);
        let subscriber =
            b.subscriber::<u64>("t").qos(requested).route(Route::ViaNode).dht(&dht).build().await.unwrap();
        let dht = a.dht([node.clone()]);
        let publisher = a.publisher::<u64>("t").qos(offered).dht(&dht).build().await.unwrap();
        soon("a match", publisher.matched(1)).await.unwrap();
        (publisher, subscriber)
    });
    let lost = publisher.events();
    runtime.block_on(async {
        publish(&publisher, 0..50).await;
        assert_eq!(receive(&mut subscriber, 50).await, (0..50).collect::<Vec<_>>());
    });
    let sending = runtime.spawn(async move {
        publish(&publisher, 50..400).await;
        publisher
    });
    process.stand_still();
    runtime.block_on(async {
        let publisher = sending.await.unwrap();
        publish(&publisher, 400..500).await;
        assert_eq!(receive(&mut subscriber, 450).await, (50..500).collect::<Vec<_>>());
        soon("what was published", publisher.flush()).await.unwrap();
    });
    assert_eq!(departures(&lost), []);
    process.ask();
}
