//! The messages that the broker has not acknowledged yet, in the order in which they were sent.

use std::collections::VecDeque;
use std::sync::Arc;

use rumqttc::{Publish, QoS};

use super::suspicion::Suspect;
use crate::transport::under_way::Counted;

/// The most bytes that may be unacknowledged, in one message more or less: what a link of a gigabit a second carries in
/// a twentieth of a second.
const BYTES: usize = 8 * 1024 * 1024;

/// The most messages with QoS 2 that may be unacknowledged. Mosquitto takes `max_inflight_messages` of them, 20 unless it is
/// told otherwise. It acknowledges those beyond, too, and drops them, and with MQTT 3.1.1 nobody can ask for the number.
const EXACTLY_ONCE: usize = 16;

/// A bounded window of messages with QoS 1 and 2, and the packet ids.
///
/// rumqttc's own state is not used for this: it forgets unacknowledged messages when a clean session reconnects,
/// repeats them out of order, and stops at the second message whose id is still taken.
#[derive(Debug)]
pub(super) struct Window {
    entries: VecDeque<Entry>,
    /// How many of them, from the front, went out on the present connection.
    sent: usize,
    /// How many bytes the entries' payloads have.
    bytes: usize,
    /// How many of the entries have QoS 2.
    exactly_once: usize,
    /// Which packet ids the entries have.
    taken: Vec<bool>,
    limit: usize,
    last_id: u16,
    /// How many of the users' messages there ever were.
    count: u64,
    /// The highest QoS that the present connection's broker takes, as far as it has said so.
    highest: QoS,
    /// The next message's place in the order of all that goes out, over all connections.
    order: u64,
    /// The newest place that was acknowledged.
    proven: u64,
    /// How many of the sent entries are the session's own.
    own_sent: usize,
    /// The next entry's serial number.
    serial: u64,
}

#[derive(Debug)]
struct Entry {
    publish: Publish,
    /// The how manieth of the users' messages it is; the session's own announcements have no number, and do not count as
    /// undelivered.
    number: Option<u64>,
    /// Tells it from all others, those that are given up later included; in order.
    serial: u64,
    /// It is the session's own: it does not outlive the connection.
    own: bool,
    /// It has QoS 2, and the present connection's broker has said that it has it: PUBREL went out, PUBCOMP is to come. It
    /// is kept until then, since the broker may forget it with the connection.
    released: bool,
    /// Its place in the order of all that went out, or 0 as long as it did not. Once a ping with a greater one is
    /// answered, the broker has read it.
    order: u64,
    /// The message that it is a fragment of.
    whole: Option<Arc<Whole>>,
}

/// A message that goes in fragments.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) publish: Publish,
    /// It counts as under way until its last fragment is acknowledged.
    pub(super) _counted: Option<Counted>,
}

impl Entry {
    /// The message, of which this may be a fragment.
    fn message(&self) -> &Publish {
        self.whole.as_ref().map_or(&self.publish, |whole| &whole.publish)
    }

    fn is_of(&self, other: &Arc<Whole>) -> bool {
        self.whole.as_ref().is_some_and(|whole| Arc::ptr_eq(whole, other))
    }
}

impl Window {
    /// An empty window for `limit` messages (at least one, at most a quarter of the id space).
    pub(super) fn new(limit: usize) -> Self {
        let taken = vec![false; usize::from(u16::MAX) + 1];
        Self {
            entries: VecDeque::new(),
            sent: 0,
            bytes: 0,
            exactly_once: 0,
            taken,
            limit: limit.clamp(1, 1 << 14),
            last_id: 0,
            count: 0,
            highest: QoS::ExactlyOnce,
            order: 1,
            proven: 0,
            own_sent: 0,
            serial: 1,
        }
    }

    /// The broker grants this QoS at most: what is sent with more from now on is sent with that. `true` if it is less than
    /// before.
    pub(super) fn grant(&mut self, highest: QoS) -> bool {
        let lower = highest < self.highest;
        self.highest = highest;
        lower
    }

    /// The highest QoS that a message is sent with.
    pub(super) fn highest(&self) -> QoS {
        self.highest
    }

