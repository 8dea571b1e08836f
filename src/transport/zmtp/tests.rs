//! Both sides of each mechanism against each other, and against what strangers send.

mod foreign;

use std::collections::HashSet;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::*;

/// A listener that serves subscribers and dealers on one port.
fn one_port(peer: SocketType) -> Option<SocketType> {
    match peer {
        SocketType::Sub | SocketType::Xsub => Some(SocketType::Xpub),
        SocketType::Dealer => Some(SocketType::Router),
        _ => None,
    }
}

fn config(socket: Socket, security: Security) -> Config {
    Config { socket, identity: Bytes::new(), security, max_message: 100_000 }
}

/// Each mechanism, as the side that is bound and the side that connects have it.
fn mechanisms() -> Vec<(Security, Security)> {
    let account = || account("secret");
    let (server, client) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let only = AllowedClients::Only([client.public()].into());
    vec![
        (Security::Null, Security::Null),
        (Security::PlainServer([account()].into()), Security::PlainClient(account())),
        (curve_server(&server, only), curve_client(server.public(), &client)),
        (curve_server(&server, AllowedClients::Any), curve_client(server.public(), &client)),
    ]
}

fn account(password: &str) -> Account {
    Account::new("user".to_owned(), password.to_owned()).unwrap()
}

fn curve_server(keys: &KeyPair, allow: AllowedClients) -> Security {
    Security::CurveServer { keys: keys.clone(), allow: allow.into() }
}

fn curve_client(server: PublicKey, keys: &KeyPair) -> Security {
    Security::CurveClient { server, keys: keys.clone() }
}

/// One side of a connection, with what it has read and not yet used.
struct Side {
    handshake: Handshake,
    input: BytesMut,
    established: Option<Established>,
}

impl Side {
    fn new(config: &Config) -> Self {
        let handshake = Handshake::new(config);
        Self { handshake, input: BytesMut::new(), established: None }
    }

    /// What it answers to these bytes.
    fn answer(&mut self, arrived: &[u8]) -> Result<BytesMut, HandshakeError> {
        self.input.extend_from_slice(arrived);
        let mut output = BytesMut::new();
        if self.established.is_none() {
            self.established = self.handshake.advance(&mut self.input, &mut output)?;
        }
        Ok(output)
    }
}

/// Lets the two talk, in pieces of `chunk` bytes, the connecting side greeting with this minor
/// version. Gives the first error, with the side that has it.
fn talk(
    bound: &Config,
    connecting: &Config,
    chunk: usize,
    minor: u8,
) -> Result<(Established, Established), (&'static str, HandshakeError)> {
    let (mut server, mut client) = (Side::new(bound), Side::new(connecting));
    let mut to_client = server.answer(b"").unwrap();
    let mut to_server = client.answer(b"").unwrap();
    for greeting in [&mut to_client, &mut to_server] {
        greeting[11] = minor;
    }
    while !(to_client.is_empty() && to_server.is_empty()) {
        for piece in std::mem::take(&mut to_server).chunks(chunk) {
            to_client.extend_from_slice(&server.answer(piece).map_err(|e| ("bound", e))?);
        }
        for piece in std::mem::take(&mut to_client).chunks(chunk) {
            to_server.extend_from_slice(&client.answer(piece).map_err(|e| ("connecting", e))?);
        }
    }
    Ok((server.established.expect("the bound side"), client.established.expect("the other")))
}

