//! Which identities a SWIM packet speaks of, read before foca acts on it.

use bytes::Buf;
use foca::{Codec, Header, PostcardCodec, State};

use super::renewal::LATEST;
use crate::dht::member::{Member, NodeName};

/// The incarnation under which a node that leaves is reported down: no living node gets there, since foca renews its
/// identity first.
pub(super) const LEFT: foca::Incarnation = foca::Incarnation::MAX;

/// The identities in one packet.
pub(super) struct Seen {
    /// The sender.
    pub(super) source: Member,
    /// What it says.
    pub(super) message: foca::Message<Member>,
    /// The sender, and every member that the packet says is alive.
    pub(super) mentioned: Vec<Member>,
    /// Members that the packet says have left.
    pub(super) left: Vec<NodeName>,
}

/// Reads a packet; `None` if it is malformed, or names a generation that nobody has. Allocates in proportion to the packet.
pub(super) fn identities(packet: &[u8]) -> Option<Seen> {
    let mut codec = PostcardCodec;
    let mut rest = packet;
    let header: Header<Member> = codec.decode_header(&mut rest).ok()?;
    let credible = |member: &Member| member.generation <= LATEST;
    if !credible(&header.src) {
        return None;
    }
    let mut mentioned = vec![header.src.clone()];
    let mut left = Vec::new();
    if rest.len() >= 2 {
        for _ in 0..rest.get_u16() {
            let member: foca::Member<Member> = codec.decode_member(&mut rest).ok()?;
            if !credible(member.id()) {
                return None;
            }
            if member.state() != State::Down {
                mentioned.push(member.id().clone());
            } else if member.incarnation() == LEFT {
                left.push(member.id().name.clone());
            }
        }
    }
    Some(Seen { source: header.src, message: header.message, mentioned, left })
}

/// The number of the probe that a packet of this node's is, if it is one.
pub(super) fn probe(mut packet: &[u8]) -> Option<foca::ProbeNumber> {
    let header: Header<Member> = PostcardCodec.decode_header(&mut packet).ok()?;
    if let foca::Message::Ping(number) = header.message { Some(number) } else { None }
}
