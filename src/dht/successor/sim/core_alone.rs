//! One node, told message by message what the others say.

use std::time::Duration;

use crate::dht::key::Key;
use crate::dht::successor::config::SuccessorConfig;
use crate::dht::successor::core::{Action, Input, SuccessorCore};
use crate::dht::successor::message::{Heal, Message, Plain, Replica, ReplicaBody, Side, Stage};
use crate::time::{Mono, Timestamp};

const ME: Key = Key::new(1000);
const PLAIN: Key = Key::new(500);

struct Alone {
    now: Mono,
    core: SuccessorCore,
    said: Vec<Message>,
}

impl Alone {
    /// It serves alone.
    fn serving() -> Self {
        let config = SuccessorConfig { join_attempts: 1, ..SuccessorConfig::default() };
        let core = SuccessorCore::new(Mono::ZERO, ME, config, Timestamp::from_secs(1_700_000_000), None);
        let mut alone = Self { now: Mono::ZERO, core, said: Vec::new() };
        alone.run_for(Duration::from_millis(100));
        assert!(alone.core.is_serving());
        alone
    }

    fn hear(&mut self, message: Message) {
        self.core.handle(self.now, Input::Message(message));
        self.drain();
    }

    fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.core.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.core.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    fn drain(&mut self) {
        while let Some(action) = self.core.poll_action() {
            if let Action::Publish(message) = action {
                // It hears itself, as on any transport.
                self.core.handle(self.now, Input::Message(message.clone()));
                self.said.push(message);
            }
        }
    }

    fn put(&mut self, client: &str, key: u32, value: &str) {
        self.hear(Message::Put { client: client.into(), key: Key::new(key), value: value.into() });
    }

    /// What a plain newcomer says until it is on the ring.
    fn plain_joins(&mut self) {
        self.hear(Message::Join(PLAIN));
        self.hear(Message::AckJoin { from: PLAIN, to: ME, side: Side::Predecessor });
    }

    /// What it has published on `put` for this key.
    fn puts(&self, key: u32) -> Vec<&str> {
        let value = |message| match message {
            &Message::Put { key: of, ref value, .. } if of.get() == key => Some(value.as_ref()),
            _ => None,
        };
        self.said.iter().filter_map(value).collect()
    }
}

/// A plain peer takes whatever comes last. It is slow to acknowledge; a client has put something newer meanwhile.
#[test]
fn a_handover_is_not_repeated_over_what_a_client_has_put_since() {
    let mut node = Alone::serving();
    node.put("client", 400, "old");
    node.plain_joins();
    assert_eq!(node.puts(400), ["old"], "handed over");
    node.said.clear();
    node.put("client", 400, "new");
    node.run_for(Duration::from_millis(1000));
    let repeated = node.puts(400);
    assert!(!repeated.contains(&"old"), "{repeated:?}: the plain peer reverts an acknowledged put");
}

/// A client whose name is a number puts, repeats that, is acknowledged, and puts something else.
#[test]
fn a_put_that_had_to_wait_does_not_undo_a_later_one() {
    let config = SuccessorConfig { join_interval: Duration::from_millis(50), ..SuccessorConfig::default() };
    let core = SuccessorCore::new(Mono::ZERO, ME, config, Timestamp::from_secs(1_700_000_000), None);
    let mut node = Alone { now: Mono::ZERO, core, said: Vec::new() };
    node.hear(Message::HasStarted);
    node.run_for(Duration::from_millis(130));
    for side in [Side::Successor, Side::Predecessor] {
        node.hear(Message::AckJoin { from: PLAIN, to: ME, side });
    }
    assert!(node.core.is_serving());
    // Just before the node has heard of everybody, and just after.
    node.run_for(Duration::from_millis(990));
    node.put("77", 900, "first");
    node.run_for(Duration::from_millis(20));
    let held = |node: &Alone| node.core.pairs().find(|(key, _)| key.get() == 900).map(|(_, v)| v.to_owned());
    node.put("77", 900, "first");
    node.put("77", 900, "second");
    assert_eq!(held(&node).as_deref(), Some("second"));
    node.run_for(Duration::from_secs(2));
    assert_eq!(held(&node).as_deref(), Some("second"));
}

