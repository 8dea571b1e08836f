//! Whether the system has descriptors for one more peer. Those that are begun without are half connections, which take
//! the place of whole ones.

use crate::error::ErrorKind;

/// What a peer takes: a DEALER and what it is watched by, and four connections, two in each direction.
const OF_A_PEER: usize = 12;
/// What a peer that is not connected yet has still to take.
const STILL_TO_COME: usize = 4;

/// # Errors
/// [`ErrorKind::Unreachable`], if there are too few descriptors for a peer at `address` beside so many that are not
/// connected yet.
pub(in crate::transport) fn check(address: &str, unsettled: usize) -> Result<(), ErrorKind> {
    let needed = OF_A_PEER + STILL_TO_COME * unsettled;
    match (limit(), open()) {
        (Some(limit), Some(open)) if open + needed > limit => Err(ErrorKind::Unreachable {
            address: address.to_owned(),
            reason: format!(
                "{open} of {limit} file descriptors are open, and a peer takes {OF_A_PEER}: raise the limit (ulimit -n)"
            ),
        }),
        _ => Ok(()),
    }
}

/// How many DEALERs may be dialled for strangers, if the system allows so many descriptors.
pub(in crate::transport) fn most_dialled(most: usize) -> usize {
    limit().map_or(most, |limit| (limit / (2 * OF_A_PEER)).clamp(8, most))
}

#[cfg(target_os = "linux")]
fn limit() -> Option<usize> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current?;
    usize::try_from(limit).ok()
}

#[cfg(target_os = "linux")]
fn open() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count())
}

#[cfg(not(target_os = "linux"))]
fn limit() -> Option<usize> {
    None
}

#[cfg(not(target_os = "linux"))]
fn open() -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_peer_that_there_is_no_room_for_is_refused_with_the_figures() {
        let limit = limit().unwrap();
        assert!(check("tcp://h:1", 0).is_ok());
        let error = check("tcp://h:1", limit / STILL_TO_COME).unwrap_err().to_string();
        assert!(error.contains(&format!("of {limit} file descriptors")), "{error}");
    }

    #[test]
    fn few_are_dialled_where_descriptors_are_few() {
        assert!((8..=128).contains(&most_dialled(128)));
    }
}
