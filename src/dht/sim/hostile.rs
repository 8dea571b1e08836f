//! Bytes from strangers: whatever comes, a node and a client go on.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::oracle::agreement;
use super::world::{World, node_at};
use crate::dht::core::Input;
use crate::dht::member::Member;
use crate::dht::message::{
    Copied, Forward, Gather, Gathered, Holding, MAX_MESSAGE_LEN, Matches, MembershipMessage, Message, Offers,
    Refusal, Reply, ReplyBody, ReplyVia, Request, RequestBody, Stored, Transfer, TransferAck, Unanswered,
};
use crate::dht::record::{Interest, Rank, Record, Registration, Route};
use crate::error::ErrorKind;
use crate::message::{Encoding, EntityId, SessionId};
use crate::qos::{Offered, Requested};

fn stranger() -> Member {
    Member { name: "stranger".parse().unwrap(), locator: node_at("stranger"), generation: 7 }
}

/// One message of each kind.
fn samples() -> Vec<Message> {
    let id = EntityId { session: SessionId(3), entity: 4 };
    let rank = Rank { version: 2, withdrawn: false };
    let interest =
        Interest::Offer { topic: "a/b".parse().unwrap(), qos: Box::new(Offered::reliable().exclusive(5)) };
    let lease = Duration::from_secs(10);
    let registration = Registration { id, locator: node_at("s"), encoding: Encoding::Json, lease, interest };
    let offer = Record { rank, registration: registration.clone() };
    let (filter, qos) = ("a/+".parse().unwrap(), Box::new(Requested::reliable()));
    let interest = Interest::Request { filter, qos, route: Route::ViaNode };
    let request = Record { rank, registration: Registration { interest, ..registration } };
    let lookup = RequestBody::Lookup { filter: "#".parse().unwrap(), requested: Some(Box::default()) };
    let put = Request { id: 1, body: RequestBody::Put(Box::new(offer.clone())) };
    let (client, entry) = (node_at("c"), node_at("e"));
    let reply = |body| Reply { id: 1, part: 0, parts: 1, body };
    let found = ReplyBody::Offers(Offers { found: [].into(), unanswered: Vec::new(), truncated: true });
    let stored =
        Stored { registration: id, version: 1, responsible: stranger(), lease, members: vec![stranger()] };
    let topic = "a/b".parse().unwrap();
    vec![
        Message::Membership(MembershipMessage::Swim(vec![1, 2, 3])),
        Message::Membership(MembershipMessage::Join(stranger())),
        Message::Membership(MembershipMessage::Welcome(stranger())),
        Message::Membership(MembershipMessage::NameTaken(stranger())),
        Message::Membership(MembershipMessage::Leaving(stranger())),
        Message::Membership(MembershipMessage::Heritage(vec![stranger().locator; 300])),
        Message::Membership(MembershipMessage::NameQuery { from: stranger(), nonce: 5 }),
        Message::Membership(MembershipMessage::NameHeld { by: stranger(), held: lease, nonce: 5 }),
        Message::Request(put.clone()),
        Message::Request(Request { id: 2, body: lookup }),
        Message::Request(Request { id: 3, body: RequestBody::Members }),
        Message::Forward(Forward { request: put, client: client.clone(), entry, hops: 1 }),
        Message::Reply(reply(ReplyBody::Stored(Box::new(stored)))),
        Message::Reply(reply(found)),
        Message::Reply(reply(ReplyBody::Members(vec![stranger()]))),
        Message::Reply(reply(ReplyBody::Unanswered(Box::new(Unanswered {
            by: stranger(),
            responsible: stranger(),
            members: vec![stranger()],
        })))),
        Message::ReplyVia(ReplyVia { client, reply: reply(ReplyBody::Refused(Refusal::Full { limit: 9 })) }),
        Message::Matches(Box::new(Matches {
            registration: id,
            topic,
            responsible: stranger(),
            revision: 1,
            part: 0,
            parts: 1,
            owner: Some(id),
            entries: Vec::new(),
        })),
        Message::Transfer(Transfer {
            from: stranger(),
            records: [offer, request].map(|record| Copied { record, kept: true }).to_vec(),
        }),
        Message::TransferAck(TransferAck { from: stranger(), held: vec![Holding { id, rank, kept: false }] }),
        Message::Gather(Gather { query: 1, filter: "#".parse().unwrap(), requested: None }),
        Message::Gathered(Gathered { query: 1, from: stranger().name, part: 0, parts: 1, found: Vec::new() }),
    ]
}

#[test]
fn every_message_survives_the_wire() {
    for message in samples() {
        assert_eq!(Message::decode(&message.encode().unwrap()).unwrap(), message);
    }
}

#[test]
fn what_follows_a_message_is_ignored_and_too_much_is_refused() {
    let mut bytes = samples()[0].encode().unwrap();
    bytes.push(0);
    assert_eq!(Message::decode(&bytes).unwrap(), samples()[0]);
    assert!(matches!(Message::decode(&[]).unwrap_err().kind(), ErrorKind::Malformed { .. }));
    let long = vec![0; MAX_MESSAGE_LEN + 1];
    assert!(matches!(Message::decode(&long).unwrap_err().kind(), ErrorKind::PayloadTooLarge { .. }));
}

/// A running ring with a client; the same one for all cases of a test would hide what one case does to the next.
fn give(message: &Message) {
    let mut world = World::new(1);
    world.start_ring(2);
    let client = world.start_client("c", &["n0"]);
    world.client(&client, |core, now| core.members(now));
    world.input(&node_at("n0"), Input::Message { from: node_at("stranger"), message: message.clone() });
    world.client(&client, |core, now| core.handle(now, &node_at("stranger"), message.clone()));
    world.run_for(Duration::from_millis(500));
    agreement(&world).expect("the ring goes on");
}

#[test]
fn unasked_messages_disturb_nobody() {
    samples().iter().for_each(give);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..600)) {
        if let Ok(message) = Message::decode(&bytes) {
            prop_assert!(message.encode().is_ok());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn damaged_messages_never_panic(
        which in any::<prop::sample::Index>(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = which.get(&samples()).encode().unwrap();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(message) = Message::decode(&bytes) {
            let mut world = World::new(1);
            let node = world.start_node("n0", &[]);
            let client = world.start_client("c", &["n0"]);
            world.input(&node, Input::Message { from: node_at("stranger"), message: message.clone() });
            world.client(&client, |core, now| core.handle(now, &node, message));
            world.run_for(Duration::from_millis(300));
        }
    }

    #[test]
    fn arbitrary_swim_packets_never_panic(packet in vec(any::<u8>(), 0..200)) {
        let mut world = World::new(1);
        let node = world.start_node("n0", &[]);
        let message = Message::Membership(MembershipMessage::Swim(packet));
        world.input(&node, Input::Message { from: node_at("stranger"), message });
        world.run_for(Duration::from_millis(300));
    }
}