/// Sends frames of each kind through an established connection.
fn exchange(from: &mut Established, to: &mut Established, encrypted: bool) {
    let mut wire = BytesMut::new();
    let long = vec![9; 70_000];
    from.encoder.put(Flags::More, &[b"to", b"pic"], &mut wire).unwrap();
    let is_clear = wire.windows(5).any(|bytes| bytes == b"topic");
    assert_eq!((is_clear, from.encoder.lends()), (!encrypted, !encrypted));
    from.encoder.put(Flags::Last, &[&long], &mut wire).unwrap();
    from.encoder.put_ping(50, b"context", &mut wire).unwrap();
    let subscription = Subscription::Subscribe(Bytes::from_static(b"weather/"));
    from.encoder.put_subscription(from.peer.minor, &subscription, &mut wire).unwrap();
    from.encoder.put(Flags::Last, &[], &mut wire).unwrap();
    let mut next = || to.decoder.next(&mut wire).unwrap().expect("a whole frame");
    assert_eq!(next(), Frame { more: true, command: false, body: Bytes::from_static(b"topic") });
    assert_eq!(next(), Frame { more: false, command: false, body: long.into() });
    let ping = Command::Ping { ttl: 50, context: Bytes::from_static(b"context") };
    assert_eq!(Command::decode(&next().body), Ok(ping));
    let frame = next();
    match from.peer.minor {
        0 => assert_eq!(Subscription::from_message(&frame.body), Some(subscription)),
        _ => assert_eq!(Command::decode(&frame.body), Ok(Command::Subscription(subscription))),
    }
    assert_eq!(frame.command, from.peer.minor == 1);
    assert!(next().body.is_empty());
    assert!(wire.is_empty());
}

#[test]
fn both_sides_of_each_mechanism_meet_in_either_version() {
    for (bound, connecting) in mechanisms() {
        for (minor, chunk) in [(0, 10_000), (1, 10_000), (0, 1), (1, 1), (1, 7)] {
            let bound = config(Socket::Answer(one_port), bound.clone());
            let mut connecting = config(Socket::Fixed(SocketType::Dealer), connecting.clone());
            connecting.identity = Bytes::from_static(b"tcp://127.0.0.1:5550");
            let (mut server, mut client) = talk(&bound, &connecting, chunk, minor).unwrap();
            assert_eq!((server.peer.minor, client.peer.minor), (minor, minor));
            assert_eq!(server.peer.socket_type, SocketType::Dealer);
            assert_eq!(server.socket_type, SocketType::Router);
            assert_eq!(server.peer.identity, connecting.identity);
            assert_eq!(client.peer.socket_type, SocketType::Router);
            assert_eq!(client.socket_type, SocketType::Dealer);
            let encrypted = server.peer.client_key.is_some();
            exchange(&mut server, &mut client, encrypted);
            exchange(&mut client, &mut server, encrypted);
        }
    }
}

#[test]
fn a_socket_type_that_ours_does_not_talk_to_is_refused_by_name() {
    for (bound, connecting) in mechanisms() {
        let pull = config(Socket::Fixed(SocketType::Pull), connecting);
        let one_port = config(Socket::Answer(one_port), bound.clone());
        let refused = |ours, theirs: &str| HandshakeError::SocketType { ours, theirs: theirs.into() };
        let error = talk(&one_port, &pull, 1000, 1).unwrap_err();
        assert_eq!(error, ("bound", refused("this listener", "PULL")));
        // Where both speak at once, either may be the first to see it.
        match talk(&config(xpub(), bound), &pull, 1000, 1).unwrap_err() {
            ("bound", error) => assert_eq!(error, refused("XPUB", "PULL")),
            (_, error) => assert_eq!(error, refused("PULL", "XPUB")),
        }
    }
}

fn xpub() -> Socket {
    Socket::Fixed(SocketType::Xpub)
}

#[test]
fn what_follows_a_handshake_is_left_in_the_input() {
    for (bound, connecting) in mechanisms() {
        let bound = config(Socket::Answer(one_port), bound);
        let connecting = config(Socket::Fixed(SocketType::Sub), connecting);
        let (mut server, mut client) = (Side::new(&bound), Side::new(&connecting));
        let mut to_client = server.answer(b"").unwrap();
        let mut to_server = client.answer(b"").unwrap();
        while client.established.is_none() {
            to_client.extend_from_slice(&server.answer(&to_server.split()).unwrap());
            if let Some(server) = &mut server.established {
                // A publisher may send as soon as it knows its peer.
                server.encoder.put(Flags::Last, &[b"first"], &mut to_client).unwrap();
            }
            to_server = client.answer(&to_client.split()).unwrap();
        }
        let decoder = &mut client.established.as_mut().unwrap().decoder;
        assert_eq!(decoder.next(&mut client.input).unwrap().unwrap().body, "first");
    }
}

#[test]
fn a_handshake_that_has_ended_says_so() {
    let config = config(xpub(), Security::Null);
    let mut side = Side::new(&config);
    side.answer(b"").unwrap();
    assert_eq!(side.answer(b"x").unwrap_err(), HandshakeError::Signature { at: 0, found: b'x' });
    assert_eq!(side.answer(b"").unwrap_err(), HandshakeError::Over);
}

