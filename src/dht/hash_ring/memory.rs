//! What the machine is told about memory: which line is read soon, and which arrays huge pages are worth it for.
#![allow(unsafe_code, reason = "a prefetch, and advice about pages; each block argues for itself")]

/// Arrays of fewer bytes have no advice: they span too few huge pages of 2 MiB.
#[cfg(all(target_os = "linux", not(miri)))]
const LEAST: usize = 4 << 20;

/// Says that a value is read soon. It has no effect but on time.
#[inline(always)]
pub(super) fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86-64 has SSE, and a prefetch reads nothing that the program could notice.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// An empty vector with room for as many values. Large ones lie in huge pages where the system has them to give: a
/// look-up anywhere among many megabytes then waits for a line alone, and not for the entry of a page table as well; and
/// pages that are used for the first time are fewer.
pub(super) fn with_capacity<T>(capacity: usize) -> Vec<T> {
    let mut vec = Vec::with_capacity(capacity);
    advise(vec.spare_capacity_mut());
    vec
}

#[cfg(not(all(target_os = "linux", not(miri))))]
fn advise<T>(_: &mut [T]) {}

#[cfg(all(target_os = "linux", not(miri)))]
fn advise<T>(room: &mut [T]) {
    use rustix::mm::{Advice, madvise};
    /// Of a huge page. Advice begins and ends at bounds of them, so that it concerns no memory but the vector's.
    const HUGE: usize = 2 << 20;
    let bytes = size_of_val(room);
    if bytes < LEAST {
        return;
    }
    let start = room.as_mut_ptr().cast::<u8>();
    let skipped = start.align_offset(HUGE);
    let whole = bytes.saturating_sub(skipped) / HUGE * HUGE;
    if whole == 0 {
        return;
    }
    // SAFETY: the range lies within what is borrowed here, and this advice changes neither what memory holds nor
    // who may use it: only the size of the pages that it is made of.
    let advised = unsafe { madvise(start.wrapping_add(skipped).cast(), whole, Advice::LinuxHugepage) };
    // A system without huge pages refuses: then the pages are small, and nothing else is different.
    advised.unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_leaves_contents_and_room_as_they_are() {
        // None, too few bytes for advice, and bytes that do not end where a huge page does.
        for capacity in [0, 1000, (5 << 20) / 4 + 3] {
            let mut vec: Vec<u32> = with_capacity(capacity);
            assert!(vec.is_empty() && vec.capacity() >= capacity);
            let address = vec.as_ptr();
            vec.extend((0..capacity as u32).map(|n| n.wrapping_mul(0x9e37_79b9)));
            assert_eq!(vec.as_ptr(), address);
            vec.iter().for_each(prefetch);
            assert!((0..).zip(&vec).all(|(n, &value)| value == u32::wrapping_mul(n, 0x9e37_79b9)));
        }
    }
}
