//! A node of the plain protocol, as somebody who has only its table of topics would write it.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use crate::PATIENCE;
use crate::plain_link::{Heard, Link};

const JOIN_INTERVAL: Duration = Duration::from_millis(10);
const JOIN_ATTEMPTS: u32 = 100;

/// What a node knows. A test reads it, nobody else writes it.
#[derive(Debug, Default)]
pub(crate) struct State {
    id: u32,
    stage: Stage,
    pub(crate) predecessor: Option<u32>,
    pub(crate) successor: Option<u32>,
    pub(crate) pairs: BTreeMap<u32, String>,
    /// Everything heard, in order; texts are cut at 100 characters.
    pub(crate) log: Vec<(String, String)>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Announces itself; nobody has answered.
    #[default]
    Silent,
    /// Announces itself; somebody has answered, so it will not start a ring of its own.
    Joining,
    Serving,
    /// Which neighbours have not relinked yet: the predecessor, the successor.
    Leaving(bool, bool),
    Gone,
}

/// A running node.
pub(crate) struct PlainPeer {
    id: u32,
    state: watch::Receiver<State>,
    leave: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl PlainPeer {
    /// Starts a node; returns when it serves.
    pub(crate) async fn start(port: u16, id: u32) -> Self {
        // Of everything that is published it understands the topics of the table.
        let (link, heard) = Link::connect(port, &format!("plain-{id}"), &["#"]).await;
        let (sender, state) = watch::channel(State { id, ..State::default() });
        let (leave, leaving) = oneshot::channel();
        let task = tokio::spawn(run(link, heard, sender, leaving));
        let peer = Self { id, state, leave, task };
        peer.until("serving", |state| state.stage == Stage::Serving).await;
        peer
    }

    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    pub(crate) fn state(&self) -> watch::Ref<'_, State> {
        self.state.borrow()
    }

    /// Predecessor and successor.
    pub(crate) fn neighbours(&self) -> (Option<u32>, Option<u32>) {
        let state = self.state();
        (state.predecessor, state.successor)
    }

    pub(crate) fn pairs(&self) -> BTreeMap<u32, String> {
        self.state().pairs.clone()
    }

    /// Waits until the node is so.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&State) -> bool) {
        let mut state = self.state.clone();
        let outcome =
            timeout(PATIENCE, state.wait_for(|state| wanted(state))).await.map(|found| found.is_ok());
        if outcome != Ok(true) {
            let (id, state) = (self.id, self.state());
            let (links, pairs) = ((state.predecessor, state.successor), state.pairs.len());
            let last = &state.log[state.log.len().saturating_sub(20)..];
            panic!("plain peer {id}: {what}: it has {links:?}, {pairs} pairs, and heard {last:?}");
        }
    }

    /// Leaves: relink, republish, disconnect.
    pub(crate) async fn leave(self) {
        self.leave.send(()).unwrap();
        timeout(PATIENCE, self.task).await.expect("both neighbours acknowledge the leave").unwrap();
    }
}

async fn run(
    link: Link,
    mut heard: UnboundedReceiver<Heard>,
    state: watch::Sender<State>,
    mut leaving: oneshot::Receiver<()>,
) {
    join(&link, &mut heard, &state).await;
    loop {
        let mut answers = Vec::new();
        tokio::select! {
            message = heard.recv() => {
                let (topic, payload) = message.expect("a broker that stays");
                state.send_modify(|state| answers = state.receive(&topic, &payload));
            }
            asked = &mut leaving, if state.borrow().stage == Stage::Serving => {
                if asked.is_err() {
                    break; // The test has dropped the peer: a crash.
                }
                state.send_modify(|state| answers = state.begin_to_leave());
            }
        }
        for (topic, payload) in answers {
            link.publish(topic, payload).await;
        }
        if state.borrow().stage == Stage::Gone {
            break;
        }
    }
    link.close().await;
}

