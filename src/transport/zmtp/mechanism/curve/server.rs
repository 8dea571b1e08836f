//! The side of CURVE that lets clients in: WELCOME, then READY.

use std::sync::Arc;

use bytes::BytesMut;
use zeroize::Zeroizing;

use super::boxes::{BoxKey, Nonce};
use super::message::{Opener, Sealer};
use super::{COOKIE, HELLO, HELLO_FIELDS, INITIATE, READY, TAG, VERSION, WELCOME, split_counter};
use crate::transport::zmtp::error::HandshakeError;
use crate::transport::zmtp::keys::{AllowedClients, KeyPair, PublicKey, SecretKey, random};
use crate::transport::zmtp::mechanism::{Agreed, Local, REFUSED, expect, put_command};

/// The server of one connection.
///
/// Between WELCOME and INITIATE it remembers one key: the client brings C' and s' back in a cookie
/// that this key sealed. The key is of this connection and is used once, so a cookie that was
/// recorded elsewhere opens nowhere, and with it nothing of the recorded connection does.
#[derive(Debug)]
pub(in crate::transport::zmtp) struct CurveServer {
    /// S and s.
    keys: KeyPair,
    allow: Arc<AllowedClients>,
    cookie: Option<BoxKey>,
}

/// The counter of READY; MESSAGE goes on from there.
const READY_COUNTER: u64 = 1;

impl CurveServer {
    pub(in crate::transport::zmtp) const fn new(keys: KeyPair, allow: Arc<AllowedClients>) -> Self {
        Self { keys, allow, cookie: None }
    }

    pub(in crate::transport::zmtp) const fn awaited(&self) -> &'static str {
        if self.cookie.is_none() { "HELLO" } else { "INITIATE" }
    }

    pub(in crate::transport::zmtp) fn receive(
        &mut self,
        command: &[u8],
        local: &Local,
        output: &mut BytesMut,
    ) -> Result<Option<Agreed>, HandshakeError> {
        let Some(cookie) = self.cookie.take() else {
            let fields = expect(command, HELLO, "HELLO")?;
            self.cookie = Some(self.hello(fields, output)?);
            return Ok(None);
        };
        let fields = expect(command, INITIATE, "INITIATE")?;
        self.initiate(&cookie, fields, local, output).map(Some)
    }

    /// Answers HELLO by WELCOME, and gives the key of the cookie in it.
    fn hello(&self, fields: &[u8], output: &mut BytesMut) -> Result<BoxKey, HandshakeError> {
        let malformed = |reason| HandshakeError::Malformed { command: "HELLO", reason };
        let fields: &[u8; HELLO_FIELDS] = fields.try_into().map_err(|_| malformed("it is not 200 bytes"))?;
        if !fields.starts_with(&VERSION) {
            return Err(malformed("it is not of CurveZMQ 1.0"));
        }
        let (client, rest) =
            fields[VERSION.len() + 72..].split_first_chunk().ok_or(malformed("it has no key"))?;
        let client = PublicKey(*client);
        let (counter, sealed) = split_counter(rest).ok_or(malformed("it has no counter"))?;
        let key = BoxKey::agreed(&client, self.keys.secret())
            .ok_or(malformed("its public key is one of those that are none"))?;
        let opened = key
            .open(Nonce::counted(b"CurveZMQHELLO---", counter), sealed)
            .ok_or(HandshakeError::Sealed { command: "HELLO" })?;
        if opened[..] != [0; 64] {
            return Err(malformed("its box is not one of zeros"));
        }

        // All that this connection makes is C' and s', and both go into the cookie.
        let own = KeyPair::from_secret(SecretKey(random()?));
        let cookie_key = BoxKey::own(random()?);
        let nonce = random()?;
        let plain = Zeroizing::new([client.0, own.secret().0]);
        let mut welcome = BytesMut::with_capacity(32 + COOKIE);
        welcome.extend_from_slice(&own.public().0);
        welcome.extend_from_slice(&nonce);
        cookie_key.seal(Nonce::random(b"COOKIE--", &nonce), plain.as_flattened(), &mut welcome);

        let nonce = random()?;
        let mut sealed = BytesMut::with_capacity(TAG + welcome.len());
        key.seal(Nonce::random(b"WELCOME-", &nonce), &welcome, &mut sealed);
        put_command(&[WELCOME, &nonce, &sealed], output);
        Ok(cookie_key)
    }

    /// Checks INITIATE, and answers it by READY.
    fn initiate(
        &self,
        cookie_key: &BoxKey,
        fields: &[u8],
        local: &Local,
        output: &mut BytesMut,
    ) -> Result<Agreed, HandshakeError> {
        let malformed = |reason| HandshakeError::Malformed { command: "INITIATE", reason };
        let short = "it is too short";
        let (cookie, rest) = fields.split_first_chunk::<COOKIE>().ok_or(malformed(short))?;
        let (nonce, sealed) = cookie.split_first_chunk().ok_or(malformed(short))?;
        let opened = cookie_key
            .open(Nonce::random(b"COOKIE--", nonce), sealed)
            .ok_or(HandshakeError::Sealed { command: "INITIATE's cookie" })?;
        let (client, secret) = two_keys(&opened).ok_or(malformed(short))?;
        let secret = SecretKey(secret);
        let key = BoxKey::agreed(&PublicKey(client), &secret).ok_or(malformed(short))?;

        let (counter, sealed) = split_counter(rest).ok_or(malformed(short))?;
        let opened = key
            .open(Nonce::counted(b"CurveZMQINITIATE", counter), sealed)
            .ok_or(HandshakeError::Sealed { command: "INITIATE" })?;
        let (lasting, rest) = opened.split_first_chunk().ok_or(malformed(short))?;
        let lasting = PublicKey(*lasting);
        let (nonce, rest) = rest.split_first_chunk().ok_or(malformed(short))?;
        let (vouch, properties) = rest.split_at_checked(TAG + 64).ok_or(malformed(short))?;
        // The vouch is looked at first: a client that has not proved a key does not learn whether
        // that key is let in.
        let vouched = BoxKey::agreed(&lasting, &secret)
            .and_then(|key| key.open(Nonce::random(b"VOUCH---", nonce), vouch))
            .ok_or(HandshakeError::Sealed { command: "INITIATE's vouch" })?;
        if two_keys(&vouched) != Some((client, self.keys.public().0)) {
            return Err(malformed("its vouch is for another connection"));
        }
        if !self.allow.allow(&lasting) {
            put_command(&[REFUSED], output);
            return Err(HandshakeError::NotAllowed { client: lasting.to_string() });
        }

        let mut agreed = local.meet("INITIATE", properties)?;
        let mut sealed = BytesMut::new();
        let nonce = Nonce::counted(b"CurveZMQREADY---", READY_COUNTER);
        key.seal(nonce, &local.properties(agreed.ours), &mut sealed);
        put_command(&[READY, &READY_COUNTER.to_be_bytes(), &sealed], output);
        agreed.client_key = Some(lasting);
        let sealer = Sealer::new(key.clone(), b"CurveZMQMESSAGES", READY_COUNTER);
        agreed.keys = Some((sealer, Opener::new(key, b"CurveZMQMESSAGEC", counter)));
        Ok(agreed)
    }
}

fn two_keys(bytes: &[u8]) -> Option<([u8; 32], [u8; 32])> {
    let (first, second) = bytes.split_first_chunk()?;
    Some((*first, second.try_into().ok()?))
}
