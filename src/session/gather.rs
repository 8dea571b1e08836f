//! Messages for one peer that travel together, while there is more to do than to send them.
//!
//! The driver [holds](Gather::hold) what is posted while it hands out what it has read, and while those whom that has woken
//! have their turn; then it lets go. So does who hands out a bundle at once. No clock is involved, and what is posted at any other time is sent at once.

use std::sync::Mutex;

use crate::error::Result;
use crate::quiet::{self, lock};
use crate::transport::{Destination, Locator, Outbound};
use crate::wire::{self, BundleBuilder, MAX_BUNDLE_LEN, Room};

/// A bundle of so many messages is not held any longer: the peer can begin with them while others gather. Half of what the
/// driver hands out at a time, so that both have something to do; fewer cost more wake-ups than they gain.
const ENOUGH: usize = 16;
/// Messages over so many bytes travel alone: they gain nothing.
const LARGE: usize = 4096;
/// Bundles for so many peers gather at a time.
const MAX_PEERS: usize = 64;

/// What gathers now.
#[derive(Debug)]
pub(super) struct Gather {
    /// The most bytes of a bundle.
    limit: usize,
    held: Mutex<Held>,
}

/// Who hands messages out, and wants to gather what is posted meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    /// The driver.
    Driver,
    /// Whoever has noticed a bundle, at once.
    Reactor,
}

#[derive(Debug, Default)]
struct Held {
    /// By [`Holder`].
    holding: [bool; 2],
    bundles: Vec<Gathering>,
    /// Whose bundle grew last.
    last: usize,
    /// How long the last bundle was that was sent: the next may be as long.
    length: usize,
}

/// What gathers for one peer.
#[derive(Debug)]
struct Gathering {
    peer: Locator,
    bundle: BundleBuilder,
    /// The most bytes of it: what the transport takes, in one piece if it knows.
    limit: usize,
}

impl Gather {
    /// For a transport that takes payloads of up to `max_payload` bytes.
    pub(super) fn new(max_payload: usize) -> Self {
        Self { limit: max_payload.min(MAX_BUNDLE_LEN), held: Mutex::default() }
    }

    /// What is posted from now on is gathered.
    pub(super) fn hold(&self, holder: Holder) {
        lock(&self.held).holding[holder as usize] = true;
    }

    /// Hands what was gathered to `send`, and goes on gathering if it was.
    pub(super) fn flush(&self, send: impl FnMut(Outbound)) {
        lock(&self.held).flush(send);
    }

    /// Ends [`hold`](Self::hold), and hands what was gathered to `send`.
    pub(super) fn release(&self, holder: Holder, send: impl FnMut(Outbound)) {
        // Under the lock: what is posted from now on comes after what was gathered.
        let mut held = lock(&self.held);
        held.flush(send);
        held.holding[holder as usize] = false;
    }

    /// Hands a message to `send`, now or later, after those for the same peer that went before. Up to
    /// `one_piece` bytes the transport sends in one piece to a peer.
    pub(super) fn post(
        &self,
        outbound: Outbound,
        one_piece: impl FnOnce(&Locator) -> usize,
        mut send: impl FnMut(Outbound),
    ) {
        let Destination::Peer(peer) = &outbound.to else { return send(outbound) };
        let mut held = lock(&self.held);
        if !held.is_held() {
            drop(held);
            return send(outbound);
        }
        if outbound.payload.len() <= LARGE && outbound.is_reliable() {
            let Gathering { bundle, limit, .. } =
                held.bundle(peer, || one_piece(peer).min(self.limit), &mut send);
            if bundle.push(&outbound.payload, *limit) {
                return sent_if_enough(peer, bundle, send);
            }
            sent(peer, bundle, &mut send);
            if bundle.push(&outbound.payload, *limit) {
                return;
            }
        } else if let Some(Gathering { bundle, .. }) = held.find(peer) {
            sent(peer, bundle, &mut send);
        }
        send(outbound);
    }

    /// As [`post`](Self::post), of a control message that `write` appends where it is going to be sent from.
    ///
    /// # Errors
    /// Those of `write`. Nothing is sent.
    pub(super) fn post_control(
        &self,
        peer: &Locator,
        room: Room,
        write: impl Fn(&mut Vec<u8>) -> Result<()>,
        one_piece: impl FnOnce(&Locator) -> usize,
        mut send: impl FnMut(Outbound),
    ) -> Result<()> {
        let mut held = lock(&self.held);
        if held.is_held() {
            let Gathering { bundle, limit, .. } =
                held.bundle(peer, || one_piece(peer).min(self.limit), &mut send);
            if bundle.push_control_with(room, &write, *limit)? {
                sent_if_enough(peer, bundle, send);
                return Ok(());
            }
            sent(peer, bundle, &mut send);
        }
        drop(held);
        send(Outbound::peer(peer.clone(), wire::encode_control_with(room, write)?));
        Ok(())
    }
}

