//! What waits to be sent to one peer: written in the task that hands it over, while the system takes it.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::super::Encoder;
use super::item::{Item, Kind, Piece};
use super::stream::Writer;
use crate::quiet::{MutexGuard, lock};
use crate::transport::under_way::UnderWay;

/// As many bytes wait for a peer at most, and one message beyond.
const MOST_BYTES: usize = 8 << 20;
/// As many items are encoded for a connection ahead of what was written.
const AHEAD: usize = 64;
/// A publication that follows a write within this time is left to the connection's task, which writes what has come until it
/// has its turn: while it waits, publishers gather samples, which costs them less than a write for each. A lone one, and an
/// answer to one that has come, is written at once.
const GATHER: Duration = Duration::from_micros(15);
/// What has to be sent even if messages fill the queue (subscriptions, greetings) may make it that many times as long.
const URGENT: usize = 64;

/// The queue towards one peer. That of a peer that is dialled outlives its connections.
#[derive(Debug)]
pub(super) struct Outgoing {
    most: usize,
    /// Items and bytes that wait, for a look without the lock.
    items: AtomicUsize,
    bytes: AtomicUsize,
    progress: AtomicUsize,
    is_blocked: AtomicBool,
    /// The connection's task is to end when all is written.
    is_finishing: AtomicBool,
    /// The connection that stands is not made anew.
    is_retired: AtomicBool,
    is_closed: AtomicBool,
    queue: Mutex<Queue>,
    under_way: Arc<UnderWay>,
    /// Tells the connection's task that the rest is its own, or that it has to end.
    attention: Notify,
    /// Tells those who wait for room, or for the end of the queue.
    room: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<Item>,
    /// What was encoded for the connection that stands.
    pieces: VecDeque<Piece>,
    /// How much of the first piece was written.
    written: usize,
    link: Option<Link>,
    /// When publications were last written.
    wrote: Option<Instant>,
    /// The connection takes nothing any more.
    is_broken: bool,
}

/// The connection that stands.
#[derive(Debug)]
struct Link {
    writer: Arc<Writer>,
    encoder: Encoder,
    minor: u8,
}

/// What became of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It was taken.
    Taken,
    /// There is no room.
    Full,
    /// The peer is gone for good.
    Closed,
}

/// What was finished under the lock, to be told without it.
#[derive(Default)]
struct Finished {
    publications: usize,
    has_room: bool,
}

impl Outgoing {
    /// Room for that many messages.
    pub(super) fn new(most: usize, under_way: Arc<UnderWay>) -> Arc<Self> {
        Arc::new(Self {
            most: most.max(1),
            items: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            progress: AtomicUsize::new(0),
            is_blocked: AtomicBool::new(false),
            is_finishing: AtomicBool::new(false),
            is_retired: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            queue: Mutex::default(),
            under_way,
            attention: Notify::new(),
            room: Notify::new(),
        })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }

    /// Whether a message would be taken.
    pub(super) fn has_room(&self) -> bool {
        self.items.load(Ordering::Acquire) < self.most && self.bytes.load(Ordering::Acquire) < MOST_BYTES
    }

    /// How many items wait.
    pub(super) fn waiting(&self) -> usize {
        self.items.load(Ordering::Acquire)
    }

    /// Whether nothing is taken any more.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// Takes a message if there is room, and writes it at once if the system takes it.
    pub(super) fn push(&self, item: Item) -> Pushed {
        if self.has_room() { self.force(item) } else { self.refusal() }
    }

    fn refusal(&self) -> Pushed {
        if self.is_closed() { Pushed::Closed } else { Pushed::Full }
    }

    /// As [`push`](Self::push), of what a full queue must not keep out. It is full for that only at many times its length.
    pub(super) fn force(&self, item: Item) -> Pushed {
        let finished = {
            let mut queue = self.queue();
            if self.is_closed() || self.is_finishing() {
                return Pushed::Closed;
            }
            if self.items.load(Ordering::Acquire) >= self.most.saturating_mul(URGENT) {
                return Pushed::Full;
            }
            let is_publication = item.kind() == Kind::Publication;
            self.enqueue(&mut queue, item);
            if self.is_blocked.load(Ordering::Acquire) {
                Finished::default()
            } else if is_publication && queue.has_just_written() {
                self.block(Finished::default())
            } else {
                self.write(&mut queue)
            }
        };
        self.tell(finished);
        Pushed::Taken
    }

    fn enqueue(&self, queue: &mut Queue, item: Item) {
        self.items.fetch_add(1, Ordering::AcqRel);
        self.bytes.fetch_add(item.size(), Ordering::AcqRel);
        if item.kind() == Kind::Publication {
            self.under_way.begin();
        }
        queue.items.push_back(item);
    }

