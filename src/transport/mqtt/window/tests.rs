use std::collections::HashSet;

use super::*;
use proptest::prelude::*;

fn message(text: &str) -> Publish {
    Publish::new("t", QoS::AtLeastOnce, text)
}

#[test]
fn repeats_in_order_what_was_not_acknowledged() {
    let mut window = Window::new(8);
    let ids: Vec<u16> = ["a", "b", "c"].iter().map(|text| window.push(message(text), true).pkid).collect();
    window.acknowledge(ids[1]);
    window.acknowledge(999);
    assert!(!window.has_repetitions());
    window.push_own(message("own"));
    window.rewind();
    let mut repeated = Vec::new();
    while let Some(p) = window.next_repetition() {
        repeated.push((p.pkid, p.dup, p.payload.clone()));
    }
    assert_eq!(repeated, [(ids[0], true, "a".into()), (ids[2], true, "c".into())]);
}

#[test]
fn an_acknowledgement_amid_repetitions_skips_nothing() {
    let mut window = Window::new(8);
    let ids: Vec<u16> = ["a", "b", "c"].iter().map(|text| window.push(message(text), true).pkid).collect();
    window.rewind();
    assert_eq!(window.next_repetition().unwrap().pkid, ids[0]);
    window.acknowledge(ids[0]);
    assert_eq!(window.next_repetition().unwrap().pkid, ids[1]);
    window.acknowledge(ids[2]);
    assert!(!window.has_repetitions());
}

#[test]
fn is_bounded_in_bytes_too() {
    let mut window = Window::new(1000);
    let large = || Publish::new("t", QoS::AtLeastOnce, vec![0; BYTES / 2]);
    let first = window.push(large(), true).pkid;
    assert!(window.has_room());
    window.push_own(large());
    assert!(!window.has_room());
    window.rewind();
    assert!(window.has_room());
    window.push(large(), true);
    assert!(!window.has_room());
    window.acknowledge(first);
    assert!(window.has_room());
    assert_eq!(window.bytes, BYTES / 2);
}

#[test]
fn announcements_are_not_counted() {
    let mut window = Window::new(8);
    window.push_own(message("presence"));
    window.push(message("sample"), true);
    assert_eq!(window.undelivered(), 1);
    assert!(!window.is_empty());
}

proptest! {
    #[test]
    fn ids_are_never_zero_and_never_taken(acknowledge in prop::collection::vec(any::<u8>(), 1..200)) {
        let mut window = Window::new(16);
        window.last_id = u16::MAX - 20;
        for pick in acknowledge {
            while window.has_room() {
                window.push(message("m"), true);
            }
            let ids: Vec<u16> = window.entries.iter().map(|e| e.publish.pkid).collect();
            prop_assert!(!ids.contains(&0));
            prop_assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 16);
            window.acknowledge(ids[usize::from(pick) % 16]);
        }
    }
}

#[test]
fn stuck_messages_keep_their_ids_for_themselves() {
    let mut window = Window::new(4);
    let ids: Vec<u16> = (0..4).map(|_| window.push(message("m"), true).pkid).collect();
    window.acknowledge(ids[1]);
    for _ in 0..70_000 {
        let id = window.push(message("m"), true).pkid;
        assert!(![ids[0], ids[2], ids[3]].contains(&id));
        window.acknowledge(id);
    }
}

fn exactly_once(text: &str) -> Publish {
    Publish::new("t", QoS::ExactlyOnce, text)
}

/// What goes out again on a new connection.
fn repeated(window: &mut Window) -> Vec<(u16, bool, String)> {
    window.rewind();
    let mut repeated = Vec::new();
    while let Some(p) = window.next_repetition() {
        repeated.push((p.pkid, p.dup, String::from_utf8(p.payload.to_vec()).unwrap()));
    }
    repeated
}

#[test]
fn a_message_with_qos_2_keeps_its_id_until_the_handshake_is_complete() {
    let mut window = Window::new(4);
    let id = window.push(exactly_once("a"), true).pkid;
    // Nothing of this ends it.
    window.complete(id);
    window.acknowledge(id + 1);
    window.release(id + 1);
    assert_eq!((window.undelivered(), window.acknowledged()), (1, 0));
    window.release(id);
    window.release(id);
    assert!(window.acknowledge(id).is_none());
    assert_eq!((window.undelivered(), window.acknowledged()), (1, 0));
    assert!(window.taken[usize::from(id)]);
    window.complete(id);
    window.complete(id);
    assert_eq!((window.undelivered(), window.acknowledged()), (0, 1));
    assert!(window.is_empty() && !window.taken[usize::from(id)]);
    assert_eq!((window.bytes, window.exactly_once), (0, 0));
}

#[test]
fn a_handshake_is_none_of_a_message_with_qos_1() {
    let mut window = Window::new(4);
    let id = window.push(message("a"), true).pkid;
    window.release(id);
    window.complete(id);
    assert_eq!(window.undelivered(), 1);
    window.acknowledge(id);
    assert!(window.is_empty());
}