impl Held {
    fn is_held(&self) -> bool {
        self.holding.contains(&true)
    }

    fn flush(&mut self, mut send: impl FnMut(Outbound)) {
        for Gathering { peer, mut bundle, .. } in self.bundles.drain(..) {
            self.length = bundle.len();
            sent(&peer, &mut bundle, &mut send);
        }
    }

    /// A peer's bundle, a new one if there is none.
    fn bundle(
        &mut self,
        peer: &Locator,
        limit: impl FnOnce() -> usize,
        send: impl FnMut(Outbound),
    ) -> &mut Gathering {
        match self.position(peer) {
            Some(at) => self.last = at,
            None => {
                if self.bundles.len() >= MAX_PEERS {
                    self.flush(send);
                }
                self.last = self.bundles.len();
                let room = self.length.max(256);
                let (peer, bundle) = (peer.clone(), BundleBuilder::with_capacity(room));
                self.bundles.push(Gathering { peer, bundle, limit: limit() });
            }
        }
        &mut self.bundles[self.last]
    }

    fn find(&mut self, peer: &Locator) -> Option<&mut Gathering> {
        let at = self.position(peer)?;
        Some(&mut self.bundles[at])
    }

    fn position(&self, peer: &Locator) -> Option<usize> {
        let is_for = |gathering: &Gathering| gathering.peer == *peer;
        if self.bundles.get(self.last).is_some_and(is_for) {
            return Some(self.last);
        }
        self.bundles.iter().position(is_for)
    }
}

fn sent_if_enough(peer: &Locator, bundle: &mut BundleBuilder, send: impl FnMut(Outbound)) {
    if bundle.count() >= ENOUGH {
        sent(peer, bundle, send);
    }
}

