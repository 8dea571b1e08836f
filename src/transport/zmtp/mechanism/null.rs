//! NULL: each side says who it is.

use bytes::BytesMut;

use super::{Agreed, Local, expect, put_command};
use crate::transport::zmtp::error::HandshakeError;
use crate::transport::zmtp::socket_type::SocketType;

const READY: &[u8] = b"\x05READY";

#[derive(Debug)]
pub(in crate::transport::zmtp) struct Null;

impl Null {
    /// A side that knows what it is says so at once; one that answers as its peer needs waits for
    /// the peer's word.
    pub(super) fn begin(local: &Local, output: &mut BytesMut) {
        if let Some(ours) = local.socket.fixed() {
            put_ready(local, ours, output);
        }
    }

    pub(super) fn receive(
        command: &[u8],
        local: &Local,
        output: &mut BytesMut,
    ) -> Result<Agreed, HandshakeError> {
        let agreed = local.meet("READY", expect(command, READY, "READY")?)?;
        if local.socket.fixed().is_none() {
            put_ready(local, agreed.ours, output);
        }
        Ok(agreed)
    }
}

fn put_ready(local: &Local, ours: SocketType, output: &mut BytesMut) {
    put_command(&[READY, &local.properties(ours)], output);
}
