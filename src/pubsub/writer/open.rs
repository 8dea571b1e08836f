//! The open batch, to which publishers append: most of the time without the state machine.
//!
//! A small sample costs less to append than a mutex costs to lock and to unlock. So the frame under construction has a lock of its own,
//! one that is let go of by a plain store, and the state machine gives publishers [leave](Leave) to go on by themselves for as
//! long as it could only say yes: while the link is busy, up to the bounds of the batch and the history.
//!
//! Who holds the state machine's lock may take this one, never the other way round.

use std::hint::spin_loop;

use spin::mutex::{SpinMutex, SpinMutexGuard};

use crate::error::Result;
use crate::time::{Stamper, Timestamp};
use crate::wire::{FrameBuilder, Sealed};

/// How often somebody tries before letting others run: whoever has the lock is done within a few of these, unless the system
/// has interrupted it.
const TRIES: u32 = 64;

/// The frame under construction, shared by the state machine and the publishers.
#[derive(Debug)]
pub(in crate::pubsub) struct OpenBatch(SpinMutex<Open>);

#[derive(Debug)]
struct Open {
    builder: FrameBuilder,
    stamper: Stamper,
    leave: Leave,
    /// Samples that were appended.
    published: u64,
}

/// How far publishers may go without the state machine. Given only to a batch that is not empty, and taken back when that is
/// sealed: what is appended to an empty one has nobody to send it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::pubsub) struct Leave {
    /// The batch holds fewer samples than this before one is appended,
    pub(super) samples: usize,
    /// and fewer bytes than this.
    pub(super) bytes: usize,
    /// Whether neighbours may share a timestamp.
    pub(super) shares_time: bool,
}

/// What came of appending without the state machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pubsub) enum Appended {
    /// Nothing: the state machine has to be asked.
    No,
    /// It is in a batch that somebody else sends.
    Left,
    /// The same, but the batch is worth a frame by now.
    Grown,
    /// The batch is as far as publishers may go.
    Full,
}

impl OpenBatch {
    pub(super) fn new(builder: FrameBuilder) -> Self {
        let (stamper, leave) = Default::default();
        Self(SpinMutex::new(Open { builder, stamper, leave, published: 0 }))
    }

    /// Appends a sample if there is leave to do so. Its payload, which `write` appends, has at most `limit` bytes with all that
    /// is in the batch. From `grown` bytes on the batch is worth a frame.
    ///
    /// What cannot be appended, for whatever reason, is left to the state machine, which says why.
    #[inline]
    pub(in crate::pubsub) fn append(
        &self,
        source: Option<Timestamp>,
        limit: usize,
        grown: usize,
        write: impl FnOnce(&mut Vec<u8>) -> Result<()>,
    ) -> Appended {
        let mut open = self.lock();
        let Open { builder, stamper, leave, published } = &mut *open;
        let len = builder.len();
        // A large sample takes its time: who waits meanwhile is to sleep, which the state machine's lock lets it do.
        if builder.count() >= leave.samples || len >= leave.bytes || builder.is_large() {
            return Appended::No;
        }
        let wall = if leave.shares_time { stamper.shared() } else { stamper.precise() };
        if builder.push(wall, source.unwrap_or(wall), limit.saturating_sub(len), write).is_err() {
            return Appended::No;
        }
        *published += 1;
        let len = builder.len();
        if builder.count() >= leave.samples || len >= leave.bytes {
            Appended::Full
        } else if len >= grown {
            Appended::Grown
        } else {
            Appended::Left
        }
    }

    /// Appends a sample in the state machine's name, within the same `limit`.
    ///
    /// # Errors
    /// [`FrameBuilder::push`]'s; nothing was appended.
    pub(super) fn push(
        &self,
        wall: Timestamp,
        source: Timestamp,
        limit: usize,
        write: impl FnOnce(&mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        let mut open = self.lock();
        // A sample that would fit alone may be too much for the open frame.
        let taken = if open.builder.is_empty() { 0 } else { open.builder.len() };
        open.builder.push(wall, source, limit.saturating_sub(taken), write)?;
        open.published += 1;
        Ok(())
    }

    /// Closes the frame, and begins an empty one to which nobody has leave to append.
    pub(super) fn seal(&self) -> Option<Sealed> {
        let mut open = self.lock();
        open.leave = Leave::default();
        open.builder.seal()
    }

    /// Lets publishers go so far, unless the batch is empty.
    pub(super) fn give(&self, leave: Leave) {
        let mut open = self.lock();
        if !open.builder.is_empty() {
            open.leave = leave;
        }
    }

    /// From now on publishers have to ask.
    pub(super) fn take_leave(&self) {
        self.lock().leave = Leave::default();
    }

    /// The time for a sample: exact, or shared with its neighbours.
    pub(super) fn stamp(&self, shared: bool) -> Timestamp {
        let stamper = &mut self.lock().stamper;
        if shared { stamper.shared() } else { stamper.precise() }
    }

    /// The next sample's time is read from the clock.
    pub(super) fn forget_time(&self) {
        self.lock().stamper.forget();
    }

    /// How many samples are in the batch, and how many bytes, both 0 if it is empty.
    pub(super) fn size(&self) -> (usize, usize) {
        let builder = &self.lock().builder;
        if builder.is_empty() { (0, 0) } else { (builder.count(), builder.len()) }
    }

    /// How many samples were ever appended.
    pub(super) fn published(&self) -> u64 {
        self.lock().published
    }

    #[inline]
    fn lock(&self) -> SpinMutexGuard<'_, Open> {
        self.0.try_lock().unwrap_or_else(|| self.wait())
    }

