//! CURVE on the native engine: who is let in, who is not, and what each of them is told; with
//! pyzmq (libzmq 4.3.5, libsodium) in both roles, and as the program.
#![cfg(all(unix, feature = "zmq", feature = "zmtp", feature = "cli"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "that is how tests fail, helpers included")]

mod support;

use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ringbus::transport::zmq::{Curve, CurveKeys, CurvePublicKey, Engine, ZmqRx, ZmqTx};
use ringbus::transport::{
    Event, Locator, OpenOptions, Origin, Outbound, Transport, TransportRx, TransportTx, ZmqTransport,
};
use ringbus::{ErrorKind, Topic, TopicFilter};
use support::program::Program;
use support::soon;

/// A session by its two halves.
struct Side {
    tx: ZmqTx,
    rx: ZmqRx,
    events: Vec<Event>,
}

impl Side {
    async fn open(curve: impl Into<Curve>) -> Self {
        Self::over(ZmqTransport::ephemeral().engine(Engine::Native).curve(curve)).await
    }

    async fn over(transport: ZmqTransport) -> Self {
        let (tx, rx) = transport.open(OpenOptions::default()).await.unwrap();
        Self { tx, rx, events: Vec::new() }
    }

    fn locator(&self) -> Locator {
        self.tx.local().clone()
    }

    async fn subscribe(&self) {
        self.tx.subscribe(&TopicFilter::new("t").unwrap()).await.unwrap();
    }

    async fn send(&self, message: Outbound) {
        self.tx.send_batch(&mut vec![message]).await.unwrap();
    }

    /// Waits for an event of that kind, and keeps what has come before it.
    async fn until(&mut self, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        loop {
            let mut events = Vec::new();
            soon(what, self.rx.recv_batch(&mut events, 1)).await.unwrap();
            let event = events.pop().unwrap();
            self.events.push(event.clone());
            if wanted(&event) {
                return event;
            }
        }
    }

    async fn up(&mut self, peer: &Locator) {
        self.until("a peer", |event| matches!(event, Event::PeerUp(up) if up == peer)).await;
    }

    /// Why a peer cannot be reached.
    async fn unreachable(&mut self) -> String {
        match self.until("a reason", |event| matches!(event, Event::Unreachable { .. })).await {
            Event::Unreachable { reason, .. } => reason,
            other => panic!("{other:?}"),
        }
    }

    async fn message(&mut self) -> (Origin, Vec<u8>) {
        match self.until("a message", |event| matches!(event, Event::Message { .. })).await {
            Event::Message { from, payload } => (from, payload.to_vec()),
            other => panic!("{other:?}"),
        }
    }

    /// Whether these peers and no others have ever been up, or have sent a message.
    fn has_met(&self, peers: &[Locator]) -> bool {
        let met = self.events.iter().filter_map(|event| match event {
            Event::PeerUp(peer) | Event::Message { from: Origin::Peer(peer), .. } => Some(peer.clone()),
            _ => None,
        });
        met.collect::<HashSet<_>>() == peers.iter().cloned().collect()
    }

    /// Whether a message with this payload has ever come.
    fn has_heard(&self, text: &str) -> bool {
        self.events.iter().any(|event| matches!(event, Event::Message { payload, .. } if payload == text))
    }
}

fn topic(payload: impl Into<Vec<u8>>) -> Outbound {
    Outbound::topic(Topic::new("t").unwrap(), payload.into())
}

/// A loopback address that other processes do not use, for a session that is named before it
/// exists; below the range from which the system takes free ports.
fn own_address() -> String {
    let [high, mid, low, _] = (std::process::id() << 8).to_be_bytes();
    format!("127.{}.{mid}.{low}:10001", 64 + high % 63)
}

fn keys() -> CurveKeys {
    CurveKeys::generate().unwrap()
}

/// A large message and small ones pass in both directions.
async fn talk(a: &mut Side, b: &mut Side) {
    say(a, b).await;
    say(b, a).await;
}