#[test]
fn a_reconnect_begins_each_handshake_anew_and_in_order() {
    let mut window = Window::new(8);
    let texts = ["untouched", "released", "complete", "last"];
    let ids: Vec<u16> = texts.iter().map(|text| window.push(exactly_once(text), true).pkid).collect();
    let once = window.push(message("QoS 1"), true).pkid;
    window.release(ids[1]);
    window.release(ids[2]);
    window.complete(ids[2]);
    // To the broker those with QoS 2 are new, so they are not marked.
    let expected = [
        (ids[0], false, "untouched".to_owned()),
        (ids[1], false, "released".to_owned()),
        (ids[3], false, "last".to_owned()),
        (once, true, "QoS 1".to_owned()),
    ];
    assert_eq!(repeated(&mut window), expected);
    // What was said on the connection before counts no longer.
    window.complete(ids[1]);
    assert_eq!(window.undelivered(), 4);
    window.release(ids[1]);
    window.complete(ids[1]);
    assert_eq!(window.undelivered(), 3);
}

#[test]
fn a_broker_cannot_release_what_was_not_sent_to_it() {
    let mut window = Window::new(8);
    let ids: Vec<u16> = ["a", "b"].iter().map(|text| window.push(exactly_once(text), true).pkid).collect();
    window.rewind();
    window.next_repetition();
    window.release(ids[1]);
    window.complete(ids[1]);
    assert_eq!(window.undelivered(), 2);
    assert_eq!(window.next_repetition().unwrap().pkid, ids[1]);
}

#[test]
fn few_messages_with_qos_2_are_under_way_since_brokers_drop_what_is_beyond() {
    let mut window = Window::new(1000);
    let mut ids = Vec::new();
    while window.has_room() {
        ids.push(window.push(exactly_once("m"), true).pkid);
    }
    assert_eq!(ids.len(), EXACTLY_ONCE);
    window.release(ids[3]);
    assert!(!window.has_room(), "the broker may still count it");
    window.complete(ids[3]);
    assert!(window.has_room());
    window.push(message("m"), true);
    assert!(window.has_room(), "those with QoS 1 are not counted");
    window.rewind();
    window.push_own(exactly_once("m"));
    assert!(!window.has_room());
    window.rewind();
    assert!(window.has_room());
}

#[test]
fn what_is_acknowledged_without_a_hole_is_counted_from_the_first_on() {
    let mut window = Window::new(8);
    assert_eq!(window.acknowledged(), 0);
    window.push_own(message("own"));
    let first = window.push(exactly_once("first"), true).pkid;
    let second = window.push(message("second"), true).pkid;
    let third = window.push(message("third"), true).pkid;
    window.acknowledge(second);
    assert_eq!(window.acknowledged(), 0);
    window.release(first);
    window.rewind();
    window.next_repetition();
    assert_eq!(window.acknowledged(), 0, "the handshake was not completed");
    window.release(first);
    window.complete(first);
    assert_eq!(window.acknowledged(), 2);
    window.acknowledge(third);
    assert_eq!(window.acknowledged(), 3);
}

#[test]
fn a_puback_ends_a_message_with_qos_2_that_was_not_released() {
    let mut window = Window::new(4);
    let id = window.push(exactly_once("a"), true).pkid;
    assert_eq!(window.acknowledge(id).map(|publish| publish.qos), Some(QoS::ExactlyOnce));
    assert!(window.is_empty() && !window.taken[usize::from(id)]);
    assert_eq!((window.bytes, window.exactly_once, window.acknowledged()), (0, 0, 1));
    assert!(window.acknowledge(id).is_none());
}

#[test]
fn what_a_broker_does_not_grant_is_lowered_also_in_what_is_sent_again() {
    let mut window = Window::new(4);
    window.push(exactly_once("a"), true);
    window.rewind();
    assert!(window.grant(QoS::AtLeastOnce) && !window.grant(QoS::AtLeastOnce));
    assert_eq!(window.next_repetition().map(|publish| publish.qos), Some(QoS::AtLeastOnce));
    assert_eq!(window.push(exactly_once("b"), true).qos, QoS::AtLeastOnce);
    assert_eq!(window.exactly_once, 0);
    // Another broker may grant more.
    window.rewind();
    assert_eq!(window.push(exactly_once("c"), true).qos, QoS::ExactlyOnce);
}

#[test]
fn what_was_sent_before_a_ping_can_be_given_up_and_what_was_sent_behind_it_not() {
    let mut window = Window::new(8);
    let first = window.push(message("first"), true).pkid;
    let ping = window.pass_by();
    window.push(message("second"), true);
    let given_up = window.give_up_before(ping).unwrap();
    assert_eq!((given_up.0.pkid, given_up.1), (first, false));
    assert!(window.give_up_before(ping).is_none());
    assert_eq!((window.undelivered(), window.acknowledged()), (1, 1));
    window.rewind();
    let ping = window.pass_by();
    assert!(window.give_up_before(ping).is_none(), "it was not sent on this connection");
}