fn sent(peer: &Locator, bundle: &mut BundleBuilder, mut send: impl FnMut(Outbound)) {
    let count = bundle.count();
    if let Some(payload) = bundle.take() {
        if count > 1 {
            quiet::count(|by| metrics::counter!("ringbus_bundles_sent_total").increment(by), 1);
            let messages = count as u64;
            quiet::count(|by| metrics::counter!("ringbus_bundled_messages_total").increment(by), messages);
        }
        send(Outbound::peer(peer.clone(), payload));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use bytes::Bytes;

    use super::*;
    use crate::message::Encoding;
    use crate::wire::{Bundle, encode_control};

    fn peer(number: usize) -> Locator {
        Locator::new(format!("memory:{number}")).unwrap()
    }

    fn message(number: u16, filler: usize) -> Bytes {
        encode_control(Room::DhtNode, &(number, vec![0u8; filler])).unwrap()
    }

    /// A transport that sends everything in one piece.
    fn any_size(_: &Locator) -> usize {
        usize::MAX
    }

    /// What was sent: to whom, and how many messages in one.
    #[derive(Default)]
    struct Sent(RefCell<Vec<(Locator, Vec<Bytes>)>>);

    impl Sent {
        fn take(&self, outbound: Outbound) {
            let Destination::Peer(peer) = outbound.to else { panic!("to a topic") };
            let messages = match Bundle::is_bundle(&outbound.payload) {
                true => Bundle::parse(outbound.payload).unwrap().collect(),
                false => vec![outbound.payload],
            };
            self.0.borrow_mut().push((peer, messages));
        }

        fn drain(&self) -> Vec<(Locator, Vec<Bytes>)> {
            self.0.take()
        }
    }

    #[test]
    fn what_is_posted_alone_is_sent_at_once_and_what_is_held_travels_together() {
        let (gather, sent) = (Gather::new(1 << 20), Sent::default());
        let post =
            |number| gather.post(Outbound::peer(peer(1), message(number, 0)), any_size, |o| sent.take(o));
        post(0);
        assert_eq!(sent.drain(), [(peer(1), vec![message(0, 0)])]);
        gather.hold(Holder::Driver);
        post(1);
        let write = |out: &mut Vec<u8>| Encoding::Postcard.encode(&(2u16, Vec::<u8>::new()), out);
        gather.post_control(&peer(1), Room::DhtNode, write, any_size, |o| sent.take(o)).unwrap();
        gather.post(Outbound::peer(peer(2), message(3, 0)), any_size, |o| sent.take(o));
        assert_eq!(sent.drain(), []);
        gather.flush(|o| sent.take(o));
        assert_eq!(
            sent.drain(),
            [(peer(1), vec![message(1, 0), message(2, 0)]), (peer(2), vec![message(3, 0)])]
        );
        post(4);
        assert_eq!(sent.drain(), [], "still held");
        gather.hold(Holder::Reactor);
        gather.release(Holder::Driver, |o| sent.take(o));
        assert_eq!(sent.drain(), [(peer(1), vec![message(4, 0)])]);
        post(5);
        assert_eq!(sent.drain(), [], "held by another");
        gather.release(Holder::Reactor, |o| sent.take(o));
        post(6);
        assert_eq!(sent.drain(), [(peer(1), vec![message(5, 0)]), (peer(1), vec![message(6, 0)])]);
    }

    #[test]
    fn order_is_kept_whatever_the_sizes_and_bundles_are_bounded() {
        let (limit, sent) = (20_000, Sent::default());
        let gather = Gather::new(limit);
        gather.hold(Holder::Driver);
        let sizes = [0, 3000, LARGE, 10, 10, 15_000, 10, 4000, 4000, 4000, 4000, 4000, 4000, 0, 0];
        let messages: Vec<Bytes> =
            (0..300).map(|number| message(number, sizes[usize::from(number) % sizes.len()])).collect();
        for message in &messages {
            gather.post(Outbound::peer(peer(1), message.clone()), any_size, |o| {
                assert!(o.payload.len() <= limit);
                sent.take(o);
            });
        }
        gather.release(Holder::Driver, |o| sent.take(o));
        let sent = sent.drain();
        assert!(sent.len() < messages.len() && sent.iter().all(|(_, messages)| messages.len() <= ENOUGH));
        let received: Vec<Bytes> = sent.into_iter().flat_map(|(_, messages)| messages).collect();
        assert_eq!(received, messages);
    }

    #[test]
    fn no_more_peers_gather_than_are_remembered() {
        let (gather, sent) = (Gather::new(1 << 20), Sent::default());
        gather.hold(Holder::Driver);
        for number in 0..=MAX_PEERS {
            gather.post(Outbound::peer(peer(number), message(0, 0)), any_size, |o| sent.take(o));
        }
        assert_eq!(sent.drain().len(), MAX_PEERS);
        gather.release(Holder::Driver, |o| sent.take(o));
        assert_eq!(sent.drain(), [(peer(MAX_PEERS), vec![message(0, 0)])]);
    }

    #[test]
    fn bundles_keep_to_what_goes_to_their_peer_in_one_piece() {
        let (gather, sent) = (Gather::new(1 << 20), Sent::default());
        let one_piece = |to: &Locator| if *to == peer(1) { 2000 } else { 1000 };
        gather.hold(Holder::Driver);
        let mut largest = [0, 0];
        let messages: Vec<Bytes> = (0..60).map(|number| message(number, 250)).collect();
        let large = message(60, 3000);
        for at in [0, 1] {
            let mut send = |o: Outbound| {
                largest[at] = o.payload.len().max(largest[at]);
                sent.take(o);
            };
            for message in &messages {
                gather.post(Outbound::peer(peer(at + 1), message.clone()), one_piece, &mut send);
            }
            let write = |out: &mut Vec<u8>| Encoding::Postcard.encode(&(61u16, vec![0u8; 250]), out);
            gather.post_control(&peer(at + 1), Room::DhtNode, write, one_piece, &mut send).unwrap();
            gather.flush(&mut send);
        }
        assert!((1500..=2000).contains(&largest[0]) && (700..=1000).contains(&largest[1]), "{largest:?}");
        // What is larger by itself goes by itself.
        gather.post(Outbound::peer(peer(1), large.clone()), one_piece, |o| sent.take(o));
        gather.release(Holder::Driver, |o| sent.take(o));
        let last = message(61, 250);
        let of_each = messages.iter().chain([&last]);
        let expected: Vec<Bytes> = of_each.clone().chain(of_each).chain([&large]).cloned().collect();
        let received: Vec<Bytes> = sent.drain().into_iter().flat_map(|(_, messages)| messages).collect();
        assert_eq!(received, expected);
    }
}
