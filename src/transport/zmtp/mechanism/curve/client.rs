//! The connecting side of CURVE: HELLO, then INITIATE.

use bytes::{BufMut, BytesMut};

use super::boxes::{BoxKey, Nonce};
use super::message::{Opener, Sealer};
use super::{COOKIE, HELLO, INITIATE, READY, TAG, VERSION, WELCOME, split_counter};
use crate::transport::zmtp::error::HandshakeError;
use crate::transport::zmtp::keys::{KeyPair, PublicKey, SecretKey, random};
use crate::transport::zmtp::mechanism::{Agreed, Local, expect, put_command};

/// The client of one connection.
#[derive(Debug)]
pub(in crate::transport::zmtp) struct CurveClient {
    /// S.
    server: PublicKey,
    /// C and c.
    keys: KeyPair,
    state: State,
}

#[derive(Debug)]
enum State {
    New,
    /// HELLO was sent; C' and c', and the key of WELCOME, agreed between c' and S.
    Hello(KeyPair, BoxKey),
    /// INITIATE was sent; the key between c' and S'.
    Initiated(BoxKey),
}

/// The counters of HELLO and INITIATE; MESSAGE goes on from there.
const HELLO_COUNTER: u64 = 1;
const INITIATE_COUNTER: u64 = 2;

impl CurveClient {
    pub(in crate::transport::zmtp) const fn new(server: PublicKey, keys: KeyPair) -> Self {
        Self { server, keys, state: State::New }
    }

    pub(in crate::transport::zmtp) const fn awaited(&self) -> &'static str {
        match self.state {
            State::New | State::Hello(..) => "WELCOME",
            State::Initiated(_) => "READY",
        }
    }

    /// HELLO: version, padding so that the answer is never longer than the question, C', a counter,
    /// and a box of zeros between c' and S, which shows that the client knows S.
    pub(in crate::transport::zmtp) fn begin(&mut self, output: &mut BytesMut) -> Result<(), HandshakeError> {
        let own = KeyPair::from_secret(SecretKey(random()?));
        let key = agree(&self.server, own.secret(), "HELLO")?;
        let mut sealed = BytesMut::new();
        let nonce = Nonce::counted(b"CurveZMQHELLO---", HELLO_COUNTER);
        key.seal(nonce, &[0; 64], &mut sealed);
        let counter = HELLO_COUNTER.to_be_bytes();
        put_command(&[HELLO, &VERSION, &[0; 72], &own.public().0, &counter, &sealed], output);
        self.state = State::Hello(own, key);
        Ok(())
    }

    pub(in crate::transport::zmtp) fn receive(
        &mut self,
        command: &[u8],
        local: &Local,
        output: &mut BytesMut,
    ) -> Result<Option<Agreed>, HandshakeError> {
        match std::mem::replace(&mut self.state, State::New) {
            State::New => Err(HandshakeError::unexpected("a greeting", b"a command")),
            State::Hello(own, key) => {
                let fields = expect(command, WELCOME, "WELCOME")?;
                let key = self.welcome(&own, &key, fields, local, output)?;
                self.state = State::Initiated(key);
                Ok(None)
            }
            State::Initiated(key) => ready(key, expect(command, READY, "READY")?, local).map(Some),
        }
    }

    /// WELCOME: 16 random bytes and a box of S' and a cookie, which INITIATE brings back with C, the
    /// vouch of c for C', and what the client is.
    fn welcome(
        &self,
        own: &KeyPair,
        key: &BoxKey,
        fields: &[u8],
        local: &Local,
        output: &mut BytesMut,
    ) -> Result<BoxKey, HandshakeError> {
        let malformed = HandshakeError::Malformed { command: "WELCOME", reason: "it is not 168 bytes" };
        let Some((nonce, sealed)) = fields.split_first_chunk() else { return Err(malformed) };
        if sealed.len() != TAG + 32 + COOKIE {
            return Err(malformed);
        }
        let opened = key
            .open(Nonce::random(b"WELCOME-", nonce), sealed)
            .ok_or(HandshakeError::Sealed { command: "WELCOME" })?;
        let Some((server, cookie)) = opened.split_first_chunk() else { return Err(malformed) };
        let server = PublicKey(*server);
        let key = agree(&server, own.secret(), "WELCOME")?;
        let ours = local.socket.fixed().ok_or(HandshakeError::NoSocketType)?;

        let mut plain = BytesMut::new();
        plain.put_slice(&self.keys.public().0);
        let nonce = random()?;
        plain.put_slice(&nonce);
        let vouch = [own.public().0, self.server.0];
        agree(&server, self.keys.secret(), "WELCOME")?.seal(
            Nonce::random(b"VOUCH---", &nonce),
            vouch.as_flattened(),
            &mut plain,
        );
        plain.put_slice(&local.properties(ours));

        let mut sealed = BytesMut::new();
        key.seal(Nonce::counted(b"CurveZMQINITIATE", INITIATE_COUNTER), &plain, &mut sealed);
        put_command(&[INITIATE, cookie, &INITIATE_COUNTER.to_be_bytes(), &sealed], output);
        Ok(key)
    }
}

/// READY: a counter and a box of what the server is.
fn ready(key: BoxKey, fields: &[u8], local: &Local) -> Result<Agreed, HandshakeError> {
    let Some((counter, sealed)) = split_counter(fields) else {
        return Err(HandshakeError::Malformed { command: "READY", reason: "it has no counter" });
    };
    let properties = key
        .open(Nonce::counted(b"CurveZMQREADY---", counter), sealed)
        .ok_or(HandshakeError::Sealed { command: "READY" })?;
    let mut agreed = local.meet("READY", &properties)?;
    let sealer = Sealer::new(key.clone(), b"CurveZMQMESSAGEC", INITIATE_COUNTER);
    agreed.keys = Some((sealer, Opener::new(key, b"CurveZMQMESSAGES", counter)));
    Ok(agreed)
}

/// The key between a public key that came in `command`, or that the program gave, and our secret.
fn agree(public: &PublicKey, secret: &SecretKey, command: &'static str) -> Result<BoxKey, HandshakeError> {
    let reason = "the server's public key is one of those that are none";
    BoxKey::agreed(public, secret).ok_or(HandshakeError::Malformed { command, reason })
}
