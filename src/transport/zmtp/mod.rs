//! ZMTP 3.0 and 3.1 without I/O: greeting, security handshake, frames and commands.
//!
//! The order of a connection's life: a [`Handshake`] eats what the peer sends and says what to
//! answer until it is [`Established`]; from then on the [`Decoder`] cuts frames from the same input
//! and the [`Encoder`] writes them. Nothing here owns a socket, reads a clock or waits: the engine
//! does, and it is the engine that sets deadlines and closes connections after an error.
//!
//! The specifications: [23/ZMTP](https://rfc.zeromq.org/spec/23/),
//! [37/ZMTP 3.1](https://rfc.zeromq.org/spec/37/), and those that the mechanisms name.
//!
//! What a peer can make this room hold: [`MAX_HANDSHAKE_FRAME`] bytes until it is established, then
//! `max_message` bytes a message. A length over the bound is refused when its head is read.

mod command;
mod decoder;
mod encoder;
pub(in crate::transport) mod engine;
mod error;
mod frame;
mod greeting;
mod handshake;
mod keys;
mod mechanism;
mod metadata;
mod socket_type;
#[cfg(test)]
mod tests;
mod z85;

use std::sync::Arc;

use bytes::Bytes;

pub(in crate::transport) use command::{Command, Subscription};
pub(in crate::transport) use decoder::Decoder;
pub(in crate::transport) use encoder::Encoder;
pub(in crate::transport) use error::{FrameError, HandshakeError};
pub(in crate::transport) use frame::{Flags, Frame, Head};
pub(in crate::transport) use handshake::{Established, Handshake, MAX_HANDSHAKE_FRAME, PeerInfo};
pub(in crate::transport) use keys::{Account, AllowedClients, KeyPair, PublicKey};
pub(in crate::transport) use metadata::{MAX_IDENTITY, Metadata};
pub(in crate::transport) use socket_type::{Socket, SocketType};

/// What one side of a connection brings to its handshake.
#[derive(Debug, Clone)]
pub(in crate::transport) struct Config {
    /// What this side comes as.
    pub(in crate::transport) socket: Socket,
    /// The routing id that the peer is told, at most [`MAX_IDENTITY`] bytes; empty for none.
    pub(in crate::transport) identity: Bytes,
    /// How the two authenticate. Both sides have to name the same mechanism.
    pub(in crate::transport) security: Security,
    /// The most bytes that one message of the peer may have, all of its frames together.
    pub(in crate::transport) max_message: usize,
}

/// The security mechanism of one side, with what this side has to prove or to check.
#[derive(Debug, Clone)]
pub(in crate::transport) enum Security {
    /// No authentication, no encryption.
    Null,
    /// The connecting side of PLAIN: this account is told to the server, in the clear.
    PlainClient(Account),
    /// The side of PLAIN that lets these accounts in, and no other.
    PlainServer(Arc<[Account]>),
    /// The connecting side of CURVE.
    CurveClient {
        /// The server's lasting public key, which the server has to prove.
        server: PublicKey,
        /// Our own.
        keys: KeyPair,
    },
    /// The side of CURVE that lets clients in.
    CurveServer {
        /// Our own keys.
        keys: KeyPair,
        /// The clients that it lets in.
        allow: Arc<AllowedClients>,
    },
}