#[test]
fn a_frame_of_a_handshake_is_bounded_and_a_command() {
    for security in mechanisms().into_iter().flat_map(|(bound, other)| [bound, other]) {
        let config = config(xpub(), security);
        let after_greeting = |bytes: &[u8]| {
            let mut side = Side::new(&config);
            let mut greeting = side.answer(b"").unwrap();
            greeting.extend_from_slice(bytes);
            side.answer(&greeting).map(|_| ())
        };
        let too_long = HandshakeError::TooLong { len: u64::MAX, max: MAX_HANDSHAKE_FRAME };
        assert_eq!(after_greeting(b"\x06\xff\xff\xff\xff\xff\xff\xff\xff"), Err(too_long));
        let flags = FrameError::Flags(0x47);
        assert_eq!(after_greeting(b"GET / HTTP/1.1"), Err(HandshakeError::Frame(flags)));
        let message = after_greeting(b"\0\x01a").unwrap_err();
        assert!(matches!(message, HandshakeError::Unexpected { .. }), "{message}");
        let refused = HandshakeError::Refused { reason: "400".to_owned() };
        assert_eq!(after_greeting(b"\x04\x0a\x05ERROR\x03400"), Err(refused));
    }
}

/// The two errors of a bound side and a connecting one that do not get together.
fn refusals(bound: Security, connecting: Security) -> (HandshakeError, Option<HandshakeError>) {
    let mut server = Side::new(&config(Socket::Answer(one_port), bound));
    let mut client = Side::new(&config(Socket::Fixed(SocketType::Sub), connecting));
    let mut to_client = server.answer(b"").unwrap();
    let mut to_server = client.answer(b"").unwrap();
    loop {
        server.input.extend_from_slice(&to_server.split());
        let step = server.handshake.advance(&mut server.input, &mut to_client);
        let answer = client.answer(&to_client.split());
        if let Err(error) = step {
            assert!(server.established.is_none() && client.established.is_none());
            return (error, answer.err());
        }
        to_server = answer.expect("the bound side is the first to refuse");
        assert!(!to_server.is_empty(), "neither says anything");
    }
}

#[test]
fn a_client_that_is_not_let_in_is_told_and_gets_nothing() {
    let refused = Some(HandshakeError::Refused { reason: "400".to_owned() });
    let not_allowed = |client: &str| HandshakeError::NotAllowed { client: client.to_owned() };

    let accounts = [account("secret"), Account::new(String::new(), String::new()).unwrap()];
    let server = Security::PlainServer(accounts.into());
    for password in ["", "secre", "Secret", "secret2"] {
        let client = Security::PlainClient(account(password));
        assert_eq!(refusals(server.clone(), client), (not_allowed("user"), refused.clone()));
    }
    let nobody = refusals(Security::PlainServer([].into()), Security::PlainClient(account("secret")));
    assert_eq!(nobody, (not_allowed("user"), refused.clone()));

    let (server, client) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    for allowed in [HashSet::new(), [server.public()].into()] {
        let bound = curve_server(&server, AllowedClients::Only(allowed));
        let both = refusals(bound, curve_client(server.public(), &client));
        assert_eq!(both, (not_allowed(&client.public().to_string()), refused.clone()));
    }
}

