//! Messages that reach those whom they are for without the driver.

use std::sync::{Arc, Weak};

use bytes::Bytes;

use super::SessionCore;
use super::addressee::Addressee;
use super::gather::Holder;
use crate::time::Mono;
use crate::transport::{Locator, MessageSink, Origin, TransportTx};
use crate::wire::{self, Bundle, BundleBuilder, MAX_BUNDLE_LEN, Room};

/// The longest message that is handed out at once, in bytes. A longer one is a batch, or takes longer to be sent than to be
/// waited for.
const SHORT: usize = 4096;

/// So many messages of a bundle at most: other descriptors wait meanwhile.
const MOST: usize = 32;

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
    fn take(&self, from: &Origin, payload: Bytes) -> Option<Bytes> {
        if payload.len() > SHORT {
            return Some(payload);
        }
        let Some(core) = self.0.upgrade().filter(|core| core.check_open().is_ok()) else {
            return Some(payload);
        };
        let taken = match from {
            // Listeners may do more than is to be done here, and each message goes to all or to none.
            Origin::Topic(topic) => {
                core.listeners.any().is_none()
                    && core
                        .service(Room::PubSub)
                        .is_some_and(|service| service.on_topic_at_once(core.clock.now(), topic, &payload))
            }
            Origin::Peer(peer) if Bundle::is_bundle(&payload) => return take_bundle(&core, peer, payload),
            Origin::Peer(peer) => {
                take_control(&core, core.clock.now(), peer, &payload, &mut Addressee::default())
            }
        };
        (!taken).then_some(payload)
    }
}

/// Takes the messages of a bundle one by one, up to the first that is refused.
fn take_bundle<Tx: TransportTx>(core: &SessionCore<Tx>, peer: &Locator, payload: Bytes) -> Option<Bytes> {
    // What is wrong with it is the driver's to say.
    let Ok(bundle) = Bundle::parse(payload.clone()) else { return Some(payload) };
    let (now, mut addressee) = (core.clock.now(), Addressee::default());
    // What comes in bundles is answered in bundles.
    core.outbox.hold(Holder::Reactor);
    let taken = bundle
        .frames()
        .take(MOST)
        .take_while(|frame| take_control(core, now, peer, frame, &mut addressee))
        .count();
    core.outbox.release(Holder::Reactor, &core.tx);
    if taken == 0 { Some(payload) } else { without_first(taken, &bundle) }
}

/// A control message that its service takes here.
fn take_control<Tx: TransportTx>(
    core: &SessionCore<Tx>,
    now: Mono,
    peer: &Locator,
    frame: &[u8],
    addressee: &mut Addressee,
) -> bool {
    wire::control(frame).is_some_and(|(room, body)| {
        addressee.find(core, room).is_some_and(|service| service.on_control_at_once(now, peer, body))
    })
}

/// What is left of a bundle.
fn without_first(count: usize, bundle: &Bundle) -> Option<Bytes> {
    let mut rest = BundleBuilder::default();
    for frame in bundle.frames().skip(count) {
        // They have fitted together before.
        rest.push(frame, MAX_BUNDLE_LEN);
    }
    rest.take()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::encode_control;

    #[test]
    fn what_is_left_of_a_bundle_is_what_was_not_taken() {
        let message = |number: u8| encode_control(Room::DhtNode, &number).unwrap();
        let mut all = BundleBuilder::default();
        assert!((0..4).all(|number| all.push(&message(number), 1 << 10)));
        let all = all.take().unwrap();
        let left = |count| without_first(count, &Bundle::parse(all.clone()).unwrap());
        assert_eq!(left(0), Some(all.clone()));
        let rest: Vec<Bytes> = Bundle::parse(left(1).unwrap()).unwrap().collect();
        assert_eq!(rest, [message(1), message(2), message(3)]);
        assert_eq!(left(3), Some(message(3)));
        assert_eq!(left(4), None);
    }
}