async fn say(from: &mut Side, to: &mut Side) {
    to.subscribe().await;
    from.until("a subscription", |event| matches!(event, Event::Interest(_))).await;
    for len in [0, 1, 300, 70_000] {
        from.send(topic(vec![7; len])).await;
        assert_eq!(to.message().await.1.len(), len);
        from.send(Outbound::peer(to.locator(), vec![9; len])).await;
        assert_eq!(to.message().await, (Origin::Peer(from.locator()), vec![9; len]));
    }
    to.tx.unsubscribe(&TopicFilter::new("t").unwrap()).await.unwrap();
}

#[tokio::test]
async fn sessions_with_one_key_for_all_need_no_more() {
    let keys = keys();
    let (mut a, mut b) = (Side::open(keys.clone()).await, Side::open(keys).await);
    b.tx.attach(&a.locator()).await.unwrap();
    a.up(&b.locator()).await;
    b.up(&a.locator()).await;
    talk(&mut a, &mut b).await;
}

#[tokio::test]
async fn sessions_with_keys_of_their_own_know_each_other_by_list_and_by_proof() {
    let (of_a, of_b) = (keys(), keys());
    // No address of b is known to a: what b has proved is expected on the way back to it.
    let mut a = Side::open(Curve::new(of_a.clone()).allow([of_b.public()])).await;
    let mut b = Side::open(Curve::new(of_b).allow_at(&a.locator(), of_a.public()).unwrap()).await;
    b.tx.attach(&a.locator()).await.unwrap();
    a.up(&b.locator()).await;
    b.up(&a.locator()).await;
    talk(&mut a, &mut b).await;
}

#[tokio::test]
async fn a_session_without_an_allowed_key_gets_nothing_in_and_nothing_out() {
    let (of_a, of_friend, of_stranger) = (keys(), keys(), keys());
    let mut a = Side::open(Curve::new(of_a.clone()).allow([of_friend.public()])).await;
    let at = a.locator();
    let knows_a = |keys: &CurveKeys| Curve::new(keys.clone()).allow_at(&at, of_a.public()).unwrap();
    let strangers = [
        // It knows the server's key, and its own is not let in.
        (ZmqTransport::ephemeral().engine(Engine::Native).curve(knows_a(&of_stranger)), "has it allowed"),
        // Its own would be let in, and it takes a for a session of that key.
        (ZmqTransport::ephemeral().engine(Engine::Native).curve(of_friend.clone()), "another key than"),
        // It has no keys at all.
        (ZmqTransport::ephemeral().engine(Engine::Native), "mechanism is CURVE, ours is NULL"),
    ];
    a.subscribe().await;
    for (transport, reason) in strangers {
        let mut stranger = Side::over(transport).await;
        stranger.subscribe().await;
        stranger.tx.attach(&a.locator()).await.unwrap();
        // What it would say if it were let in.
        drop(stranger.tx.try_send(Outbound::peer(a.locator(), "forged")));
        drop(stranger.tx.try_send(topic("forged")));
        let told = stranger.unreachable().await;
        assert!(told.contains(reason), "{told}");
        a.send(topic("secret")).await;
        // Nor does a get through to it.
        drop(a.tx.try_send(Outbound::peer(stranger.locator(), "secret")));
        stranger.tx.close(Duration::ZERO).await.unwrap();
        while soon("the end", stranger.rx.recv_batch(&mut stranger.events, 16)).await.is_ok() {}
        // What it has published itself is all that it hears.
        assert!(stranger.has_heard("forged") && !stranger.has_heard("secret"), "{:?}", stranger.events);
        assert!(stranger.has_met(&[]), "{:?}", stranger.events);
        assert_eq!(a.message().await.1, b"secret");
    }
    // All of that has not kept a from serving the one that it lets in.
    let mut friend = Side::open(knows_a(&of_friend)).await;
    friend.tx.attach(&a.locator()).await.unwrap();
    a.up(&friend.locator()).await;
    friend.until("a", |event| matches!(event, Event::PeerUp(_))).await;
    a.tx.unsubscribe(&TopicFilter::new("t").unwrap()).await.unwrap();
    talk(&mut a, &mut friend).await;
    assert!(a.has_met(&[friend.locator()]) && !a.has_heard("forged"), "{:?}", a.events);
}