#[test]
fn a_client_of_another_servers_key_gets_no_answer() {
    let (server, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let both = refusals(
        curve_server(&server, AllowedClients::Any),
        curve_client(other.public(), &KeyPair::generate().unwrap()),
    );
    assert_eq!(both, (HandshakeError::Sealed { command: "HELLO" }, None));
}

#[test]
fn a_client_that_claims_an_allowed_key_has_to_have_its_secret() {
    let (server, allowed) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let bound = curve_server(&server, AllowedClients::Only([allowed.public()].into()));
    let thief = KeyPair::generate().unwrap().claiming(allowed.public());
    let both = refusals(bound, curve_client(server.public(), &thief));
    // It is not even told that the key is one of those that are let in.
    assert_eq!(both, (HandshakeError::Sealed { command: "INITIATE's vouch" }, None));
    // And a server that has not the secret of its key gets neither HELLO nor a client.
    let impostor = KeyPair::generate().unwrap().claiming(server.public());
    let impostor = curve_server(&impostor, AllowedClients::Any);
    let both = refusals(impostor, curve_client(server.public(), &allowed));
    assert_eq!(both, (HandshakeError::Sealed { command: "HELLO" }, None));
}

#[test]
fn sides_of_different_mechanisms_name_both() {
    let mechanisms = mechanisms();
    for (i, (bound, _)) in mechanisms[..3].iter().enumerate() {
        for (j, (_, connecting)) in mechanisms[..3].iter().enumerate() {
            if i != j {
                let (error, told) = refusals(bound.clone(), connecting.clone());
                let is_mechanism = |error| matches!(error, HandshakeError::Mechanism { .. });
                assert!(is_mechanism(error) && told.is_some_and(is_mechanism));
            }
        }
    }
}

/// All that a client sends in one connection, HELLO, INITIATE and a message, and the same client.
fn recorded(bound: &Config, connecting: &Config) -> Vec<BytesMut> {
    let (mut server, mut client) = (Side::new(bound), Side::new(connecting));
    let mut to_client = server.answer(b"").unwrap();
    let mut sent = vec![client.answer(b"").unwrap()];
    while client.established.is_none() {
        to_client.extend_from_slice(&server.answer(sent.last().unwrap()).unwrap());
        sent.push(client.answer(&to_client.split()).unwrap());
    }
    let mut message = BytesMut::new();
    let encoder = &mut client.established.as_mut().unwrap().encoder;
    encoder.put(Flags::Last, &[b"pay 100"], &mut message).unwrap();
    let mut input = std::mem::take(&mut server.input);
    input.extend_from_slice(&message);
    let decoder = &mut server.established.as_mut().unwrap().decoder;
    assert_eq!(decoder.next(&mut input).unwrap().unwrap().body, "pay 100");
    sent.push(message);
    sent
}

#[test]
fn a_recorded_connection_cannot_be_played_again() {
    let (server, client) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let bound = config(Socket::Answer(one_port), curve_server(&server, AllowedClients::Any));
    let connecting = config(Socket::Fixed(SocketType::Sub), curve_client(server.public(), &client));
    let sent = recorded(&bound, &connecting);
    let mut again = Side::new(&bound);
    again.answer(b"").unwrap();
    let error = sent.iter().find_map(|bytes| again.answer(bytes).err());
    assert_eq!(error, Some(HandshakeError::Sealed { command: "INITIATE's cookie" }));

    // And HELLO and INITIATE work once each in the connection that they are of.
    let (mut server, mut client) = (Side::new(&bound), Side::new(&connecting));
    let to_client = server.answer(b"").unwrap();
    client.answer(b"").unwrap();
    let hello = client.answer(&to_client).unwrap();
    let greeting_and_hello = [&to_client[..], &hello].concat();
    let welcome = server.answer(&greeting_and_hello).unwrap();
    let initiate = client.answer(&welcome).unwrap();
    let mut other = Side::new(&bound);
    other.answer(b"").unwrap();
    other.answer(&greeting_and_hello).unwrap();
    let error = other.answer(&initiate).unwrap_err();
    assert_eq!(error, HandshakeError::Sealed { command: "INITIATE's cookie" });
    assert_eq!(
        server.answer(&hello).unwrap_err(),
        HandshakeError::Unexpected { expected: "INITIATE", found: "HELLO".to_owned() }
    );
    assert_eq!(server.answer(&initiate).unwrap_err(), HandshakeError::Over);
}

#[test]
fn an_answer_to_a_stranger_is_no_longer_than_what_it_sent() {
    let server = KeyPair::generate().unwrap();
    let bound = config(Socket::Answer(one_port), curve_server(&server, AllowedClients::Any));
    let client = curve_client(server.public(), &KeyPair::generate().unwrap());
    let (mut server, mut client) =
        (Side::new(&bound), Side::new(&config(Socket::Fixed(SocketType::Sub), client)));
    let greeting = server.answer(b"").unwrap();
    client.answer(b"").unwrap();
    let hello = client.answer(&greeting).unwrap();
    let welcome = server.answer(&[&greeting[..], &hello].concat()).unwrap();
    assert_eq!((hello.len(), welcome.len()), (202, 170));
}

#[test]
fn no_state_of_a_handshake_prints_a_secret() {
    let secrets = |pair: &KeyPair| {
        let key = pair.secret().0;
        [pair.secret_text().to_string(), format!("{:?}", &key[..4]).replace(['[', ']'], "")]
    };
    let (server, client) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let secrets = [secrets(&server), secrets(&client), ["pass-word".to_owned(), "pass-word".to_owned()]];
    let bound = config(Socket::Answer(one_port), curve_server(&server, AllowedClients::Any));
    let connecting = config(Socket::Fixed(SocketType::Sub), curve_client(server.public(), &client));
    let plain = |security| config(Socket::Fixed(SocketType::Sub), security);
    let mut printed = String::new();
    for (bound, connecting) in [
        (bound, connecting),
        (
            config(Socket::Answer(one_port), Security::PlainServer([account("pass-word")].into())),
            plain(Security::PlainClient(account("pass-word"))),
        ),
    ] {
        let (mut server, mut client) = (Side::new(&bound), Side::new(&connecting));
        let mut to_client = server.answer(b"").unwrap();
        let mut to_server = client.answer(b"").unwrap();
        while !(to_client.is_empty() && to_server.is_empty()) {
            to_client.extend_from_slice(&server.answer(&to_server.split()).unwrap());
            to_server = client.answer(&to_client.split()).unwrap();
            printed += &format!("{:?} {:?}", server.handshake, client.handshake);
            printed += &format!("{:?} {:?}", server.established, client.established);
        }
        printed += &format!("{bound:?} {connecting:?}");
    }
    assert!(printed.contains(&server.public().to_string()) && printed.contains("BoxKey(..)"));
    for secret in secrets.as_flattened() {
        assert!(!printed.contains(secret), "{secret} in {printed}");
    }
}

proptest! {
    /// One byte of what either side sends is changed, left out or put in twice.
    #[test]
    fn a_damaged_handshake_ends_without_a_panic_and_within_its_bounds(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        damage in 0..3,
        byte in any::<u8>(),
        damaged_round in 0..8,
    ) {
        let mechanisms = mechanisms();
        let (bound, connecting) = mechanisms[which.index(mechanisms.len())].clone();
        let mut sides = [
            Side::new(&config(Socket::Answer(one_port), bound)),
            Side::new(&config(Socket::Fixed(SocketType::Sub), connecting)),
        ];
        // What each side has yet to read.
        let mut arriving = [sides[1].answer(b"").unwrap(), sides[0].answer(b"").unwrap()];
        for round in 0..8 {
            let reader = round % 2;
            let mut arrived = arriving[reader].split().to_vec();
            if round == damaged_round as usize && !arrived.is_empty() {
                let at = at.index(arrived.len());
                match damage {
                    0 => arrived[at] = byte,
                    1 => drop(arrived.remove(at)),
                    _ => arrived.insert(at, byte),
                }
            }
            let side = &mut sides[reader];
            let Ok(answer) = side.answer(&arrived) else { return Ok(()) };
            prop_assert!(side.established.is_some() || side.input.len() <= MAX_HANDSHAKE_FRAME + 9);
            prop_assert!(answer.len() <= MAX_HANDSHAKE_FRAME);
            arriving[1 - reader].extend_from_slice(&answer);
        }
    }

    #[test]
    fn arbitrary_bytes_behind_a_good_greeting_end_without_a_panic(
        which in any::<prop::sample::Index>(),
        bytes in any::<Vec<u8>>(),
    ) {
        let mechanisms = mechanisms();
        let (bound, connecting) = mechanisms[which.index(mechanisms.len())].clone();
        for security in [bound, connecting] {
            let mut side = Side::new(&config(xpub(), security));
            let mut input = side.answer(b"").unwrap();
            // As a command of the right length, so that it is looked at.
            input.extend_from_slice(&Head::new(Flags::Command, bytes.len()));
            input.extend_from_slice(&bytes);
            let answer = side.answer(&input);
            prop_assert!(side.established.is_none());
            prop_assert!(answer.is_err() || answer.unwrap().len() <= 300);
        }
    }
}