/// Announces the node until it has both neighbours, or nobody has answered.
async fn join(link: &Link, heard: &mut UnboundedReceiver<Heard>, state: &watch::Sender<State>) {
    let id = state.borrow().id;
    let mut ticks = ticks(JOIN_INTERVAL);
    let mut attempts = 0;
    loop {
        let mut answers = Vec::new();
        tokio::select! {
            _ = ticks.tick() => {
                let stage = state.borrow().stage;
                match stage {
                    Stage::Silent if attempts == JOIN_ATTEMPTS => {
                        state.send_modify(|state| state.stage = Stage::Serving);
                        return;
                    }
                    _ => answers.push(("join", id.to_string())),
                }
                attempts += 1;
            }
            message = heard.recv() => {
                let (topic, payload) = message.expect("a broker that stays");
                state.send_modify(|state| answers = state.receive(&topic, &payload));
            }
        }
        for (topic, payload) in answers {
            link.publish(topic, payload).await;
        }
        if state.borrow().stage == Stage::Serving {
            return;
        }
    }
}

fn ticks(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

type Answers = Vec<(&'static str, String)>;

impl State {
    /// Takes a message in; topics and texts that it does not know are nothing to it.
    fn receive(&mut self, topic: &str, payload: &[u8]) -> Answers {
        let cut: String =
            String::from_utf8_lossy(&payload[..payload.len().min(400)]).chars().take(100).collect();
        self.log.push((topic.to_string(), cut));
        let mut answers = Vec::new();
        // `None` from here on: not understood.
        let Ok(text) = std::str::from_utf8(payload) else { return answers };
        let _understood = match (self.stage, topic) {
            (Stage::Gone, _) => None,
            (Stage::Silent | Stage::Joining, "has_started") => {
                self.stage = Stage::Joining;
                Some(())
            }
            (Stage::Silent | Stage::Joining, "ack-join") => self.learn_neighbour(text, &mut answers),
            (Stage::Silent | Stage::Joining, _) => None,
            (_, "join") => self.answer_newcomer(text, &mut answers),
            (_, "ack-join") => self.relink_to_newcomer(text, &mut answers),
            (_, "put") => self.put(text, &mut answers),
            (_, "get") => self.get(text, &mut answers),
            (_, "leave") => self.relink_around(text, &mut answers),
            (_, "ack-leave") => self.count_ack(text, &mut answers),
            _ => None,
        };
        answers
    }

    /// As a newcomer.
    fn learn_neighbour(&mut self, text: &str, answers: &mut Answers) -> Option<()> {
        let (from, to, side) = ack_join(text)?;
        if to != self.id {
            return None;
        }
        match side {
            "sucessor" => self.successor = Some(from),
            "antecessor" => self.predecessor = Some(from),
            _ => return None,
        }
        if let (Some(_), Some(successor)) = (self.predecessor, self.successor) {
            answers.push(("ack-join", format!("{}/{successor}/antecessor", self.id)));
            self.stage = Stage::Serving;
        }
        Some(())
    }

    fn answer_newcomer(&mut self, text: &str, answers: &mut Answers) -> Option<()> {
        let newcomer: u32 = text.parse().ok()?;
        answers.push(("has_started", "yes".into()));
        let id = self.id;
        if is_between(newcomer, self.predecessor.unwrap_or(id), id) {
            answers.push(("ack-join", format!("{id}/{newcomer}/sucessor")));
        }
        if is_between(newcomer, id, self.successor.unwrap_or(id)) {
            answers.push(("ack-join", format!("{id}/{newcomer}/antecessor")));
        }
        Some(())
    }

    /// The newcomer's confirmation says who its successor is.
    fn relink_to_newcomer(&mut self, text: &str, answers: &mut Answers) -> Option<()> {
        let (newcomer, its_successor, "antecessor") = ack_join(text)? else { return None };
        let id = self.id;
        let alone = self.successor.is_none();
        if is_between(newcomer, id, self.successor.unwrap_or(id))
            && its_successor == self.successor.unwrap_or(id)
        {
            self.successor = Some(newcomer);
        }
        if its_successor == id && (alone || is_between(newcomer, self.predecessor?, id)) {
            self.predecessor = Some(newcomer);
            for (key, value) in std::mem::take(&mut self.pairs) {
                if self.owns(key) {
                    self.pairs.insert(key, value);
                } else {
                    answers.push(("put", format!("None/{key} {value}")));
                }
            }
        }
        Some(())
    }

    fn put(&mut self, text: &str, answers: &mut Answers) -> Option<()> {
        let (client, pair) = text.split_once('/')?;
        let (key, value) = pair.split_once(' ')?;
        let key = key.parse().ok()?;
        if self.owns(key) {
            self.pairs.insert(key, value.to_string());
            answers.push(("ack-put", format!("{client}/{}", self.id)));
        }
        Some(())
    }

    /// Silent about a key that it has not.
    fn get(&mut self, text: &str, answers: &mut Answers) -> Option<()> {
        let key = text.parse().ok()?;
        let value = self.pairs.get(&key).filter(|_| self.owns(key))?;
        answers.push(("res-get", format!("{key}/{value}")));
        Some(())
    }

    /// A neighbour leaves.
    fn relink_around(&mut self, text: &str, answers: &mut Answers) -> Option<()> {
        let (leaver, its_neighbours) = text.split_once('/')?;
        let (its_successor, its_predecessor) = its_neighbours.split_once('/')?;
        let leaver: u32 = leaver.parse().ok()?;
        let neighbour = |text: &str| text.parse::<u32>().ok().filter(|id| *id != self.id);
        let (its_successor, its_predecessor) = (neighbour(its_successor), neighbour(its_predecessor));
        let (before, after) = (self.predecessor == Some(leaver), self.successor == Some(leaver));
        if leaver == self.id || !(before || after) {
            return None;
        }
        if before {
            self.predecessor = its_predecessor;
        }
        if after {
            self.successor = its_successor;
        }
        answers.push(("ack-leave", format!("{leaver}/{}", self.id)));
        Some(())
    }

    fn begin_to_leave(&mut self) -> Answers {
        let or_none = |id: Option<u32>| id.map_or("None".to_string(), |id| id.to_string());
        let (successor, predecessor) = (or_none(self.successor), or_none(self.predecessor));
        let mut answers = vec![("leave", format!("{}/{successor}/{predecessor}", self.id))];
        self.stage = Stage::Leaving(self.predecessor.is_some(), self.successor.is_some());
        self.go_when_relinked(&mut answers);
        answers
    }

    fn count_ack(&mut self, text: &str, answers: &mut Answers) -> Option<()> {
        let (leaver, acker) = text.split_once('/')?;
        let (leaver, acker): (u32, u32) = (leaver.parse().ok()?, acker.parse().ok()?);
        let Stage::Leaving(predecessor, successor) = self.stage else { return None };
        if leaver == self.id {
            self.stage = Stage::Leaving(
                predecessor && self.predecessor != Some(acker),
                successor && self.successor != Some(acker),
            );
            self.go_when_relinked(answers);
        }
        Some(())
    }

    fn go_when_relinked(&mut self, answers: &mut Answers) {
        if self.stage == Stage::Leaving(false, false) {
            let id = self.id;
            let pairs = std::mem::take(&mut self.pairs);
            answers.extend(pairs.into_iter().map(|(key, value)| ("put", format!("{id}/{key} {value}"))));
            self.stage = Stage::Gone;
        }
    }

    fn owns(&self, key: u32) -> bool {
        key == self.id || is_between(key, self.predecessor.unwrap_or(self.id), self.id)
    }
}

/// The pairs on `(after, upto]`, which is the whole circle if the two are one.
pub(crate) fn on_arc(pairs: &BTreeMap<u32, String>, after: u32, upto: u32) -> BTreeMap<u32, String> {
    let on_arc = |key: u32| key == upto || is_between(key, after, upto);
    pairs.iter().filter(|(key, _)| on_arc(**key)).map(|(key, value)| (*key, value.clone())).collect()
}

/// FROM, TO and what FROM is to TO.
fn ack_join(text: &str) -> Option<(u32, u32, &str)> {
    let (from, rest) = text.split_once('/')?;
    let (to, side) = rest.split_once('/')?;
    Some((from.parse().ok()?, to.parse().ok()?, side))
}

/// Strictly between, clockwise; between a key and itself is all the rest of the circle.
fn is_between(key: u32, after: u32, before: u32) -> bool {
    let (at, length) = (key.wrapping_sub(after), before.wrapping_sub(after));
    at != 0 && (at < length || length == 0)
}
