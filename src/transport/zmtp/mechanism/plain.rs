//! PLAIN ([24/ZMTP-PLAIN](https://rfc.zeromq.org/spec/24/)): a user and a password, in the clear.

use std::sync::Arc;

use bytes::BytesMut;

use super::{Agreed, Local, REFUSED, expect, put_command};
use crate::transport::zmtp::error::{HandshakeError, printable};
use crate::transport::zmtp::keys::Account;

const HELLO: &[u8] = b"\x05HELLO";
const WELCOME: &[u8] = b"\x07WELCOME";
const INITIATE: &[u8] = b"\x08INITIATE";
const READY: &[u8] = b"\x05READY";

/// The side that has a password.
#[derive(Debug)]
pub(in crate::transport::zmtp) struct PlainClient {
    pub(super) account: Account,
    pub(super) is_welcome: bool,
}

impl PlainClient {
    pub(super) const fn awaited(&self) -> &'static str {
        if self.is_welcome { "READY" } else { "WELCOME" }
    }

    pub(super) fn begin(&self, output: &mut BytesMut) {
        let (user, password) = (self.account.user(), self.account.password());
        // Each is at most 255 bytes: an account holds that.
        let lens = [[user.len() as u8], [password.len() as u8]];
        let body = [HELLO, &lens[0], user.as_bytes(), &lens[1], password.as_bytes()];
        put_command(&body, output);
    }

    pub(super) fn receive(
        &mut self,
        command: &[u8],
        local: &Local,
        output: &mut BytesMut,
    ) -> Result<Option<Agreed>, HandshakeError> {
        if self.is_welcome {
            return local.meet("READY", expect(command, READY, "READY")?).map(Some);
        }
        if !expect(command, WELCOME, "WELCOME")?.is_empty() {
            return Err(HandshakeError::Malformed { command: "WELCOME", reason: "it has fields" });
        }
        self.is_welcome = true;
        let ours = local.socket.fixed().ok_or(HandshakeError::NoSocketType)?;
        put_command(&[INITIATE, &local.properties(ours)], output);
        Ok(None)
    }
}

/// The side that checks passwords.
#[derive(Debug)]
pub(in crate::transport::zmtp) struct PlainServer {
    pub(super) accounts: Arc<[Account]>,
    pub(super) is_welcome: bool,
}

impl PlainServer {
    pub(super) const fn awaited(&self) -> &'static str {
        if self.is_welcome { "INITIATE" } else { "HELLO" }
    }

    pub(super) fn receive(
        &mut self,
        command: &[u8],
        local: &Local,
        output: &mut BytesMut,
    ) -> Result<Option<Agreed>, HandshakeError> {
        if self.is_welcome {
            let agreed = local.meet("INITIATE", expect(command, INITIATE, "INITIATE")?)?;
            put_command(&[READY, &local.properties(agreed.ours)], output);
            return Ok(Some(agreed));
        }
        let malformed = HandshakeError::Malformed {
            command: "HELLO",
            reason: "it is not a user and a password, each with its length in front",
        };
        let Some((user, password)) = credentials(expect(command, HELLO, "HELLO")?) else {
            return Err(malformed);
        };
        // All of them are looked at, so that the time does not tell which user there is.
        let is_right = |right, account: &Account| right | account.is(user, password);
        if !self.accounts.iter().fold(false, is_right) {
            put_command(&[REFUSED], output);
            return Err(HandshakeError::NotAllowed { client: printable(user) });
        }
        self.is_welcome = true;
        put_command(&[WELCOME], output);
        Ok(None)
    }
}

/// The user and the password of HELLO's fields.
fn credentials(fields: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = fields.split_first()?;
    let (user, rest) = rest.split_at_checked(usize::from(*len))?;
    let (len, password) = rest.split_first()?;
    (password.len() == usize::from(*len)).then_some((user, password))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hello_is_that_of_24_zmtp_plain() {
        let account = Account::new("admin".to_owned(), "secret".to_owned()).unwrap();
        let client = PlainClient { account, is_welcome: false };
        let mut output = BytesMut::new();
        client.begin(&mut output);
        assert_eq!(output, &b"\x04\x13\x05HELLO\x05admin\x06secret"[..]);
        assert_eq!(credentials(b"\x05admin\x06secret"), Some((&b"admin"[..], &b"secret"[..])));
        assert_eq!(credentials(b"\0\0"), Some((&b""[..], &b""[..])));
        for broken in [&b""[..], b"\x05admi", b"\x05admin", b"\x01a\x02b", b"\x01a\x01bc"] {
            assert_eq!(credentials(broken), None, "{broken:?}");
        }
    }
}
