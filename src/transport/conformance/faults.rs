//! Under construction.

use super::{Failure, Harness};

/// Under construction.
///
/// # Errors
/// Always, until it is built.
pub async fn interrupted_link<H: Harness>(_harness: &H) -> Result<(), Failure> {
    Err(Failure { check: "interrupted_link", what: "this check is being built".into() })
}

/// Under construction.
///
/// # Errors
/// Always, until it is built.
pub async fn peer_events<H: Harness>(_harness: &H) -> Result<(), Failure> {
    Err(Failure { check: "peer_events", what: "this check is being built".into() })
}

/// Under construction.
///
/// # Errors
/// Always, until it is built.
pub async fn restarted_peer<H: Harness>(_harness: &H) -> Result<(), Failure> {
    Err(Failure { check: "restarted_peer", what: "this check is being built".into() })
}
