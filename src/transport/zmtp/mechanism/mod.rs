//! The security mechanisms: what is said between the greetings and the first message.

mod curve;
mod null;
mod plain;

use bytes::{Bytes, BytesMut};

use self::curve::{CurveClient, CurveServer};
pub(super) use self::curve::{OVERHEAD, Opener, Sealer};
use self::null::Null;
use self::plain::{PlainClient, PlainServer};
use super::Security;
use super::encoder::put_clear;
use super::error::HandshakeError;
use super::frame::Flags;
use super::keys::PublicKey;
use super::metadata::{self, Metadata};
use super::socket_type::{Socket, SocketType};

/// The ERROR command for a client that is not let in, with libzmq's status code.
const REFUSED: &[u8] = b"\x05ERROR\x03400";

/// One side of a mechanism, in the midst of a handshake.
#[derive(Debug)]
pub(super) enum Mechanism {
    Null(Null),
    PlainClient(PlainClient),
    PlainServer(PlainServer),
    CurveClient(Box<CurveClient>),
    CurveServer(Box<CurveServer>),
}

/// What this side says of itself.
#[derive(Debug)]
pub(super) struct Local {
    pub(super) socket: Socket,
    pub(super) identity: Bytes,
}

/// What the two sides have agreed on.
#[derive(Debug)]
pub(super) struct Agreed {
    pub(super) peer: SocketType,
    pub(super) ours: SocketType,
    pub(super) metadata: Metadata,
    /// With CURVE: the client's lasting key, if the peer is the client.
    pub(super) client_key: Option<PublicKey>,
    /// With CURVE: what encrypts and decrypts from now on.
    pub(super) keys: Option<(Sealer, Opener)>,
}

impl Mechanism {
    pub(super) fn new(security: &Security) -> Self {
        match security {
            Security::Null => Self::Null(Null),
            Security::PlainClient(account) => {
                Self::PlainClient(PlainClient { account: account.clone(), is_welcome: false })
            }
            Security::PlainServer(accounts) => {
                Self::PlainServer(PlainServer { accounts: accounts.clone(), is_welcome: false })
            }
            Security::CurveClient { server, keys } => {
                Self::CurveClient(Box::new(CurveClient::new(*server, keys.clone())))
            }
            Security::CurveServer { keys, allow } => {
                Self::CurveServer(Box::new(CurveServer::new(keys.clone(), allow.clone())))
            }
        }
    }

    /// Its name in the greeting.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Null(_) => "NULL",
            Self::PlainClient(_) | Self::PlainServer(_) => "PLAIN",
            Self::CurveClient(_) | Self::CurveServer(_) => "CURVE",
        }
    }

    /// The server flag of the greeting.
    pub(super) const fn is_server(&self) -> bool {
        matches!(self, Self::PlainServer(_) | Self::CurveServer(_))
    }

    /// The command that has to come next.
    pub(super) const fn awaited(&self) -> &'static str {
        match self {
            Self::Null(_) => "READY",
            Self::PlainClient(side) => side.awaited(),
            Self::PlainServer(side) => side.awaited(),
            Self::CurveClient(side) => side.awaited(),
            Self::CurveServer(side) => side.awaited(),
        }
    }

    /// Says what this side has to say first.
    pub(super) fn begin(&mut self, local: &Local, output: &mut BytesMut) -> Result<(), HandshakeError> {
        match self {
            Self::Null(_) => Null::begin(local, output),
            Self::PlainClient(side) => side.begin(output),
            Self::CurveClient(side) => return side.begin(output),
            Self::PlainServer(_) | Self::CurveServer(_) => {}
        }
        Ok(())
    }

    /// Takes the peer's next command, its name in front.
    pub(super) fn receive(
        &mut self,
        command: &[u8],
        local: &Local,
        output: &mut BytesMut,
    ) -> Result<Option<Agreed>, HandshakeError> {
        match self {
            Self::Null(_) => Null::receive(command, local, output).map(Some),
            Self::PlainClient(side) => side.receive(command, local, output),
            Self::PlainServer(side) => side.receive(command, local, output),
            Self::CurveClient(side) => side.receive(command, local, output),
            Self::CurveServer(side) => side.receive(command, local, output),
        }
    }
}

impl Local {
    /// Reads what the peer says of itself in the command of that name, and decides what this side
    /// is towards it.
    fn meet(&self, command: &'static str, properties: &[u8]) -> Result<Agreed, HandshakeError> {
        let metadata =
            Metadata::decode(properties).map_err(|reason| HandshakeError::Malformed { command, reason })?;
        let theirs = metadata.socket_type();
        let refused = || HandshakeError::socket_type(self.socket.fixed(), theirs);
        let peer = SocketType::from_name(theirs).ok_or_else(refused)?;
        let ours = self.socket.towards(peer).ok_or_else(refused)?;
        Ok(Agreed { peer, ours, metadata, client_key: None, keys: None })
    }

    /// What this side says of itself as a socket of that type.
    fn properties(&self, ours: SocketType) -> BytesMut {
        metadata::encode(ours.name(), &self.identity)
    }
}

/// Appends a command of the handshake, whose body is these pieces.
fn put_command(body: &[&[u8]], output: &mut BytesMut) {
    put_clear(Flags::Command, body, output);
}

/// What follows a command's name, if it is that command.
fn expect<'a>(command: &'a [u8], name: &[u8], expected: &'static str) -> Result<&'a [u8], HandshakeError> {
    let is_other = || {
        let end = command.first().map_or(0, |len| 1 + usize::from(*len)).min(command.len());
        HandshakeError::unexpected(expected, command.get(1..end).unwrap_or_default())
    };
    command.strip_prefix(name).ok_or_else(is_other)
}