    /// A connection stands: what waits is written to it, behind `first`.
    pub(super) fn connect(&self, writer: Arc<Writer>, encoder: Encoder, minor: u8, first: Vec<Item>) {
        let finished = {
            let mut queue = self.queue();
            queue.link = Some(Link { writer, encoder, minor });
            (queue.written, queue.is_broken) = (0, false);
            for item in first.into_iter().rev() {
                self.items.fetch_add(1, Ordering::AcqRel);
                self.bytes.fetch_add(item.size(), Ordering::AcqRel);
                queue.items.push_front(item);
            }
            self.is_blocked.store(false, Ordering::Release);
            self.write(&mut queue)
        };
        self.tell(finished);
    }

    /// The connection is lost, and what was encoded for it with it; what waits behind that is kept for the next one, or not.
    pub(super) fn disconnect(&self, keep: bool) {
        let lost = {
            let mut queue = self.queue();
            queue.link = None;
            self.is_blocked.store(false, Ordering::Release);
            self.lose(&mut queue, keep)
        };
        self.tell(lost.0);
    }

    /// Gives up what was encoded, and what waits behind it unless that is kept. Says how many messages that were.
    fn lose(&self, queue: &mut Queue, keep: bool) -> (Finished, usize) {
        let mut finished = Finished { has_room: true, ..Finished::default() };
        let mut messages = 0;
        queue.written = 0;
        let pieces = queue.pieces.drain(..).map(|piece| (piece.size, piece.kind));
        let kept = if keep { queue.items.len() } else { 0 };
        let items = queue.items.drain(kept..).map(|item| (item.size(), item.kind()));
        for (size, kind) in pieces.chain(items) {
            self.items.fetch_sub(1, Ordering::AcqRel);
            self.bytes.fetch_sub(size, Ordering::AcqRel);
            finished.publications += usize::from(kind == Kind::Publication);
            messages += usize::from(kind != Kind::Other);
        }
        (finished, messages)
    }

    /// Takes nothing any more, and gives up what waits. Says how many messages that were.
    pub(super) fn close(&self) -> usize {
        let (finished, messages) = {
            let mut queue = self.queue();
            self.is_closed.store(true, Ordering::Release);
            queue.link = None;
            self.lose(&mut queue, false)
        };
        self.tell(finished);
        self.attention.notify_one();
        messages
    }

    /// Takes nothing any more; the connection ends when what waits is written.
    pub(super) fn finish(&self) {
        {
            // Behind one that is just being handed over.
            let _queue = self.queue();
            self.is_finishing.store(true, Ordering::Release);
        }
        self.attention.notify_one();
    }

    /// Whether [`finish`](Self::finish) was called.
    pub(super) fn is_finishing(&self) -> bool {
        self.is_finishing.load(Ordering::Acquire)
    }

    /// Lets the connection that stands be the last: it is read to its end, and not made anew.
    pub(super) fn retire(&self) {
        self.is_retired.store(true, Ordering::Release);
    }

    /// Whether [`retire`](Self::retire) was called.
    pub(super) fn is_retired(&self) -> bool {
        self.is_retired.load(Ordering::Acquire)
    }

    /// Whether nothing more will be written.
    pub(super) fn is_finished(&self) -> bool {
        self.is_closed() || (self.is_finishing() && self.waiting() == 0)
    }

    /// Whether the rest is the connection's task to write.
    pub(super) fn is_blocked(&self) -> bool {
        self.is_blocked.load(Ordering::Acquire)
    }

    /// Waits for what the connection's task has to look at. Cancel-safe.
    pub(super) async fn attention(&self) {
        self.attention.notified().await;
    }

    /// Writes on, in the connection's task. `false` if the connection takes nothing any more.
    pub(super) fn resume(&self) -> bool {
        let (finished, is_whole) = {
            let mut queue = self.queue();
            let finished = if queue.is_broken { Finished::default() } else { self.write(&mut queue) };
            (finished, !queue.is_broken)
        };
        self.tell(finished);
        is_whole
    }

    /// Has the connection that stands ended: another one may follow it.
    pub(super) fn break_off(&self) {
        self.queue().is_broken = true;
        self.is_blocked.store(true, Ordering::Release);
        self.attention.notify_one();
    }

    /// Grows whenever the system takes something.
    pub(super) fn progress(&self) -> usize {
        self.progress.load(Ordering::Relaxed)
    }

    /// Waits until nothing is taken any more. Cancel-safe.
    pub(super) async fn closed(&self) {
        loop {
            let mut room = pin!(self.room.notified());
            room.as_mut().enable();
            if self.is_closed() {
                return;
            }
            room.await;
        }
    }

