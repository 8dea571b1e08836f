//! Frames into what is written.

use bytes::{BufMut, BytesMut};

use super::command::{self, Subscription};
use super::error::FrameError;
use super::frame::{Flags, Head};
use super::mechanism::Sealer;

/// Writes the frames of one established connection.
///
/// Where it [`lends`](Self::lends), a [`Head`] and the body as it lies in memory are the same bytes
/// as what it writes, for each peer: large bodies need no copy. Under CURVE each frame is encrypted
/// for its own connection. The default is one that does not encrypt.
#[derive(Debug, Default)]
pub(in crate::transport) struct Encoder {
    sealer: Option<Sealer>,
}

impl Encoder {
    pub(super) const fn new(sealer: Option<Sealer>) -> Self {
        Self { sealer }
    }

    /// Whether frames may be written as [`Head::new`] and the body, without this encoder.
    pub(in crate::transport) const fn lends(&self) -> bool {
        self.sealer.is_none()
    }

    /// Appends a frame whose body is these pieces, one behind the other.
    ///
    /// # Errors
    /// The connection cannot send any more, and nothing was appended: close it.
    pub(in crate::transport) fn put(
        &mut self,
        flags: Flags,
        body: &[&[u8]],
        output: &mut BytesMut,
    ) -> Result<(), FrameError> {
        if let Some(sealer) = &mut self.sealer {
            return sealer.put(flags, body, output);
        }
        put_clear(flags, body, output);
        Ok(())
    }

    /// Appends a subscription in the words of the peer's version: a command for 3.1, a message for
    /// 3.0.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub(in crate::transport) fn put_subscription(
        &mut self,
        minor: u8,
        subscription: &Subscription,
        output: &mut BytesMut,
    ) -> Result<(), FrameError> {
        let (name, byte, prefix) = match subscription {
            Subscription::Subscribe(prefix) => (command::SUBSCRIBE, &[1], prefix),
            Subscription::Cancel(prefix) => (command::CANCEL, &[0], prefix),
        };
        match minor {
            0 => self.put(Flags::Last, &[byte, prefix], output),
            _ => self.put(Flags::Command, &[name, prefix], output),
        }
    }

    /// Appends a PING, for a peer of 3.1 alone: one of 3.0 need not know it, and may close the
    /// connection over it.
    ///
    /// `ttl` is how long the peer should take this side for alive without hearing it, in tenths of
    /// a second, 0 for ever; `context` comes back in the PONG, of at most
    /// [`MAX_CONTEXT`](command::MAX_CONTEXT) bytes, what is longer is cut.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub(in crate::transport) fn put_ping(
        &mut self,
        ttl: u16,
        context: &[u8],
        output: &mut BytesMut,
    ) -> Result<(), FrameError> {
        let context = &context[..context.len().min(command::MAX_CONTEXT)];
        self.put(Flags::Command, &[command::PING, &ttl.to_be_bytes(), context], output)
    }

    /// Appends the answer to a PING with its context.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub(in crate::transport) fn put_pong(
        &mut self,
        context: &[u8],
        output: &mut BytesMut,
    ) -> Result<(), FrameError> {
        self.put(Flags::Command, &[command::PONG, context], output)
    }
}

/// Appends a frame that is not encrypted.
pub(super) fn put_clear(flags: Flags, body: &[&[u8]], output: &mut BytesMut) {
    let len = body.iter().map(|piece| piece.len()).sum();
    let head = Head::new(flags, len);
    output.reserve(head.len() + len);
    output.put_slice(&head);
    body.iter().for_each(|piece| output.put_slice(piece));
}
