//! The messages that the broker has not acknowledged yet, in the order in which they were sent.

use std::collections::VecDeque;

use rumqttc::Publish;

/// The most bytes that may be unacknowledged, in one message more or less: what a link of a gigabit a second carries in
/// a twentieth of a second.
const BYTES: usize = 8 * 1024 * 1024;

/// A bounded window of QoS 1 messages, and the packet ids.
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
    /// Which packet ids the entries have.
    taken: Vec<bool>,
    limit: usize,
    last_id: u16,
}

#[derive(Debug)]
struct Entry {
    publish: Publish,
    /// Whether a user handed it in; the session's own announcements do not count as undelivered.
    counted: bool,
}

impl Window {
    /// An empty window for `limit` messages (at least one, at most a quarter of the id space).
    pub(super) fn new(limit: usize) -> Self {
        let taken = vec![false; usize::from(u16::MAX) + 1];
        Self {
            entries: VecDeque::new(),
            sent: 0,
            bytes: 0,
            taken,
            limit: limit.clamp(1, 1 << 14),
            last_id: 0,
        }
    }

    /// Whether another message may be sent.
    pub(super) fn has_room(&self) -> bool {
        self.entries.len() < self.limit && self.bytes < BYTES
    }

    /// Whether everything was acknowledged.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many of the users' messages are unacknowledged.
    pub(super) fn undelivered(&self) -> usize {
        self.entries.iter().filter(|entry| entry.counted).count()
    }

    /// A packet id that no message in the window has.
    pub(super) fn next_id(&mut self) -> u16 {
        let mut id = successor(self.last_id);
        // Ends, because the window is smaller than the id space.
        while self.taken[usize::from(id)] {
            id = successor(id);
        }
        self.last_id = id;
        id
    }

    /// Gives a message its id and keeps it until it is acknowledged. The caller sends it, so there must be nothing
    /// left to [repeat](Self::next_repetition).
    pub(super) fn push(&mut self, mut publish: Publish, counted: bool) -> &Publish {
        publish.pkid = self.next_id();
        self.taken[usize::from(publish.pkid)] = true;
        self.bytes += publish.payload.len();
        let at = self.entries.len();
        self.entries.push_back(Entry { publish, counted });
        self.sent = at + 1;
        &self.entries[at].publish
    }

    /// Lets go of an acknowledged message. Unknown ids are ignored: a broker may acknowledge a repetition twice.
    pub(super) fn acknowledge(&mut self, id: u16) {
        // Nearly always the first.
        if let Some(at) = self.entries.iter().position(|entry| entry.publish.pkid == id) {
            let acknowledged = self.entries.remove(at);
            self.bytes -= acknowledged.map_or(0, |entry| entry.publish.payload.len());
            self.taken[usize::from(id)] = false;
            self.sent -= usize::from(at < self.sent);
        }
    }

    /// There is a new connection: everything is to be sent again, but for the session's own announcements.
    pub(super) fn rewind(&mut self) {
        self.sent = 0;
        let Self { taken, bytes, .. } = self;
        self.entries.retain(|entry| {
            taken[usize::from(entry.publish.pkid)] &= entry.counted;
            *bytes -= if entry.counted { 0 } else { entry.publish.payload.len() };
            entry.counted
        });
    }

    /// Whether there is something to send again before anything new.
    pub(super) fn has_repetitions(&self) -> bool {
        self.sent < self.entries.len()
    }

    /// The next message to send again, marked as a repetition; oldest first.
    pub(super) fn next_repetition(&mut self) -> Option<&Publish> {
        let entry = self.entries.get_mut(self.sent)?;
        self.sent += 1;
        entry.publish.dup = true;
        Some(&entry.publish)
    }
}

fn successor(id: u16) -> u16 {
    if id == u16::MAX { 1 } else { id + 1 }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;
    use rumqttc::QoS;

    use super::*;

    fn message(text: &str) -> Publish {
        Publish::new("t", QoS::AtLeastOnce, text)
    }

    #[test]
    fn repeats_in_order_what_was_not_acknowledged() {
        let mut window = Window::new(8);
        let ids: Vec<u16> =
            ["a", "b", "c"].iter().map(|text| window.push(message(text), true).pkid).collect();
        window.acknowledge(ids[1]);
        window.acknowledge(999);
        assert!(!window.has_repetitions());
        window.push(message("own"), false);
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
        let ids: Vec<u16> =
            ["a", "b", "c"].iter().map(|text| window.push(message(text), true).pkid).collect();
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
        window.push(large(), false);
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
        window.push(message("presence"), false);
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
}
