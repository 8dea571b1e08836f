//! Which publishers this thread is inside of: it encodes a sample for them, or works on their
//! state.
//!
//! There the user's code may run, a `Serialize` or what listens to the log, and it may publish. On
//! another publisher it can; on the same one it would wait for itself. Nor does it wait where threads
//! would wait for each other, each inside of the publisher that the next one wants: a thread that
//! is inside of one publisher and enters another says so, and does not enter if that closes a
//! circle.

use std::cell::Cell;
use std::sync::{Mutex, PoisonError};

/// How deep publishing from within publishing may go.
const DEPTH: usize = 8;

thread_local! {
    /// Addresses of publishers; 0 for none.
    static INSIDE: [Cell<usize>; DEPTH] = const { [const { Cell::new(0) }; DEPTH] };
}

/// The threads that are inside of a publisher and enter another, once for each that they enter.
/// Nothing is waited for while this is locked.
static CROSSINGS: Mutex<Vec<Crossing>> = Mutex::new(Vec::new());

/// A thread inside of some publishers enters another one.
#[derive(Debug, PartialEq, Eq)]
struct Crossing {
    /// The address of the thread's own [`INSIDE`].
    thread: usize,
    within: [usize; DEPTH],
    wants: usize,
}

/// While it lives this thread is inside of a publisher.
#[derive(Debug)]
pub(super) struct Inside(usize);

impl Inside {
    /// Enters; `None` if this thread is inside already, too deep in others, or would wait for a
    /// thread that waits for it.
    #[inline]
    pub(super) fn enter<P>(publisher: &P) -> Option<Self> {
        let address = std::ptr::from_ref(publisher).addr();
        INSIDE.with(|inside| {
            for (at, slot) in inside.iter().enumerate() {
                match slot.get() {
                    0 => {
                        if at > 0 && !cross(inside, address) {
                            return None;
                        }
                        slot.set(address);
                        return Some(Self(at));
                    }
                    other if other == address => return None,
                    _ => {}
                }
            }
            None
        })
    }
}

impl Drop for Inside {
    #[inline]
    fn drop(&mut self) {
        INSIDE.with(|inside| {
            let address = inside[self.0].replace(0);
            if self.0 > 0 {
                have_crossed(inside, address);
            }
        });
    }
}

/// Says that this thread enters another publisher, unless that would close a circle of threads that wait
/// for each other.
#[cold]
fn cross(inside: &[Cell<usize>; DEPTH], wants: usize) -> bool {
    let crossing = Crossing { thread: thread(inside), within: inside.each_ref().map(Cell::get), wants };
    let mut crossings = CROSSINGS.lock().unwrap_or_else(PoisonError::into_inner);
    let enters = !closes_circle(&crossings, &crossing);
    if enters {
        crossings.push(crossing);
    }
    enters
}

/// This thread has left the publisher that it had entered from within another.
#[cold]
fn have_crossed(inside: &[Cell<usize>; DEPTH], wanted: usize) {
    let thread = thread(inside);
    let mut crossings = CROSSINGS.lock().unwrap_or_else(PoisonError::into_inner);
    let own = crossings.iter().position(|known| known.thread == thread && known.wants == wanted);
    own.map(|own| crossings.swap_remove(own));
}

fn thread(inside: &[Cell<usize>; DEPTH]) -> usize {
    std::ptr::from_ref(inside).addr()
}

/// Whether somebody in the publisher that is wanted waits, maybe by way of others, for one that this
/// thread is inside of.
fn closes_circle(crossings: &[Crossing], new: &Crossing) -> bool {
    let mut looked_at = vec![false; crossings.len()];
    let mut wanted = vec![new.wants];
    while let Some(publisher) = wanted.pop() {
        for (crossing, looked_at) in crossings.iter().zip(&mut looked_at) {
            if *looked_at || crossing.thread == new.thread || !crossing.within.contains(&publisher) {
                continue;
            }
            if new.within.contains(&crossing.wants) {
                return true;
            }
            *looked_at = true;
            wanted.push(crossing.wants);
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_twice_inside_of_one_publisher() {
        let (a, b) = ("a".to_owned(), "b".to_owned());
        let first = Inside::enter(&a);
        assert!(first.is_some() && Inside::enter(&a).is_none());
        let second = Inside::enter(&b);
        assert!(second.is_some() && Inside::enter(&a).is_none() && Inside::enter(&b).is_none());
        drop(second);
        assert!(Inside::enter(&b).is_some());
        drop(first);
        assert!(Inside::enter(&a).is_some());
    }

    #[test]
    fn a_panic_leaves() {
        let (a, b) = ("a".to_owned(), "b".to_owned());
        let inside = std::panic::AssertUnwindSafe(|| {
            let _inside = Inside::enter(&a);
            let _crossed = Inside::enter(&b);
            panic!("a value that cannot be serialised");
        });
        assert!(std::panic::catch_unwind(inside).is_err());
        assert!(Inside::enter(&a).is_some());
        let b = std::ptr::from_ref(&b).addr();
        let crossings = CROSSINGS.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(crossings.iter().all(|crossing| crossing.wants != b), "{crossings:?}");
    }

    fn crossing(thread: usize, within: &[usize], wants: usize) -> Crossing {
        let mut all = [0; DEPTH];
        all[..within.len()].copy_from_slice(within);
        Crossing { thread, within: all, wants }
    }

    #[test]
    fn a_circle_is_seen_however_long_and_a_chain_is_none() {
        let chain = [crossing(1, &[11], 12), crossing(2, &[12], 13), crossing(3, &[13], 14)];
        assert!(closes_circle(&chain, &crossing(4, &[14], 11)));
        assert!(closes_circle(&chain, &crossing(4, &[20, 14], 12)));
        assert!(!closes_circle(&chain, &crossing(4, &[15], 11)), "nobody wants what it is inside of");
        assert!(!closes_circle(&chain, &crossing(4, &[14], 15)), "nobody is in there");
        assert!(!closes_circle(&chain, &crossing(4, &[11], 14)), "two wait, and the third goes on");
        assert!(!closes_circle(&chain, &crossing(1, &[11, 12], 15)));
        // What the thread itself has entered before is no one else's.
        assert!(!closes_circle(&[crossing(1, &[11], 12)], &crossing(1, &[11, 12], 13)));
        // A circle that it is no part of is no reason.
        let circle = [crossing(1, &[11], 12), crossing(2, &[12], 11)];
        assert!(!closes_circle(&circle, &crossing(3, &[13], 11)));
    }
}
