//! The commands of an established connection.

use bytes::{Buf, Bytes};

use super::error::{FrameError, printable};

pub(super) const SUBSCRIBE: &[u8] = b"\x09SUBSCRIBE";
pub(super) const CANCEL: &[u8] = b"\x06CANCEL";
pub(super) const PING: &[u8] = b"\x04PING";
pub(super) const PONG: &[u8] = b"\x04PONG";
pub(super) const ERROR: &[u8] = b"\x05ERROR";
/// What the PLAIN server of libzmq (4.3.5, and before) sends for [`ERROR`]: its source writes the
/// name with a hexadecimal escape, which in C takes the E behind it in.
pub(super) const LIBZMQ_PLAIN_ERROR: &[u8] = b"\x5eRROR";
/// The longest context of a PING, in bytes.
pub(super) const MAX_CONTEXT: usize = 16;

/// What a peer tells a publisher of the topics that it wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::transport) enum Subscription {
    /// Messages that begin with this are wanted.
    Subscribe(Bytes),
    /// One earlier subscription to this prefix is taken back.
    Cancel(Bytes),
}

impl Subscription {
    /// The subscription that a message of ZMTP 3.0 is: 1 or 0 and the prefix. `None` for any other
    /// message, which a publisher may ignore.
    pub(in crate::transport) fn from_message(body: &Bytes) -> Option<Self> {
        match body.first() {
            Some(1) => Some(Self::Subscribe(body.slice(1..))),
            Some(0) => Some(Self::Cancel(body.slice(1..))),
            _ => None,
        }
    }
}

/// A command that came on an established connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::transport) enum Command {
    /// SUBSCRIBE or CANCEL.
    Subscription(Subscription),
    /// The peer wants a PONG with this context.
    Ping {
        /// How long the peer is to be taken for alive without a word, in tenths of a second; 0 for
        /// ever.
        ttl: u16,
        /// What the PONG has to bring back, at most 16 bytes.
        context: Bytes,
    },
    /// The answer to our PING.
    Pong {
        /// What our PING brought.
        context: Bytes,
    },
    /// The peer is about to close the connection.
    Error {
        /// Its reason, printable.
        reason: String,
    },
    /// A command that this side does not know, to be ignored.
    Unknown {
        /// Its name, printable.
        name: String,
    },
}

impl Command {
    /// Reads the body of a command frame.
    ///
    /// # Errors
    /// [`FrameError::Command`] if it is shorter than its fields.
    pub(in crate::transport) fn decode(body: &Bytes) -> Result<Self, FrameError> {
        let broken = |command| FrameError::Command { command, len: body.len() };
        let Some((name, mut rest)) = split_name(body) else { return Err(broken("nameless")) };
        Ok(match name {
            SUBSCRIBE => Self::Subscription(Subscription::Subscribe(rest)),
            CANCEL => Self::Subscription(Subscription::Cancel(rest)),
            PING => {
                let ttl = rest.try_get_u16().map_err(|_| broken("PING"))?;
                rest.truncate(MAX_CONTEXT);
                Self::Ping { ttl, context: rest }
            }
            PONG => {
                rest.truncate(MAX_CONTEXT);
                Self::Pong { context: rest }
            }
            ERROR => Self::Error { reason: error_reason(&rest).ok_or_else(|| broken("ERROR"))? },
            _ => Self::Unknown { name: printable(name.get(1..).unwrap_or_default()) },
        })
    }
}

/// A command's name with its length in front, and what follows.
fn split_name(body: &Bytes) -> Option<(&[u8], Bytes)> {
    let end = 1 + usize::from(*body.first()?);
    Some((body.get(..end)?, body.slice(end..)))
}

/// The reason of an ERROR command, whose name is cut off: a length and that many bytes.
pub(super) fn error_reason(rest: &[u8]) -> Option<String> {
    let (len, reason) = rest.split_first()?;
    reason.get(..usize::from(*len)).map(printable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(body: &'static [u8]) -> Result<Command, FrameError> {
        Command::decode(&Bytes::from_static(body))
    }

    #[test]
    fn commands_are_read_as_37_zmtp_writes_them() {
        let prefix = Bytes::from_static(b"weather/");
        assert_eq!(
            decode(b"\x09SUBSCRIBEweather/"),
            Ok(Command::Subscription(Subscription::Subscribe(prefix.clone())))
        );
        assert_eq!(decode(b"\x06CANCELweather/"), Ok(Command::Subscription(Subscription::Cancel(prefix))));
        let context = Bytes::from_static(b"0123456789abcdef");
        assert_eq!(decode(b"\x04PING\x01\x02"), Ok(Command::Ping { ttl: 258, context: Bytes::new() }));
        assert_eq!(
            decode(b"\x04PING\0\x030123456789abcdef++"),
            Ok(Command::Ping { ttl: 3, context: context.clone() })
        );
        assert_eq!(decode(b"\x04PONG0123456789abcdef++"), Ok(Command::Pong { context }));
        assert_eq!(decode(b"\x05ERROR\x03400"), Ok(Command::Error { reason: "400".to_owned() }));
        assert_eq!(decode(b"\x04JOINx"), Ok(Command::Unknown { name: "JOIN".to_owned() }));
        assert_eq!(decode(b"\0"), Ok(Command::Unknown { name: "nothing".to_owned() }));
    }

    #[test]
    fn what_is_cut_short_is_refused_by_name() {
        let broken = |command, len| Err(FrameError::Command { command, len });
        assert_eq!(decode(b""), broken("nameless", 0));
        assert_eq!(decode(b"\x09SUB"), broken("nameless", 4));
        assert_eq!(decode(b"\x04PING\x01"), broken("PING", 6));
        assert_eq!(decode(b"\x05ERROR"), broken("ERROR", 6));
        assert_eq!(decode(b"\x05ERROR\x04400"), broken("ERROR", 10));
    }

    #[test]
    fn messages_of_3_0_are_subscriptions_by_their_first_byte() {
        let message = |body: &'static [u8]| Subscription::from_message(&Bytes::from_static(body));
        let prefix = Bytes::from_static(b"a");
        assert_eq!(message(b"\x01a"), Some(Subscription::Subscribe(prefix.clone())));
        assert_eq!(message(b"\0a"), Some(Subscription::Cancel(prefix)));
        assert_eq!(message(b"\x01"), Some(Subscription::Subscribe(Bytes::new())));
        assert_eq!(message(b"\x02a"), None);
        assert_eq!(message(b""), None);
    }
}
