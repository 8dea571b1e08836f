//! CURVE ([26/CURVEZMQ](https://rfc.zeromq.org/spec/26/)): both sides prove a key, and all that
//! follows is encrypted with keys of this connection alone.
//!
//! The letters are those of the specification: C and S are the lasting public keys of client and
//! server, c and s their secrets, and C', S', c', s' those made for one connection.

mod boxes;
mod client;
mod message;
mod server;

pub(in crate::transport::zmtp) use self::client::CurveClient;
pub(in crate::transport::zmtp) use self::message::{OVERHEAD, Opener, Sealer};
pub(in crate::transport::zmtp) use self::server::CurveServer;

const HELLO: &[u8] = b"\x05HELLO";
const WELCOME: &[u8] = b"\x07WELCOME";
const INITIATE: &[u8] = b"\x08INITIATE";
const READY: &[u8] = b"\x05READY";

/// Length of a box beyond what is in it.
const TAG: usize = 16;
/// S' and s' of the server, sealed for itself: 16 bytes of nonce and a box of two keys.
const COOKIE: usize = 16 + TAG + 64;
/// HELLO's fields: version, padding, C', a counter, a box of zeros.
const HELLO_FIELDS: usize = 2 + 72 + 32 + 8 + TAG + 64;
/// CurveZMQ 1.0.
const VERSION: [u8; 2] = [1, 0];

/// Where the counter of a command stands behind its name, and what is behind the counter.
fn split_counter(fields: &[u8]) -> Option<(u64, &[u8])> {
    let (counter, rest) = fields.split_first_chunk()?;
    Some((u64::from_be_bytes(*counter), rest))
}
