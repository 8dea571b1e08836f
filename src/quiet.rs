//! Locks that are silent: while this thread holds one, what it has to log or to count waits.
//!
//! What listens to the log and to the metrics is the user's code. It may publish, and under one of
//! the library's locks it would wait for itself. So every lock that is held while something may be
//! logged is taken here, and what is logged or counted under one goes through [`afterwards`] or
//! [`count`], which put it off until the thread's last guard is gone.

use std::cell::{Cell, RefCell};
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError, RwLock, TryLockError};

/// In [`HELD`]: there are notes.
const NOTES: usize = 1;
/// In [`HELD`]: one guard.
const GUARD: usize = 2;

thread_local! {
    /// How many guards this thread has, and whether there are notes. One word, since each lock
    /// costs a look at it.
    static HELD: Cell<usize> = const { Cell::new(0) };
    static PUT_OFF: RefCell<Vec<Note>> = const { RefCell::new(Vec::new()) };
}

enum Note {
    Told(Box<dyn FnOnce()>),
    Counted(fn(u64), u64),
}

impl Note {
    fn run(self) {
        match self {
            Self::Told(tell) => tell(),
            Self::Counted(count, by) => count(by),
        }
    }
}

/// Logs or counts: at once if this thread holds no lock, otherwise when it has let go of the last.
pub(crate) fn afterwards(tell: impl FnOnce() + 'static) {
    if HELD.get() < GUARD {
        return tell();
    }
    put_off(Note::Told(Box::new(tell)));
}

/// Counts like [`afterwards`], without an allocation.
pub(crate) fn count(count: fn(u64), by: u64) {
    if HELD.get() < GUARD {
        return count(by);
    }
    put_off(Note::Counted(count, by));
}

fn put_off(note: Note) {
    // A thread that ends has no notes any more: what it still tells is lost rather than told under
    // a lock.
    if PUT_OFF.try_with(|notes| notes.borrow_mut().push(note)).is_ok() {
        HELD.set(HELD.get() | NOTES);
    }
}

/// Runs what was put off. What it puts off itself, under locks of its own, it runs itself.
#[cold]
fn run_notes() {
    if std::thread::panicking() {
        // A second panic would end the process. The next guard of this thread runs them.
        return;
    }
    HELD.set(0);
    let Ok(mut notes) = PUT_OFF.try_with(RefCell::take) else { return };
    notes.drain(..).for_each(Note::run);
    // The next may be as many. Their room is kept, so that they cost no allocation.
    let _ = PUT_OFF.try_with(|kept| {
        let mut kept = kept.borrow_mut();
        if kept.is_empty() {
            *kept = notes;
        }
    });
}

/// Whether this thread holds a lock.
#[cfg(test)]
fn holds() -> bool {
    HELD.get() >= GUARD
}

/// Marks this thread as one that holds a lock.
struct Quiet;

impl Quiet {
    #[inline]
    fn begin() -> Self {
        HELD.set(HELD.get() + GUARD);
        Self
    }
}

impl Drop for Quiet {
    #[inline]
    fn drop(&mut self) {
        let held = HELD.get() - GUARD;
        HELD.set(held);
        if held == NOTES {
            run_notes();
        }
    }
}

/// A guard of a lock.
pub(crate) struct Guard<G> {
    // Dropped in this order: the lock is free when the notes run.
    guard: G,
    _quiet: Quiet,
}

pub(crate) type MutexGuard<'a, V> = Guard<std::sync::MutexGuard<'a, V>>;
pub(crate) type ReadGuard<'a, V> = Guard<std::sync::RwLockReadGuard<'a, V>>;
pub(crate) type WriteGuard<'a, V> = Guard<std::sync::RwLockWriteGuard<'a, V>>;

impl<G> Guard<G> {
    #[inline]
    fn new(guard: G) -> Self {
        Self { guard, _quiet: Quiet::begin() }
    }
}

impl<G: Deref> Deref for Guard<G> {
    type Target = G::Target;

    #[inline]
    fn deref(&self) -> &G::Target {
        &self.guard
    }
}

impl<G: DerefMut> DerefMut for Guard<G> {
    #[inline]
    fn deref_mut(&mut self) -> &mut G::Target {
        &mut self.guard
    }
}

/// A poisoned lock means that a panic happened elsewhere while holding it; what the library keeps
/// under locks is consistent between calls, so going on is right.
#[inline]
pub(crate) fn lock<V>(mutex: &Mutex<V>) -> MutexGuard<'_, V> {
    Guard::new(mutex.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Like [`lock`]; `None` if another thread holds it.
#[inline]
pub(crate) fn try_lock<V>(mutex: &Mutex<V>) -> Option<MutexGuard<'_, V>> {
    match mutex.try_lock() {
        Ok(guard) => Some(Guard::new(guard)),
        Err(TryLockError::Poisoned(poisoned)) => Some(Guard::new(poisoned.into_inner())),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// Like [`lock`], for reading.
#[inline]
pub(crate) fn read<V>(lock: &RwLock<V>) -> ReadGuard<'_, V> {
    Guard::new(lock.read().unwrap_or_else(PoisonError::into_inner))
}

/// Like [`lock`], for writing.
#[inline]
pub(crate) fn write<V>(lock: &RwLock<V>) -> WriteGuard<'_, V> {
    Guard::new(lock.write().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod heard;

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    #[test]
    fn notes_wait_for_the_last_guard() {
        let (outer, inner) = (Rc::new(Mutex::new(0)), RwLock::new(0));
        let told = Rc::new(Cell::new(0));
        let tell = || {
            let (outer, told) = (outer.clone(), told.clone());
            afterwards(move || {
                assert!(outer.try_lock().is_ok());
                told.set(told.get() + 1);
            });
        };
        tell();
        assert_eq!(told.get(), 1);
        let first = lock(&outer);
        tell();
        let second = write(&inner);
        tell();
        drop(second);
        assert_eq!(told.get(), 1);
        drop(first);
        assert_eq!(told.get(), 3);
        drop(lock(&outer));
        assert_eq!(told.get(), 3);
    }

    #[test]
    fn a_note_may_lock_and_put_off() {
        let mutex = Rc::new(Mutex::new(Vec::new()));
        let guard = lock(&mutex);
        for number in 0..3 {
            let mutex = mutex.clone();
            afterwards(move || {
                let mut guard = lock(&mutex);
                guard.push(number);
                let again = mutex.clone();
                afterwards(move || lock(&again).push(number + 10));
            });
        }
        drop(guard);
        assert_eq!(*lock(&mutex), [0, 10, 1, 11, 2, 12]);
    }

    #[test]
    fn a_panic_under_a_lock_leaves_the_notes_to_the_next_guard() {
        let mutex = Mutex::new(());
        let told = Rc::new(Cell::new(false));
        let seen = told.clone();
        let panics = std::panic::AssertUnwindSafe(|| {
            let _guard = lock(&mutex);
            afterwards(move || seen.set(true));
            panic!("under a lock");
        });
        assert!(std::panic::catch_unwind(panics).is_err());
        assert!(!told.get());
        drop(lock(&mutex));
        assert!(told.get());
    }
}
