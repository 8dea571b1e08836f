//! Messages that reach those whom they are for without the driver.

use std::sync::{Arc, Weak};

use bytes::Bytes;

use super::SessionCore;
use crate::transport::{MessageSink, Origin, TransportTx};
use crate::wire::{Bundle, Frame, Room};

/// The longest message that is handed out at once, in bytes. A longer one is a batch, or takes longer to be sent than to be
/// waited for.
const SHORT: usize = 4096;

/// Hands messages out where the transport notices them, one by one, to services that take them there.
///
/// It looks at no timer: a service that has a new deadline [wakes](SessionCore::wake) the driver.
pub(super) struct AtOnce<Tx>(Weak<SessionCore<Tx>>);

impl<Tx> AtOnce<Tx> {
    /// The transport keeps it, and the session the transport.
    pub(super) fn new(session: &Arc<SessionCore<Tx>>) -> Self {
        Self(Arc::downgrade(session))
    }
}

impl<Tx: TransportTx> MessageSink for AtOnce<Tx> {
    fn take(&self, from: &Origin, payload: &Bytes) -> bool {
        if payload.len() > SHORT {
            return false;
        }
        let Some(core) = self.0.upgrade().filter(|core| core.check_open().is_ok()) else { return false };
        let now = || core.clock.now();
        match from {
            // Listeners may do more than is to be done here, and each message goes to all or to none.
            Origin::Topic(topic) => {
                core.listeners.any().is_none()
                    && core
                        .service(Room::PubSub)
                        .is_some_and(|service| service.on_topic_at_once(now(), topic, payload))
            }
            // What comes in bundles is answered in bundles: the driver sees to that.
            Origin::Peer(_) if Bundle::is_bundle(payload) => false,
            Origin::Peer(peer) => match Frame::parse(payload.clone()) {
                Ok(Frame::Control { room, body }) => {
                    core.service(room).is_some_and(|service| service.on_control_at_once(now(), peer, &body))
                }
                _ => false,
            },
        }
    }
}
