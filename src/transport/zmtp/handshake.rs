//! From the first byte to an established connection.

use bytes::{Buf, Bytes, BytesMut};

use super::Config;
use super::command::{ERROR, LIBZMQ_PLAIN_ERROR, error_reason};
use super::decoder::Decoder;
use super::encoder::Encoder;
use super::error::HandshakeError;
use super::frame::read_head;
use super::greeting;
use super::keys::PublicKey;
use super::mechanism::{Agreed, Local, Mechanism};
use super::metadata::Metadata;
use super::socket_type::SocketType;

/// The longest frame of a handshake, in bytes: what a peer that has proved nothing can make the
/// input hold, besides the greeting.
pub(in crate::transport) const MAX_HANDSHAKE_FRAME: usize = 4096;

/// The handshake of one connection. Both sides begin at once.
#[derive(Debug)]
pub(in crate::transport) struct Handshake {
    local: Local,
    mechanism: Mechanism,
    max_message: usize,
    stage: Stage,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    /// Our greeting was not yet given out.
    New,
    /// The peer's greeting has to come.
    Greeting,
    /// The peer's commands have to come; it speaks this minor version.
    Commands(u8),
    Over,
}

/// A connection whose handshake has succeeded.
#[derive(Debug)]
pub(in crate::transport) struct Established {
    /// Who the peer is.
    pub(in crate::transport) peer: PeerInfo,
    /// What this side is towards it.
    pub(in crate::transport) socket_type: SocketType,
    /// Cuts what follows in the input.
    pub(in crate::transport) decoder: Decoder,
    /// Writes what this side sends.
    pub(in crate::transport) encoder: Encoder,
}

/// What a peer has said of itself, and with CURVE proved.
#[derive(Debug, Clone)]
pub(in crate::transport) struct PeerInfo {
    /// The minor version that both speak: 0 for ZMTP 3.0, 1 for 3.1.
    pub(in crate::transport) minor: u8,
    /// What it comes as.
    pub(in crate::transport) socket_type: SocketType,
    /// Its routing id; empty if it has none.
    pub(in crate::transport) identity: Bytes,
    /// The lasting public key that it has proved, if it is a client of CURVE.
    pub(in crate::transport) client_key: Option<PublicKey>,
    /// All that it said of itself.
    pub(in crate::transport) metadata: Metadata,
}

impl Handshake {
    /// A handshake of a connection that has just been opened.
    pub(in crate::transport) fn new(config: &Config) -> Self {
        Self {
            local: Local { socket: config.socket, identity: config.identity.clone() },
            mechanism: Mechanism::new(&config.security),
            max_message: config.max_message,
            stage: Stage::New,
        }
    }

    /// Takes what it can from the front of `input` and appends to `output` what has to be sent.
    ///
    /// Call it once with an empty input to begin, and again whenever more was read. What follows
    /// the handshake is left in `input`.
    ///
    /// # Errors
    /// The connection cannot be established. Send what is in `output`, then close it.
    pub(in crate::transport) fn advance(
        &mut self,
        input: &mut BytesMut,
        output: &mut BytesMut,
    ) -> Result<Option<Established>, HandshakeError> {
        let step = self.step(input, output);
        if !matches!(step, Ok(None)) {
            self.stage = Stage::Over;
        }
        step
    }

    fn step(
        &mut self,
        input: &mut BytesMut,
        output: &mut BytesMut,
    ) -> Result<Option<Established>, HandshakeError> {
        loop {
            match self.stage {
                Stage::New => {
                    let (name, as_server) = (self.mechanism.name(), self.mechanism.is_server());
                    output.extend_from_slice(&greeting::encode(name, as_server));
                    self.stage = Stage::Greeting;
                }
                Stage::Greeting => {
                    let Some(minor) = greeting::decode(input, self.mechanism.name())? else {
                        return Ok(None);
                    };
                    input.advance(greeting::LEN);
                    self.mechanism.begin(&self.local, output)?;
                    self.stage = Stage::Commands(minor);
                }
                Stage::Commands(minor) => {
                    let Some(command) = next_command(input, self.mechanism.awaited())? else {
                        return Ok(None);
                    };
                    let error =
                        command.strip_prefix(ERROR).or_else(|| command.strip_prefix(LIBZMQ_PLAIN_ERROR));
                    if let Some(rest) = error {
                        let reason = error_reason(rest).ok_or(HandshakeError::Malformed {
                            command: "ERROR",
                            reason: "its reason is cut short",
                        })?;
                        return Err(HandshakeError::Refused { reason });
                    }
                    if let Some(agreed) = self.mechanism.receive(&command, &self.local, output)? {
                        return Ok(Some(self.established(minor, agreed)));
                    }
                }
                Stage::Over => return Err(HandshakeError::Over),
            }
        }
    }

    fn established(&self, minor: u8, agreed: Agreed) -> Established {
        let (sealer, opener) = agreed.keys.unzip();
        Established {
            peer: PeerInfo {
                minor,
                socket_type: agreed.peer,
                identity: agreed.metadata.identity(),
                client_key: agreed.client_key,
                metadata: agreed.metadata,
            },
            socket_type: agreed.ours,
            decoder: Decoder::new(self.max_message, opener),
            encoder: Encoder::new(sealer),
        }
    }
}

/// Takes the body of the next command from `input`.
fn next_command(input: &mut BytesMut, expected: &'static str) -> Result<Option<BytesMut>, HandshakeError> {
    let Some(received) = read_head(input)? else { return Ok(None) };
    if !received.command {
        return Err(HandshakeError::unexpected(expected, b"message"));
    }
    let body = usize::try_from(received.body).unwrap_or(usize::MAX);
    if body > MAX_HANDSHAKE_FRAME {
        return Err(HandshakeError::TooLong { len: received.body, max: MAX_HANDSHAKE_FRAME });
    }
    if input.len() < received.head + body {
        return Ok(None);
    }
    input.advance(received.head);
    Ok(Some(input.split_to(body)))
}
