//! What a client makes of answers, and of their absence.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn at(millis: u64) -> Mono {
    Mono::from_origin(Duration::from_millis(millis))
}

fn client() -> ClientCore {
    ClientCore::new(0xdead_0123_4567_89ab)
}

fn published(core: &mut ClientCore) -> Vec<Message> {
    std::iter::from_fn(|| core.poll_action())
        .map(|action| match action {
            ClientAction::Publish(message) => message,
            other => panic!("{other:?}"),
        })
        .collect()
}

fn completed(core: &mut ClientCore) -> Vec<(CallId, Result<Answer, ErrorKind>)> {
    std::iter::from_fn(|| core.poll_action())
        .map(|action| match action {
            ClientAction::Complete { call, result } => (call, result.map_err(|error| error.kind().clone())),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn put_message(token: &str, key: u32, value: &str) -> Message {
    Message::Put { client: token.into(), key: Key::new(key), value: value.into() }
}

fn ack(token: &str, node: u32) -> Message {
    Message::AckPut { client: token.into(), node: Key::new(node) }
}

fn res(key: u32, value: &str) -> Message {
    Message::ResGet { key: Key::new(key), value: value.into() }
}

fn found(value: &str) -> Result<Answer, ErrorKind> {
    Ok(Answer::Found(Some(value.into())))
}

#[test]
fn a_put_ends_with_the_acknowledgement_of_its_own_token() {
    let mut core = client();
    let first = core.put(at(0), Key::new(7), "one".into(), Patience::default());
    let second = core.put(at(0), Key::new(7), "two".into(), Patience::default());
    let (one, two) = ("0123456789ab-1", "0123456789ab-2");
    assert_eq!(published(&mut core), [put_message(one, 7, "one"), put_message(two, 7, "two")]);
    for foreign in [ack("ffffffffffff-1", 9), ack("0123456789ab", 9), ack("0123456789ab-3", 9), ack("7", 9)] {
        core.handle(at(0), &foreign);
    }
    assert_eq!(completed(&mut core), []);
    core.handle(at(0), &ack(two, 9));
    assert_eq!(completed(&mut core), [(second, Ok(Answer::Stored(Key::new(9))))]);
    // A second acknowledgement, of a repetition, is for nobody.
    core.handle(at(0), &ack(two, 9));
    assert_eq!(completed(&mut core), []);
    core.handle(at(0), &ack(one, 5));
    assert_eq!(completed(&mut core), [(first, Ok(Answer::Stored(Key::new(5))))]);
    assert_eq!(core.poll_timeout(), None);
}

#[test]
fn a_put_is_repeated_unchanged_soon_and_then_ever_less_often_until_it_times_out() {
    let mut core = client();
    let patience = Patience { timeout: 4 * SECOND, retry_after: SECOND };
    let call = core.put(at(0), Key::new(7), "v".into(), patience);
    let mut when = Vec::new();
    let original = published(&mut core);
    while core.poll_timeout() < Some(at(4000)) {
        let due = core.poll_timeout().unwrap();
        core.handle_timeout(due);
        assert_eq!(published(&mut core), original);
        when.push(due.since_origin().as_millis());
    }
    assert_eq!(when, [100, 300, 700, 1500, 2500, 3500]);
    core.handle_timeout(at(4000));
    let why = "1 unanswered, none ever answered: is a node running there?";
    let what = format!("putting key 7, tried 7 times ({why}),");
    assert_eq!(completed(&mut core), [(call, Err(ErrorKind::Timeout { what, after: 4 * SECOND }))]);
    assert_eq!(core.poll_timeout(), None);
    // Its acknowledgement comes too late.
    core.handle(at(0), &ack("0123456789ab-1", 9));
    assert_eq!(completed(&mut core), []);
}

#[test]
fn a_ring_that_has_answered_is_not_hurried() {
    let mut core = client();
    core.get(at(0), Key::new(7), Patience::default());
    assert_eq!(core.poll_timeout(), Some(at(100)));
    core.handle(at(0), &res(7, "v"));
    while core.poll_action().is_some() {}
    core.put(at(0), Key::new(7), "v".into(), Patience::default());
    assert_eq!(core.poll_timeout(), Some(at(1000)));
}

#[test]
fn retries_are_never_a_flood() {
    let mut core = client();
    let patience = Patience { timeout: SECOND, retry_after: Duration::ZERO };
    core.get(at(0), Key::new(7), patience);
    published(&mut core);
    assert_eq!(core.poll_timeout(), Some(at(10)));
    // Time that has jumped is made up for by one repetition.
    core.handle_timeout(at(500));
    assert_eq!(published(&mut core).len(), 1);
    assert_eq!(core.poll_timeout(), Some(at(510)));
}

#[test]
fn what_nobody_heard_is_asked_again_when_somebody_hears() {
    let mut core = client();
    core.put(at(0), Key::new(7), "v".into(), Patience::default());
    core.get(at(0), Key::new(8), Patience::default());
    published(&mut core);
    for _ in 0..100 {
        core.hurry();
    }
    assert_eq!(core.poll_timeout(), Some(at(10)));
    core.handle_timeout(at(10));
    assert_eq!(published(&mut core).len(), 2);
    // And soon again: the one that was met may be heard a moment later than it hears.
    assert_eq!(core.poll_timeout(), Some(at(30)));
    core.handle_timeout(at(30));
    assert_eq!(core.poll_timeout(), Some(at(70)));
}

#[test]
fn a_ring_that_has_answered_is_slow_and_not_absent() {
    let mut core = client();
    core.get(at(0), Key::new(7), Patience::default());
    core.handle(at(0), &Message::ErrGet(Key::new(7)));
    while core.poll_action().is_some() {}
    let patience = Patience { timeout: SECOND, retry_after: SECOND };
    let calls = [8, 9].map(|key| core.get(at(0), Key::new(key), patience));
    while core.poll_action().is_some() {}
    core.handle_timeout(at(1000));
    let why = |count| format!("{count} unanswered, 1 answered: the ring, or its broker, may be slow");
    let failed = |(index, call): (usize, &CallId)| {
        let what = format!("getting key {}, tried once ({}),", index + 8, why(2 - index));
        (*call, Err(ErrorKind::Timeout { what, after: SECOND }))
    };
    assert_eq!(completed(&mut core), calls.iter().enumerate().map(failed).collect::<Vec<_>>());
}

#[test]
fn gets_of_one_key_share_a_question_and_its_answer() {
    let mut core = client();
    let first = core.get(at(0), Key::new(7), Patience::default());
    let other = core.get(at(0), Key::new(8), Patience::default());
    let second = core.get(at(10), Key::new(7), Patience::default());
    assert_eq!(published(&mut core), [Message::Get(Key::new(7)), Message::Get(Key::new(8))]);
    core.handle(at(0), &res(7, "v"));
    assert_eq!(completed(&mut core), [(first, found("v")), (second, found("v"))]);
    core.handle(at(0), &res(7, "later"));
    assert_eq!(completed(&mut core), []);
    core.handle(at(0), &Message::ErrGet(Key::new(8)));
    assert_eq!(completed(&mut core), [(other, Ok(Answer::Found(None)))]);
    // A get that begins now asks anew.
    core.get(at(20), Key::new(7), Patience::default());
    assert_eq!(published(&mut core), [Message::Get(Key::new(7))]);
}

#[test]
fn one_who_joins_a_question_waits_for_as_long_as_one_who_asks() {
    let mut core = client();
    let short = Patience { timeout: SECOND, retry_after: SECOND };
    let first = core.get(at(0), Key::new(7), short);
    published(&mut core);
    for millis in [100, 300, 700] {
        core.handle_timeout(at(millis));
        published(&mut core);
    }
    let second = core.get(at(900), Key::new(7), short);
    // Not after the long pause that the first one has reached.
    assert_eq!(core.poll_timeout(), Some(at(1000)));
    core.handle_timeout(at(1000));
    let why = "1 unanswered, none ever answered: is a node running there?";
    let what = format!("getting key 7, tried 4 times ({why}),");
    let timeout = ErrorKind::Timeout { what, after: SECOND };
    assert!(matches!(core.poll_action(),
        Some(ClientAction::Complete { call, result: Err(error) }) if call == first && *error.kind() == timeout));
    assert_eq!(published(&mut core), [Message::Get(Key::new(7))]);
    core.handle(at(0), &res(7, ""));
    assert_eq!(completed(&mut core), [(second, found(""))]);
}

#[test]
fn answers_to_others_questions_end_a_get_but_never_one_that_has_not_begun() {
    let mut core = client();
    core.handle(at(0), &res(7, "before"));
    core.handle(at(0), &Message::ErrGet(Key::new(7)));
    let call = core.get(at(0), Key::new(7), Patience::default());
    published(&mut core);
    for other in [res(8, "x"), Message::ErrGet(Key::new(8)), Message::Get(Key::new(7)), Message::HasStarted] {
        core.handle(at(0), &other);
    }
    assert_eq!(completed(&mut core), []);
    core.handle(at(0), &res(7, "after"));
    assert_eq!(completed(&mut core), [(call, found("after"))]);
}

/// The owner's messages come in its order: what it answered before it stored the put comes before the acknowledgement.
#[test]
fn a_client_reads_what_it_has_written_also_while_an_older_question_is_out() {
    let mut core = client();
    let old = core.get(at(0), Key::new(7), Patience::default());
    let put = core.put(at(1), Key::new(7), "new".into(), Patience::default());
    published(&mut core);
    core.handle(at(0), &res(7, "old"));
    core.handle(at(0), &ack("0123456789ab-2", 9));
    assert_eq!(completed(&mut core), [(old, found("old")), (put, Ok(Answer::Stored(Key::new(9))))]);
    let fresh = core.get(at(2), Key::new(7), Patience::default());
    assert_eq!(published(&mut core), [Message::Get(Key::new(7))]);
    core.handle(at(0), &res(7, "new"));
    assert_eq!(completed(&mut core), [(fresh, found("new"))]);
}

#[test]
fn what_nobody_waits_for_is_forgotten() {
    let mut core = client();
    let put = core.put(at(0), Key::new(7), "v".into(), Patience::default());
    let gets = [0, 1].map(|millis| core.get(at(millis), Key::new(7), Patience::default()));
    published(&mut core);
    core.cancel(put);
    core.cancel(gets[0]);
    core.cancel(gets[0]);
    core.handle(at(0), &ack("0123456789ab-1", 9));
    assert_eq!(completed(&mut core), []);
    core.handle(at(0), &res(7, "v"));
    assert_eq!(completed(&mut core), [(gets[1], found("v"))]);
    let last = core.get(at(2), Key::new(7), Patience::default());
    published(&mut core);
    core.cancel(last);
    assert_eq!(core.poll_timeout(), None);
    let ClientCore { requests, puts, gets, calls, .. } = &core;
    assert!(requests.is_empty() && puts.is_empty() && gets.is_empty() && calls.is_empty(), "{core:?}");
}