    /// Waits until half of the room is free, or nothing is taken any more. Cancel-safe.
    pub(super) async fn half_free(&self) {
        loop {
            let mut room = pin!(self.room.notified());
            // Before the look, so that no room that is made after it is missed.
            room.as_mut().enable();
            if self.is_closed() || self.is_half_free() {
                return;
            }
            room.await;
        }
    }

    fn is_half_free(&self) -> bool {
        self.waiting() <= self.most / 2 && self.bytes.load(Ordering::Acquire) <= MOST_BYTES / 2
    }

    /// Writes what the system takes.
    fn write(&self, queue: &mut Queue) -> Finished {
        let mut finished = Finished::default();
        let Some(link) = &mut queue.link else { return finished };
        loop {
            while queue.pieces.len() < AHEAD
                && let Some(item) = queue.items.pop_front()
            {
                let (size, kind) = (item.size(), item.kind());
                match item.encode(&mut link.encoder, link.minor) {
                    Ok(piece) => queue.pieces.push_back(piece),
                    Err(_) => {
                        self.items.fetch_sub(1, Ordering::AcqRel);
                        self.bytes.fetch_sub(size, Ordering::AcqRel);
                        finished.publications += usize::from(kind == Kind::Publication);
                        queue.is_broken = true;
                        return self.block(finished);
                    }
                }
            }
            if queue.pieces.is_empty() {
                self.is_blocked.store(false, Ordering::Release);
                return finished;
            }
            let slices = Slices::of(&queue.pieces, queue.written, link.writer.at_once());
            match link.writer.try_write(slices.get()) {
                Ok(count @ 1..) => {
                    queue.written += count;
                    self.progress.fetch_add(1, Ordering::Relaxed);
                    while let Some(piece) = queue.pieces.front()
                        && queue.written >= piece.len()
                    {
                        queue.written -= piece.len();
                        self.items.fetch_sub(1, Ordering::AcqRel);
                        self.bytes.fetch_sub(piece.size, Ordering::AcqRel);
                        finished.publications += usize::from(piece.kind == Kind::Publication);
                        queue.pieces.pop_front();
                    }
                    finished.has_room = true;
                    if finished.publications > 0 {
                        queue.wrote = Some(Instant::now());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return self.block(finished),
                Ok(0) | Err(_) => {
                    queue.is_broken = true;
                    return self.block(finished);
                }
            }
        }
    }

    fn block(&self, finished: Finished) -> Finished {
        if !self.is_blocked.swap(true, Ordering::AcqRel) {
            self.attention.notify_one();
        }
        finished
    }

    /// Wakes those whom it concerns, without the lock.
    fn tell(&self, finished: Finished) {
        if finished.publications > 0 {
            self.under_way.end(finished.publications);
        }
        if finished.has_room && (self.is_half_free() || self.is_closed()) {
            self.room.notify_waiters();
        }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.close();
    }
}

impl Queue {
    /// Whether a publication is better left to the connection's task. Without a connection there is none.
    fn has_just_written(&self) -> bool {
        self.link.is_some() && self.wrote.is_some_and(|at| at.elapsed() < GATHER)
    }
}

/// The slices that one call writes.
struct Slices<'a> {
    slices: [IoSlice<'a>; 2 * AHEAD],
    count: usize,
}

impl<'a> Slices<'a> {
    /// What of the pieces has not been written, up to `most` bytes.
    fn of(pieces: &'a VecDeque<Piece>, mut written: usize, mut most: usize) -> Self {
        let mut this = Self { slices: [IoSlice::new(&[]); 2 * AHEAD], count: 0 };
        for part in pieces.iter().flat_map(|piece| [piece.head(), piece.body()]) {
            let rest = part.get(written..).unwrap_or_default();
            written = written.saturating_sub(part.len());
            let rest = rest.get(..most).unwrap_or(rest);
            most -= rest.len();
            if !rest.is_empty() && this.count < this.slices.len() {
                this.slices[this.count] = IoSlice::new(rest);
                this.count += 1;
            }
        }
        this
    }

    fn get(&self) -> &[IoSlice<'a>] {
        &self.slices[..self.count]
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_write_is_no_longer_than_the_socket_takes_well() {
        let mut encoder = Encoder::default();
        let mut pieces = VecDeque::new();
        for length in [10, 0, 300] {
            let item = Item::Publication(Bytes::from(vec![7; length]));
            pieces.push_back(item.encode(&mut encoder, 1).unwrap());
        }
        let whole: usize = pieces.iter().map(Piece::len).sum();
        for most in [1, 5, 13, 200, usize::MAX] {
            for written in 0..12 {
                let slices = Slices::of(&pieces, written, most);
                let length: usize = slices.get().iter().map(|slice| slice.len()).sum();
                assert_eq!(length, most.min(whole - written), "{written} written, {most} at once");
            }
        }
    }
}