#[tokio::test]
async fn a_locator_that_belongs_to_a_key_is_not_another_ones() {
    let (of_a, of_thief, of_owner) = (keys(), keys(), keys());
    let place = ZmqTransport::ephemeral().engine(Engine::Native);
    let stolen = Locator::new(format!("zmq+tcp://{}", own_address())).unwrap();
    let curve = Curve::new(of_a.clone()).allow([of_thief.public()]);
    let mut a = Side::over(place.curve(curve.allow_at(&stolen, of_owner.public()).unwrap())).await;
    let at = |keys: CurveKeys| {
        let curve = Curve::new(keys).allow_at(&a.locator(), of_a.public()).unwrap();
        ZmqTransport::new(stolen.as_str()).engine(Engine::Native).curve(curve)
    };
    let mut thief = Side::over(at(of_thief)).await;
    thief.tx.attach(&a.locator()).await.unwrap();
    drop(thief.tx.try_send(Outbound::peer(a.locator(), "forged")));
    thief.unreachable().await;
    thief.tx.close(Duration::ZERO).await.unwrap();
    drop(thief);
    let owner = Side::over(at(of_owner)).await;
    owner.tx.attach(&a.locator()).await.unwrap();
    a.up(&stolen).await;
    owner.send(Outbound::peer(a.locator(), "its own")).await;
    assert_eq!(a.message().await, (Origin::Peer(stolen), b"its own".to_vec()));
}

#[tokio::test]
async fn libzmq_says_that_it_has_no_curve() {
    let transport = ZmqTransport::ephemeral().engine(Engine::Libzmq).curve(keys());
    assert!(!format!("{transport:?}").contains("secret"), "{transport:?}");
    let error = transport.open(OpenOptions::default()).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unsupported { .. }), "{error}");
    assert!(error.to_string().contains("Engine::Native"), "{error}");
}

