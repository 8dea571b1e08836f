//! libzmq 4.3.5, by pyzmq, as the other side: in both roles of each mechanism and each version.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command as Process, Stdio};
use std::time::Duration;

use super::*;

/// How long a foreign process may be silent on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A socket of libzmq in a process of its own; ended when dropped.
struct Foreign(Child);

impl Foreign {
    fn start(what: &serde_json::Value) -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign");
        let installed = Process::new(here.join("pyzmq")).output().unwrap();
        let error = String::from_utf8_lossy(&installed.stderr);
        assert!(installed.status.success(), "tests/foreign/pyzmq: {error}");
        let child = Process::new("python3")
            .arg(here.join("pyzmq_peer.py"))
            .arg(what.to_string())
            .env("PYTHONPATH", String::from_utf8(installed.stdout).unwrap().trim_end())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// The port that it bound.
    fn port(&mut self) -> u16 {
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        line.trim().parse().unwrap_or_else(|_| panic!("no port, but {line:?}"))
    }

    /// Waits until it has ended, which it does with 0 if it saw what it wanted.
    fn succeeds(mut self) {
        let status = self.0.wait().unwrap();
        assert!(status.success(), "{status}: its errors are above");
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// One connection on a blocking socket.
struct Wire {
    stream: TcpStream,
    input: BytesMut,
    established: Established,
    pings: usize,
    pongs: Vec<Bytes>,
}

impl Wire {
    /// Shakes hands, greeting with this minor version.
    fn new(mut stream: TcpStream, config: &Config, minor: u8) -> Result<Self, HandshakeError> {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let (mut handshake, mut input) = (Handshake::new(config), BytesMut::new());
        let mut output = BytesMut::new();
        let mut step = handshake.advance(&mut input, &mut output);
        output[11] = minor;
        loop {
            stream.write_all(&output.split()).unwrap();
            if let Some(mut established) = step? {
                // The peer keeps to the version that it was greeted with.
                established.peer.minor = established.peer.minor.min(minor);
                return Ok(Self { stream, input, established, pings: 0, pongs: Vec::new() });
            }
            read(&mut stream, &mut input);
            step = handshake.advance(&mut input, &mut output);
        }
    }

    fn send(&mut self, parts: &[&[u8]]) {
        let mut output = BytesMut::new();
        for (i, part) in parts.iter().enumerate() {
            let flags = if i + 1 < parts.len() { Flags::More } else { Flags::Last };
            self.established.encoder.put(flags, &[part], &mut output).unwrap();
        }
        self.stream.write_all(&output).unwrap();
    }

    fn subscription(&mut self, subscription: &Subscription) {
        let (mut output, minor) = (BytesMut::new(), self.established.peer.minor);
        self.established.encoder.put_subscription(minor, subscription, &mut output).unwrap();
        self.stream.write_all(&output).unwrap();
    }

    /// The next frame that is no heartbeat; those are answered.
    fn next(&mut self) -> Frame {
        loop {
            let Some(frame) = self.established.decoder.next(&mut self.input).unwrap() else {
                read(&mut self.stream, &mut self.input);
                continue;
            };
            if !frame.command {
                return frame;
            }
            let mut output = BytesMut::new();
            match Command::decode(&frame.body).unwrap() {
                Command::Ping { context, .. } => {
                    self.established.encoder.put_pong(&context, &mut output).unwrap();
                    self.pings += 1;
                }
                Command::Pong { context } => self.pongs.push(context),
                _ => return frame,
            }
            self.stream.write_all(&output).unwrap();
        }
    }

    fn message(&mut self) -> Vec<Bytes> {
        let mut parts = Vec::new();
        loop {
            let frame = self.next();
            assert!(!frame.command, "{:?}", Command::decode(&frame.body));
            parts.push(frame.body);
            if !frame.more {
                return parts;
            }
        }
    }

    /// The next subscription, in the words of the peer's version.
    fn subscribed(&mut self) -> Subscription {
        let frame = self.next();
        assert_eq!(frame.command, self.established.peer.minor == 1);
        if frame.command {
            return match Command::decode(&frame.body).unwrap() {
                Command::Subscription(subscription) => subscription,
                other => panic!("{other:?}"),
            };
        }
        Subscription::from_message(&frame.body).expect("a subscription")
    }
}

fn read(stream: &mut TcpStream, input: &mut BytesMut) {
    let mut some = [0; 16_384];
    match stream.read(&mut some) {
        Ok(0) => panic!("the foreign side has closed the connection"),
        Ok(n) => input.extend_from_slice(&some[..n]),
        Err(error) if error.kind() == ErrorKind::Interrupted => {}
        Err(error) => panic!("{error}"),
    }
}

/// A mechanism: both of our sides, and what to tell a foreign client and a foreign server.
struct Setup {
    bound: Security,
    connecting: Security,
    client: serde_json::Value,
    server: serde_json::Value,
}

fn null() -> Setup {
    let nothing = || serde_json::json!({});
    Setup { bound: Security::Null, connecting: Security::Null, client: nothing(), server: nothing() }
}

/// PLAIN, the client with this password where "secret" is the right one.
fn plain(password: &str) -> Setup {
    Setup {
        bound: Security::PlainServer([account("secret")].into()),
        connecting: Security::PlainClient(account(password)),
        client: serde_json::json!({"mechanism": "PLAIN", "user": "user", "password": password}),
        server: serde_json::json!({"mechanism": "PLAIN", "allow": "secret"}),
    }
}

/// CURVE, the client with the key that is let in, or with another.
fn curve(is_allowed: bool) -> Setup {
    let (server, client) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let allowed = if is_allowed { client.public() } else { server.public() };
    Setup {
        bound: curve_server(&server, AllowedClients::Only([allowed].into())),
        connecting: curve_client(server.public(), &client),
        client: serde_json::json!({
            "mechanism": "CURVE",
            "public": client.public().to_string(),
            "secret": *client.secret_text(),
            "server": server.public().to_string(),
        }),
        server: serde_json::json!({
            "mechanism": "CURVE",
            "public": server.public().to_string(),
            "secret": *server.secret_text(),
            "allow": allowed.to_string(),
        }),
    }
}

/// A foreign socket that connects to ours, which answers as one port does.
fn accepted(setup: &Setup, socket: &str, minor: u8) -> (Foreign, Result<Wire, HandshakeError>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut what = setup.client.clone();
    what["socket"] = socket.into();
    what["connect"] = listener.local_addr().unwrap().port().into();
    let foreign = Foreign::start(&what);
    let (stream, _) = listener.accept().unwrap();
    let config = config(Socket::Answer(one_port), setup.bound.clone());
    (foreign, Wire::new(stream, &config, minor))
}

/// A socket of ours that connects to a foreign one.
fn connected(
    setup: &Setup,
    (socket, theirs): (SocketType, &str),
    minor: u8,
) -> (Foreign, Result<Wire, HandshakeError>) {
    let mut what = setup.server.clone();
    what["socket"] = theirs.into();
    let mut foreign = Foreign::start(&what);
    let stream = TcpStream::connect(("127.0.0.1", foreign.port())).unwrap();
    let mut config = config(Socket::Fixed(socket), setup.connecting.clone());
    config.identity = Bytes::from_static(b"the peer");
    (foreign, Wire::new(stream, &config, minor))
}

/// A DEALER of libzmq: each of its messages comes back, one of them after a heartbeat.
fn a_foreign_dealer_is_echoed(setup: &Setup) {
    for minor in [0, 1] {
        let (foreign, wire) = accepted(setup, "DEALER", minor);
        let mut wire = wire.unwrap();
        assert_eq!(wire.established.socket_type, SocketType::Router);
        assert_eq!(wire.established.peer.socket_type, SocketType::Dealer);
        assert_eq!(wire.established.peer.identity, "the peer");
        let is_curve = matches!(setup.bound, Security::CurveServer { .. });
        assert_eq!(wire.established.peer.client_key.is_some(), is_curve);
        loop {
            let message = wire.message();
            if message[0] == "done" {
                break;
            }
            let parts: Vec<&[u8]> = message.iter().map(|part| &part[..]).collect();
            wire.send(&parts);
        }
        foreign.succeeds();
    }
}

/// A ROUTER of libzmq, which sends back what a DEALER of ours sends, and answers its PING.
fn a_foreign_router_echoes(setup: &Setup) {
    for minor in [0, 1] {
        let (foreign, wire) = connected(setup, (SocketType::Dealer, "ROUTER"), minor);
        let mut wire = wire.unwrap();
        assert_eq!(wire.established.peer.socket_type, SocketType::Router);
        for len in [0, 1, 15, 16, 17, 63, 64, 65, 221, 222, 223, 255, 256, 257, 4096, 70_000] {
            let body: Vec<u8> = (0..len).map(|i| (i * 3) as u8).collect();
            wire.send(&[b"part", &body]);
            assert_eq!(wire.message(), [Bytes::from_static(b"part"), body.into()]);
        }
        if minor == 1 {
            let mut ping = BytesMut::new();
            wire.established.encoder.put_ping(600, b"0123456789abcdef", &mut ping).unwrap();
            wire.stream.write_all(&ping).unwrap();
        }
        wire.send(&[b"done"]);
        assert_eq!(wire.message(), ["done"]);
        if minor == 1 {
            assert_eq!(wire.pongs, ["0123456789abcdef"]);
        }
        foreign.succeeds();
    }
}

/// A SUB of libzmq: what it wants is told, and what it gets is right.
fn a_foreign_subscriber_is_served(setup: &Setup) {
    for minor in [0, 1] {
        let (foreign, wire) = accepted(setup, "SUB", minor);
        let mut wire = wire.unwrap();
        assert_eq!(wire.established.socket_type, SocketType::Xpub);
        let prefix = Bytes::from_static(b"weather/");
        assert_eq!(wire.subscribed(), Subscription::Subscribe(prefix.clone()));
        wire.send(&[b"weather/9", b"1"]);
        wire.send(&[b"weather/9", &[b'2'; 70_000]]);
        assert_eq!(wire.subscribed(), Subscription::Cancel(prefix));
        foreign.succeeds();
    }
}

/// An XPUB of libzmq: it understands our subscriptions.
fn a_foreign_publisher_is_heard(setup: &Setup) {
    for minor in [0, 1] {
        let (foreign, wire) = connected(setup, (SocketType::Sub, "XPUB"), minor);
        let mut wire = wire.unwrap();
        let prefix = Bytes::from_static(b"weather/");
        wire.subscription(&Subscription::Subscribe(prefix.clone()));
        assert_eq!(wire.message(), ["weather/9", "1"]);
        assert_eq!(wire.message(), [Bytes::from("weather/9"), vec![b'2'; 70_000].into()]);
        wire.subscription(&Subscription::Cancel(prefix));
        foreign.succeeds();
    }
}

#[test]
fn null_in_both_roles() {
    a_foreign_dealer_is_echoed(&null());
    a_foreign_router_echoes(&null());
    a_foreign_subscriber_is_served(&null());
    a_foreign_publisher_is_heard(&null());
}

#[test]
fn plain_in_both_roles() {
    a_foreign_dealer_is_echoed(&plain("secret"));
    a_foreign_router_echoes(&plain("secret"));
    a_foreign_subscriber_is_served(&plain("secret"));
    a_foreign_publisher_is_heard(&plain("secret"));
}

#[test]
fn curve_in_both_roles() {
    a_foreign_dealer_is_echoed(&curve(true));
    a_foreign_router_echoes(&curve(true));
    a_foreign_subscriber_is_served(&curve(true));
    a_foreign_publisher_is_heard(&curve(true));
}

#[test]
fn heartbeats_come_and_are_answered() {
    for setup in [null(), curve(true)] {
        let (foreign, wire) = accepted(&setup, "SUB", 1);
        let mut wire = wire.unwrap();
        wire.subscribed();
        // Nothing is sent until it has sent a PING.
        while wire.pings == 0 {
            read(&mut wire.stream, &mut wire.input);
            while let Some(frame) = wire.established.decoder.next(&mut wire.input).unwrap() {
                let ping = Command::decode(&frame.body).unwrap();
                assert!(matches!(ping, Command::Ping { .. }), "{ping:?}");
                wire.pings += 1;
            }
        }
        wire.send(&[b"weather/9", b"1"]);
        wire.send(&[b"weather/9", &[b'2'; 70_000]]);
        wire.subscribed();
        foreign.succeeds();
    }
}

#[test]
fn a_foreign_client_that_is_not_let_in_is_refused() {
    for setup in [plain("wrong"), curve(false)] {
        let (_foreign, wire) = accepted(&setup, "DEALER", 1);
        let error = wire.err().expect("it should not be let in");
        assert!(matches!(error, HandshakeError::NotAllowed { .. }), "{error}");
    }
}

#[test]
fn a_foreign_server_that_does_not_let_us_in_is_understood() {
    for setup in [plain("wrong"), curve(false)] {
        let (_foreign, wire) = connected(&setup, (SocketType::Dealer, "ROUTER"), 1);
        let error = wire.err().expect("it should not let us in");
        assert_eq!(error, HandshakeError::Refused { reason: "400".to_owned() });
    }
}
