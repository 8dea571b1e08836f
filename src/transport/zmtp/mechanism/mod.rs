//! The security mechanisms: what is said between the greetings and the first message.

mod null;

use bytes::{Bytes, BytesMut};

use self::null::Null;
use super::Security;
use super::encoder::put_clear;
use super::error::HandshakeError;
use super::frame::Flags;
use super::metadata::{self, Metadata};
use super::socket_type::{Socket, SocketType};

/// One side of a mechanism, in the midst of a handshake.
#[derive(Debug)]
pub(super) enum Mechanism {
    Null(Null),
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
}

impl Mechanism {
    pub(super) fn new(security: &Security) -> Self {
        match security {
            Security::Null => Self::Null(Null),
        }
    }

    /// Its name in the greeting.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Null(_) => "NULL",
        }
    }

    /// The server flag of the greeting.
    pub(super) const fn is_server(&self) -> bool {
        match self {
            Self::Null(_) => false,
        }
    }

    /// The command that has to come next.
    pub(super) const fn awaited(&self) -> &'static str {
        match self {
            Self::Null(_) => "READY",
        }
    }

    /// Says what this side has to say first.
    pub(super) fn begin(&mut self, local: &Local, output: &mut BytesMut) -> Result<(), HandshakeError> {
        match self {
            Self::Null(_) => Null::begin(local, output),
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
        Ok(Agreed { peer, ours, metadata })
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
