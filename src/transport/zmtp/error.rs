//! What a peer can do wrong. After any of these the connection has to be closed.

use super::frame::MAX_PARTS;
use super::socket_type::SocketType;

/// Why a handshake failed. What it has put into the output should still be sent: it may hold an
/// ERROR command for the peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::transport) enum HandshakeError {
    /// The bytes are not the greeting of ZMTP.
    #[error("byte {at} of the greeting is {found:#04x}: this is no ZMTP peer")]
    Signature {
        /// Its place, from 0.
        at: usize,
        /// What stood there.
        found: u8,
    },
    /// The peer speaks a version before 3.0.
    #[error("the peer speaks ZMTP {major}.x; 3.0 or 3.1 is needed")]
    Version {
        /// The major version that the peer greeted with.
        major: u8,
    },
    /// The two sides are set up with different mechanisms.
    #[error("the peer's security mechanism is {theirs}, ours is {ours}: both have to be the same")]
    Mechanism {
        /// What this side is set up with.
        ours: &'static str,
        /// What the peer greeted with, other bytes than letters left out.
        theirs: String,
    },
    /// A frame of the handshake is longer than its bound.
    #[error("a handshake frame of {len} bytes; {max} is the most")]
    TooLong {
        /// The length in its head.
        len: u64,
        /// The bound.
        max: usize,
    },
    /// A frame of the handshake is not a command, or not the one that had to come.
    #[error("{expected} had to come, and {found} came")]
    Unexpected {
        /// The command that had to come.
        expected: &'static str,
        /// What came.
        found: String,
    },
    /// A command is shorter or longer than its fields.
    #[error("the {command} command is malformed: {reason}")]
    Malformed {
        /// Its name.
        command: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The peer's socket type is missing, unknown, or not one that ours talks to.
    #[error("the peer comes as {theirs:?}, which {ours} does not talk to")]
    SocketType {
        /// What this side is.
        ours: &'static str,
        /// The peer's Socket-Type.
        theirs: String,
    },
    /// This side has no socket type of its own, and its mechanism has it speak first.
    #[error("a side that speaks first needs a socket type of its own")]
    NoSocketType,
    /// A box of CURVE does not open.
    #[error("the box of {command} does not open: a wrong key, or a damaged message")]
    Sealed {
        /// The command that it came in.
        command: &'static str,
    },
    /// The client's password is wrong, or its key is not one that this server lets in.
    #[error("client {client} is not let in: its password is wrong or its key is not on the list")]
    NotAllowed {
        /// Its user, or its public key.
        client: String,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Entropy,
    /// The peer answered with ERROR.
    #[error("the peer refuses the connection: {reason:?}")]
    Refused {
        /// Its reason; libzmq sends a status code of three digits, 400 for what was not let in.
        reason: String,
    },
    /// The handshake has ended before, well or badly.
    #[error("this handshake has ended")]
    Over,
    /// A head or a frame of the handshake is broken.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// What is wrong with a frame of an established connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::transport) enum FrameError {
    /// Flags that no version defines, or a command that wants to go on.
    #[error("frame flags {0:#04x}: only MORE, LONG and COMMAND are defined, and a command is alone")]
    Flags(u8),
    /// A message is longer than the bound.
    #[error("a message of {len} bytes; {max} is the most")]
    TooLong {
        /// What its frames have together, with the one that was refused.
        len: u64,
        /// The bound.
        max: usize,
    },
    /// A message has too many frames.
    #[error("a message of more than {MAX_PARTS} frames")]
    TooManyParts,
    /// A frame under CURVE is not a MESSAGE that this connection's key opens.
    #[error("frame of {len} bytes is not a MESSAGE of this connection")]
    Sealed {
        /// The length of its body.
        len: usize,
    },
    /// A MESSAGE of CURVE came again, or out of order.
    #[error("MESSAGE {counter} behind {last}: it was there before, or comes too late")]
    Replayed {
        /// Its counter.
        counter: u64,
        /// The greatest counter that has come.
        last: u64,
    },
    /// This side has used up the counters of its connection.
    #[error("2^64 frames were sent on this connection; a new one is needed")]
    Exhausted,
    /// A command is shorter or longer than its fields.
    #[error("a {command} command of {len} bytes")]
    Command {
        /// Its name, or "nameless" if that is what is broken.
        command: &'static str,
        /// The length of its body.
        len: usize,
    },
}

impl HandshakeError {
    pub(super) fn socket_type(ours: Option<SocketType>, theirs: &[u8]) -> Self {
        let ours = ours.map_or("this listener", SocketType::name);
        Self::SocketType { ours, theirs: printable(theirs) }
    }

    pub(super) fn unexpected(expected: &'static str, found: &[u8]) -> Self {
        Self::Unexpected { expected, found: printable(found) }
    }
}

/// What a peer sent as a name, fit for a log: at most 32 characters, each printable.
pub(super) fn printable(bytes: &[u8]) -> String {
    let text: String =
        bytes.iter().take(32).map(|b| if b.is_ascii_graphic() { *b as char } else { '?' }).collect();
    if text.is_empty() { "nothing".to_owned() } else { text }
}