    #[cold]
    fn wait(&self) -> SpinMutexGuard<'_, Open> {
        for _ in 0..TRIES {
            spin_loop();
            if let Some(open) = self.0.try_lock() {
                return open;
            }
        }
        loop {
            std::thread::yield_now();
            if let Some(open) = self.0.try_lock() {
                return open;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::message::{Encoding, EntityId, SessionId};
    use crate::wire::DataFrame;

    const FAR: Leave = Leave { samples: 1000, bytes: 60_000, shares_time: true };
    const NOW: Timestamp = Timestamp::from_secs(1);

    fn batch() -> OpenBatch {
        let writer = EntityId { session: SessionId(1), entity: 1 };
        OpenBatch::new(FrameBuilder::new(Encoding::Raw, writer, 1, 1))
    }

    fn append(batch: &OpenBatch, text: &str) -> Appended {
        batch.append(None, 100_000, 30_000, |out| {
            out.extend_from_slice(text.as_bytes());
            Ok(())
        })
    }

    fn push(batch: &OpenBatch, text: &str) {
        let write = |out: &mut Vec<u8>| {
            out.extend_from_slice(text.as_bytes());
            Ok(())
        };
        batch.push(NOW, NOW, 100_000, write).unwrap();
    }

    fn texts(frame: &DataFrame) -> Vec<String> {
        frame.samples().map(|sample| String::from_utf8(sample.payload.to_vec()).unwrap()).collect()
    }

    #[test]
    fn nobody_appends_without_leave_and_leave_ends_with_the_frame() {
        let batch = batch();
        assert_eq!(append(&batch, "unasked"), Appended::No);
        batch.give(FAR);
        assert_eq!(append(&batch, "an empty one has nobody to send it"), Appended::No);
        push(&batch, "first");
        assert_eq!(append(&batch, "unasked"), Appended::No);
        batch.give(FAR);
        assert_eq!(append(&batch, "second"), Appended::Left);
        assert_eq!(texts(&batch.seal().unwrap().frame), ["first", "second"]);
        assert_eq!(append(&batch, "unasked"), Appended::No);
        push(&batch, "third");
        batch.give(FAR);
        batch.take_leave();
        assert_eq!(append(&batch, "unasked"), Appended::No);
        assert_eq!(texts(&batch.seal().unwrap().frame), ["third"]);
        assert_eq!((batch.published(), batch.size()), (3, (0, 0)));
    }

    #[test]
    fn leave_is_bounded_in_samples_and_bytes() {
        let batch = batch();
        push(&batch, "1");
        batch.give(Leave { samples: 3, ..FAR });
        assert_eq!([(); 3].map(|()| append(&batch, "n")), [Appended::Left, Appended::Full, Appended::No]);
        let text = "x".repeat(500);
        batch.give(FAR);
        let mut outcomes: Vec<_> = (0..200).map(|_| append(&batch, &text)).collect();
        outcomes.dedup();
        assert_eq!(outcomes, [Appended::Left, Appended::Grown, Appended::Full, Appended::No]);
        let (_, bytes) = batch.size();
        assert!((FAR.bytes..FAR.bytes + 520).contains(&bytes), "{bytes}");
    }

    #[test]
    fn what_is_too_large_or_cannot_be_written_is_for_the_state_machine_to_refuse() {
        let batch = batch();
        push(&batch, "first");
        batch.give(FAR);
        let too_large = |out: &mut Vec<u8>| {
            out.resize(out.len() + 100, 0);
            Ok(())
        };
        assert_eq!(batch.append(None, 100, FAR.bytes, too_large), Appended::No);
        let panics = |_: &mut Vec<u8>| -> Result<()> { panic!("a value that cannot be serialised") };
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            batch.append(None, 1000, FAR.bytes, panics)
        }));
        assert!(panicked.is_err());
        // A large sample goes the slow way, and so does the one after it.
        assert_eq!(append(&batch, &"x".repeat(2000)), Appended::Left);
        assert_eq!(append(&batch, "after a large one"), Appended::No);
        assert_eq!(texts(&batch.seal().unwrap().frame), ["first".to_owned(), "x".repeat(2000)]);
    }

    #[test]
    fn publishers_and_who_seals_get_in_each_others_way_without_loss() {
        const EACH: u64 = 20_000;
        // The lock of the state machine, and what it has sealed.
        let (batch, sealed) = (batch(), Mutex::new(Vec::new()));
        let ask = |text: &str| {
            let mut sealed = sealed.lock().unwrap();
            if batch.size().1 >= FAR.bytes {
                sealed.extend(batch.seal());
            }
            push(&batch, text);
            batch.give(FAR);
        };
        let publish = |publisher: usize| {
            for number in 0..EACH {
                let text = format!("{publisher} {number}");
                if append(&batch, &text) == Appended::No {
                    ask(&text);
                }
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| publish(0));
            scope.spawn(|| publish(1));
            while batch.published() < 2 * EACH {
                sealed.lock().unwrap().extend(batch.seal());
            }
        });
        sealed.lock().unwrap().extend(batch.seal());
        let (mut next, mut sequence) = ([0; 2], 1);
        for sealed in sealed.into_inner().unwrap() {
            assert_eq!(sealed.frame.header().first, sequence);
            sequence = sealed.frame.header().end();
            for text in texts(&sealed.frame) {
                let (publisher, number) = text.split_once(' ').unwrap();
                let next = &mut next[publisher.parse::<usize>().unwrap()];
                assert_eq!(number.parse::<u64>().unwrap(), *next);
                *next += 1;
            }
        }
        assert_eq!((next, batch.published()), ([EACH; 2], 2 * EACH));
    }
}
