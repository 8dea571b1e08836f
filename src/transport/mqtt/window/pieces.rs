//! Messages in fragments: several entries of the window, and one message.

use super::*;

fn piece(text: &str) -> Publish {
    Publish::new("t", QoS::AtLeastOnce, text)
}

fn whole(text: &str) -> Whole {
    Whole { publish: piece(text), _counted: None }
}

/// What goes out now: packet ids, texts, whether they are marked as repetitions.
fn send(window: &mut Window) -> Vec<(u16, String, bool)> {
    let mut sent = Vec::new();
    while let Some(publish) = window.next_repetition() {
        let text = std::str::from_utf8(&publish.payload).unwrap().to_owned();
        sent.push((publish.pkid, text, publish.dup));
    }
    sent
}

fn texts(sent: &[(u16, String, bool)]) -> Vec<&str> {
    sent.iter().map(|(_, text, _)| text.as_str()).collect()
}

/// A message before, three fragments of one, and a message behind it, all sent.
fn sent() -> (Window, Vec<u16>) {
    let mut window = Window::new(8);
    let before = window.push(piece("before"), true).pkid;
    window.push_pieces(vec![piece("ab"), piece("cd"), piece("ef")], whole("abcdef"), true);
    assert!(window.has_repetitions());
    let sent = send(&mut window);
    assert_eq!(texts(&sent), ["ab", "cd", "ef"]);
    assert!(sent.iter().all(|(_, _, dup)| !dup), "they go out for the first time");
    let behind = window.push(piece("behind"), true).pkid;
    let ids = [before].into_iter().chain(sent.iter().map(|(id, ..)| *id)).chain([behind]).collect();
    (window, ids)
}

#[test]
fn fragments_are_acknowledged_as_one_message() {
    let (mut window, ids) = sent();
    assert_eq!((window.undelivered(), window.acknowledged()), (3, 0));
    for (id, undelivered, acknowledged) in
        [(ids[2], 3, 0), (ids[0], 2, 1), (ids[1], 2, 1), (ids[3], 1, 2), (ids[4], 0, 3)]
    {
        assert!(window.acknowledge(id).is_some());
        assert_eq!((window.undelivered(), window.acknowledged()), (undelivered, acknowledged));
    }
    assert!(window.is_empty() && window.bytes == 0);
}

#[test]
fn fragments_are_repeated_and_given_up_with_their_message() {
    let (mut window, ids) = sent();
    window.acknowledge(ids[1]);
    window.rewind();
    let again = send(&mut window);
    assert_eq!(texts(&again), ["before", "cd", "ef", "behind"]);
    assert!(again.iter().all(|(_, _, dup)| *dup));
    let serial = window.entries[1].serial;
    assert_eq!(window.find(serial).unwrap().1.payload, "abcdef");
    assert_eq!(window.give_up(serial).unwrap().payload, "abcdef");
    assert_eq!((window.undelivered(), window.in_flight(), window.bytes), (2, 2, 12));
    let (mut window, _) = sent();
    let long = |publish: &Publish| publish.payload.len() == 6 && publish.payload == "abcdef";
    assert_eq!(window.give_up_if(long).unwrap().payload, "abcdef");
    assert!(window.give_up_if(long).is_none());
    let (mut window, _) = sent();
    let ping = window.pass_by();
    let given_up: Vec<_> = std::iter::from_fn(|| window.give_up_before(ping)).collect();
    let given_up: Vec<_> = given_up.iter().map(|(publish, own)| (&publish.payload[..], *own)).collect();
    assert_eq!(given_up, [(&b"before"[..], false), (b"abcdef", false), (b"behind", false)]);
}

#[test]
fn what_is_too_long_for_another_limit_is_split_again_in_its_place() {
    let (mut window, ids) = sent();
    window.acknowledge(ids[1]);
    window.rewind();
    let ones = |publish: &Publish, whole: &Publish| {
        let pieces = whole.payload.chunks(1).map(|byte| piece(std::str::from_utf8(byte).unwrap()));
        (publish.payload.len() == 2 || publish.payload == "behind").then(|| pieces.collect())
    };
    window.split_again(ones);
    assert_eq!((window.undelivered(), window.acknowledged()), (3, 0));
    let sent = send(&mut window);
    assert_eq!(texts(&sent).concat(), "beforeabcdefbehind");
    assert_eq!(sent.len(), 1 + 6 + 6);
    assert_eq!(window.taken.iter().filter(|taken| **taken).count(), sent.len());
    assert_eq!(window.bytes, 18);
    for (id, ..) in &sent {
        window.acknowledge(*id);
    }
    assert!(window.is_empty() && window.bytes == 0 && window.acknowledged() == 3);
}

#[test]
fn one_of_the_sessions_own_goes_before_fragments_that_wait_and_loses_none() {
    let mut window = Window::new(8);
    window.push_pieces(vec![piece("ab"), piece("cd")], whole("abcd"), true);
    window.next_repetition().unwrap();
    let own = window.push_own(piece("own")).pkid;
    assert!(window.has_repetitions());
    assert_eq!(texts(&send(&mut window)), ["cd"]);
    assert_eq!((window.own_in_flight(), window.in_flight()), (1, 3));
    window.acknowledge(own);
    assert_eq!((window.own_in_flight(), window.undelivered()), (0, 1));
}

#[test]
fn fragments_to_a_broker_that_acknowledges_nothing_are_let_go_of_when_they_are_sent() {
    let mut window = Window::new(8);
    window.push_pieces(vec![piece("ab"), piece("cd")], whole("abcd"), true);
    window.grant(QoS::AtMostOnce);
    while window.next_repetition().is_some() {
        window.settle_unacknowledged();
    }
    assert!(window.is_empty() && window.acknowledged() == 1);
}
