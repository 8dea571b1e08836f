//! Under construction.

use super::{Failure, Harness};

/// Under construction.
///
/// # Errors
/// Always, until it is built.
pub async fn bad_addresses<H: Harness>(_harness: &H) -> Result<(), Failure> {
    Err(Failure { check: "bad_addresses", what: "this check is being built".into() })
}

/// Under construction.
///
/// # Errors
/// Always, until it is built.
pub async fn close_flushes<H: Harness>(_harness: &H) -> Result<(), Failure> {
    Err(Failure { check: "close_flushes", what: "this check is being built".into() })
}

/// Under construction.
///
/// # Errors
/// Always, until it is built.
pub async fn closed_is_closed<H: Harness>(_harness: &H) -> Result<(), Failure> {
    Err(Failure { check: "closed_is_closed", what: "this check is being built".into() })
}

/// Under construction.
///
/// # Errors
/// Always, until it is built.
pub async fn dropped_without_close<H: Harness>(_harness: &H) -> Result<(), Failure> {
    Err(Failure { check: "dropped_without_close", what: "this check is being built".into() })
}
