//! Under construction.

use super::{Failure, Harness};

/// Under construction.
///
/// # Errors
/// Always, until it is built.
pub async fn directed_both_ways<H: Harness>(_harness: &H) -> Result<(), Failure> {
    Err(Failure { check: "directed_both_ways", what: "this check is being built".into() })
}

/// Under construction.
///
/// # Errors
/// Always, until it is built.
pub async fn foreign_locators<H: Harness>(_harness: &H) -> Result<(), Failure> {
    Err(Failure { check: "foreign_locators", what: "this check is being built".into() })
}