/// pyzmq with a key file of ours, which its `load_certificate` reads.
fn pyzmq(mut what: serde_json::Value, keys: &CurveKeys, directory: &Path) -> Program {
    let file = directory.join(keys.public().to_string().replace(|c: char| !c.is_alphanumeric(), "_"));
    if !file.exists() {
        keys.write(&file).unwrap();
    }
    what["file"] = file.to_str().unwrap().into();
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign");
    let installed = Command::new(here.join("pyzmq")).output().unwrap();
    let error = String::from_utf8_lossy(&installed.stderr);
    assert!(installed.status.success(), "tests/foreign/pyzmq: {error}");
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "python3"]).arg(here.join("pyzmq_curve.py"));
    command.arg(what.to_string());
    command.env("PYTHONPATH", String::from_utf8(installed.stdout).unwrap().trim_end());
    Program::spawn("pyzmq_curve.py", &mut command)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pyzmq_hears_what_a_session_publishes_if_its_key_is_allowed() {
    let directory = tempfile::tempdir().unwrap();
    let (own, friend, stranger) = (keys(), keys(), keys());
    let mut side = Side::open(Curve::new(own.clone()).allow([friend.public()])).await;
    let address = side.locator().as_str().trim_start_matches("zmq+").to_owned();
    let start = |keys: &CurveKeys, server: CurvePublicKey| {
        let what = serde_json::json!({"role": "hear", "connect": address, "server": server.to_string()});
        pyzmq(what, keys, directory.path())
    };
    let mut refused = [start(&stranger, own.public()), start(&friend, stranger.public())];
    for program in &mut refused {
        assert_eq!(program.line(), "refused");
    }
    let mut heard = start(&friend, own.public());
    assert_eq!(heard.line(), "welcome");
    side.until("its subscription", |event| matches!(event, Event::Interest(_))).await;
    let lengths = [0, 1, 33, 222, 223, 256, 70_000];
    for len in lengths {
        side.send(topic(vec![7; len])).await;
    }
    assert_eq!(heard.lines(lengths.len()), lengths.map(|len| format!("t {len}")));
    // The one subscription that has come is the only one.
    assert_eq!(side.events.iter().filter(|event| matches!(event, Event::Interest(_))).count(), 1);
    let [mut one, mut two] = refused;
    assert_eq!(
        [&mut one, &mut two].map(|program| program.line_within(support::PATIENCE / 600)),
        [None, None]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_talks_to_a_server_of_pyzmq() {
    let directory = tempfile::tempdir().unwrap();
    let (own, server) = (keys(), keys());
    let what = serde_json::json!({"role": "answer", "allow": own.public().to_string()});
    let mut program = pyzmq(what, &server, directory.path());
    let peer = Locator::new(format!("tcp://127.0.0.1:{}", program.line())).unwrap();
    let mut side = Side::open(Curve::new(own).allow_at(&peer, server.public()).unwrap()).await;
    for len in [0, 1, 255, 256, 70_000] {
        side.send(Outbound::peer(peer.clone(), vec![9; len])).await;
        assert_eq!(program.line(), format!("{} True", side.locator()));
        assert_eq!(side.message().await, (Origin::Peer(peer.clone()), vec![9; len]));
    }
}

/// A key file that the program has made, and its public key.
fn keygen(directory: &Path, name: &str) -> (PathBuf, String) {
    let file = directory.join(name);
    let ended = Program::run(&["keygen", file.to_str().unwrap()]);
    assert_eq!((ended.code, ended.output.len()), (Some(0), 1), "{ended:?}");
    let public = CurveKeys::read(&file).unwrap().public().to_string();
    assert_eq!(ended.output, [public.as_str()]);
    (file, public)
}

#[test]
fn programs_with_keys_hear_each_other_and_nobody_else() {
    let directory = tempfile::tempdir().unwrap();
    let (all, _) = keygen(directory.path(), "all.key");
    let (single, single_public) = keygen(directory.path(), "single.key");
    let (stranger, _) = keygen(directory.path(), "stranger.key");
    let all_public = CurveKeys::read(&all).unwrap().public();
    let again = Program::run(&["keygen", all.to_str().unwrap()]);
    assert!(again.code == Some(2) && again.errors[0].contains("not overwritten"), "{again:?}");
    assert_eq!(CurveKeys::read(&all).unwrap().public(), all_public);

    let address = own_address();
    let list = directory.path().join("allow.txt");
    std::fs::write(&list, format!("# one more\n{single_public}\n{all_public} {address}\n")).unwrap();
    let option = |name: &str, path: &Path| format!("{name}={}", path.display());
    let start = |key: Option<&Path>, listed: bool, rest: &[&str]| {
        let mut arguments = vec![rest[0].to_owned()];
        arguments.extend(key.map(|key| option("--curve-key", key)));
        arguments.extend(listed.then(|| option("--allow", &list)));
        arguments.extend(rest[1..].iter().map(|&text| text.to_owned()));
        Program::start(&arguments)
    };
    let listen = format!("--listen={address}");
    let peer = format!("--peer={address}");
    let mut heard = start(Some(&all), true, &["sub", &listen, "--count=2", "t"]);
    // Those of other keys, or without any, reach nobody, and are told why.
    let wrong = ["pub", "--engine=native", &peer, "--timeout=60s", "t", "forged"];
    for (key, reason) in [(Some(&*stranger), "another key than"), (None, "mechanism is CURVE, ours is NULL")]
    {
        start(key, false, &wrong).error_line(reason);
    }
    for (key, listed, value) in [(&all, false, "one"), (&single, true, "two")] {
        let ended = start(Some(key), listed, &["pub", &peer, "t", value]).ended();
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
    let lines = heard.lines(2);
    assert!(lines[0].contains("one") && lines[1].contains("two"), "{lines:?}");

    std::fs::set_permissions(&list, PermissionsExt::from_mode(0o644)).unwrap();
    for (options, message) in [
        (vec![&listen, &option("--curve-key", &all), "--engine=libzmq"], "--engine libzmq"),
        (vec![&listen, &option("--allow", &list)], "--curve-key"),
        (vec![&listen, &option("--curve-key", &list)], "chmod 600"),
        (vec![&listen, &option("--curve-key", &all), &option("--allow", &all)], "line 2"),
        (vec![&option("--curve-key", &all), "--transport=mqtt"], "--curve-key does not go with"),
    ] as [(Vec<&str>, &str); 5]
    {
        let ended = Program::run(&[vec!["sub", "t"], options].concat());
        assert!(ended.code == Some(2), "{ended:?}");
        assert!(ended.errors.iter().any(|line| line.contains(message)), "{message}: {ended:?}");
    }
}
