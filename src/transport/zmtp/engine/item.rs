//! What waits to be sent, and the bytes that it becomes.

use bytes::{Bytes, BytesMut};

use super::super::{Encoder, Flags, FrameError, Head, Subscription};
use crate::transport::zmq::control::DATA;

/// One thing to send.
#[derive(Debug)]
pub(super) enum Item {
    /// A publication: its topic, a zero byte, the payload.
    Publication(Bytes),
    /// A payload for the peer alone.
    Directed(Bytes),
    /// A control frame of ours.
    Control(Bytes),
    /// To a publisher.
    Subscription(Subscription),
    /// To find out whether the peer is there.
    Ping,
    /// The answer to a PING with its context.
    Pong(Bytes),
}

/// Whose affair an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It is a publication of the user's.
    Publication,
    /// It is a message of the user's to the peer alone.
    Directed,
    /// It is the session's own affair.
    Other,
}

impl Item {
    /// Whose affair it is.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Publication(_) => Kind::Publication,
            Self::Directed(_) => Kind::Directed,
            Self::Control(_) | Self::Subscription(_) | Self::Ping | Self::Pong(_) => Kind::Other,
        }
    }

    /// Its size in bytes, about.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Publication(body) | Self::Directed(body) | Self::Control(body) | Self::Pong(body) => {
                body.len()
            }
            Self::Subscription(Subscription::Subscribe(prefix) | Subscription::Cancel(prefix)) => {
                prefix.len()
            }
            Self::Ping => 0,
        }
    }

    /// What it becomes for a peer of that minor version. Its body is lent where nothing is encrypted.
    ///
    /// # Errors
    /// The connection can send no more.
    pub(super) fn encode(self, encoder: &mut Encoder, minor: u8) -> Result<Piece, FrameError> {
        let kind = self.kind();
        let (size, lent) = (self.size(), encoder.lends());
        let mut output = BytesMut::new();
        match self {
            Self::Publication(body) | Self::Control(body) if lent => {
                return Ok(Piece::lent(None, body, kind));
            }
            Self::Directed(body) if lent => return Ok(Piece::lent(Some(DATA), body, kind)),
            Self::Publication(body) | Self::Control(body) => {
                encoder.put(Flags::Last, &[&body], &mut output)?;
            }
            Self::Directed(body) => encoder.put(Flags::Last, &[&[DATA], &body], &mut output)?,
            Self::Subscription(subscription) => {
                encoder.put_subscription(minor, &subscription, &mut output)?;
            }
            // No TTL: at libzmq's side it would start a timer that may end the process.
            Self::Ping => encoder.put_ping(0, &[], &mut output)?,
            Self::Pong(context) => encoder.put_pong(&context, &mut output)?,
        }
        Ok(Piece { head: [0; MAX_LEAD], head_len: 0, body: output.freeze(), kind, size })
    }
}

/// A frame's head and our kind byte.
const MAX_LEAD: usize = 10;

/// The bytes of one item, for the connection that they were encoded for.
#[derive(Debug)]
pub(super) struct Piece {
    head: [u8; MAX_LEAD],
    head_len: u8,
    body: Bytes,
    pub(super) kind: Kind,
    /// That of the item.
    pub(super) size: usize,
}

impl Piece {
    fn lent(first: Option<u8>, body: Bytes, kind: Kind) -> Self {
        let frame = Head::new(Flags::Last, body.len() + usize::from(first.is_some()));
        let mut head = [0; MAX_LEAD];
        head[..frame.len()].copy_from_slice(&frame);
        let mut head_len = frame.len();
        if let Some(first) = first {
            head[head_len] = first;
            head_len += 1;
        }
        Self { head, head_len: head_len as u8, size: body.len(), body, kind }
    }

    pub(super) fn head(&self) -> &[u8] {
        &self.head[..usize::from(self.head_len)]
    }

    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.head_len) + self.body.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lent_is_what_the_encoder_writes() {
        let encoded = |item: Item| {
            let piece = item.encode(&mut Encoder::default(), 1).unwrap();
            [piece.head(), piece.body()].concat()
        };
        for len in [0, 1, 254, 255, 256, 70_000] {
            let body = Bytes::from(vec![7; len]);
            let mut expected = BytesMut::new();
            Encoder::default().put(Flags::Last, &[&body], &mut expected).unwrap();
            assert_eq!(encoded(Item::Publication(body.clone())), expected);
            let mut expected = BytesMut::new();
            Encoder::default().put(Flags::Last, &[b"d", &body], &mut expected).unwrap();
            assert_eq!(encoded(Item::Directed(body)), expected);
        }
    }
}
