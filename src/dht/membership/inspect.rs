//! Which identities a SWIM packet speaks of, read before foca acts on it.

use bytes::Buf;
use foca::{Codec, Header, PostcardCodec, State};

use crate::dht::member::Member;

/// The identities in one packet.
pub(super) struct Seen {
    /// The sender.
    pub(super) source: Member,
    /// The sender and every member that the packet says is alive, or that it says anything of under its sender's
    /// authority.
    pub(super) mentioned: Vec<Member>,
}

/// Reads a packet; `None` if it is malformed. Allocates in proportion to the packet.
pub(super) fn identities(packet: &[u8]) -> Option<Seen> {
    let mut codec = PostcardCodec;
    let mut rest = packet;
    let header: Header<Member> = codec.decode_header(&mut rest).ok()?;
    let mut mentioned = vec![header.src.clone()];
    if rest.len() >= 2 {
        for _ in 0..rest.get_u16() {
            let member: foca::Member<Member> = codec.decode_member(&mut rest).ok()?;
            if member.state() != State::Down {
                mentioned.push(member.id().clone());
            }
        }
    }
    Some(Seen { source: header.src, mentioned })
}
