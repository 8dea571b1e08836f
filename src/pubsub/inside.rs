//! Which publishers this thread is inside of: it encodes a sample for them, or works on their
//! state.
//!
//! There the user's code may run, a `Serialize` or what listens to the log, and it may publish. On
//! another publisher it can; on the same one it would wait for itself.

use std::cell::Cell;

/// How deep publishing from within publishing may go.
const DEPTH: usize = 8;

thread_local! {
    /// Addresses of publishers; 0 for none.
    static INSIDE: [Cell<usize>; DEPTH] = const { [const { Cell::new(0) }; DEPTH] };
}

/// While it lives this thread is inside of a publisher.
#[derive(Debug)]
pub(super) struct Inside(usize);

impl Inside {
    /// Enters; `None` if this thread is inside already, or too deep in others.
    #[inline]
    pub(super) fn enter<P>(publisher: &P) -> Option<Self> {
        let address = std::ptr::from_ref(publisher).addr();
        INSIDE.with(|inside| {
            for (at, slot) in inside.iter().enumerate() {
                match slot.get() {
                    0 => {
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
        INSIDE.with(|inside| inside[self.0].set(0));
    }
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
        let a = "a".to_owned();
        let inside = std::panic::AssertUnwindSafe(|| {
            let _inside = Inside::enter(&a);
            panic!("a value that cannot be serialised");
        });
        assert!(std::panic::catch_unwind(inside).is_err());
        assert!(Inside::enter(&a).is_some());
    }
}
