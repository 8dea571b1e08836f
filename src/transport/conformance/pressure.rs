//! Under construction.

use super::{Failure, Harness};

/// Under construction.
///
/// # Errors
/// Always, until it is built.
pub async fn back_pressure<H: Harness>(_harness: &H) -> Result<(), Failure> {
    Err(Failure { check: "back_pressure", what: "this check is being built".into() })
}

/// Under construction.
///
/// # Errors
/// Always, until it is built.
pub async fn cancelled_receive<H: Harness>(_harness: &H) -> Result<(), Failure> {
    Err(Failure { check: "cancelled_receive", what: "this check is being built".into() })
}
