//! Under construction.

use super::{Failure, Harness};

/// Under construction.
///
/// # Errors
/// Always, until it is built.
pub async fn all_sizes<H: Harness>(_harness: &H) -> Result<(), Failure> {
    Err(Failure { check: "all_sizes", what: "this check is being built".into() })
}

/// Under construction.
///
/// # Errors
/// Always, until it is built.
pub async fn over_limit_is_refused<H: Harness>(_harness: &H) -> Result<(), Failure> {
    Err(Failure { check: "over_limit_is_refused", what: "this check is being built".into() })
}

/// Under construction.
///
/// # Errors
/// Always, until it is built.
pub async fn oversize_from_a_peer<H: Harness>(_harness: &H) -> Result<(), Failure> {
    Err(Failure { check: "oversize_from_a_peer", what: "this check is being built".into() })
}