/// While one pair is being handed to a plain peer the others wait; clients do not.
#[test]
fn a_pair_that_waits_for_its_handover_is_not_sent_over_what_a_client_has_put_since() {
    let mut node = Alone::serving();
    node.put("client", 300, "first");
    node.put("client", 400, "old");
    node.plain_joins();
    assert_eq!((node.puts(300), node.puts(400)), (vec!["first"], vec![]));
    node.put("client", 400, "new");
    node.hear(Message::AckPut { client: "client".into(), node: PLAIN });
    node.hear(Message::AckPut { client: "None".into(), node: PLAIN });
    assert!(!node.puts(400).contains(&"old"), "the plain peer reverts an acknowledged put");
}

/// A word that crosses with a plain peer's confirmation denies it for a moment. Two such moments are not for ever.
#[test]
fn a_plain_peer_that_was_denied_now_and_then_is_not_given_up() {
    let mut node = Alone::serving();
    let other = Key::new(2000);
    let mut clock = 1_700_000_000_000_000;
    let mut say = |node: &mut Alone, successor| {
        clock += 1_000_000;
        node.hear(Message::Heal(Heal {
            id: other,
            predecessor: Some(ME),
            successor: Some(successor),
            plain: Plain { predecessor: false, successor: successor == PLAIN },
            stage: Stage::Done,
            clock,
            addresses: Vec::new(),
            takes_detours: false,
        }));
        node.run_for(Duration::from_millis(500));
    };
    node.plain_joins();
    say(&mut node, ME);
    for _ in 0..20 {
        say(&mut node, PLAIN);
        assert_eq!(node.core.links().predecessor, Some(PLAIN));
    }
    say(&mut node, ME);
    assert_eq!(node.core.links().predecessor, Some(PLAIN));
}

/// Several nodes join at the same time, and what is this one's was put at another one of them, which has come too late to
/// be heard when it handed it over.
#[test]
fn a_newcomer_takes_a_pair_from_anybody_and_answers_when_its_successor_has_no_later_one() {
    let config = SuccessorConfig { join_interval: Duration::from_millis(50), ..SuccessorConfig::default() };
    let wall = Timestamp::from_secs(1_700_000_000);
    let core = SuccessorCore::new(Mono::ZERO, ME, config, wall, Some("tcp://me".into()));
    let mut node = Alone { now: Mono::ZERO, core, said: Vec::new() };
    let [successor, other, key] = [2000, 3000, 900].map(Key::new);
    let mut clock = 1_700_000_000_000_000;
    let mut heal = |id, stage| {
        clock += 1;
        let links = (Some(ME), Some(ME));
        let addresses = vec![format!("tcp://{id}")];
        let (predecessor, successor) = if id == successor { links } else { (Some(successor), Some(ME)) };
        let plain = Plain::default();
        let takes_detours = false;
        Message::Heal(Heal { id, predecessor, successor, plain, stage, clock, addresses, takes_detours })
    };
    let ask = |version, digest| {
        let body = ReplicaBody::Ask { version, digest, bound: None };
        Message::Replica { to: None, replica: Replica { from: other, tag: 7, key, body } }
    };
    node.hear(heal(successor, Stage::Busy));
    node.hear(heal(other, Stage::Busy));
    for (from, side) in [(successor, Side::Successor), (other, Side::Predecessor)] {
        node.hear(Message::AckJoin { from, to: ME, side });
    }
    assert!(node.core.is_serving());
    node.said.clear();
    node.hear(ask(1_700_000_000_000_000, 5));
    let lacks = |message: &Message| match message {
        Message::Replica { to, replica } => *to == Some(other) && replica.body == ReplicaBody::Lack,
        _ => false,
    };
    assert!(node.said.iter().any(lacks), "{:?}", node.said);
    node.put("None", key.get(), "value");
    let answers =
        |node: &Alone| node.said.iter().filter(|said| matches!(said, Message::ResGet { .. })).count();
    node.hear(Message::Get(key));
    assert_eq!(answers(&node), 0, "the successor may have a later one");
    for stage in [Stage::Busy, Stage::Done, Stage::Done, Stage::Done] {
        node.run_for(Duration::from_millis(400));
        node.hear(heal(successor, stage));
    }
    assert_eq!(answers(&node), 1);
}