    /// Counts a user's message that is to be acknowledged and cannot be: the broker takes QoS 0 alone.
    pub(super) fn pass(&mut self) {
        self.count += 1;
    }

    /// A message with QoS 0, or a ping, is being sent behind all that went out so far; its place in the order.
    pub(super) fn pass_by(&mut self) -> u64 {
        self.order += 1;
        self.order - 1
    }

    /// The newest place in the order that was acknowledged: the broker has read what was sent before it.
    pub(super) fn proven(&self) -> u64 {
        self.proven
    }

    /// How many messages were sent on the present connection and are not acknowledged.
    pub(super) fn in_flight(&self) -> usize {
        self.sent
    }

    /// How many of them are the session's own.
    pub(super) fn own_in_flight(&self) -> usize {
        self.own_sent
    }

    /// The oldest message that is not acknowledged, the session's own aside.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.entries.iter().find(|entry| !entry.own).map(|entry| entry.serial)
    }

    /// The newest message that was sent on the present connection and is not acknowledged, the session's own aside; or 0.
    pub(super) fn newest(&self) -> u64 {
        let mut sent = self.entries.iter().take(self.sent).rev();
        sent.find(|entry| !entry.own).map_or(0, |entry| entry.serial)
    }

    /// The message that is under way, if it is one.
    pub(super) fn alone(&self) -> Option<Suspect> {
        let entry = self.entries.front().filter(|_| self.sent == 1)?;
        let topic = || entry.publish.topic.clone();
        Some(if entry.own { Suspect::Own(topic()) } else { Suspect::Message(entry.serial) })
    }

    /// Gives up the oldest message, the session's own aside, of which that is asked for.
    pub(super) fn give_up_if(&mut self, asked: impl Fn(&Publish) -> bool) -> Option<Publish> {
        let at = self.entries.iter().position(|entry| !entry.own && asked(entry.message()))?;
        self.take_whole(at).map(|(publish, _)| publish)
    }

    /// Gives a message up, if it is still there, with all of its fragments.
    pub(super) fn give_up(&mut self, serial: u64) -> Option<Publish> {
        let at = self.entries.iter().position(|entry| entry.serial == serial)?;
        self.take_whole(at).map(|(publish, _)| publish)
    }

    /// What is under way, or to be sent next, of the message with this serial number; and the message.
    pub(super) fn find(&self, serial: u64) -> Option<(&Publish, &Publish)> {
        let entry = self.entries.iter().find(|entry| entry.serial == serial)?;
        Some((&entry.publish, entry.message()))
    }

    /// Puts `split`'s fragments of a message in the place of that, or of larger fragments of it, wherever it makes
    /// some. There is a new connection, on which nothing was sent yet.
    pub(super) fn split_again(&mut self, mut split: impl FnMut(&Publish, &Publish) -> Option<Vec<Publish>>) {
        let mut done: Option<Arc<Whole>> = None;
        for entry in std::mem::take(&mut self.entries) {
            let again = done.as_ref().is_some_and(|done| entry.is_of(done));
            let pieces = if again { None } else { split(&entry.publish, entry.message()) };
            if !again && pieces.is_none() {
                self.entries.push_back(entry);
                continue;
            }
            self.let_go(&entry.publish);
            let Some(pieces) = pieces else { continue };
            let Entry { publish, number, serial, whole, .. } = entry;
            done.clone_from(&whole);
            let whole = whole.unwrap_or_else(|| Arc::new(Whole { publish, _counted: None }));
            self.add_pieces(pieces, &whole, number, serial);
        }
    }

    /// Keeps the fragments of a message until they are acknowledged. They are sent as what is to be
    /// [repeated](Self::next_repetition) is. `counted` as in [`push`](Self::push).
    pub(super) fn push_pieces(&mut self, pieces: Vec<Publish>, whole: Whole, counted: bool) {
        self.count += u64::from(counted);
        let number = counted.then_some(self.count);
        self.serial += 1;
        self.add_pieces(pieces, &Arc::new(whole), number, self.serial - 1);
    }

    /// All fragments have the number and the serial number of their message.
    fn add_pieces(&mut self, pieces: Vec<Publish>, whole: &Arc<Whole>, number: Option<u64>, serial: u64) {
        for mut publish in pieces {
            self.register(&mut publish);
            let whole = Some(whole.clone());
            let entry = Entry { publish, number, serial, own: false, released: false, order: 0, whole };
            self.entries.push_back(entry);
        }
    }

    /// Whether another message may be sent.
    pub(super) fn has_room(&self) -> bool {
        self.entries.len() < self.limit && self.bytes < BYTES && self.exactly_once < EXACTLY_ONCE
    }

    /// Whether everything was acknowledged.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many of the users' messages are unacknowledged. Those of which only the last acknowledgement is missing are
    /// among them: the broker may have passed them on, or not.
    pub(super) fn undelivered(&self) -> usize {
        // The fragments of a message have its serial number, and stand together.
        let mut last = 0;
        self.entries
            .iter()
            .filter(|entry| !entry.own && std::mem::replace(&mut last, entry.serial) != entry.serial)
            .count()
    }

    /// How many of the users' messages, from the first on, are acknowledged without a hole.
    pub(super) fn acknowledged(&self) -> u64 {
        // Nearly always the first: the session's own are few.
        self.entries.iter().find_map(|entry| entry.number).map_or(self.count, |number| number - 1)
    }

    /// A packet id that no message in the window has.
    pub(super) fn next_id(&mut self) -> u16 {
        let mut id = successor(self.last_id);
        // Ends, because the window is smaller than the id space: its fragments have 1 KiB each, and what is in it 8 MiB,
        // or one message more, which has 2^14 of them at most.
        while self.taken[usize::from(id)] {
            id = successor(id);
        }
        self.last_id = id;
        id
    }

    /// As [`push`](Self::push), of a message of the session's own: it is not kept beyond the connection.
    pub(super) fn push_own(&mut self, publish: Publish) -> &Publish {
        let at = self.add(publish, false, true);
        self.own_sent += 1;
        &self.entries[at].publish
    }

    /// Gives a message its id and keeps it until it is acknowledged. The caller sends it, so there must be nothing
    /// left to [repeat](Self::next_repetition). `counted` says whether its user asked for an acknowledgement.
    pub(super) fn push(&mut self, publish: Publish, counted: bool) -> &Publish {
        let at = self.add(publish, counted, false);
        &self.entries[at].publish
    }

    fn add(&mut self, mut publish: Publish, counted: bool, own: bool) -> usize {
        self.register(&mut publish);
        self.count += u64::from(counted);
        let number = counted.then_some(self.count);
        let (serial, order) = (self.serial, self.pass_by());
        self.serial += 1;
        let entry = Entry { publish, number, serial, own, released: false, order, whole: None };
        // One of the session's own goes before what waits to be sent again, or for the first time.
        let at = self.sent;
        if at == self.entries.len() {
            self.entries.push_back(entry);
        } else {
            self.entries.insert(at, entry);
        }
        self.sent = at + 1;
        at
    }

    /// Gives a message its id, and accounts for it.
    fn register(&mut self, publish: &mut Publish) {
        if publish.qos > self.highest {
            publish.qos = self.highest;
        }
        publish.pkid = self.next_id();
        self.taken[usize::from(publish.pkid)] = true;
        self.bytes += publish.payload.len();
        self.exactly_once += usize::from(publish.qos == QoS::ExactlyOnce);
    }

    /// Ends what [`register`](Self::register) began.
    fn let_go(&mut self, publish: &Publish) {
        self.bytes -= publish.payload.len();
        self.exactly_once -= usize::from(publish.qos == QoS::ExactlyOnce);
        self.taken[usize::from(publish.pkid)] = false;
    }

    /// Takes a PUBACK: lets go of the message, and returns it. Unknown ids are ignored: a broker may acknowledge a repetition twice. It
    /// ends a message with QoS 2, too, that was not released: a broker without QoS 2 has taken it with QoS 1.
    pub(super) fn acknowledge(&mut self, id: u16) -> Option<Publish> {
        self.remove(id, |entry| !entry.released).map(|entry| entry.publish)
    }

    /// Takes a PUBREC: the broker has the message, and is to be answered by PUBREL, whatever this window knows of it.
    pub(super) fn release(&mut self, id: u16) {
        let mut sent = self.entries.iter_mut().take(self.sent);
        if let Some(entry) = sent.find(|entry| entry.publish.pkid == id) {
            entry.released = entry.publish.qos == QoS::ExactlyOnce;
        }
    }

    /// Takes a PUBCOMP: lets go of a released message. Others are ignored.
    pub(super) fn complete(&mut self, id: u16) {
        drop(self.remove(id, |entry| entry.released));
    }

    /// There is a new connection: everything is to be sent again, but for the session's own announcements.
    ///
    /// The broker has forgotten what it had of the session. What it had not been asked to release, it has not passed on
    /// (unless it does so before). What was released it may have passed on: rather twice than never.
    pub(super) fn rewind(&mut self) {
        (self.sent, self.own_sent) = (0, 0);
        self.highest = QoS::ExactlyOnce;
        let Self { taken, bytes, exactly_once, .. } = self;
        self.entries.retain_mut(|entry| {
            entry.released = false;
            let Entry { publish, own, .. } = entry;
            let keep = !*own;
            if !keep {
                taken[usize::from(publish.pkid)] = false;
                *bytes -= publish.payload.len();
                *exactly_once -= usize::from(publish.qos == QoS::ExactlyOnce);
            }
            keep
        });
    }

    /// Whether there is something to send again before anything new.
    pub(super) fn has_repetitions(&self) -> bool {
        self.sent < self.entries.len()
    }

    /// The next message to send again; oldest first. With QoS 1 it is marked as a repetition. With QoS 2 it is not: what
    /// the broker would look for, it has forgotten.
    pub(super) fn next_repetition(&mut self) -> Option<&Publish> {
        let entry = self.entries.get_mut(self.sent)?;
        self.sent += 1;
        if entry.publish.qos > self.highest {
            self.exactly_once -= usize::from(entry.publish.qos == QoS::ExactlyOnce);
            entry.publish.qos = self.highest;
        }
        // A fragment may go out for the first time.
        let again = entry.order != 0;
        entry.order = self.order;
        self.order += 1;
        entry.publish.dup = again && entry.publish.qos == QoS::AtLeastOnce;
        Some(&entry.publish)
    }

    /// Lets go of the message that was sent again last if it went out with QoS 0, so that nothing acknowledges it.
    pub(super) fn settle_unacknowledged(&mut self) {
        if self.highest == QoS::AtMostOnce && self.sent > 0 {
            self.take(self.sent - 1);
        }
    }

    /// Gives up the oldest message that was sent before this ping was, and that is still not acknowledged. Says, too,
    /// whether it is the session's own.
    pub(super) fn give_up_before(&mut self, ping: u64) -> Option<(Publish, bool)> {
        let mut sent = self.entries.iter().take(self.sent);
        let at = sent.position(|entry| entry.order < ping)?;
        self.take_whole(at)
    }

    /// Takes a message out, with all of its fragments; and whether it is the session's own.
    fn take_whole(&mut self, at: usize) -> Option<(Publish, bool)> {
        let entry = self.take(at)?;
        let Some(whole) = entry.whole else { return Some((entry.publish, entry.own)) };
        while let Some(at) = self.entries.iter().position(|entry| entry.is_of(&whole)) {
            self.take(at);
        }
        Some((whole.publish.clone(), entry.own))
    }

    /// Lets go of the message with this id, if there is one and it `may` be.
    fn remove(&mut self, id: u16, may: impl Fn(&Entry) -> bool) -> Option<Entry> {
        // Nearly always the first.
        let at = self.entries.iter().position(|entry| entry.publish.pkid == id)?;
        if !self.entries.get(at).is_some_and(may) {
            return None;
        }
        let entry = self.take(at)?;
        self.proven = self.proven.max(entry.order);
        Some(entry)
    }

    fn take(&mut self, at: usize) -> Option<Entry> {
        let entry = self.entries.remove(at)?;
        self.let_go(&entry.publish);
        self.own_sent -= usize::from(entry.own && at < self.sent);
        self.sent -= usize::from(at < self.sent);
        Some(entry)
    }
}

fn successor(id: u16) -> u16 {
    if id == u16::MAX { 1 } else { id + 1 }
}

#[cfg(test)]
mod broker;
#[cfg(test)]
mod pieces;
#[cfg(test)]
mod tests;
